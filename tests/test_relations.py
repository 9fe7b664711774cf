# SPDX-License-Identifier: Apache-2.0
"""Units that are rows over several earlier ones: found, shown, and nothing false is ever accepted.
"""

from __future__ import annotations

import random
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import isoform as iso
from attack_claims import DEAD, net, swept
from isoform import api
from isoform.certificate.basis import Basis, Range, interval_range
from isoform.certificate.certificate import Certificate
from isoform.certificate.check import check
from isoform.certificate.codes import Code, Codes
from isoform.certificate.evidence import Evidence, Sweep
from isoform.certificate.relations import MOST_HINGES, Relation, related
from isoform.certificate.verdict import Proved, Refuted
from isoform.errors import CertificateRejected
from isoform.network.claim import Claim, Equal, Within
from isoform.network.domain import Box, Everywhere
from isoform.network.linear_map import Dense, Gather
from isoform.network.network import Builder, Network
from isoform.network.operators import Relu
from isoform.numerics.exact import Exact
from isoform.numerics.sparse import ExactSparse
from isoform.verify.prove import prove
from isoform.verify.relations import by_relations, points_of, values_at
from relation_claims import guesses, median

WEIGHT = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
DOMAINS = {"box": Box(-1, 1), "corner": Box(0, 1), "everywhere": Everywhere()}


def maximum(order: tuple[int, ...], weight: np.ndarray, bias: float = 0.0) -> Network:
    """max of the rows of weight @ x, taken in this order, each maximum with the next row; bias is
    added to the last row that comes in."""
    m, n = weight.shape
    build = Builder((n,))
    x, one = build.linear(Dense(weight), 0), Dense(np.array([[1.0]]))

    def pick(i: int, sign: float = 1.0) -> Gather:
        return Gather(indices=np.array([i]), scale=np.array([sign]), inputs=m)

    top = build.linear([pick(order[0])], (x,))
    for k in order[1:]:
        shift = np.array([bias if k == order[-1] else 0.0])
        gap = build.linear([one, pick(k, -1.0)], (top, x), -shift)
        top = build.linear([one, pick(k)], (build.add(Relu(), (gap,), 1), x), shift)
    return build.build(top)


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize("orders", [((0, 1, 2), (2, 1, 0)), ((0, 1, 2, 3), (3, 1, 2, 0))])
@pytest.mark.parametrize("weight", ["plain", "float32"])
def test_maxima_in_other_orders_are_equal(
    domain: str, orders: tuple[tuple[int, ...], ...], weight: str, tmp_path: Path
) -> None:
    rows = WEIGHT if weight == "float32" else np.eye(4)
    pair = [maximum(order, rows) for order in orders]
    found = prove(*pair, Claim(Equal(), DOMAINS[domain]), timeout=0)
    assert isinstance(found, Proved)
    data = found.certificate.evidence[0].data
    assert isinstance(data, Sweep) and any(codes.relations for codes in data.codes)
    api.save(found.certificate, tmp_path / "certificate.json")
    assert iso.check(tmp_path / "certificate.json").holds


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_last_bit_is_not_equal(domain: str) -> None:
    moved = WEIGHT.copy()
    moved[1, 2] = np.nextafter(moved[1, 2], np.float32(2))
    source = maximum((0, 1, 2), WEIGHT)
    for target in (maximum((2, 1, 0), moved), maximum((2, 1, 0), WEIGHT, 2.0**-60)):
        found = prove(source, target, Claim(Equal(), DOMAINS[domain]), timeout=1)
        assert not isinstance(found, Proved)
    assert isinstance(
        prove(source, maximum((2, 1, 0), WEIGHT, 1e-3), Claim(Equal(), Box(-1, 1)), timeout=2),
        Refuted,
    )


# --- whatever the hints ---------------------------------------------------------------------------


