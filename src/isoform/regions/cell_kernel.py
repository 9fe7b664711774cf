# SPDX-License-Identifier: Apache-2.0
"""The cell of a node, compiled: its walls, the box around it, a point strictly inside it."""

from __future__ import annotations

import numpy as np

from isoform.regions.compiled import UNIT
from isoform.regions.kernel import kernel
from isoform.regions.simplex_kernel import Array, climb, gaps, proved_below, ratio_test
from isoform.regions.splitting_state import (
    BOX,
    CODES,
    IDS,
    MASK,
    NODE,
    PROGRAMS,
    ROWS,
    TRIAL,
    Output,
    State,
)


@kernel(inline=True)
def add_wall(S: State, m0: int, unit: int, side: int) -> bool:
    """The half-space side * z >= 0 joins the path, and the box shrinks. False: no room."""
    walls, forms = S.walls, S.forms
    k, r = S.boxes.shape[2], S.at[ROWS]
    if r >= walls.shape[1]:
        return False
    length = forms[k + 3, unit]
    scale = -side / length
    for c in range(k):
        walls[c, r] = forms[1 + c, unit] * scale
    walls[k, r] = -forms[0, unit] * scale
    walls[k + 1, r] = (forms[k + 2, unit] + 4 * UNIT * forms[k + 1, unit]) / length
    S.ids[r] = m0 + unit
    S.at[ROWS] = r + 1
    tighten(walls, S.boxes[0], S.work, r)
    return True


@kernel(inline=True)
def tighten(walls: Array, box: Array, work: Array, r: int) -> None:
    """The box of the cell inside half-space r, every coordinate from the box before."""
    k = box.shape[1]
    room = walls[k, r] + walls[k + 1, r] + 1e-12  # of a_c x_c over its own least value
    for c in range(k):
        a = walls[c, r]
        room -= a * box[0, c] if a > 0 else a * box[1, c]
    for c in range(k):
        a = walls[c, r]
        if a > 1e-12:
            box[1, c] = min(box[1, c], box[0, c] + room / a + 1e-12)
        elif a < -1e-12:
            work[2, c] = max(box[0, c], box[1, c] + room / a - 1e-12)
    for c in range(k):
        if walls[c, r] < -1e-12:
            box[0, c] = work[2, c]


@kernel(inline=True)
def copy_vertex(vertices: Array, bases: Array, source: int, target: int) -> None:
    k = vertices.shape[2]
    for i in range(k + 1):
        for j in range(k):
            vertices[target, i, j] = vertices[source, i, j]
    for j in range(k):
        bases[target, j] = bases[source, j]


@kernel(inline=True)
def climbed(S: State, constant: float, stop: float) -> int:
    """`climb` from the node's vertex with the trial vertex, along the objective."""
    S.at[PROGRAMS] += 1
    copy_vertex(S.vertices, S.bases, NODE, TRIAL)
    return climb(S.walls, S.work, S.vertices, S.bases, TRIAL, constant, stop, S.at[ROWS])


@kernel(inline=True)
def bound_of_climb(S: State, constant: float, error: float, near: bool) -> float:
    """`proved_below` by the trial vertex's basis."""
    return proved_below(S.walls, S.work, S.bases[TRIAL], S.boxes[0], constant, error, near)


@kernel
def in_cone(S: State, central: Array, unit: int) -> bool:
    """Whether the trial basis proves that the objective of a unit, exactly 0 where all inputs are,
    is at most 0 on the cell: its rows are exactly 0 there too, and their true multipliers positive.

    The inverse C of the basis's normals A is good to |I - C A| <= e < 1, so that the multipliers y
    for a gradient g are off by at most |C| |g - y A| / (1 - e), norms of rows.
    """
    k, N, walls = S.work.shape[1], len(S.sign), S.walls
    m0, error = len(central) - N, S.forms[-2, unit] / S.forms[-1, unit]
    basis, C = S.bases[TRIAL], S.vertices[TRIAL]
    drift, least, weight = 0.0, np.inf, 0.0
    for i in range(k):
        name = S.ids[basis[i]]
        if not central[name - m0 if name >= m0 else N + name]:
            return False
        drift = max(drift, walls[k + 1, basis[i]])
        weight += S.work[1, i]
        least = min(least, S.work[1, i])
    drift += (k + 4) * UNIT
    rest, width, off = 0.0, 0.0, 0.0
    for c in range(k):
        left, around = S.work[0, c], abs(S.work[0, c])
        for i in range(k):
            left -= S.work[1, i] * walls[c, basis[i]]
            around += abs(S.work[1, i] * walls[c, basis[i]])
        rest = max(rest, abs(left) + (k + 4) * UNIT * around)
    for i in range(k):
        total, apart = 0.0, 0.0
        for c in range(k):
            total += abs(C[c, i])
        for j in range(k):
            product = 0.0
            for c in range(k):
                product += C[c, i] * walls[c, basis[j]]
            apart += abs(product - (1.0 if i == j else 0.0))
        width, off = max(width, total), max(off, apart + k * drift * total)
    if not off < 0.5:
        return False
    return least > 2.1 * width * (rest + error + weight * drift)


