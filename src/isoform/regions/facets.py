# SPDX-License-Identifier: Apache-2.0
"""The facets of many regions, what lies behind them, and which regions are neighbours.

Floats decide with their error bounds, exact arithmetic what these leave open.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from isoform.errors import Refused, TooLarge
from isoform.network.charts import Chart
from isoform.numerics.exact import Exact
from isoform.regions.compiled import Compiled, compiled
from isoform.regions.exact_cell import across, half_spaces, is_facet, pivot_columns, value_at
from isoform.regions.exact_forms import ExactForms, Row, exact_forms, primitive
from isoform.regions.listing import Regions

CHUNK = 4096  # regions that are classified at a time
CLOSE = 0.02  # walls nearer than this to each other are told apart exactly; floats can mistake
# only nearer ones for each other, for they leave rows with a drift of 1e-3 or more to exactness
LARGEST_CONTACTS = 1 << 22  # floats that are spent on points near walls
LARGEST_EXACT = 32  # inputs up to which a facet is decided by exact exchanges


@dataclass(frozen=True)
class Place:
    """One chart, for facts of regions. whole: it is a chart of all of space, where a region is not
    cut off at the chart's rows, and row ids are unit numbers."""

    compiled: Compiled
    whole: bool = False

    @property
    def own_rows(self) -> int:
        """Rows that are the domain's; row id `own_rows + j` is the wall of unit j."""
        return 0 if self.whole else len(self.compiled.tables.rows)

    @cached_property
    def forms(self) -> ExactForms:
        return exact_forms(self.compiled.chart)

    @cached_property
    def horizon(self) -> Row:
        """The row that is positive on finite points, over (1, u)."""
        k = self.compiled.dimension
        if not self.whole:
            return (1, *[0] * k)
        return primitive(homogeneous_horizon(self.compiled.chart))


def homogeneous_horizon(chart: Chart) -> Row:
    """t as a row over (1, u), times a positive integer."""
    constant, matrix = chart.constant, chart.matrix
    return (
        int(constant.numerator[0]) * matrix.denominator,
        *(int(v) * constant.denominator for v in matrix.numerator[0]),
    )


def places(charts: tuple[Chart, ...]) -> tuple[Place, ...]:
    """The charts of a domain as they are needed here (several charts: all of space)."""
    return tuple(Place(compiled(chart), len(charts) > 1) for chart in charts)


def unpacked(patterns: np.ndarray, units: int) -> np.ndarray:
    """Bits (R, N) of packed patterns."""
    return np.unpackbits(patterns, axis=1, count=units)


def packed(bits: np.ndarray) -> np.ndarray:
    return np.packbits(bits, axis=-1)


@dataclass(frozen=True, slots=True, eq=False)
class Facets:
    """Facets of R regions: those of region i are starts[i]..starts[i + 1].

    rows (F,): the row id of each facet, the lowest where several half-spaces share it; then
    `shared` has all of them by the facet's number. own_rows: ids below it are the domain's rows.
    zeros (R,): some unit may be zero throughout the region. exact: regions that needed exact
    arithmetic.
    """

    starts: np.ndarray
    rows: np.ndarray
    own_rows: int
    shared: dict[int, tuple[int, ...]] = field(repr=False)
    zeros: np.ndarray = field(repr=False)
    exact: int

    def regions(self) -> np.ndarray:
        """The region of each facet."""
        return np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts))

    def ids(self, facet: int) -> tuple[int, ...]:
        """All row ids that share a facet."""
        return self.shared.get(facet, (int(self.rows[facet]),))

    def on_boundary(self) -> np.ndarray:
        """Which facets lie on the boundary of the domain."""
        return self.rows < self.own_rows


