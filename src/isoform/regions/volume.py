# SPDX-License-Identifier: Apache-2.0
"""Volumes of regions, and regions of the plane as polygons. Floating-point values, not decisions.

Everything is in the coordinates of the inputs, not in those of the chart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from isoform.errors import Refused
from isoform.regions.exact_cell import half_spaces
from isoform.regions.exact_forms import Row
from isoform.regions.exact_volume import polygon, volume
from isoform.regions.facets import Facets, Place, facets_of, unpacked
from isoform.regions.listing import Regions

LARGEST_DIMENSION = 4
THIN = 1e-7  # distance of a witness from a facet: nearer ones are left to rationals
SHARP = 1e-6  # sine of an angle between sides, likewise


@dataclass(frozen=True, slots=True, eq=False)
class Polygons:
    """Regions of the plane: polygon i has the corners starts[i]..starts[i + 1] of corners (F, 2),
    counter-clockwise; side f goes from corner f to the next, on the facet with row id rows[f]."""

    starts: np.ndarray
    corners: np.ndarray
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, region: int) -> np.ndarray:
        """The corners of one polygon, (n, 2)."""
        return self.corners[self.starts[region] : self.starts[region + 1]]

    def areas(self) -> np.ndarray:
        """(R,)."""
        here, nxt = self.corners, self.corners[following(self.starts)]
        origin = np.repeat(here[self.starts[:-1]], np.diff(self.starts), axis=0)
        a, b = here - origin, nxt - origin
        return np.add.reduceat(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0], self.starts[:-1]) / 2


def following(starts: np.ndarray) -> np.ndarray:
    """The number of the next entry of the same region, in a circle."""
    nxt = np.arange(1, starts[-1] + 1)
    nxt[starts[1:] - 1] = starts[:-1]
    return nxt


def bounded_place(there: tuple[Place, ...], what: str) -> Place:
    if there[0].whole:
        raise Refused(f"{what} of regions of all of space are infinite; give a bounded domain")
    return there[0]


def facet_rows(place: Place, regions: Regions, facets: Facets) -> tuple[np.ndarray, np.ndarray]:
    """(A, b): the half-spaces a.(u - witness) <= b of all facets with unit normals, in chart
    coordinates; NaN where floats do not know them."""
    from isoform.regions.region_kernel import fill_facet_rows

    A, b = np.empty((len(facets.rows), place.compiled.dimension)), np.empty(len(facets.rows))
    fill_facet_rows(place.compiled.tables, regions.patterns, facets.starts, facets.rows, A, b)
    return A, b - (A * regions.points[facets.regions()]).sum(axis=1)  # about it: small numbers


def exact_rows(place: Place, regions: Regions, facets: Facets, region: int) -> list[Row]:
    """The rows of the facets of one region over (1, u)."""
    ids = facets.rows[facets.starts[region] : facets.starts[region + 1]].tolist()
    prefix = unpacked(regions.patterns[region][None], place.compiled.units).tobytes()
    m0 = place.own_rows
    return [
        place.forms.chart_rows[i] if i < m0
        else next(iter(half_spaces(place.forms, prefix, [i - m0], place.horizon)))
        for i in ids
    ]


def thin(facets: Facets, b: np.ndarray) -> np.ndarray:
    """Whether (R,) a witness is so near to a facet that floats say little about the region."""
    return np.logical_or.reduceat(~(b > THIN), facets.starts[:-1])


def moved(place: Place, points: np.ndarray) -> np.ndarray:
    """Points of the chart (n, k) as inputs (n, d)."""
    chart = place.compiled.chart
    return points @ chart.matrix[1:].to_float().T + chart.constant[1:].to_float()


def scale(place: Place) -> float:
    """The volume of a unit cube of the chart; the chart has as many dimensions as inputs."""
    return float(abs(np.linalg.det(place.compiled.chart.matrix[1:].to_float())))


def polygons(
    there: tuple[Place, ...], regions: Regions, facets: Facets | None = None
) -> Polygons:
    """The regions of a network of two inputs as polygons. Refused for all of space and for another
    number of inputs."""
    place = bounded_place(there, "polygons")
    if place.compiled.dimension != 2:
        raise Refused(
            f"polygons are regions of two inputs, this network has {place.compiled.dimension}; "
            "take a slice through two of them"
        )
    facets = facets_of(there, regions) if facets is None else facets
    corners, rows, _ = chart_polygons(place, regions, facets)
    return Polygons(facets.starts, moved(place, corners), rows)


def chart_polygons(
    place: Place, regions: Regions, facets: Facets
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Corners (F, 2) in the coordinates of the chart, row ids of the sides (F,), areas there (R,).
    Exact and then rounded for regions that are thin or have a sharp corner."""
    A, b = facet_rows(place, regions, facets)
    owner = facets.regions()
    order = np.lexsort((np.arctan2(A[:, 1], A[:, 0]), owner))
    A, b, rows = A[order], b[order], facets.rows[order]
    before = np.empty(len(A), dtype=np.int64)
    before[following(facets.starts)] = np.arange(len(A))
    P, p = A[before], b[before]
    cross = P[:, 0] * A[:, 1] - P[:, 1] * A[:, 0]
    doubtful = thin(facets, b) | np.logical_or.reduceat(~(cross > SHARP), facets.starts[:-1])
    cross[doubtful[owner]] = 1.0
    corners = np.stack([p * A[:, 1] - b * P[:, 1], b * P[:, 0] - p * A[:, 0]], axis=1)
    corners /= cross[:, None]
    areas = Polygons(facets.starts, corners, rows).areas()
    corners += regions.points[owner]
    for region in np.flatnonzero(doubtful).tolist():
        part = slice(facets.starts[region], facets.starts[region + 1])
        forms = exact_rows(place, regions, facets, region)
        places, points = polygon(forms)
        corners[part], rows[part] = np.array(points, float), facets.rows[part][places]
        areas[region] = float(volume(forms))
    return corners, rows, areas


