# SPDX-License-Identifier: Apache-2.0
"""Affine forms over a growing basis of functions on the domain, with certified ranges.

Basis: column 0 is the constant 1, columns 1..d are the inputs x_1..x_d, every later column is a
non-linear unit r_k = phi(rho_k), rho_k being a row over *earlier* columns. A value of a network is
a matrix of such rows with one radius a row: |value_i(x) - row_i(x)| <= radius_i on the domain.

Ranges and radii are integers in units of 2^-96, rounded outward; infinite ends are flags. The
mathematics is that of SAT sweeping carried over to rectifier networks (Mishchenko et al., FRAIGs,
2005, is the hardware original); every rule below is proved in its comment.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from isoform.network.domain import Box
from isoform.numerics.exact import Exact, as_array, integers
from isoform.numerics.sparse import ExactSparse, stack

GRID = 96  # ranges and radii are multiples of 2^-GRID
ONE = 1 << GRID
SLOPE_BITS = 24
HINT_BITS = 15
LONG = 384  # bits of denominator above which rows of a backward pass are rounded, outward;
# 16 times as many where slopes are given: they are to show that nothing is left over


@dataclass(frozen=True, slots=True, eq=False)
class Range:
    """low_i <= value_i <= high_i in units of 2^-96; `open_low`, `open_high`: no bound on that side
    (the number stored there is 0 and means nothing)."""

    low: np.ndarray
    high: np.ndarray
    open_low: np.ndarray
    open_high: np.ndarray

    @staticmethod
    def all_reals(n: int) -> Range:
        zeros, yes = integers([0] * n, (n,)), np.ones(n, dtype=bool)
        return Range(zeros, zeros, yes, yes)

    @staticmethod
    def between(low: int, high: int, n: int) -> Range:
        """n times the range [low, high], given in whole numbers."""
        no = np.zeros(n, dtype=bool)
        return Range(integers([low * ONE] * n, (n,)), integers([high * ONE] * n, (n,)), no, no)

    def take(self, which: np.ndarray) -> Range:
        return Range(self.low[which], self.high[which], self.open_low[which], self.open_high[which])

    def relu(self) -> Range:
        """The range of max(v, 0)."""
        low, no = np.where(self.open_low, 0, np.maximum(self.low, 0)), np.zeros(len(self.low), bool)
        return Range(as_array(low), as_array(np.maximum(self.high, 0)), no, self.open_high)

    def magnitude(self) -> tuple[np.ndarray, np.ndarray]:
        """Bounds of |v| and where there is none."""
        size = np.maximum(np.abs(self.low), np.abs(self.high))
        return as_array(size), self.open_low | self.open_high

    def meet(self, other: Range) -> Range:
        """The intersection of two enclosures of the same values."""
        low = np.where(
            self.open_low, other.low,
            np.where(other.open_low, self.low, np.maximum(self.low, other.low)),
        )
        high = np.where(
            self.open_high, other.high,
            np.where(other.open_high, self.high, np.minimum(self.high, other.high)),
        )
        return Range(
            as_array(low), as_array(high),
            self.open_low & other.open_low, self.open_high & other.open_high,
        )


def join(parts: list[Range]) -> Range:
    return Range(
        np.concatenate([part.low for part in parts]),
        np.concatenate([part.high for part in parts]),
        np.concatenate([part.open_low for part in parts]),
        np.concatenate([part.open_high for part in parts]),
    )


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Units appended together: columns start .. start + len(arguments), all of one `kind`.

    arguments: their rows rho (for a product the left factors, and `others` the right ones).
    before: range of the rows.
    """

    kind: str
    start: int
    arguments: ExactSparse
    before: Range
    others: ExactSparse | None = None

    @property
    def stop(self) -> int:
        return self.start + self.arguments.shape[0]


