# SPDX-License-Identifier: Apache-2.0
"""The regions that two piecewise-linear networks have in common, with affine rows on each of them:
the largest differences of the outputs, exactly, and what closes forbidden sets."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from isoform.certificate.cells import ForbiddenRows, with_goals
from isoform.certificate.region_count import check_amount
from isoform.errors import CertificateRejected, DomainError, Refused, UnsupportedModel
from isoform.network.domain import Domain
from isoform.network.network import Network
from isoform.network.side_by_side import pieces, side_by_side
from isoform.network.unit_layers import unit_layers
from isoform.numerics.exact import Exact, approximately
from isoform.regions.enumeration import enumerate_regions
from isoform.regions.leaf_programs import (
    Closing,
    LargestValues,
    Leaves,
    closings,
    exact_closing,
    exact_top,
    largest_values,
    leaves_of,
)
from isoform.regions.listing import Stopped
from isoform.regions.tasks import Budget

MOST_INPUTS = 16
SHARE = 0.5  # of the time, for finding the regions
ROUNDING = 1e-6  # of the largest weight: a difference that rounding alone may make, generously
NEAR = 1e-9  # of a largest value: what comes so near is compared exactly
FEW_EXACT = 200  # exact programmes for one output without a new largest value


@dataclass(frozen=True, slots=True, eq=False)
class CommonRegions:
    """The leaves of the charts of a domain; stopped: why there are others, None if there are none.
    The outputs of the charts' networks are the rows that were asked for. seconds: for all of the
    search. until: when it is to end, on the monotonic clock; what goes on longer raises Stopped."""

    charts: tuple[Leaves, ...]
    stopped: str | None
    seconds: float | None
    until: float | None

    @property
    def count(self) -> int:
        return sum(map(len, self.charts))

    @property
    def check_seconds(self) -> float:
        """About what the checker takes for the streams and two closing rows for every row."""
        total = 0.0
        for leaves in self.charts:
            cube = leaves.compiled.dimension ** 3
            tokens = sum(len(stream.codes) for stream in leaves.streams)
            total += tokens * (4e-6 + 1e-8 * cube)  # measured, as the next line
            total += 2 * len(leaves) * len(leaves.weights) * (2e-5 + 5e-8 * cube)
        return total


@dataclass(frozen=True, slots=True, eq=False)
class LargestDifference:
    """The largest |f_i - g_i| of one output over the regions, and where: at a vertex `point` (k,)
    of a leaf of a chart."""

    value: Fraction
    chart: int
    leaf: int
    point: Exact


def common_regions(
    f: Network, g: Network, domain: Domain, rows: Exact, budget: Budget
) -> CommonRegions | None:
    """Enumerate them; rows (G, 1 + n + m + m') over (1, x, f, g) become the charts' outputs.

    None where there is no such enumeration: networks that are not piecewise linear and continuous,
    finite domains and domains without an interior, too many units, more than MOST_INPUTS inputs
    that are not fixed (a cell too thin for floats takes exact programmes, long ones there).
    KeyboardInterrupt passes on.
    """
    if not f.continuous or not g.continuous:
        return None
    joint = side_by_side(f, g)
    began, until, end = time.monotonic(), None, None
    if budget.seconds is not None:
        until, end = began + SHARE * budget.seconds, began + budget.seconds
    left = budget.regions
    found: list[Leaves] = []
    try:
        check_amount(joint, 1)
        charts = pieces(with_goals(unit_layers(joint), rows), domain)
        check_amount(joint, len(charts))
        if charts[0].dimension > MOST_INPUTS:
            return None
        for chart in charts:
            seconds = None if until is None else max(until - time.monotonic(), 0.01)
            part = enumerate_regions(
                [chart], record=True, workers=1,
                budget=replace(budget, regions=left, seconds=seconds),
            )
            if part.stopped == "interrupted":
                raise KeyboardInterrupt
            found.append(leaves_of(part, 0))
            left = None if left is None else max(left - part.count, 1)
            if part.stopped is not None:
                return CommonRegions(tuple(found), part.stopped, budget.seconds, end)
    except (CertificateRejected, DomainError, Refused, UnsupportedModel):
        return None
    return CommonRegions(tuple(found), None, budget.seconds, end)


def nearly_equal(regions: CommonRegions) -> bool:
    """Whether no row is beyond rounding, floats say."""
    largest = max(float(np.abs(part.weights).max(initial=0)) for part in regions.charts)
    found = [largest_values(part, regions.until) for part in regions.charts]
    return max(part.values.max(initial=-np.inf) for part in found) <= ROUNDING * largest


def largest_differences(
    regions: CommonRegions, few: int | None = FEW_EXACT
) -> tuple[list[LargestDifference], list[np.ndarray]]:
    """For each row of the charts the largest absolute value, and for each chart the rows
    (R, 2G, k) that bound each row and its negative on each leaf.

    few: exact programmes without a new largest value after which the search for it ends, although
    others come near it in floats (None: never, then the values are exact without a check).
    """
    floats = [largest_values(leaves, regions.until) for leaves in regions.charts]
    ids = [part.ids for part in floats]
    rows = floats[0].uppers.shape[1] // 2
    return [largest_of(regions, floats, ids, row, few) for row in range(rows)], ids


def largest_of(
    regions: CommonRegions, floats: Sequence[LargestValues], ids: list[np.ndarray], row: int,
    few: int | None,
) -> LargestDifference:
    """By exact programmes on the leaves with the largest upper bounds; their ids are put right."""
    uppers = np.concatenate([part.uppers[:, 2 * row : 2 * row + 2].ravel() for part in floats])
    firsts = np.cumsum([0, *(2 * len(part) for part in regions.charts)])
    best: LargestDifference | None = None
    idle = 0
    for at in np.argsort(-uppers, kind="stable").tolist():
        doubtful = uppers[at] == np.inf
        if best is not None and not doubtful and (
            uppers[at] < approximately(best.value) * (1 - NEAR) or few is not None and idle > few
        ):
            break
        look_at_clock(regions)
        chart = int(np.searchsorted(firsts, at, side="right")) - 1
        leaf, side = divmod(at - int(firsts[chart]), 2)
        top = exact_top(regions.charts[chart], leaf, row, -1 if side else 1)
        ids[chart][leaf, 2 * row + side] = top.ids
        idle += not doubtful
        if best is None or top.value > best.value:
            best, idle = LargestDifference(top.value, chart, leaf, top.point), 0
    if best is None:
        raise ArithmeticError("a chart without a leaf")
    return best


def look_at_clock(regions: CommonRegions) -> None:
    if regions.until is not None and time.monotonic() > regions.until:
        raise Stopped


@dataclass(frozen=True, slots=True, eq=False)
class Met:
    """A point (k,) of a leaf that lies in a forbidden set."""

    chart: int
    leaf: int
    point: Exact


def closed_sets(
    regions: CommonRegions, sets: Sequence[ForbiddenRows], exactly: bool = False
) -> tuple[list[np.ndarray], list[np.ndarray]] | Met:
    """For each chart the targets (R, S) and ids (R, S, k) of what closes the sets, or a point in
    one. exactly: by exact programmes throughout, where floats did not do."""
    members, strict = [part.rows for part in sets], [part.strict for part in sets]
    targets, ids = [], []
    for number, leaves in enumerate(regions.charts):
        found = closings(leaves, members, strict, regions.until)
        wanted = np.argwhere((found.status != 0) | exactly)
        order = np.argsort(-found.status[tuple(wanted.T)].astype(int), kind="stable")
        for leaf, place in wanted[order].tolist():  # open ones first
            look_at_clock(regions)
            closed = exact_closing(leaves, leaf, members[place], strict[place])
            if not isinstance(closed, Closing):
                return Met(number, leaf, closed)
            found.targets[leaf, place], found.ids[leaf, place] = closed.target, closed.ids
        targets.append(found.targets)
        ids.append(found.ids)
    return targets, ids
