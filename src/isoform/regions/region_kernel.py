# SPDX-License-Identifier: Apache-2.0
"""The affine forms of all units on single regions, their half-spaces and facets, compiled.

A region is given by its activation pattern. Every form comes with a bound of its rounding over the
box [-1, 1]^k, the rounding of the weights to doubles included.
"""

from __future__ import annotations

import numpy as np

from isoform.regions.compiled import TINY, Tables
from isoform.regions.facet_kernel import REDUNDANT, UNDECIDED, UNIT, Cell, classify
from isoform.regions.kernel import kernel
from isoform.regions.splitting_state import UNDERFLOW

REACH = 1024.0  # of the coordinates that are laid through a cell of all of space


@kernel
def unpack(packed: np.ndarray, bits: np.ndarray) -> None:
    for j in range(len(bits)):
        bits[j] = (packed[j >> 3] >> (7 - (j & 7))) & 1


@kernel
def base_forms(T: Tables, first: int, last: int, G: np.ndarray) -> None:
    """What the inputs alone contribute to the forms of a layer."""
    k = T.base.shape[0] - 2
    for j in range(first, last):
        for c in range(k + 1):
            G[c, j] = T.base[c, j]
        G[k + 1, j] = T.base[k + 1, j]
        G[k + 2, j] = 0.0
        for c in range(1, k + 1):
            G[k + 2, j] += T.base[c, j] != 0.0
        G[k + 3, j] = UNDERFLOW if G[k + 1, j] > 0.0 else 0.0


@kernel
def add_source(T: Tables, first: int, s: int, G: np.ndarray) -> None:
    """Add an active earlier unit to the forms of a layer."""
    k, h = T.base.shape[0] - 2, T.source[s]
    size = 1.0
    if not T.step[h]:
        size = 0.0
        for c in range(k + 1):
            size += abs(G[c, h])
    for e in range(T.tails[s], T.tails[s + 1]):
        j, w = first + T.entry_row[e], T.entry_weight[e]
        G[k + 1, j] += (abs(w) + TINY) * size
        G[k + 3, j] += UNDERFLOW
        if T.step[h]:
            G[0, j] += w
            continue
        for c in range(k + 1):
            G[c, j] += w * G[c, h]
        G[k + 2, j] += G[k + 2, h] > 0.0
        G[k + 3, j] += (abs(w) + TINY) * G[k + 3, h]


@kernel
def doubt_source(T: Tables, first: int, s: int, G: np.ndarray) -> None:
    """Count a step unit that may give 0 or 1 as an error of the forms of a layer."""
    for e in range(T.tails[s], T.tails[s + 1]):
        j = first + T.entry_row[e]
        G[-3, j] += abs(T.entry_weight[e]) + TINY
        G[-1, j] += abs(T.entry_weight[e]) + UNDERFLOW


@kernel
def may_fire(T: Tables, G: np.ndarray, h: int) -> bool:
    """Whether a step unit that is not active may give 1, because its form may be zero."""
    if not T.step[h] or G[-1, h] == 0.0:
        return False
    size = 0.0
    for c in range(G.shape[0] - 3):
        size += abs(G[c, h])
    return size <= 2 * G[-1, h]


@kernel
def fires(T: Tables, bits: np.ndarray, G: np.ndarray, h: int) -> bool:
    """Whether a unit contributes to later ones; a step unit gives 1 where z = 0."""
    if T.step[h] and G[-1, h] == 0.0:
        return G[0, h] >= 0.0
    return bits[h] == 1


@kernel
def pattern_forms(T: Tables, bits: np.ndarray, G: np.ndarray) -> None:
    """G (k + 4, N): constant and gradient of every unit on the cells with these bits; the sum of
    the absolute values of the terms; the number of terms of the gradient (0: it is zero, exactly);
    the bound of the rounding (0: the form is a zero, exactly)."""
    k, L = T.base.shape[0] - 2, len(T.starts) - 1
    for layer in range(L):
        first, last = T.starts[layer], T.starts[layer + 1]
        base_forms(T, first, last, G)
        terms = k + 7
        for s in range(T.heads[layer], T.heads[layer + 1]):
            if fires(T, bits, G, T.source[s]):
                terms += 1
                add_source(T, first, s, G)
            elif may_fire(T, G, T.source[s]):
                terms += 1
                doubt_source(T, first, s, G)
        for j in range(first, last):
            G[k + 3, j] = 1.01 * (G[k + 3, j] + terms * UNIT * G[k + 1, j])


