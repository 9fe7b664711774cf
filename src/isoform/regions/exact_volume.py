# SPDX-License-Identifier: Apache-2.0
"""Volumes and corners of single cells in rationals, where floats say nothing: thin cells, facets
that are nearly parallel, walls with numbers beyond the doubles.

A cell is {row . (1, u) >= 0}, bounded, with one row of integers a facet.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import cmp_to_key

from isoform.regions.exact_forms import Row, primitive

Point = tuple[Fraction, Fraction]


def volume(rows: Sequence[Row]) -> Fraction:
    """The volume, by facets (Lasserre 1983): n V = sum of distances from 0 times volumes of facets,
    each projected along a coordinate in which its row is not constant. Some F!/(F - k)! steps for F
    facets in k dimensions."""
    rows = list(dict.fromkeys(map(primitive, rows)))
    if any(row[0] < 0 and not any(row[1:]) for row in rows):
        return Fraction(0)
    rows = [row for row in rows if any(row[1:])]
    n = len(rows[0]) - 1
    if n == 1:
        high = min(Fraction(row[0], -row[1]) for row in rows if row[1] < 0)
        low = max(Fraction(-row[0], row[1]) for row in rows if row[1] > 0)
        return max(high - low, Fraction(0))
    total = Fraction(0)
    for i, row in enumerate(rows):
        if row[0]:
            at = max(range(1, n + 1), key=lambda c: abs(row[c]))
            facet = volume([without(other, row, at) for j, other in enumerate(rows) if j != i])
            total += Fraction(row[0], abs(row[at])) * facet
    return total / n


def without(row: Row, wall: Row, at: int) -> Row:
    """A row on the wall {wall = 0}, where coordinate `at` is a function of the others."""
    size, factor = abs(wall[at]), row[at] * (1 if wall[at] > 0 else -1)
    return tuple(
        size * a - factor * b for c, (a, b) in enumerate(zip(row, wall, strict=True)) if c != at
    )


def polygon(rows: Sequence[Row]) -> tuple[list[int], list[Point]]:
    """(order, corners) of a cell of the plane, counter-clockwise: side i lies on the facet
    rows[order[i]] and goes from corners[i] to the next corner."""
    def compare(i: int, j: int) -> int:
        a, b = rows[i], rows[j]
        upper = [(y, x) < (0, 0) for _, x, y in (a, b)]  # of the outward normals (-x, -y)
        if upper[0] != upper[1]:
            return 1 if upper[0] else -1
        return -1 if cross(a, b) > 0 else 1

    order = sorted(range(len(rows)), key=cmp_to_key(compare))
    return order, [met(rows[i], rows[j]) for i, j in zip([order[-1], *order], order, strict=False)]


def cross(a: Row, b: Row) -> int:
    return a[1] * b[2] - a[2] * b[1]


def met(a: Row, b: Row) -> Point:
    """The point on two walls."""
    size = cross(a, b)
    return Fraction(a[2] * b[0] - a[0] * b[2], size), Fraction(a[0] * b[1] - a[1] * b[0], size)
