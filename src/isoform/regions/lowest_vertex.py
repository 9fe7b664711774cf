# SPDX-License-Identifier: Apache-2.0
"""The lowest-vertex rule, compiled: count and list the cells of a simple complex, tracing none.

For a linear function that is constant on no edge, every cell, a bounded polytope, has one lowest
vertex. At a vertex on exactly k walls the cells are the choices of a side for each wall, and the
edges of such a cell leave one wall each, on its side; that edge does not hang on the other choices.
So a cell is lowest at the vertex iff its k edges rise, and with up_i in {0, 1, 2} sides of wall i
whose edge rises, prod up_i cells have their lowest vertex there. The e_j(up) faces of dimension j
likewise (elementary symmetric), and sum over vertices of prod (1 - up_i) is the Euler number, 1 for
a polytope.
"""

from __future__ import annotations

import numpy as np

from isoform.regions.kernel import kernel
from isoform.regions.subdivision_kernel import Complex, bit_of


@kernel
def released(walls: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """For each edge the places (E, 2), among the walls of each end, of the one that it leaves;
    -1 where the edge does not leave exactly one."""
    k = walls.shape[1]
    places = np.empty(edges.shape, dtype=np.int8)
    for e in range(len(edges)):
        for end in range(2):
            a, b = edges[e, end], edges[e, 1 - end]
            place, missing = -1, 0
            for p in range(k):
                found = False
                for q in range(k):
                    found |= walls[a, p] == walls[b, q]
                if not found:
                    place = p
                    missing += 1
            places[e, end] = place if missing == 1 else -1
    return places


@kernel
def rises(
    heights: np.ndarray, doubt: np.ndarray, edges: np.ndarray, places: np.ndarray, k: int
) -> tuple[np.ndarray, bool]:
    """up (V, k) for a linear function with these values at the vertices, and whether it is certain,
    the values being known up to `doubt`."""
    up = np.zeros((len(heights), k), dtype=np.uint8)
    certain = True
    for e in range(len(edges)):
        a, b = edges[e, 0], edges[e, 1]
        gap = heights[b] - heights[a]
        certain &= abs(gap) > doubt[a] + doubt[b]
        if gap > 0:
            up[a, places[e, 0]] += 1
        else:
            up[b, places[e, 1]] += 1
    return up, certain


@kernel
def face_numbers(up: np.ndarray) -> tuple[np.ndarray, int]:
    """Numbers of faces of dimension 0..k, and the Euler number."""
    k = up.shape[1]
    faces = np.zeros(k + 1, dtype=np.int64)
    symmetric = np.zeros(k + 1, dtype=np.int64)
    euler = 0
    for v in range(len(up)):
        symmetric[:] = 0
        symmetric[0] = 1
        product = 1
        for i in range(k):
            u = int(up[v, i])
            product *= 1 - u
            for j in range(i + 1, 0, -1):
                symmetric[j] += u * symmetric[j - 1]
        faces += symmetric
        euler += product
    return faces, euler


@kernel
def risen_ends(
    held: Complex, heights: np.ndarray, places: np.ndarray, faces: int
) -> np.ndarray:
    """(V, k, 2): the upper end of the rising edge that leaves wall i to its inactive side (0) or
    active side (1), -1 where there is none. Edges that leave a face of the chart stand at 0."""
    k = held.walls.shape[1]
    ends = np.full((len(heights), k, 2), -1, dtype=np.int32)
    for e in range(len(held.edges)):
        low, high, place = held.edges[e, 0], held.edges[e, 1], places[e, 0]
        if heights[low] > heights[high]:
            low, high, place = high, low, places[e, 1]
        j = held.walls[low, place] - faces
        side = 0
        if j >= 0 and held.active[high, j >> 6] & bit_of(j):
            side = 1
        ends[low, place, side] = high
    return ends


@kernel
def listed(
    walls: np.ndarray, active: np.ndarray, ends: np.ndarray, faces: int, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Patterns (count, words) of all cells, and the lowest vertex of each."""
    k = walls.shape[1]
    patterns = np.empty((count, active.shape[1]), dtype=np.uint64)
    lowest = np.empty(count, dtype=np.int32)
    at = 0
    for v in range(len(walls)):
        for choice in range(1 << k):
            cell = True
            for i in range(k):
                cell &= ends[v, i, (choice >> i) & 1] >= 0
            if not cell:
                continue
            patterns[at] = active[v]
            for i in range(k):
                j = walls[v, i] - faces
                if j >= 0 and (choice >> i) & 1:
                    patterns[at, j >> 6] |= bit_of(j)
            lowest[at] = v
            at += 1
    return patterns, lowest


@kernel
def middles(
    held: Complex, ends: np.ndarray, faces: int, patterns: np.ndarray, lowest: np.ndarray
) -> np.ndarray:
    """A point inside each cell: the mean of its lowest vertex and the ends of the edges there."""
    k = held.walls.shape[1]
    points = np.empty((len(lowest), k))
    for r in range(len(lowest)):
        v = lowest[r]
        points[r] = held.points[v]
        for i in range(k):
            j = held.walls[v, i] - faces
            side = 0
            if j >= 0 and patterns[r, j >> 6] & bit_of(j):
                side = 1
            points[r] += held.points[ends[v, i, side]]
        points[r] /= k + 1
    return points