@kernel
def output_forms(
    T: Tables, bits: np.ndarray, G: np.ndarray, W: np.ndarray, out: np.ndarray
) -> None:
    """out (k + 2, m): constant, gradient and rounding bound of the outputs; W (m, 1 + k + N)."""
    k = G.shape[0] - 4
    for o in range(W.shape[0]):
        size, error, terms = 0.0, UNDERFLOW, k + 7
        for c in range(k + 1):
            out[c, o] = W[o, c]
            size += abs(W[o, c])
        for h in range(G.shape[1]):
            w = W[o, 1 + k + h]
            if w == 0.0 or not fires(T, bits, G, h):
                error += abs(w) if may_fire(T, G, h) else 0.0
                continue
            terms += 1
            if T.step[h]:
                out[0, o] += w
                size += abs(w)
                continue
            for c in range(k + 1):
                out[c, o] += w * G[c, h]
                size += abs(w * G[c, h])
            error += abs(w) * G[k + 3, h]
        out[k + 1, o] = 1.01 * (error + terms * UNIT * size)


@kernel
def output_maps(T: Tables, patterns: np.ndarray, W: np.ndarray, out: np.ndarray) -> None:
    """out (R, k + 2, m): the output forms of many regions."""
    k, N = T.base.shape[0] - 2, T.base.shape[1]
    G, bits = np.empty((k + 4, N)), np.empty(N, np.uint8)
    for r in range(len(patterns)):
        unpack(patterns[r], bits)
        pattern_forms(T, bits, G)
        output_forms(T, bits, G, W, out[r])


@kernel
def some_zero(G: np.ndarray) -> bool:
    """Whether some form is zero, as far as the rounding lets one see."""
    k = G.shape[0] - 4
    for j in range(G.shape[1]):
        size = 0.0
        for c in range(k + 1):
            size += abs(G[c, j])
        if size <= 2 * G[k + 3, j]:
            return True
    return False


@kernel
def wall_rows(
    G: np.ndarray, bits: np.ndarray, m0: int, n: int, C: Cell,
    ids: np.ndarray, status: np.ndarray, horizon: np.ndarray,
) -> int:
    """Append the half-spaces of the units to a cell of n rows; the new n, or -1 where floats do not
    even say which units have walls. No horizon: leave out what does not meet [-1, 1]^k; else rows
    are normalised with their constant."""
    k, box = G.shape[0] - 4, len(horizon) == 0
    upright = box or not np.any(horizon[1:])  # a constant form has no wall
    for j in range(len(bits)):
        status[m0 + j] = REDUNDANT
        s = 1.0 if bits[j] == 1 else -1.0
        if G[k + 3, j] == 0.0 or (upright and G[k + 2, j] == 0.0):
            if s * G[0, j] < 0.0 or (G[k + 3, j] == 0.0 and s > 0.0):
                return -1  # no region has this pattern: let exact arithmetic say so
            continue
        length, across = 0.0 if box else G[0, j] * G[0, j], 0.0
        for c in range(1, k + 1):
            length += G[c, j] * G[c, j]
            across += abs(G[c, j])
        length = np.sqrt(length)
        error = 2 * G[k + 3, j] + 8 * UNIT * (abs(G[0, j]) + across)
        if box and s * G[0, j] - across > error:
            continue
        if not length > 1e3 * error:
            return -1
        for c in range(k):
            C.A[n, c] = -s * G[1 + c, j] / length
        C.b[n] = s * G[0, j] / length
        C.drift[n] = error / length
        ids[n] = m0 + j
        n += 1
    return n


