# SPDX-License-Identifier: Apache-2.0
"""Smooth real functions of one number: values and derivatives, enclosed and in doubles.

Every function here is convex below one point and concave above it (`bend`; the point may be
infinitely far), so its derivative rises up to there and falls from there. `enclosed` gives integers
around a value at a dyadic point by flint's ball arithmetic (Arb); doubles serve as hints.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import flint
import numpy as np

SPARE = 40  # bits of working precision beyond those of the point and of the result
LARGEST = 62  # bits of an integer that an enclosure gives
Reals = Callable[[np.ndarray], np.ndarray]
Ball = Callable[[flint.arb], flint.arb]


@dataclass(frozen=True, slots=True)
class Smooth:
    """A function phi and its derivative (`rate`). bend, 0 or infinite: phi is convex below it and
    concave above. positive: taken for positive numbers only."""

    value: Reals
    rate: Reals
    ball: Ball
    ball_rate: Ball
    bend: float
    positive: bool = False


def logistic(z: np.ndarray) -> np.ndarray:
    return 0.5 + 0.5 * np.tanh(z / 2)


def error_function(z: np.ndarray) -> np.ndarray:
    from scipy.special import erf

    return erf(z)


def logistic_ball(z: flint.arb) -> flint.arb:
    return 1 / (1 + (-z).exp())


SMOOTH = {
    "sigmoid": Smooth(
        logistic, lambda z: logistic(z) * logistic(-z), logistic_ball,
        lambda z: logistic_ball(z) * logistic_ball(-z), bend=0.0,
    ),
    "tanh": Smooth(
        np.tanh, lambda z: 4 * logistic(2 * z) * logistic(-2 * z), lambda z: z.tanh(),
        lambda z: 4 * logistic_ball(2 * z) * logistic_ball(-2 * z), bend=0.0,
    ),
    "erf": Smooth(
        error_function, lambda z: np.exp(-z * z) * (2 / math.sqrt(math.pi)), lambda z: z.erf(),
        lambda z: 2 * (-z * z).exp() / flint.arb.pi().sqrt(), bend=0.0,
    ),
    "softplus": Smooth(
        lambda z: np.logaddexp(z, 0), logistic, lambda z: (1 + z.exp()).log(), logistic_ball,
        bend=math.inf,
    ),
    "exp": Smooth(np.exp, np.exp, lambda z: z.exp(), lambda z: z.exp(), bend=math.inf),
    "log": Smooth(
        np.log, lambda z: 1 / z, lambda z: z.log(), lambda z: 1 / z, bend=-math.inf, positive=True,
    ),
    "sqrt": Smooth(
        np.sqrt, lambda z: 0.5 / np.sqrt(z), lambda z: z.sqrt(), lambda z: 1 / (2 * z.sqrt()),
        bend=-math.inf, positive=True,
    ),
    "reciprocal": Smooth(
        lambda z: 1 / z, lambda z: -1 / (z * z), lambda z: 1 / z, lambda z: -1 / (z * z),
        bend=math.inf, positive=True,
    ),
}


def enclosed(ball: Ball, point: int, shift: int, bits: int) -> tuple[int, int]:
    """Integers low <= 2^bits ball(point / 2^shift) <= high. ValueError where the ball is infinite
    or an integer longer than 62 bits."""
    with flint.ctx.workprec(bits + SPARE + 2 * point.bit_length()):
        y = ball(flint.arb((point, -shift))) * flint.arb((1, bits))
        if not y.is_finite() or not abs(y) < flint.arb((1, LARGEST)):
            raise ValueError("a value of a function is too large")
        low, high = y.lower().floor().unique_fmpz(), y.upper().ceil().unique_fmpz()
        if low is None or high is None:
            raise ValueError("a value of a function is not enclosed")
        return int(low), int(high)
