# SPDX-License-Identifier: Apache-2.0
"""The checker accepts what holds, rejects edits by the seal and forgeries by mathematics."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import networks
from isoform.certificate.certificate import (
    Certificate,
    load,
    save,
    seal,
)
from isoform.certificate.check import check
from isoform.certificate.codes import Code, Codes
from isoform.certificate.evidence import Counterexample, Enumerate, Evidence, Rounding, Sweep
from isoform.certificate.verdict import Proved, Refuted
from isoform.errors import CertificateRejected, FormatError
from isoform.network.claim import Arithmetic, Claim, Equal, SameDecision, Within
from isoform.network.domain import (
    Binary,
    Box,
    Everywhere,
    FiniteSet,
    Polytope,
    Sequences,
    Union,
    bound_to,
)
from isoform.network.evaluate import evaluate_exact
from isoform.network.linear_map import Conv, Csr, Dense, Gather
from isoform.network.model import Loaded, Signature
from isoform.network.network import Builder, Network
from isoform.network.operators import Concat, Opaque, Product, Relu, Scan, Select, Step
from isoform.network.rounding import rounded
from isoform.numerics.exact import Exact, exact_fractions
from isoform.numerics.sparse import ExactSparse
from isoform.verify.identity import sweep
from isoform.verify.prove import prove, prove_best, prove_rounding

CHAIN = networks.random_chain((3, 6, 5, 2), 11)
SOURCE = networks.network(CHAIN)
COPY = networks.network(networks.with_dead_units(networks.scrambled(CHAIN, 12), 13))
OTHER = networks.network(networks.scrambled(networks.nudged(CHAIN, 2), 12))
BOX = bound_to(Box(-1, 1), 3)


def proof(
    source: Network = SOURCE, target: Network = COPY, claim: Claim | None = None
) -> Certificate:
    verdict = prove(source, target, claim or Claim(Equal()))
    assert isinstance(verdict, Proved)
    return verdict.certificate


def swept(target: Network, relation, domain=BOX, backward: bool = False, **modes) -> Certificate:
    """A certificate of any claim with the honest codes for its two networks."""
    box = domain if isinstance(domain, Box) else None
    found = sweep(SOURCE, target, box, backward=backward, **modes)
    return Certificate(
        source=SOURCE, target=target, claim=Claim(relation, domain),
        evidence=(Evidence("e1", Sweep(found.codes, backward)),), conclusion="e1",
    )


def test_accepted_from_the_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "copy.onnx.certificate.json"
    save(proof(), path)
    accepted = check(load(path))
    assert accepted.holds and not accepted.compared and accepted.upper == 0
    assert "equal, over the reals, everywhere" in accepted.statement


@pytest.mark.parametrize(
    "domain",
    [
        Everywhere(), BOX, Binary(3), FiniteSet(Exact.of(np.eye(3))), Union((BOX, Binary(3))),
        Sequences(3, Box("0.1", "0.3")),
        Polytope(Exact.of(np.ones((1, 3))), Exact.of(np.ones(1)), BOX),
    ],
    ids=lambda domain: type(domain).__name__,
)
def test_every_domain_and_relation_survives_the_file(domain, tmp_path: Path) -> None:
    for relation in (Equal(), Within(Fraction(1, 7)), SameDecision(Fraction(1, 3))):
        certificate = proof(claim=Claim(relation, domain))
        save(certificate, tmp_path / "c.json")
        again = load(tmp_path / "c.json")
        assert check(again).holds
        assert again.claim.relation == relation and again.source == SOURCE
        save(again, tmp_path / "d.json")
        assert (tmp_path / "c.json").read_bytes() == (tmp_path / "d.json").read_bytes()


def kitchen_sink() -> Network:
    """Every primitive operator and every structure of linear map."""
    rng = np.random.default_rng(0)
    build = Builder((8,))
    conv = Conv(
        kernel=rng.normal(size=(2, 1, 3)).astype(np.float32), space=(8,), strides=(2,),
        pads=((1, 0),), dilations=(1,), groups=1,
    )
    h = build.add(Relu(), (build.linear(conv, 0, rng.normal(size=8)),), 8)
    cut = build.add(Select(np.array([3, 1, 1, 0])), (h,), 4)
    third = Exact.of([Fraction(1, 3), Fraction(-2, 7), Fraction(0), Fraction(5)])
    scaled = build.linear(Gather(indices=np.array([0, -1, 2, 3]), scale=third, inputs=4), cut)
    sparse = Csr.of(ExactSparse.of(Exact.of(rng.integers(-1, 2, (4, 8)))))
    z = build.linear([sparse, Gather(indices=np.arange(4), scale=None, inputs=4)], (h, scaled))
    parts = [
        build.add(Step(), (z,), 4), build.add(Opaque("tanh"), (z,), 4),
        build.add(Opaque("softmax", 2), (z,), 4), build.add(Product(), (z, scaled), 4),
    ]
    cell = Builder((3,))
    state = cell.add(Relu(), (cell.linear(Dense(rng.normal(size=(2, 3))), 0),), 2)
    inner = cell.build(cell.add(Concat(), (state, state), 4))
    start = build.linear([], [], np.array([0.5, 0.25]))
    parts.append(build.add(Scan(inner, 2, 4), (start, z), 2 + 4 * 2))
    return build.build(build.add(Concat(), tuple(parts), 26))


def test_every_operator_survives_the_file(tmp_path: Path) -> None:
    net = kitchen_sink()
    certificate = proof(net, net)
    save(certificate, tmp_path / "c.json")
    again = load(tmp_path / "c.json")
    assert again.source == net and check(again).holds


def test_large_arrays_go_to_a_sibling(tmp_path: Path) -> None:
    chain = networks.random_chain((600, 500, 10), 0)
    path = tmp_path / "big.onnx.certificate.json"
    save(
        proof(networks.network(chain), networks.network(networks.permuted(chain, 1))), path
    )
    sections = path.with_suffix(".bin")
    assert path.stat().st_size < 100_000 and sections.stat().st_size > 1 << 20
    assert check(load(path)).holds
    data = bytearray(sections.read_bytes())
    data[len(data) // 2] ^= 1
    sections.write_bytes(bytes(data))
    with pytest.raises(CertificateRejected, match="hash"):
        load(path)
    sections.unlink()
    with pytest.raises(CertificateRejected, match="missing"):
        load(path)


def test_a_certificate_is_not_named_like_its_arrays(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="json"):
        save(proof(), tmp_path / "c.bin")
    assert not list(tmp_path.iterdir())


def test_files_are_compared() -> None:
    certificate = replace(proof(), files=("a" * 64, "b" * 64))

    def loaded(net: Network, digest: str) -> Loaded:
        return Loaded(network=net, signature=Signature.of(net), origin="x.onnx", digest=digest)

    good = loaded(SOURCE, "a" * 64), loaded(COPY, "b" * 64)
    assert check(certificate, source=good[0], target=good[1]).compared
    with pytest.raises(CertificateRejected, match="sha256"):
        check(certificate, source=loaded(SOURCE, "c" * 64))
    with pytest.raises(CertificateRejected, match="not the network"):
        check(certificate, target=loaded(OTHER, "b" * 64))


# --- forgeries, with a valid seal -------------------------------------------------------------


def test_claim_of_equality_for_a_pair_that_differs() -> None:
    with pytest.raises(CertificateRejected):
        check(swept(OTHER, Equal()))
    with pytest.raises(CertificateRejected):
        check(replace(proof(), target=OTHER))
    with pytest.raises(CertificateRejected):
        check(swept(OTHER, Equal(), near=True))


def test_eps_below_the_truth() -> None:
    honest = prove_best(SOURCE, OTHER, BOX)
    assert isinstance(honest, Proved)
    attack = prove(SOURCE, OTHER, Claim(Equal(), BOX))
    assert isinstance(attack, Refuted) and 0 < attack.lower <= honest.upper
    forged = replace(honest.certificate, claim=Claim(Within(attack.lower / 2), BOX))
    with pytest.raises(CertificateRejected, match="bounded by"):
        check(forged)
    with pytest.raises(CertificateRejected, match="negative"):
        check(replace(honest.certificate, claim=Claim(Within(Fraction(-1)), BOX)))


def test_domain_widened() -> None:
    weight = np.array([[1.0, 1.0, 1.0]])
    build = Builder((3,))
    z = build.linear(Dense(weight), 0, np.array([3.0]))
    source = build.build(build.add(Relu(), (z,), 1))
    build = Builder((3,))
    target = build.build(build.linear(Dense(weight), 0, np.array([3.0])))
    certificate = proof(source, target, Claim(Equal(), BOX))
    wider = Box(Fraction(-1) - Fraction(1, 2**20), 1)
    with pytest.raises(CertificateRejected):
        check(replace(certificate, claim=Claim(Equal(), bound_to(wider, 3))))
    with pytest.raises(CertificateRejected):
        check(replace(certificate, claim=Claim(Equal())))


def with_codes(certificate: Certificate, change) -> Certificate:
    item = certificate.evidence[0]
    codes = tuple(change(i, entry) for i, entry in enumerate(item.data.codes))
    return replace(certificate, evidence=(Evidence("e1", Sweep(codes)),))


def recoded_node(certificate: Certificate, node: int, codes: Codes) -> Certificate:
    return with_codes(certificate, lambda i, entry: codes if i == node else entry)


def recoded(codes: Codes, code: int) -> Codes:
    empty = Codes.all_new(len(codes.code))
    return Codes(
        code=np.full(len(codes.code), code, dtype=np.uint8), partner=empty.partner,
        factor=empty.factor,
    )


def test_wrong_codes() -> None:
    good = proof(claim=Claim(Equal(), BOX))
    for code in (Code.DEAD, Code.LINEAR):
        for node in range(4):
            with pytest.raises(CertificateRejected):
                check(with_codes(good, lambda i, c, n=node, k=code: recoded(c, k) if i == n else c))

    def partner(i: int, codes: Codes, to) -> Codes:
        moved = np.array([to(int(k)) for k in codes.partner], dtype=np.int64)
        return replace(codes, partner=moved)

    for to in (lambda k: k + 1, lambda k: k + 10**6, lambda k: 0, lambda k: 1, lambda k: -1):
        with pytest.raises(CertificateRejected):
            check(with_codes(good, lambda i, c, t=to: partner(i, c, t)))

    def factor(codes: Codes, change) -> Codes:
        values = [change(v) for v in codes.factor.fractions()]
        return replace(codes, factor=exact_fractions(values, (len(values),)))

    tiny = Fraction(1, 2**60)
    for change in (lambda v: -v, lambda v: v * 2, lambda v: v * 0, lambda v: v + tiny):
        with pytest.raises(CertificateRejected):
            check(with_codes(good, lambda i, c, f=change: factor(c, f)))


def test_wrong_number_of_codes() -> None:
    good = proof()
    codes = good.evidence[0].data.codes
    for wrong in (codes[:-1], (*codes, codes[-1]), codes[::-1], ()):
        with pytest.raises(CertificateRejected):
            check(replace(good, evidence=(Evidence("e1", Sweep(wrong)),)))


def test_harmless_hints_may_change() -> None:
    """Ranges more precise than needed do no harm."""
    good = proof(claim=Claim(Equal(), BOX))
    assert check(with_codes(good, lambda i, c: replace(c, backward=True))).holds


def test_evidence_out_of_order() -> None:
    good = proof()
    item = good.evidence[0]
    forward = (replace(item, uses=("e2",)), replace(item, id="e2"))
    with pytest.raises(CertificateRejected, match="before"):
        check(replace(good, evidence=forward))
    with pytest.raises(CertificateRejected, match="before"):
        check(replace(good, evidence=(replace(item, uses=("e1",)),)))
    with pytest.raises(CertificateRejected, match="twice"):
        check(replace(good, evidence=(item, item)))
    with pytest.raises(CertificateRejected, match="conclusion"):
        check(replace(good, conclusion="e9"))
    with pytest.raises(CertificateRejected):
        check(replace(good, claim=Claim(Equal(), Everywhere(), Arithmetic.FLOAT32)))


def test_witnesses() -> None:
    verdict = prove(SOURCE, OTHER, Claim(Equal(), BOX))
    assert isinstance(verdict, Refuted)
    good = verdict.certificate
    assert not check(good).holds
    point = verdict.witness.point
    outside = Exact.of([Fraction(1) + Fraction(1, 2**60), Fraction(0), Fraction(0)])
    for bad in (outside, point[:2], Exact.zeros(3).reshape(1, 3)):
        with pytest.raises(CertificateRejected):
            check(replace(good, evidence=(Evidence("e1", Counterexample(bad)),)))
    with pytest.raises(CertificateRejected, match="holds at this point"):
        check(replace(good, target=COPY))
    gap = (evaluate_exact(SOURCE, point) - evaluate_exact(OTHER, point)).max_abs()
    with pytest.raises(CertificateRejected, match="holds at this point"):
        check(replace(good, claim=Claim(Within(gap), BOX)))
    assert not check(replace(good, claim=Claim(Within(gap * Fraction(999, 1000)), BOX))).holds


def test_enumeration_needs_a_finite_domain() -> None:
    good = proof(claim=Claim(Equal(), Binary(3)))
    listed = replace(good, evidence=(Evidence("e1", Enumerate()),))
    assert check(listed).holds
    last = networks.replace(CHAIN[-1], bias=CHAIN[-1].bias + np.float32(2.0**-20))
    shifted = networks.network((*CHAIN[:-1], last))
    with pytest.raises(CertificateRejected):
        check(replace(listed, target=shifted))
    with pytest.raises(CertificateRejected, match="finite"):
        check(replace(listed, claim=Claim(Equal(), BOX)))


def test_rounding() -> None:
    exact_copy = networks.network(networks.rescaled(CHAIN, 1, powers_of_two=False))
    file = rounded(exact_copy, np.float32)
    verdict = prove_rounding(exact_copy, file, SOURCE, Everywhere())
    assert isinstance(verdict, Proved)
    good = verdict.certificate
    accepted = check(good)
    assert accepted.holds and "rounds" in accepted.statement
    nudge = networks.network(
        networks.nudged(networks.rounded(networks.rescaled(CHAIN, 1, powers_of_two=False)), 1)
    )
    with pytest.raises(CertificateRejected, match="nearest"):
        check(replace(good, target=nudge))
    with pytest.raises(CertificateRejected, match="says nothing about the target"):
        check(replace(good, conclusion="e1"))
    alone = Evidence("e2", Rounding())
    with pytest.raises(CertificateRejected, match="without a proof"):
        check(replace(good, evidence=(good.evidence[0], alone)))


# --- the file ---------------------------------------------------------------------------------


def numbers_in(record, path=()):
    """Paths of all numbers and digit strings of a JSON value."""
    if isinstance(record, dict):
        for key, value in record.items():
            yield from numbers_in(value, (*path, key))
    elif isinstance(record, list):
        for i, value in enumerate(record):
            yield from numbers_in(value, (*path, i))
    elif isinstance(record, int) and not isinstance(record, bool):
        yield path


def changed(record, path, value):
    copy = json.loads(json.dumps(record))
    place = copy
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value(place[path[-1]])
    return copy


def test_any_changed_number_breaks_the_seal(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    save(proof(claim=Claim(Within(Fraction(1, 7)), BOX)), path)
    record = json.loads(path.read_text())
    paths = list(numbers_in(record))
    assert len(paths) > 50
    for at in paths:
        path.write_text(json.dumps(changed(record, at, lambda n: n + 1)))
        with pytest.raises(CertificateRejected, match="seal|changed"):
            load(path)


def test_resealed_edits_of_a_false_neighbour_are_never_accepted(tmp_path: Path) -> None:
    """Single edits of certificates that claim too much, sealed again: none is accepted as the false
    claim; whatever is accepted is another claim that holds."""
    path = tmp_path / "c.json"
    save(swept(OTHER, Equal()), path)
    record = json.loads(path.read_text())
    rng = random.Random(0)
    paths = list(numbers_in(record))
    for _ in range(400):
        at = rng.choice(paths)
        edit = changed(record, at, lambda n: max(0, n + rng.choice([-2, -1, 1, 2, 1000, 2**40])))
        edit["seal"] = seal(edit)
        path.write_text(json.dumps(edit))
        try:
            certificate = load(path)
            accepted = check(certificate)
        except CertificateRejected:
            continue
        same = certificate.source == SOURCE and certificate.target == OTHER
        assert not (same and accepted.holds and isinstance(certificate.claim.relation, Equal))


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "null", "1", '{"schema": 1}', '{"a": 1, "a": 2}', '{"x": 1.5}',
        '{"x": NaN}', "[" * 100_000, '{"schema": "isoform.certificate/2"}',
        '{"schema": "isoform.certificate/1", "seal": "0"}', '"' + "9" * 10_000 + '"',
        "9" * 100_001,
    ],
)
def test_malformed_files_are_rejected(text: str, tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    path.write_text(text)
    with pytest.raises(CertificateRejected):
        load(path)


def test_structural_edits_are_rejected(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    save(proof(), path)
    record = json.loads(path.read_text())

    def rejected(edit) -> None:
        copy = json.loads(json.dumps(record))
        edit(copy)
        copy["seal"] = seal(copy)
        path.write_text(json.dumps(copy))
        with pytest.raises(CertificateRejected):
            check(load(path))

    rejected(lambda c: c.pop("claim"))
    rejected(lambda c: c.update(more=1))
    rejected(lambda c: c["evidence"][0].update(kind="oracle"))
    rejected(lambda c: c["claim"].update(relation="trust me"))
    rejected(lambda c: c["claim"].update(arithmetic="float7"))
    rejected(lambda c: c["arrays"].pop())
    rejected(lambda c: c["arrays"][0].update(shape=[2**40]))
    rejected(lambda c: c["arrays"][0].update(data="!!!!"))
    rejected(lambda c: c["arrays"][0].update(kind="object"))
    rejected(lambda c: c["networks"]["target"].update(sha256="0" * 64))
    rejected(lambda c: c["networks"]["source"]["nodes"][0].update(op="python"))
    rejected(lambda c: c["networks"]["source"]["nodes"][0].update(of=[7]))
    rejected(lambda c: c["domain"].update(kind="box"))
    rejected(lambda c: c.update(arrays=5))


def test_slopes_are_hints_only() -> None:
    """Units that only a linear programme shows to be stable: the slopes are needed, and no slopes
    make an unstable unit stable."""
    rng = np.random.default_rng(1)
    proved = 0
    for seed in range(30):
        chain = networks.random_chain((3, 8, 8, 2), seed)
        net = networks.network(chain)
        found = sweep(net, net, BOX, backward=True, programme=True)
        certificate = Certificate(
            source=net, target=net, claim=Claim(Equal(), BOX),
            evidence=(Evidence("e1", Sweep(found.codes)),), conclusion="e1",
        )
        assert check(certificate).holds
        for node, codes in enumerate(found.codes):
            if codes.refined is None:
                continue
            proved += 1
            bare = replace(codes, refined=None, slopes=None)
            with pytest.raises(CertificateRejected):
                check(recoded_node(certificate, node, bare))
            cut = replace(codes, slopes=codes.slopes[:, :-1])
            with pytest.raises(CertificateRejected, match="slopes"):
                check(recoded_node(certificate, node, cut))
            unstable = np.flatnonzero(codes.code == Code.NEW)
            if not len(unstable):
                continue
            code = codes.code.copy()
            code[unstable[0]] = Code.DEAD
            wild = rng.integers(0, 2**16, (len(codes.refined) + 1, codes.slopes.shape[1]))
            forged = replace(
                codes, code=code, refined=np.append(codes.refined, unstable[0]),
                slopes=wild.astype(np.uint16),
            )
            with pytest.raises(CertificateRejected):
                check(recoded_node(certificate, node, forged))
    assert proved > 3