def facets_of(there: tuple[Place, ...], regions: Regions) -> Facets:
    """The facets of listed regions: exactly the half-spaces that are not redundant.

    ContractBroken where a pattern is found to be that of no region; TooLarge where a row takes
    exact arithmetic in more than LARGEST_EXACT dimensions.
    """
    found: list[tuple[np.ndarray, np.ndarray]] = []
    groups: dict[tuple[int, int], tuple[int, ...]] = {}
    zeros = np.zeros(len(regions), dtype=bool)
    exact = 0
    for number, place in enumerate(there):
        mine = np.flatnonzero(regions.charts == number)
        for at in range(0, len(mine), CHUNK):
            part = mine[at : at + CHUNK]
            plain, zeros[part], doubtful = classified(
                place, regions.patterns[part], regions.points[part]
            )
            found.append((part[plain[0]], plain[1]))
            exact += len(doubtful)
            for i, doubt in doubtful.items():
                for ids in settled(place, regions, int(part[i]), doubt):
                    found.append((part[[i]], np.array(ids[:1])))
                    if len(ids) > 1:
                        groups[int(part[i]), ids[0]] = ids
    region = np.concatenate([np.zeros(0, np.int64), *(pair[0] for pair in found)])
    row = np.concatenate([np.zeros(0, np.int64), *(pair[1] for pair in found)])
    order = np.lexsort((row, region))
    region, row = region[order], row[order]
    starts = np.concatenate(([0], np.cumsum(np.bincount(region, minlength=len(regions)))))
    shared = {
        int(starts[r] + np.searchsorted(row[starts[r] : starts[r + 1]], first)): ids
        for (r, first), ids in groups.items()
    }
    return Facets(starts, row.astype(np.int32), there[0].own_rows, shared, zeros, exact)


@dataclass(frozen=True, slots=True, eq=False)
class Doubt:
    """What floats know of a region that they do not settle: the status of every row, bases for
    undecided rows, and points near walls (R, k), NaN or none."""

    status: np.ndarray
    hints: dict[int, list[int]]
    contacts: np.ndarray | None


def classified(
    place: Place, patterns: np.ndarray, points: np.ndarray, contacts: np.ndarray | None = None
) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray, dict[int, Doubt]]:
    """What floats say: (region, row) of the facets of regions that they settle; whether some unit
    may be zero; for the other regions their doubts. contacts (R, rows, k): filled with points near
    the walls of facets, so far as floats find them, NaN for other rows."""
    from isoform.regions.facet_kernel import FACET, SHARED
    from isoform.regions.region_kernel import classify_regions

    k, rows = place.compiled.dimension, place.own_rows + place.compiled.units
    status = np.zeros((len(patterns), rows), dtype=np.uint8)
    zeros = np.zeros(len(patterns), dtype=np.bool_)
    hints = np.zeros((64 * len(patterns), 2 + k), dtype=np.int64)
    if contacts is None and len(patterns) * rows * k <= LARGEST_CONTACTS:
        contacts = np.full((len(patterns), rows, k), np.nan)
    horizon = np.zeros(0)
    if place.whole:
        horizon = np.array([float(v) for v in place.horizon])
    count = classify_regions(
        place.compiled.tables, patterns, points, horizon, status, zeros, hints,
        np.zeros((0, rows, k)) if contacts is None else contacts,
    )
    open_rows = status >= SHARED
    doubtful = np.flatnonzero(open_rows.any(axis=1))
    plain = status == FACET
    plain[doubtful] = False
    doubts = {
        int(i): Doubt(status[i], {}, None if contacts is None else contacts[i]) for i in doubtful
    }
    for region, row, *basis in hints[:count].tolist():
        doubts[region].hints[row] = basis
    region, row = np.nonzero(plain)
    return (region, row), zeros, doubts


