# SPDX-License-Identifier: Apache-2.0
"""The leaves of a recorded search with linear programmes on them: in floats for all, exactly for
single ones. The outputs of a chart's network are the affine rows that are asked about."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np

from isoform.errors import Refused
from isoform.numerics.exact import Exact, integers
from isoform.regions.compiled import Compiled, compiled
from isoform.regions.enumeration import Enumeration
from isoform.regions.exact_decision import cell_of
from isoform.regions.exact_forms import ExactForms, Row, exact_forms, output_forms, primitive
from isoform.regions.exact_program import Infeasible, Solved, maximise, started_in_box
from isoform.regions.leaf_prefixes import leaf_prefixes
from isoform.regions.listing import Stopped, Stream

TOGETHER = 50_000_000  # half-spaces times coordinates times programmes between looks at the time


@dataclass(frozen=True, eq=False)
class Leaves:
    """R leaves of one chart of R^k with N units, in the order of its streams.

    codes (R, N): the prefix of each. points (R, k): strictly inside, as far as doubles go (`fine`
    holds exact ones, by leaf). weights (G, 1 + k + N): the rows, in doubles.
    """

    compiled: Compiled
    streams: tuple[Stream, ...]
    codes: np.ndarray
    points: np.ndarray
    fine: dict[int, Exact]
    weights: np.ndarray

    def __len__(self) -> int:
        return len(self.codes)

    @cached_property
    def forms(self) -> ExactForms:
        return exact_forms(self.compiled.chart)

    def inside(self, leaf: int) -> Exact:
        """The exact point of a leaf."""
        return self.fine[leaf] if leaf in self.fine else Exact.of(self.points[leaf])


def leaves_of(found: Enumeration, number: int) -> Leaves:
    """The leaves of a chart of an enumeration that recorded its streams. Refused where a weight of
    its rows is beyond the doubles."""
    ready = compiled(found.charts[number])
    streams = tuple(stream for stream in found.streams() if stream.chart == number)
    prefixes: list[bytes] = []
    fine: dict[int, Exact] = {}
    count = 0
    for stream in streams:
        prefixes += leaf_prefixes(stream.codes, stream.prefix, ready.units)
        fine |= {count + at: point for at, point in stream.fine}
        count += len(stream.points)
    codes = np.frombuffer(b"".join(prefixes), dtype=np.uint8).reshape(count, ready.units)
    points = np.concatenate([np.zeros((0, ready.dimension)), *(s.points for s in streams)])
    weights = np.ascontiguousarray(ready.chart.layers.outputs.dense().to_float())
    if not np.all(np.isfinite(weights)):
        raise Refused("an output weight is beyond the largest double, 1.8e308; scale the outputs")
    return Leaves(ready, streams, codes, points, fine, weights)


@dataclass(frozen=True, slots=True, eq=False)
class LargestValues:
    """For each of R leaves and G rows the largest value of the row (place 2g) and of its negative
    (2g + 1): values, certain upper bounds (infinite where floats do not say) (R, 2G), and the ids
    (R, 2G, k) of rows that meet there."""

    values: np.ndarray
    uppers: np.ndarray
    ids: np.ndarray


def largest_values(leaves: Leaves, until: float | None = None) -> LargestValues:
    """In floats. Stopped where that takes beyond `until`, of the monotonic clock."""
    from isoform.regions.leaf_kernel import largest_values as fill

    shape = (len(leaves), 2 * len(leaves.weights))
    values, uppers = np.full(shape, -np.inf), np.full(shape, np.inf)
    ids = np.full((*shape, leaves.compiled.dimension), -1, dtype=np.int32)
    status = np.zeros(shape, dtype=np.uint8)
    for part in parts(leaves, shape[1], until):
        fill(
            leaves.compiled.tables, leaves.codes[part], leaves.points[part], leaves.weights,
            values[part], uppers[part], ids[part], status[part],
        )
    return LargestValues(values, np.where(status == 0, uppers, np.inf), ids)


@dataclass(frozen=True, slots=True, eq=False)
class Closings:
    """For each of R leaves and S sets: status (R, S), 0 closed, 2 the set meets the leaf (floats
    say), 1 not known; targets (R, S) the number in the set of the row that fails, ids (R, S, k)
    rows that show it: chart's and walls, after them those of the set."""

    status: np.ndarray
    targets: np.ndarray
    ids: np.ndarray