def judge_relations(seed: int, count: int) -> tuple[int, int]:
    """What is accepted holds at points of the domain, ties included. Returns how many relations
    were accepted, and how many were rejected."""
    rng, accepted, rejected = random.Random(seed), 0, 0
    for _ in range(count):
        basis, argument, box = median(rng)
        n = basis.inputs
        near = [[Fraction(rng.randrange(-4, 5 if box is None else 1), 4) for _ in range(n)]
                for _ in range(40)]
        values = values_at(basis, Exact.of(np.array(near, dtype=object).T))
        truth = argument.widened(basis.width).times(values).relu()
        for relation in guesses(rng, argument, basis, box):
            try:
                row = related(argument, relation, basis)
            except CertificateRejected:
                rejected += 1
                continue
            accepted += 1
            assert row.times(values) == truth, seed
    return accepted, rejected


def test_what_is_accepted_is_so() -> None:
    accepted, rejected = judge_relations(1, 40)
    assert accepted > 50 and rejected > 300


@pytest.mark.slow
def test_what_is_accepted_is_so_at_length() -> None:
    judge_relations(2, 1500)


def one_unit(low: int, high: int) -> tuple[Basis, ExactSparse]:
    """r = relu(x), and the row x - 1."""
    basis = Basis.on(Box([low], [high]), 1)
    row = ExactSparse.eye(1, 2, at=1)
    before = interval_range(row, basis)
    basis.append("relu", row, before, before.relu())
    return basis, ExactSparse.of(Exact.of([[-1, 1]]))


def relation_of(row: dict[int, int], above: list[int], weights: list[list[int]],
                hinges: tuple[int, ...] = (2,)) -> Relation:
    return Relation(
        columns=np.array(sorted(row), dtype=np.int64),
        values=Exact.of(np.array([row[c] for c in sorted(row)], dtype=object)),
        hinges=np.array(hinges, dtype=np.int64), above=np.array(above, dtype=np.uint8),
        multipliers=Exact.of(np.array(weights)),
    )


def judge_edges() -> None:
    """relu(x - 1) on [0, 1] is 0; on [0, 2] it is not, nor is it 0 times anything."""
    basis, argument = one_unit(0, 1)
    nothing = relation_of({}, [0, 0, 0], [[0, 0], [0, 0], [0, 1], [0, 1]])
    assert related(argument, nothing, basis).nonzeros == 0
    tied = replace(nothing, above=np.array([0, 1, 1], dtype=np.uint8))  # x = 1 is above then
    longer, _ = one_unit(0, 2)
    unsigned = replace(nothing, multipliers=Exact.of([[0, 0], [0, 0], [1, -1], [1, -1]]))
    empty = replace(nothing, multipliers=Exact.of([[0, 0]] * 4))
    for relation, where in (
        (tied, basis), (nothing, longer), (unsigned, basis), (empty, basis), (empty, longer),
        (unsigned, longer),
        (relation_of({2: 1}, [0, 0, 0], [[0, 0], [0, 0], [0, 1], [0, 1]]), basis),
        (relation_of({0: -1, 1: 1}, [0, 0, 0], [[0, 1]] * 4), longer),
        (relation_of({0: -1, 2: 1}, [0, 0, 0], [[1, 0]] * 4), longer),
    ):
        with pytest.raises(CertificateRejected):
            related(argument, relation, where)
    half = Basis.on(Box([Fraction(1, 2)], [2]), 1)
    row = ExactSparse.eye(1, 2, at=1)
    half.append("relu", row, interval_range(row, half), interval_range(row, half).relu())
    with pytest.raises(CertificateRejected):
        related(argument, relation_of({}, [0, 0, 0], [[0, 0], [0, 0], [1, 0], [-1, 0]]), half)
    both, _ = one_unit(-1, 1)  # x - 2 relu(x) is never above zero
    below = ExactSparse.of(Exact.of([[0, 1, -2]]))
    never = relation_of({}, [0, 0, 0], [[0, 0], [0, 0], [1, 1], [1, 1]])
    assert related(below, never, both).nonzeros == 0
    # x - 1 below zero, x above it and x - 1 above zero, x below it: the second is nowhere
    far, argument = one_unit(-2, 2)
    for row in ({}, {2: 1}, {1: 1}, {0: -1, 2: 1}):
        for weights in ([[0, 0], [0, 0], [1, 1], [0, 0]], [[1, 1]] * 4, [[0, 1], [1, 0]] * 2):
            with pytest.raises(CertificateRejected):
                related(argument, relation_of(row, [0, 0, 0], weights), far)