def settled(place: Place, regions: Regions, region: int, doubt: Doubt) -> list[tuple[int, ...]]:
    """The facets of one region, each with its row ids in order, by exact arithmetic where floats
    leave a row open. TooLarge where that takes too long, in many dimensions."""
    from isoform.regions.facet_kernel import FACET, REDUNDANT, SHARED

    groups = shared_rows(place, regions.patterns[region], doubt.status != REDUNDANT)
    rows = list(groups)
    number = {i: at for at, row in enumerate(rows) for i in groups[row]}
    kinds = [{int(doubt.status[i]) for i in groups[row]} for row in rows]
    doubtful = {at for at, kind in enumerate(kinds) if SHARED in kind or FACET not in kind}
    alone = set() if place.whole else {at for at in doubtful if SHARED in kinds[at]}
    if alone:
        alone = far_from_others(rows, alone)
    pivots = None if place.whole else list(range(1 + place.compiled.dimension))
    for at in sorted(doubtful - alone):  # of the others floats found that they are facets
        ids = groups[rows[at]]
        if pierced(rows, at, place.horizon, regions.points[region], doubt.contacts, ids):
            continue
        if place.compiled.dimension > LARGEST_EXACT:
            raise TooLarge(
                f"whether row {ids[0]} is a facet takes exact arithmetic, which is not done in "
                f"more than {LARGEST_EXACT} dimensions; ask without facets, or on a slice"
            )
        basis = next((doubt.hints[i] for i in ids if i in doubt.hints), [])
        start = [number[i] for i in basis if i in number]
        if pivots is None:
            pivots = pivot_columns([*rows, place.horizon])
        if not is_facet(rows, at, place.horizon, start, pivots):
            del groups[rows[at]]
    return [tuple(sorted(ids)) for ids in groups.values()]


def shared_rows(place: Place, pattern: np.ndarray, live: np.ndarray) -> dict[Row, list[int]]:
    """The distinct half-spaces of some rows of a region, and the row ids that share each."""
    m0 = place.own_rows
    prefix = unpacked(pattern[None], place.compiled.units).tobytes()
    ids = np.flatnonzero(live).tolist()
    groups: dict[Row, list[int]] = {}
    for i in ids:
        if i < m0 and any(place.forms.chart_rows[i][1:]):
            groups.setdefault(place.forms.chart_rows[i], []).append(i)
    units = [i - m0 for i in ids if i >= m0]
    for row, sharing in half_spaces(place.forms, prefix, units, place.horizon).items():
        groups.setdefault(row, []).extend(m0 + unit for unit in sharing)
    return groups


def pierced(
    rows: list[Row], at: int, horizon: Row, start: np.ndarray, contacts: np.ndarray | None,
    ids: list[int],
) -> bool:
    """Whether the line from a point to one near a wall meets the wall strictly inside all other
    rows, at a finite point, exactly: then it is a facet."""
    ends = [] if contacts is None else [contacts[i] for i in ids if np.isfinite(contacts[i]).all()]
    if not ends or not np.isfinite(start).all():
        return False
    both = Exact.of(np.stack([start, ends[0]]))
    p, q = ([both.denominator, *row.tolist()] for row in both.numerator)
    depth, left = value_at(rows[at], p), value_at(rows[at], q)
    if depth == left:
        return False
    met = [depth * b - left * a for a, b in zip(p, q, strict=True)]
    if met[0] < 0:
        met = [-value for value in met]
    others = (row for i, row in enumerate([*rows, horizon]) if i != at)
    return all(value_at(row, met) > 0 for row in others)


def far_from_others(rows: list[Row], asked: set[int]) -> set[int]:
    """Those of the rows asked for that no other row is close to."""
    table = np.stack([unit_row(row) for row in rows])
    return {
        at for at in asked if np.count_nonzero(np.abs(table - table[at]).max(axis=1) < CLOSE) == 1
    }


def unit_row(row: Row) -> np.ndarray:
    """A half-space as floats of size 1."""
    largest = max(map(abs, row))
    floats = np.array([value / largest for value in row])
    return floats / np.sqrt((floats * floats).sum())


