# SPDX-License-Identifier: Apache-2.0
"""Linear regions of a generic network on a box of few dimensions, by edge subdivision.

The box's vertices and edges are cut by the wall of one unit after another; the activation regions
are then counted and listed by the lowest-vertex rule (`lowest_vertex`), each once, without hashing
cells. All of this is right for generic networks only: every vertex on exactly k walls, no
pre-activation close to zero anywhere else. A gate (`subdivision_gate`) sees to it and gives
`NotGeneric` otherwise; other searches take over then. Subdividing edges, with signs at vertices and
hashes of faces, is the method of Berzins (arXiv 2306.07212).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from isoform.errors import TooLarge
from isoform.network.charts import Chart
from isoform.regions.subdivision_values import (
    FloatLayer,
    errors_of,
    float_layers,
    read_after,
    span,
)

if TYPE_CHECKING:
    from isoform.regions.subdivision_kernel import Complex

MOST_DIMENSIONS = 8  # beyond about 5 there are too many vertices for each region
MOST_VERTICES = 2**30
DIRECTIONS = 8  # linear functions tried until two are certain of the order along every edge


@dataclass(frozen=True, slots=True)
class NotGeneric:
    """The answer would not be certain; `why` says where the network is degenerate, or nearly."""

    why: str


@dataclass(frozen=True, slots=True, eq=False)
class Subdivision:
    """The complex that the units' walls cut out of the box of a chart of dimension k.

    points (V, k) float64: the vertices. walls (V, k) int32: the row ids of the k walls of each,
    increasing: chart rows 0..2k - 1, then 2k + j for unit j. edges (E, 2) int32: vertices; an edge
    lies on the walls that its ends share. active (V, words) uint64: active units at each vertex,
    unit j in bit 63 - j % 64 of word j // 64, units on whose wall the vertex lies not among them.
    faces (k + 1,): numbers of faces of each dimension, the last one that of the activation regions.
    units: N. room: the least |pre-activation| at a vertex off its wall, in units of its rounding
    error. heights (V,): the linear function whose lowest vertices list the regions; places (E, 2)
    int8: at each end of an edge the place, in the row of `walls`, of the wall that the edge leaves.
    """

    points: np.ndarray
    walls: np.ndarray
    edges: np.ndarray
    active: np.ndarray
    faces: tuple[int, ...]
    units: int
    room: float
    heights: np.ndarray
    places: np.ndarray

    @property
    def dimension(self) -> int:
        return self.points.shape[1]

    @property
    def regions(self) -> int:
        """How many activation regions there are."""
        return self.faces[-1]

    @property
    def euler(self) -> int:
        """Alternating sum of the numbers of faces: 1, as the gate has seen."""
        return sum((-1) ** j * n for j, n in enumerate(self.faces))


def subdivide(chart: Chart, most_vertices: int = MOST_VERTICES) -> Subdivision | NotGeneric:
    """Vertices, edges and numbers of regions of a continuous network on a box of dimension 1..8.

    Time and memory are proportional to the number of vertices, about 1.05 a region in the plane,
    1.5 in dimension 5, 11 in dimension 8. Raises ValueError for a chart with rows beyond its box, a
    network with step units or more dimensions; TooLarge beyond `most_vertices`.
    """
    if chart.more is not None or not chart.layers.continuous:
        raise ValueError("a subdivision is of a continuous network on a box")
    if not 1 <= chart.dimension <= MOST_DIMENSIONS:
        raise ValueError(f"a subdivision is of dimension 1 to {MOST_DIMENSIONS}")
    layers = tuple(layer for layer in float_layers(chart) if layer.size)
    low, high = chart.low.to_float(), chart.high.to_float()
    numbers = [low, high, *(layer.rows for layer in layers)]
    if not all(np.all(np.isfinite(part)) for part in numbers):
        return NotGeneric("a weight or a bound of the domain is beyond the largest double")
    if not np.all(low < high):
        return NotGeneric("the domain is narrower than doubles can tell")
    held, errors = cut(layers, low, high, chart.layers.units, most_vertices)
    if isinstance(errors, NotGeneric):
        return errors
    return counted(held, layers, errors, low, high)


def box_complex(low: np.ndarray, high: np.ndarray, units: int) -> Complex:
    """Vertices and edges of a box."""
    from isoform.regions.subdivision_kernel import Complex

    k = len(low)
    upper = (np.arange(2**k)[:, None] >> np.arange(k)) & 1
    walls = (2 * np.arange(k) + upper).astype(np.int32)
    ends = [(v, v | 1 << i) for v in range(2**k) for i in range(k) if not v >> i & 1]
    return Complex(
        np.where(upper == 1, high, low), walls,
        np.zeros((2**k, max(1, -(-units // 64))), dtype=np.uint64), np.zeros((2**k, 0)),
        np.array(ends, dtype=np.int32),
    )


def cut(
    layers: tuple[FloatLayer, ...], low: np.ndarray, high: np.ndarray, units: int, most: int
) -> tuple[Complex, np.ndarray | NotGeneric]:
    """Cut a box by all units. Gives the complex and a bound (N,) of the rounding of each unit's
    pre-activations on the box."""
    from isoform.regions.subdivision_gate import ROOM
    from isoform.regions.subdivision_kernel import Complex, cut_layer

    held = box_complex(low, high, units)
    vertices, edges = held.points.shape[0], held.edges.shape[0]
    errors, lengths = np.zeros(units), list[float]()
    kept = np.zeros(0, dtype=np.int64)  # units whose outputs stand in the values
    for number, layer in enumerate(layers):
        keep = read_after(layers, number)
        values = np.empty((len(held.points), len(keep) + layer.size))
        peaks = layer.evaluate(
            held.points[:vertices], held.values, np.searchsorted(kept, layer.reads),
            values[:vertices],
        )
        values[:vertices, : len(keep)] = np.maximum(
            held.values[:vertices, span(np.searchsorted(kept, keep))], 0.0
        )
        errors_of(layers, number, peaks, errors, lengths)
        held, (vertices, edges), (status, place) = cut_layer(
            Complex(held.points, held.walls, held.active, values, held.edges), (vertices, edges),
            (layer.first, len(keep)), 2 * len(low), ROOM * errors[layer.first : layer.stop], most,
        )
        doubt = stopped(status, layer.first + place, most)
        if doubt is not None:
            return held, doubt
        kept = np.concatenate([keep, np.arange(layer.first, layer.stop)])
    none = np.empty((vertices, 0))
    points, walls, active = (a[:vertices].copy() for a in held[:3])
    return Complex(points, walls, active, none, held.edges[:edges].copy()), errors


def stopped(status: int, unit: int, most: int) -> NotGeneric | None:
    """What a status of the cutting means."""
    from isoform.regions.subdivision_kernel import (
        COINCIDES,
        DONE,
        FULL,
        UNPAIRED,
        VANISHES,
    )

    if status == FULL:
        raise TooLarge(
            f"the subdivision has more than {most:,} vertices at unit {unit}; "
            "allow more, or count on a smaller domain"
        )
    why = {
        VANISHES: f"unit {unit} is as good as zero at a vertex that is not on its wall",
        COINCIDES: f"the wall of unit {unit} meets an edge at its end",
        UNPAIRED: f"the wall of unit {unit} does not cut every face in two",
    }
    return None if status == DONE else NotGeneric(why[status])


def counted(
    held: Complex, layers: tuple[FloatLayer, ...], errors: np.ndarray, low: np.ndarray,
    high: np.ndarray,
) -> Subdivision | NotGeneric:
    """Inspect a finished complex and count its faces."""
    from isoform.regions.lowest_vertex import released
    from isoform.regions.subdivision_gate import inspected

    places = released(held.walls, held.edges)
    if np.any(places < 0):
        return NotGeneric("an edge does not leave exactly one wall at each end")
    bounds = np.stack([low, high], axis=1).ravel()
    finding = inspected(held, places, layers, bounds, errors)
    doubt = doubted(finding.status)
    if doubt is not None:
        return doubt
    along = counted_along_two(held, places, finding.away, high - low)
    if isinstance(along, NotGeneric):
        return along
    faces, heights = along
    return Subdivision(
        held.points, held.walls, held.edges, held.active, faces, len(errors), finding.least,
        heights, places,
    )


def counted_along_two(
    held: Complex, places: np.ndarray, away: np.ndarray, widths: np.ndarray
) -> tuple[tuple[int, ...], np.ndarray] | NotGeneric:
    """Numbers of faces, found along two directions, and the heights along the first. away (V,):
    distances from the true vertices. widths (k,): of the box."""
    from isoform.regions.lowest_vertex import face_numbers, rises

    random = np.random.default_rng(2306)
    found: list[tuple[tuple[int, ...], int, np.ndarray]] = []
    for _ in range(DIRECTIONS):
        direction = random.normal(size=len(widths)) / widths
        heights = held.points @ direction
        size = float(np.linalg.norm(direction))
        rounding = 2.0**-50 * len(widths) * float(np.abs(held.points).max()) * size
        up, certain = rises(heights, 2 * size * away + rounding, held.edges, places, len(widths))
        if certain:
            numbers, euler = face_numbers(up)
            found.append((tuple(int(n) for n in numbers), euler, heights))
        if len(found) == 2:
            break
    else:
        return NotGeneric("too many edges are too short to tell their higher end")
    (faces, euler, heights), (again, euler_again, _) = found
    if faces != again or (euler, euler_again) != (1, 1):
        return NotGeneric(
            f"counts along two directions are {faces} and {again}, Euler numbers {euler} and "
            f"{euler_again} in place of 1"
        )
    return faces, heights


def doubted(status: int) -> NotGeneric | None:
    """What a status of the inspection means."""
    from isoform.regions.subdivision_gate import (
        FIRM,
        NEAR_OTHERS,
        NEAR_ZERO,
        OFF_WALL,
        SHORT,
        WRONG_SIGN,
    )

    why = {
        NEAR_ZERO: "a unit is as good as zero at a vertex that is not on its wall",
        OFF_WALL: "a vertex is not on its walls when they are computed again",
        NEAR_OTHERS: "a vertex is not known well enough to tell the sign of every unit there",
        SHORT: "two vertices are too close to tell apart",
        WRONG_SIGN: "a unit changes its sign at a vertex when it is computed again",
    }
    return None if status == FIRM else NotGeneric(why[status])
