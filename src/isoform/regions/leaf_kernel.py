# SPDX-License-Identifier: Apache-2.0
"""Linear programmes on the leaves of a recorded search, compiled: affine rows of the network on
each leaf, their largest values, and which rows of a list cannot be at least 0 together.

A leaf is a prefix with a point inside. Its cell is that of the chart's rows and of the walls on
which its path was split. Floats propose; values that are called certain count all rounding.
"""

from __future__ import annotations

import numpy as np

from isoform.regions.compiled import Tables
from isoform.regions.kernel import kernel
from isoform.regions.region_kernel import output_forms, pattern_forms
from isoform.regions.simplex_kernel import Array, climb, proved_below, refactor

DONE, DOUBT, OPEN = 0, 1, 2
CLEAR = 1e-9  # of the size of a row: values nearer to 0 are for exact arithmetic to judge


@kernel(inner=True)
def lay_rows(
    T: Tables, codes: Array, forms: Array, walls: Array, ids: Array, extra: int
) -> int:
    """The half-spaces of a leaf's cell as columns of walls, with their row ids; their number, -1
    where rounding hides a wall. Leaves room for `extra` more."""
    m0, k = T.rows.shape
    n = 0
    for r in range(m0):
        for c in range(k):
            walls[c, n] = T.rows[r, c]
        walls[k, n], walls[k + 1, n], ids[n] = T.bounds[r], T.slack[r], r
        n += 1
    for j in range(len(codes)):
        if codes[j] & 2:
            if n + extra >= walls.shape[1]:
                return -1
            if not add_row(forms[: k + 1, j], forms[k + 3, j], codes[j] & 1 == 1, walls, n):
                return -1
            ids[n] = m0 + j
            n += 1
    return n


@kernel(inner=True)
def add_row(form: Array, error: float, positive: bool, walls: Array, n: int) -> bool:
    """The half-space {form >= 0}, or <= 0, as column n; False where rounding hides its wall."""
    k = len(form) - 1
    length = 0.0
    for c in range(k):
        length += form[1 + c] * form[1 + c]
    length = np.sqrt(length)
    if not length > 1e3 * error or not length < np.inf:
        return False
    s = 1.0 if positive else -1.0
    for c in range(k):
        walls[c, n] = -s * form[1 + c] / length
    walls[k, n] = s * form[0] / length
    walls[k + 1, n] = error / length + 1e-15 * (1.0 + abs(walls[k, n]))
    return True


@kernel(inner=True)
def project_off(way: Array, frame: Array, count: int) -> float:
    """Take the first rows of an orthonormal frame out of a direction, twice; its length then."""
    for _ in range(2):
        for i in range(count):
            along = 0.0
            for c in range(len(way)):
                along += way[c] * frame[i, c]
            for c in range(len(way)):
                way[c] -= along * frame[i, c]
    length = 0.0
    for c in range(len(way)):
        length += way[c] * way[c]
    return np.sqrt(length)


@kernel(inner=True)
def turned_along(aim: Array, frame: Array, met: int, way: Array) -> bool:
    """way: the part of `aim` along the walls met so far, of length 1; where that is next to none,
    of an axis. False where floats find no direction."""
    k = len(aim)
    size = 0.0
    for c in range(k):
        way[c] = aim[c]
        size += aim[c] * aim[c]
    length, least = project_off(way, frame, met), 1e-6 * np.sqrt(size)
    axis = 0
    while not length > least and axis < k:
        for c in range(k):
            way[c] = 1.0 if c == axis else 0.0
        length, least, axis = project_off(way, frame, met), 0.1 / k, axis + 1
    if not length > 0.0:
        return False
    for c in range(k):
        way[c] /= length
    return True


@kernel(inner=True)
def first_wall(walls: Array, rows: int, x: Array, way: Array) -> tuple[int, float]:
    """(row, step) of the first wall that a ray from x meets; -1: none."""
    k = len(x)
    entering, step = -1, np.inf
    for r in range(rows):
        rate, gap = 0.0, walls[k, r]
        for c in range(k):
            rate += walls[c, r] * way[c]
            gap -= walls[c, r] * x[c]
        gap = max(gap, 0.0)
        if rate > 1e-9 and gap < step * rate:
            entering, step = r, gap / rate
    return entering, step


@kernel(inner=True)
def corner(
    walls: Array, rows: int, p: Array, aim: Array, V: Array, basis: Array, frame: Array,
) -> bool:
    """Walk from an inner point p along `aim`, then along every wall that is met, to a vertex; False
    where floats find none."""
    k = len(p)
    x, way = V[k], np.empty(k)
    for c in range(k):
        x[c] = p[c]
    for met in range(k):
        if not turned_along(aim, frame, met, way):
            return False
        entering, step = first_wall(walls, rows, x, way)
        if entering < 0:
            return False
        for c in range(k):
            x[c] += step * way[c]
            frame[met, c] = walls[c, entering]
        length = project_off(frame[met], frame, met)
        if not length > 1e-12:
            return False
        for c in range(k):
            frame[met, c] /= length
        basis[met] = entering
    return refactor(walls, V, basis)


@kernel(inner=True)
def top(
    walls: Array, rows: int, form: Array, error: float, work: Array, vertices: Array, bases: Array,
    box: Array,
) -> tuple[int, float, float]:
    """(status, value, certain upper bound) of the largest value of a form on the cell, from the
    vertex at hand, which moves to the optimum. Multipliers stay in work[1]."""
    k = box.shape[1]
    size = 0.0
    for c in range(k):
        work[0, c] = form[1 + c]
        size = max(size, abs(form[1 + c]))
    if not size < np.inf:
        return DOUBT, np.inf, np.inf
    scale = 1.0 if size == 0.0 else 1.0 / size
    for c in range(k):
        work[0, c] *= scale
    constant = form[0] * scale
    if climb(walls, work, vertices, bases, 0, constant, np.inf, rows) != 0:
        return DOUBT, np.inf, np.inf
    value = constant
    for c in range(k):
        value += work[0, c] * vertices[0, k, c]
    upper = proved_below(walls, work, bases[0], box, constant, error * scale, False)
    return DONE, value / scale, upper / scale


