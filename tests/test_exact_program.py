# SPDX-License-Identifier: Apache-2.0
"""Exact linear programmes: against a solver in floats, degenerate and empty ones."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from isoform.regions.exact_program import (
    Infeasible,
    Row,
    Solved,
    maximise,
    proves_a_bound,
    started,
    started_in_box,
)


def value(row: Row, point: list[Fraction]) -> Fraction:
    return row[0] + sum((r * x for r, x in zip(row[1:], point, strict=True)), Fraction(0))


def box(n: int, half: int) -> list[Row]:
    """-half <= x_i <= half."""
    sides = (1, -1)
    return [(half, *(s * (i == j) for j in range(n))) for i in range(n) for s in sides]


def proved(rows: list[Row], objective: Row, found: Solved | Infeasible) -> None:
    """The multipliers prove the bound, or that no point satisfies all rows."""
    assert min(found.multipliers) >= 0 and len(found.basis) == len(found.multipliers)
    sums = [
        sum(y * rows[i][c] for y, i in zip(found.multipliers, found.basis, strict=True))
        for c in range(len(objective))
    ]
    if isinstance(found, Infeasible):
        assert sums[0] < 0 and not any(sums[1:])
        return
    scale = found.vertex[0]
    assert scale > 0
    assert [-v for v in sums[1:]] == [scale * c for c in objective[1:]]
    assert sums[0] + scale * objective[0] == found.value
    point = [Fraction(x, scale) for x in found.vertex[1:]]
    assert all(value(rows[i], point) == 0 for i in found.basis)
    assert value(objective, point) == Fraction(found.value, scale)
    if found.optimal:
        assert all(value(row, point) >= 0 for row in rows)


@st.composite
def programmes(draw: st.DrawFn) -> tuple[list[Row], Row]:
    """Small integers: ties, parallel and repeated rows and empty sets are common."""
    n = draw(st.integers(1, 5))
    random = np.random.default_rng(draw(st.integers(0, 10**6)))
    most = draw(st.sampled_from([1, 2, 6]))
    more = random.integers(-most, most + 1, (draw(st.integers(0, 14)), 1 + n))
    more[:, 0] += draw(st.integers(-1, 2 * most))
    objective = random.integers(-most, most + 1, 1 + n)
    return box(n, draw(st.integers(1, 3))) + [tuple(r) for r in more.tolist()], tuple(
        objective.tolist()
    )


@settings(deadline=None, max_examples=150)
@given(programmes(), st.integers(0, 1))
def test_a_solver_in_floats_agrees(programme: tuple[list[Row], Row], plain: int) -> None:
    rows, objective = programme
    found = maximise(rows, started_in_box(rows, objective), patience=0 if plain else 50)
    proved(rows, objective, found)
    matrix = np.array(rows, dtype=float)
    other = linprog(
        -np.array(objective[1:], dtype=float), A_ub=-matrix[:, 1:], b_ub=matrix[:, 0],
        bounds=(None, None),
    )
    assert other.status == (2 if isinstance(found, Infeasible) else 0)
    if isinstance(found, Solved):
        assert found.optimal
        reached = Fraction(found.value, found.vertex[0])
        assert float(reached) == pytest.approx(objective[0] - other.fun, abs=1e-6)


@settings(deadline=None, max_examples=60)
@given(programmes())
def test_a_bound_of_zero_is_enough(programme: tuple[list[Row], Row]) -> None:
    rows, objective = programme
    full = maximise(rows, started_in_box(rows, objective))
    early = maximise(rows, started_in_box(rows, objective), until=True)
    proved(rows, objective, early)
    if isinstance(full, Solved):
        assert isinstance(early, Solved)
        assert (early.value <= 0) == (full.value <= 0)
        assert early.optimal == (early.value > 0)
    elif isinstance(early, Solved):
        assert early.value <= 0


@settings(deadline=None, max_examples=60)
@given(programmes())
def test_the_optimal_basis_is_an_end_and_a_start(programme: tuple[list[Row], Row]) -> None:
    rows, objective = programme
    found = maximise(rows, started_in_box(rows, objective))
    if isinstance(found, Solved):
        again = started(rows, objective, found.basis)
        assert again is not None and proves_a_bound(again)
        assert again.columns[0][:1] == [found.vertex[0]]
        assert maximise(rows, again) == found


def test_bases_that_start_nothing() -> None:
    rows = [*box(2, 1), (1, 1, 0), (5, 1, 1)]
    assert started(rows, (0, 1, 0), [0, 1]) is None  # parallel
    assert started(rows, (0, 1, 0), [0, 4]) is None
    wrong = started(rows, (0, 1, 0), [0, 2])  # bounds -x, not x
    assert wrong is not None and not proves_a_bound(wrong)
    with pytest.raises(ValueError, match="proves a bound"):
        maximise(rows, wrong)


def test_many_rows_through_one_point_end() -> None:
    """A fan of rows through the optimum: every pivot is degenerate, with both rules."""
    fan = [(0, -a, -b, -c) for a in range(-3, 4) for b in range(-3, 4) for c in (1, 2)]
    rows = box(3, 1) + fan + fan[::-1]
    for patience in (0, 50):
        found = maximise(rows, started_in_box(rows, (0, 1, 2, 3)), patience=patience)
        proved(rows, (0, 1, 2, 3), found)
        assert isinstance(found, Solved) and found.value == 0


def test_huge_and_tiny_numbers_are_exact() -> None:
    """The optimum lies 2^-200 beyond 1/3, where floats see none of it."""
    big = 1 << 200
    rows = [(1, 1), (1, -1), (big + 3, -3 * big)]
    found = maximise(rows, started_in_box(rows, (-1, 3)))
    assert isinstance(found, Solved)
    assert Fraction(found.value, found.vertex[0]) == Fraction(3, big)
