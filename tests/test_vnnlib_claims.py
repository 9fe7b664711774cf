# SPDX-License-Identifier: Apache-2.0
"""What a query asks of networks: the same points, counted by brute force; verdicts in its words."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import isoform as iso
from isoform.certificate.check import check
from isoform.certificate.evidence import Counterexample, Evidence
from isoform.certificate.points import slacks, violated
from isoform.errors import CertificateRejected, DomainError, FormatError, Refused
from isoform.formats.vnnlib.claims import Asked, network_query
from isoform.formats.vnnlib.export import claim_query, query_text
from isoform.formats.vnnlib.linear import Row
from isoform.formats.vnnlib.reader import query_of
from isoform.forms.model import Model
from isoform.network.claim import Avoids, Claim, Comparison, Equal, SameDecision, Within
from isoform.network.domain import Binary, Box, Polytope, Union, contains, hull
from isoform.network.evaluate import evaluate_exact
from isoform.network.linear_map import Dense
from isoform.network.model import Loaded, Signature, Tensor
from isoform.network.network import Builder, Network
from isoform.network.operators import Relu
from isoform.numerics.enclosure import Enclosure
from isoform.numerics.exact import Exact
from isoform.verify.prove import prove
from vnnlib_texts import acas, box, declared, monotone, same, two


def small(n: int, m: int, seed: int, bump: float = 0.0) -> Network:
    """A random ReLU network with quarters as weights."""
    random = np.random.default_rng(seed)
    build = Builder((n,))
    bias = random.integers(-4, 5, 5) / 4
    first = build.linear(Dense(random.integers(-4, 5, (5, n)) / 4), 0, bias)
    hidden = build.add(Relu(), (first,), 5)
    last = random.integers(-4, 5, (m, 5)) / 4
    last[0, 0] += bump
    return build.build(build.linear(Dense(last), hidden, random.integers(-4, 5, m) / 4))


def loaded(network: Network, batch: str | None = "N") -> Loaded:
    return Loaded(network=network, signature=replace(Signature.of(network), batch=batch), origin="")


def satisfied(asked: Asked, values: list[Fraction]) -> bool:
    """Whether an assignment of all entries meets the query, by its own rows."""
    def holds(row: Row) -> bool:
        total = sum((factor * values[entry] for entry, factor in row.terms), Fraction(0))
        return total < row.bound or total == row.bound and not row.strict

    return all(map(holds, asked.query.common)) and any(
        all(map(holds, branch)) for branch in asked.query.branches)


def forbidden_at(asked: Asked, point: Exact) -> tuple[bool, list[Fraction]]:
    """Whether the claim forbids a point, and the values of all entries of the query there."""
    f = Enclosure.of(evaluate_exact(asked.source, point))
    g = Enclosure.of(evaluate_exact(asked.target, point))
    z = [*point.fractions(), *f.low.fractions(), *g.low.fractions()]
    relation = asked.claim.relation
    assert isinstance(relation, Avoids)
    inside = contains(asked.claim.domain, point) and any(
        all(slack < 0 or slack == 0 and not strict
            for slack, strict in zip(slacks(part, point, f, g)[1].fractions(), part.strict,
                                     strict=True))
        for part in relation.forbidden
    )
    return inside, [z[column] for column in asked.columns]


TERMS = st.lists(st.tuples(st.integers(0, 5), st.sampled_from([-2, -1, 1, 1, 2])), min_size=1,
                 max_size=3)


@st.composite
def random_queries(draw: st.DrawFn) -> str:
    """Two networks [1,2] -> [1,1], inputs shared, partly shared or free, random rows."""
    names = ["X[0,0]", "X[0,1]", "Y[0,0]", "U[0,0]", "U[0,1]", "V[0,0]"]

    def row() -> str:
        terms = [f"(* {factor} {names[at]})" for at, factor in draw(TERMS)]
        sign = draw(st.sampled_from(["<=", "<", ">=", ">"]))
        return f"({sign} (+ {' '.join(terms)}) {draw(st.integers(-3, 3))})"

    shared = draw(st.integers(0, 2))
    links = "".join(
        draw(st.sampled_from([f"(assert (== X[0,{i}] U[0,{i}]))",
                              f"(assert (and (<= X[0,{i}] U[0,{i}]) (>= X[0,{i}] U[0,{i}])))"]))
        for i in range(shared))
    branches = " ".join(f"(and {row()} {row()})" for _ in range(draw(st.integers(1, 3))))
    rows = "".join(f"(assert {row()})" for _ in range(draw(st.integers(0, 2))))
    relation = draw(st.sampled_from(["", "(equal-to f)", "(isomorphic-to f)"]))
    return (two(relation) + box("X", 2, -1, 1) + box("U", 2, -1, 1) + links + rows
            + f"(assert (or {branches}))")


@settings(max_examples=50, deadline=None)
@given(random_queries(), st.integers(0, 1000))
def test_a_claim_forbids_exactly_what_the_query_asks_for(text: str, seed: int) -> None:
    query = query_of(text)
    nets = {"f": loaded(small(2, 1, seed)), "g": loaded(small(2, 1, seed + 1))}
    if query.networks[1].relation == ("equal-to", "f"):
        del nets["g"]
    try:
        asked = network_query(query, nets)
    except DomainError:
        asked = None  # no input meets the rows: then no point of the grid may
    if asked is not None and not isinstance(asked.claim.relation, Avoids):
        return
    grid = [Fraction(i, 2) for i in range(-2, 3)]
    second = nets.get("g", nets["f"])
    random = np.random.default_rng(seed)
    for _ in range(40):
        if asked is None:
            x, u = ([grid[random.integers(5)] for _ in range(2)] for _ in range(2))
            for i in range(2):
                if f"X[0,{i}] U[0,{i}]" in text and random.integers(2):
                    u[i] = x[i]
            values = [*x, *outputs(nets["f"], x), *u, *outputs(second, u)]
            shell = Asked(query=query, source=second.network, target=second.network,
                          claim=Claim(Equal()), columns=np.arange(6), files=None)
            assert not satisfied(shell, values)
            continue
        point = Exact.of(np.array([grid[random.integers(5)] for _ in range(
            asked.source.dimension)], dtype=object))
        inside, values = forbidden_at(asked, point)
        assert inside == satisfied(asked, values)
        x, u = values[0:2], values[3:5]
        assert values[2:3] == outputs(nets["f"], x) and values[5:] == outputs(second, u)


def outputs(net: Loaded, x: list[Fraction]) -> list[Fraction]:
    value = evaluate_exact(net.network, Exact.of(np.array(x, dtype=object)))
    assert isinstance(value, Exact)
    return value.fractions()


# --- cases ----------------------------------------------------------------------------------------


def asked_of(text: str, *networks: Network) -> Asked:
    query = query_of(text)
    needed = [net.name for net in query.networks if net.relation is None
              or net.relation[0] != "equal-to"]
    return network_query(query, dict(zip(needed, map(loaded, networks), strict=True)), "a query")


def test_one_network() -> None:
    text = "(declare-const X_0 Real)(declare-const Y_0 Real)(declare-const Y_1 Real)" \
           "(assert (and (>= X_0 0) (<= X_0 0.1)))(assert (or (and (>= Y_0 Y_1)) " \
           "(and (> X_0 0.05) (>= Y_1 3))))"
    asked = asked_of(text, small(1, 2, 0))
    assert asked.source is asked.target and asked.files == ("N", "N")
    assert asked.claim.domain.high.fractions() == [Fraction(1, 10)]
    parts = asked.claim.relation.forbidden
    assert [part.rows.shape for part in parts] == [(1, 5), (2, 5)]
    assert not any(part.rows[:, 3:].any() for part in parts)  # nothing about g
    assert parts[1].strict == (True, False) and str(asked.claim.relation) == "a query"


def test_shared_inputs_keep_two_networks() -> None:
    text = two() + box("X", 2, 0, 1) + same(2) + "(assert (> (+ Y[0,0] V[0,0]) 1))"
    asked = asked_of(text, small(2, 1, 0), small(2, 1, 1))
    assert asked.files == ("f", "g") and asked.source is not asked.target
    assert asked.columns.tolist() == [0, 1, 2, 0, 1, 3]
    crossed = text.replace("X[0,0] U[0,0]", "X[0,0] U[0,1]").replace(
        "X[0,1] U[0,1]", "X[0,1] U[0,0]")
    assert asked_of(crossed, small(2, 1, 0), small(2, 1, 1)).files is None


def test_a_known_relation_is_recognised() -> None:
    head = two(n=1, m=2) + box("X", 1, 0, 1) + same(1)

    def relation(rows: str) -> Comparison:
        nets = small(1, 2, 0), small(1, 2, 1)
        return asked_of(head + f"(assert (or {rows}))", *nets).claim.relation

    sides = [(f"(> (- V[0,{i}] Y[0,{i}]) ", f"(< V[0,{i}] (- Y[0,{i}] ") for i in range(2)]
    rows = "".join(f"{up}0.25){down}0.25))" for up, down in sides)
    assert relation(rows) == Within(Fraction(1, 4))
    each = "".join(f"{up}{i}){down}{i}))" for i, (up, down) in enumerate(sides))
    assert relation(each) == Within((Fraction(0), Fraction(1)))
    assert relation(rows.replace("0.25", "0")) == Equal()
    assert isinstance(relation(rows.replace("(> ", "(>= ")), Avoids)  # closed: a little more
    assert isinstance(relation("".join(f"{up}0.25)" for up, _ in sides)), Avoids)  # one side
    assert relation("(and (>= Y[0,0] Y[0,1]) (< V[0,0] V[0,1]))"
                    "(and (>= Y[0,1] Y[0,0]) (< V[0,1] V[0,0]))") == SameDecision()


def test_monotonicity_is_proved_and_refuted() -> None:
    build = Builder((2,))
    inner = build.add(Relu(), (build.linear(Dense(np.array([[1.0, -1], [2, 0.5]])), 0,
                                            np.array([0.0, -0.5])),), 2)
    rising = build.build(build.linear(Dense(np.array([[1.0, 0.25]])), inner))
    up = asked_of(monotone(2), rising)
    assert up.files is None and up.source.dimension == 3  # one input is shared
    verdict = prove(up.source, up.target, up.claim, timeout=20)
    assert isinstance(verdict, iso.Proved)
    down = asked_of(monotone(2, at=1), rising)
    verdict = prove(down.source, down.target, down.claim, timeout=20)
    assert isinstance(verdict, iso.Refuted) and not check(verdict.certificate).holds
    x, u = verdict.witness.point.fractions()[:2], verdict.witness.point.fractions()[2]
    assert u >= x[1]
    with pytest.raises(CertificateRejected):  # a point of the domain where nothing is wrong
        check(replace(verdict.certificate, evidence=(
            Evidence("e1", Counterexample(Exact.zeros(3))),)))


def test_three_networks() -> None:
    text = two() + declared("h", "AB", (1, 2), (1, 1)) + "\n".join(
        box(letter, 2, 0, 1) for letter in "XUA") + same(2)
    asked = asked_of(text + "(assert (> (- Y[0,0] V[0,0]) B[0,0]))",
                     *(small(2, 1, k) for k in range(3)))
    assert asked.source.dimension == 4 and asked.source.output_dimension == 3


def test_inputs_and_outputs_by_onnx_name() -> None:
    build = Builder((1,), (2,))
    first = build.linear((Dense(np.eye(1)), Dense(np.array([[10.0, 100.0]]))), (0, 1))
    net = build.build(first)
    ends = Signature(inputs=(Tensor("a", (1,)), Tensor("b", (2,))), outputs=(Tensor("c", (1,)),))
    text = '(vnnlib-version <2.0>)(declare-network f (declare-input P Real [1,2] "b")' \
           '(declare-input Q Real [1,1] "a")(declare-output R Real [1,1] "c"))' \
           "(assert (and (>= Q[0,0] 0) (<= Q[0,0] 1) (>= P[0,0] 2) (<= P[0,0] 3) (>= P[0,1] 4) " \
           "(<= P[0,1] 5)))(assert (>= R[0,0] 0))"
    held = Loaded(network=net, signature=ends, origin="")
    asked = network_query(query_of(text), {"f": held})
    assert asked.claim.domain.low.fractions() == [0, 2, 4]
    assert asked.columns.tolist() == [1, 2, 0, 3]
    with pytest.raises(Refused, match="no input 'z'; its file has a, b"):
        network_query(query_of(text.replace('"b"', '"z"')), {"f": held})
    with pytest.raises(FormatError, match="or none"):
        network_query(query_of(text.replace('"b"', "")), {"f": held})
    with pytest.raises(FormatError, match="the same name"):
        network_query(query_of(text.replace('[1,2] "b"', '[1,1] "a"').replace("P[0,1]", "P[0,0]")),
                      {"f": held})


FLAT = "(declare-const X_0 Real)(declare-const X_1 Real)(declare-const Y_0 Real)"


@pytest.mark.parametrize(("rows", "error", "message"), [
    ("(assert (<= X_0 1))(assert (<= X_1 1))(assert (>= X_1 0))", DomainError,
     "1 input without a lower or an upper bound: X_0"),
    ("(assert (or (and (<= X_0 1) (>= X_0 0)) (<= X_0 2)))(assert (and (<= X_1 1) (>= X_1 0)))",
     DomainError, "X_0"),
    ("(assert (and (<= X_0 1) (>= X_0 2) (<= X_1 1) (>= X_1 0)))", DomainError, "unsat whatever"),
    ("(assert (and (<= X_0 1) (>= X_0 0) (<= X_1 1) (>= X_1 0)))(assert (> (+ X_0 X_1) 2))",
     DomainError, "unsat whatever"),
    ("(assert (and (<= X_0 1) (>= X_0 0) (<= X_1 1) (>= X_1 0)))(assert (<= 1 0))",
     DomainError, "unsat whatever"),
])
def test_domains_that_are_refused(rows: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        asked_of(FLAT + rows, small(2, 1, 0))


def test_rows_about_inputs_stay_where_the_hull_does_not_imply_them() -> None:
    rows = "(assert (and (<= X_0 1) (>= X_0 0) (<= X_1 1) (>= X_1 0)))"
    asked = asked_of(FLAT + rows + "(assert (or (and (<= X_0 0.5) (>= Y_0 1)) (and (>= X_0 5) "
                     "(>= Y_0 2)) (and (<= (+ X_0 X_1) 2) (>= Y_0 3))))", small(2, 1, 0))
    assert [part.rows.shape[0] for part in asked.claim.relation.forbidden] == [2, 1]
    everything = asked_of(FLAT + rows, small(2, 1, 0))  # no row at all: every point is sat
    verdict = prove(everything.source, everything.target, everything.claim, timeout=5)
    assert isinstance(verdict, iso.Refuted)


def test_networks_that_do_not_fit() -> None:
    text = two() + box("X", 2, 0, 1) + same(2) + "(assert (> Y[0,0] V[0,0]))"
    query, nets = query_of(text), {"f": loaded(small(2, 1, 0)), "g": loaded(small(2, 1, 1))}
    for change, message in [
        ({"h": nets["f"]}, "h is not declared"), ({"g": None}, "no file for g"),
        ({"g": loaded(small(3, 1, 0))}, r"U has the shape \[1, 2\], 2 numbers"),
        ({"f": loaded(small(2, 3, 0))}, r"Y has the shape \[1, 1\]"),
    ]:
        given = {k: v for k, v in (nets | change).items() if v is not None}
        with pytest.raises(Refused, match=message):
            network_query(query, given)


# --- claims that become queries -------------------------------------------------------------------


@pytest.mark.parametrize("relation", [
    Equal(), Within(Fraction(1, 3)), Within((Fraction(1, 8), Fraction(0), Fraction(2, 7))),
    SameDecision(), SameDecision(Fraction(1, 5)),
])
@pytest.mark.parametrize("domain", [
    Box([0, "0.1"], ["1/3", 2]), Polytope(Exact.of([[1, 1]]), Exact.of([1]), Box([0, 0], [1, 1])),
    Union((Box([0, 0], [1, 1]), Box([2, 0], [3, 1]))),
])
def test_an_exported_claim_is_read_as_the_same(relation: Comparison, domain: object) -> None:
    f, g = small(2, 3, 0), small(2, 3, 1)
    claim = Claim(relation, domain)
    query = claim_query(claim, loaded(f), loaded(g))
    asked = network_query(query_of(query_text(query)), {"f": loaded(f), "g": loaded(g)})
    if isinstance(domain, Box | Polytope):
        assert asked.claim.relation == relation
        around, again = hull(domain), asked.claim.domain
        assert hull(again).high == around.high and hull(again).low == around.low
        if isinstance(domain, Polytope):
            assert again.A == domain.A and again.b == domain.b
        return
    random = np.random.default_rng(0)
    for _ in range(40):
        point = Exact.of(random.integers(-1, 14, 2) / 4)
        inside, _ = forbidden_at(asked, point)
        f_x, g_x = (Enclosure.of(evaluate_exact(net, point)) for net in (f, g))
        assert inside == (contains(domain, point) and violated(point, f_x, g_x, relation))


def test_claims_without_a_query() -> None:
    f, g = loaded(small(2, 3, 0)), loaded(small(2, 3, 1))
    with pytest.raises(Refused, match="kind Binary"):
        claim_query(Claim(Equal(), Binary(2)), f, g)
    with pytest.raises(Refused, match="regions"):
        claim_query(Claim(iso.RegionCount(3), Box([0, 0], [1, 1])), f, f)


# --- real networks --------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "network", "answer"), [
    (3, "3_3", "unsat"), (4, "3_3", "unsat"), (2, "5_9", "sat"),
])
@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_acas_properties(
    number: int, network: str, answer: str, version: str, models: Path, tmp_path: Path
) -> None:
    path = tmp_path / "p.vnnlib"
    path.write_text(acas(number, version))
    net = models / "acasxu" / f"ACASXU_run2a_{network}_batch_2000.onnx"
    found = iso.prove_property(net, path, timeout=60)
    assert found.word == answer
    accepted = iso.check(found.verdict)
    assert accepted.holds == (answer == "unsat")


def test_isomorphic_acas_networks(models: Path, tmp_path: Path) -> None:
    nets = [models / "acasxu" / f"ACASXU_run2a_{name}_batch_2000.onnx" for name in ("1_1", "3_3")]
    head = "\n".join(["(vnnlib-version <2.0>)", declared("f", "XY", (1, 1, 1, 5), (1, 5)),
                      declared("g", "UV", (1, 1, 1, 5), (1, 5), "(isomorphic-to f)"), ""])
    bounds = "".join(f"(assert (>= X[0,0,0,{i}] 0.3))(assert (<= X[0,0,0,{i}] 0.3125))"
                     f"(assert (== X[0,0,0,{i}] U[0,0,0,{i}]))" for i in range(5))
    far = "".join(f"(> (- Y[0,{i}] V[0,{i}]) 1000)(> (- V[0,{i}] Y[0,{i}]) 1000)"
                  for i in range(5))
    for eps, answer in ((1000, "unsat"), ("0.00001", "sat")):
        path = tmp_path / "q.vnnlib"
        path.write_text(head + bounds + f"(assert (or {far.replace('1000', str(eps))}))")
        found = iso.prove_property({"f": nets[0], "g": nets[1]}, path, timeout=20)
        assert found.asked.claim.relation == Within(Fraction(str(eps)))
        assert found.word == answer


def test_a_wrong_number_of_models(tmp_path: Path) -> None:
    path = tmp_path / "p.vnnlib"
    path.write_text(two() + box("X", 2, 0, 1) + same(2) + "(assert (> Y[0,0] V[0,0]))")
    with pytest.raises(Refused, match="2 networks with a file"):
        iso.prove_property([Model.of(small(2, 1, 0))], path)


def test_certificates_of_properties_do_not_bend() -> None:
    """Negative controls: a larger set, a wider box, another weight, a point outside."""
    text = FLAT + "(assert (and (>= X_0 -1) (<= X_0 1) (>= X_1 -1) (<= X_1 1)))(assert (>= Y_0 {}))"
    net = small(2, 1, 0)  # it grows without end in x_1
    top = max(evaluate_exact(net, Exact.of(np.array(corner))).item()
              for corner in ([-1, -1], [-1, 1], [1, -1], [1, 1]))
    safe = asked_of(text.format(float(top) + 8), net)
    verdict = prove(safe.source, safe.target, safe.claim, timeout=20)
    assert isinstance(verdict, iso.Proved)
    held = verdict.certificate
    reached = asked_of(text.format(float(top)), net).claim.relation
    other = small(2, 1, 0, bump=64.0)
    for bent in (
        replace(held, claim=replace(held.claim, relation=reached)),
        replace(held, claim=replace(held.claim, domain=Box([-1, -1], [1, 1000]))),
        replace(held, source=other, target=other),
        replace(held, evidence=(Evidence("e1", Counterexample(Exact.of([1, 1]))),),
                conclusion="e1"),
        replace(held, evidence=(Evidence("e1", Counterexample(Exact.of([1, 1000]))),),
                conclusion="e1"),
    ):
        with pytest.raises(CertificateRejected):
            check(bent)
    check(held)
