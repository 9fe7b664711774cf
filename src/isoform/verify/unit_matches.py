# SPDX-License-Identifier: Apache-2.0
"""Which units of two networks resemble each other at sample points, and by which factor: a
minimum-cost assignment."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

ALIKE = 0.3  # largest distance of signatures, relative to the longer, of a pair worth following
MOST_PAIRS = 1 << 22  # of units, between two layers; larger layers are paired by order
NEAR_ONE = 2.0**-6  # factors this near to 1 are 1
Match = tuple[np.ndarray, np.ndarray, np.ndarray]  # units of both, and ratios


def distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Relative distance of each column of a from that of b."""
    size = np.maximum(np.linalg.norm(a, axis=0), np.linalg.norm(b, axis=0))
    return np.linalg.norm(a - b, axis=0) / np.where(size > 0, size, 1)


def matched(
    a: np.ndarray, b: np.ndarray, one: str, two: str
) -> Match:
    """Columns of a and of b that resemble each other, with the ratio b / a > 0."""
    from scipy.optimize import linear_sum_assignment

    none = np.zeros(0, dtype=np.int64)
    if one != two or a.shape[1] * b.shape[1] > MOST_PAIRS:
        return none, none, np.zeros(0)
    norms = [np.linalg.norm(part, axis=0) for part in (a, b)]
    unit = [part / np.where(norm > 0, norm, 1) for part, norm in zip((a, b), norms, strict=True)]
    cost = 1 - unit[0].T @ unit[1]  # half the squared distance of the normalised columns
    rows, columns = linear_sum_assignment(np.where(np.isfinite(cost), cost, 2))
    near = cost[rows, columns] < ALIKE**2 / 2
    rows, columns = rows[near], columns[near]
    ratio = norms[1][columns] / norms[0][rows] if one == "relu" else np.ones(len(rows))
    if one != "relu":
        close = distances(a[:, rows], b[:, columns]) < ALIKE
        rows, columns, ratio = rows[close], columns[close], ratio[close]
    return rows, columns, ratio


def factor(ratio: float) -> Fraction | int:
    """A short number near a ratio: 1, a power of two where it is one, else twelve bits."""
    if not math.isfinite(ratio) or ratio <= 0 or abs(ratio - 1) < NEAR_ONE:
        return 1
    mantissa, exponent = math.frexp(ratio)
    if not -60 < exponent < 60:
        return 1
    return Fraction(round(mantissa * 4096), 4096) * Fraction(2) ** exponent
