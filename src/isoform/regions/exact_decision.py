# SPDX-License-Identifier: Apache-2.0
"""Exact answers about one cell of a splitting tree: the sign of a unit on it, a point inside it.

A cell is the chart cut by the walls on which its path was split. It is given by its prefix (see
`exact_forms`); row ids 0..m-1 are the chart's rows, m + j is the wall of unit j.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from operator import mul
from typing import Any

import flint

from isoform.numerics.exact import Exact, integers
from isoform.regions.exact_forms import (
    ACTIVE,
    SPLIT,
    ExactForms,
    Row,
    layer_forms,
    layer_of,
    row_of,
    signed,
    turned,
    wall_of,
)
from isoform.regions.exact_program import (
    Infeasible,
    Solved,
    maximise,
    proves_a_bound,
    started,
    started_in_box,
)


class Verdict(IntEnum):
    """What holds for a unit on a cell, and why: the numbers are those of the token stream."""

    SPLIT = 0
    MINUS_BOX = 2
    PLUS_BOX = 3
    MINUS_BASIS = 4
    PLUS_BASIS = 5
    MINUS_FOLLOW = 6
    PLUS_FOLLOW = 7
    EMPTY = 9


@dataclass(frozen=True, slots=True)
class Corner:
    """A vertex of a cell: the ids of k rows that meet there, and the point (k,)."""

    basis: tuple[int, ...]
    point: Exact


@dataclass(frozen=True, slots=True)
class Decision:
    """verdict: SPLIT where z has both signs on the cell, then `minus` and `plus` are vertices with
    z < 0 and z > 0. MINUS: z <= 0 on the cell, PLUS: z >= 0 and not identically 0; with `ids` to
    record: for BASIS k rows whose multipliers prove it, for FOLLOW the unit of which z is a
    multiple, for BOX (a constant) none. EMPTY: k + 1 rows show that the cell has no point at all.
    """

    verdict: Verdict
    ids: tuple[int, ...] = ()
    minus: Corner | None = None
    plus: Corner | None = None


@dataclass(frozen=True, slots=True)
class EmptyCell:
    """The cell has no interior: with multipliers y >= 0, not all 0, the normals of these k + 1 rows
    add up to 0 and their bounds to at most 0."""

    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Cell:
    """The half-spaces of a cell and their row ids; the box comes first."""

    ids: tuple[int, ...]
    rows: tuple[Row, ...]

    def with_wall(self, row_id: int, row: Row) -> Cell:
        return Cell((*self.ids, row_id), (*self.rows, row))


def cell_of(forms: ExactForms, prefix: bytes) -> Cell:
    """All rows of a cell."""
    count = len(forms.chart_rows)
    ids = [count + unit for unit, code in enumerate(prefix) if code & SPLIT]
    walls = (row_of(forms, row_id, prefix) for row_id in ids)
    return Cell((*range(count), *ids), (*forms.chart_rows, *walls))


def decide(
    forms: ExactForms, prefix: bytes, unit: int, hint: Sequence[int] | None = None
) -> Decision:
    """What holds for a unit on the cell with this prefix, exactly.

    prefix: decides all earlier layers, not the unit; the cell has an interior. hint: ids of k rows
    that may prove the sign (anything may be given). Cheap reasons come first: a constant, a
    multiple of an earlier unit, the hint; then two linear programmes.
    """
    wall = wall_of(forms, unit, prefix)
    if unit < len(prefix):
        raise ValueError(f"unit {unit} is decided on this cell already")
    known = constant_or_multiple(forms, prefix, unit, wall)
    if known is not None:
        return known
    basis = usable(forms, prefix, hint)
    side = 0
    if basis is not None:
        rows = [row_of(forms, i, prefix) for i in basis]
        side, proved = by_basis(wall, rows)
        if proved:
            return along_split(forms, wall, basis, rows) or stable(side, basis)
    cell = cell_of(forms, prefix)
    known = along_split(forms, wall, cell.ids, cell.rows)
    if known is not None:
        return known
    first = side or (1 if wall[0] > 0 else -1)
    corners: dict[int, Corner] = {}
    for claimed in (first, -first):  # claimed: z has this sign; maximise the other
        start = basis if claimed == side else None
        solved = opposite(cell, wall, claimed, start)
        if isinstance(solved, Infeasible):
            return Decision(Verdict.EMPTY, tuple(cell.ids[i] for i in solved.basis))
        ids = tuple(cell.ids[i] for i in solved.basis)
        if solved.value <= 0:
            return stable(claimed, ids)
        corners[-claimed] = Corner(ids, point_of(solved.vertex))
    return Decision(Verdict.SPLIT, (), corners[-1], corners[1])


def constant_or_multiple(
    forms: ExactForms, prefix: bytes, unit: int, wall: Row
) -> Decision | None:
    """The decision for a constant and for a multiple of an earlier unit. Where layers are sparse,
    only units on which the path was split count, for `along_split`: the others' forms may be many,
    and unknown."""
    if not any(wall[1:]):
        return Decision(Verdict.PLUS_BOX if wall[0] > 0 else Verdict.MINUS_BOX)
    if forms.sparse:
        return None
    key, sign = signed(wall)
    other = earlier_multiple(forms, prefix, unit, key)
    if other is None:
        return None
    same = signed(wall_of(forms, other, prefix))[1] == sign
    active = bool(prefix[other] & ACTIVE) == same
    return Decision(Verdict.PLUS_FOLLOW if active else Verdict.MINUS_FOLLOW, (other,))


def earlier_multiple(forms: ExactForms, prefix: bytes, unit: int, key: Row) -> int | None:
    """The first unit with the same wall, if it is decided. Where the path split on one of them, it
    is the first: the later ones follow it."""
    for layer in range(layer_of(forms, unit) + 1):
        others = layer_forms(forms, layer, prefix).multiples.get(key)
        if others:
            return others[0] if others[0] < len(prefix) else None
    return None


def along_split(
    forms: ExactForms, wall: Row, ids: Sequence[int], rows: Sequence[Row]
) -> Decision | None:
    """The decision for a multiple of a unit on which the path was split, by the path's rows."""
    opposite_wall, count = turned(wall), len(forms.chart_rows)
    for row_id, row in zip(ids, rows, strict=True):
        if row_id >= count and row in (wall, opposite_wall):
            verdict = Verdict.PLUS_FOLLOW if row == wall else Verdict.MINUS_FOLLOW
            return Decision(verdict, (row_id - count,))
    return None


