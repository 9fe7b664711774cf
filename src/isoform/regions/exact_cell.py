# SPDX-License-Identifier: Apache-2.0
"""Facets of one cell, and what lies behind them, in exact arithmetic.

A cell is {row . (1, u) >= 0 for all rows}, rows primitive integers; `horizon` is the row that is
positive on all of its finite points: (1, 0, ..., 0), or t where the coordinates are projective.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flint

from isoform.errors import ContractBroken
from isoform.regions.exact_forms import ExactForms, Row, layer_forms, turned, wall_of


def half_spaces(
    forms: ExactForms, prefix: bytes, units: Sequence[int], horizon: Row
) -> dict[Row, list[int]]:
    """The distinct half-spaces of some units, and the units that share each. Units without a wall
    (a constant form) have none. prefix: a code for every unit, only bit 0 matters. ContractBroken
    where a constant contradicts the pattern: then the pattern is that of no region."""
    found: dict[Row, list[int]] = {}
    for unit in units:
        row = wall_of(forms, unit, prefix)
        row = row if prefix[unit] & 1 else turned(row)
        if not any(row):
            if prefix[unit] & 1:
                raise ContractBroken("the region search", f"unit {unit} is active where z = 0")
        elif row == turned(horizon):
            raise ContractBroken("the region search", f"unit {unit} cannot have its sign")
        elif row != horizon:
            found.setdefault(row, []).append(unit)
    return found


def pivot_columns(rows: Sequence[Row]) -> list[int]:
    """Columns on which the rows have the rank that they have on all."""
    reduced, _, rank = matrix(rows).rref()
    return [
        next(c for c in range(reduced.ncols()) if reduced[i, c] != 0) for i in range(rank)
    ]


def matrix(rows: Sequence[Row]) -> flint.fmpz_mat:
    return flint.fmpz_mat(len(rows), len(rows[0]), [value for row in rows for value in row])


def independent(rows: Sequence[Row], first: Sequence[int], rank: int) -> list[int]:
    """`rank` independent rows, those of `first` where possible."""
    chosen: list[int] = []
    for i in [*first, *(i for i in range(len(rows)) if i not in first)]:
        if len(chosen) == rank:
            break
        if matrix([rows[c] for c in [*chosen, i]]).rank() == len(chosen) + 1:
            chosen.append(i)
    return chosen


def is_facet(
    rows: Sequence[Row], at: int, horizon: Row, hint: Sequence[int] = (),
    pivots: Sequence[int] | None = None,
) -> bool:
    """Whether rows[at] cuts the cell of the other, distinct rows; see `way_out`."""
    return way_out(rows, at, horizon, hint, pivots) is not None


def is_combination(target: Row, rows: Sequence[Row]) -> bool:
    """Whether a row is a non-negative combination of rows that are a basis of all (1, u)."""
    width = len(target)
    columns = flint.fmpz_mat(width, len(rows), [row[c] for c in range(width) for row in rows])
    try:
        multipliers = columns.solve(flint.fmpz_mat(width, 1, list(target)))
    except (ZeroDivisionError, ValueError):
        return False
    return all(multipliers[i, 0] >= 0 for i in range(width))


def way_out(
    rows: Sequence[Row], at: int, horizon: Row, hint: Sequence[int] = (),
    pivots: Sequence[int] | None = None,
) -> list[int] | None:
    """A direction over (1, u) that leaves the half-space rows[at] and no other; None where the row
    is redundant among the distinct rows of a cell with an interior. pivots: the `pivot_columns` of
    the rows and the horizon, where they are known.

    The row is redundant iff it is a non-negative combination of the others and the horizon
    (Farkas). Starts from the rows `hint` and exchanges by the least-index rule, which ends
    (criss-cross method, Terlaky 1985; Wang 1987): with multipliers that prove redundancy, or with
    the direction.
    """
    if len(hint) == len(horizon) - 1 and at not in hint and is_combination(
        rows[at], [*(rows[i] for i in hint), horizon]
    ):
        return None
    others = [*rows[:at], *rows[at + 1 :], horizon]
    columns = list(pivot_columns([*others, rows[at]]) if pivots is None else pivots)
    others = [tuple(row[c] for c in columns) for row in others]
    target = tuple(rows[at][c] for c in columns)
    rank = len(columns)
    wanted = [*(i - (i > at) for i in hint if i != at), len(others) - 1]
    basis = independent(others, wanted, rank)
    if len(basis) < rank:
        chosen = matrix([*(others[i] for i in basis), target])
        goal = flint.fmpz_mat(rank, 1, [*[0] * len(basis), -1])
        return spread(direction(chosen.solve(goal)), columns, len(rows[at]))
    goal = flint.fmpz_mat(rank, 1, list(target))
    while True:
        chosen = matrix([others[i] for i in basis])
        multipliers = chosen.transpose().solve(goal)
        wrong = [(basis[i], i) for i in range(rank) if multipliers[i, 0] < 0]
        if not wrong:
            return None
        out = min(wrong)[1]
        unit = flint.fmpz_mat(rank, 1, [int(i == out) for i in range(rank)])
        way = direction(chosen.solve(unit))
        entering = next(
            (i for i, row in enumerate(others) if i not in basis and value_at(row, way) < 0), None
        )
        if entering is None:
            return spread(way, columns, len(rows[at]))
        basis[out] = entering


def value_at(row: Sequence[int], point: Sequence[int]) -> int:
    return sum(a * b for a, b in zip(row, point, strict=True))


def spread(entries: list[int], columns: list[int], width: int) -> list[int]:
    """Entries at their columns, zeros elsewhere."""
    whole = [0] * width
    for column, entry in zip(columns, entries, strict=True):
        whole[column] = entry
    return whole


def direction(column: Any) -> list[int]:
    """A positive integer multiple of a rational column."""
    numerators, denominator = column.numer_denom()
    sign = 1 if denominator > 0 else -1
    return [sign * int(value) for value in numerators.entries()]


def across(
    forms: ExactForms, prefix: bytes, wall: Row, units: Sequence[int], zeros: bool = True
) -> bytes:
    """The pattern behind a facet of a region of a continuous network, one byte a unit.

    prefix: the region's. wall: the facet's row; units: all whose wall contains it. Behind the facet
    a unit that is not zero on the wall keeps its sign, and every other one has a form c . wall
    there, layer by layer: active iff c < 0 (the sign of the derivative; c = 0: zero throughout,
    inactive). zeros: whether units may be zero throughout the region; then they are looked for.
    """
    new = bytearray(code & 1 for code in prefix)
    on_wall = set(units)
    for layer, (first, last) in enumerate(zip(forms.starts[:-1], forms.starts[1:], strict=True)):
        here = {unit for unit in on_wall if first <= unit < last}
        if zeros:
            rows = layer_forms(forms, layer, prefix).rows
            here |= {first + i for i, row in enumerate(rows) if not any(row)}
        if here:
            rows = layer_forms(forms, layer, bytes(new)).rows
            for unit in here:
                new[unit] = value_at(rows[unit - first], wall) < 0
    return bytes(new)
