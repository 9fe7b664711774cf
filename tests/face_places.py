# SPDX-License-Identifier: Apache-2.0
"""Random polytopes around the cube [-1, 1]^d: dyadic rows and others, thin ones, points, none."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from isoform.network.domain import Box, Polytope, contains
from isoform.numerics.exact import Exact

SCALES = [Fraction(1), Fraction(1), Fraction(1, 3), Fraction(10**30), Fraction(1, 10**30),
          Fraction(7, 1 << 60)]


def random_rows(
    random: np.random.Generator, d: int, inner: list[Fraction]
) -> list[tuple[list[Fraction], Fraction]]:
    """Some rows a x <= b, true at one point at least (most of the time), some of them tight."""
    rows = []
    for _ in range(int(random.integers(1, 4))):
        kind = random.integers(4)
        a = [Fraction(int(v), 8) for v in random.integers(-8, 9, d)]
        if kind == 1:
            a = [v / 3 for v in a]
        elif kind == 2:
            a = [v * Fraction(1, 1 << int(s)) for v, s in
                 zip(a, random.choice([0, 6, 12, 40], d), strict=True)]
        room = Fraction(int(random.choice([0, 0, 1, 3, 9])), int(random.choice([8, 64, 1 << 20])))
        value = sum((v * x for v, x in zip(a, inner, strict=True)), Fraction(0))
        rows.append((a, value + room))
        if random.random() < 0.15:  # an equation
            rows.append(([-v for v in a], -value))
    if random.random() < 0.05:
        rows.append(([Fraction(0)] * d, Fraction(int(random.integers(-1, 2)))))
    return rows


def polytope(
    rows: list[tuple[list[Fraction], Fraction]], box: Box, scales: list[Fraction]
) -> Polytope:
    """The rows, each multiplied by a positive number."""
    A = [v * s for (a, _), s in zip(rows, scales, strict=True) for v in a]
    b = [bound * s for (_, bound), s in zip(rows, scales, strict=True)]
    wide = np.array(A, dtype=object).reshape(len(rows), -1)
    return Polytope(Exact.of(wide), Exact.of(np.array(b, dtype=object)), box)


def random_place(random: np.random.Generator, d: int) -> tuple[Polytope, list[list[Fraction]]]:
    """A polytope in a box, and points of it; some of its faces go through points."""
    low = [Fraction(int(v), 4) for v in random.integers(-6, 1, d)]
    high = [a + Fraction(int(v), int(random.choice([4, 3, 1]))) for a, v in
            zip(low, random.integers(0, 5, d), strict=True)]
    box = Box(Exact.of(np.array(low, dtype=object)), Exact.of(np.array(high, dtype=object)))

    def drawn() -> list[Fraction]:
        share = random.choice([0, 64, int(random.integers(0, 65))], d)
        return [a + (b - a) * Fraction(int(s), 64) for a, b, s in
                zip(low, high, share, strict=True)]

    inner = drawn()
    rows = random_rows(random, d, inner)
    scales = [SCALES[int(random.integers(len(SCALES)))] for _ in rows]
    place = polytope(rows, box, scales)
    points = [inner, *(drawn() for _ in range(24))]
    points += [[(x + 3 * y) / 4 for x, y in zip(p, inner, strict=True)] for p in points[1:9]]
    return place, [p for p in points if contains(place, Exact.of(np.array(p, dtype=object)))]


def in_cube(place: Polytope, points: list[list[Fraction]]) -> list[list[Fraction]]:
    """The points in the coordinates u of the box; inputs that it fixes are 1."""
    low, high = place.box.low.fractions(), place.box.high.fractions()
    return [
        [(2 * x - a - b) / (b - a) if a < b else Fraction(1)
         for x, a, b in zip(point, low, high, strict=True)] for point in points
    ]
