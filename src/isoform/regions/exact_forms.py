# SPDX-License-Identifier: Apache-2.0
"""The exact affine forms of pre-activations on the cells of a splitting tree.

On a cell the units of the earlier layers have fixed signs, so that each pre-activation of a layer
is one affine form g_0 + g.u. Forms are rows of integers (g_0, g_1, ..., g_k). A layer is computed
as a whole, over one denominator, and kept by the pattern of the earlier layers. Where its weights
are sparse (a convolution, a pooling), single units can be asked for: their forms are kept by the
pattern of the units that they hang on, their cone, which is the same in many cells. A prefix has
one code a decided unit: bit 0 says active, bit 1 that the unit splits the cell.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from isoform.network.charts import Chart
from isoform.numerics.exact import Exact, integers
from isoform.regions.exact_weights import (
    Row,
    Weights,
    combination,
    multiplied,
    primitive,
    signed,
    turned,
    weights,
)

SPLIT, ACTIVE = 2, 1  # bits of a prefix code
PATTERN = bytes(code & ACTIVE for code in range(256))
MEMORY = 1 << 28  # bytes of forms kept


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


@dataclass(frozen=True, slots=True, eq=False)
class UnitForm:
    """The pre-activation of one unit, z = row / denominator, and its wall {z >= 0} as in
    `LayerForms`."""

    row: Row
    denominator: int
    wall: Row


@dataclass(frozen=True, eq=False)
class ExactForms:
    """The forms of a chart, and what is remembered of them (the least recently used forms go when
    more than `memory` bytes are held). chart_rows: the chart's half-spaces b - a.u >= 0 as integer
    rows (b, -a), by row id.

    known: layers by (layer, pattern of the earlier layers), units of sparse layers by (unit,
    pattern of its cone), each with its bytes. cones: units that a unit hangs on, as bits. latest: a
    prefix and its active units as bits.
    """

    chart: Chart
    chart_rows: tuple[Row, ...]
    weights: tuple[Weights, ...]
    outputs: Weights
    memory: int
    known: OrderedDict[tuple[int, bytes | int], tuple[LayerForms | UnitForm, int]] = field(
        default_factory=OrderedDict
    )
    held: list[int] = field(default_factory=lambda: [0])
    cones: dict[int, int] = field(default_factory=dict)
    latest: list[tuple[bytes, int]] = field(default_factory=lambda: [(b"", 0)])

    @property
    def dimension(self) -> int:
        return self.chart.dimension

    @property
    def starts(self) -> tuple[int, ...]:
        return self.chart.layers.starts

    @cached_property
    def sparse(self) -> bool:
        """Whether there are layers of which single units are computed."""
        return any(of.sparse for of in self.weights)


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


def layer_forms(forms: ExactForms, layer: int, prefix: bytes) -> LayerForms:
    """The forms of a layer; the prefix decides all units of the earlier ones (it may go on)."""
    first = forms.starts[layer]
    if len(prefix) < first:
        raise ValueError(f"a prefix of {len(prefix)} units fixes no forms of layer {layer}")
    key = (layer, prefix[:first].translate(PATTERN))
    found = recalled(forms, key)
    if isinstance(found, LayerForms):
        return found
    rows, denominator = combined(forms, forms.weights[layer], prefix)
    made = LayerForms(first, rows, denominator, *walls_of(first, rows))
    remember(forms, key, made, stored_bytes(rows, denominator) + first)
    return made


def unit_form(forms: ExactForms, unit: int, prefix: bytes) -> UnitForm:
    """The form of one unit of a sparse layer; the prefix as for `layer_forms`."""
    layer = layer_of(forms, unit)
    place, of = unit - forms.starts[layer], forms.weights[layer]
    if len(prefix) < forms.starts[layer]:
        raise ValueError(f"a prefix of {len(prefix)} units fixes no forms of layer {layer}")
    key = (unit, cone(forms, unit) & active_bits(forms, prefix))
    found = recalled(forms, key)
    if isinstance(found, UnitForm):
        return found
    terms: list[tuple[int, int, Row]] = []  # weight, denominator, row
    for part in of.blocks:
        entries = part.entries[place]
        values, denominator = outputs_of(forms, part.layer, [at for at, _ in entries], prefix)
        terms += [
            (weight, denominator, value)
            for (_, weight), value in zip(entries, values, strict=True) if value is not None
        ]
    common = math.lcm(1, *(denominator for _, denominator, _ in terms))
    scaled = [(weight * (common // denominator), row) for weight, denominator, row in terms]
    row = combination([(common, tuple(of.base[place])), *scaled], 1 + forms.dimension)
    whole = primitive((*row, of.denominator * common))
    made = UnitForm(whole[:-1], whole[-1], primitive(whole[:-1]))
    remember(forms, key, made, stored_bytes([row], common) + key[1].bit_length() // 8)
    return made


def recalled(forms: ExactForms, key: tuple[int, bytes | int]) -> LayerForms | UnitForm | None:
    found = forms.known.get(key)
    if found is None:
        return None
    forms.known.move_to_end(key)
    return found[0]


def remember(
    forms: ExactForms, key: tuple[int, bytes | int], made: LayerForms | UnitForm, size: int
) -> None:
    forms.known[key] = made, size
    forms.held[0] += size
    while forms.held[0] > forms.memory and len(forms.known) > 1:
        forms.held[0] -= forms.known.popitem(last=False)[1][1]


def cone(forms: ExactForms, unit: int) -> int:
    """The units that a unit of a sparse layer hangs on, directly or through others, as bits."""
    found = forms.cones.get(unit)
    if found is not None:
        return found
    layer = layer_of(forms, unit)
    bits = 0
    for part in forms.weights[layer].blocks:
        first, before = forms.starts[part.layer], forms.weights[part.layer]
        for place, _ in part.entries[unit - forms.starts[layer]]:
            bits |= 1 << (first + place)
            if before.sparse:
                bits |= cone(forms, first + place)
            elif before.blocks:
                bits |= (1 << first) - 1
    forms.cones[unit] = bits
    return bits


def active_bits(forms: ExactForms, prefix: bytes) -> int:
    """The active units of a prefix as bits."""
    if forms.latest[0][0] is not prefix:
        active = np.frombuffer(prefix, dtype=np.uint8) & ACTIVE
        packed = np.packbits(active, bitorder="little").tobytes()
        forms.latest[0] = prefix, int.from_bytes(packed, "little")
    return forms.latest[0][1]


def combined(forms: ExactForms, of: Weights, prefix: bytes) -> tuple[list[Row], int]:
    """`of` applied to (1, u, units on the cell), as rows over a denominator."""
    if not of.base:
        return [], 1
    width = len(of.base[0])
    earlier = [outputs_of(forms, part.layer, part.places, prefix) for part in of.blocks]
    common = math.lcm(1, *(denominator for _, denominator in earlier))
    sums = [[value * common for value in row] for row in of.base] if common > 1 else of.base
    for part, (values, of_part) in zip(of.blocks, earlier, strict=True):
        factor = common // of_part
        product = multiplied(part, values, width)
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
    forms: ExactForms, layer: int, places: Sequence[int], prefix: bytes
) -> tuple[list[Row | None], int]:
    """What units of a layer give, over a denominator; None for 0. A step unit gives 1 where z >= 0,
    so also where z is identically 0, though its pattern then says inactive."""
    first = forms.starts[layer]
    step = forms.chart.layers.layers[layer].step
    rows: list[Row | None]
    if not forms.weights[layer].sparse:
        before = layer_forms(forms, layer, prefix)
        denominator = before.denominator
        rows = [before.rows[i] if step or prefix[first + i] & ACTIVE else None for i in places]
    else:
        known = [
            unit_form(forms, first + i, prefix) if step or prefix[first + i] & ACTIVE else None
            for i in places
        ]
        denominator = math.lcm(1, *{form.denominator for form in known if form is not None})
        rows = [
            None if form is None else form.row if form.denominator == denominator
            else tuple(value * (denominator // form.denominator) for value in form.row)
            for form in known
        ]
    if step:
        one = (1, *([0] * forms.dimension))
        codes = [prefix[first + i] for i in places]
        return [
            one if code & ACTIVE or row is None or not any(row) else None
            for code, row in zip(codes, rows, strict=True)
        ], 1
    return rows, denominator


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
    layer = layer_of(forms, unit)
    if forms.weights[layer].sparse:
        return unit_form(forms, unit, prefix).wall
    whole = layer_forms(forms, layer, prefix)
    return whole.walls[unit - whole.first]


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
    layer = layer_of(forms, unit)
    if forms.weights[layer].sparse:
        form = unit_form(forms, unit, prefix)
        return Exact(integers(form.row, (len(form.row),)), form.denominator)
    whole = layer_forms(forms, layer, prefix)
    row = whole.rows[unit - whole.first]
    return Exact(integers(row, (len(row),)), whole.denominator)


def output_forms(forms: ExactForms, prefix: bytes) -> Exact:
    """The network's outputs (m, 1 + k) on the region with these codes (all units): constant, then
    the gradient in the chart's coordinates."""
    if len(prefix) != forms.starts[-1]:
        raise ValueError(f"{len(prefix)} of {forms.starts[-1]} units are decided")
    rows, denominator = combined(forms, forms.outputs, prefix)
    width = 1 + forms.dimension
    return Exact(integers((v for row in rows for v in row), (len(rows), width)), denominator)
