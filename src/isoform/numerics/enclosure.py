# SPDX-License-Identifier: Apache-2.0
"""Pairs of exact tensors low <= value <= high, and rigorous enclosures of named real functions.

Transcendental functions go through flint's ball arithmetic (Arb) at 128 bits; the end points of a
ball are dyadic, so every enclosure is exact on both sides.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import flint
import numpy as np

from isoform.numerics.exact import Exact, as_array, exact_fractions, longest
from isoform.numerics.sparse import ExactSparse

PRECISION = 128
GRID = 256
FAR = 1 << 14  # bits before or after the point beyond which an end of an enclosure is not written
LONGEST = 1 << 17  # bits of a product


@dataclass(frozen=True, slots=True, eq=False)
class Enclosure:
    """All tensors between `low` and `high`, entry by entry."""

    low: Exact
    high: Exact

    @staticmethod
    def of(value: Exact | Enclosure) -> Enclosure:
        return value if isinstance(value, Enclosure) else Enclosure(value, value)

    @property
    def width(self) -> Exact:
        return self.high - self.low


def linear_enclosure(matrix: ExactSparse, value: Enclosure) -> Enclosure:
    """matrix @ value."""
    positive = part_of(matrix, matrix.data > 0)
    negative = part_of(matrix, matrix.data < 0)
    low = positive.times(value.low) + negative.times(value.high)
    return Enclosure(low, positive.times(value.high) + negative.times(value.low))


def part_of(matrix: ExactSparse, keep: np.ndarray) -> ExactSparse:
    """The stored entries where `keep` holds."""
    return ExactSparse.of_triplets(
        matrix.shape, matrix.row_numbers()[keep], matrix.columns[keep], matrix.data[keep],
        matrix.denominator,
    )


def check_length(value: Exact | Enclosure) -> None:
    """ValueError for numbers so long that products of them (squares of squares) have no end."""
    for end in (value.low, value.high) if isinstance(value, Enclosure) else (value,):
        bits = max(end.denominator.bit_length(), longest(end.numerator))
        if bits > LONGEST or bits * end.size > LONGEST << 15:
            raise ValueError(f"{end.size:,} numbers of {bits:,} bits are too long to go on with")


def product_enclosure(left: Enclosure, right: Enclosure) -> Enclosure:
    """Elementwise product."""
    corners = [a * b for a in (left.low, left.high) for b in (right.low, right.high)]
    return Enclosure(extreme(corners, np.minimum), extreme(corners, np.maximum))


def extreme(parts: list[Exact], choose: np.ufunc) -> Exact:
    """Entrywise smallest or largest of exact tensors of one shape."""
    best = parts[0]
    for part in parts[1:]:
        common = best.denominator * part.denominator
        best = Exact(
            as_array(choose(best.numerator * part.denominator, part.numerator * best.denominator)),
            common,
        )
    return best.reduced()


def nearest_integers(value: Exact) -> Exact:
    """The nearest integer of each entry, ties to even: floor(z + 1/2), less one where that is an
    odd number and z + 1/2 was an integer."""
    doubled, unit = 2 * value.numerator + value.denominator, 2 * value.denominator
    above = doubled // unit
    lowered = (doubled % unit == 0) & (above % 2 == 1)
    return Exact(as_array(above - lowered.astype(int)))


def step_enclosure(value: Enclosure) -> Enclosure:
    """[z >= 0] for every z of the enclosure."""
    low = (value.low.numerator >= 0).astype(int).astype(object)
    high = (value.high.numerator >= 0).astype(int).astype(object)
    return Enclosure(as_exact(low), as_exact(high))


def as_exact(array: np.ndarray) -> Exact:
    return Exact(as_array(array))


def opaque_enclosure(name: str, value: Enclosure, group: int = 0) -> Enclosure:
    """The named function of every tensor of the enclosure, entry by entry (softmax: by group,
    axis 0). Raises ValueError where the function is not defined on the whole enclosure."""
    if name == "softmax":
        return softmax_enclosure(value, group)
    low, high = value.low.fractions(), value.high.fractions()
    pairs = [enclose(name, a, b) for a, b in zip(low, high, strict=True)]
    shape = value.low.shape
    return Enclosure(
        exact_fractions([pair[0] for pair in pairs], shape),
        exact_fractions([pair[1] for pair in pairs], shape),
    )


def enclose(name: str, low: Fraction, high: Fraction) -> tuple[Fraction, Fraction]:
    """Exact numbers around f([low, high])."""
    if name == "reciprocal":
        if low <= 0 <= high:
            raise ValueError(f"1/z is not defined on [{low}, {high}]")
        return 1 / high, 1 / low
    if name in ("sin", "cos"):
        return periodic(name, low, high)
    if name == "sqrt" and low < 0 or name == "log" and low <= 0:
        raise ValueError(f"{name} is not defined on [{low}, {high}]")
    return ball(name, low)[0], ball(name, high)[1]  # all others increase


def ball(name: str, point: Fraction) -> tuple[Fraction, Fraction]:
    """End points of Arb's ball around f(point)."""
    with flint.ctx.workprec(PRECISION + 2 * abs(point.numerator.bit_length())):
        x = flint.arb(flint.fmpq(point.numerator, point.denominator))
        match name:
            case "sigmoid":
                y = 1 / (1 + (-x).exp())
            case "softplus":
                y = (1 + x.exp()).log()
            case "exp" | "log" | "sqrt" | "tanh" | "erf" | "sin" | "cos":
                y = getattr(x, name)()
            case _:
                raise ValueError(f"no enclosure for {name}")
        return endpoints(y)


