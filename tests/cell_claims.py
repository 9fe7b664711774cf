# SPDX-License-Identifier: Apache-2.0
"""Claims by common regions, written by hand: true ones at the edge, and false ones.

On the line with the box [-1, 1] the rows are 0: -u <= 1, 1: u <= 1, and 2 + j: the wall of unit j,
those of the first network first; then come the rows of a forbidden set.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np

from attack_claims import net
from isoform.certificate.cell_evidence import ClosedChart, CommonCells
from isoform.certificate.certificate import Certificate
from isoform.certificate.evidence import Evidence
from isoform.certificate.region_evidence import Stream
from isoform.network.claim import (
    Avoids,
    Claim,
    Comparison,
    Equal,
    Forbidden,
    SameDecision,
    Within,
)
from isoform.network.domain import Box, Domain, Everywhere, Polytope, Union, bound_to
from isoform.network.network import Network
from isoform.network.operators import Relu, Step
from isoform.numerics.exact import Exact, exact_fractions
from region_claims import (
    EMPTY,
    HALVES,
    HOLE,
    LEAF,
    MBASIS,
    MBOX,
    MFOLLOW,
    PBASIS,
    PFOLLOW,
    SM,
    SP,
    stream,
)

BOX = Box(-1, 1)
HALF = Fraction(1, 2)
Closed = Sequence[tuple[int, Sequence[int]]]  # for every set its row that fails, k rows
RELU, TWICE = net([[1]], [0], Relu()), net([[2]], [0], Relu())
POINT = Polytope(np.array([[1.0]]), np.array([-1.0]), Box(-1, 1))  # -1 alone
LINE, ZERO = net([[1]]), net([[0]])
SPLIT = stream([SM, MFOLLOW, PFOLLOW], [0, 0], HALVES)  # of RELU and TWICE


def chart(streams: Sequence[Stream], closed: Sequence[Closed], k: int = 1) -> ClosedChart:
    sets = len(closed[0]) if closed else 0
    targets = [[target for target, _ in leaf] for leaf in closed]
    ids = [[list(rows) for _, rows in leaf] for leaf in closed]
    return ClosedChart(
        tuple(streams), np.array(targets, dtype=np.uint8).reshape(len(closed), sets),
        np.array(ids, dtype=np.int32).reshape(len(closed), sets, k),
    )


def claimed(
    f: Network, g: Network, relation: Comparison, charts: Sequence[ClosedChart],
    domain: Domain = BOX, eps: Sequence[Any] | None = None,
) -> Certificate:
    tight = None if eps is None else exact_fractions([Fraction(e) for e in eps], (len(eps),))
    return Certificate(
        source=f, target=g, claim=Claim(relation, bound_to(domain, f.dimension)),
        evidence=(Evidence("cells", CommonCells(tuple(charts), tight)),), conclusion="cells",
    )


def whole(*closed: Closed) -> list[ClosedChart]:
    """The chart of the split of RELU and TWICE, the inactive leaf first."""
    return [chart([SPLIT], closed)]


def within(most: Any, *closed: Closed, **more: Any) -> Certificate:
    """2 relu - relu on [-1, 1]: its largest value is 1."""
    return claimed(RELU, TWICE, Within(Fraction(most)), whole(*closed), **more)


INACTIVE: Closed = ((0, [0]), (0, [0]))  # the difference is 0 there
ACTIVE: Closed = ((0, [1]), (0, [2]))  # x <= 1, and x >= 0


def up_to_half(most: Fraction, row: int) -> Certificate:
    """The same for x <= 1/2, row 2; the largest value is 1/2."""
    domain = Polytope(np.array([[1.0]]), np.array([0.5]), Box(-1, 1))
    split = stream([SM, MFOLLOW, PFOLLOW], [0, 0], [-0.5, 0.25])
    active: Closed = ((0, [row]), (0, [3]))
    relation = Within(most)
    return claimed(RELU, TWICE, relation, [chart([split], [INACTIVE, active])], domain)


def avoids(rows: Any, bounds: Any, strict: Sequence[bool]) -> Avoids:
    matrix = Exact.of(np.array(rows, dtype=object))
    return Avoids((Forbidden(matrix, exact_fractions(bounds, (len(bounds),)), tuple(strict)),))


def same(f: Network, g: Network, streams: Sequence[Stream], domain: Domain = BOX) -> Certificate:
    count = sum(len(part.points) for part in streams)
    return claimed(f, g, Equal(), [chart(streams, [()] * count)], domain)


def with_hole() -> list[Stream]:
    return [stream([SM, MFOLLOW, HOLE], [0], [-0.5]), stream([PFOLLOW], [0], [0.5], b"\x03")]


def meeting(strict: Sequence[bool], bound: int = 0) -> Avoids:
    """x >= 0 and f <= bound, in the order of the rows."""
    return avoids([[-1, 0, 0], [0, 1, 0]], [0, bound], strict)


def honest() -> list[Certificate]:
    """True, and none of them with room to spare."""
    line = stream([], [], [0.25])
    infinite = [chart([line], [((0, [0]), (0, [0]))]) for _ in range(3)]
    shifted = net([[1]], [1])
    return [
        within(1, INACTIVE, ACTIVE), within(5, INACTIVE, ACTIVE, eps=[1]),
        up_to_half(HALF, 2),
        claimed(RELU, TWICE, Within((Fraction(1),)), whole(INACTIVE, ACTIVE)),
        claimed(RELU, TWICE, Within(Fraction(1)), [chart(with_hole(), [INACTIVE, ACTIVE])]),
        same(RELU, RELU, [SPLIT]), same(RELU, RELU, with_hole()), same(LINE, LINE, [line]),
        same(RELU, LINE, [stream([PBASIS], [0], [0.5])], Box(0, 1)),
        claimed(LINE, LINE, Within(Fraction(0)), [chart([line], [()])], eps=[0]),
        claimed(LINE, shifted, Within(Fraction(1)), infinite, Everywhere()),
        claimed(LINE, LINE, meeting((True, True)), [chart([line], [((1, [2]),)])]),
        claimed(LINE, LINE, meeting((True, False)), [chart([line], [((0, [3]),)])]),
        claimed(LINE, LINE, meeting((False, False), -1), [chart([line], [((0, [3]),)])]),
        claimed(
            LINE, shifted, Within(Fraction(1)),
            [chart([line], [((0, [0]), (0, [0]))])], Union((Box(-1, 1),)),
        ),
        claimed(
            LINE, LINE, Equal(), [chart([line], [()]), chart([line], [()])],
            Union((Box(-1, 1), Box(3, 4))),
        ),
        same(net([[1, 0]]), net([[1, 1]], [-5]), [line], Box([-1, 5], [1, 5])),
        claimed(
            net([[1, 0]]), net([[1, 0]]), avoids([[-1, 0, 0, 0]], [-HALF], [True]),
            [chart([line], [((0, [2]),)])],  # x <= 1/2, for the other input is 5
            Polytope(np.array([[1.0, 1]]), np.array([5.5]), Box([-1, 5], [1, 5])),
        ),
        claimed(
            LINE, LINE, avoids([[0, 1, -1]], [-1], [False]),  # g >= f + 1: at infinity, t = 0, only
            [chart([line], [((target, [2]),)]) for target in (0, 1, 1)], Everywhere(),
        ),
        decision([2, 1, 0], [3, 1, 2], 2),
    ]


def decision(f: list[int], g: list[int], row: int) -> Certificate:
    """That constants decide alike: the first of three, by a row of the set of 0 and 2; the others
    are not the largest of f."""
    fails = [(target, [0]) for target in (2, row, 1, 0, 0, 0)]
    constants = [net([[0]] * 3, values) for values in (f, g)]
    relation = SameDecision()
    return claimed(*constants, relation, [chart([stream([], [], [0.25])], [fails])])


def false() -> list[tuple[str, Certificate, str]]:
    """Name, certificate, part of the reason."""
    return [*false_numbers(), *false_leaves(), *false_covers(), *false_sets()]


def false_numbers() -> list[tuple[str, Certificate, str]]:
    below = 1 - Fraction(1, 1 << 40)
    return [
        ("eps a little too small", within(below, INACTIVE, ACTIVE), "forbidden set 0"),
        ("a proved eps a little too small", within(5, INACTIVE, ACTIVE, eps=[below]), "set 0"),
        ("a proved eps above the claimed", within(HALF, INACTIVE, ACTIVE, eps=[1]), "bounded by"),
        ("eps below 0", within(1, INACTIVE, ACTIVE, eps=[-1]), "eps that are none"),
        ("two eps for one output", within(1, INACTIVE, ACTIVE, eps=[1, 1]), "none"),
        ("an eps of 0", within(1, (), (), eps=[0]), "differ"),
        ("an eps for equality", claimed(RELU, RELU, Equal(), whole((), ()), eps=[0]), "an eps"),
        ("a wider domain", within(1, INACTIVE, ACTIVE, domain=Box(-1, 1 + 2.0**-20)), "set 0"),
        ("another target", replace(
            within(1, INACTIVE, ACTIVE), target=net([[2 + 2.0**-40]], [0], Relu())), "set 0"),
        ("the other way round", replace(
            within(1, INACTIVE, ACTIVE), source=net([[4]], [0], Relu())), "leaf 1"),
    ]


def false_leaves() -> list[tuple[str, Certificate, str]]:
    turned = stream([SM, PFOLLOW, MFOLLOW], [0, 0], HALVES)
    near = net([[1]], [0], Relu(), after=[[1 + 2.0**-50]])
    line = stream([], [], [0.25])
    return [
        ("equal, and not on one leaf", same(RELU, TWICE, [SPLIT]), "differ"),
        ("equal, and not on the first leaf", same(
            RELU, TWICE, [stream([SP, PFOLLOW, MFOLLOW], [0, 0], HALVES[::-1])]), "differ"),
        ("equal but for the last bits", same(RELU, near, [SPLIT]), "differ"),
        ("equal, and both lines differ", same(LINE, ZERO, [line]), "differ"),
        ("other signs on a leaf", same(RELU, RELU, [turned]), "FOLLOW"),
        ("a leaf that is not there", same(
            RELU, net([[1]], [0], Relu(), after=[[2]]),
            [stream([SM, MFOLLOW, LEAF, EMPTY], [0, 0, 2], [-0.5])]), "EMPTY"),
        ("a row of the other side", up_to_half(HALF, 0), "leaf 1"),
        ("the wall in place of the end", up_to_half(HALF, 3), "leaf 1"),
        ("a row that is a little too far", up_to_half(HALF - Fraction(1, 1 << 60), 2), "leaf 1"),
        ("a wall that is not on the path", within(1, ((0, [3]), (0, [0])), ACTIVE), "names no row"),
        ("an id below 0", within(1, ((0, [-1]), (0, [0])), ACTIVE), "names no row"),
        ("an id far below 0", within(1, ((0, [-4]), (0, [0])), ACTIVE), "names no row"),
        ("an id beyond all", within(1, ((0, [5]), (0, [0])), ACTIVE), "names no row"),
        ("a row that the set has not", within(1, ((1, [0]), (0, [0])), ACTIVE), "has not"),
        ("steps that differ at 0", same(
            net([[1]], [0], Step()), net([[-1]], [0], Step(), after=[[1]]), [SPLIT]), "step"),
    ]


def false_covers() -> list[tuple[str, Certificate, str]]:
    """Parts of the domain that no leaf covers."""
    root, below = with_hole()
    line = stream([], [], [0.25])
    nothing = stream([EMPTY], [0, 2], [])
    nothing = replace(nothing, points=np.zeros((0, 1)))
    shifted = net([[1]], [1])
    union = Union((Box(-1, 0), Box(3, 4)))
    return [
        ("an open hole", claimed(
            RELU, TWICE, Within(Fraction(1)), [chart([root], [INACTIVE])]), "open"),
        ("an open hole, equal", same(RELU, TWICE, [root]), "open"),
        ("a stream that fills no hole", claimed(
            RELU, RELU, Equal(), [chart([SPLIT, below], [()] * 3)]), "fills no hole"),
        ("two roots", claimed(
            RELU, RELU, Equal(), [chart([SPLIT, SPLIT], [()] * 4)]), "twice"),
        ("a leaf without closing rows", within(1, INACTIVE), "leaf|leaves|index"),
        ("closing rows without a leaf", within(1, INACTIVE, ACTIVE, ACTIVE), "leaves"),
        ("one set of two", within(1, INACTIVE[:1], ACTIVE[:1]), "sets"),
        ("a flat domain", same(LINE, shifted, [nothing], POINT), "leaves"),
        ("no stream", same(LINE, shifted, []), "whole chart"),
        ("a part of a union", claimed(RELU, ZERO, Equal(), [chart([
            stream([MBOX], [], [0.0])], [()])], union), "charts"),
        ("a union of different parts", claimed(RELU, ZERO, Equal(), [
            chart([stream([MBOX], [], [0.0])], [()]), chart([stream([PBASIS], [0], [0.0])], [()])
        ], union), "differ"),
        ("a fixed input of another value", same(
            net([[1, 0]]), net([[1, 1]], [-4]), [line], Box([-1, 5], [1, 5])), "differ"),
        ("a free input beside a fixed one", same(
            net([[1, 0]]), net([[0, 0]]), [line], Box([-1, 5], [1, 5])), "differ"),
        ("one chart of all of space", same(LINE, LINE, [line], Everywhere()), "charts"),
        ("equal on [-1, 1] alone", claimed(
            RELU, net([[1], [1]], [0, -1], Relu(), after=[[1, 1]]), Equal(),
            [chart([stream([SM, MFOLLOW, MBASIS, PFOLLOW, MBASIS], [0, 1, 0, 1], HALVES)],
                   [(), ()])] * 3, Everywhere()), "stream"),
    ]


def false_sets() -> list[tuple[str, Certificate, str]]:
    """Forbidden sets that are met, at a point, at an edge, far out."""
    line = stream([], [], [0.25])

    def lines(relation: Comparison, target: int, row: int) -> Certificate:
        return claimed(LINE, LINE, relation, [chart([line], [((target, [row]),)])])

    def outside(g: Network, eps: Any, *closed: tuple[int, list[int]]) -> Certificate:
        return claimed(
            LINE, g, Within(Fraction(eps)), [chart([line], [closed])] * 3, Everywhere()
        )

    shifted, steeper = net([[1]], [1]), net([[1 + 2.0**-30]])
    return [
        ("met at the edge", lines(meeting((False, False)), 0, 3), "set 0"),
        ("met at the edge, the other row", lines(meeting((False, False)), 1, 2), "set 0"),
        ("met inside", lines(meeting((True, True), 1), 0, 3), "set 0"),
        ("met inside, the other row", lines(meeting((True, True), 1), 1, 2), "set 0"),
        ("met on half of the line", lines(avoids([[-1, 0, 0]], [-HALF], [True]), 0, 0), "set 0"),
        ("met on the other half", lines(avoids([[1, 0, 0]], [-HALF], [True]), 0, 1), "set 0"),
        ("another decision", decision([2, 1, 0], [2, 1, 3], 0), "set 1"),
        ("another decision, by g", decision([2, 1, 0], [2, 1, 3], 2), "set 1"),
        ("the row itself", lines(avoids([[-1, 0, 0]], [0], [True]), 0, 2), "set 0"),
        ("a set without rows", claimed(
            LINE, LINE, avoids(np.zeros((0, 3)), [], []), [chart([line], [((0, [0]),)])]), "not"),
        ("a difference of 1 everywhere", outside(shifted, HALF, (0, [0]), (0, [0])), "set 0"),
        ("a difference of 1 everywhere, t", outside(shifted, HALF, (1, [2]), (1, [2])), "set 0"),
        ("a difference that grows", outside(steeper, 1, (0, [0]), (0, [0])), "set"),
        ("a difference that grows, t", outside(steeper, 1, (1, [2]), (1, [2])), "set"),
    ]
