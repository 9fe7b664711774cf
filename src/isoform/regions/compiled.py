# SPDX-License-Identifier: Apache-2.0
"""A chart as float64 arrays for the compiled kernels.

Every weight is the nearest double; the kernels carry a bound of what that and their own rounding
can change, so a decision that the bound leaves open goes to exact arithmetic.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from isoform.errors import Refused
from isoform.network.charts import Chart
from isoform.network.unit_layers import UnitLayer
from isoform.numerics.exact import Exact
from isoform.regions.exact_forms import ExactForms, exact_forms

UNIT = 2.0**-53
LARGEST = 10**100  # bounds beyond it count as it: no point of the box comes near
TINY = 1e-300  # no entry counts as smaller, for its double may be 0, or have few bits


class Tables(NamedTuple):
    """What the kernels read.

    k inputs, N units, L layers. starts (L + 1,): first unit of each layer. layer, step (N,).
    base (k + 2, N): constant, coefficients of the inputs, sum of their absolute values, which is 0
    only where there are none.
    Earlier units enter layer l through the sources heads[l]..heads[l + 1]: unit source[s] has the
    entries tails[s]..tails[s + 1], place `entry_row` (within the layer) and `entry_weight`; dense
    sources have one entry for every unit of the layer, in order.
    follows, factor (N,): an earlier unit whose row is a multiple of this one's, and the sign of the
    multiple; -1 where there is none.
    rows (m0, k), bounds (m0,), slack (m0,): the chart's half-spaces with unit normals, and a bound
    of their rounding.
    central (N + m0,): the units, and then the chart's rows, that are exactly 0 where all inputs
    are, whatever the signs of earlier units. unmixed (L,): layers in which a unit may be a multiple
    of one earlier unit on a cell, having no own constant and coefficients.
    """

    starts: np.ndarray
    layer: np.ndarray
    step: np.ndarray
    base: np.ndarray
    heads: np.ndarray
    source: np.ndarray
    tails: np.ndarray
    dense: np.ndarray
    entry_row: np.ndarray
    entry_weight: np.ndarray
    follows: np.ndarray
    factor: np.ndarray
    rows: np.ndarray
    bounds: np.ndarray
    slack: np.ndarray
    central: np.ndarray
    unmixed: np.ndarray


@dataclass(frozen=True, eq=False)
class Compiled:
    """A chart and its arrays; can be pickled. exact: what answers where floats do not decide."""

    chart: Chart
    tables: Tables

    @cached_property
    def exact(self) -> ExactForms:
        return exact_forms(self.chart)

    def __reduce__(self) -> tuple[type[Compiled], tuple[Chart, Tables]]:
        return Compiled, (self.chart, self.tables)

    @property
    def dimension(self) -> int:
        return self.chart.dimension

    @property
    def units(self) -> int:
        return self.chart.layers.units


def compiled(chart: Chart) -> Compiled:
    """The arrays of a chart. Raises Refused where a weight in its coordinates is no finite double.
    """
    layers = chart.layers
    k, count = chart.dimension, layers.units
    base = np.zeros((k + 2, count))
    step = np.zeros(count, dtype=np.bool_)
    heads, sources, tails, dense = [0], [], [0], []
    rows_of, weights = [], []
    for start, layer in zip(layers.starts, layers.layers, strict=False):
        part = slice(start, start + layer.size)
        step[part] = layer.step
        row, column, value = float_entries(layer)
        own = column <= k
        base[column[own], start + row[own]] = not_zero(value[own], layer.rows.data[own])
        base[k + 1, part] = np.bincount(row[own], np.maximum(np.abs(value[own]), TINY), layer.size)
        row, column, value = row[~own], column[~own] - 1 - k, value[~own]
        order = np.lexsort((row, column))
        row, column, value = row[order], column[order], value[order]
        units, first = np.unique(column, return_index=True)
        counts = np.diff([*first, len(column)])
        sources.append(units)
        dense.append(counts == layer.size)
        tails.extend((tails[-1] + np.cumsum(counts)).tolist())
        heads.append(heads[-1] + len(units))
        rows_of.append(row)
        weights.append(value)
    follows, factor = parallel_units(layers.layers)
    layer_of = np.repeat(np.arange(len(layers.layers)), np.diff(layers.starts))
    rows, bounds, slack = float_rows(*chart.rows)
    tables = Tables(
        starts=np.array(layers.starts, dtype=np.int64), layer=layer_of, step=step,
        base=base,
        heads=np.array(heads, dtype=np.int64), source=joined(sources, np.int64),
        tails=np.array(tails, dtype=np.int64), dense=joined(dense, np.bool_),
        entry_row=joined(rows_of, np.int64), entry_weight=joined(weights, np.float64),
        follows=follows, factor=factor, rows=rows, bounds=bounds, slack=slack,
        central=central(chart),
        unmixed=np.array([
            a < b and bool((base[k + 1, a:b] == 0).any())
            for a, b in zip(layers.starts[:-1], layers.starts[1:], strict=True)
        ], dtype=np.bool_),
    )
    if not np.all(np.isfinite(base)) or not np.all(np.isfinite(tables.entry_weight)):
        raise Refused(
            "a weight, in coordinates in which the domain is [-1, 1] in every input, is beyond the "
            "largest double, 1.8e308; scale the weights, or give a smaller domain"
        )
    return Compiled(chart, tables)


def central(chart: Chart) -> np.ndarray:
    """Units, then rows of the chart, that are exactly 0 where all inputs are 0: a unit without a
    bias that reads only such ReLU units. All False where no point of the chart has all inputs 0."""
    k, layers = chart.dimension, chart.layers
    found = np.zeros(layers.units + len(chart.rows[1]), dtype=np.bool_)
    constant, matrix = chart.constant.numerator, chart.matrix.numerator
    if len(constant) != 1 + k or np.any(matrix[0] != 0):
        return found
    stretch = np.diagonal(matrix[1:])
    if np.any(matrix[1:] != np.diag(stretch)) or np.any(stretch == 0):
        return found
    at = Exact(-constant[1:] * chart.matrix.denominator, chart.constant.denominator)
    common = math.lcm(*(int(v) for v in stretch))  # the point is at / (stretch * ...)
    point = Exact(at.numerator * (common // stretch), at.denominator * common)
    place = np.array([point.denominator, *point.numerator], dtype=object)
    for start, layer in zip(layers.starts, layers.layers, strict=False):
        rows, numbers = layer.rows, layer.rows.row_numbers()
        own = rows.columns <= k
        values = np.zeros(layer.size, dtype=object)
        np.add.at(values, numbers[own], rows.data[own] * place[rows.columns[own]])
        read = rows.columns[~own] - 1 - k
        home = np.searchsorted(layers.starts, read, side="right") - 1
        step = np.array([part.step for part in layers.layers], dtype=np.bool_)
        off = np.bincount(numbers[~own], ~found[read] | step[home], layer.size) > 0
        found[start : start + layer.size] = (values == 0) & ~off
    A, b = chart.rows
    gaps = b.numerator * A.denominator * point.denominator
    gaps = gaps - (A.numerator @ point.numerator) * b.denominator
    found[layers.units :] = gaps == 0
    return found


def joined(parts: list[np.ndarray], dtype: type) -> np.ndarray:
    return np.concatenate([np.zeros(0, dtype), *parts]).astype(dtype)


def not_zero(values: np.ndarray, exact: np.ndarray) -> np.ndarray:
    """The doubles of some exact numbers other than 0, none nearer to 0 than TINY."""
    return np.where(np.abs(values) < TINY, np.where(exact > 0, TINY, -TINY), values)


def float_entries(layer: UnitLayer) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row, column and nearest double of the stored entries."""
    rows = layer.rows
    values = Exact(rows.data, rows.denominator).to_float()
    return rows.row_numbers(), rows.columns.astype(np.int64), values


