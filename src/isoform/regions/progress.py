# SPDX-License-Identifier: Apache-2.0
"""How far an enumeration is: counts, speed, and the share of the domain that is already listed.

The share is the fraction of fixed random points whose pattern is listed: an estimate (by floats,
with a standard error of at most 0.016), never part of a claim.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from isoform.network.charts import Chart
from isoform.network.unit_layers import UnitLayers
from isoform.numerics.exact import Exact
from isoform.regions.listing import Listing

POINTS = 1000
SEED = 20
PatternsAt = Callable[[Chart, np.ndarray], np.ndarray]


@dataclass(frozen=True, slots=True)
class Progress:
    """regions: listed up to now, earlier runs included. found: in this run. open_tasks: subtrees
    that wait. seconds: of this run. rate: regions a second in this run. share: of the volume of the
    domain (of its box [-1, 1]^d for all of space), None where it is not known. compiling: the
    search is compiled first, which takes a while and happens once."""

    regions: int
    found: int
    open_tasks: int
    seconds: float
    rate: float
    share: float | None
    compiling: bool = False


class Share:
    """The share of random points of a chart whose pattern is listed."""

    def __init__(self, chart: Chart, patterns_at: PatternsAt):
        self.chart, self.patterns_at = chart, patterns_at
        self.missing: np.ndarray | None = None
        self.total = 0

    def update(self, listing: Listing) -> float | None:
        """The share now. Points once found are not looked for again."""
        if self.missing is None:
            inside = listing.interior()
            if inside is None:
                return None
            points = random_points(self.chart, POINTS, inside)
            self.missing = self.patterns_at(self.chart, points)
            self.total = max(1, len(self.missing))
        self.missing = self.missing[~listing.listed(self.missing)]
        return 1.0 - len(self.missing) / self.total


def random_points(chart: Chart, count: int, inside: np.ndarray) -> np.ndarray:
    """(count, k) points of a chart, uniform for a box; for a polytope near to it: that many walks
    of hit-and-run from one inner point. The same for the same arguments."""
    random = np.random.default_rng(SEED)
    k = chart.dimension
    if chart.more is None:
        return random.uniform(-1.0, 1.0, (count, k))
    A, b = (part.to_float() for part in chart.rows)
    points = np.tile(inside, (count, 1))
    for _ in range(20 + 10 * k):
        way = random.standard_normal((count, k))
        rate, room = way @ A.T, np.maximum(b - points @ A.T, 0.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            steps = room / rate
        ahead = np.where(rate > 0, steps, np.inf).min(axis=1)
        behind = np.where(rate < 0, steps, -np.inf).max(axis=1)
        points += way * (behind + (ahead - behind) * random.random(count))[:, None]
    return points


def float_patterns(chart: Chart, points: np.ndarray) -> np.ndarray:
    """(n, ceil(N / 8)) packed patterns of points (n, k), by a forward pass in floats."""
    layers: UnitLayers = chart.layers
    values = np.concatenate([np.ones((len(points), 1)), points], axis=1)
    active = np.zeros((len(points), layers.units), dtype=bool)
    for start, layer in zip(layers.starts, layers.layers, strict=False):
        from scipy.sparse import csr_array

        rows = layer.rows
        entries = Exact(rows.data, rows.denominator).to_float()
        before = csr_array((entries, rows.columns, rows.starts), shape=rows.shape) @ values.T
        active[:, start : start + layer.size] = before.T > 0
        after = active[:, start : start + layer.size] if layer.step else np.maximum(before.T, 0)
        values = np.concatenate([values, after], axis=1)
    return np.packbits(active, axis=1)