def behind(there: tuple[Place, ...], regions: Regions, facets: Facets) -> np.ndarray:
    """The packed patterns (F, ceil(N / 8)) behind all facets; those of facets on the boundary of
    the domain mean nothing. Refused for a network with step units: behind one facet there may lie
    several regions."""
    if not there[0].compiled.chart.layers.continuous:
        raise Refused(
            "neighbours of regions are of continuous networks; with step units several regions "
            "can lie behind one facet: list the regions of a box around the place instead"
        )
    owner = facets.regions()
    units = np.maximum(facets.rows.astype(np.int64) - facets.own_rows, 0)
    patterns = regions.patterns[owner]
    patterns[np.arange(len(owner)), units >> 3] ^= (128 >> (units & 7)).astype(np.uint8)
    special = facets.zeros[owner]
    special[list(facets.shared)] = True
    count = there[0].compiled.units
    for facet in np.flatnonzero(special & ~facets.on_boundary()).tolist():
        region = int(owner[facet])
        place = there[int(regions.charts[region])]
        prefix = unpacked(regions.patterns[region][None], count).tobytes()
        walls = [i - facets.own_rows for i in facets.ids(facet)]
        row = next(iter(half_spaces(place.forms, prefix, walls[:1], place.horizon)))
        new = across(place.forms, prefix, row, walls, bool(facets.zeros[region]))
        patterns[facet] = packed(np.frombuffer(new, dtype=np.uint8))
    return patterns


@dataclass(frozen=True, slots=True, eq=False)
class Adjacency:
    """Which listed regions share a facet.

    pairs (E, 2): numbers of regions, the lower first, in order. boundary: facets on the boundary of
    the domain. missing (M, 2): region and row id of facets behind which no listed region lies: the
    list is not complete.
    """

    pairs: np.ndarray
    boundary: int
    missing: np.ndarray


def adjacency(
    there: tuple[Place, ...], regions: Regions, facets: Facets | None = None
) -> Adjacency:
    """The neighbours among listed regions; facets: theirs, where they are known already."""
    facets = facets_of(there, regions) if facets is None else facets
    owner = facets.regions()
    inner = ~facets.on_boundary()
    other = numbers_of(regions.patterns, behind(there, regions, facets)[inner])
    owner, rows = owner[inner], facets.rows[inner]
    lost = other < 0
    pairs = np.stack([owner[~lost], other[~lost]], axis=1)
    pairs = np.unique(np.sort(pairs, axis=1), axis=0) if len(pairs) else pairs
    return Adjacency(
        pairs, int((~inner).sum()), np.stack([owner[lost], rows[lost]], axis=1)
    )


def numbers_of(listed: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """The places of packed patterns in a list of distinct ones, -1 where they are not listed."""
    if len(listed) == 0 or len(asked) == 0:
        return np.full(len(asked), -1, dtype=np.int64)
    seed = np.random.default_rng(20240229)
    factors = np.array(seed.integers(1, 1 << 62, size=listed.shape[1]) * 2 + 1, dtype=np.uint64)

    def mixed(patterns: np.ndarray) -> np.ndarray:
        key = np.zeros(len(patterns), dtype=np.uint64)
        for column in range(patterns.shape[1]):
            key = (key ^ patterns[:, column]) * factors[column]
            key ^= key >> np.uint64(29)
        return key

    known, wanted = mixed(listed), mixed(asked)
    order = np.argsort(known, kind="stable")
    at = np.searchsorted(known[order], wanted)
    found = order[np.minimum(at, len(order) - 1)]
    same = (listed[found] == asked).all(axis=1)
    result = np.where(same, found, -1)
    if (known[order][1:] == known[order][:-1]).any():  # keys met by chance: look them up one by one
        table = {row.tobytes(): i for i, row in enumerate(listed)}
        for i in np.flatnonzero(~same).tolist():
            result[i] = table.get(asked[i].tobytes(), -1)
    return result


def listed(patterns: np.ndarray, points: np.ndarray) -> Regions:
    """Regions of a single chart, in the order of their patterns."""
    order = np.lexsort(patterns.T[::-1])
    charts = np.zeros(len(patterns), dtype=np.int64)
    fine: tuple[tuple[int, Exact], ...] = ()
    return Regions(patterns[order], charts, np.asarray(points, np.float64)[order], fine)
