# SPDX-License-Identifier: Apache-2.0
"""The cells of a subdivision of the plane as vertex cycles, compiled."""

from __future__ import annotations

import numpy as np

from isoform.regions.kernel import kernel
from isoform.regions.subdivision_kernel import Complex, Table, bit_of, cleared, word_key

FACES = 4  # of the chart: a box in the plane


@kernel
def key_of(words: np.ndarray) -> np.uint64:
    total = np.uint64(0)
    for w in range(len(words)):
        total += word_key(words[w], w)
    return total


@kernel
def place_of(table: Table, mask: np.uint64, cells: np.ndarray, words: np.ndarray) -> int:
    """The cell of a pattern, or where a new pattern goes in the table, as -1 - place."""
    at = key_of(words) & mask
    while True:
        cell = table.who[at]
        if cell == -1:
            return -1 - int(at)
        if np.all(cells[cell] == words):
            return int(cell)
        at = (at + np.uint64(1)) & mask


@kernel
def beside(held: Complex, cells: np.ndarray) -> np.ndarray:
    """The cells (E, 2) on the two sides of every edge, -1 outside the box."""
    table = Table(np.empty(0, dtype=np.uint64), np.empty(0, dtype=np.int32))
    table, mask = cleared(table, len(cells))
    for r in range(len(cells)):
        table.who[-1 - place_of(table, mask, cells, cells[r])] = r
    found = np.full(held.edges.shape, -1, dtype=np.int32)
    words = np.empty(cells.shape[1], dtype=np.uint64)
    for e in range(len(held.edges)):
        a, b = held.edges[e, 0], held.edges[e, 1]
        words[:] = held.active[a] | held.active[b]
        found[e, 0] = place_of(table, mask, cells, words)
        left, right = held.walls[a], held.walls[b]
        wall = left[0] if left[0] == right[0] or left[0] == right[1] else left[1]
        if wall >= FACES:
            j = wall - FACES
            words[j >> 6] |= bit_of(j)
            found[e, 1] = place_of(table, mask, cells, words)
    return found


@kernel
def walked(edges: np.ndarray, own: np.ndarray, points: np.ndarray, cycle: np.ndarray) -> None:
    """Write the edges of one cell as a cycle of vertices, counterclockwise; changes `own`."""
    n = len(own)
    start, at = edges[own[0], 0], edges[own[0], 1]
    cycle[0] = start
    for i in range(1, n):
        cycle[i] = at
        for m in range(i, n):
            a, b = edges[own[m], 0], edges[own[m], 1]
            if a == at or b == at:
                own[i], own[m] = own[m], own[i]
                at = b if a == at else a
                break
    area = 0.0
    origin = points[cycle[0]]
    for i in range(1, n - 1):
        p, q = points[cycle[i]] - origin, points[cycle[i + 1]] - origin
        area += p[0] * q[1] - p[1] * q[0]
    if area < 0:
        cycle[:] = cycle[::-1].copy()


@kernel
def traced(held: Complex, cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(starts (R + 1,), corners): the vertex cycle of each cell. cells (R, words): patterns."""
    sides = beside(held, cells)
    starts = np.zeros(len(cells) + 1, dtype=np.int64)
    for e in range(len(sides)):
        for s in range(2):
            if sides[e, s] >= 0:
                starts[sides[e, s] + 1] += 1
    starts = np.cumsum(starts)
    filled = starts[:-1].copy()
    edges = np.empty(starts[-1], dtype=np.int64)
    for e in range(len(sides)):
        for s in range(2):
            r = sides[e, s]
            if r >= 0:
                edges[filled[r]] = e
                filled[r] += 1
    corners = np.empty(starts[-1], dtype=np.int32)
    for r in range(len(cells)):
        part = slice(starts[r], starts[r + 1])
        walked(held.edges, edges[part], held.points, corners[part])
    return starts, corners
