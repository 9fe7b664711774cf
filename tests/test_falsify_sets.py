# SPDX-License-Identifier: Apache-2.0
"""The attack on forbidden sets and on one eps an output: points are replayed, never believed."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isoform.certificate.points import violated
from isoform.errors import Refused
from isoform.network.claim import (
    Avoids,
    Comparison,
    Equal,
    Forbidden,
    RegionCount,
    SameDecision,
    Within,
    forbidden_sets,
)
from isoform.network.domain import Binary, Box, FiniteSet
from isoform.network.evaluate import evaluate_exact
from isoform.network.linear_map import Dense
from isoform.network.network import Builder, Network
from isoform.network.operators import Opaque, Relu
from isoform.numerics.enclosure import Enclosure
from isoform.numerics.exact import Exact, exact_fractions
from isoform.verify.falsify import falsify, falsify_relation
from isoform.verify.goal import Difference, Meeting, goal_of

UNIT = Box([0, 0], [1, 1])


def dense(matrix: list[list[float]], bias: list[float] | None = None) -> Network:
    weight = np.array(matrix)
    build = Builder((weight.shape[1],))
    shift = np.zeros(len(weight)) if bias is None else np.array(bias)
    return build.build(build.linear(Dense(weight), 0, shift))


def hinge(seed: int, n: int = 2, m: int = 2) -> Network:
    random = np.random.default_rng(seed)
    build = Builder((n,))
    first = build.linear(Dense(random.normal(size=(6, n))), 0, random.normal(size=6))
    inner = build.add(Relu(), (first,), 6)
    return build.build(build.linear(Dense(random.normal(size=(m, 6))), inner, np.zeros(m)))


def forbid(rows: list[list[int]], bounds: list[object], strict: bool = False) -> Forbidden:
    return Forbidden(
        Exact.of(np.array(rows, dtype=object)),
        exact_fractions([Fraction(bound) for bound in bounds], (len(bounds),)),
        (strict,) * len(rows),
    )


def attacked(f: Network, g: Network, relation: Comparison, domain: object = UNIT):
    return falsify_relation(f, g, domain, relation, seconds=2)


def test_a_small_corner_is_found() -> None:
    f = dense([[1, 1]])
    corner = Avoids((forbid([[0, 0, -1, 0]], ["-1.999"]),))  # y >= 1.999
    found = attacked(f, f, corner)
    assert found.witness is not None and found.witness.output == 0
    assert sum(found.witness.point.fractions()) >= Fraction("1.999")
    assert attacked(f, f, Avoids((forbid([[0, 0, -1, 0]], ["-2.001"]),))).witness is None


def test_a_closed_set_that_is_only_touched_and_its_open_part() -> None:
    f = dense([[1, 1]])
    closed, opened = (Avoids((forbid([[0, 0, -1, 0]], [-2], strict),)) for strict in (False, True))
    found = attacked(f, f, closed)
    assert found.witness is not None and found.witness.point.fractions() == [1, 1]
    assert found.witness.difference == 0
    assert attacked(f, f, opened).witness is None


def test_rows_about_inputs_and_both_networks() -> None:
    f, g = dense([[1, 0]]), dense([[0, 1]])
    # x_0 <= 1/4 and g - f >= 1/2 and f >= 1/8
    rows = [[1, 0, 0, 0], [0, 0, 1, -1], [0, 0, -1, 0]]
    found = attacked(f, g, Avoids((forbid(rows, ["1/4", "-1/2", "-1/8"]),)))
    assert found.witness is not None
    x, y = found.witness.point.fractions()
    assert Fraction(1, 8) <= x <= Fraction(1, 4) and y - x >= Fraction(1, 2)


def test_the_set_that_is_met_is_named() -> None:
    f = dense([[1, 1]])
    never, met = forbid([[0, 0, -1, 0]], [-3]), forbid([[0, 0, 1, 0]], ["1/100"])
    found = attacked(f, f, Avoids((never, met, never)))
    assert found.witness is not None and found.witness.output == 1


def test_networks_with_other_numbers_of_outputs() -> None:
    f, g = dense([[1, 0]]), dense([[0, 1], [1, 1]])
    found = attacked(f, g, Avoids((forbid([[0, 0, 1, -1, 0]], ["-3/4"]),)))
    assert found.witness is not None and found.witness.target.shape == (2,)
    with pytest.raises(Refused, match="over 4 numbers"):
        attacked(f, g, Avoids((forbid([[0, 0, 1, -1]], [0]),)))
    with pytest.raises(Refused, match="outputs"):
        attacked(f, g, Equal())


def test_a_set_without_rows_is_everything() -> None:
    f = dense([[1, 1]])
    empty = Forbidden(Exact.zeros((0, 4)), Exact.zeros(0), ())
    assert attacked(f, f, Avoids((empty,))).witness is not None
    with pytest.raises(Refused, match="nothing"):
        goal_of(Avoids(()))
    with pytest.raises(Refused, match="regions"):
        goal_of(RegionCount(3))


def test_finite_domains_are_exhausted() -> None:
    f = dense([[1, 1]])
    for domain in (Binary(), FiniteSet(Exact.of([[0, 0], [0, 1], [1, 1]]))):
        found = attacked(f, f, Avoids((forbid([[0, 0, -1, 0]], ["-3/2"]),)), domain)
        assert found.witness is not None and found.witness.point.fractions() == [1, 1]
        none = attacked(f, f, Avoids((forbid([[0, 0, -1, 0]], ["-5/2"]),)), domain)
        assert none.witness is None and none.exhausted


def test_enclosures_refute_only_for_certain() -> None:
    build = Builder((1,))
    f = build.build(build.add(Opaque("exp"), (0,), 1))
    box = Box([0], [1])
    above = Avoids((forbid([[0, -1, 0]], ["-2.7"]),))
    assert attacked(f, f, above, box).witness is not None
    at_end = Avoids((forbid([[0, -1, 0]], [-3]),))
    assert attacked(f, f, at_end, box).witness is None


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6))
def test_witnesses_hold_and_cotangents_are_slopes(seed: int) -> None:
    random = np.random.default_rng(seed)
    f, g = hinge(seed), hinge(seed + 1)
    sets = tuple(
        forbid(random.integers(-3, 4, (2, 6)).tolist(), random.integers(-2, 3, 2).tolist(),
               bool(random.integers(2)))
        for _ in range(3)
    )
    relation = Avoids(sets)
    found = falsify_relation(f, g, UNIT, relation, seconds=0.2)
    if found.witness is not None:
        point = found.witness.point
        ends = [Enclosure.of(evaluate_exact(net, point)) for net in (f, g)]
        assert violated(point, ends[0], ends[1], relation)
    goal = Meeting.of(sets)
    x, f_x, g_x = (random.normal(size=(1, 2)) for _ in range(3))
    score = goal.score(x, f_x, g_x)
    by_x, by_f, by_g = goal.cotangents(x, f_x, g_x)
    step = 1e-7
    for place, slope in enumerate((by_x, by_f, by_g)):
        for i in range(2):
            moved = [x.copy(), f_x.copy(), g_x.copy()]
            moved[place][0, i] += step
            assert abs((goal.score(*moved) - score)[0] / step - slope[0, i]) < 1e-4


@pytest.mark.parametrize("relation", [Equal(), Within(Fraction(1, 7)), SameDecision(),
                                      Within((Fraction(1, 7), Fraction(1, 9)))])
def test_named_relations_and_their_sets_agree(relation: Comparison) -> None:
    f, g = hinge(3), hinge(4)
    wide = Box([-5, -5], [5, 5])
    by_name = attacked(f, g, relation, wide)
    by_sets = attacked(f, g, Avoids(forbidden_sets(relation, 2, 2)), wide)
    assert by_name.witness is not None and by_sets.witness is not None
    for found in (by_name, by_sets):
        point = found.witness.point
        ends = [Enclosure.of(evaluate_exact(net, point)) for net in (f, g)]
        assert violated(point, ends[0], ends[1], relation)


# --- one eps an output ----------------------------------------------------------------------------


def shifted(by: list[float]) -> tuple[Network, Network]:
    return dense([[1, 0], [0, 1]]), dense([[1, 0], [0, 1]], by)


@pytest.mark.parametrize(("shift", "eps", "output"), [
    ([0.5, 0.25], ("1", "1/8"), 1),  # the smaller difference is the one that counts
    ([0.5, 0.25], ("1/4", "1"), 0),
    ([0.5, 2**-30], ("1", "0"), 1),  # an eps of 0 is broken by anything
    ([0.5, 0.25], ("1", "1/4"), None),  # an equal difference is allowed
    ([0.5, 0.0], ("1/2", "0"), None),
])
def test_each_output_has_its_eps(
    shift: list[float], eps: tuple[str, ...], output: int | None
) -> None:
    allowed = tuple(map(Fraction, eps))
    found = falsify(*shifted(shift), UNIT, allowed, seconds=1)
    assert (found.witness is None) == (output is None)
    assert found.lower == Fraction(max(shift))  # the largest difference, whatever refutes
    if found.witness is not None:
        assert found.witness.output == output
        assert found.witness.difference == Fraction(shift[output])


def test_all_eps_zero_is_equality() -> None:
    goal = Difference((Fraction(0), Fraction(0)))
    assert [finding.refutes for finding in (
        goal.finding([Fraction(0), Fraction(0)]), goal.finding([Fraction(0), Fraction(1, 2**99)])
    )] == [False, True]
