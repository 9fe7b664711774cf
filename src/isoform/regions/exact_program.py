# SPDX-License-Identifier: Apache-2.0
"""Linear programmes over half-spaces with integer coefficients, solved exactly.

A half-space is a row (r_0, r_1, ..., r_n) of integers and means {x in R^n : r_0 + r.x >= 0}; an
objective (c_0, c) is the value c_0 + c.x. The dual simplex method starts from a basis that is
optimal for few of the rows (the faces of a box have one for every objective), so no first phase is
needed. The tableau is kept in integers over one determinant (Edmonds, J. Res. NBS 71B, 1967;
Bareiss, Math. Comp. 22, 1968); Bland's rule (Math. Oper. Res. 2, 1977), on the dual, ends it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import mul
from typing import Any

import flint

Row = tuple[int, ...]
PATIENCE = 50  # pivots with the most violated row before Bland's rule


@dataclass(frozen=True, slots=True)
class Solved:
    """A basis with multipliers y >= 0 that bound the objective from above, at its vertex.

    basis: places of n rows. multipliers: y times the determinant. vertex: (determinant, then the
    coordinates times it), determinant > 0. value: the bound times the determinant; it is the
    objective at the vertex. optimal: whether the vertex satisfies all rows, so that the bound is
    the maximum; otherwise the caller asked for no more than this bound.
    """

    basis: tuple[int, ...]
    multipliers: tuple[int, ...]
    vertex: Row
    value: int
    optimal: bool


@dataclass(frozen=True, slots=True)
class Infeasible:
    """No point satisfies these n + 1 rows (by their places): with multipliers y >= 0 their normals
    add up to 0 and their constants to less than 0."""

    basis: tuple[int, ...]
    multipliers: tuple[int, ...]


class Tableau:
    """A basis and its inverse, in integers over the determinant (> 0).

    columns[0]: (determinant, vertex, objective at the vertex); columns[1 + i]: (0, direction in
    which row basis[i] grows by one and the others stay, change of the objective).
    """

    __slots__ = ("basis", "columns")

    def __init__(self, basis: list[int], columns: list[list[int]]):
        self.basis = basis
        self.columns = columns


def started(rows: Sequence[Row], objective: Row, basis: Sequence[int]) -> Tableau | None:
    """The tableau of a basis; None where its rows are dependent or prove no bound."""
    n = len(basis)
    chosen = [rows[i] for i in basis]
    matrix = flint.fmpz_mat(n, n, [value for row in chosen for value in row[1:]])
    determinant = int(matrix.det())
    if determinant == 0:
        return None
    rational: Any = matrix.inv()
    whole, common = rational.numer_denom()
    inverse = (whole * (determinant // int(common))).transpose().tolist()
    side = 1 if determinant > 0 else -1
    directions = [[side * int(value) for value in column] for column in inverse]
    return tableau(list(basis), chosen, directions, side * determinant, objective)


def started_in_box(rows: Sequence[Row], objective: Row) -> Tableau:
    """The tableau of the corner of the box where the objective is largest. The first 2n rows are
    the box: row 2i bounds coordinate i from below, row 2i + 1 from above."""
    n = len(objective) - 1
    basis = [2 * i + (objective[1 + i] > 0) for i in range(n)]
    chosen = [rows[i] for i in basis]
    determinant = 1
    for i, row in enumerate(chosen):
        determinant *= abs(row[1 + i])
    directions = [[0] * n for _ in chosen]
    for i, row in enumerate(chosen):
        directions[i][i] = determinant // row[1 + i]
    return tableau(basis, chosen, directions, determinant, objective)


def tableau(
    basis: list[int], chosen: list[Row], directions: list[list[int]], determinant: int,
    objective: Row,
) -> Tableau:
    linear = objective[1:]
    vertex = [0] * len(basis)
    for row, direction in zip(chosen, directions, strict=True):
        if row[0]:
            vertex = [x - row[0] * y for x, y in zip(vertex, direction, strict=True)]
    value = objective[0] * determinant + sum(map(mul, linear, vertex))
    columns = [[determinant, *vertex, value]]
    columns += [[0, *direction, sum(map(mul, linear, direction))] for direction in directions]
    return Tableau(basis, columns)


def proves_a_bound(start: Tableau) -> bool:
    """Whether the multipliers are nonnegative."""
    return all(column[-1] <= 0 for column in start.columns[1:])


def maximise(
    rows: Sequence[Row], start: Tableau, *, until: bool = False, patience: int = PATIENCE
) -> Solved | Infeasible:
    """The maximum of the tableau's objective over all rows.

    start: proves a bound; it is used up. until: stop as soon as the bound is at most 0.
    """
    if not proves_a_bound(start):
        raise ValueError("the dual simplex method starts from a basis that proves a bound")
    basis, columns = start.basis, start.columns
    while True:
        done = until and columns[0][-1] <= 0
        entering = -1 if done else violated(rows, columns[0], patience <= 0)
        if entering < 0:
            multipliers = tuple(-column[-1] for column in columns[1:])
            vertex = tuple(columns[0][:-1])
            return Solved(tuple(basis), multipliers, vertex, columns[0][-1], not done)
        row = rows[entering]
        rates = [sum(map(mul, row, column)) for column in columns]
        leaving = blocking(basis, columns, rates)
        if leaving < 0:
            multipliers = (*(-rate for rate in rates[1:]), columns[0][0])
            return Infeasible((*basis, entering), multipliers)
        exchange(columns, 1 + leaving, rates)
        basis[leaving] = entering
        patience -= 1


def violated(rows: Sequence[Row], vertex: list[int], first: bool) -> int:
    """The place of a row that the vertex violates: the first, or about the most violated; -1 if
    there is none."""
    worst, place = 0, -1
    for i, row in enumerate(rows):
        slack = sum(map(mul, row, vertex))
        if slack < 0:
            if first:
                return i
            size = slack.bit_length() - max(map(int.bit_length, row))
            if place < 0 or size > worst:
                worst, place = size, i
    return place


def blocking(basis: list[int], columns: list[list[int]], rates: list[int]) -> int:
    """The place in the basis that leaves: its multiplier is the first to reach 0, and among several
    its row is the first; -1 if none ever does."""
    place, above, below = -1, 0, 1
    for i, row in enumerate(basis):
        rate = rates[1 + i]
        if rate > 0:
            multiplier = -columns[1 + i][-1]
            difference = multiplier * below - above * rate if place >= 0 else -1
            if difference < 0 or (difference == 0 and row < basis[place]):
                place, above, below = i, multiplier, rate
    return place


def exchange(columns: list[list[int]], place: int, rates: list[int]) -> None:
    """Column `place` leaves for a row that grows along the columns at `rates` (over the
    determinant). The divisions leave no rest: all entries are minors of the rows."""
    determinant, pivot, turned = columns[0][0], rates[place], columns[place]
    for j, column in enumerate(columns):
        rate = rates[j]
        if j != place:
            columns[j] = [
                (x * pivot - y * rate) // determinant for x, y in zip(column, turned, strict=True)
            ]
