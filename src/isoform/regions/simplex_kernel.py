# SPDX-License-Identifier: Apache-2.0
"""The simplex method from a known vertex, compiled, and bounds that its multipliers prove.

A cell is {x : A x <= b} with unit normals inside [-1, 1]^k; a vertex is a basis of k rows with its
inverse. Nothing here is trusted: what an optimum claims is proved by `proved_below`, with all
rounding counted, or left to exact arithmetic.

Arrays: walls (k + 4, most) holds the half-spaces by columns, of which the first `rows` count:
normal, bound, drift, and two rows of work space, gap (bound - normal . x) and rate. vertices[w] is
the inverse of the basis with the point below it, bases[w] its places in walls; work is (objective,
multipliers, scratch).
"""

from __future__ import annotations

import numpy as np

from isoform.regions.compiled import UNIT
from isoform.regions.kernel import kernel
from isoform.regions.splitting_state import PIVOT

Array = np.ndarray


@kernel(forceinline=True, inner=True)
def gaps(walls: Array, V: Array, rows: int) -> None:
    """gap = bound - normal . x at the point of V, never below 0."""
    k = V.shape[1]
    for r in range(rows):
        walls[k + 2, r] = walls[k, r]
    for c in range(k):
        v = V[k, c]
        for r in range(rows):
            walls[k + 2, r] -= walls[c, r] * v
    for r in range(rows):
        walls[k + 2, r] = max(walls[k + 2, r], 0.0)


@kernel(forceinline=True, inner=True)
def ratio_test(
    walls: Array, V: Array, basis: Array, leaving: int, rows: int, bland: bool
) -> tuple[int, float]:
    """(entering row, step) along the edge that leaves row `leaving` of the basis; -1: unbounded.
    The rates are left in walls."""
    k = V.shape[1]
    gap, rate = k + 2, k + 3
    for r in range(rows):
        walls[rate, r] = 0.0
    for c in range(k):
        d = -V[c, leaving]
        for r in range(rows):
            walls[rate, r] += walls[c, r] * d
    for i in range(k):
        walls[rate, basis[i]] = 0.0
    entering, step = -1, np.inf
    for r in range(rows):
        if walls[rate, r] > PIVOT and walls[gap, r] < step * walls[rate, r]:
            entering, step = r, walls[gap, r] / walls[rate, r]
    if not bland and entering >= 0:  # among ties the steepest row: stable pivots
        best, limit = walls[rate, entering], step + 1e-13
        for r in range(rows):
            if walls[rate, r] > best and walls[gap, r] <= limit * walls[rate, r]:
                entering, best = r, walls[rate, r]
    return entering, step


@kernel(forceinline=True, inner=True)
def exchange(
    walls: Array, V: Array, basis: Array, leaving: int, entering: int, step: float, rows: int
) -> None:
    """Move along the edge and bring the entering row into the basis (product form)."""
    k = V.shape[1]
    gap, rate = k + 2, k + 3
    for c in range(k):
        V[k, c] -= step * V[c, leaving]
    for r in range(rows):
        walls[gap, r] = max(walls[gap, r] - step * walls[rate, r], 0.0)
    walls[gap, basis[leaving]] = step
    walls[gap, entering] = 0.0
    pivot = 0.0
    for c in range(k):
        pivot += walls[c, entering] * V[c, leaving]
    for c in range(k):
        V[c, leaving] /= pivot
    for i in range(k):
        if i != leaving:
            v = 0.0
            for c in range(k):
                v += walls[c, entering] * V[c, i]
            for c in range(k):
                V[c, i] -= v * V[c, leaving]
    basis[leaving] = entering


@kernel(inline=True)
def largest(M: Array, c: int) -> int:
    """The row, from row c on, with the largest entry in column c."""
    best = c
    for i in range(c + 1, len(M)):
        if abs(M[i, c]) > abs(M[best, c]):
            best = i
    return best


@kernel(inner=True)
def refactor(walls: Array, V: Array, basis: Array) -> bool:
    """Recompute inverse and point from the basis (Gauss-Jordan with pivoting); False if it is
    singular."""
    k = V.shape[1]
    M = np.zeros((k, 2 * k))
    for i in range(k):
        M[i, k + i] = 1.0
        for c in range(k):
            M[i, c] = walls[c, basis[i]]
    for c in range(k):
        best = largest(M, c)
        pivot = M[best, c]
        if abs(pivot) < 1e-12:
            return False
        for j in range(2 * k):
            M[best, j], M[c, j] = M[c, j], M[best, j] / pivot
        for i in range(k):
            factor = M[i, c]
            if i != c and factor != 0.0:
                for j in range(2 * k):
                    M[i, j] -= factor * M[c, j]
    for c in range(k):
        V[k, c] = 0.0
        for i in range(k):
            V[c, i] = M[c, k + i]
            V[k, c] += M[c, k + i] * walls[k, basis[i]]
    return True


@kernel(forceinline=True, inner=True)
def priced(work: Array, V: Array, basis: Array, bland: bool) -> int:
    """The multipliers of the objective; the basis place to leave, -1 at an optimum."""
    k = V.shape[1]
    leaving, worst = -1, -1e-10
    for i in range(k):
        y = 0.0
        for c in range(k):
            y += work[0, c] * V[c, i]
        work[1, i] = y
        if bland:
            if y < -1e-10 and (leaving < 0 or basis[i] < basis[leaving]):
                leaving = i
        elif y < worst:
            leaving, worst = i, y
    return leaving


@kernel(inner=True)
def climb(
    walls: Array, work: Array, vertices: Array, bases: Array, which: int, constant: float,
    stop: float, rows: int,
) -> int:
    """Maximise constant + objective . x from vertex `which`: 1 once it exceeds `stop`, 0 at an
    optimum (with its multipliers), -1 when the search fails."""
    V, basis = vertices[which], bases[which]
    k = V.shape[1]
    gaps(walls, V, rows)
    for pivots in range(400 + 20 * k):
        bland = pivots > 50
        leaving = priced(work, V, basis, bland)
        if leaving < 0:
            return 0
        entering, step = ratio_test(walls, V, basis, leaving, rows, bland)
        if entering < 0:
            return -1
        exchange(walls, V, basis, leaving, entering, step, rows)
        if pivots % 50 == 49:
            if not refactor(walls, V, basis):
                return -1
            gaps(walls, V, rows)
        value = constant
        for c in range(k):
            value += work[0, c] * V[k, c]
        if value > stop:
            return 1
    return -1


@kernel(inner=True)
def proved_below(
    walls: Array, work: Array, basis: Array, box: Array, constant: float, error: float, near: bool
) -> float:
    """A certain upper bound of constant + objective . x on the cell, from the multipliers (negative
    ones become 0): what they leave of the objective is bounded over the box (low, high) where
    `near`, else over [-1, 1]^k, as the checker of certificates does for signs."""
    k = box.shape[1]
    total, size = constant, abs(constant)
    for i in range(k):
        y = max(work[1, i], 0.0)
        work[1, i] = y
        total += y * walls[k, basis[i]]
        size += y * abs(walls[k, basis[i]])
        error += y * walls[k + 1, basis[i]]
    for c in range(k):
        rest, around = work[0, c], abs(work[0, c])
        for i in range(k):
            term = work[1, i] * walls[c, basis[i]]
            rest -= term
            around += abs(term)
        reach = max(abs(box[0, c]), abs(box[1, c])) if near else 1.0
        error += (abs(rest) + (k + 3) * UNIT * around) * reach
    return total + (error + (k + 4) * UNIT * size) * (1 + 1e-9)