def test_edges() -> None:
    judge_edges()


def judge_shapes() -> None:
    basis, argument = one_unit(0, 1)
    good = relation_of({}, [0, 0, 0], [[0, 0], [0, 0], [0, 1], [0, 1]])
    for bad in (
        replace(good, hinges=np.array([1])), replace(good, hinges=np.array([3])),
        replace(good, hinges=np.array([-1])), replace(good, hinges=np.array([0])),
        replace(good, above=good.above[:2]), replace(good, above=np.zeros(4, dtype=np.uint8)),
        replace(good, multipliers=good.multipliers[:3]),
        replace(good, multipliers=good.multipliers[:, :1]),
        replace(good, columns=np.array([3]), values=Exact.of([1])),
        replace(good, columns=np.array([-1]), values=Exact.of([0])),
        replace(good, columns=np.array([0])), replace(good, values=Exact.of([0])),
        replace(good, columns=np.array([1, 1]), values=Exact.of([1, -1])),
        relation_of({}, [0] * 7, [[0, 0, 1]] * 8, (2, 2)), replace(good, hinges=np.array([[2]])),
        relation_of({}, [0] * 15, [[0, 0, 0, 1]] * 16, (2, 2, 2)),
    ):
        with pytest.raises(CertificateRejected):
            related(argument, bad, basis)
    known = interval_range(argument, basis)
    basis.append("step", argument, known, Range.between(0, 1, 1))
    step = relation_of({}, [0] * 7, [[0, 0, 1]] * 8, (2, 3))
    with pytest.raises(CertificateRejected):
        related(argument, step, basis)
    for _ in range(MOST_HINGES):
        basis.append("relu", argument, known, known.relu())
    count = MOST_HINGES
    every = (2, *range(4, 4 + MOST_HINGES))
    for hinges, fits in ((every[:count], True), (every, False)):
        k = len(hinges)
        relation = relation_of({}, [0] * ((2 << k) - 1), [[0] * k + [1]] * (2 << k), hinges)
        if fits:
            assert related(argument, relation, basis).nonzeros == 0
            continue
        with pytest.raises(CertificateRejected):
            related(argument, relation, basis)


def judge_sizes() -> None:
    """Small files do not ask for much: long rows with many patterns, many relations of a node."""
    wide = Basis.on(Box([0] * 5000, [1] * 5000), 5000)
    row = ExactSparse.of(Exact.of([[0, *[1] * 5000]]))
    for _ in range(MOST_HINGES):
        wide.append("relu", row, Range.between(0, 5000, 1), Range.between(0, 5000, 1))
    below = -row
    for k, fits in ((1, True), (MOST_HINGES, False)):
        relation = relation_of({}, [0] * ((2 << k) - 1), [[0] * k + [1]] * (2 << k),
                               tuple(range(5001, 5001 + k)))
        if fits:
            assert related(below, relation, wide).nonzeros == 0
            continue
        with pytest.raises(CertificateRejected, match="too long"):
            related(below, relation, wide)
    unit = Claim(Equal(), Box([0], [1]))
    for count, fits in ((3, True), (1025, False)):
        codes = Codes(
            code=np.full(count, Code.RELATION, dtype=np.uint8),
            partner=np.zeros(count, dtype=np.int64), factor=Exact.of([1] * count),
            relations=(relation_of({}, [0], [[0], [1]], ()),),
        )
        proof = swept(net([[1]] * count, [-1] * count, Relu()), net([[0]] * count), unit, codes)
        if fits:
            check(proof)
            continue
        with pytest.raises(CertificateRejected, match="relations of one node"):
            check(proof)