def closings(
    leaves: Leaves, sets: Sequence[Sequence[int]], strict: Sequence[Sequence[bool]],
    until: float | None = None,
) -> Closings:
    """In floats, of the sets {h >= 0 in all rows of the set, > 0 in the strict ones}. Stopped as
    in `largest_values`."""
    from isoform.regions.leaf_kernel import close_sets

    shape = (len(leaves), len(sets))
    status, targets = np.ones(shape, dtype=np.uint8), np.zeros(shape, dtype=np.uint8)
    ids = np.full((*shape, leaves.compiled.dimension), -1, dtype=np.int32)
    orders = [strict_last(flags) for flags in strict]
    starts = np.cumsum([0, *map(len, sets)]).astype(np.int64)
    members = np.array([rows[i] for rows, order in zip(sets, orders, strict=True) for i in order])
    flags = np.array([some[i] for some, order in zip(strict, orders, strict=True) for i in order])
    for part in parts(leaves, len(members), until):
        close_sets(
            leaves.compiled.tables, leaves.codes[part], leaves.points[part], leaves.weights,
            starts, members, flags, targets[part], ids[part], status[part],
        )
    first = len(leaves.compiled.tables.rows) + leaves.compiled.units
    for number, order in enumerate(orders):  # back to the numbers in the sets as they are
        place = np.array(order)
        targets[:, number] = place[targets[:, number]]
        own = ids[:, number] >= first
        ids[:, number][own] = first + place[ids[:, number][own] - first]
    return Closings(status, targets, ids)


def parts(leaves: Leaves, programmes: int, until: float | None) -> Iterator[slice]:
    """The leaves in parts of some tenths of a second, so many programmes on each."""
    most = max(int(np.count_nonzero(leaves.codes & 2, axis=1).max(initial=0)), 1)
    k = leaves.compiled.dimension
    work = (len(leaves.compiled.tables.rows) + most) * k * k * max(programmes, 1)
    some = max(1, TOGETHER // work)
    for first in range(0, len(leaves), some):
        if first and until is not None and time.monotonic() > until:
            raise Stopped
        yield slice(first, first + some)


def strict_last(flags: Sequence[bool]) -> list[int]:
    """Numbers of rows, those that are not strict first: once these meet, a strict one is closed by
    a largest value of exactly 0 too."""
    return sorted(range(len(flags)), key=lambda number: flags[number])


# --- exactly --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Top:
    """The largest value of a row on a leaf, a vertex (k,) where it is attained, its rows' ids."""

    value: Fraction
    point: Exact
    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Closing:
    """The number of the row that fails, and the ids of rows that show it."""

    target: int
    ids: tuple[int, ...]


def exact_top(leaves: Leaves, leaf: int, row: int, sign: int = 1) -> Top:
    """The largest value of a row (times a sign) on a leaf."""
    prefix = leaves.codes[leaf].tobytes()
    outputs = output_forms(leaves.forms, prefix)
    objective = tuple(sign * int(v) for v in outputs.numerator[row])
    cell = cell_of(leaves.forms, prefix)
    solved = optimum(cell.rows, objective)
    value = Fraction(solved.value, solved.vertex[0] * outputs.denominator)
    return Top(value, point_of(solved.vertex), tuple(cell.ids[i] for i in solved.basis))


def exact_closing(
    leaves: Leaves, leaf: int, members: Sequence[int], strict: Sequence[bool]
) -> Closing | Exact:
    """What closes a set on a leaf, or a point (k,) of the leaf in the set."""
    prefix = leaves.codes[leaf].tobytes()
    outputs = output_forms(leaves.forms, prefix).numerator
    wanted = [primitive(tuple(outputs[row].tolist())) for row in members]
    cell = cell_of(leaves.forms, prefix)
    rows, ids = list(cell.rows), list(cell.ids)
    first = len(leaves.forms.chart_rows) + leaves.codes.shape[1]
    for number in strict_last(strict):
        solved = optimum(rows, wanted[number])
        if solved.value < 0 or (strict[number] and solved.value == 0):
            return Closing(number, tuple(ids[i] for i in solved.basis))
        rows.append(wanted[number])
        ids.append(first + number)
    ends = [optimum(rows, rows[-1])]
    for place in range(len(cell.rows), len(rows)):
        number = ids[place] - first
        if strict[number]:
            others = [*range(place), *range(place + 1, len(rows))]
            solved = optimum([rows[i] for i in others], rows[place])
            if solved.value <= 0:
                return Closing(number, tuple(ids[others[i]] for i in solved.basis))
            ends.append(optimum(rows, rows[place]))
    points = [point_of(solved.vertex) for solved in ends]
    total = points[0]
    for point in points[1:]:
        total = total + point
    return (total * Exact.of(Fraction(1, len(points)))).reduced()


def optimum(rows: Sequence[Row], objective: Row) -> Solved:
    """The largest value on a cell that is not empty; the first 2k rows are its box."""
    solved = maximise(rows, started_in_box(rows, objective))
    if isinstance(solved, Infeasible):
        raise ArithmeticError("a leaf without a point")
    return solved


def point_of(vertex: Row) -> Exact:
    return Exact(integers(vertex[1:], (len(vertex) - 1,)), vertex[0])