def usable(
    forms: ExactForms, prefix: bytes, hint: Sequence[int] | None
) -> tuple[int, ...] | None:
    """The hint, if it names k different rows of the cell."""
    if hint is None or len(set(hint)) != forms.dimension or len(hint) != forms.dimension:
        return None
    count = len(forms.chart_rows)
    for row_id in hint:
        unit = row_id - count
        if row_id < 0 or unit >= 0 and (unit >= len(prefix) or not prefix[unit] & SPLIT):
            return None
    return tuple(int(row_id) for row_id in hint)


def by_basis(wall: Row, rows: Sequence[Row]) -> tuple[int, bool]:
    """(sign, proved): sign is -1 where the rows bound z from above, 1 where from below, else 0;
    proved where that bound shows z <= 0 or z >= 0."""
    k = len(rows)
    normals = flint.fmpz_mat(k, k, [row[1 + i] for i in range(k) for row in rows])
    try:
        rational: Any = normals.solve(flint.fmpz_mat(k, 1, list(wall[1:])))
    except ZeroDivisionError:  # dependent rows
        return 0, False
    solution, common = rational.numer_denom()
    multipliers = [-int(value) for value in solution.entries()]  # z + sum y r is constant
    bound = wall[0] * int(common) + sum(
        y * row[0] for y, row in zip(multipliers, rows, strict=True)
    )
    if all(y >= 0 for y in multipliers):
        return -1, bound <= 0
    if all(y <= 0 for y in multipliers):
        return 1, bound >= 0
    return 0, False


def opposite(
    cell: Cell, wall: Row, claimed: int, basis: Sequence[int] | None = None
) -> Solved | Infeasible:
    """The maximum of -claimed * z; stops where the sign `claimed` is proved (value <= 0)."""
    objective = turned(wall) if claimed > 0 else wall
    start = None
    if basis is not None:
        start = started(cell.rows, objective, [cell.ids.index(i) for i in basis])
    if start is None or not proves_a_bound(start):
        start = started_in_box(cell.rows, objective)
    return maximise(cell.rows, start, until=True)


def stable(side: int, ids: tuple[int, ...]) -> Decision:
    return Decision(Verdict.PLUS_BASIS if side > 0 else Verdict.MINUS_BASIS, ids)


def point_of(vertex: Row) -> Exact:
    return Exact(integers(vertex[1:], (len(vertex) - 1,)), vertex[0])


def interior(forms: ExactForms, prefix: bytes) -> Exact | EmptyCell:
    """A point (k,) strictly inside the chart's rows and the split walls, with few bits; or the
    reason why there is none."""
    found = centre(cell_of(forms, prefix))
    return found if isinstance(found, EmptyCell) else point_of(found)


def centre(cell: Cell) -> Row | EmptyCell:
    """A point inside, as (2^b, coordinates times 2^b).

    Finds the largest cube inside the cell: with w the sum of |r_i|, a cube of half width t around u
    satisfies r_0 + r.x >= 0 iff r_0 + r.u - w t >= 0. On the coarsest dyadic grid of steps below
    2t, the point nearest to u is strictly inside.
    """
    rows, ids = [], []
    for row_id, row in zip(cell.ids, cell.rows, strict=True):
        width = sum(map(abs, row[1:]))
        if width or row[0] < 0:  # 0 <= b with b >= 0 takes nothing away
            rows.append((*row, -(width or 1)))
            ids.append(row_id)
    k = len(rows[0]) - 2
    objective = (*([0] * (1 + k)), 1)
    start = started(rows, objective, [0, 1, *range(2, 2 * k, 2)])
    if start is None:
        raise ValueError("the first 2k rows of a cell are its box")
    solved = maximise(rows, start, until=True)
    if isinstance(solved, Infeasible):
        raise ArithmeticError("a cube of negative width always fits")
    if solved.value <= 0:
        return EmptyCell(tuple(ids[i] for i in solved.basis))
    determinant, *place = solved.vertex[:-1]
    bits = (determinant // (2 * solved.value)).bit_length()  # least with 2^-bits < 2t
    half = determinant >> 1
    return (1 << bits, *(((x << bits) + half) // determinant for x in place))


def side_of(wall: Row, point: Row) -> int:
    """The sign of z at a point (scale, coordinates times it)."""
    value = sum(map(mul, wall, point))
    return (value > 0) - (value < 0)
