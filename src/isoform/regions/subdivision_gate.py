# SPDX-License-Identifier: Apache-2.0
"""Whether a finished subdivision can be trusted: everything again, from the vertices alone.

The subdivision is right if every sign that it rests on is the sign at the true vertex. Two things
can be wrong with a computed sign: rounding in the pre-activation, and the place of the vertex. The
first is bounded by the layers' error bounds, and 1000 times as much is asked. For the second, let r
be the pre-activation of a wall at its computed vertex with its error, and s its slope along an edge
that leaves this wall (and no other): then the true vertex lies at most the sum of r / s over the
walls away, to first order. No other pre-activation may change its sign within 16 times that
distance, given the steepest slope that it can have, and no edge may be as short.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from isoform.regions.kernel import kernel
from isoform.regions.subdivision_kernel import Complex
from isoform.regions.subdivision_values import CHUNK, TINY, UNIT, FloatLayer, span, steepest

ROOM = 1000.0  # error bounds between a pre-activation and zero
PLACE_ROOM = 16.0  # of the first-order distance to the true vertex
FIRM, WRONG_SIGN, NEAR_ZERO, OFF_WALL, NEAR_OTHERS, SHORT = 0, 1, 2, 3, 4, 5


class Near(NamedTuple):
    """By vertex: rest (V, k), residual at each wall with its error; flat (V, k), one over the least
    slope of an edge that leaves the wall; clear (V,), how far other units keep their signs."""

    rest: np.ndarray
    flat: np.ndarray
    clear: np.ndarray


class Star(NamedTuple):
    """The edges at each vertex b: ends[starts[b]..starts[b + 1]] are 2 e + end, with b at that end
    of edge e. places (E, 2): the wall that an edge leaves at each end. long (E,): lengths."""

    starts: np.ndarray
    ends: np.ndarray
    places: np.ndarray
    long: np.ndarray


@kernel
def star(held: Complex, places: np.ndarray) -> Star:
    """The edges of a complex by vertex."""
    points, edges = held.points, held.edges
    starts = np.zeros(len(points) + 1, dtype=np.int64)
    long = np.empty(len(edges))
    for e in range(len(edges)):
        starts[edges[e, 0]] += 1
        starts[edges[e, 1]] += 1
        total = 0.0
        for i in range(points.shape[1]):
            total += (points[edges[e, 0], i] - points[edges[e, 1], i]) ** 2
        long[e] = np.sqrt(total)
    total_ends = 0
    for v in range(len(starts)):
        total_ends += starts[v]
        starts[v] = total_ends
    ends = np.empty(2 * len(edges), dtype=np.int64)
    for e in range(len(edges)):
        for end in range(2):
            v = edges[e, end]
            starts[v] -= 1
            ends[starts[v]] = 2 * e + end
    return Star(starts, ends, places, long)


@kernel
def slopes_at(
    held: Complex, about: Star, near: Near, begin: int, z: np.ndarray, bounds: np.ndarray
) -> None:
    """Take down the slopes along all edges that end at vertices begin.., where the pre-activations
    are z (N, count)."""
    faces = len(bounds)
    for i in range(z.shape[1]):
        for at in range(about.starts[begin + i], about.starts[begin + i + 1]):
            e, end = about.ends[at] >> 1, about.ends[at] & 1
            a = held.edges[e, 1 - end]
            p = about.places[e, 1 - end]
            j = held.walls[a, p]
            value = z[j - faces, i] if j >= faces else held.points[begin + i, j >> 1] - bounds[j]
            near.flat[a, p] = max(near.flat[a, p], about.long[e] / abs(value))


@kernel(error_model="numpy")
def mark_walls(
    held: Complex, near: Near, begin: int, z: np.ndarray, faces: int, errors: np.ndarray
) -> bool:
    """Take down what is left of pre-activations on their walls, and put -inf in their place.
    Whether it is rounding alone."""
    rounding = True
    for i in range(z.shape[1]):
        for p in range(held.walls.shape[1]):
            j = held.walls[begin + i, p] - faces
            if j >= 0:
                rounding &= abs(z[j, i]) <= ROOM * errors[j]
                near.rest[begin + i, p] = abs(z[j, i]) + errors[j]
                z[j, i] = -np.inf
    return rounding


@kernel(error_model="numpy")
def inspect(
    z: np.ndarray, active: np.ndarray, errors: np.ndarray, slopes: np.ndarray, clear: np.ndarray,
    room: np.ndarray,
) -> bool:
    """Whether the pre-activations z (N, count) agree with the patterns (count, words) of as many
    vertices. Fills clear and room (count,): the least |z| over steepest slopes and over errors."""
    count = z.shape[1]
    word = np.zeros(count, dtype=np.uint64)
    clear[:] = np.inf
    room[:] = np.inf
    for j in range(len(z)):
        shift, per_slope, per_error = np.uint64(63 - (j & 63)), 1 / slopes[j], 1 / errors[j]
        row = z[j]
        for i in range(count):  # plain comparisons, which become vector instructions
            size = abs(row[i])
            far, times = size * per_slope, size * per_error
            clear[i] = far if far < clear[i] else clear[i]
            room[i] = times if times < room[i] else room[i]
        for i in range(count):
            word[i] |= np.uint64(row[i] > 0) << shift
        if j == len(z) - 1 or j & 63 == 63:
            for i in range(count):
                if word[i] != active[i, j >> 6]:
                    return False
                word[i] = 0
    return True


@kernel
def settled(edges: np.ndarray, long: np.ndarray, near: Near) -> tuple[int, np.ndarray]:
    """(status, distance (V,) of every vertex from the true one)."""
    away = (near.rest * near.flat).sum(axis=1)
    for v in range(len(away)):
        if not PLACE_ROOM * away[v] < near.clear[v]:
            return NEAR_OTHERS, away
    for e in range(len(edges)):
        if not PLACE_ROOM * (away[edges[e, 0]] + away[edges[e, 1]]) < long[e]:
            return SHORT, away
    return FIRM, away


class Finding(NamedTuple):
    """status; least |z| over its error bound; away (V,): distance of each vertex from the true
    one."""

    status: int
    least: float
    away: np.ndarray


def inspected(
    held: Complex, places: np.ndarray, layers: tuple[FloatLayer, ...], bounds: np.ndarray,
    errors: np.ndarray,
) -> Finding:
    """Inspect a subdivision. places (E, 2): the wall that an edge leaves at each end. bounds
    (2k,): coordinates of the chart's faces. errors (N,): bounds of rounding in pre-activations."""
    count, k = held.points.shape
    faces = len(bounds)
    near = Near(np.zeros((count, k)), np.zeros((count, k)), np.full(count, np.inf))
    on_face = held.walls < faces  # bounds that are no doubles are rounded
    near.rest[on_face] = UNIT * np.abs(bounds)[held.walls[on_face]]
    about = star(held, places)
    slopes = steepest(layers, len(errors)) + TINY
    height = 1 + k + max((len(layer.reads) for layer in layers), default=0)
    z, terms = np.empty((len(errors), 0)), np.ones((height, 0))
    room = np.full(count, np.inf)
    for begin in range(0, count, CHUNK):
        part = slice(begin, min(begin + CHUNK, count))
        if part.stop - begin != z.shape[1]:
            z = np.empty((len(errors), part.stop - begin))
            terms = np.ones((height, part.stop - begin))
        terms[1 : 1 + k] = held.points[part].T
        for layer in layers:
            read = slice(1 + k, 1 + k + len(layer.reads))
            np.maximum(z[span(layer.reads)], 0.0, out=terms[read])
            np.matmul(layer.rows.T, terms[: read.stop], out=z[layer.first : layer.stop])
        slopes_at(held, about, near, begin, z, bounds)
        if not mark_walls(held, near, begin, z, len(bounds), errors):
            return Finding(OFF_WALL, 0.0, room[:0])
        if not inspect(z, held.active[part], errors, slopes, near.clear[part], room[part]):
            return Finding(WRONG_SIGN, 0.0, room[:0])
    if not room.min() > ROOM:
        return Finding(NEAR_ZERO, float(room.min()), room[:0])
    status, away = settled(held.edges, about.long, near)
    return Finding(status, float(room.min()), away)