def parallel_units(layers: tuple[UnitLayer, ...]) -> tuple[np.ndarray, np.ndarray]:
    """For every unit an earlier one whose exact row is a multiple, and the multiple's sign."""
    seen: dict[tuple[tuple[int, ...], tuple[int, ...]], tuple[int, int]] = {}
    follows: list[int] = []
    factor: list[int] = []
    for layer in layers:
        rows = layer.rows
        data, columns, starts = rows.data.tolist(), rows.columns.tolist(), rows.starts.tolist()
        for i in range(layer.size):
            part = data[starts[i] : starts[i + 1]]
            divisor = math.gcd(*part)
            if divisor == 0:
                follows.append(-1)
                factor.append(0)
                continue
            sign = 1 if part[0] > 0 else -1
            weights = tuple(value * sign // divisor for value in part)
            key = (tuple(columns[starts[i] : starts[i + 1]]), weights)
            unit, other = seen.setdefault(key, (len(follows), sign))
            own = unit == len(follows)
            follows.append(-1 if own else unit)
            factor.append(0 if own else sign * other)
    return np.array(follows, dtype=np.int64), np.array(factor, dtype=np.int64)


def float_rows(normals: Exact, bounds: Exact) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Half-spaces with unit normals, and how far rounding can move them inside [-1, 1]^k. The first
    2k are the box. A row 0 <= b with b >= 0, which takes nothing away, becomes 0 <= 1."""
    k = normals.shape[1]
    A, b = normals[: 2 * k].to_float(), bounds[: 2 * k].to_float()
    for i in range(2 * k, len(bounds)):
        row = [int(value) * bounds.denominator for value in normals.numerator[i]]
        bound = int(bounds.numerator[i]) * normals.denominator
        largest = max(map(abs, row))
        if largest == 0:
            row, bound, largest = [0] * k, 1 if bound >= 0 else -1, 1
        far = max(-LARGEST * largest, min(LARGEST * largest, bound))
        A = np.concatenate([A, [[value / largest for value in row]]])
        b = np.append(b, far / largest)
    length = np.sqrt((A * A).sum(axis=1))
    length[length == 0] = 1.0
    A, b = A / length[:, None], b / length
    slack = (A.shape[1] + 6) * UNIT * (np.abs(A).sum(axis=1) + np.abs(b)) * 2
    slack[: 2 * A.shape[1]] = 0.0  # the faces of the box are exact
    return np.ascontiguousarray(A), b, slack
