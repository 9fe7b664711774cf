# SPDX-License-Identifier: Apache-2.0
"""Depth-first splitting over units, compiled: one simplex vertex a node, no phase 1.

A node is a prefix of signs, the half-spaces of its split units, a feasible vertex of the cell (its
basis, inverse and point) and a box around the cell. A unit is decided by the first that applies:
the box, a parallel earlier unit, or a linear programme from the vertex which ends at a point where
the unit has the other sign (the node splits, and both children have a vertex) or at an optimum
whose multipliers, with all rounding counted, prove the sign. What floats do not decide is handed to
the caller, who answers in exact arithmetic.
"""

from __future__ import annotations

from numba import njit

from isoform.regions.cell_kernel import (
    add_wall,
    bound_of_climb,
    climbed,
    copy_vertex,
    emit_basis,
    keep_vertex,
    middle,
    refresh_box,
    spread_middle,
)
from isoform.regions.compiled import Tables
from isoform.regions.simplex_kernel import Array
from isoform.regions.splitting_state import (
    CODES,
    DEEP,
    DONE,
    DOUBTFUL_LEAF,
    FULL,
    HINTED,
    IDS,
    MINUS_BASIS,
    MINUS_BOX,
    MINUS_FOLLOW,
    PLUS_BASIS,
    PLUS_BOX,
    PLUS_FOLLOW,
    REGIONS,
    ROWS,
    SIDE,
    SPLIT_MINUS_FIRST,
    SPLIT_PLUS_FIRST,
    STACK,
    TOL,
    UNDECIDED,
    U,
    Output,
    State,
    layer_forms,
)


@njit(cache=True)
def by_box(G: Array, low: Array, high: Array, unit: int) -> int:
    """1 or -1 where the box around the cell proves the unit's sign (-1 also for z = 0), else 0."""
    k = len(low)
    size = G[k + 1, unit]
    if size == 0.0:
        return -1
    least = most = G[0, unit]
    for c in range(k):
        g = G[1 + c, unit]
        if g > 0:
            least += g * low[c]
            most += g * high[c]
        else:
            least += g * high[c]
            most += g * low[c]
    slack = 2 * G[k + 2, unit] + 1e-12 * size
    if least > slack:
        return 1
    return -1 if most < -slack else 0


@njit(cache=True)
def aim(G: Array, norm: Array, objective: Array, unit: int, side: int) -> float:
    """The objective side * z / |gradient|; returns its constant."""
    for c in range(len(objective)):
        objective[c] = side * G[1 + c, unit] / norm[unit]
    return side * G[0, unit] / norm[unit]


@njit(cache=True)
def by_program(S: State, unit: int) -> int:
    """0: the unit splits the cell, SIDE is that of S.x and try_* is a vertex on the other side.
    1 or -1: proved sign, try_basis proves it. 2: undecided; SIDE is the side on which S.x certainly
    lies (0: neither), hint the basis for the other side where HINTED."""
    G, norm, objective, at, x = S.forms, S.norm, S.objective, S.at, S.x
    at[SIDE], at[HINTED] = 0, 0
    if not norm[unit] > 0 or G[-1, unit] > 0.05 * TOL * norm[unit]:
        return 2
    constant = aim(G, norm, objective, unit, 1)
    value = constant
    for c in range(len(x)):
        value += objective[c] * x[c]
    side = 0
    if value > TOL:
        side = 1
    elif value < -TOL:
        side = -1
    else:
        for way in (1, -1):  # the wall passes by the vertex: find one that is off the wall
            constant = aim(G, norm, objective, unit, way)
            copy_vertex(S)
            if climbed(S, constant, TOL) == 1:
                keep_vertex(S)
                side = way
                break
    if side == 0:
        return 2
    at[SIDE] = side
    constant = aim(G, norm, objective, unit, -side)
    copy_vertex(S)
    end = climbed(S, constant, TOL)
    if end == 1:
        return 0
    if end == 0:
        if bound_of_climb(S, constant, G[-1, unit] / norm[unit]) < 0:
            return side
        at[HINTED] = 1
        for i in range(len(x)):
            S.hint[i] = S.ids[S.try_basis[i]]
    return 2


