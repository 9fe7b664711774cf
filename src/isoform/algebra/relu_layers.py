# SPDX-License-Identifier: Apache-2.0
"""Any network of affine maps and ReLUs as one chain, multiplied out exactly.

A ReLU output r is carried through a layer by one unit, relu(r) = r; an affine value z >= lo by
relu(z - lo) + lo; z <= hi by hi - relu(hi - z); any other by relu(z) - relu(-z).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from isoform.algebra.affine_rows import (
    AffineRows,
    added,
    after,
    as_bias,
    as_map,
    entries,
    stacked,
    widest_row,
)
from isoform.algebra.pieces import (
    FIXED,
    CarryPlan,
    Pieces,
    Range,
    Source,
    Stack,
    Sum,
    Unit,
    operands_of,
    short_below,
)
from isoform.network.linear_map import Constant, LinearMap
from isoform.network.size import Size
from isoform.numerics.exact import Exact, integers
from isoform.numerics.sparse import ExactSparse

Layers = list[tuple[LinearMap, Constant | None]]


def relu_layers(plan: CarryPlan) -> Layers:
    """The affine maps of the chain: one into each hidden layer, one to the output."""
    pieces = plan.pieces
    values: dict[int, AffineRows] = {0: AffineRows.identity(pieces.sizes[0])}
    width = pieces.sizes[0]
    chain: list[AffineRows] = []
    for t in range(1, pieces.depth + 1):
        wanted = [operands_of(pieces.pieces[v])[0] for v in plan.units[t]]
        expand(pieces, [*wanted, *plan.carried[t]], values, width)
        rows, values = next_layer(plan, t, values)
        chain.append(rows)
        width = rows.rows
    expand(pieces, [pieces.output], values, width)
    chain.append(values[pieces.output])
    return [(as_map(rows.matrix), as_bias(rows.bias)) for rows in without_unread(chain)]


def expand(
    pieces: Pieces, wanted: list[int], values: dict[int, AffineRows], width: int
) -> None:
    """Add the affine forms (over the current layer) of the wanted pieces to `values`."""
    open_values, order = list(wanted), set()
    while open_values:
        value = open_values.pop()
        if value not in values and value not in order:
            order.add(value)
            open_values += operands_of(pieces.pieces[value])
    for value in sorted(order):
        match pieces.pieces[value]:
            case Sum(parts, bias):
                terms = [after(part, values[operand]) for part, operand in parts]
                values[value] = added(terms, bias, pieces.sizes[value], width)
            case Stack(operands):
                values[value] = stacked([values[operand] for operand in operands])


def next_layer(
    plan: CarryPlan, t: int, values: dict[int, AffineRows]
) -> tuple[AffineRows, dict[int, AffineRows]]:
    """The rows of hidden layer t, and its pieces as affine forms of its units."""
    blocks = [values[operands_of(plan.pieces.pieces[v])[0]] for v in plan.units[t]]
    carries = [carry_rows(values[v], plan.range_used(v, t)) for v in plan.carried[t]]
    rows = stacked([*blocks, *(carry.rows for carry in carries)])
    kept, place, constant = unique_rows(rows)
    units = AffineRows(unit_matrix(place, len(kept)), constant)
    found: dict[int, AffineRows] = {}
    start = 0
    for value in plan.units[t]:
        size = plan.pieces.sizes[value]
        found[value] = units.take(np.arange(start, start + size))
        start += size
    for value, carry in zip(plan.carried[t], carries, strict=True):
        mine = units.take(np.arange(start, start + carry.rows.rows))
        found[value] = carry.recovered(mine)
        start += carry.rows.rows
    return rows.take(kept), found


@dataclass(frozen=True, slots=True, eq=False)
class Carry:
    """rows: what the units take; value = signs @ units + shift."""

    rows: AffineRows
    signs: ExactSparse
    shift: Exact

    def recovered(self, units: AffineRows) -> AffineRows:
        """The carried value as an affine form of the layer."""
        matrix = self.signs @ units.matrix
        return AffineRows(matrix, self.signs.times(units.bias) + self.shift)


def shifts_of(known: Range) -> list[int]:
    """What each row of a carried value is shifted by (multiples of 2^-FIXED): 0 where z >= 0 is
    known, or no bound is."""
    low = np.where(known.has_low, known.low, 0).tolist()
    high = np.where(~known.has_low & known.has_high, known.high, 0).tolist()
    return [short_below(a) if known.has_low[i] else -short_below(-b)
            for i, (a, b) in enumerate(zip(low, high, strict=True))]


def largest_shift(plan: CarryPlan) -> Fraction:
    """The largest absolute shift in a chain."""
    carried = [(value, t) for t, values in plan.carried.items() for value in values]
    shifts = (abs(shift) for v, t in carried for shift in shifts_of(plan.range_used(v, t)))
    return Fraction(max(shifts, default=0), 1 << FIXED)


def carry_rows(value: AffineRows, known: Range) -> Carry:
    """The units that carry a value with a known range."""
    has_low, has_high = known.has_low, known.has_high
    n = value.rows
    down = np.flatnonzero(~has_low & has_high)  # hi - z
    up = np.flatnonzero(has_low | ~has_high)  # z - lo, or z itself
    both = np.flatnonzero(~has_low & ~has_high)  # and -z
    shifts = Exact(integers(shifts_of(known), (n,)), 1 << FIXED)
    shifted = AffineRows(value.matrix, value.bias - shifts)
    rows = stacked([shifted.take(up), -shifted.take(down), -value.take(both)])
    order = np.concatenate([up, down, both])
    signs = integers([1] * len(up) + [-1] * (len(down) + len(both)), (len(order),))
    matrix = ExactSparse.of_triplets((n, len(order)), order, np.arange(len(order)), signs)
    return Carry(AffineRows(rows.matrix, rows.bias.reduced()), matrix, shifts.reduced())


def unique_rows(rows: AffineRows) -> tuple[list[int], np.ndarray, Exact]:
    """(numbers of the first of equal rows, unit of each row or -1, value of the constant ones).

    A row without weights is the constant relu(bias): no unit. One row always stays.
    """
    seen: dict[tuple, int] = {}
    kept: list[int] = []
    place = np.full(rows.rows, -1, dtype=np.int64)
    starts = rows.matrix.starts.tolist()
    biases = rows.bias.numerator.tolist()
    data = rows.matrix.data.tolist()
    for i in range(rows.rows):
        begin, end = starts[i], starts[i + 1]
        if begin == end:
            continue
        key = (rows.matrix.columns[begin:end].tobytes(), tuple(data[begin:end]), biases[i])
        if key not in seen:
            seen[key] = len(kept)
            kept.append(i)
        place[i] = seen[key]
    if not kept:
        kept.append(0)
        place[0] = 0
    constant = np.where(place < 0, np.maximum(rows.bias.numerator, 0), 0)
    return kept, place, Exact(constant.astype(object), rows.bias.denominator).reduced()


def unit_matrix(place: np.ndarray, width: int) -> ExactSparse:
    """Row i reads unit place[i], or nothing where that is -1."""
    held = np.flatnonzero(place >= 0)
    ones = integers([1] * len(held), (len(held),))
    return ExactSparse.of_triplets((len(place), width), held, place[held], ones)


def without_unread(chain: list[AffineRows]) -> list[AffineRows]:
    """The chain without units that the next layer does not read, from the output down."""
    trimmed = [chain[-1]]
    for rows in reversed(chain[:-1]):
        outer = trimmed[-1]
        used = np.unique(outer.matrix.columns)
        if not len(used):
            used = np.zeros(1, dtype=np.int64)
        if len(used) < rows.rows:
            number = np.zeros(rows.rows, dtype=np.int64)
            number[used] = np.arange(len(used))
            matrix = ExactSparse(
                (outer.rows, len(used)), outer.matrix.starts, number[outer.matrix.columns],
                outer.matrix.data, outer.matrix.denominator,
            )
            trimmed[-1] = AffineRows(matrix, outer.bias)
            rows = rows.take(used)
        trimmed.append(rows)
    return trimmed[::-1]


# --- the size, before anything is multiplied ----------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sketch:
    """Upper bounds on an affine form: rows, entries, entries of any row."""

    rows: int
    entries: int
    widest: int


def predicted_size(plan: CarryPlan) -> Size:
    """Upper bounds on every figure of the chain, from structure alone."""
    pieces = plan.pieces
    width = pieces.sizes[0]
    sketches = {0: Sketch(width, width, 1)}
    parameters = weights = units = widest = 0
    for t in range(1, pieces.depth + 2):
        last = t > pieces.depth
        wanted = [pieces.output] if last else [
            *(operands_of(pieces.pieces[v])[0] for v in plan.units[t]), *plan.carried[t]]
        expand_sketches(pieces, wanted, sketches, width)
        rows = stored = 0
        for value in wanted:
            sketch = sketches[value]
            twice = 1
            if not last and value in plan.carried[t]:
                twice = 2 if plan.costs[value] > sketch.rows else 1
            rows += sketch.rows * twice
            stored += sketch.entries * twice
        bound = min(2 * stored, rows * width)
        weights += bound
        parameters += bound + rows
        if last:
            break
        width = plan.width(t)
        units, widest = units + width, max(widest, width)
        sketches = held_sketches(plan, t)
    return Size(depth=pieces.depth, width=widest, units=units, parameters=parameters,
                nonzeros=parameters, flops=2 * weights, bytes=8 * parameters)


def held_sketches(plan: CarryPlan, t: int) -> dict[int, Sketch]:
    """The pieces that hidden layer t holds, over its units."""
    sizes = plan.pieces.sizes
    found = {v: Sketch(sizes[v], sizes[v], 1) for v in plan.units[t]}
    for value in plan.carried[t]:
        two = plan.costs[value] > sizes[value]
        found[value] = Sketch(sizes[value], plan.costs[value], 2 if two else 1)
    return found


def expand_sketches(
    pieces: Pieces, wanted: list[int], sketches: dict[int, Sketch], width: int
) -> None:
    """As `expand`, on bounds."""
    open_values, order = list(wanted), set()
    while open_values:
        value = open_values.pop()
        if value not in sketches and value not in order:
            order.add(value)
            open_values += operands_of(pieces.pieces[value])
    for value in sorted(order):
        rows = pieces.sizes[value]
        match pieces.pieces[value]:
            case Sum(parts):
                row = sum(widest_row(part) * sketches[op].widest for part, op in parts)
                row = min(row, width)
                total = sum(entries(part) * sketches[op].widest for part, op in parts)
                sketches[value] = Sketch(rows, min(total, rows * row), row)
            case Stack(operands):
                inner = [sketches[operand] for operand in operands]
                sketches[value] = Sketch(rows, sum(s.entries for s in inner),
                                         max(s.widest for s in inner))
            case Source() | Unit():
                raise ValueError("a piece is read at a layer that does not hold it")
