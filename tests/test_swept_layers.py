# SPDX-License-Identifier: Apache-2.0
"""Layers that an exact sweep leaves: the same function whatever the codes, or none; their trees.
"""

from __future__ import annotations

import random
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import attack_networks as attack
import isoform as iso
import networks
from equivalence import variants
from isoform import api
from isoform.certificate.basis import Basis
from isoform.certificate.certificate import Certificate
from isoform.certificate.check import check
from isoform.certificate.codes import Code, Codes
from isoform.certificate.evidence import Evidence
from isoform.certificate.sweep import run
from isoform.certificate.swept_layers import layers_of, swept_layers
from isoform.certificate.tree_evidence import Trees
from isoform.certificate.verdict import Proved
from isoform.errors import CertificateRejected
from isoform.network.claim import Avoids, Claim, Forbidden, Within
from isoform.network.domain import Box, Domain, Union, bound_to
from isoform.network.evaluate import evaluate_exact
from isoform.network.linear_map import Dense
from isoform.network.network import Builder, Network
from isoform.network.operators import Opaque, Relu, Step
from isoform.network.unit_layers import UnitLayers
from isoform.numerics.exact import Exact
from isoform.verify.compared_layers import compared
from isoform.verify.prove import prove
from tree_claims import ALONE, BESIDE, BOX, WITHIN, F, G, accepted, certificate, leaf

SHALLOW = networks.random_chain((3, 8, 2), 4)
DEEP = variants.deepened(SHALLOW)
CUBE = Box([-1] * 3, [1] * 3)


# --- whatever the codes ---------------------------------------------------------------------------


def outputs(layers: UnitLayers, point: list[Fraction]) -> list[Fraction]:
    """Values of layers at a point."""
    seen = [Fraction(1), *point]
    for layer in layers.layers:
        assert layer.name == "relu" and layer.rows.shape[1] == len(seen)
        seen += [max(z, Fraction(0)) for z in rows_at(layer.rows, seen)]
    return rows_at(layers.outputs, seen)


def rows_at(rows, seen: list[Fraction]) -> list[Fraction]:
    return [
        sum((w * seen[c] for c, w in rows.row_fractions(i).items()), Fraction(0))
        for i in range(rows.shape[0])
    ]


def judge_layers(seed: int, count: int) -> int:
    """Honest and forged codes for random graphs: layers that are left compute what the network
    does, on the whole domain. Returns how often some were left."""
    rng, done = random.Random(seed), 0
    for _ in range(count):
        n = rng.choice([1, 2, 3])
        net = attack.any_network(rng, n, smooth=False)
        low = [Fraction(rng.choice([-1, 0, Fraction(-2, 3), -2])) for _ in range(n)]
        high = [a + Fraction(rng.choice([0, 1, Fraction(1, 2), 3])) for a in low]
        basis = Basis.on(bound_to(Box(low, high), n), n)
        forger = attack.Forger(basis, rng, rng.choice([0.0, 0.5, 1.0]))
        try:
            values = [run(net, basis, forger), run(net, basis, forger)]
            found = [layers_of(value, basis) for value in values]
        except CertificateRejected:
            continue
        done += 1
        for _ in range(6):
            point = [rng.choice([a, b, a + (b - a) * Fraction(rng.randrange(13), 12)])
                     for a, b in zip(low, high, strict=True)]
            truth = evaluate_exact(net, Exact.of(point)).fractions()
            for layers in found:
                assert outputs(layers, point) == truth, seed
    return done


def test_layers_compute_what_the_network_does_whatever_the_codes() -> None:
    assert judge_layers(1, 150) > 40


@pytest.mark.slow
def test_layers_compute_what_the_network_does_at_length() -> None:
    assert judge_layers(2, 4000) > 1000


def test_a_deep_copy_has_the_layers_of_its_source() -> None:
    first, second = networks.network(SHALLOW), networks.network(variants.reordered(DEEP, 2))
    found = compared(first, second, CUBE)
    assert found.codes is not None and found.depth == 2
    again = swept_layers(first, second, CUBE, found.codes)
    point = [Fraction(1, 3), Fraction(-5, 7), Fraction(1, 8)]
    values = [outputs(layers, point) for layers in (found.source, found.target, *again)]
    assert all(value == values[0] for value in values)
    assert values[0] == evaluate_exact(first, Exact.of(point)).fractions()