@njit(cache=True)
def push(S: State, unit: int, side: int) -> None:
    """Remember the sibling on `side`, with the vertex try_*."""
    n, k = S.at[STACK], len(S.x)
    S.stack_at[n, 0], S.stack_at[n, 1], S.stack_at[n, 2] = unit, S.at[ROWS], side
    x, basis, inverse, box = S.stack_x, S.stack_basis, S.stack_inverse, S.stack_box
    for c in range(k):
        x[n, c], basis[n, c] = S.try_x[c], S.try_basis[c]
        box[n, 0, c], box[n, 1, c] = S.low[c], S.high[c]
        for i in range(k):
            inverse[n, c, i] = S.try_inverse[c, i]
    S.at[STACK] = n + 1


@njit(cache=True)
def pop(T: Tables, S: State) -> None:
    """Go on with the sibling that was remembered last."""
    n, k = S.at[STACK] - 1, len(S.x)
    S.at[STACK], S.at[U], S.at[ROWS] = n, S.stack_at[n, 0], S.stack_at[n, 1]
    x, basis, inverse, box = S.stack_x, S.stack_basis, S.stack_inverse, S.stack_box
    for c in range(k):
        S.x[c], S.basis[c] = x[n, c], basis[n, c]
        S.low[c], S.high[c] = box[n, 0, c], box[n, 1, c]
        for i in range(k):
            S.inverse[c, i] = inverse[n, c, i]
    take_side(T, S, S.stack_at[n, 2])


@njit(cache=True)
def pack(sign: Array, out: Array) -> None:
    """The activation pattern as bits, unit 0 the highest of byte 0."""
    out[:] = 0
    for j in range(len(sign)):
        if sign[j] & 1:
            out[j >> 3] |= 128 >> (j & 7)


@njit(cache=True)
def take_side(T: Tables, S: State, side: int) -> None:
    """Continue on one side of the current unit, as a split."""
    unit = S.at[U]
    S.sign[unit] = 3 if side > 0 else 2
    add_wall(S, len(T.rows), unit, side)
    S.at[U] = unit + 1


@njit(cache=True)
def run(T: Tables, S: State, out: Output, most: int, ratio: float, fresh: bool) -> int:
    """Search on until `most` regions are listed or the caller is needed (DONE to DEEP say why).

    ratio: the box is refreshed at the start of a layer with at least ratio * k units. fresh: the
    current node is to be started (False: the first thing is to pop a sibling).
    """
    at, enters, starts, codes = S.at, T.enters, T.starts, out.codes
    N, k = len(S.sign), len(S.x)
    most = min(most, len(out.patterns))
    ids_left = 2 * (k + 1) ** 2 + 4
    going = fresh
    while True:
        if not going:
            if at[STACK] == 0:
                return DONE
            pop(T, S)
        going = True
        if at[REGIONS] >= most or at[CODES] + N + 4 > len(codes):
            return FULL
        if at[ROWS] + 1 >= S.A.shape[1] or at[STACK] + 1 >= len(S.stack_at):
            return DEEP
        while going and at[U] < N:
            unit = at[U]
            if at[IDS] + ids_left > len(out.ids):
                return FULL
            layer = enters[unit]
            if layer >= 0:
                layer_forms(T, S, layer)
                if layer > 0 and starts[layer + 1] - unit >= ratio * k:
                    refresh_box(S, out)
            sign = settled(T.follows, T.factor, S.sign, S.forms, S.low, S.high, at, codes, out.ids)
            if sign == 0:
                sign = by_program(S, unit)
                if sign == 2:
                    return UNDECIDED
                if sign == 0:
                    break
                codes[at[CODES]] = PLUS_BASIS if sign > 0 else MINUS_BASIS
                at[CODES] += 1
                emit_basis(out.ids, at, S.ids, S.try_basis)
            elif sign == 2:
                return UNDECIDED
            S.sign[unit] = 1 if sign > 0 else 0
            at[U] = unit + 1
        if at[U] < N:
            side = at[SIDE]
            codes[at[CODES]] = SPLIT_PLUS_FIRST if side > 0 else SPLIT_MINUS_FIRST
            at[CODES] += 1
            push(S, at[U], -side)
            take_side(T, S, side)
        else:
            point = out.points[at[REGIONS]]
            if not middle(S, point) and not spread_middle(S, point):
                return DOUBTFUL_LEAF
            pack(S.sign, out.patterns[at[REGIONS]])
            at[REGIONS] += 1
            going = False


