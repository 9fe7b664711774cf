# SPDX-License-Identifier: Apache-2.0
"""Edge subdivision, compiled: the vertices and edges of the complex, cut by one unit after another.

A unit's wall meets an edge whose ends lie on its two sides; the new vertices of two edges of one
2-face are joined by a new edge. Edges hold their two ends only: since pre-activations are affine on
every face, an edge lies on exactly those walls that both ends lie on, and its pattern is the union
of the active units of its ends (a unit counts as inactive at a vertex on its wall). So a 2-face of
an edge is found by leaving one of the edge's walls to one side, and known by a 64-bit hash of its
pattern and of its walls. Two faces with one hash would show: every 2-face is cut at two edges.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from isoform.regions.kernel import kernel

DONE, VANISHES, COINCIDES, UNPAIRED, FULL = 0, 1, 2, 3, 4
GOLDEN = np.uint64(0x9E3779B97F4A7C15)
FIRST_FACTOR = np.uint64(0xBF58476D1CE4E5B9)
SECOND_FACTOR = np.uint64(0x94D049BB133111EB)
ONE = np.uint64(1)
LAST_BIT = 63


class Complex(NamedTuple):
    """Arrays with room to grow; the first so many rows are filled.

    points (V, k). walls (V, k) int32: row ids of the k walls of a vertex, increasing: the chart's
    faces, then m0 + unit. active (V, words) uint64: the active units; unit j is bit 63 - j % 64 of
    word j // 64. values (V, m): outputs of earlier units that are still read, then the
    pre-activations of the layer at work. edges (E, 2) int32: vertices.
    """

    points: np.ndarray
    walls: np.ndarray
    active: np.ndarray
    values: np.ndarray
    edges: np.ndarray


class Table(NamedTuple):
    """A hash table of 2-faces: keys, and the new vertex seen there (-1 free, -2 two seen)."""

    keys: np.ndarray
    who: np.ndarray


@kernel(inline=True)
def mixed(word: np.uint64) -> np.uint64:
    """A word whose every bit hangs on every bit of the argument (the finaliser of splitmix64)."""
    word = (word ^ (word >> np.uint64(30))) * FIRST_FACTOR
    word = (word ^ (word >> np.uint64(27))) * SECOND_FACTOR
    return word ^ (word >> np.uint64(31))


@kernel(inline=True)
def bit_of(unit: int) -> np.uint64:
    return ONE << np.uint64(LAST_BIT - (unit & LAST_BIT))


@kernel(inline=True)
def word_key(word: np.uint64, place: int) -> np.uint64:
    return mixed(word + np.uint64(place + 1) * GOLDEN)


@kernel(inline=True)
def wall_key(wall: int) -> np.uint64:
    return mixed(np.uint64(wall + 1) * SECOND_FACTOR)


@kernel
def grown(
    held: Complex, vertices: int, edges: int, more_vertices: int, more_edges: int
) -> Complex:
    """The same complex with room for more; pages that are not used yet cost nothing."""
    points, walls, active, values, ends = held
    if vertices + more_vertices > len(points):
        room = vertices + more_vertices + 2 * len(points)
        new_points = np.empty((room, points.shape[1]))
        new_walls = np.empty((room, walls.shape[1]), dtype=np.int32)
        new_active = np.empty((room, active.shape[1]), dtype=np.uint64)
        new_values = np.empty((room, values.shape[1]))
        new_points[:vertices] = points[:vertices]
        new_walls[:vertices] = walls[:vertices]
        new_active[:vertices] = active[:vertices]
        new_values[:vertices] = values[:vertices]
        points, walls, active, values = new_points, new_walls, new_active, new_values
    if edges + more_edges > len(ends):
        new_ends = np.empty((edges + more_edges + 2 * len(ends), 2), dtype=np.int32)
        new_ends[:edges] = ends[:edges]
        ends = new_ends
    return Complex(points, walls, active, values, ends)


@kernel
def take_signs(
    held: Complex, vertices: int, first: int, column: int, limits: np.ndarray
) -> int:
    """Write down which units of a layer are active at each vertex. Gives the place of a unit whose
    pre-activation is within its limit at some vertex, or -1."""
    for v in range(vertices):
        for j in range(len(limits)):
            z = held.values[v, column + j]
            if not abs(z) > limits[j]:
                return j
            if z > 0:
                held.active[v, (first + j) >> 6] |= bit_of(first + j)
    return -1


@kernel
def crossings(
    held: Complex, vertices: int, edges: int, unit: int, sign: np.ndarray, split: np.ndarray
) -> int:
    """Fill `split` with the edges whose ends lie on the two sides of a unit's wall."""
    place, shift = unit >> 6, np.uint64(LAST_BIT - (unit & LAST_BIT))
    for v in range(vertices):
        sign[v] = np.uint8((held.active[v, place] >> shift) & ONE)
    ends = held.edges
    count = 0
    for e in range(edges):
        split[count] = e
        count += int(sign[ends[e, 0]] != sign[ends[e, 1]])
    return count


