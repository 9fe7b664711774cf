# SPDX-License-Identifier: Apache-2.0
"""The activation regions of a subdivision: their patterns, points inside them, polygons."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from isoform.regions.subdivision import Subdivision

if TYPE_CHECKING:
    from isoform.regions.subdivision_kernel import Complex


@dataclass(frozen=True, slots=True, eq=False)
class CellList:
    """The activation regions, sorted by pattern.

    patterns (R, ceil(N / 8)) uint8: packed bits, unit 0 the highest bit of byte 0. lowest (R,)
    int32: each region's lowest vertex for the subdivision's linear function.
    """

    patterns: np.ndarray
    lowest: np.ndarray


def cells(found: Subdivision) -> CellList:
    """The activation regions of a subdivision, each once, sorted by pattern."""
    patterns, lowest = words_of_cells(found)
    order = np.lexsort(patterns.T[::-1])
    patterns, lowest = patterns[order], lowest[order]
    packed = patterns.astype(">u8").view(np.uint8)[:, : -(-found.units // 8)]
    return CellList(np.ascontiguousarray(packed), lowest)


def words_of_cells(found: Subdivision) -> tuple[np.ndarray, np.ndarray]:
    """Patterns (R, words) uint64 and lowest vertices, in the order of the vertices."""
    from isoform.regions.lowest_vertex import listed

    faces = 2 * found.dimension
    return listed(found.walls, found.active, rising(found), faces, found.regions)


def rising(found: Subdivision) -> np.ndarray:
    """(V, k, 2): upper ends of the rising edges at each vertex, see `risen_ends`."""
    from isoform.regions.lowest_vertex import risen_ends

    return risen_ends(complex_of(found), found.heights, found.places, 2 * found.dimension)


def complex_of(found: Subdivision) -> Complex:
    """The arrays as the compiled functions take them."""
    from isoform.regions.subdivision_kernel import Complex

    none = np.zeros((len(found.points), 0))
    return Complex(found.points, found.walls, found.active, none, found.edges)


def words(patterns: np.ndarray, units: int) -> np.ndarray:
    """Packed patterns (R, ceil(N / 8)) as words (R, words) of 64 units, unit 0 the highest bit."""
    count = max(1, -(-units // 64))
    padded = np.zeros((len(patterns), 8 * count), dtype=np.uint8)
    padded[:, : patterns.shape[1]] = patterns
    return padded.view(">u8").astype(np.uint64)


def inner_points(found: Subdivision, listing: CellList) -> np.ndarray:
    """A point (R, k) inside each region: the mean of its lowest vertex and of the k ends of the
    edges that leave it there."""
    from isoform.regions.lowest_vertex import middles

    return middles(
        complex_of(found), rising(found), 2 * found.dimension,
        words(listing.patterns, found.units), listing.lowest,
    )


def polygons(found: Subdivision, listing: CellList) -> tuple[np.ndarray, np.ndarray]:
    """The regions in the plane as vertex cycles, counterclockwise: (starts (R + 1,), corners), the
    corners of region r being vertices corners[starts[r]:starts[r + 1]]. ValueError where k != 2."""
    from isoform.regions.polygons import traced

    if found.dimension != 2:
        raise ValueError("polygons are of two dimensions")
    return traced(complex_of(found), words(listing.patterns, found.units))