@njit(cache=True)
def settled(
    follows: Array, factor: Array, signs: Array, G: Array, low: Array, high: Array, at: Array,
    codes: Array, ids: Array,
) -> int:
    """The sign of the current unit where the box or an earlier unit tells it, with its token; 0
    where neither does, 2 where the unit may be zero on the cell."""
    unit = at[U]
    sign = by_box(G, low, high, unit)
    if sign != 0:
        codes[at[CODES]] = PLUS_BOX if sign > 0 else MINUS_BOX
        at[CODES] += 1
        return sign
    v = follows[unit]
    if v < 0:
        return 0
    if G[-2, unit] <= 1.1 * G[-1, unit]:
        at[SIDE], at[HINTED] = 0, 0
        return 2
    sign = factor[unit] if signs[v] & 1 else -factor[unit]
    codes[at[CODES]] = PLUS_FOLLOW if sign > 0 else MINUS_FOLLOW
    at[CODES] += 1
    ids[at[IDS]] = v
    at[IDS] += 1
    return sign


@njit(cache=True)
def force(S: State, constant: float) -> bool:
    """Move S.x to a vertex at which constant + objective . x exceeds TOL; False: there is none."""
    value = constant
    for c in range(len(S.x)):
        value += S.objective[c] * S.x[c]
    if value > TOL:
        return True
    copy_vertex(S)
    if climbed(S, constant, TOL) != 1:
        return False
    keep_vertex(S)
    return True


@njit(cache=True)
def begin(T: Tables, S: State) -> bool:
    """The corner of the box, then a vertex of the polytope strictly inside its own rows; False
    where floats find none."""
    m0, k = T.rows.shape
    S.at[:] = 0
    S.low[:], S.high[:] = -1.0, 1.0
    S.inverse[:] = 0.0
    for c in range(k):
        S.x[c], S.basis[c], S.inverse[c, c] = -1.0, 2 * c, -1.0
    for r in range(m0):
        if r >= 2 * k:
            S.objective[:] = -T.rows[r]
            if not force(S, T.bounds[r]):
                return False
        S.A[:, r] = T.rows[r]
        S.b[r], S.drift[r], S.ids[r] = T.bounds[r], T.slack[r], r
        S.at[ROWS] = r + 1
    return True


@njit(cache=True)
def replay(T: Tables, S: State, prefix: np.ndarray) -> bool:
    """The node with a prefix: its walls, its box, and a vertex off every wall; False where floats
    find none."""
    if not begin(T, S):
        return False
    for unit in range(len(prefix)):
        if T.enters[unit] >= 0:
            layer_forms(T, S, T.enters[unit])
        S.sign[unit] = prefix[unit]
        if prefix[unit] & 2:
            side = 1 if prefix[unit] & 1 else -1
            if not force(S, aim(S.forms, S.norm, S.objective, unit, side)) or not add_wall(S, len(T.rows), unit, side):
                return False
    S.at[U] = len(prefix)
    return True
