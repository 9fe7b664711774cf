# SPDX-License-Identifier: Apache-2.0
"""How many activation regions there will be, before a long search: an estimate with an interval.

A population of open nodes goes down the tree of splits, some units at a time. Whenever it is larger
than its limit, a random part of it, all nodes alike, goes on in place of the whole. The number of
leaves times the inverse shares kept is an unbiased estimate of the number of regions (stochastic
enumeration; Chen 1992 and Vaisman and Kroese 2017, after Knuth 1975, whose single path is a
population of one). Its spread is far below that of as many single paths, which comes from a few
long ones. Independent replicas give the interval.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

import numpy as np

from isoform.network.charts import Chart
from isoform.network.unit_layers import UnitLayer, UnitLayers
from isoform.numerics.sparse import ExactSparse
from isoform.regions.compiled import Compiled, compiled
from isoform.regions.layer_bounds import bounds_of
from isoform.regions.leaf_prefixes import leaf_prefixes
from isoform.regions.splitting import Node, explore, root

REPLICAS = 8
QUANTILE = 2.364624  # of Student's t with 7 degrees of freedom, both sides 95 %
SMALLEST, LARGEST = 32, 1 << 14  # populations
COUNTED = 100_000  # up to so many regions, counting is as fast as estimating
FAMILY = 32  # cells to which a node should grow between two selections
CROWD = 1024  # cells at which the growth of one node is cut short
BATCH = 1024
WIDE = 1.0  # a spread of logarithms from which the interval deserves little trust


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionEstimate:
    """regions: unbiased estimate of the number of activation regions of a chart; low, high: a 95 %
    interval, which assumes that the logarithms of the replicas are normal; it never leaves what is
    certain, `found` below and the upper bounds of `layer_bounds` above. exact: all were counted,
    and nothing is estimated.

    found: regions certainly there. replicas: independent estimates of which `regions` is the mean.
    population: largest number of nodes of each. spread: standard deviation of the replicas'
    logarithms. seconds: of work.
    """

    regions: int
    low: int
    high: int
    exact: bool
    found: int
    replicas: tuple[int, ...] = field(repr=False)
    population: int
    spread: float
    seconds: float

    @property
    def trusted(self) -> bool:
        """Whether the replicas are near enough to each other for the interval to mean something."""
        return self.spread < WIDE

    @property
    def method(self) -> str:
        """What was done, in words."""
        if self.exact:
            return "counted exactly, nothing is estimated"
        words = (
            f"mean of {len(self.replicas)} random descents of the splitting tree with "
            f"{self.population} nodes each; 95 % interval for log-normal replicas "
            f"(spread of logarithms {self.spread:.2f})"
        )
        if self.trusted:
            return words
        return words + "; the replicas are far apart: take the order of magnitude at most"


def estimate_regions(
    prepared: Compiled, *, seconds: float = 10.0, precision: float = 0.1, seed: int = 0,
    progress: Callable[[RegionEstimate], object] | None = None,
) -> RegionEstimate:
    """Estimate the number of activation regions of a chart.

    Counts, if that ends within a fifth of the time and 100,000 regions; else samples with
    populations of 32, 64, ... until the interval's half-width is at most `precision` times the
    estimate, or the next round would take longer than what is left of `seconds`. The first round is
    always finished, however long it takes. Deterministic in the seed but for where time ends it.
    progress: called with the estimate of each round. Raises DomainError for a polytope without
    interior.
    """
    began = time.perf_counter()
    found, whole = counted(prepared, began + seconds / 5)
    if whole:
        return RegionEstimate(
            regions=found, low=found, high=found, exact=True, found=found, replicas=(),
            population=0, spread=0.0, seconds=time.perf_counter() - began,
        )
    most = min(bound.value for bound in bounds_of(prepared.chart.layers) if bound.upper)
    stages = Stages(prepared)
    population = SMALLEST
    while True:
        started = time.perf_counter()
        samples = [
            descent(stages, population, np.random.default_rng([seed, population, number]))
            for number in range(REPLICAS)
        ]
        now = time.perf_counter()
        made = summary(samples, population, found, most, now - began)
        if progress is not None:
            progress(made)
        fine = made.high - made.low <= 2 * precision * made.regions
        if fine or population >= LARGEST or now + 2.5 * (now - started) > began + seconds:
            return made
        population *= 2


def counted(prepared: Compiled, until: float) -> tuple[int, bool]:
    """Regions found by plain search until a time, at most about 100,000; whether these are all."""
    open_nodes = [root(prepared)]
    found = 0
    while open_nodes and found < COUNTED and time.perf_counter() < until:
        part = explore(prepared, open_nodes.pop(), most=BATCH, record=False)
        found += len(part.patterns)
        open_nodes += reversed(part.children)
    return found, not open_nodes


def summary(
    samples: Sequence[Fraction], population: int, found: int, most: int, seconds: float
) -> RegionEstimate:
    """Mean and interval of independent samples.

    If logarithms are normal with mean m and variance v, the expectation is exp(m + v / 2), and the
    error of m + v / 2 has about the variance v / n + v^2 / (2 (n - 1)) (Cox's method).
    """
    n = len(samples)
    logs = np.array([math.log(s.numerator) - math.log(s.denominator) for s in samples])
    spread = float(logs.std(ddof=1))
    middle = float(logs.mean()) + spread**2 / 2
    half = QUANTILE * math.sqrt(spread**2 / n + spread**4 / (2 * (n - 1)))
    mean = min(most, max(found, round(sum(samples, Fraction(0)) / n)))
    return RegionEstimate(
        regions=mean, low=min(mean, max(found, exponential(middle - half))),
        high=max(mean, min(most, exponential(middle + half))), exact=False, found=found,
        replicas=tuple(round(s) for s in samples), population=population, spread=spread,
        seconds=seconds,
    )


def exponential(logarithm: float) -> int:
    """exp, rounded to an integer of any size."""
    exponent = max(0, math.floor(logarithm / math.log(2)) - 52)
    return round(math.exp(logarithm - exponent * math.log(2))) << exponent


# --- descents -----------------------------------------------------------------------------------


@dataclass(slots=True)
class Stages:
    """The chart, and the same chart with the first units only, made when first asked for."""

    whole: Compiled
    made: dict[int, Compiled] = field(default_factory=dict)

    def until(self, unit: int) -> Compiled:
        if unit >= self.whole.units:
            return self.whole
        if unit not in self.made:
            chart = self.whole.chart
            self.made[unit] = compiled(replace(chart, layers=first_units(chart, unit)))
        return self.made[unit]


def first_units(chart: Chart, count: int) -> UnitLayers:
    """The layers of a chart up to a number of units, without outputs."""
    layers = chart.layers
    kept = []
    for start, layer in zip(layers.starts, layers.layers, strict=False):
        if start >= count:
            break
        rows = layer.rows.take(range(min(layer.size, count - start)))
        kept.append(UnitLayer(rows, layer.name))
    none = ExactSparse.zeros((0, 1 + layers.dimension + count))
    return UnitLayers(layers.dimension, tuple(kept), none)


def descent(stages: Stages, population: int, random: np.random.Generator) -> Fraction:
    """One unbiased estimate of the number of regions.

    How far a stage goes, and which nodes are left half grown, depends only on what came before its
    selection, so that the expectation stays right.
    """
    units = stages.whole.units
    nodes = [Node()]
    weight, regions, unit, step = Fraction(1), Fraction(0), 0, 4
    while nodes:
        unit = min(units, unit + step)
        prepared = stages.until(unit)
        last = unit == units
        grown: list[Node] = []
        leaves = 0
        for node in nodes:
            part = explore(prepared, node, most=CROWD, record=not last)
            if last:
                leaves += len(part.patterns)
            else:
                grown += [Node(prefix) for prefix in leaf_prefixes(part.codes, node.prefix, unit)]
            grown += part.children
        regions += weight * leaves
        step = next_step(step, (leaves + len(grown)) / len(nodes))
        if len(grown) > population:
            weight *= Fraction(len(grown), population)
            chosen = random.choice(len(grown), population, replace=False)
            grown = [grown[i] for i in chosen]
        nodes = grown
    return regions


def next_step(step: int, family: float) -> int:
    """Units of the next stage, for families of about FAMILY cells if growth goes on as it was."""
    rate = math.log(max(1.0, family)) / step
    wanted = math.log(FAMILY) / max(rate, 1e-9)
    return max(1, min(int(wanted), 4 * step))