def test_sizes() -> None:
    judge_sizes()


def test_arrays_that_do_not_fit() -> None:
    judge_shapes()


def judge_codes() -> None:
    """Codes around a relation: its number, its factor, the kind of unit, what it is about."""
    pair = [maximum(order, np.eye(3)) for order in ((0, 1, 2), (2, 1, 0))]
    found = prove(*pair, Claim(Equal(), Box(-1, 1)), timeout=0)
    assert isinstance(found, Proved)
    data = found.certificate.evidence[0].data
    codes = data.codes[-1]
    assert codes.code.tolist() == [Code.RELATION] and len(codes.relations) == 1
    (relation,) = codes.relations
    other = replace(relation, values=relation.values * 2)
    for changed in (
        replace(codes, partner=codes.partner + 1), replace(codes, partner=codes.partner - 1),
        replace(codes, factor=codes.factor * 2), replace(codes, relations=()),
        replace(codes, relations=(other,)), replace(codes, relations=(other, relation)),
        Codes.all_new(1),
    ):
        assert not accepted_with(found.certificate, (*data.codes[:-1], changed))
    assert accepted_with(found.certificate, data.codes)
    moved = maximum((2, 1, 0), np.eye(3) * (1 + 2.0**-50))
    with pytest.raises(CertificateRejected):
        check(replace(found.certificate, target=moved))


def accepted_with(proof: Certificate, codes: tuple[Codes, ...]) -> bool:
    item = replace(proof.evidence[0], data=Sweep(codes))
    assert isinstance(item, Evidence)
    try:
        return check(replace(proof, evidence=(item,))).holds
    except CertificateRejected:
        return False


def test_codes_around_a_relation() -> None:
    judge_codes()


def judge_ties() -> None:
    """On which side zero counts may have to hang on the sides of units before."""
    pair = [maximum(order, np.eye(4)) for order in ((0, 1, 2, 3), (3, 1, 2, 0))]
    assert isinstance(prove(*pair, Claim(Equal()), timeout=0), Proved)


def judge_nodes() -> None:
    """A relation of the second unit of a node, and one about a value with a radius."""
    relu, nothing = Relu(), relation_of({}, [0], [[0], [1]], ())
    codes = Codes(
        code=np.array([Code.LINEAR, Code.RELATION], dtype=np.uint8), partner=np.array([0]),
        factor=Exact.of([1]), relations=(nothing,),
    )
    unit = Claim(Equal(), Box([0], [1]))
    check(swept(net([[1], [1]], [0, -1], relu), net([[1], [0]]), unit, codes))
    one = replace(codes, code=codes.code[1:], relations=(relation_of({0: 1}, [0], [[1], [0]], ()),))
    build = Builder((1,))
    value = build.add(relu, (build.linear(Dense(np.eye(1)), 0),), 1)
    value = build.add(relu, (build.linear(Dense(np.eye(1)), value, np.ones(1)),), 1)
    source, target = build.build(value), net([[0]], [1.0])  # 1 + relu(x), relu(x) called 0
    for eps, holds in ((1, True), (Fraction(1, 2), False)):
        proof = swept(source, target, Claim(Within(Fraction(eps)), Box([-1], [1])), DEAD, one)
        if holds:
            check(proof)
            continue
        with pytest.raises(CertificateRejected):
            check(proof)


def test_ties_and_nodes() -> None:
    judge_ties()
    judge_nodes()


def test_no_relation_where_there_is_none() -> None:
    rng = random.Random(5)
    for _ in range(20):
        basis, argument, box = median(rng)
        shift = Exact.of([[Fraction(1, 7), *[0] * (argument.shape[1] - 1)]])
        away = argument + ExactSparse.of(shift)
        for relation in by_relations(away, basis, np.arange(1), box, 0).values():
            values = values_at(basis, points_of(box, basis.inputs, 99, 7))
            row = related(away, relation, basis)
            assert row.times(values) == away.widened(basis.width).times(values).relu()