def volumes(
    there: tuple[Place, ...], regions: Regions, facets: Facets | None = None
) -> np.ndarray:
    """(R,) volumes of the regions inside the domain, in up to four dimensions.

    By hand in one and two; by qhull (scipy) in three and four, some milliseconds a region; in
    rationals, then rounded, for regions too thin for floats.
    Refused for all of space and for more dimensions.
    """
    place = bounded_place(there, "volumes")
    k = place.compiled.dimension
    if k > LARGEST_DIMENSION:
        raise Refused(f"volumes are offered in up to {LARGEST_DIMENSION} dimensions, not in {k}")
    facets = facets_of(there, regions) if facets is None else facets
    if len(regions) == 0:
        return np.zeros(0)
    if k == 2:
        return chart_polygons(place, regions, facets)[2] * scale(place)
    A, b = facet_rows(place, regions, facets)
    found = np.full(len(regions), np.nan)
    if k == 1:
        found = np.add.reduceat(b, facets.starts[:-1])
    found[thin(facets, b)] = np.nan
    for region in np.flatnonzero((k > 2) | np.isnan(found)).tolist():
        part = slice(facets.starts[region], facets.starts[region + 1])
        known = hull_volume(A[part], b[part]) if k > 2 and b[part].min() > THIN else None
        if known is None:
            known = float(volume(exact_rows(place, regions, facets, region)))
        found[region] = known
    return found * scale(place)


def hull_volume(A: np.ndarray, b: np.ndarray) -> float | None:
    """The volume of {a.u <= b}, b > 0, bounded; None where qhull gives up."""
    from scipy.spatial import ConvexHull, HalfspaceIntersection, QhullError

    size = b.max()
    rows = np.concatenate([A, -b[:, None] / size], axis=1)
    try:
        corners = HalfspaceIntersection(rows, np.zeros(A.shape[1])).intersections
        corners = corners[np.isfinite(corners).all(axis=1)]
        return float(ConvexHull(corners).volume * size ** A.shape[1])
    except (QhullError, ValueError):
        return None