@dataclass(slots=True)
class Basis:
    """The columns so far; blocks are only ever appended. start: the inputs as rows."""

    inputs: int
    range: Range
    start: ExactSparse
    blocks: list[Block] = field(default_factory=list)

    @staticmethod
    def on(box: Box | None, n: int) -> Basis:
        """The constant and the inputs, in a box of dimension n (None: all of space). An input with
        low = high is that multiple of the constant."""
        one = Range.between(1, 1, 1)
        plain = ExactSparse.eye(n, n + 1, at=1)
        if box is None:
            return Basis(n, join([one, Range.all_reals(n)]), plain)
        closed = np.zeros(n, dtype=bool)
        inputs = Range(grid_down(box.low), grid_up(box.high), closed, closed)
        fixed = np.flatnonzero((box.high - box.low).sign() == 0)
        if not len(fixed):
            return Basis(n, join([one, inputs]), plain)
        unit = box.low.denominator
        data, columns = integers([unit] * n, (n,)), np.arange(1, n + 1)
        data[fixed], columns[fixed] = box.low.numerator[fixed], 0
        start = ExactSparse.of_triplets((n, n + 1), np.arange(n), columns, data, unit)
        return Basis(n, join([one, inputs]), start)

    @property
    def width(self) -> int:
        return len(self.range.low)

    def append(
        self, kind: str, arguments: ExactSparse, before: Range, after: Range,
        others: ExactSparse | None = None,
    ) -> np.ndarray:
        """New units with these arguments; returns their columns."""
        start = self.width
        self.blocks.append(Block(kind, start, arguments, before, others))
        self.range = join([self.range, after])
        return np.arange(start, self.width)

    def block_of(self, column: int) -> Block:
        """The block that holds a column; IndexError for the constant, an input, or no column."""
        for block in reversed(self.blocks):
            if block.start <= column < block.stop:
                return block
        raise IndexError(f"column {column} holds no unit")

    def arguments(self, columns: np.ndarray, kind: str, right: bool = False) -> ExactSparse:
        """Arguments of the units at these columns. IndexError if one is no unit of this kind."""
        if len(columns) == 0:
            return ExactSparse.zeros((0, self.width))
        starts = np.array([block.start for block in self.blocks] or [self.width])
        which = np.searchsorted(starts, columns, side="right") - 1
        if which.min() < 0 or columns.max() >= self.width:
            raise IndexError("a merge names a column that holds no unit")
        parts, places = [], np.empty(len(columns), dtype=np.int64)
        filled = 0
        for number in np.unique(which):
            block = self.blocks[number]
            if block.kind != kind:
                raise IndexError(f"a merge of {kind} names a unit of kind {block.kind}")
            here = np.flatnonzero(which == number)
            rows = block.others if right else block.arguments
            assert rows is not None
            parts.append(rows.take(columns[here] - block.start).widened(self.width))
            places[here] = np.arange(filled, filled + len(here))
            filled += len(here)
        joined = stack(parts)
        return joined if len(parts) == 1 else joined.take(places)


