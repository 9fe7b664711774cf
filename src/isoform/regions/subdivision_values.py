# SPDX-License-Identifier: Apache-2.0
"""Pre-activations in float64 at many points, with a bound of what rounding can change.

The bound is one number a unit, for all points of the box: gamma_n times the sum of the absolute
terms of its dot product (Higham, Accuracy and Stability of Numerical Algorithms, section 3.1), plus
what the errors of the units before it can add. It also covers weights that are rounded to doubles.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from isoform.network.charts import Chart
from isoform.network.unit_layers import UnitLayer
from isoform.numerics.exact import Exact
from isoform.numerics.sparse import ExactSparse

UNIT = 2.0**-53
CHUNK = 512  # vertices at a time, so that their values stay in the cache
TINY = 1e-290  # more than any sum of underflows


@dataclass(frozen=True, slots=True, eq=False)
class FloatLayer:
    """n units over k inputs and m earlier units.

    first: number of the first unit. reads (m,): numbers of the units that are read, increasing.
    rows (1 + k + m, n): constants, weights of the inputs, weights of the units read; a column each.
    """

    first: int
    reads: np.ndarray
    rows: np.ndarray

    @property
    def size(self) -> int:
        return self.rows.shape[1]

    @property
    def stop(self) -> int:
        """Number of the unit behind the last one."""
        return self.first + self.size

    def rounding(self, peaks: np.ndarray) -> np.ndarray:
        """Bounds (n,) of what rounding changes in products terms @ rows, summed in any order, for
        terms up to `peaks` (1 + k + m,)."""
        count = len(self.rows) + 8  # the rounded weights among them
        return count * UNIT / (1 - count * UNIT) * (peaks @ np.abs(self.rows)) + TINY

    def evaluate(
        self, points: np.ndarray, values: np.ndarray, columns: np.ndarray, into: np.ndarray
    ) -> np.ndarray:
        """Write pre-activations into the last n columns of `into` (V, ...), at points (V, k) where
        the units read have their pre-activations or outputs in these columns of `values`.
        Gives peaks (1 + k + m,): no term is larger in absolute value."""
        k = points.shape[1]
        peaks = np.zeros(len(self.rows))
        peaks[0] = 1.0
        peaks[1 : 1 + k] = np.abs(points).max(axis=0)
        terms = np.ones((min(len(points), CHUNK), len(self.rows)))
        place = into.shape[1] - self.size
        for begin in range(0, len(points), CHUNK):
            part = slice(begin, min(begin + CHUNK, len(points)))
            terms = terms[: part.stop - begin]
            terms[:, 1 : 1 + k] = points[part]
            np.maximum(values[part, span(columns)], 0.0, out=terms[:, 1 + k :])
            peaks[1 + k :] = np.maximum(peaks[1 + k :], terms[:, 1 + k :].max(axis=0))
            np.matmul(terms, self.rows, out=into[part, place:])
        return peaks


def float_layers(chart: Chart) -> tuple[FloatLayer, ...]:
    """The layers of a chart, weights within two units in the last place (infinite beyond the
    largest double)."""
    pairs = zip(chart.layers.starts, chart.layers.layers, strict=False)
    return tuple(float_layer(layer, first, chart.dimension) for first, layer in pairs)


def float_layer(layer: UnitLayer, first: int, k: int) -> FloatLayer:
    units, columns = layer.rows.row_numbers(), layer.rows.columns
    used = np.union1d(np.arange(1 + k), columns)
    rows = np.zeros((len(used), layer.size))
    rows[np.searchsorted(used, columns), units] = near_floats(layer.rows)
    return FloatLayer(first, used[1 + k :] - 1 - k, rows)


def near_floats(rows: ExactSparse) -> np.ndarray:
    """The stored entries; the nearest doubles where the denominator is a power of two."""
    try:
        return rows.data.astype(np.float64) / float(rows.denominator)
    except OverflowError:
        return Exact(rows.data, rows.denominator).to_float()


def span(places: np.ndarray) -> np.ndarray | slice:
    """The same increasing places, as a slice where they follow one another."""
    if len(places) and places[-1] - places[0] == len(places) - 1:
        return slice(int(places[0]), int(places[-1]) + 1)
    return places


def read_after(layers: tuple[FloatLayer, ...], number: int) -> np.ndarray:
    """Units before layer `number` that layers behind it read."""
    first = layers[number].first
    found = [layer.reads[layer.reads < first] for layer in layers[number + 1 :]]
    return np.unique(np.concatenate([np.zeros(0, dtype=np.int64), *found]))


def passed_on(
    layers: tuple[FloatLayer, ...], number: int, sizes: list[float]
) -> tuple[np.ndarray, float]:
    """What a layer makes of differences in the units before it, given their Euclidean lengths
    `sizes` by layer: bounds (n,) for each unit, and of the length over the layer. ReLU lengthens
    none; blocks of weights from several layers add up."""
    layer = layers[number]
    starts = np.array([other.first for other in layers])
    rows, length = np.zeros(layer.size), 0.0
    for source in np.unique(np.searchsorted(starts, layer.reads, side="right") - 1).tolist():
        inside = (layer.reads >= starts[source]) & (layer.reads < layers[source].stop)
        block = layer.rows[len(layer.rows) - len(layer.reads) :][inside]
        rows += column_norms(block) * sizes[source]
        length += spectral_bound(block) * sizes[source]
    return rows, length


def errors_of(
    layers: tuple[FloatLayer, ...], number: int, peaks: np.ndarray, errors: np.ndarray,
    sizes: list[float],
) -> None:
    """Fill in the error bounds of a layer, with what it inherits: the lesser of the bounds by
    absolute values and by lengths. errors (N,): filled for the layers before. sizes: lengths of the
    errors of the layers before; this layer's is appended."""
    layer = layers[number]
    own = layer.rounding(peaks)
    rows, length = passed_on(layers, number, sizes)
    weights = np.abs(layer.rows[len(layer.rows) - len(layer.reads) :])
    found = own + np.minimum(rows, errors[layer.reads] @ weights) * (1 + 1e-6)
    errors[layer.first : layer.stop] = found
    grown = float(column_norms(own[:, None])[0]) + length * (1 + 1e-6)
    sizes.append(min(float(column_norms(found[:, None])[0]), grown))


