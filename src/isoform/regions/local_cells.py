# SPDX-License-Identifier: Apache-2.0
"""The regions around a point, exactly: which closed cells contain it.

Near a point only the units whose pre-activation is zero there can change. In the direction v from
the point they are a network of their own without biases: its cells are the tangent cones of the
regions that contain the point.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

from isoform.errors import Refused
from isoform.network.charts import Chart
from isoform.network.unit_layers import UnitLayer, UnitLayers
from isoform.numerics.exact import Exact, concatenate, integers
from isoform.numerics.sparse import ExactSparse, stack

LARGEST_LOCAL = 12  # inputs up to which the cells around a point on several walls are searched


def signs_at(layers: UnitLayers, point: Exact) -> tuple[np.ndarray, np.ndarray]:
    """A forward pass in exact arithmetic: bits (z > 0) and zeros (z = 0) of all N units."""
    bits = np.zeros(layers.units, dtype=np.uint8)
    zeros = np.zeros(layers.units, dtype=bool)
    values = [Fraction(1), *point.fractions()]
    for first, layer in zip(layers.starts, layers.layers, strict=False):
        common = math.lcm(1, *(value.denominator for value in values))
        column = integers((int(value * common) for value in values), (len(values),))
        z = layer.rows.times(Exact(column, common))
        here = slice(first, first + layer.size)
        bits[here], zeros[here] = z.numerator > 0, z.numerator == 0
        if layer.step:
            values += [Fraction(int(value >= 0)) for value in z.numerator.tolist()]
        else:
            values += [max(Fraction(0), value) for value in z.fractions()]
    return bits, zeros


def tangent_layers(layers: UnitLayers, bits: np.ndarray, zeros: np.ndarray) -> UnitLayers:
    """The network of the directions v: only the units with `zeros`, without biases. `bits` are
    those of the others. Refused where a step unit has zero: the function jumps there."""
    k = layers.dimension
    count = int(zeros.sum())
    width = 1 + k + count
    values = [ExactSparse.zeros((1, width)), ExactSparse.eye(k, width, at=1)]
    made: list[UnitLayer] = []
    at = 1 + k
    for first, layer in zip(layers.starts, layers.layers, strict=False):
        mine = zeros[first : first + layer.size]
        on = bits[first : first + layer.size].astype(bool)
        if layer.step:
            if mine.any():
                raise Refused(
                    "the point lies on the wall of a step unit, where the function jumps; "
                    "ask for a point beside it"
                )
            values.append(ExactSparse.zeros((layer.size, width)))
            continue
        forms = layer.rows @ stack(values)
        hinges = np.flatnonzero(mine)
        if len(hinges):
            rows = forms.take(hinges)
            made.append(
                UnitLayer(ExactSparse((len(hinges), at), rows.starts, rows.columns, rows.data,
                                      rows.denominator).reduced())
            )
        table = stack([
            forms, ExactSparse.eye(len(hinges), width, at=at), ExactSparse.zeros((1, width)),
        ])
        place = np.where(on, np.arange(layer.size), layer.size + len(hinges))
        place[hinges] = layer.size + np.arange(len(hinges))
        values.append(table.take(place))
        at += len(hinges)
    return UnitLayers(k, tuple(made), ExactSparse.zeros((0, at)))


def cells_around(
    chart: Chart, point: Exact, bits: np.ndarray, zeros: np.ndarray, whole: bool
) -> list[tuple[np.ndarray, Exact]]:
    """The regions whose closure contains a point of the chart: bits, and a direction into each,
    in the order of their patterns. bits, zeros: `signs_at` the point; whole: the chart's own rows
    do not count."""
    from isoform.regions.exact_forms import exact_forms
    from isoform.regions.exact_search import search

    k = chart.dimension
    active = None if whole else active_rows(chart, point)
    if not zeros.any() and active is None:
        return [(bits, Exact.zeros(k))]
    local = tangent_layers(chart.layers, bits, zeros)
    if active is None and not any(layer.rows.nonzeros for layer in local.layers):
        return [(bits, Exact.zeros(k))]  # units that are zero all around
    if k > LARGEST_LOCAL:
        raise Refused(
            f"the point lies on {int(zeros.sum())} walls or faces, and in {k} dimensions "
            "the regions around it are not searched; ask for a point beside it"
        )
    ends = Exact.of([1] * k)
    more = None if active is None else (active, Exact.zeros(len(active)))
    cone = Chart(local, -ends, ends, more, chart.constant, chart.matrix)
    found = search(exact_forms(cone))
    cells = []
    for i in range(len(found)):
        own = bits.copy()
        own[np.flatnonzero(zeros)] = np.unpackbits(found.patterns[i], count=int(zeros.sum()))
        cells.append((own, found.points[i]))
    return sorted(cells, key=lambda cell: cell[0].tobytes())


def active_rows(chart: Chart, point: Exact) -> Exact | None:
    """The chart's rows on whose wall the point lies, as normals; None where there is none."""
    A, b = chart.rows
    on = np.flatnonzero((A @ point - b).sign() == 0)
    return concatenate([A[[int(i)]] for i in on]) if len(on) else None
