# SPDX-License-Identifier: Apache-2.0
"""The simplex method from a known vertex, compiled, and bounds that its multipliers prove.

A cell is {x : A x <= b} with unit normals inside [-1, 1]^k; a vertex is a basis of k rows with its
inverse. Nothing here is trusted: what an optimum claims is proved by `proved_below`, with all
rounding counted, or left to exact arithmetic.

Arrays: A (k, most) holds the half-spaces by columns, b, gap, rate (most,); of these the first
`rows` count. x (k,), basis (k,) places in A, inverse (k, k); objective, multiplier (k,). They are
handed over one by one: a tuple of them costs more per call than the arithmetic.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from isoform.regions.compiled import UNIT
from isoform.regions.splitting_state import PIVOT

Array = np.ndarray


@njit(cache=True)
def gaps(A: Array, b: Array, gap: Array, x: Array, rows: int) -> None:
    """gap = b - A x, never below 0."""
    for r in range(rows):
        gap[r] = b[r]
    for c in range(len(x)):
        v = x[c]
        for r in range(rows):
            gap[r] -= A[c, r] * v
    for r in range(rows):
        gap[r] = max(gap[r], 0.0)


@njit(cache=True)
def ratio_test(
    A: Array, gap: Array, rate: Array, basis: Array, inverse: Array, leaving: int, rows: int,
    bland: bool,
) -> tuple[int, float]:
    """(entering row, step) along the edge that leaves row `leaving` of the basis; -1: unbounded.
    `rate` holds the rates afterwards."""
    k = len(basis)
    for r in range(rows):
        rate[r] = 0.0
    for c in range(k):
        d = -inverse[c, leaving]
        for r in range(rows):
            rate[r] += A[c, r] * d
    for i in range(k):
        rate[basis[i]] = 0.0
    entering, step = -1, np.inf
    for r in range(rows):
        if rate[r] > PIVOT and gap[r] < step * rate[r]:
            entering, step = r, gap[r] / rate[r]
    if not bland and entering >= 0:  # among ties the steepest row: stable pivots
        best, limit = rate[entering], step + 1e-13
        for r in range(rows):
            if rate[r] > best and gap[r] <= limit * rate[r]:
                entering, best = r, rate[r]
    return entering, step


@njit(cache=True)
def exchange(
    A: Array, gap: Array, rate: Array, x: Array, basis: Array, inverse: Array, leaving: int,
    entering: int, step: float, rows: int,
) -> None:
    """Move along the edge and bring the entering row into the basis (product form)."""
    k = len(x)
    for c in range(k):
        x[c] -= step * inverse[c, leaving]
    for r in range(rows):
        gap[r] = max(gap[r] - step * rate[r], 0.0)
    gap[basis[leaving]] = step
    gap[entering] = 0.0
    pivot = 0.0
    for c in range(k):
        pivot += A[c, entering] * inverse[c, leaving]
    for c in range(k):
        inverse[c, leaving] /= pivot
    for i in range(k):
        if i != leaving:
            v = 0.0
            for c in range(k):
                v += A[c, entering] * inverse[c, i]
            for c in range(k):
                inverse[c, i] -= v * inverse[c, leaving]
    basis[leaving] = entering


@njit(cache=True)
def refactor(A: Array, b: Array, x: Array, basis: Array, inverse: Array) -> bool:
    """Recompute inverse and point from the basis; False if it is singular."""
    k = len(x)
    square = np.empty((k, k))
    for i in range(k):
        for c in range(k):
            square[i, c] = A[c, basis[i]]
    if abs(np.linalg.det(square)) < 1e-14:
        return False
    inverse[:] = np.linalg.inv(square)
    for c in range(k):
        x[c] = 0.0
        for i in range(k):
            x[c] += inverse[c, i] * b[basis[i]]
    return True


@njit(cache=True)
def priced(
    objective: Array, multiplier: Array, basis: Array, inverse: Array, bland: bool
) -> int:
    """The multipliers of the objective; the basis place to leave, -1 at an optimum."""
    k = len(basis)
    leaving, worst = -1, -1e-10
    for i in range(k):
        y = 0.0
        for c in range(k):
            y += objective[c] * inverse[c, i]
        multiplier[i] = y
        if bland:
            if y < -1e-10 and (leaving < 0 or basis[i] < basis[leaving]):
                leaving = i
        elif y < worst:
            leaving, worst = i, y
    return leaving


@njit(cache=True)
def climb(
    A: Array, b: Array, gap: Array, rate: Array, objective: Array, multiplier: Array, x: Array,
    basis: Array, inverse: Array, constant: float, stop: float, rows: int,
) -> int:
    """Maximise constant + objective . x from a vertex: 1 once it exceeds `stop`, 0 at an optimum
    (with its multipliers), -1 when the search fails."""
    k = len(x)
    gaps(A, b, gap, x, rows)
    for pivots in range(400 + 20 * k):
        bland = pivots > 50
        leaving = priced(objective, multiplier, basis, inverse, bland)
        if leaving < 0:
            return 0
        entering, step = ratio_test(A, gap, rate, basis, inverse, leaving, rows, bland)
        if entering < 0:
            return -1
        exchange(A, gap, rate, x, basis, inverse, leaving, entering, step, rows)
        if pivots % 50 == 49:
            if not refactor(A, b, x, basis, inverse):
                return -1
            gaps(A, b, gap, x, rows)
        value = constant
        for c in range(k):
            value += objective[c] * x[c]
        if value > stop:
            return 1
    return -1


@njit(cache=True)
def proved_below(
    A: Array, b: Array, drift: Array, objective: Array, multiplier: Array, basis: Array,
    low: Array, high: Array, constant: float, error: float,
) -> float:
    """A certain upper bound of constant + objective . x on the cell, from the multipliers (negative
    ones become 0): what they leave of the objective is bounded over the box low..high."""
    k = len(basis)
    total, size = constant, abs(constant)
    for i in range(k):
        y = max(multiplier[i], 0.0)
        multiplier[i] = y
        total += y * b[basis[i]]
        size += y * abs(b[basis[i]])
        error += y * drift[basis[i]]
    for c in range(k):
        rest, around = objective[c], abs(objective[c])
        for i in range(k):
            term = multiplier[i] * A[c, basis[i]]
            rest -= term
            around += abs(term)
        error += (abs(rest) + (k + 3) * UNIT * around) * max(abs(low[c]), abs(high[c]))
    return total + (error + (k + 4) * UNIT * size) * (1 + 1e-9)
