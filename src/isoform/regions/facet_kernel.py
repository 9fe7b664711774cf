# SPDX-License-Identifier: Apache-2.0
"""Which half-spaces of one bounded cell are facets, compiled; every answer counts its rounding.

A half-space is a facet if some point of its wall lies strictly inside all others: rays from an
interior point find such points, and so does a linear programme without the half-space, stopped at
the first vertex beyond it. It is redundant if multipliers of other half-spaces prove it with room.
Walls that only touch the cell, and walls that cannot be told apart, are left to exact arithmetic.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from isoform.regions.kernel import kernel

OPEN, REDUNDANT, FACET, SHARED, UNDECIDED = 0, 1, 2, 3, 4
UNIT = 2.0**-53
RATE = 1e-11  # slower approaches to a wall count as parallel
GAIN = 1e-11  # smaller multipliers count as zero
SPARE = 1e-12  # room wanted where a proof is attempted
BLAND, MOST = 60, 600  # pivots for a few inputs until Bland's rule, until giving up


class Cell(NamedTuple):
    """Half-spaces a.x <= b (A (n, k) unit normals), drift (n,): how far the true wall may be from
    the row within |x_i| <= reach; rows from `real` on are no half-spaces of the cell and must not
    enter a proof. p (k,): strictly inside. live (n,): rows still in question or known to matter.
    contact (n, k): a point near the wall, for facets that floats find and those that they take for
    one; else NaN."""

    A: np.ndarray
    b: np.ndarray
    drift: np.ndarray
    live: np.ndarray
    p: np.ndarray
    slack: np.ndarray
    contact: np.ndarray


class Vertex(NamedTuple):
    """A vertex: k rows, the inverse of their normals (in columns), the point."""

    basis: np.ndarray
    inverse: np.ndarray
    x: np.ndarray


@kernel
def gap(C: Cell, row: int, x: np.ndarray) -> float:
    value = C.b[row]
    for c in range(len(x)):
        value -= C.A[row, c] * x[c]
    return value


@kernel
def rate_along(C: Cell, row: int, way: np.ndarray) -> float:
    value = 0.0
    for c in range(len(way)):
        value += C.A[row, c] * way[c]
    return value


@kernel
def refactor(C: Cell, n: int, V: Vertex) -> bool:
    """The inverse and the point of a basis anew; False where it is nearly singular."""
    k = len(V.x)
    M = np.empty((k, k))
    for i in range(k):
        M[i] = C.A[V.basis[i]]
    if abs(np.linalg.det(M)) < 1e-200:
        return False
    V.inverse[:] = np.linalg.inv(M)
    for c in range(k):
        V.x[c] = 0.0
        for i in range(k):
            V.x[c] += V.inverse[c, i] * C.b[V.basis[i]]
    for r in range(n):
        if C.live[r] and gap(C, r, V.x) < -1e-9:
            return False
    return bool(np.all(np.isfinite(V.inverse)))


@kernel
def blocking(C: Cell, n: int, x: np.ndarray, way: np.ndarray, bland: bool) -> tuple[int, float]:
    """The first live row met from x, and the step to it; -1 where there is none."""
    first, step, speed = -1, np.inf, 0.0
    for r in range(n):
        if not C.live[r]:
            continue
        rate = rate_along(C, r, way)
        if rate <= RATE:
            continue
        t = max(0.0, gap(C, r, x)) / rate
        if t < step or (t <= step and not bland and rate > speed):
            first, step, speed = r, t, rate
    return first, step


@kernel
def first_vertex(C: Cell, n: int, V: Vertex) -> bool:
    """From the interior point along k rays, each inside the walls met so far, to a vertex."""
    k = len(V.x)
    Q = np.zeros((k, k))
    way, best = np.empty(k), np.empty(k)
    V.x[:] = C.p
    for i in range(k):
        most = 0.0
        for c in range(k):
            way[:] = 0.0
            way[c] = 1.0
            for _ in range(2):
                for q in range(i):
                    dot = np.dot(Q[q], way)
                    way -= dot * Q[q]
            size = np.dot(way, way)
            if size > most:
                most = size
                best[:] = way / np.sqrt(size)
        row, step = blocking(C, n, V.x, best, False)
        if row < 0:
            return False
        V.x[:] = V.x + step * best
        V.basis[i] = row
        way[:] = C.A[row]
        for _ in range(2):
            for q in range(i):
                dot = np.dot(Q[q], way)
                way -= dot * Q[q]
        size = np.sqrt(np.dot(way, way))
        if size < 1e-9:
            return False
        Q[i] = way / size
    return refactor(C, n, V)


@kernel
def pivot(C: Cell, n: int, V: Vertex, out: int, way: np.ndarray, bland: bool) -> bool:
    """Leave the row at place `out` along `way`; False: nothing stops the step, no step is made."""
    k = len(V.x)
    row, step = blocking(C, n, V.x, way, bland)
    if row < 0:
        return False
    V.x[:] = V.x + step * way
    mixed = np.empty(k)
    for i in range(k):
        mixed[i] = 0.0
        for c in range(k):
            mixed[i] += C.A[row, c] * V.inverse[c, i]
    head = mixed[out]
    for c in range(k):
        V.inverse[c, out] /= head
    for i in range(k):
        if i != out:
            for c in range(k):
                V.inverse[c, i] -= mixed[i] * V.inverse[c, out]
    V.basis[out] = row
    return True


@kernel
def climb(C: Cell, n: int, V: Vertex, objective: np.ndarray, stop: float) -> int:
    """Maximise objective.x from a vertex. 1: a vertex beyond `stop`; 0: optimum; -1: no answer."""
    k = len(V.x)
    way = np.empty(k)
    for count in range(MOST + 20 * k):
        if np.dot(objective, V.x) > stop:
            return 1
        bland = count > BLAND + 10 * k
        out, least = -1, -GAIN
        for i in range(k):
            y = 0.0
            for c in range(k):
                y += objective[c] * V.inverse[c, i]
            if bland:
                if y < -GAIN and (out < 0 or V.basis[i] < V.basis[out]):
                    out = i
            elif y < least:
                out, least = i, y
        if out < 0:
            return 0
        for c in range(k):
            way[c] = -V.inverse[c, out]
        if not pivot(C, n, V, out, way, bland):
            speed = np.dot(objective, way)
            V.x[:] = V.x + (1.0 + max(0.0, stop - np.dot(objective, V.x)) / speed) * way
            return 1 if stop < np.inf else -1
        if count % 40 == 39 and not refactor(C, n, V):
            return -1
    return -1


@kernel
def proved_above(C: Cell, V: Vertex, objective: np.ndarray, real: int, reach: float) -> float:
    """A number that objective.x never exceeds on the cell, by the multipliers of the basis."""
    k = len(V.x)
    rest = objective.copy()
    total, size = 0.0, 0.0
    for i in range(k):
        y = 0.0
        for c in range(k):
            y += objective[c] * V.inverse[c, i]
        row = V.basis[i]
        if y <= 0.0 or row >= real:
            continue
        for c in range(k):
            rest[c] -= y * C.A[row, c]
        total += y * (C.b[row] + C.drift[row])
        size += y * (abs(C.b[row]) + reach * k)
    for c in range(k):
        total += abs(rest[c]) * reach
    return total + 8 * (k + 2) * UNIT * (size + reach * k)


@kernel
def same_wall(C: Cell, i: int, j: int, reach: float) -> bool:
    """Whether rounding hides a difference of two half-spaces."""
    room = 2 * (C.drift[i] + C.drift[j]) + 64 * UNIT * (1.0 + abs(C.b[i]))
    if abs(C.b[i] - C.b[j]) > room:
        return False
    far = 0.0
    for c in range(C.A.shape[1]):
        far = max(far, abs(C.A[i, c] - C.A[j, c]))
    return far * reach <= room + 64 * UNIT * reach


@kernel
def facet_at(C: Cell, n: int, j: int, q: np.ndarray, reach: float) -> int:
    """What a point q near wall j proves, if all else is strict there: FACET; SHARED (walls that
    cannot be told apart, one of them at least is a facet); OPEN."""
    off = abs(gap(C, j, q)) + 2 * C.drift[j] + 16 * UNIT * (1.0 + reach)
    found = FACET
    for i in range(n):
        if i != j and C.live[i] and gap(C, i, q) <= 2 * C.drift[i] + 4 * off + SPARE:
            if not same_wall(C, i, j, reach):
                return OPEN
            found = SHARED
    C.contact[j] = q
    return found


@kernel
def shoot(C: Cell, n: int, way: np.ndarray, status: np.ndarray, reach: float) -> None:
    """Follow a ray from the interior point: the first wall that it meets is a facet."""
    row, step = blocking(C, n, C.p, way, False)
    if row >= 0 and status[row] == OPEN:
        status[row] = facet_at(C, n, row, C.p + step * way, reach)


@kernel
def within_bounds(
    C: Cell, n: int, real: int, V: Vertex, status: np.ndarray, reach: float
) -> bool:
    """Rows that no point of a box around the cell reaches are redundant: a row that holds strictly
    on the whole cell is, whatever rows the proof uses. False where the cell cannot be shown to lie
    between the rows that are not its own."""
    k = len(V.x)
    high = np.empty((2, k))
    objective = np.zeros(k)
    for c in range(k):
        for side in range(2):
            objective[:] = 0.0
            objective[c] = 1.0 - 2.0 * side
            high[side, c] = reach
            if climb(C, n, V, objective, np.inf) == 0:
                high[side, c] = min(reach, proved_above(C, V, objective, real, reach))
            if n > real and high[side, c] > 0.99 * reach:
                return False
    for r in range(real):
        if status[r] == OPEN:
            most = 2 * C.drift[r] + 8 * (k + 2) * UNIT * reach * k
            for c in range(k):
                a = C.A[r, c]
                most += a * high[0, c] if a > 0 else -a * high[1, c]
            if most < C.b[r]:
                status[r] = REDUNDANT
                C.live[r] = False
    return True


@kernel
def set_aside(C: Cell, n: int, j: int, reach: float) -> np.ndarray:
    """Row j and what cannot be told from it, no longer live."""
    twins = np.zeros(n, dtype=np.bool_)
    for i in range(n):
        if C.live[i] and (i == j or same_wall(C, i, j, reach)):
            twins[i] = True
            C.live[i] = False
    return twins


@kernel
def climb_beyond(C: Cell, n: int, j: int, twins: np.ndarray, W: Vertex, room: float) -> int:
    """Maximise the normal of row j over the live rows, from a vertex on which the rows set aside
    may lie. 1: W.x is beyond row j; 0: W is an optimum and is not; -1: no answer."""
    for i in range(len(W.basis)):
        if twins[W.basis[i]]:
            way = W.inverse[:, i].copy()
            if not pivot(C, n, W, i, way, False):
                W.x[:] = W.x + way
                return 1
            break
    end = climb(C, n, W, C.A[j], C.b[j] + max(room, 1e-7))
    if end == 0 and np.dot(C.A[j], W.x) > C.b[j] + room:
        return 1
    return end


@kernel
def copy_vertex(source: Vertex, target: Vertex) -> None:
    target.basis[:] = source.basis
    target.inverse[:] = source.inverse
    target.x[:] = source.x


@kernel
def by_program(
    C: Cell, n: int, real: int, j: int, V: Vertex, W: Vertex, reach: float
) -> int:
    """Decide row j by maximising its normal over the others from V, which stays a vertex of the
    cell. W: scratch; where UNDECIDED comes back, W.basis is a hint for the optimum."""
    copy_vertex(V, W)
    twins = set_aside(C, n, j, reach)
    end = climb_beyond(C, n, j, twins, W, 16 * C.drift[j] + 4 * SPARE)
    for i in range(n):
        C.live[i] = C.live[i] or twins[i]
    if end == 1:
        part = C.slack[j] / (C.slack[j] - gap(C, j, W.x))
        C.contact[j] = C.p + part * (W.x - C.p)
        found = facet_at(C, n, j, C.contact[j].copy(), reach)
        return found if found != OPEN else UNDECIDED
    if end != 0 or proved_above(C, W, C.A[j], real, reach) + 2 * C.drift[j] >= C.b[j]:
        return UNDECIDED
    for i in range(n):
        if twins[i] and i != j and gap(C, i, W.x) < 0.0:
            return UNDECIDED
    copy_vertex(W, V)
    C.live[j] = False
    return REDUNDANT


@kernel
def strict(C: Cell, n: int) -> bool:
    """Fill slack; whether the interior point is inside every row, rounding counted."""
    for r in range(n):
        C.live[r] = True
        C.slack[r] = gap(C, r, C.p)
        if not C.slack[r] > 2 * C.drift[r] or not C.drift[r] < 1e-3:
            return False
    return True


@kernel
def shoot_along_axes(C: Cell, n: int, status: np.ndarray, reach: float) -> None:
    way = np.zeros(len(C.p))
    for c in range(len(C.p)):
        for side in (-1.0, 1.0):
            way[:] = 0.0
            way[c] = side
            shoot(C, n, way, status, reach)


@kernel
def classify(
    C: Cell, n: int, real: int, status: np.ndarray, hints: np.ndarray, reach: float
) -> None:
    """Fill status (n,) for the rows; hints (n, k): for undecided rows the rows of a basis that is
    optimal in floats, -1 where there is none."""
    k = len(C.p)
    status[:n] = OPEN
    hints[:n] = -1
    C.contact[:n] = np.nan
    if not strict(C, n):
        status[:n] = UNDECIDED
        return
    shoot_along_axes(C, n, status, reach)
    V = Vertex(np.zeros(k, dtype=np.int64), np.zeros((k, k)), np.zeros(k))
    W = Vertex(np.zeros(k, dtype=np.int64), np.zeros((k, k)), np.zeros(k))
    if not first_vertex(C, n, V) or not within_bounds(C, n, real, V, status, reach):
        for r in range(n):
            if status[r] == OPEN:
                status[r] = UNDECIDED
        return
    for r in range(real):
        if status[r] == OPEN:
            shoot(C, n, C.A[r].copy(), status, reach)
    for r in range(real):
        if status[r] == OPEN:
            status[r] = by_program(C, n, real, r, V, W, reach)
            if status[r] == UNDECIDED:
                hints[r] = W.basis