@kernel
def common_walls(walls: np.ndarray, a: int, b: int, into: int) -> int:
    """Write the walls that two vertices share (increasing) to row `into`; gives their number."""
    k = walls.shape[1]
    count, i, j = 0, 0, 0
    while i < k and j < k:
        left, right = walls[a, i], walls[b, j]
        if left == right:
            if count < k:
                walls[into, count] = left
            count += 1
        i += int(left <= right)
        j += int(right <= left)
    return count


@kernel
def insert(
    held: Complex, a: int, b: int, x: int, unit: int, wall: int, layer: tuple[int, int],
    limits: np.ndarray,
) -> tuple[int, int]:
    """Make vertex x where a unit vanishes between vertices a and b.

    layer: number of its first unit, column of that unit in the values. Gives a status, and the
    unit's place for VANISHES.
    """
    points, walls, active, values, _ = held
    first, column = layer
    own = column + unit - first
    if abs(values[a, own]) > abs(values[b, own]):
        a, b = b, a  # interpolate from the nearer end
    t = values[a, own] / (values[a, own] - values[b, own])
    same_a, same_b = True, True
    for i in range(points.shape[1]):
        points[x, i] = points[a, i] + t * (points[b, i] - points[a, i])
        same_a &= points[x, i] == points[a, i]
        same_b &= points[x, i] == points[b, i]
    if same_a or same_b or common_walls(walls, a, b, x) != walls.shape[1] - 1:
        return COINCIDES, 0
    walls[x, walls.shape[1] - 1] = wall
    for c in range(values.shape[1]):
        values[x, c] = values[a, c] + t * (values[b, c] - values[a, c])
    values[x, own] = 0.0
    last = unit >> 6
    for w in range(active.shape[1]):
        active[x, w] = (active[a, w] | active[b, w]) if w <= last else np.uint64(0)
    active[x, last] &= ~((bit_of(unit) << ONE) - ONE)  # keep the units before this one
    for j in range(unit - first + 1, len(limits)):
        z = values[x, column + j]
        if not abs(z) > limits[j]:
            return VANISHES, j
        if z > 0:
            active[x, (first + j) >> 6] |= bit_of(first + j)
    return DONE, 0


@kernel(inline=True)
def meet(table: Table, mask: np.uint64, key: np.uint64, x: int) -> int:
    """Note a new vertex on a 2-face: -1 if it is the first, else the other one (-2: a third)."""
    at = key & mask
    while True:
        other = table.who[at]
        if other == -1:
            table.keys[at] = key
            table.who[at] = x
            return -1
        if table.keys[at] == key:
            table.who[at] = -2
            return other
        at = (at + ONE) & mask


