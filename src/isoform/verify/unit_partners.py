# SPDX-License-Identifier: Apache-2.0
"""Which unit of one network is which of another: by exact rows, and by resemblance for the rest.

Target layers in order. A row over earlier target units is carried over to their partners (a unit
that is c times its partner counts c times); a source unit with the same row up to a factor c > 0 is
its partner. Units left over in a layer are given to those left over in the source layer beside it,
by the least total distance of their values at sample points; what differs between their rows is
kept. So one changed weight is one changed row, however much it changes the values after it.
Alignments are for reports; a proof derives its own.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from isoform.network.parting import Change, Unit, Weight
from isoform.numerics.exact import approximately, integers
from isoform.numerics.sparse import ExactSparse
from isoform.verify.hidden_units import HiddenUnits, Layer
from isoform.verify.identity import row_key
from isoform.verify.signatures import short

APART = 0.7  # distance of unit vectors of values above which a pair is none
MOST_PAIRS = 1 << 22  # of units that are compared by their values
SHOWN = 6  # weights of a changed row that are kept

Key = tuple[tuple, bool]


@dataclass(slots=True)
class Alignment:
    """Columns of target units with their partner's column and factor; changed rows; columns without
    partner."""

    source: HiddenUnits
    target: HiddenUnits
    before: tuple[np.ndarray, np.ndarray]  # values of both at sample points, (points, width)
    partner: dict[int, tuple[int, Fraction]] = field(default_factory=dict)
    beside: dict[int, int | None] = field(default_factory=dict)  # target layer: source layer
    changes: list[Change] = field(default_factory=list)
    changed: set[int] = field(default_factory=set)
    alone: set[int] = field(default_factory=set)

    @property
    def share(self) -> float:
        """Units that have partners, of all of both networks."""
        total = self.source.count + self.target.count
        return 2 * (len(self.partner) - 1 - self.source.inputs) / total if total else 1.0

    def unused(self, columns: range) -> list[int]:
        used = {column for column, _ in self.partner.values()}
        return [column for column in columns if column not in used]


def align(
    source: HiddenUnits, target: HiddenUnits, before: tuple[np.ndarray, np.ndarray]
) -> Alignment:
    """The alignment of two networks with the same inputs and outputs."""
    found = Alignment(source, target, before)
    found.partner = {column: (column, Fraction(1)) for column in range(1 + source.inputs)}
    known = keys(source)
    for layer in target.layers:
        carried, others = carry(found, layer.rows)
        pairs = equal_rows(found, layer, carried, others, known)
        found.partner |= pairs
        found.beside[layer.number] = neighbour(found, layer, pairs)
        left = [column for column in layer.columns if column not in pairs]
        for column, partner in resembling(found, layer, left).items():
            factor = ratio(found, layer, carried, column, partner)
            found.partner[column] = partner, factor
            take_change(found, carried, others, layer, column)
        for column in left:
            if column not in found.partner:
                found.alone.add(column)
                take_change(found, carried, others, layer, column)
    compare_outputs(found)
    return found


def keys(source: HiddenUnits) -> dict[Key, tuple[int, Fraction]]:
    """Column and scale of each source unit by its row. Products are left out."""
    found = {}
    for layer in source.layers:
        if layer.others is None:
            for i in range(layer.rows.shape[0]):
                key, scale = row_key(layer.rows.widened(source.width), i, layer.kind)
                found[key, scale > 0] = layer.start + i, scale
    return found


def carry(found: Alignment, rows: ExactSparse) -> tuple[ExactSparse, np.ndarray]:
    """Target rows over source columns, and how many of each row's columns have no partner."""
    columns = np.unique(rows.columns)
    held = [int(column) for column in columns if int(column) in found.partner]
    pairs = [found.partner[column] for column in held]
    unit = math.lcm(1, *(factor.denominator for _, factor in pairs))
    table = ExactSparse.of_triplets(
        (rows.shape[1], found.source.width), np.array(held, dtype=np.int64),
        np.array([column for column, _ in pairs], dtype=np.int64),
        integers([f.numerator * (unit // f.denominator) for _, f in pairs], (len(pairs),)), unit,
    )
    missing = ~np.isin(rows.columns, np.array(held, dtype=np.int64))
    counts = np.bincount(rows.row_numbers()[missing], minlength=rows.shape[0])
    return rows @ table, counts


def equal_rows(
    found: Alignment, layer: Layer, carried: ExactSparse, others: np.ndarray,
    known: dict[Key, tuple[int, Fraction]],
) -> dict[int, tuple[int, Fraction]]:
    """Partners of the layer's units by equal rows; every source unit is taken once."""
    pairs: dict[int, tuple[int, Fraction]] = {}
    taken = {column for column, _ in found.partner.values()}
    for i in np.flatnonzero(others == 0).tolist():
        if layer.others is not None:
            break
        key, scale = row_key(carried, i, layer.kind)
        partner = known.get((key, scale > 0))
        if partner is not None and partner[0] not in taken:
            taken.add(partner[0])
            factor = scale / partner[1] if layer.kind == "relu" else Fraction(1)
            pairs[layer.start + i] = partner[0], factor
    return pairs


def neighbour(
    found: Alignment, layer: Layer, pairs: dict[int, tuple[int, Fraction]]
) -> int | None:
    """The source layer of most partners; without any, the first one after those already taken
    whose units are as many and of the same kind, else of the same kind."""
    numbers = Counter(layer_of(found.source, column).number for column, _ in pairs.values())
    if numbers:
        return numbers.most_common(1)[0][0]
    taken = set(found.beside.values())
    free = [other for other in found.source.layers
            if other.number not in taken and other.kind == layer.kind]
    alike = [other for other in free if other.rows.shape[0] == layer.rows.shape[0]]
    return (alike or free)[0].number if free else None


def layer_of(units: HiddenUnits, column: int) -> Layer:
    return next(layer for layer in units.layers if column in layer.columns)


def resembling(found: Alignment, layer: Layer, left: list[int]) -> dict[int, int]:
    """Partners among the units that are left over in the source layer beside this one. A pair that
    is left over alone belongs together however little it resembles."""
    number = found.beside[layer.number]
    other = next((o for o in found.source.layers if o.number == number), None)
    free = found.unused(other.columns) if other is not None and other.kind == layer.kind else []
    if not left or not free or len(left) * len(free) > MOST_PAIRS:
        return {}
    from scipy.optimize import linear_sum_assignment

    mine, theirs = found.before[1][:, left], found.before[0][:, free]
    if layer.kind == "relu":
        mine, theirs = directions(mine), directions(theirs)
    size = np.linalg.norm(theirs, axis=0) + np.linalg.norm(mine, axis=0)[:, None]
    gaps = np.sqrt(np.maximum(
        (mine**2).sum(axis=0)[:, None] + (theirs**2).sum(axis=0) - 2 * mine.T @ theirs, 0
    ))
    distance = np.nan_to_num(2 * gaps / np.where(size > 0, size, 1), nan=2.0, posinf=2.0)
    rows, columns = linear_sum_assignment(distance)
    pairs = list(zip(rows.tolist(), columns.tolist(), strict=True))
    near = [pair for pair in pairs if distance[pair] < APART]
    if len(near) == len(left) - 1 == len(free) - 1:
        near = pairs
    return {left[i]: free[j] for i, j in near}


def directions(values: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(values, axis=0)
    return values / np.where(norms > 0, norms, 1)


def ratio(
    found: Alignment, layer: Layer, carried: ExactSparse, column: int, partner: int
) -> Fraction:
    """The factor of a unit over its partner: that of most of their numbers, if two or more agree;
    else what fits their values best."""
    if layer.kind != "relu":
        return Fraction(1)
    mine = carried.row_fractions(column - layer.start)
    other = layer_of(found.source, partner)
    theirs = other.rows.row_fractions(partner - other.start)
    counts = Counter(mine[k] / theirs[k] for k in mine.keys() & theirs.keys())
    best, count = max(counts.items(), key=lambda item: item[1], default=(Fraction(0), 0))
    if best > 0 and (count > 1 or len(counts) == 1):
        return best
    x, y = found.before[0][:, partner], found.before[1][:, column]
    scale = float(x @ y) / max(float(x @ x), 1e-300)
    return short(scale) if np.isfinite(scale) and scale > 0 else Fraction(1)


def take_change(
    found: Alignment, carried: ExactSparse, others: np.ndarray, layer: Layer, column: int
) -> None:
    """Note how a unit's row differs from its partner's, or that it has none."""
    i = column - layer.start
    unit = Unit(layer.number, int(layer.units[i]))
    if column not in found.partner:
        found.changes.append(Change(target=unit, source=None, others=int(others[i])))
        return
    partner, factor = found.partner[column]
    other = layer_of(found.source, partner)
    mine = {k: v / factor for k, v in carried.row_fractions(i).items()}
    weights = differences(found, other.rows.row_fractions(partner - other.start), mine)
    found.changed.add(column)
    found.changes.append(Change(
        target=unit, source=found.source.unit(partner), weights=tuple(weights[:SHOWN]),
        count=len(weights), others=int(others[i]),
    ))


def differences(
    found: Alignment, source: dict[int, Fraction], target: dict[int, Fraction]
) -> list[Weight]:
    """The numbers of two rows over source columns that differ, largest difference first."""
    zero = Fraction(0)
    listed = [
        Weight(name=found.source.name(k), source=source.get(k, zero), target=target.get(k, zero))
        for k in sorted(source.keys() | target.keys()) if source.get(k, zero) != target.get(k, zero)
    ]
    return sorted(listed, key=lambda weight: -abs(approximately(weight.target - weight.source)))


def compare_outputs(found: Alignment) -> None:
    """Outputs are partners by their number."""
    carried, others = carry(found, found.target.outputs)
    for i in range(carried.shape[0]):
        weights = differences(
            found, found.source.outputs.row_fractions(i), carried.row_fractions(i)
        )
        if weights or others[i]:
            found.changes.append(Change(
                target=Unit(None, i), source=Unit(None, i), weights=tuple(weights[:SHOWN]),
                count=len(weights), others=int(others[i]),
            ))
