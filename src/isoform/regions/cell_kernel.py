# SPDX-License-Identifier: Apache-2.0
"""The cell of a node, compiled: its walls, the box around it, a point strictly inside it."""

from __future__ import annotations

import numpy as np
from numba import njit

from isoform.regions.compiled import UNIT
from isoform.regions.simplex_kernel import Array, climb, gaps, proved_below, ratio_test
from isoform.regions.splitting_state import BOX, CODES, IDS, PROGRAMS, ROWS, Output, State


@njit(cache=True)
def add_wall(S: State, m0: int, unit: int, side: int) -> bool:
    """The half-space side * z >= 0 joins the path, and the box shrinks. False: no room."""
    A, forms = S.A, S.forms
    r = S.at[ROWS]
    if r >= A.shape[1]:
        return False
    length = S.norm[unit]
    scale = -side / length
    for c in range(len(A)):
        A[c, r] = forms[1 + c, unit] * scale
    S.b[r] = -forms[0, unit] * scale
    drift = (forms[-1, unit] + 4 * UNIT * forms[-2, unit]) / length
    S.drift[r] = drift
    S.ids[r] = m0 + unit
    S.at[ROWS] = r + 1
    tighten(A, S.b[r] + drift + 1e-12, S.low, S.high, S.try_x, r)
    return True


@njit(cache=True)
def tighten(A: Array, bound: float, low: Array, high: Array, new: Array, r: int) -> None:
    """The box of the cell below a_r . x <= bound, every coordinate from the box before."""
    room = bound  # of a_c x_c over its own least value
    for c in range(len(low)):
        a = A[c, r]
        room -= a * low[c] if a > 0 else a * high[c]
    for c in range(len(low)):
        a = A[c, r]
        if a > 1e-12:
            high[c] = min(high[c], low[c] + room / a + 1e-12)
        elif a < -1e-12:
            new[c] = max(low[c], high[c] + room / a - 1e-12)
    for c in range(len(low)):
        if A[c, r] < -1e-12:
            low[c] = new[c]


@njit(cache=True)
def copy_vertex(S: State) -> None:
    """try_* becomes the node's vertex."""
    a, b = S.inverse, S.try_inverse
    for i in range(len(a)):
        S.try_x[i] = S.x[i]
        S.try_basis[i] = S.basis[i]
        for j in range(len(a)):
            b[i, j] = a[i, j]


@njit(cache=True)
def keep_vertex(S: State) -> None:
    """The node's vertex becomes try_*."""
    a, b = S.inverse, S.try_inverse
    for i in range(len(a)):
        S.x[i] = S.try_x[i]
        S.basis[i] = S.try_basis[i]
        for j in range(len(a)):
            a[i, j] = b[i, j]


@njit(cache=True)
def climbed(S: State, constant: float, stop: float) -> int:
    """`climb` from try_*, along S.objective."""
    S.at[PROGRAMS] += 1
    return climb(
        S.A, S.b, S.gap, S.rate, S.objective, S.multiplier, S.try_x, S.try_basis, S.try_inverse,
        constant, stop, S.at[ROWS],
    )


@njit(cache=True)
def bound_of_climb(S: State, constant: float, error: float) -> float:
    """`proved_below` by the basis try_*."""
    return proved_below(
        S.A, S.b, S.drift, S.objective, S.multiplier, S.try_basis, S.low, S.high, constant, error
    )


@njit(cache=True)
def emit_basis(ids: Array, at: Array, names: Array, basis: Array) -> None:
    for i in range(len(basis)):
        ids[at[IDS]] = names[basis[i]]
        at[IDS] += 1


@njit(cache=True)
def refresh_box(S: State, out: Output) -> None:
    """The box of the cell by a linear programme for every face, each bound proved."""
    k = len(S.x)
    low, high, at, objective = S.low, S.high, S.at, S.objective
    mask, place = 0, at[IDS]
    at[IDS] += 1
    for face in range(2 * k):
        c, side = face // 2, 1.0 if face % 2 else -1.0
        copy_vertex(S)
        for i in range(k):
            objective[i] = 0.0
        objective[c] = side
        if climbed(S, 0.0, np.inf) != 0:
            continue
        bound = bound_of_climb(S, 0.0, 0.0) + 1e-12
        if side > 0 and bound < high[c]:
            high[c] = bound
        elif side < 0 and -bound > low[c]:
            low[c] = -bound
        else:
            continue
        mask |= 1 << face
        emit_basis(out.ids, at, S.ids, S.try_basis)
    if mask:
        out.ids[place] = mask
        out.codes[at[CODES]] = BOX
        at[CODES] += 1
    else:
        at[IDS] = place


@njit(cache=True)
def inside(A: Array, b: Array, drift: Array, rows: int, point: Array) -> bool:
    """Whether a point is certainly strictly inside every half-space of the path."""
    k = len(point)
    for r in range(rows):
        room, size = b[r], abs(b[r])
        for c in range(k):
            term = A[c, r] * point[c]
            room -= term
            size += abs(term)
        if not room > drift[r] + (k + 3) * UNIT * size:
            return False
    return True


@njit(cache=True)
def middle(S: State, point: Array) -> bool:
    """The mean of the vertex and its k neighbours; certainly strictly inside, or False."""
    A, gap, rate, basis, inverse = S.A, S.gap, S.rate, S.basis, S.inverse
    k, rows = len(S.x), S.at[ROWS]
    gaps(A, S.b, gap, S.x, rows)
    for c in range(k):
        point[c] = S.x[c]
    for i in range(k):
        entering, step = ratio_test(A, gap, rate, basis, inverse, i, rows, True)
        if entering < 0 or step < 1e-12:
            return False
        for c in range(k):
            point[c] -= step * inverse[c, i] / (k + 1)
    return inside(A, S.b, S.drift, rows, point)


@njit(cache=True)
def spread_middle(S: State, point: Array) -> bool:
    """The mean of vertices that leave every half-space with the least gap; for degenerate
    vertices."""
    A, b = S.A, S.b
    k, rows = len(S.x), S.at[ROWS]
    total = S.x.copy()
    count = 1
    for _ in range(4 * k + 4):
        for c in range(k):
            point[c] = total[c] / count
        if inside(A, b, S.drift, rows, point):
            return True
        tight, least = -1, np.inf
        for r in range(rows):
            gap = b[r]
            for c in range(k):
                gap -= A[c, r] * point[c]
            if gap < least:
                tight, least = r, gap
        copy_vertex(S)
        for c in range(k):
            S.objective[c] = -A[c, tight]
        if climbed(S, 0.0, np.inf) != 0:
            return False
        total += S.try_x
        count += 1
    return False