def grid_down(value: Exact) -> np.ndarray:
    return as_array((value.numerator << GRID) // value.denominator)


def grid_up(value: Exact) -> np.ndarray:
    return as_array(-((-(value.numerator << GRID)) // value.denominator))


def row_sums(matrix: ExactSparse, terms: np.ndarray) -> np.ndarray:
    """Sum of the terms (one a stored entry) of each row."""
    sums = np.zeros(matrix.shape[0], dtype=object)
    filled = np.flatnonzero(np.diff(matrix.starts))
    if len(filled):
        sums[filled] = np.add.reduceat(terms, matrix.starts[:-1][filled])
    return sums


def row_any(matrix: ExactSparse, flags: np.ndarray) -> np.ndarray:
    """Whether a flag (one a stored entry) is set in each row."""
    found = np.zeros(matrix.shape[0], dtype=bool)
    found[matrix.row_numbers()[flags]] = True
    return found


def interval_range(matrix: ExactSparse, basis: Basis) -> Range:
    """Range of rows from the ranges of their columns: sum of a_j times the end that a_j picks."""
    positive = matrix.data > 0
    known = basis.range
    ends = []
    for upward in (False, True):
        use_high = positive if upward else ~positive
        missing = np.where(
            use_high, known.open_high[matrix.columns], known.open_low[matrix.columns]
        )
        open_rows = row_any(matrix, missing)
        sums = np.zeros(matrix.shape[0], dtype=object)
        closed = np.flatnonzero(~open_rows)
        if len(closed):
            part = matrix if len(closed) == matrix.shape[0] else matrix.take(closed)
            up = part.data > 0 if upward else ~(part.data > 0)
            bounds = np.where(up, known.high[part.columns], known.low[part.columns])
            exact = row_sums(part, part.data * bounds)
            d = matrix.denominator
            sums[closed] = -((-exact) // d) if upward else exact // d
        ends.append((sums, open_rows))
    return Range(ends[0][0], ends[1][0], ends[0][1], ends[1][1])


def backward_range(matrix: ExactSparse, basis: Basis, slopes: np.ndarray | None = None) -> Range:
    """Range of rows by substituting rectifier units by linear bounds, last block first.

    For l <= z <= u and any slopes s, s' in [0, 1]:
    s' z <= relu(z) <= s z + max(-s l, (1 - s) u). So a coefficient a > 0 of an upper bound goes to
    the upper line, a < 0 to the lower one. Slopes are fixed by rule: s = u / (u - l) rounded to
    2^-24, s' = 1 where u > -l or a bound is missing, else 0. Intersected with the interval range.
    slopes: hints for s', one a row and column of the basis, in units of 2^-15 and clipped to
    [0, 1]; the right ones (dual values of the linear programme over these lines) give the bound of
    that programme.
    """
    plain = interval_range(matrix, basis)
    high, high_open = upper_end(matrix, basis, slopes)
    low, low_open = upper_end(-matrix, basis, slopes)
    return plain.meet(Range(as_array(-low), high, low_open, high_open))


def upper_end(
    matrix: ExactSparse, basis: Basis, slopes: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Upper bounds of rows by backward substitution, and where there is none."""
    rows = matrix.widened(basis.width) if matrix.shape[1] < basis.width else matrix
    for block in reversed(basis.blocks):
        if block.kind == "relu":
            rows = substituted(rows, block, basis, slopes)
            if rows.denominator.bit_length() > LONG:
                rows = rows.reduced()
            if rows.denominator.bit_length() > (LONG if slopes is None else 16 * LONG):
                rows = shortened(rows, basis)
    ends = interval_range(rows, basis)
    return ends.high, ends.open_high


def substituted(
    rows: ExactSparse, block: Block, basis: Basis, slopes: np.ndarray | None
) -> ExactSparse:
    """Rows that are >= the given ones on the domain, without those of the block's units that have
    a line on the side that is needed: the lower lines need no bounds, the chord does."""
    inside = (rows.columns >= block.start) & (rows.columns < block.stop)
    if not inside.any():
        return rows
    bounded = ~(block.before.open_low | block.before.open_high)
    low, high = block.before.low, block.before.high
    unit = np.where(inside, rows.columns - block.start, 0)
    inside &= bounded[unit] | np.asarray(rows.data < 0, dtype=bool)
    if not inside.any():
        return rows
    gap = np.where(bounded & (high > low), high - low, 1)
    slope = np.clip(((np.maximum(high, 0) << SLOPE_BITS) // gap), 0, 1 << SLOPE_BITS)
    # Both products are in units of 2^-(GRID + SLOPE_BITS); the larger one, rounded up to the grid.
    lift = np.maximum(-slope * low, ((1 << SLOPE_BITS) - slope) * high)
    lift = -((-lift) >> SLOPE_BITS)
    numbers, data = rows.row_numbers(), rows.data
    if slopes is None:
        below = np.where(~bounded | (high > -low), 1 << SLOPE_BITS, 0)[unit]
    else:
        hints = np.clip(slopes.astype(np.int64), 0, 1 << HINT_BITS) << (SLOPE_BITS - HINT_BITS)
        below = hints[numbers, np.minimum(rows.columns, slopes.shape[1] - 1)].astype(object)
    upward = inside & (data > 0)
    kept = ~inside
    rest = ExactSparse.of_triplets(
        rows.shape, numbers[kept], rows.columns[kept], data[kept], rows.denominator
    )
    size = (rows.shape[0], block.arguments.shape[0])
    factors = np.where(data > 0, slope[unit], below) * data
    taken = ExactSparse.of_triplets(
        size, numbers[inside], unit[inside], factors[inside], rows.denominator << SLOPE_BITS
    )
    lifts = ExactSparse.of_triplets(
        rows.shape, numbers[upward], np.zeros(int(upward.sum()), dtype=np.int64),
        (lift[unit] * data)[upward], rows.denominator << GRID,
    )
    return rest + taken @ block.arguments.widened(basis.width) + lifts


def shortened(rows: ExactSparse, basis: Basis) -> ExactSparse:
    """Rows that are >= the given ones, with denominator 2^192: each dropped part is at most one
    unit of 2^-192 and is paid for by the magnitude of its column (left alone where unbounded)."""
    bits = 192
    magnitude, unbounded = basis.range.magnitude()
    if unbounded[rows.columns].any():
        return rows
    cut = as_array((rows.data << bits) // rows.denominator)
    price = row_sums(rows, magnitude[rows.columns])  # units of 2^-(bits + GRID)
    filled = np.flatnonzero(price)
    prices = ExactSparse.of_triplets(
        rows.shape, filled, np.zeros(len(filled), dtype=np.int64), price[filled],
        1 << (bits + GRID),
    )
    short = ExactSparse.of_triplets(rows.shape, rows.row_numbers(), rows.columns, cut, 1 << bits)
    return short + prices