def test_two_layers_stay_two() -> None:
    """Units that read units; one of the first layer that nobody reads is not among them."""
    first = networks.random_chain((2, 4, 3, 1), 1)
    weight = first[1].weight.copy()
    weight[:, 2] = 0
    net = networks.network((first[0], replace(first[1], weight=weight), first[2]))
    codes = tuple(Codes.all_new(n) for n in (4, 3, 4, 3))
    for layers in swept_layers(net, net, Box([-1] * 2, [1] * 2), codes):
        assert [layer.size for layer in layers.layers] == [3, 3]
        point = [Fraction(1, 3), Fraction(-5, 7)]
        assert outputs(layers, point) == evaluate_exact(net, Exact.of(point)).fractions()


def test_ordinary_pairs_stay_as_they_are() -> None:
    chain = networks.random_chain((3, 8, 8, 2), 1)
    pair = networks.network(chain), networks.network(variants.halved(chain))
    assert compared(*pair, CUBE).codes is None


def unit_network(operator: Relu | Step | Opaque) -> Network:
    build = Builder((1,))
    return build.build(build.add(operator, (build.linear(Dense(np.eye(1)), 0),), 1))


def test_radii_other_units_and_codes_too_many_leave_none() -> None:
    relu, new = unit_network(Relu()), Codes.all_new(1)
    wrong = replace(new, code=np.array([Code.LINEAR], dtype=np.uint8))
    for net, codes, why in (
        (relu, (new, wrong), "radii"), (relu, (new, new, new), "more codes"),
        (relu, (new,), "fewer codes"), (unit_network(Step()), (new, new), "kind step"),
        (unit_network(Opaque("tanh")), (new, new), "kind tanh"),
    ):
        with pytest.raises(CertificateRejected, match=why):
            swept_layers(net, net, BOX, codes)
    assert swept_layers(relu, relu, BOX, (new, new))[0].units == 1
    merged = replace(new, code=np.array([Code.MERGE], dtype=np.uint8), partner=np.array([2]),
                     factor=Exact.of([Fraction(999, 1000)]))
    with pytest.raises(CertificateRejected, match="kind error"):  # a residue is no unit
        swept_layers(relu, relu, BOX, (new, merged))


# --- trees over them ------------------------------------------------------------------------------


def proof(claim: Claim, target: networks.Chain) -> Certificate:
    made = prove(networks.network(SHALLOW), networks.network(target), claim, timeout=5)
    assert isinstance(made, Proved)
    data = made.certificate.evidence[0].data
    assert isinstance(data, Trees) and data.codes is not None
    return made.certificate


def seen(target: networks.Chain, low: list[float], high: list[float]) -> Fraction:
    points = variants.sampled(np.array(low), np.array(high))
    return Fraction(variants.largest_seen(SHALLOW, target, points))


@pytest.mark.parametrize("domain", [
    CUBE, Box(["-0.4", "0", "0.5"], ["0.25", "0", "1"]),
    Union((Box([-1] * 3, [0, 1, 1]), Box([0, -1, -1], [1, 1, 1]))),
])
def test_rounded_deep_copies_are_proved_within_eps(domain: Domain, tmp_path: Path) -> None:
    half = variants.halved(DEEP)
    eps = 2 * seen(half, [-1] * 3, [1] * 3)
    made = proof(Claim(Within(eps), domain), half)
    path = tmp_path / "certificate.json"
    api.save(made, path)
    assert iso.check(path).holds
    data = made.evidence[0].data
    with pytest.raises(CertificateRejected):  # the slots are those of other layers
        check(replace(made, evidence=(Evidence("e1", replace(data, codes=None)),)))