@kernel
def cleared(table: Table, keys: int) -> tuple[Table, np.uint64]:
    """A free table for so many keys, and the mask of its places."""
    size = 16
    while size < 2 * keys:
        size *= 2
    if size > len(table.keys):
        table = Table(np.empty(size, dtype=np.uint64), np.empty(size, dtype=np.int32))
    table.who[:size] = -1
    return table, np.uint64(size - 1)


@kernel
def join(
    held: Complex, table: Table, mask: np.uint64, vertices: int, count: int, edges: int, unit: int,
    faces: int,
) -> int:
    """Add the edges between the `count` new vertices behind the first `vertices`. Gives the number
    of edges then, or -1 where the new vertices do not pair off. faces: the chart's rows."""
    walls, active = held.walls, held.active
    k = walls.shape[1]
    last = unit >> 6
    before = ~((bit_of(unit) << ONE) - ONE)
    open_faces = 0
    for x in range(vertices, vertices + count):
        whole = np.uint64(0)
        for w in range(last + 1):
            word = active[x, w] & before if w == last else active[x, w]
            whole += word_key(word, w)
        for p in range(k - 1):
            whole += wall_key(walls[x, p])
        for p in range(k - 1):
            wall = walls[x, p]
            key = whole - wall_key(wall)
            for side in range(2 if wall >= faces else 1):
                if side == 1:
                    j = wall - faces
                    w = j >> 6
                    word = active[x, w] & before if w == last else active[x, w]
                    key += word_key(word | bit_of(j), w) - word_key(word, w)
                other = meet(table, mask, key, x)
                if other == -2:
                    return -1
                if other == -1:
                    open_faces += 1
                    continue
                open_faces -= 1
                held.edges[edges, 0] = other
                held.edges[edges, 1] = x
                edges += 1
    return edges if open_faces == 0 else -1


@kernel
def cut_layer(
    held: Complex, counts: tuple[int, int], layer: tuple[int, int], faces: int,
    limits: np.ndarray, most: int,
) -> tuple[Complex, tuple[int, int], tuple[int, int]]:
    """Cut by all units of a layer, whose pre-activations stand in the last columns of the values.

    counts: vertices and edges. layer: number of its first unit, column of that unit. faces: rows of
    the chart. limits (n,): nothing may vanish within them except on a wall. most: vertices allowed.
    Gives the complex, its counts, and (status, place of the unit).
    """
    vertices, edges = counts
    k = held.points.shape[1]
    first, column = layer
    place = take_signs(held, vertices, first, column, limits)
    if place >= 0:
        return held, (vertices, edges), (VANISHES, place)
    sign = np.empty(len(held.points), dtype=np.uint8)
    split = np.empty(len(held.edges) + 1, dtype=np.int64)
    table = Table(np.empty(0, dtype=np.uint64), np.empty(0, dtype=np.int32))
    for place in range(len(limits)):
        unit = first + place
        count = crossings(held, vertices, edges, unit, sign, split)
        if vertices + count > most:
            return held, (vertices, edges), (FULL, place)
        held = grown(held, vertices, edges, count, count * k)
        for i in range(count):
            e, x = split[i], vertices + i
            a, b = held.edges[e, 0], held.edges[e, 1]
            status, j = insert(held, a, b, x, unit, faces + unit, layer, limits)
            if status != DONE:
                return held, (vertices, edges), (status, j if status == VANISHES else place)
            held.edges[e, 1] = x
            held.edges[edges + i, 0] = x
            held.edges[edges + i, 1] = b
        edges += count
        table, mask = cleared(table, 2 * count * (k - 1))
        edges = join(held, table, mask, vertices, count, edges, unit, faces)
        vertices += count
        if edges < 0:
            return held, (vertices, 0), (UNPAIRED, place)
        if len(sign) < len(held.points):
            sign = np.empty(len(held.points), dtype=np.uint8)
        if len(split) < len(held.edges) + 1:
            split = np.empty(len(held.edges) + 1, dtype=np.int64)
    return held, (vertices, edges), (DONE, 0)
