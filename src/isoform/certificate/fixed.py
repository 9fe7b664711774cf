# SPDX-License-Identifier: Apache-2.0
"""Fixed point: integers over 2^bits in arrays of 64 bits, every rounding counted.

Matrix products run on parts of the integers so short that all sums stay below 2^53, where products
and sums of doubles are exact in every order; everything else is 64-bit integer arithmetic whose
sizes are tested. The differential bounds are written over this class; `Floats`, which the prover
uses to search, has the same methods without the counting.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from isoform.errors import CertificateRejected
from isoform.numerics.exact import Exact
from isoform.numerics.smooth import SMOOTH, enclosed
from isoform.numerics.sparse import ExactSparse

PART = 26  # bits of a part of a number
WIDE = 2 * PART  # numbers stay below 2^WIDE
SLOPE = 30  # bits behind the point of a slope
STEEPEST = 35  # bits of a slope: differences of two times numbers below 2^WIDE fit
GRID = 16  # bits behind the point of ends of boxes that rows give
TIE = 0.381966  # of a step of the grid: no simple fraction lies near one less that
NODE = 12  # bits behind the point of the places where smooth functions are evaluated
MOST_WEIGHT = 40  # bits of a weight over the common power of two
MOST_SIZE = 44  # bits of a weight before the point
MOST_OFF = 20  # bits of a number of units that a coefficient is off by
MOST_TERMS = 512  # products that 64 bits add up
EXACT = 53  # integers below 2^EXACT are doubles


def overflow(what: str) -> CertificateRejected:
    return CertificateRejected(
        "fixed point", f"{what} too large for the numbers of bits that the evidence asks for"
    )


@dataclass(frozen=True, slots=True, eq=False)
class Weights:
    """A matrix (n, m) as integers over 2^shift, in parts of `width` bits, the lowest first, each in
    doubles; rounded: whether entries were rounded, by at most one half."""

    parts: tuple[np.ndarray, ...]
    width: int
    shift: int
    rounded: bool
    shape: tuple[int, int]


class Fixed:
    """Arithmetic over 2^-bits. "unit" is 2^-bits. A value is an int64 array below 2^52."""

    dtype = np.dtype(np.int64)

    def __init__(self, bits: int):
        if not 8 <= bits <= 44:
            raise CertificateRejected("fixed point", f"{bits} bits, 8 to 44 are possible")
        self.bits = bits
        self.infinity = (1 << WIDE) - 1
        self.known: dict[tuple[str, bool], tuple[np.ndarray, np.ndarray]] = {}

    def rounded(self, value: Exact, *, up: bool) -> np.ndarray:
        """Exact numbers as values, outward."""
        over = value.numerator << self.bits
        found = -((-over) // value.denominator) if up else over // value.denominator
        return self.kept(np.asarray(found, dtype=object))

    def kept(self, value: np.ndarray) -> np.ndarray:
        """The value, when it is small enough to compute with."""
        if value.size and (value.max() > self.infinity or value.min() < -self.infinity):
            raise overflow("a number is")
        return value.astype(np.int64, copy=False)

    def bounded(self, bounds: np.ndarray) -> None:
        """Bounds that began at `infinity` have all become smaller: none was clipped to it."""
        if bounds.size and (bounds.max() >= self.infinity or bounds.min() <= -self.infinity):
            raise overflow("a bound is")

    def total(self, sizes: np.ndarray) -> np.ndarray:
        """Sums (R,) of rows (R, n) of numbers >= 0."""
        if sizes.size and int(sizes.max()) * sizes.shape[1] >> 62:
            raise overflow("a sum is")
        return np.asarray(sizes.sum(axis=1))

    def weights(self, matrix: ExactSparse) -> Weights:
        """A matrix prepared for products from the left: coefficients (R, n) @ (n, m)."""
        n, m = matrix.shape
        denominator = matrix.denominator
        power = (denominator & -denominator).bit_length() - 1
        largest = max((abs(int(v)) for v in matrix.data), default=0)
        size = max(0, (largest // denominator).bit_length())
        if size > MOST_SIZE:
            raise overflow("a weight is")
        dyadic = denominator == 1 << power
        shift = power if dyadic and power + size <= MOST_WEIGHT else MOST_WEIGHT - size
        shift = max(0, min(shift, 62))
        doubled = (matrix.data << (shift + 1)) // denominator if len(matrix.data) else matrix.data
        whole = (doubled + 1) >> 1  # nearest, ties up
        rounded = not (dyadic and shift == power)
        dense = np.zeros((n, m), dtype=np.int64)
        dense[matrix.row_numbers(), matrix.columns] = whole.astype(np.int64)
        width = EXACT - PART - (n - 1).bit_length()
        if width < 4:
            raise overflow("a layer is")
        sign, left = np.sign(dense), np.abs(dense)
        parts: list[np.ndarray] = []
        while left.any() or not parts:
            parts.append((sign * (left & ((1 << width) - 1))).astype(np.float64))
            left = left >> width
        return Weights(tuple(parts), width, shift, rounded, (n, m))

    def rows(self, matrix: ExactSparse) -> np.ndarray:
        """A matrix as rows of coefficients, each off by less than a unit."""
        dense = np.zeros(matrix.shape, dtype=object)
        dense[matrix.row_numbers(), matrix.columns] = (
            (matrix.data << self.bits) // matrix.denominator if len(matrix.data) else matrix.data
        )
        return self.kept(dense)

    def product(self, left: np.ndarray, right: Weights) -> tuple[np.ndarray, np.ndarray]:
        """left (R, n) times a matrix: (R, m), and how many units each entry of a row may be off."""
        left = self.kept(left)
        high, low = left >> PART, left & ((1 << PART) - 1)
        halves = (low.astype(np.float64), high.astype(np.float64))
        total = np.zeros((len(left), right.shape[1]), dtype=np.int64)
        terms = 0
        for i, part in enumerate(right.parts):
            for j, half in enumerate(halves):
                exact = (half @ part).astype(np.int64)
                total += self.shifted(exact, i * right.width + j * PART - right.shift)
                terms += 1
        off = np.full(len(left), terms, dtype=np.int64)
        if right.rounded:
            sizes = self.kept(self.total(np.abs(left)))
            off += (sizes >> (right.shift + 1)) + 1
        if off.size and int(off.max()) >> MOST_OFF:
            raise overflow("an error is")
        return self.kept(total), off

    def shifted(self, value: np.ndarray, by: int) -> np.ndarray:
        """value * 2^by, rounded down by less than one; where by > 0, below 2^56, so that some
        dozens of them add up."""
        if by <= 0:
            return value >> min(-by, 63)
        if value.size and int(np.abs(value).max()) >> max(0, 56 - by):
            raise overflow("a product is")
        return value << by

    def times(self, left: np.ndarray, slope: np.ndarray) -> np.ndarray:
        """Coefficients times slopes (integers over 2^SLOPE, below 2^STEEPEST): too small, by less
        than two units."""
        left = self.kept(left)
        high, low = left >> PART, left & ((1 << PART) - 1)
        return ((high * slope) >> (SLOPE - PART)) + ((low * slope) >> SLOPE)

    times_off = 2

    def dot(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """Upper bound of the sum of products along the last axis, in units."""
        if left.shape[-1] > MOST_TERMS:
            total = np.zeros(len(left), dtype=np.int64)
            for at in range(0, left.shape[-1], MOST_TERMS):
                piece = slice(at, at + MOST_TERMS)
                total = self.kept(total + self.dot(left[:, piece], right[:, piece]))
            return total
        left, right = self.kept(left), self.kept(right)
        high, low = left >> PART, left & ((1 << PART) - 1)
        top, rest = right >> PART, right & ((1 << PART) - 1)
        first = np.einsum("rn,rn->r", high, top)
        middle = np.einsum("rn,rn->r", high, rest) + np.einsum("rn,rn->r", low, top)
        last = np.einsum("rn,rn->r", low, rest)
        bits = self.bits
        total = self.shifted(first, WIDE - bits) + self.shifted(middle, PART - bits)
        return total + (last >> bits) + 3

    def slack(self, off: np.ndarray, size: np.ndarray) -> np.ndarray:
        """What coefficients that are off by so many units cost on values whose sizes add up so."""
        if (off.size and int(off.max()) >> MOST_OFF) or (size.size and int(size.max()) >> 58):
            raise overflow("an error is")
        high, low = size >> PART, size & ((1 << PART) - 1)
        return self.shifted(off * high, PART - self.bits) + ((off * low) >> self.bits) + 2

    def slope(self, above: np.ndarray, below: np.ndarray) -> np.ndarray:
        """above / below for 0 <= above <= below, 0 where below is 0, as a slope: any would do."""
        ratio = above / np.maximum(below, 1)
        return np.clip(np.round(ratio * (1 << SLOPE)), 0, 1 << SLOPE).astype(np.int64)

    def one(self) -> int:
        """The slope 1."""
        return 1 << SLOPE

    def steep(self, slope: np.ndarray, value: np.ndarray) -> np.ndarray:
        """slope * value, rounded up."""
        return -self.times(-value, slope)

    def scaled(self, value: np.ndarray) -> np.ndarray:
        """Doubles as coefficients, rounded down: for numbers that may be any."""
        found = np.floor(np.ldexp(value, self.bits))
        if found.size and np.abs(found).max() > self.infinity:
            raise overflow("a hint is")
        return found.astype(np.int64)

    def slopes(self, whole: np.ndarray) -> np.ndarray:
        """Integers over 2^SLOPE as slopes."""
        return whole

    def quotient(self, above: np.ndarray, slope: np.ndarray) -> np.ndarray:
        """above / slope for slopes in (0, 1], rounded up; far from zero, nearer to it."""
        most = self.infinity >> SLOPE
        whole, rest = np.clip(above // slope, -most, most), above % slope
        return (whole << SLOPE) - (-(rest << SLOPE) // slope)

    def coarse(self, value: np.ndarray) -> np.ndarray:
        """A number above the value, on a grid so coarse that doubles give the same."""
        shift = max(0, self.bits - GRID)
        return ((value + int(TIE * (1 << shift)) >> shift) + 1) << shift

    def share(self, value: np.ndarray) -> np.ndarray:
        """Unsigned integers over the largest of their type as slopes between 0 and 1."""
        return (value.astype(np.int64) << SLOPE) // np.iinfo(value.dtype).max

    def middle(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """A value between two values."""
        return (low + high) >> 1

    def least(self) -> int:
        """The smallest difference of values."""
        return 1

    def integral(self, parts: list[ExactSparse]) -> tuple[list[np.ndarray], int]:
        """Matrices as integers without a limit, over one denominator."""
        unit = math.lcm(*(part.denominator for part in parts))
        found = []
        for part in parts:
            dense = np.zeros(part.shape, dtype=object)
            dense[part.row_numbers(), part.columns] = part.data * (unit // part.denominator)
            found.append(dense)
        return found, unit

    def floored(self, above: np.ndarray, below: int) -> np.ndarray:
        """Integers without a limit over one divisor, rounded down, as values."""
        return self.kept(np.asarray(above // below, dtype=object))

    # --- curves -----------------------------------------------------------------------------------

    def whole(self) -> int:
        """The number 1 as a value."""
        return 1 << self.bits

    def floor(self, value: np.ndarray) -> np.ndarray:
        """The largest integer that is not larger."""
        return (value >> self.bits) << self.bits

    def number(self, value: np.ndarray) -> np.ndarray:
        """A value in doubles, nearly: for choices that need no proof."""
        return value / float(1 << self.bits)

    def number_of_slope(self, slope: np.ndarray) -> np.ndarray:
        """A slope in doubles, nearly."""
        return slope / float(1 << SLOPE)

    def near(self, number: np.ndarray) -> np.ndarray:
        """A node near a double."""
        most = float(1 << WIDE - 1 - self.bits)
        number = np.clip(np.nan_to_num(number), -most, most)
        below, _ = self.nodes(*(np.round(number * (1 << self.bits)).astype(np.int64),) * 2)
        return below

    def inclined(self, number: np.ndarray) -> np.ndarray:
        """A slope near a double."""
        most = float((1 << STEEPEST) - 1)
        return np.clip(np.round(np.nan_to_num(number) * (1 << SLOPE)), -most, most).astype(np.int64)

    def nodes(self, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The next multiple of 2^-NODE not above `low`, and that not below `high`."""
        shift = max(0, self.bits - NODE)
        return (low >> shift) << shift, -((-high >> shift) << shift)

    def curve(self, name: str, node: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Values below and above a smooth function."""
        low, high = self.looked_up(name, node, rate=False)
        return self.kept(low), self.kept(high)

    def rate(self, name: str, node: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Slopes below and above its derivative."""
        low, high = self.looked_up(name, node, rate=True)
        if low.size and max(-int(low.min()), int(high.max())) >> STEEPEST:
            raise overflow(f"a slope of {name} is")
        return low, high

    def looked_up(self, name: str, node: np.ndarray, *, rate: bool) -> tuple[np.ndarray, ...]:
        """Integers around phi or phi' at values, from a table that grows with what is asked."""
        smooth = SMOOTH[name]
        ball, bits = (smooth.ball_rate, SLOPE) if rate else (smooth.ball, self.bits)
        points, inverse = np.unique(node, return_inverse=True)
        held, ends = self.known.get((name, rate), (points[:0], np.zeros((0, 2), dtype=np.int64)))
        new = points[~np.isin(points, held, assume_unique=True)]
        if len(new):
            try:
                more = [enclosed(ball, point, self.bits, bits) for point in new.tolist()]
            except ValueError:
                raise overflow(f"a value of {name} is") from None
            held, ends = np.concatenate((held, new)), np.concatenate((ends, np.array(more)))
            order = np.argsort(held)
            held, ends = held[order], ends[order]
            self.known[name, rate] = held, ends
        found = ends[np.searchsorted(held, points)][inverse.reshape(node.shape)]
        return found[..., 0], found[..., 1]
