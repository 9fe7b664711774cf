# SPDX-License-Identifier: Apache-2.0
"""Facts of regions by brute force in Fractions: every vertex of every cell. For tests only."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations

import numpy as np

from isoform.network.charts import Chart
from isoform.network.unit_layers import UnitLayer, UnitLayers
from isoform.numerics.exact import Exact
from isoform.numerics.sparse import ExactSparse

Form = list[Fraction]  # constant, then the gradient


def chain(weights: list[np.ndarray], biases: list[np.ndarray]) -> UnitLayers:
    """Layers of a chain of ReLU layers; the last pair is the linear output."""
    d = weights[0].shape[1]
    made, start, width = [], 1, d
    for W, b in zip(weights, biases, strict=True):
        rows = np.zeros((len(W), 1 + start - 1 + width))
        rows[:, 0], rows[:, start : start + width] = b, W
        made.append(ExactSparse.of(Exact.of(rows)))
        start, width = start + width, len(W)
    return UnitLayers(d, tuple(UnitLayer(rows) for rows in made[:-1]), made[-1])


def random_chain(seed: int, widths: tuple[int, ...], scale: int = 2, bias: bool = True
                 ) -> UnitLayers:
    """Small multiples of 1 / 2 as weights: walls that coincide, dead units, zero forms abound."""
    rng = np.random.default_rng(seed)
    weights = [rng.integers(-scale, scale + 1, size=(n, m)) / 2
               for m, n in zip(widths[:-1], widths[1:], strict=True)]
    biases = [rng.integers(-scale, scale + 1, size=len(W)) / 2 * bias for W in weights]
    return chain(weights, biases)


def forms(layers: UnitLayers, bits: list[int]) -> tuple[list[Form], list[Form]]:
    """The forms of all units and of the outputs on a region."""
    k = layers.dimension
    values = [[Fraction(int(i == j)) for j in range(1 + k)] for i in range(1 + k)]
    units: list[Form] = []

    def combined(rows: ExactSparse, i: int) -> Form:
        parts = rows.row_fractions(i)
        return [sum((w * values[c][e] for c, w in parts.items()), Fraction(0))
                for e in range(1 + k)]

    for layer in layers.layers:
        new = [combined(layer.rows, i) for i in range(layer.size)]
        for form in new:
            on = bits[len(units)]
            units.append(form)
            one = [Fraction(1)] + [Fraction(0)] * k
            if layer.step:
                values.append(one if on or not any(form) else [Fraction(0)] * (1 + k))
            else:
                values.append(form if on else [Fraction(0)] * (1 + k))
    return units, [combined(layers.outputs, i) for i in range(layers.outputs.shape[0])]


def half_spaces(chart: Chart, bits: list[int]) -> list[Form]:
    """All rows r . (1, u) >= 0, by row id; a unit without a wall has a row of constants."""
    A, b = chart.rows
    own = [[bound, *(-v for v in row.fractions())]
           for row, bound in zip([A[i] for i in range(len(b))], b.fractions(), strict=True)]
    units, _ = forms(chart.layers, bits)
    return own + [form if on else [-v for v in form]
                  for form, on in zip(units, bits, strict=True)]


def solved(rows: list[Form]) -> list[Fraction] | None:
    """The point where k rows vanish."""
    k = len(rows)
    M = [[*row[1:], -row[0]] for row in rows]
    for c in range(k):
        pivot = next((r for r in range(c, k) if M[r][c]), None)
        if pivot is None:
            return None
        M[c], M[pivot] = M[pivot], M[c]
        M[c] = [v / M[c][c] for v in M[c]]
        for r in range(k):
            if r != c and M[r][c]:
                M[r] = [v - M[r][c] * w for v, w in zip(M[r], M[c], strict=True)]
    return [M[c][k] for c in range(k)]


def value(form: Form, point: list[Fraction]) -> Fraction:
    return form[0] + sum((g * x for g, x in zip(form[1:], point, strict=True)), Fraction(0))


def vertices(rows: list[Form]) -> set[tuple[Fraction, ...]]:
    """The vertices of a bounded cell."""
    walls = [row for row in rows if any(row[1:])]
    found = set()
    for some in combinations(walls, len(rows[0]) - 1):
        point = solved(list(some))
        if point is not None and all(value(row, point) >= 0 for row in walls):
            found.add(tuple(point))
    return found


def span(points: list[tuple[Fraction, ...]]) -> int:
    """The dimension of the affine hull."""
    if not points:
        return -1
    rows = [[a - b for a, b in zip(p, points[0], strict=True)] for p in points[1:]]
    rank = 0
    for c in range(len(points[0])):
        pivot = next((r for r in range(rank, len(rows)) if rows[r][c]), None)
        if pivot is None:
            continue
        rows[rank], rows[pivot] = rows[pivot], rows[rank]
        for r in range(rank + 1, len(rows)):
            factor = rows[r][c] / rows[rank][c]
            rows[r] = [v - factor * w for v, w in zip(rows[r], rows[rank], strict=True)]
        rank += 1
    return rank


def facets(rows: list[Form]) -> set[tuple[int, ...]]:
    """The facets of a cell, each as the ids of all rows that share it."""
    k, corners = len(rows[0]) - 1, vertices(rows)
    found: dict[frozenset[tuple[Fraction, ...]], list[int]] = {}
    for i, row in enumerate(rows):
        on = frozenset(p for p in corners if any(row[1:]) and value(row, list(p)) == 0)
        if span(sorted(on)) == k - 1:
            found.setdefault(on, []).append(i)
    return {tuple(ids) for ids in found.values()}


def adjacent(cells: list[set[tuple[Fraction, ...]]], k: int) -> set[tuple[int, int]]:
    """Pairs of cells of a face-to-face complex that share a facet."""
    return {
        (i, j) for i, j in combinations(range(len(cells)), 2)
        if span(sorted(cells[i] & cells[j])) == k - 1
    }


def classes(count: int, pairs: set[tuple[int, int]]) -> int:
    """Number of connected components."""
    parent = list(range(count))

    def root(i: int) -> int:
        while parent[i] != i:
            i = parent[i]
        return i

    for i, j in pairs:
        parent[root(i)] = root(j)
    return len({root(i) for i in range(count)})