def test_the_evidence_proves_no_less_and_nothing_else() -> None:
    half = variants.halved(DEEP)
    least = seen(half, [-1] * 3, [1] * 3)
    made = proof(Claim(Within(2 * least), CUBE), half)
    narrow = replace(made, claim=Claim(Within(least * Fraction(99, 100)), CUBE))
    wide = replace(made, claim=Claim(Within(2 * least), Box([-20] * 3, [20] * 3)))
    moved = networks.network(variants.moved(half, np.ones((1, 3)), 0.1))
    for forged in (narrow, wide, replace(made, target=moved)):
        assert not accepted(forged)
    data = made.evidence[0].data
    at = next(i for i, codes in enumerate(data.codes) if codes.slopes is not None)
    codes = data.codes[at]
    flat = replace(codes, slopes=codes.slopes * np.uint16(0))
    bold = replace(data.codes[0], code=np.full_like(data.codes[0].code, Code.LINEAR))
    for changed in (
        (*data.codes[:at], flat, *data.codes[at + 1 :]), (bold, *data.codes[1:]),
        data.codes[1:], data.codes[::-1], (), (*data.codes, data.codes[-1]),
    ):
        assert not accepted(
            replace(made, evidence=(Evidence("e1", replace(data, codes=changed)),))
        )


def test_a_changed_carry_is_never_within_less_than_it_does() -> None:
    """The last bit of a carry's weight, and a large change: the claim of half of it is not proved.
    """
    for by in (2.0**-20, 0.25):
        deep = list(DEEP)
        weight = deep[3].weight.copy()
        weight[4, 4] += np.float32(by)
        deep[3] = replace(deep[3], weight=weight)
        difference = seen(tuple(deep), [-1] * 3, [1] * 3)
        assert difference > 0
        claim = Claim(Within(difference / 2), CUBE)
        verdict = prove(networks.network(SHALLOW), networks.network(tuple(deep)), claim, timeout=1)
        assert not isinstance(verdict, Proved)


def judge_trees() -> None:
    """What a person would try with one unit: F and G are apart by 1/8 on BOX."""
    new = Codes.all_new(1)
    honest = Trees(BESIDE, 40, (leaf(0, 1),), codes=(new, new))
    assert accepted(certificate(F, G, WITHIN, honest))
    below = Claim(Within(Fraction(1, 9)), BOX)
    merged = replace(new, code=np.array([Code.MERGE], dtype=np.uint8), partner=np.array([2]),
                     factor=Exact.of([Fraction(1)]))
    dead = replace(new, code=np.array([Code.DEAD], dtype=np.uint8))
    for codes in ((new, new), (new, merged), (dead, dead), (new, dead), (dead, new)):
        for slots in (BESIDE, ALONE, (), BESIDE[:0], ALONE[:1], ALONE[1:]):
            assert not accepted(
                certificate(F, G, below, Trees(slots, 40, (leaf(0, 1),), codes=codes))
            )
    wider = Claim(Within(Fraction(1, 7)), Box([-1], [2]))
    assert not accepted(certificate(F, G, wider, honest))
    halves = Claim(Within(Fraction(1, 7)), Union((Box([-2], [-1]), Box([1], [2]))))
    live = replace(new, code=np.array([Code.LINEAR], dtype=np.uint8))
    both = (leaf(0, 1), leaf(0, 1, part=1))
    for codes in ((dead, dead), (live, live), (new, new)):  # dead on one part, live on the other
        for slots in ((), BESIDE):
            assert not accepted(certificate(F, G, halves, Trees(slots, 40, both, codes=codes)))


def test_one_unit_and_what_a_person_would_try() -> None:
    judge_trees()


def test_properties_of_one_deep_network() -> None:
    """Avoids: no output above what the shallow network reaches; carries do not blur it."""
    points = variants.sampled(np.array([-1.0] * 3), np.array([1.0] * 3))
    top = Fraction(float(variants.values(SHALLOW, points)[:, 0].max()))
    row = [0, 0, 0, 1, 0, 0, 0]
    deep = networks.network(DEEP)
    for above, holds in ((top + 1, True), (top - Fraction(1, 100), False)):
        over = Forbidden(Exact.of([[-v for v in row]]), Exact.of([-above]), (False,))
        verdict = prove(deep, deep, Claim(Avoids((over,)), CUBE), timeout=5)
        assert isinstance(verdict, Proved) is holds
