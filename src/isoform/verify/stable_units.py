# SPDX-License-Identifier: Apache-2.0
"""Slopes that prove rectifier units stable where ranges by rule do not see it.

A bound of a row substitutes every unit r_k whose coefficient points the wrong way by a lower line
s rho_k, s in [0, 1] (`certificate.basis.backward_range`). Peeling chooses s from the last unit to
the first so that the interval bound of what is left is best, in exact arithmetic: of a sum of units
r_k and of carried mirror images r_k - rho_k = relu(-rho_k) nothing is left that could be negative,
on any domain, where the rho_k do not share inputs (else it may choose wrongly). Only rows that keep
their sign at sample points are tried. The linear programme chooses all slopes together. Hints only:
a unit is settled where the exact bound with these slopes holds.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from isoform.certificate.basis import GRID, HINT_BITS, Basis, Range, backward_range
from isoform.numerics.exact import Exact
from isoform.numerics.sparse import ExactSparse
from isoform.verify.relaxation import Relaxation
from isoform.verify.signatures import FAR

POINTS, TINY = 32, 1e-9  # points, and relative values that count as zero
MOST_PEELED = 8  # units in a row: what is carried is short
MOST_TERMS = 1 << 14  # coefficients that are substituted in the rows of one node
BEYOND = 1 << (GRID + 80)  # stands in for a missing bound: the fewer, the better

Row = dict[int, Fraction]


def stable(known: Range, i: int = 0) -> tuple[bool, bool]:
    """Whether the range of row i shows it to be never positive, and never negative."""
    dead = not known.open_high[i] and known.high[i] <= 0
    return dead, not known.open_low[i] and known.low[i] >= 0


class Simulation:
    """Values of all columns of a basis at a few points, in floats, as it grows."""

    def __init__(self, basis: Basis):
        rng, known, d = np.random.default_rng(0), basis.range, basis.inputs
        low, high = (Exact(end[1 : 1 + d], 1 << GRID).to_float() for end in (known.low, known.high))
        low, high = np.clip(low, -FAR, FAR), np.clip(high, -FAR, FAR)
        low = np.where(known.open_low[1 : 1 + d], np.minimum(high, 0) - 4, low)
        high = np.where(known.open_high[1 : 1 + d], np.maximum(low, 0) + 4, high)
        share = rng.uniform(size=(POINTS, d))
        points = low + share * (high - low)
        self.basis, self.blocks = basis, 0
        self.values = np.concatenate((np.ones((POINTS, 1)), points), axis=1)

    def changes_sign(self, rows: ExactSparse) -> np.ndarray:
        """Whether each row is above zero at one point and below at another."""
        with np.errstate(all="ignore"):
            for block in self.basis.blocks[self.blocks :]:
                z, _ = self.at(block.arguments)
                values = np.maximum(z, 0) if block.kind == "relu" else 0 * z
                self.values = np.concatenate((self.values, values), axis=1)
            self.blocks = len(self.basis.blocks)
            found, sizes = self.at(rows)
            tiny = TINY * sizes
            return np.asarray((found.max(axis=0) > tiny) & (found.min(axis=0) < -tiny))

    def at(self, rows: ExactSparse) -> tuple[np.ndarray, np.ndarray]:
        """The rows at the points (POINTS, n), and the sum of the largest parts of each."""
        data = Exact(rows.data, rows.denominator).to_float()
        found = np.zeros((POINTS, rows.shape[0]))
        sizes = np.zeros(rows.shape[0])
        filled = np.flatnonzero(np.diff(rows.starts))
        if len(filled):
            terms = self.values[:, rows.columns] * data
            found[:, filled] = np.add.reduceat(terms, rows.starts[:-1][filled], axis=1)
            sizes[filled] = np.add.reduceat(np.abs(terms).max(axis=0), rows.starts[:-1][filled])
        return found, sizes


class Peeling:
    """Slopes by peeling, for the rows of one node over a basis."""

    def __init__(self, basis: Basis, rows: ExactSparse):
        self.basis, self.rows = basis, rows
        self.arguments: dict[int, Row] = {}
        used = set(rows.columns.tolist()) - {0}
        self.blocks = [
            block for block in basis.blocks
            if block.kind == "relu" and not used.isdisjoint(block.arguments.columns.tolist())
            and not used.isdisjoint(range(block.start, block.stop))
        ]
        per_unit = max(
            (block.arguments.nonzeros // len(block.before.low) for block in self.blocks), default=0
        )
        self.worth = 0 < per_unit * rows.nonzeros <= MOST_TERMS

    def slopes(self, i: int) -> tuple[bool, np.ndarray] | None:
        """Whether row i is dead (else linear), and slopes that prove it up to their rounding; None
        where none do."""
        row = self.rows.row_fractions(i)
        if sum(column > self.basis.inputs for column in row) > MOST_PEELED:
            return None
        for dead in (False, True):
            found = self.peeled({k: -v for k, v in row.items()} if dead else row)
            if found is None:
                continue
            slopes = np.zeros(self.basis.width, dtype=np.uint16)
            for column, slope in found.items():
                slopes[column] = round(slope * (1 << HINT_BITS))
            return dead, slopes
        return None

    def peeled(self, row: Row) -> Row | None:
        """Slopes with which the row is >= 0, about; None where peeling does not get there."""
        row, slopes = dict(row), {}
        for block in reversed(self.blocks):
            for column in sorted(
                (k for k in row if block.start <= k < block.stop and row[k] > 0), reverse=True
            ):
                argument = self.argument(column)
                slope = self.best(row, column, argument)
                if slope == 0:
                    continue
                slopes[column] = slope
                weight = row.pop(column)
                for k, v in argument.items():
                    row[k] = row.get(k, Fraction(0)) + slope * weight * v
                row = {k: v for k, v in row.items() if v}
        return slopes if sum(self.least(k, v) for k, v in row.items()) >= 0 else None

    def argument(self, column: int) -> Row:
        if column not in self.arguments:
            block = self.basis.block_of(column)
            self.arguments[column] = block.arguments.row_fractions(column - block.start)
        return self.arguments[column]

    def best(self, row: Row, column: int, argument: Row) -> Fraction:
        """The slope with the largest interval bound, which is concave in it: an end of [0, 1], or
        one with which an entry of the row vanishes. 0 where no entry has the other sign."""
        weight = row[column]
        ends = {
            -row[k] / (weight * v) for k, v in argument.items()
            if k and k in row and (row[k] > 0) != (v > 0)
        }
        if not ends:
            return Fraction(0)
        unit = self.least(column, weight)

        def bound(slope: Fraction) -> Fraction:
            if slope == 0:
                return unit
            return sum((
                self.least(k, row.get(k, Fraction(0)) + slope * weight * v)
                - self.least(k, row.get(k, Fraction(0))) for k, v in argument.items()
            ), Fraction(0))

        tried = {Fraction(0), Fraction(1), *(end for end in ends if end < 1)}
        return max(sorted(tried), key=bound)

    def least(self, column: int, weight: Fraction) -> Fraction:
        """The least value of a multiple of a column."""
        known = self.basis.range
        if weight == 0:
            return weight
        if weight > 0:
            return weight * (-BEYOND if known.open_low[column] else int(known.low[column]))
        return weight * (BEYOND if known.open_high[column] else int(known.high[column]))


def by_peeling(
    rows: ExactSparse, basis: Basis, units: np.ndarray, seen: Simulation
) -> dict[int, tuple[bool, np.ndarray]]:
    """Of these units, those that peeling proves dead (else linear), with slopes."""
    if not basis.blocks or not len(units) or not Peeling(basis, rows.take(units)).worth:
        return {}
    units = units[~seen.changes_sign(rows.take(units))]
    if not len(units):
        return {}
    peeling = Peeling(basis, rows.take(units))
    tried = {i: peeling.slopes(place) for place, i in enumerate(units.tolist())}
    found = {i: slopes for i, slopes in tried.items() if slopes is not None}
    if not found:
        return {}
    known = backward_range(
        rows.take(list(found)), basis, np.array([slopes for _, slopes in found.values()])
    )
    sure = {i: stable(known, at) for at, i in enumerate(found)}
    return {i: hint for i, hint in found.items() if sure[i][0 if hint[0] else 1]}


def by_programme(
    rows: ExactSparse, known: Range, basis: Basis, units: np.ndarray
) -> dict[int, tuple[bool, np.ndarray]]:
    """Of these units, those that a linear programme proves dead (else linear), with slopes. Only
    units whose range reaches over zero by less than a third of its length are tried."""
    if not basis.blocks:
        return {}
    relaxation = None
    found: dict[int, tuple[bool, np.ndarray]] = {}
    for i in units.tolist():
        if known.open_low[i] or known.open_high[i]:
            continue
        dead = bool(known.high[i] <= -known.low[i])
        over, whole = min(known.high[i], -known.low[i]), known.high[i] - known.low[i]
        if 3 * over > whole:
            continue
        relaxation = relaxation or Relaxation(basis)
        row = rows.take([i])
        value, slopes = relaxation.slopes(row, upper=dead)
        if (value > 0) if dead else (value < 0):
            continue
        if stable(backward_range(row, basis, slopes.reshape(1, -1)))[0 if dead else 1]:
            found[i] = dead, slopes
    return found
