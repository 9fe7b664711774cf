# SPDX-License-Identifier: Apache-2.0
"""Linear regions of the kinds `connected` and `affine`, from a list of activation regions.

`affine` counts the distinct affine maps of the outputs, `connected` the open connected sets on
which the function is affine: activation regions with one map that are neighbours through facets
belong together (definitions of arXiv 2505.16716). Floats tell maps apart as far as their error
bounds allow; what they leave together is compared in integers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from isoform.errors import Refused
from isoform.regions.compiled import Tables
from isoform.regions.exact_forms import ExactForms, output_forms
from isoform.regions.facets import Place, adjacency, unpacked
from isoform.regions.listing import Regions

CHUNK = 1 << 14
PROJECTIONS = 3  # rounds of telling float maps apart


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """A coarser kind of region as classes of activation regions.

    labels (R,): the class of every region, numbered from 0 by the first region of each. compared:
    regions whose maps had to be compared in exact arithmetic.
    """

    name: str
    labels: np.ndarray
    compared: int

    @property
    def count(self) -> int:
        return int(self.labels.max(initial=-1)) + 1


def output_maps(place: Place, patterns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The affine maps of the outputs in the chart's coordinates: (R, m, 1 + k) coefficients over
    (1, u), and (R, m) bounds of the sum of the errors in a row."""
    from isoform.regions.region_kernel import output_maps as fill

    tables: Tables = place.compiled.tables
    weights = place.compiled.chart.layers.outputs.dense().to_float()
    k = place.compiled.dimension
    out = np.empty((len(patterns), k + 2, len(weights)))
    fill(tables, patterns, np.ascontiguousarray(weights), out)
    maps = np.ascontiguousarray(out[:, : k + 1].transpose(0, 2, 1))
    return maps, np.ascontiguousarray(out[:, k + 1])


def affine_kind(there: tuple[Place, ...], regions: Regions) -> Kind:
    """Activation regions by the exact affine map of the outputs. A map belongs to the pattern, not
    to the chart, so all are taken in the coordinates of the first."""
    place = there[0]
    clusters = float_clusters(place, regions.patterns)
    sizes = np.bincount(clusters)
    doubtful = np.flatnonzero(sizes[clusters] > 1)
    order = doubtful[np.argsort(clusters[doubtful], kind="stable")]
    labels = clusters.copy()
    fresh = len(sizes)
    seen: dict[tuple[int, ...], int] = {}
    last = -1
    units = place.compiled.units
    for i in order.tolist():
        if clusters[i] != last:
            last = int(clusters[i])
            seen = {}
        key = map_key(place.forms, unpacked(regions.patterns[i][None], units).tobytes())
        if key not in seen:
            seen[key] = fresh
            fresh += 1
        labels[i] = seen[key]
    return Kind("affine", renumbered(labels), len(order))


def map_key(forms: ExactForms, prefix: bytes) -> tuple[int, ...]:
    """The exact affine map of the outputs on a region, as numbers that equal maps share."""
    rows = output_forms(forms, prefix).reduced()
    return (rows.denominator, *rows.numerator.ravel().tolist())


def float_clusters(place: Place, patterns: np.ndarray) -> np.ndarray:
    """Labels (R,) such that regions with equal maps have equal labels, and most others do not.

    Projects the maps on a line: an interval each, which holds the exact value. Equal maps have
    intervals that meet, so a gap between intervals separates. Repeated inside what is left.
    """
    weights: np.ndarray | None = None
    projected, radius = [], []
    for at in range(0, len(patterns), CHUNK):
        maps, errors = output_maps(place, patterns[at : at + CHUNK])
        flat = maps.reshape(len(maps), -1)
        if weights is None:
            random = np.random.default_rng(0)
            weights = random.uniform(-1.0, 1.0, size=(flat.shape[1], PROJECTIONS))
        projected.append(flat @ weights)
        rounding = (flat.shape[1] + 2) * 2.0**-52 * np.abs(flat).sum(axis=1)
        radius.append(errors.sum(axis=1) + rounding)
    if not projected:
        return np.zeros(0, dtype=np.int64)
    values, spans = np.concatenate(projected), np.concatenate(radius)
    labels = np.zeros(len(values), dtype=np.int64)
    for column in values.T:
        labels = split_by(labels, column, spans)
    return labels


def split_by(labels: np.ndarray, values: np.ndarray, spans: np.ndarray) -> np.ndarray:
    """Finer labels: intervals values +- spans of one label that do not meet, even in a chain, get
    different ones."""
    low, high = values - spans, values + spans
    order = np.lexsort((low, labels))
    label, low, high = labels[order], low[order], high[order]
    first = np.concatenate(([True], label[1:] != label[:-1]))
    reach = running_maximum(high, first)
    new = first.copy()
    new[1:] |= low[1:] > reach[:-1]
    result = np.empty(len(labels), dtype=np.int64)
    result[order] = np.cumsum(new) - 1
    return result


def running_maximum(values: np.ndarray, first: np.ndarray) -> np.ndarray:
    """The running maximum that starts anew where `first`."""
    ranks = np.empty(len(values), dtype=np.int64)
    ranks[np.argsort(values, kind="stable")] = np.arange(len(values))
    block = np.cumsum(first) - 1
    best = np.maximum.accumulate(ranks + block * len(values)) - block * len(values)
    return np.sort(values, kind="stable")[best]


def connected_kind(
    there: tuple[Place, ...], regions: Regions, affine: Kind | None = None
) -> Kind:
    """Activation regions by the open connected sets on which the function is affine.

    Only neighbours with one map join, so facets are looked for only where maps occur twice. The
    list has to be complete where every class is to be found whole. Refused for step units.
    """
    if not there[0].compiled.chart.layers.continuous:
        raise Refused(
            "connected regions are counted of continuous networks; with step units take the kinds "
            "activation or affine"
        )
    affine = affine_kind(there, regions) if affine is None else affine
    sizes = np.bincount(affine.labels, minlength=1)
    several = np.flatnonzero(sizes[affine.labels] > 1)
    part = Regions(regions.patterns[several], regions.charts[several], regions.points[several], ())
    pairs = several[adjacency(there, part).pairs] if len(several) else np.zeros((0, 2), np.int64)
    same = affine.labels[pairs[:, 0]] == affine.labels[pairs[:, 1]]
    return Kind("connected", joined(len(regions), pairs[same]), affine.compared)


def joined(count: int, pairs: np.ndarray) -> np.ndarray:
    """Connected components of the numbers 0..count - 1, as labels in order of first appearance."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ones = np.ones(len(pairs), dtype=np.int8)
    graph = coo_array((ones, (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    return renumbered(connected_components(graph, directed=False)[1])


def renumbered(labels: np.ndarray) -> np.ndarray:
    """The same classes, numbered by their first members."""
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first, kind="stable")] = np.arange(len(first))
    return rank[inverse]
