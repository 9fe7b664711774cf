# SPDX-License-Identifier: Apache-2.0
"""Claims about two piecewise-linear networks, by the regions that they have in common.

The splitting tree of both networks side by side covers the domain by closed cells (`region_tree`),
apart from cells without an interior, which a convex domain with an interior does not miss. On a
leaf all units have one sign, so both networks are affine there. For equality the difference must be
exactly 0 on every leaf. For other relations a claim is a list of forbidden sets; here a set is
{h_1 >= 0, ..., h_r >= 0} (some of them > 0) with h affine on the leaf, and it is closed there by a
row h_t that fails: non-negative multipliers of rows that hold on the leaf, and of other rows of the
set, prove h_t <= 0 (h_t < 0 where the set asks for h_t >= 0 only). In charts of all of space all of
this is homogeneous, and every set gets the row 1 > 0, which is t > 0 there: what it has at infinity
does not count.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from isoform.certificate.arrays import malformed
from isoform.certificate.cell_evidence import ClosedChart, CommonCells
from isoform.certificate.region_count import check_amount, check_joined
from isoform.certificate.region_evidence import Stream
from isoform.certificate.region_farkas import scaled_floats
from isoform.certificate.region_rows import Asked, Cells
from isoform.certificate.region_tree import Walk
from isoform.errors import CertificateRejected
from isoform.network.charts import Chart
from isoform.network.claim import Comparison, Equal, Within, brief, forbidden_sets, tolerances
from isoform.network.domain import Domain, Everywhere, Union, hull
from isoform.network.network import Network
from isoform.network.side_by_side import pieces, side_by_side
from isoform.network.unit_layers import UnitLayer, UnitLayers, unit_layers
from isoform.numerics.exact import Exact, concatenate
from isoform.numerics.sparse import ExactSparse, stack

MOST_ROWS = 1 << 12  # of all forbidden sets
FINE = 64  # bits below which a row that must be negative counts as 0


@dataclass(frozen=True, slots=True)
class ForbiddenRows:
    """A forbidden set by the numbers of its rows h, and which of them must be > 0."""

    rows: tuple[int, ...]
    strict: tuple[bool, ...]


def common_cells(
    data: CommonCells, source: Network, target: Network, domain: Domain, relation: Comparison
) -> Fraction | None:
    """The relation follows, or CertificateRejected. Returns the certified upper value of the
    largest difference, None for relations that bound none."""
    relation, upper = proved_relation(data, source, relation)
    if not source.continuous or not target.continuous:
        raise CertificateRejected("cells", "regions with step units are not closed by continuity")
    joint = side_by_side(source, target)
    check_amount(joint, chart_count(domain, source.dimension))
    rows, sets = forbidden_rows(relation, source, target, hull(domain) is None)
    layers = unit_layers(joint)
    parts = pieces(with_goals(layers, rows), domain)
    if len(parts) != len(data.charts):
        raise malformed(f"{len(data.charts)} charts, the domain has {len(parts)}")
    for chart, closed in zip(parts, data.charts, strict=True):
        check_chart(chart, closed, sets)
    return upper


def proved_relation(
    data: CommonCells, source: Network, relation: Comparison
) -> tuple[Comparison, Fraction | None]:
    """The relation that the leaves are to prove, at least as strong as the claimed one; and the
    upper value that it gives."""
    if not isinstance(relation, Within):
        if data.eps is not None:
            raise malformed("an eps for a claim without one")
        return relation, Fraction(0) if isinstance(relation, Equal) else None
    allowed = tolerances(relation, source.output_dimension)
    eps = allowed if data.eps is None else data.eps
    if eps.shape != allowed.shape or np.any(eps.sign() < 0):
        raise malformed("eps that are none")
    excess = (eps - allowed).sign() > 0
    if excess.any():
        i = int(np.flatnonzero(excess)[0])
        raise CertificateRejected(
            "cells", f"the difference of output {i} is bounded by {brief(eps[i].item())}, "
            f"not {brief(allowed[i].item())}"
        )
    upper = eps.max_abs()
    return Within(tuple(eps.fractions())) if upper else Equal(), upper


def chart_count(domain: Domain, n: int) -> int:
    """How many charts there are at most."""
    match domain:
        case Union(parts):
            return sum(chart_count(part, n) for part in parts)
        case Everywhere():
            return 2 * n + 1
        case _:
            return 1


def forbidden_rows(
    relation: Comparison, source: Network, target: Network, unbounded: bool = False
) -> tuple[Exact, tuple[ForbiddenRows, ...]]:
    """Rows (G, 1 + n + m + m') of forms h over (1, x, f, g), each once, and the sets that they make
    up; for equality the rows g - f, and no sets. unbounded: with the row 1 > 0 in every set."""
    n, m, other = source.dimension, source.output_dimension, target.output_dimension
    if isinstance(relation, Equal):
        left = Exact.zeros((m, 1 + n))
        return concatenate([left, -Exact.eye(m), Exact.eye(m)], axis=1), ()
    numbers: dict[tuple[Fraction, ...], int] = {}
    found: list[Exact] = []
    sets = []
    finite = Exact.eye(1 + n + m + other)[0]
    for part in forbidden_sets(relation, n, m):
        mine = []
        count = len(part.strict)
        every = [concatenate([part.bounds[i : i + 1], -part.rows[i]]) for i in range(count)]
        for row in every + [finite] * unbounded:
            number = numbers.setdefault(tuple(row.fractions()), len(found))
            if number == len(found):
                found.append(row.reshape(1, -1))
            mine.append(number)
        if len(mine) > 1 << 8 or len(found) > MOST_ROWS:
            raise malformed("forbidden sets of too many rows")
        sets.append(ForbiddenRows(tuple(mine), part.strict + (True,) * unbounded))
    rows = concatenate([Exact.zeros((0, 1 + n + m + other)), *found])
    return rows, tuple(sets)


def with_goals(layers: UnitLayers, rows: Exact) -> UnitLayers:
    """The network whose outputs are rows over (1, x, its outputs)."""
    d, width = layers.dimension, layers.outputs.shape[1]
    values = stack([ExactSparse.eye(1 + d, width), layers.outputs])
    return replace(layers, outputs=(ExactSparse.of(rows) @ values).reduced())


def check_chart(chart: Chart, closed: ClosedChart, sets: tuple[ForbiddenRows, ...]) -> None:
    """The streams cover the chart, which has an interior, and every leaf closes every set."""
    k, count = chart.dimension, len(closed.targets)
    if closed.targets.shape != (count, len(sets)) or closed.ids.shape != (count, len(sets), k):
        raise malformed("leaves with another number of closing rows than there are sets")
    cells = Leaves(chart, sets)
    holes: list[bytes] = []
    first = 0
    for number, stream in enumerate(closed.streams):
        part = slice(first, first + len(stream.points))
        first = part.stop
        try:
            cells.start()
            walk = LeafWalk(chart, cells, stream, closed.targets[part], closed.ids[part])
            walk.run()
        except CertificateRejected as error:
            raise CertificateRejected(f"stream {number}", error.why) from None
        holes += walk.holes
    check_joined(closed.streams, tuple(holes), True)
    if first != count or count == 0:  # no leaf: no point that is strictly inside
        raise malformed(f"{count:,} leaves are closed, the streams have {first:,}")


class Leaves(Cells):
    """The cells of a chart with one layer more, that of the rows h, whose forms only leaves ask
    for.

    pending: for every leaf and set of the window (number of h in the window, whether h_t > 0 is
    asked for, leaf, set); pending_rows: k rows each, those of the leaf's own h as ~number.
    """

    def __init__(self, chart: Chart, sets: tuple[ForbiddenRows, ...]):
        layers = chart.layers
        goals = UnitLayer(layers.outputs)
        super().__init__(replace(chart, layers=replace(layers, layers=(*layers.layers, goals))))
        self.sets = sets
        self.goals = goals.size
        self.pending: list[tuple[int, bool, int, int]] = []
        self.pending_rows: list[int] = []

    def settle(self, asked: Asked, points: np.ndarray, open_boxes: list[int]) -> int | None:
        failed = super().settle(asked, points, open_boxes)
        leaves = asked.prefixes[-1]
        if failed is not None or not leaves:
            return failed
        places = np.array([slots[-1] for slots, _ in leaves], dtype=np.int64)
        forms = self.forms[(places[:, None] + np.arange(self.goals)).ravel()]
        if self.sets:
            self.close(forms)
        elif np.any(forms != 0):
            raise CertificateRejected("cells", "the networks differ on a leaf")
        self.pending, self.pending_rows = [], []
        return None

    def close(self, forms: np.ndarray) -> None:
        """Every pending row h_t fails. forms (leaves * G, 1 + k): the rows h of all leaves."""
        first = len(self.rows)  # `keep` takes these rows away again
        near, exponents = scaled_floats(forms)
        self.rows = np.concatenate((self.rows, forms))
        self.near = np.concatenate((self.near, near))
        self.exponents = np.concatenate((self.exponents, exponents))
        which = np.array(self.pending_rows, dtype=np.int64).reshape(-1, self.k)
        which = np.where(which < 0, first + ~which, which)
        row, strict, leaf, part = (np.array(c, np.int64) for c in zip(*self.pending, strict=True))
        fails = np.negative(forms[row]) << FINE
        fails[strict == 0, 0] -= 1  # -2^FINE h_t >= 1, not only >= 0
        holds = self.implied_by(which, fails)
        if not holds.all():
            at = int(np.flatnonzero(~holds)[0])
            raise CertificateRejected(
                "cells", f"leaf {leaf[at]:,} does not close forbidden set {part[at]}"
            )


class LeafWalk(Walk):
    """One stream, with what closes the sets on its leaves: targets (R, S), ids (R, S, k)."""

    def __init__(
        self, chart: Chart, cells: Leaves, stream: Stream, targets: np.ndarray, ids: np.ndarray
    ):
        super().__init__(chart, cells, stream)
        self.leaf_cells = cells
        self.targets, self.closing = targets, ids

    def leaf(self) -> None:
        super().leaf()
        cells, leaf = self.leaf_cells, self.leaves - 1
        place = len(self.asked.prefixes[-1]) * cells.goals  # of its rows among those of the window
        slots = (*self.first, self.asked.forms)
        self.asked.prefixes[-1].append((slots, bytes(self.signs)))
        self.asked.forms += cells.goals
        self.load += sum(cells.weights[-1].weights.shape) * (1 + self.k)
        if not cells.sets:
            return
        targets, closing = self.targets[leaf].tolist(), self.closing[leaf].tolist()
        for number, (part, target, ids) in enumerate(
            zip(cells.sets, targets, closing, strict=True)
        ):
            if target >= len(part.rows):
                raise malformed(f"leaf {leaf:,}: a row that set {number} has not")
            cells.pending.append((place + part.rows[target], part.strict[target], leaf, number))
            cells.pending_rows += [self.closing_row(i, part, place) for i in ids]
        self.load += len(targets) * self.k * (1 + self.k)

    def closing_row(self, row_id: int, part: ForbiddenRows, place: int) -> int:
        """The row of an id: of the chart, of the path, or (as ~number) of the set itself."""
        own = row_id - self.m - self.units
        if 0 <= own < len(part.rows):
            return ~(place + part.rows[own])
        if own >= 0 or row_id < 0 or self.rows[row_id] < 0:
            raise malformed(f"an id {row_id} that names no row of the leaf")
        return self.rows[row_id]
