# SPDX-License-Identifier: Apache-2.0
"""Regions by other means than the search: breakpoints on a line, polygons cut by lines, and a
reader of token streams that checks every step. All in Fractions, sharing no code with the search.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from isoform.network.charts import Chart
from isoform.network.unit_layers import UnitLayer, UnitLayers
from isoform.numerics.exact import Exact
from isoform.numerics.sparse import ExactSparse

Form = list[Fraction]  # constant, then the gradient


def unit_layers_of(
    dimension: int, layers: Sequence[Any], outputs: Any = None, steps: Sequence[int] = ()
) -> UnitLayers:
    """Layers from rows over (constant, inputs, earlier units), integers or Fractions, which may
    stop early; outputs likewise; `steps` are the numbers of the layers with step units."""
    width, made = 1 + dimension, []
    for i, rows in enumerate(layers):
        made.append(UnitLayer(sparse(rows, width), "step" if i in steps else "relu"))
        width += len(rows)
    return UnitLayers(dimension, tuple(made), sparse(outputs or [[0]], width))


def sparse(rows: Any, width: int) -> ExactSparse:
    full = [[*row, *[0] * (width - len(row))] for row in rows]
    return ExactSparse.of(Exact.of(np.array(full, dtype=object).reshape(len(rows), width)))


def value(form: Sequence[Fraction], point: Sequence[Fraction]) -> Fraction:
    return form[0] + sum((g * x for g, x in zip(form[1:], point, strict=True)), Fraction(0))


def pre_activations(layers: UnitLayers, point: Sequence[Fraction]) -> list[Fraction]:
    """z of every unit at a point."""
    seen, found = [Fraction(1), *point], []
    for layer in layers.layers:
        z = [
            sum((w * seen[c] for c, w in layer.rows.row_fractions(i).items()), Fraction(0))
            for i in range(layer.size)
        ]
        found += z
        seen += [Fraction(int(v >= 0)) if layer.step else max(v, Fraction(0)) for v in z]
    return found


def pattern(layers: UnitLayers, point: Sequence[Fraction]) -> bytes:
    bits = np.array([z > 0 for z in pre_activations(layers, point)], dtype=np.uint8)
    return np.packbits(bits).tobytes()


def forms_on(layers: UnitLayers, bits: Sequence[int], upto: int) -> list[Form]:
    """The affine forms of the first layers' units, up to and with unit `upto`'s layer, where the
    units before have these signs."""
    d = layers.dimension
    zero = [Fraction(0)] * (1 + d)
    unit = [[Fraction(int(i == j)) for j in range(1 + d)] for i in range(1 + d)]
    values, found = list(unit), []
    for layer in layers.layers:
        if len(found) > upto:
            break
        start = len(found)
        for i in range(layer.size):
            form = list(zero)
            for column, weight in layer.rows.row_fractions(i).items():
                form = [x + weight * y for x, y in zip(form, values[column], strict=True)]
            found.append(form)
        for j in range(start, len(found)):
            on = j < len(bits) and bool(bits[j])
            if layer.step:
                values.append(unit[0] if on or not any(found[j]) else zero)
            else:
                values.append(found[j] if on else zero)
    return found


def chart_rows(chart: Chart) -> list[Form]:
    """Half-spaces b - a.u >= 0 by row id."""
    A, b = chart.rows
    normals, bounds, k = A.fractions(), b.fractions(), chart.dimension
    return [[bounds[i], *(-a for a in normals[i * k : i * k + k])] for i in range(len(bounds))]


def domain_polygon(chart: Chart) -> list[list[Fraction]]:
    """The corners of a chart with one or two coordinates."""
    corners = [[-1], [1]] if chart.dimension == 1 else [[-1, -1], [1, -1], [1, 1], [-1, 1]]
    polygon = [[Fraction(x) for x in corner] for corner in corners]
    for row in chart_rows(chart):
        polygon = clipped(polygon, row)
    return polygon


def clipped(polygon: list[list[Fraction]], form: Form) -> list[list[Fraction]]:
    """The part of a convex polygon (or of an interval: two corners) where form >= 0."""
    kept: list[list[Fraction]] = []
    edges = list(zip(polygon, polygon[1:] + polygon[:1], strict=True))
    for p, q in edges[: 1 if len(polygon) == 2 and len(polygon[0]) == 1 else None]:
        a, b = value(form, p), value(form, q)
        if a >= 0:
            kept.append(p)
        if a * b < 0:
            t = a / (a - b)
            kept.append([x + t * (y - x) for x, y in zip(p, q, strict=True)])
        if len(p) == 1 and b >= 0:
            kept.append(q)
    return kept


def size(polygon: list[list[Fraction]]) -> Fraction:
    """Length or twice the area."""
    if len(polygon) < 2:
        return Fraction(0)
    if len(polygon[0]) == 1:
        return polygon[-1][0] - polygon[0][0]
    pairs = zip(polygon, polygon[1:] + polygon[:1], strict=True)
    return abs(sum((p[0] * q[1] - p[1] * q[0] for p, q in pairs), Fraction(0)))


def true_patterns(chart: Chart) -> set[bytes]:
    """All activation regions in one or two coordinates, by cutting polygons."""
    whole = domain_polygon(chart)
    cells: list[tuple[list[int], list[list[Fraction]]]] = [([], whole)] if size(whole) else []
    for unit in range(chart.layers.units):
        parts = []
        for bits, polygon in cells:
            form = forms_on(chart.layers, bits, unit)[unit]
            for bit, side in ((0, [-x for x in form]), (1, form)):
                part = clipped(polygon, side) if any(form) else [polygon, []][bit]
                if size(part):
                    parts.append(([*bits, bit], part))
        cells = parts
    middles = [[sum(c) / len(part) for c in zip(*part, strict=True)] for _, part in cells]
    found = [pattern(chart.layers, middle) for middle in middles]
    assert found == [np.packbits(np.array(bits, dtype=np.uint8)).tobytes() for bits, _ in cells]
    return set(found)


# --- token streams --------------------------------------------------------------------------------


def multipliers(rows: list[Form], target: Form) -> list[Fraction] | None:
    """y with sum y_i rows_i = -target in the gradient (rows and target: constant first)."""
    k = len(rows)
    work = [[*(row[1 + i] for row in rows), -target[1 + i]] for i in range(k)]
    for i in range(k):
        pivot = next((r for r in range(i, k) if work[r][i]), None)
        if pivot is None:
            return None
        work[i], work[pivot] = work[pivot], work[i]
        work[i] = [v / work[i][i] for v in work[i]]
        for r in range(k):
            if r != i:
                work[r] = [v - work[r][i] * w for v, w in zip(work[r], work[i], strict=True)]
    return [row[-1] for row in work]


def proves(rows: list[Form], z: Form, side: int) -> bool:
    """Whether the basis shows side * z >= 0."""
    target = [-side * v for v in z]
    y = multipliers(rows, target)
    if y is None or min(y) < 0:
        return False
    return target[0] + sum((v * row[0] for v, row in zip(y, rows, strict=True)), Fraction(0)) <= 0


class StreamReader:
    """Reads a token stream of a whole chart; AssertionError at the first step that is wrong."""

    def __init__(self, chart: Chart, codes: np.ndarray, ids: np.ndarray):
        self.chart, self.faces = chart, chart_rows(chart)
        self.codes, self.ids = codes.tolist(), ids.tolist()
        self.known: dict[tuple[int, ...], list[Form]] = {}

    def forms(self, bits: list[int], unit: int) -> list[Form]:
        starts = self.chart.layers.starts
        key = tuple(bits[: max(start for start in starts if start <= unit)])
        if key not in self.known:
            self.known[key] = forms_on(self.chart.layers, key, unit)
        return self.known[key]

    def take(self, n: int) -> list[int]:
        assert n <= len(self.ids), "ids are missing"
        return [self.ids.pop(0) for _ in range(n)]

    def row(self, i: int, path: list[int], forms: list[Form]) -> Form:
        if i < len(self.faces):
            return self.faces[i]
        assert i - len(self.faces) < len(path), "the wall of a unit to come"
        code = path[i - len(self.faces)]
        assert code & 2, "the wall of a unit that did not split"
        form = forms[i - len(self.faces)]
        return form if code & 1 else [-v for v in form]

    def leaves(self, path: list[int] | None = None) -> list[bytes]:
        """The patterns below a node, in the order of the stream."""
        path = path or []
        bits = [code & 1 for code in path]
        unit = len(path)
        if unit == self.chart.layers.units:
            return [np.packbits(np.array(bits, dtype=np.uint8)).tobytes()]
        assert self.codes, "the stream ends early"
        forms = self.forms(bits, unit)
        z, code = forms[unit], self.codes.pop(0)
        if code == 0:
            return self.leaves([*path, 2]) + self.leaves([*path, 3])
        side = 1 if code & 1 else -1
        assert code in (2, 3, 4, 5, 6, 7)
        if code in (2, 3):
            assert not any(z[1:]) and (z[0] > 0) == (side > 0)
        elif code in (4, 5):
            rows = [self.row(i, path, forms) for i in self.take(self.chart.dimension)]
            assert proves(rows, z, side)
        else:
            (other,) = self.take(1)
            assert other < unit
            place = next(i for i, v in enumerate(forms[other]) if v)
            c = z[place] / forms[other][place]
            assert c != 0 and z == [c * v for v in forms[other]]
            assert side == (1 if c > 0 else -1) * (1 if bits[other] else -1)
        return self.leaves([*path, code & 1])