@kernel
def largest_values(
    T: Tables, codes: Array, points: Array, W: Array, values: Array, uppers: Array, found: Array,
    status: Array,
) -> None:
    """For every leaf (codes (R, N), points (R, k)) and every output row o of W (G, 1 + k + N) the
    largest value of the row (place 2o) and of its negative (2o + 1) on the leaf: values, uppers
    (certain) and status (R, 2G), found (R, 2G, k) the row ids of the optimal vertex."""
    k, N, G = points.shape[1], codes.shape[1], len(W)
    m0 = len(T.rows)
    forms, bits, out = np.empty((k + 4, N)), np.empty(N, np.uint8), np.empty((k + 2, G))
    walls, ids = np.empty((k + 4, m0 + N + 1)), np.empty(m0 + N + 1, np.int64)
    vertices, bases = np.empty((1, k + 1, k)), np.empty((1, k + 3), np.int64)
    work, box, frame, form = np.empty((3, k)), np.ones((2, k)), np.empty((k, k)), np.empty(k + 1)
    box[0] = -1.0
    for r in range(len(codes)):
        for j in range(N):
            bits[j] = codes[r, j] & 1
        pattern_forms(T, bits, forms)
        output_forms(T, bits, forms, W, out)
        rows = lay_rows(T, codes[r], forms, walls, ids, 0)
        started = False
        for o in range(G):
            for side in range(2):
                place = 2 * o + side
                status[r, place] = DOUBT
                for c in range(k + 1):
                    form[c] = out[c, o] if side == 0 else -out[c, o]
                if rows < 0:
                    continue
                if not started:
                    started = corner(walls, rows, points[r], form[1:], vertices[0], bases[0], frame)
                if not started:
                    continue
                status[r, place], values[r, place], uppers[r, place] = top(
                    walls, rows, form, out[k + 1, o], work, vertices, bases, box
                )
                started = status[r, place] == DONE
                for c in range(k):
                    found[r, place, c] = ids[bases[0, c]] if started else -1


@kernel(inner=True)
def close_set(
    walls: Array, rows: int, out: Array, members: Array, strict: Array, base: int, ids: Array,
    work: Array, vertices: Array, bases: Array, box: Array,
) -> tuple[int, int]:
    """(status, number of the row that fails) of one set, from a vertex of the leaf; its rows, which
    follow the `rows` of the leaf, have the ids from `base` on."""
    k = box.shape[1]
    for number in range(len(members)):
        form, error = out[: k + 1, members[number]], out[k + 1, members[number]]
        state, value, upper = top(walls, rows, form, error, work, vertices, bases, box)
        size = 0.0
        for c in range(k + 1):
            size = max(size, abs(form[c]))
        if state == DONE and upper <= (0.0 if strict[number] else -CLEAR * size):
            return DONE, number
        if state != DONE or not value > CLEAR * size:
            return DOUBT, 0
        if add_row(form, error, True, walls, rows):
            ids[rows] = base + number
            rows += 1
        elif not form[0] > error:  # all but constant, and not certainly above 0
            return DOUBT, 0
    return OPEN, 0


@kernel
def close_sets(
    T: Tables, codes: Array, points: Array, W: Array, starts: Array, members: Array,
    strict: Array, targets: Array, found: Array, status: Array,
) -> None:
    """Which of S sets {h >= 0 for all of its rows, > 0 in the strict ones} miss a leaf. Rows h of W
    (G, 1 + k + N); those of set s are members[starts[s]:starts[s + 1]], non-strict ones first.
    status (R, S): DONE (closed: targets has the number of a row that fails, found (R, S, k) the
    rows that show it), OPEN (the set meets the leaf, floats say) or DOUBT."""
    k, N, G = points.shape[1], codes.shape[1], len(W)
    m0, most = len(T.rows), 0
    for s in range(len(starts) - 1):
        most = max(most, starts[s + 1] - starts[s])
    forms, bits, out = np.empty((k + 4, N)), np.empty(N, np.uint8), np.empty((k + 2, G))
    walls = np.empty((k + 4, m0 + N + most + 1))
    ids = np.empty(m0 + N + most + 1, np.int64)
    vertices, bases = np.empty((1, k + 1, k)), np.empty((1, k + 3), np.int64)
    work, box, frame, aim = np.empty((3, k)), np.ones((2, k)), np.empty((k, k)), np.empty(k)
    box[0] = -1.0
    for r in range(len(codes)):
        for j in range(N):
            bits[j] = codes[r, j] & 1
        pattern_forms(T, bits, forms)
        output_forms(T, bits, forms, W, out)
        rows = lay_rows(T, codes[r], forms, walls, ids, most)
        for s in range(len(starts) - 1):
            status[r, s] = DOUBT
            a, b = starts[s], starts[s + 1]
            for c in range(k):
                aim[c] = out[1 + c, members[a]]
            if rows < 0 or not corner(
                walls, rows, points[r], aim, vertices[0], bases[0], frame
            ):
                continue
            status[r, s], targets[r, s] = close_set(
                walls, rows, out, members[a:b], strict[a:b], m0 + N, ids, work, vertices, bases,
                box,
            )
            if status[r, s] == DONE:
                for c in range(k):
                    found[r, s, c] = ids[bases[0, c]]