def steepest(layers: tuple[FloatLayer, ...], units: int) -> np.ndarray:
    """Upper bounds (units,) of the lengths of the gradients of all pre-activations, up to a few
    parts in 2^50."""
    slopes = np.zeros(units)
    whole: list[float] = []  # of the map from the inputs to each layer
    for number, layer in enumerate(layers):
        inputs = layer.rows[1 : len(layer.rows) - len(layer.reads)]
        rows, length = passed_on(layers, number, whole)
        slopes[layer.first : layer.stop] = column_norms(inputs) + rows
        whole.append(spectral_bound(inputs) + length)
    return slopes


def column_norms(matrix: np.ndarray) -> np.ndarray:
    """Lengths of the columns, without overflow on the way."""
    scale = np.abs(matrix).max(axis=0, initial=TINY)
    return np.asarray(scale * np.linalg.norm(matrix / scale, axis=0))


def spectral_bound(matrix: np.ndarray) -> float:
    """An upper bound of the largest singular value: |M'M M'M M'M M'M|_F^(1/8), M scaled to size 1,
    at most n^(1/16) times too large."""
    if matrix.size == 0:
        return 0.0
    scale = float(np.abs(matrix).max())
    if scale == 0 or not np.isfinite(scale):
        return scale
    scaled = matrix / scale
    square = scaled @ scaled.T if len(scaled) <= scaled.shape[1] else scaled.T @ scaled
    square = square @ square
    return scale * float(np.linalg.norm(square @ square)) ** 0.125