def endpoints(y: flint.arb) -> tuple[Fraction, Fraction]:
    """Dyadic end points of a finite ball."""
    if not y.is_finite():
        raise ValueError("an enclosure is not finite")
    return dyadic(y.lower(), up=False), dyadic(y.upper(), up=True)


def dyadic(point: flint.arb, *, up: bool) -> Fraction:
    """The number that a ball of radius zero holds; one nearer to zero than 2^-FAR is rounded
    outward, for exp(-exp(99)) written out would fill the memory. ValueError beyond 2^FAR."""
    mantissa, exponent = (int(part) for part in point.man_exp())
    top = exponent + mantissa.bit_length()  # |point| < 2^top
    if mantissa and top > FAR:
        raise ValueError(f"a value beyond 2^{FAR} is too long to write")
    if mantissa and top < -FAR:
        return Fraction((mantissa > 0 and up) - (mantissa < 0 and not up), 1 << FAR)
    return Fraction(mantissa) * Fraction(2) ** exponent


def periodic(name: str, low: Fraction, high: Fraction) -> tuple[Fraction, Fraction]:
    """Sine and cosine have slope at most 1: the middle's value, give or take half the width."""
    middle, half = (low + high) / 2, (high - low) / 2
    a, b = ball(name, middle)
    return max(Fraction(-1), a - half), min(Fraction(1), b + half)


def softmax_enclosure(value: Enclosure, group: int) -> Enclosure:
    """softmax_i = 1 / sum_j exp(z_j - z_i); it grows with z_i and falls with the others."""
    low, high = value.low.numerator, value.high.numerator
    shape = low.shape
    results: list[list[Fraction]] = [[], []]
    lows = Exact(low, value.low.denominator).fractions()
    highs = Exact(high, value.high.denominator).fractions()
    columns = 1 if len(shape) == 1 else shape[1]
    for flat in range(len(lows)):
        row, column = divmod(flat, columns)
        first = row - row % group
        others = [r * columns + column for r in range(first, first + group) if r != row]
        for side, (mine, theirs) in enumerate(((lows, highs), (highs, lows))):
            with flint.ctx.workprec(PRECISION):
                total = flint.arb(1)
                for j in others:
                    gap = theirs[j] - mine[flat]
                    total += flint.arb(flint.fmpq(gap.numerator, gap.denominator)).exp()
                results[side].append(on_grid(endpoints(1 / total)[side], up=side == 1))
    return Enclosure(exact_fractions(results[0], shape), exact_fractions(results[1], shape))


def on_grid(value: Fraction, *, up: bool) -> Fraction:
    """The next multiple of 2^-GRID, outward: tiny probabilities would need long denominators."""
    scaled = value.numerator << GRID
    whole = -(-scaled // value.denominator) if up else scaled // value.denominator
    return Fraction(whole, 1 << GRID)
