# SPDX-License-Identifier: Apache-2.0
"""The complex of a small generic network in rationals: cells cut one by one, faces as vertex sets.

Shares nothing with the subdivision under test: every cell is a simple polytope, held as its
vertices with the rows that they lie on.
"""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations, product

from isoform.network.charts import Chart
from isoform.network.unit_layers import UnitLayers

Point = tuple[Fraction, ...]
Cell = dict[Point, frozenset[int]]  # vertices, and the rows on which each lies


def box(chart: Chart) -> Cell:
    """The box of a chart, rows 2i and 2i + 1 its faces."""
    low, high = chart.low.fractions(), chart.high.fractions()
    return {
        tuple((low[i], high[i])[s] for i, s in enumerate(sides)):
            frozenset(2 * i + s for i, s in enumerate(sides))
        for sides in product((0, 1), repeat=len(low))
    }


def value(layers: UnitLayers, unit: int, point: Point, pattern: tuple[int, ...]) -> Fraction:
    """Pre-activation of a unit, earlier units as this pattern says."""
    terms = [Fraction(1), *point]
    for j in range(unit):
        terms.append(raw(layers, j, terms) if pattern[j] else Fraction(0))
    return raw(layers, unit, terms)


def raw(layers: UnitLayers, unit: int, terms: list[Fraction]) -> Fraction:
    """A unit's row times (1, x, outputs)."""
    number = max(i for i, start in enumerate(layers.starts[:-1]) if start <= unit)
    row = layers.layers[number].rows.row_fractions(unit - layers.starts[number])
    return sum((weight * terms[column] for column, weight in row.items()), Fraction(0))


def split(cell: Cell, values: dict[Point, Fraction], row: int) -> tuple[Cell, Cell]:
    """The parts where a form with these values at the vertices is negative, and positive."""
    k = len(next(iter(cell)))
    new: Cell = {}
    for a, b in combinations(cell, 2):
        shared = cell[a] & cell[b]
        if len(shared) == k - 1 and values[a] * values[b] < 0:
            t = values[a] / (values[a] - values[b])
            new[tuple(p + t * (q - p) for p, q in zip(a, b, strict=True))] = shared | {row}
    return tuple(  # type: ignore[return-value]
        {v: rows for v, rows in cell.items() if side * values[v] > 0} | new for side in (-1, 1)
    )


def cells(chart: Chart) -> dict[tuple[int, ...], Cell]:
    """The full-dimensional cells by pattern. AssertionError where the network is not generic."""
    found: dict[tuple[int, ...], Cell] = {(): box(chart)}
    for unit in range(chart.layers.units):
        cut: dict[tuple[int, ...], Cell] = {}
        for pattern, cell in found.items():
            values = {v: value(chart.layers, unit, v, pattern) for v in cell}
            assert all(values.values())
            parts = split(cell, values, 2 * chart.dimension + unit)
            for bit, part in enumerate(parts):
                if any((z > 0) == bool(bit) for z in values.values()):
                    cut[(*pattern, bit)] = part
        found = cut
    return found


def face_numbers(found: dict[tuple[int, ...], Cell], k: int) -> tuple[int, ...]:
    """How many different faces of dimension 0..k all cells have."""
    faces: list[set[frozenset[Point]]] = [set() for _ in range(k + 1)]
    for cell in found.values():
        for rows in cell.values():
            for codimension in range(k + 1):
                for chosen in combinations(rows, codimension):
                    face = frozenset(v for v, all_rows in cell.items() if set(chosen) <= all_rows)
                    faces[k - codimension].add(face)
    return tuple(len(kind) for kind in faces)