@kernel(inline=True)
def emit_basis(ids: Array, at: Array, names: Array, basis: Array, k: int) -> None:
    for i in range(k):
        ids[at[IDS]] = names[basis[i]]
        at[IDS] += 1


@kernel(inner=True)
def refresh_box(S: State, out: Output) -> bool:
    """The box of the cell by a linear programme for every face, each bound proved; False: it stays
    as it was."""
    box, at, objective = S.boxes[0], S.at, S.work[0]
    k = box.shape[1]
    words, place, found = (k + MASK - 1) // MASK, at[IDS], False
    for word in range(words):
        out.ids[place + word] = 0
    at[IDS] += words
    for face in range(2 * k):
        c, side = face // 2, 1.0 if face % 2 else -1.0
        for i in range(k):
            objective[i] = 0.0
        objective[c] = side
        if climbed(S, 0.0, np.inf) != 0:
            continue
        bound = bound_of_climb(S, 0.0, 0.0, True) + 1e-12
        if side > 0 and bound < box[1, c]:
            box[1, c] = bound
        elif side < 0 and -bound > box[0, c]:
            box[0, c] = -bound
        else:
            continue
        out.ids[place + c // MASK] |= 1 << (face - 2 * MASK * (c // MASK))
        found = True
        emit_basis(out.ids, at, S.ids, S.bases[TRIAL], k)
    if found:
        out.codes[at[CODES]] = BOX
        at[CODES] += 1
    else:
        at[IDS] = place
    return found


@kernel(forceinline=True, inner=True)
def inside(walls: Array, rows: int, point: Array) -> bool:
    """Whether a point is certainly strictly inside every half-space of the path."""
    k = len(point)
    for r in range(rows):
        room, size = walls[k, r], abs(walls[k, r])
        for c in range(k):
            term = walls[c, r] * point[c]
            room -= term
            size += abs(term)
        if not room > walls[k + 1, r] + (k + 3) * UNIT * size:
            return False
    return True


@kernel(inner=True)
def middle(
    walls: Array, vertices: Array, bases: Array, rows: int, point: Array
) -> bool:
    """The mean of the vertex and its k neighbours; certainly strictly inside, or False."""
    V, basis, k = vertices[NODE], bases[NODE], len(point)
    gaps(walls, V, rows)
    for c in range(k):
        point[c] = V[k, c]
    for i in range(k):
        entering, step = ratio_test(walls, V, basis, i, rows, True)
        if entering < 0 or step < 1e-12:
            return False
        for c in range(k):
            point[c] -= step * V[c, i] / (k + 1)
    return inside(walls, rows, point)


@kernel(inner=True)
def spread_middle(S: State, point: Array) -> bool:
    """The mean of vertices that leave every half-space with the least gap; for degenerate
    vertices."""
    walls, vertices = S.walls, S.vertices
    k, rows = len(point), S.at[ROWS]
    total = S.work[2]
    for c in range(k):
        total[c] = vertices[NODE, k, c]
    count = 1
    for _ in range(4 * k + 4):
        for c in range(k):
            point[c] = total[c] / count
        if inside(walls, rows, point):
            return True
        tight, least = -1, np.inf
        for r in range(rows):
            gap = walls[k, r]
            for c in range(k):
                gap -= walls[c, r] * point[c]
            if gap < least:
                tight, least = r, gap
        for c in range(k):
            S.work[0, c] = -walls[c, tight]
        if climbed(S, 0.0, np.inf) != 0:
            return False
        for c in range(k):
            total[c] += vertices[TRIAL, k, c]
        count += 1
    return False
