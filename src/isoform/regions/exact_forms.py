# SPDX-License-Identifier: Apache-2.0
"""The exact affine forms of pre-activations on the cells of a splitting tree.

On a cell the units of the earlier layers have fixed signs, so that each pre-activation of a layer
is one affine form g_0 + g.u. Forms are rows of integers (g_0, g_1, ..., g_k) over one denominator a
layer, kept by the pattern of the earlier layers. A prefix has one code a decided unit: bit 0 says
active, bit 1 that the unit splits the cell.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

import flint
import numpy as np

from isoform.network.charts import Chart
from isoform.numerics.exact import Exact, integers
from isoform.numerics.sparse import EXPANSION_COST, ExactSparse

Row = tuple[int, ...]
SPLIT, ACTIVE = 2, 1  # bits of a prefix code
PATTERN = bytes(code & ACTIVE for code in range(256))
MEMORY = 1 << 28  # bytes of forms kept


@dataclass(frozen=True, slots=True, eq=False)
class Weights:
    """Rows over the constant, the coordinates and the units, taken apart: `base` are n lists of
    1 + k integers, `blocks` the weights of the units of earlier layers (layer, weights): a matrix
    of flint, or for few non-zeros one list of (unit of the layer, weight) a row."""

    base: list[list[int]]
    blocks: tuple[tuple[int, flint.fmpz_mat | list[list[tuple[int, int]]]], ...]
    denominator: int


@dataclass(frozen=True, slots=True, eq=False)
class LayerForms:
    """The pre-activations of a layer on the cells with one pattern of the earlier layers.

    rows: z_j = rows[j] / denominator. walls: the same rows divided by their greatest common
    divisor, {z_j >= 0} as half-spaces. multiples: for a wall, its sign chosen so that the first
    coefficient that is not 0 is positive, the units of this layer on it (constants have none).
    first: number of the layer's first unit.
    """

    first: int
    rows: list[Row]
    denominator: int
    walls: list[Row]
    multiples: dict[Row, list[int]]


@dataclass(frozen=True, eq=False)
class ExactForms:
    """The forms of a chart, and what is remembered of them (the least recently used forms go when
    more than `memory` bytes are held). chart_rows: the chart's half-spaces b - a.u >= 0 as integer
    rows (b, -a), by row id."""

    chart: Chart
    chart_rows: tuple[Row, ...]
    weights: tuple[Weights, ...]
    outputs: Weights
    memory: int
    known: OrderedDict[tuple[int, bytes], tuple[LayerForms, int]] = field(
        default_factory=OrderedDict
    )
    held: list[int] = field(default_factory=lambda: [0])

    @property
    def dimension(self) -> int:
        return self.chart.dimension

    @property
    def starts(self) -> tuple[int, ...]:
        return self.chart.layers.starts


def exact_forms(chart: Chart, memory: int = MEMORY) -> ExactForms:
    """The forms of a chart, none computed yet."""
    layers = chart.layers
    normals, bounds = chart.rows
    rows = np.concatenate(
        (bounds.numerator.reshape(-1, 1) * normals.denominator,
         -normals.numerator * bounds.denominator), axis=1,
    )
    taken = tuple(weights(layer.rows, layers.dimension, layers.starts) for layer in layers.layers)
    outputs = weights(layers.outputs, layers.dimension, layers.starts)
    return ExactForms(
        chart, tuple(primitive(tuple(row)) for row in rows.tolist()), taken, outputs, memory
    )


def weights(rows: ExactSparse, dimension: int, starts: Sequence[int]) -> Weights:
    """Rows over (constant, inputs, units) taken apart by layer."""
    n = rows.shape[0]
    at, columns, data = rows.row_numbers(), rows.columns, rows.data
    base = [[0] * (1 + dimension) for _ in range(n)]
    early = columns <= dimension
    for i, c, value in zip(at[early], columns[early], data[early], strict=True):
        base[i][c] = int(value)
    blocks: list[tuple[int, flint.fmpz_mat | list[list[tuple[int, int]]]]] = []
    for layer, (first, end) in enumerate(zip(starts[:-1], starts[1:], strict=True)):
        mine = (columns > dimension + first) & (columns <= dimension + end)
        if not mine.any():
            continue
        places = (columns[mine] - 1 - dimension - first).tolist()
        triples = list(zip(at[mine].tolist(), places, data[mine].tolist(), strict=True))
        if len(triples) * EXPANSION_COST >= n * (end - first):
            matrix = flint.fmpz_mat(n, end - first)
            for i, c, value in triples:
                matrix[i, c] = int(value)
            blocks.append((layer, matrix))
        else:
            entries: list[list[tuple[int, int]]] = [[] for _ in range(n)]
            for i, c, value in triples:
                entries[i].append((c, int(value)))
            blocks.append((layer, entries))
    return Weights(base, tuple(blocks), rows.denominator)


def layer_forms(forms: ExactForms, layer: int, prefix: bytes) -> LayerForms:
    """The forms of a layer; the prefix decides all units of the earlier ones (it may go on)."""
    first = forms.starts[layer]
    if len(prefix) < first:
        raise ValueError(f"a prefix of {len(prefix)} units fixes no forms of layer {layer}")
    key = (layer, prefix[:first].translate(PATTERN))
    found = forms.known.get(key)
    if found is not None:
        forms.known.move_to_end(key)
        return found[0]
    rows, denominator = combined(forms, forms.weights[layer], prefix)
    made = LayerForms(first, rows, denominator, *walls_of(first, rows))
    size = stored_bytes(rows, denominator) + first
    forms.known[key] = made, size
    forms.held[0] += size
    while forms.held[0] > forms.memory and len(forms.known) > 1:
        forms.held[0] -= forms.known.popitem(last=False)[1][1]
    return made


def combined(forms: ExactForms, of: Weights, prefix: bytes) -> tuple[list[Row], int]:
    """`of` applied to (1, u, units on the cell), as rows over a denominator."""
    earlier = [layer_forms(forms, layer, prefix) for layer, _ in of.blocks]
    common = math.lcm(1, *(before.denominator for before in earlier))
    if not of.base:
        return [], 1
    width = len(of.base[0])
    sums = [[value * common for value in row] for row in of.base] if common > 1 else of.base
    for (layer, block), before in zip(of.blocks, earlier, strict=True):
        values = outputs_of(forms, layer, before, prefix)
        factor = common // before.denominator
        product = multiplied(block, values, width)
        sums = [
            [x + factor * y for x, y in zip(row, more, strict=True)]
            for row, more in zip(sums, product, strict=True)
        ]
    denominator = of.denominator * common
    shared = math.gcd(denominator, *(value for row in sums for value in row))
    if shared > 1:
        return [tuple(value // shared for value in row) for row in sums], denominator // shared
    return [tuple(row) for row in sums], denominator


def outputs_of(
    forms: ExactForms, layer: int, before: LayerForms, prefix: bytes
) -> list[Row | None]:
    """What the units of a layer give, over its denominator; None for 0. A step unit gives 1 where
    z >= 0, so also where z is identically 0, though its pattern then says inactive."""
    codes = prefix[before.first : before.first + len(before.rows)]
    pairs = zip(before.rows, codes, strict=True)
    if not forms.chart.layers.layers[layer].step:
        return [row if code & ACTIVE else None for row, code in pairs]
    one = (before.denominator, *([0] * forms.dimension))
    return [one if code & ACTIVE or not any(row) else None for row, code in pairs]


def multiplied(
    block: flint.fmpz_mat | list[list[tuple[int, int]]], values: list[Row | None], width: int
) -> list[list[int]]:
    """Weights times values, in integers."""
    if isinstance(block, list):
        product = []
        for entries in block:
            total = [0] * width
            for place, weight in entries:
                value = values[place]
                if value is not None:
                    total = [x + weight * y for x, y in zip(total, value, strict=True)]
            product.append(total)
        return product
    none = (0,) * width
    flat = [entry for value in values for entry in (none if value is None else value)]
    sums = (block * flint.fmpz_mat(len(values), width, flat)).entries()
    return [[int(value) for value in sums[i : i + width]] for i in range(0, len(sums), width)]


def primitive(row: Row) -> Row:
    """The row divided by the greatest common divisor of its entries."""
    shared = math.gcd(*row)
    return tuple(value // shared for value in row) if shared > 1 else row


def turned(row: Row) -> Row:
    return tuple(-value for value in row)


def signed(wall: Row) -> tuple[Row, int]:
    """(the wall or its negative, 1 or -1): whichever has its first coefficient positive."""
    lead = next(value for value in wall[1:] if value)
    return (wall, 1) if lead > 0 else (turned(wall), -1)


def walls_of(first: int, rows: list[Row]) -> tuple[list[Row], dict[Row, list[int]]]:
    walls = [primitive(row) for row in rows]
    multiples: dict[Row, list[int]] = {}
    for place, wall in enumerate(walls):
        if any(wall[1:]):
            multiples.setdefault(signed(wall)[0], []).append(first + place)
    return walls, multiples


def stored_bytes(rows: list[Row], denominator: int) -> int:
    """About what the forms take in memory: rows, walls and keys of Python integers."""
    entry = 36 + denominator.bit_length() // 8
    return 512 + len(rows) * (3 * 64 + 3 * entry * (len(rows[0]) if rows else 0))


def layer_of(forms: ExactForms, unit: int) -> int:
    """The layer of a unit."""
    return bisect_right(forms.starts, unit) - 1


def wall_of(forms: ExactForms, unit: int, prefix: bytes) -> Row:
    """{z >= 0} of a unit on the cells with this prefix, as a primitive row."""
    layer = layer_forms(forms, layer_of(forms, unit), prefix)
    return layer.walls[unit - layer.first]


def row_of(forms: ExactForms, row_id: int, prefix: bytes) -> Row:
    """The half-space r_0 + r.u >= 0 of a row id: a row of the chart, or the wall of a unit on which
    the path was split, on the side of the path. Raises KeyError for an id of neither."""
    count = len(forms.chart_rows)
    if 0 <= row_id < count:
        return forms.chart_rows[row_id]
    unit = row_id - count
    if not 0 <= unit < len(prefix) or not prefix[unit] & SPLIT:
        raise KeyError(f"{row_id} is no row of this cell")
    wall = wall_of(forms, unit, prefix)
    return wall if prefix[unit] & ACTIVE else turned(wall)


def form_of(forms: ExactForms, unit: int, prefix: bytes) -> Exact:
    """The pre-activation (1 + k,) of a unit on the cells with this prefix: g_0, then g."""
    layer = layer_forms(forms, layer_of(forms, unit), prefix)
    row = layer.rows[unit - layer.first]
    return Exact(integers(row, (len(row),)), layer.denominator)


def output_forms(forms: ExactForms, prefix: bytes) -> Exact:
    """The network's outputs (m, 1 + k) on the region with these codes (all units): constant, then
    the gradient in the chart's coordinates."""
    if len(prefix) != forms.starts[-1]:
        raise ValueError(f"{len(prefix)} of {forms.starts[-1]} units are decided")
    rows, denominator = combined(forms, forms.outputs, prefix)
    width = 1 + forms.dimension
    return Exact(integers((v for row in rows for v in row), (len(rows), width)), denominator)
