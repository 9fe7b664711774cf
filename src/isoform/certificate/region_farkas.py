# SPDX-License-Identifier: Apache-2.0
"""Conclusions from half-spaces: exact, of integers; and floats that propose multipliers.

A row (b, a_1..a_k) of integers is the half-space {a.u <= b}. A non-negative combination of rows
that hold on a cell holds on it too (Farkas). Boxes are integers in units of 2^-96.
"""

from __future__ import annotations

import flint
import numpy as np

from isoform.certificate.arrays import malformed
from isoform.numerics.exact import Exact, integers, longest

GRID = 96
LARGEST = 1000  # bits of an integer that a double can hold
DIGITS = 53  # bits of a double


def scaled_floats(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """rows (T, n) of integers as floats about 2^-exponent rows, the largest near 1; exponent (T,).
    Only for proposals."""
    extra = np.zeros(len(rows), dtype=np.int64)
    if longest(rows) > LARGEST:  # each row by itself: beside long ones there may be short ones
        extra += [max(0, longest(row) - LARGEST) for row in rows]
        rows = rows >> extra.astype(object)[:, None]
    near = rows.astype(np.float64)
    exponent = np.frexp(np.abs(near).max(axis=1))[1].astype(np.int64)
    return np.ldexp(near, -exponent[:, None]), exponent + extra


def scaled_whole(values: np.ndarray, exponent: np.ndarray) -> np.ndarray:
    """Integers near 2^exponent values, however large; 0 for what is no number."""
    mantissa, lift = np.frexp(np.where(np.isfinite(values), values, 0.0))
    whole = np.rint(mantissa * 2.0**DIGITS).astype(np.int64).astype(object)
    lift = lift + exponent - DIGITS
    up, down = np.maximum(lift, 0).astype(object), np.maximum(-lift, 0).astype(object)
    return np.asarray((whole << up) >> down, dtype=object)


def solved(matrices: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Solutions (T, k) of square systems in floats; zeros where there is none."""
    try:
        return np.asarray(np.linalg.solve(matrices, right[:, :, None])[:, :, 0])
    except np.linalg.LinAlgError:
        if len(matrices) == 1:
            return np.zeros_like(right)
    half = len(matrices) // 2
    return np.concatenate((solved(matrices[:half], right[:half]),
                           solved(matrices[half:], right[half:])))


def nearest(matrices: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Numbers y (T, k) >= 0 with A y near the right side: least squares, again and again without
    the columns whose numbers are negative."""
    found = np.zeros_like(right)
    for y, matrix, goal in zip(found, matrices, right, strict=True):
        kept = np.arange(len(y))
        while len(kept):
            try:
                some = np.linalg.lstsq(matrix[:, kept], goal, rcond=None)[0]
            except np.linalg.LinAlgError:
                break
            if np.all(some >= 0):
                y[kept] = some
                break
            kept = kept[some >= 0]
    return found


def on_box(rows: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Whether b - a.u >= 0 for all u of a box: rows (T, 1 + k), boxes (T, k) on the grid."""
    a = rows[:, 1:]
    most = np.maximum(a * low, a * high).sum(axis=1)
    return np.asarray((rows[:, 0] << GRID) >= most, dtype=bool)


def tightened(low: list[int], high: list[int], row: list[int]) -> tuple[list[int], list[int]]:
    """A box around the part of a box where a.u <= b: every end from the old ends of the others."""
    a = row[1:]
    least = [
        c * (x if c > 0 else y) for c, x, y in zip(a, low, high, strict=True)
    ]
    gap = (row[0] << GRID) - sum(least)
    low, high = low.copy(), high.copy()
    for i, c in enumerate(a):
        if c > 0:
            high[i] = min(high[i], -(-(gap + least[i]) // c))
        elif c < 0:
            low[i] = max(low[i], (gap + least[i]) // c)
    return low, high


def beyond(total: list[int], low: list[int], high: list[int], shift: int) -> int:
    """The largest (b + r.u) / 2^shift on a box, rounded up to the grid."""
    most = (total[0] << GRID) + sum(
        r * (y if r > 0 else x) for r, x, y in zip(total[1:], low, high, strict=True)
    )
    return -(-most >> shift)


def implied(rows: np.ndarray, target: np.ndarray) -> bool:
    """Whether the exact multipliers y of k rows, y A = a, are >= 0 with y b <= the target's b."""
    k = len(rows)
    matrix = flint.fmpz_mat(k, k, rows[:, 1:].T.ravel().tolist())
    try:
        y = matrix.solve(flint.fmpz_mat(k, 1, target[1:].tolist())).entries()
    except ZeroDivisionError:
        return False
    bound = sum((v * b for v, b in zip(y, rows[:, 0].tolist(), strict=True)), flint.fmpq(0))
    return all(v >= 0 for v in y) and bool(bound <= target[0])


def no_interior(rows: np.ndarray) -> bool:
    """Whether the k + 1 half-spaces have no common interior, by the multipliers y >= 0 with
    y A = 0 (unique up to a factor where the rows have rank k) and y b <= 0; a row 0 <= 0 says
    nothing."""
    k = len(rows) - 1
    kernel, _ = flint.fmpz_mat(k, k + 1, rows[:, 1:].T.ravel().tolist()).nullspace()
    y = [int(kernel[i, 0]) for i in range(k + 1)]
    if min(y) < 0:
        y = [-v for v in y]
    bound = sum(v * b for v, b in zip(y, rows[:, 0].tolist(), strict=True))
    strict = any(v and any(row) for v, row in zip(y, rows[:, 1:].tolist(), strict=True))
    return min(y) >= 0 and (bound < 0 or (bound == 0 and strict))


def whole_points(points: np.ndarray, fine: list[tuple[int, Exact]]) -> np.ndarray:
    """Points (R, k) as rows (denominator, -numerators) of integers."""
    exact = Exact.of(points)
    made = np.concatenate(
        (integers([exact.denominator] * len(points), (len(points), 1)), -exact.numerator), axis=1
    )
    for number, point in fine:
        if point.shape != points.shape[1:]:
            raise malformed(f"an exact point of shape {point.shape}")
        made[number] = integers([point.denominator, *(-point.numerator).tolist()], made.shape[1:])
    return made