@kernel
def project(
    C: Cell, n: int, point: np.ndarray, horizon: np.ndarray, frame: np.ndarray
) -> tuple[int, int]:
    """Lay coordinates through a cell of all of space: its rows b - a.u >= 0 are a cone in (1, u),
    and a plane across the cone is bounded where the cell has no whole lines. Appends the row of
    the horizon t >= 0, then those of the box |w| <= REACH; returns (n, real). frame (k + 1, k + 1):
    gets the plane, (t, u t) = frame (1, w)."""
    k = len(point)
    H = np.empty((n + 1, k + 1))
    y = np.empty(k + 1)
    y[0] = 1.0
    y[1:] = point
    H[n] = horizon
    c = horizon / np.sqrt(np.dot(horizon, horizon))
    for r in range(n):
        H[r, 0] = C.b[r]
        H[r, 1:] = -C.A[r]
        c = c + H[r] / np.sqrt(np.dot(H[r], H[r]))
    c /= np.sqrt(np.dot(c, c))
    y /= np.dot(c, y)
    size = np.sqrt(np.dot(y, y))
    mirror = c.copy()  # the Householder matrix that takes c to a unit vector
    mirror[0] += 1.0 if c[0] >= 0 else -1.0
    mirror /= np.sqrt(np.dot(mirror, mirror))
    V = np.zeros((k + 1, k))
    for i in range(k):
        for q in range(k + 1):
            V[q, i] = size * ((1.0 if q == i + 1 else 0.0) - 2 * mirror[q] * mirror[i + 1])
    frame[:, 0] = y
    frame[:, 1:] = V
    far = 0.0
    for q in range(k + 1):
        far = max(far, abs(y[q]) + REACH * np.abs(V[q]).sum())
    for r in range(n + 1):
        a = -np.dot(H[r], V)
        length = np.sqrt(np.dot(a, a))
        drift = 8 * (k + 4) * UNIT * far * np.abs(H[r]).sum()
        if r < n:
            drift += C.drift[r] * far
        if not length > 0.0:
            drift, length = np.inf, 1.0
        C.A[r] = a / length
        C.b[r] = np.dot(H[r], y) / length
        C.drift[r] = drift / length
    C.p[:] = 0.0
    n += 1
    for i in range(2 * k):
        C.A[n + i] = 0.0
        C.A[n + i, i // 2] = 1.0 if i % 2 else -1.0
        C.b[n + i] = REACH
        C.drift[n + i] = 0.0
    return n + 2 * k, n


@kernel
def laid_back(frame: np.ndarray, w: np.ndarray) -> np.ndarray:
    """The point u of a point w of the plane of `project`."""
    y = frame[:, 0].copy()
    for i in range(len(w)):
        y += w[i] * frame[:, 1 + i]
    return y[1:] / y[0]


@kernel
def classify_regions(
    T: Tables, patterns: np.ndarray, points: np.ndarray, horizon: np.ndarray,
    status: np.ndarray, zeros: np.ndarray, hints: np.ndarray, contacts: np.ndarray,
) -> int:
    """status (R, m0 + N): the class of every row of every region; where the chart's own rows do not
    count (horizon (k + 1,): the row t >= 0 in (1, u); empty: they do count) m0 is 0. zeros (R,):
    some unit is zero throughout, or may be. hints (most, 2 + k): region, row and basis of undecided
    rows; returns how many there are. contacts (R, m0 + N, k), or empty: a point near the walls of
    facets, so far as floats find them, NaN for other rows."""
    k, N = T.base.shape[0] - 2, T.base.shape[1]
    box = len(horizon) == 0
    m0 = len(T.rows) if box else 0
    most = m0 + N + 1 + 2 * k
    C = Cell(
        np.empty((most, k)), np.empty(most), np.empty(most), np.ones(most, np.bool_),
        np.empty(k), np.empty(most), np.empty((most, k)),
    )
    G, bits = np.empty((k + 4, N)), np.empty(N, np.uint8)
    ids, own = np.empty(most, np.int64), np.empty(most, np.uint8)
    hint, frame = np.empty((most, k), np.int64), np.zeros((k + 1, k + 1))
    count = 0
    for r in range(len(patterns)):
        unpack(patterns[r], bits)
        pattern_forms(T, bits, G)
        for i in range(m0):
            C.A[i], C.b[i], C.drift[i], ids[i] = T.rows[i], T.bounds[i], T.slack[i], i
        zeros[r] = some_zero(G)
        C.p[:] = points[r]
        n = wall_rows(G, bits, m0, m0, C, ids, status[r], horizon)
        if n < 0:
            status[r], zeros[r] = UNDECIDED, True
            continue
        real, reach = n, 1.0
        if not box:
            n, real = project(C, n, points[r], horizon, frame)
            reach = REACH
        classify(C, n, real, own, hint, reach)
        own_rows = real if box else real - 1  # without the horizon
        for i in range(own_rows):
            status[r, ids[i]] = own[i]
            if r < len(contacts):
                contacts[r, ids[i]] = C.contact[i] if box else laid_back(frame, C.contact[i])
            if own[i] == UNDECIDED and hint[i, 0] >= 0 and count < len(hints):
                hints[count, 0], hints[count, 1] = r, ids[i]
                for c in range(k):
                    hints[count, 2 + c] = ids[hint[i, c]] if hint[i, c] < own_rows else -1
                count += 1
    return count


@kernel
def fill_facet_rows(
    T: Tables, patterns: np.ndarray, starts: np.ndarray, rows: np.ndarray, A: np.ndarray,
    b: np.ndarray,
) -> None:
    """A (F, k), b (F,): the half-spaces a.u <= b with unit normals of listed facets; NaN where
    rounding hides them."""
    k, N, m0 = T.base.shape[0] - 2, T.base.shape[1], len(T.rows)
    G, bits = np.empty((k + 4, N)), np.empty(N, np.uint8)
    for r in range(len(patterns)):
        unpack(patterns[r], bits)
        pattern_forms(T, bits, G)
        for f in range(starts[r], starts[r + 1]):
            if rows[f] < m0:
                A[f], b[f] = T.rows[rows[f]], T.bounds[rows[f]]
                continue
            j = rows[f] - m0
            s = 1.0 if bits[j] == 1 else -1.0
            length = 0.0
            for c in range(k):
                length += G[1 + c, j] * G[1 + c, j]
            length = np.sqrt(length)
            if not (1e9 * G[k + 3, j] < length < np.inf):
                A[f], b[f] = np.nan, np.nan
                continue
            for c in range(k):
                A[f, c] = -s * G[1 + c, j] / length
            b[f] = s * G[0, j] / length
