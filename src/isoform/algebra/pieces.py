# SPDX-License-Identifier: Apache-2.0
"""A primitive ReLU network cut into vectors with levels, and what each layer of a chain must hold.

The level of a vector is the number of ReLU layers before it. Hidden layer t of the chain holds the
ReLU vectors of level t and, carried along, every vector of a lower level that something of level t
or above still reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from isoform.algebra.affine_rows import identity_map, is_identity
from isoform.network.linear_map import Constant, Gather, LinearMap, exact
from isoform.network.network import Network, Node
from isoform.network.operators import Concat, Linear, Relu, Select
from isoform.numerics.exact import Exact, integers
from isoform.numerics.sparse import ExactSparse

FIXED = 32  # ranges are kept in multiples of 2^-32, rounded outward
EXPANSIONS = 6  # how many sums in a row are looked through for a cheaper thing to carry


@dataclass(frozen=True, slots=True)
class Source:
    """The input x."""


@dataclass(frozen=True, slots=True)
class Unit:
    """relu(operand)."""

    operand: int


@dataclass(frozen=True, slots=True, eq=False)
class Sum:
    """sum of map(value) + bias."""

    parts: tuple[tuple[LinearMap, int], ...]
    bias: Constant | None


@dataclass(frozen=True, slots=True)
class Stack:
    """The operands one after the other."""

    operands: tuple[int, ...]


Piece = Source | Unit | Sum | Stack


@dataclass(frozen=True, slots=True, eq=False)
class Pieces:
    """pieces in topological order, sizes and levels of their values; output: the one returned."""

    pieces: tuple[Piece, ...]
    sizes: tuple[int, ...]
    levels: tuple[int, ...]
    output: int

    @property
    def depth(self) -> int:
        return self.levels[self.output]


def operands_of(piece: Piece) -> tuple[int, ...]:
    match piece:
        case Source():
            return ()
        case Unit(operand):
            return (operand,)
        case Sum(parts):
            return tuple(value for _, value in parts)
        case Stack(operands):
            return operands


def obstacles(network: Network) -> list[str]:
    """Names of the operators of a primitive network that no ReLU chain expresses exactly."""
    allowed = (Linear, Relu, Concat, Select)
    names = [
        getattr(node.operator, "name", type(node.operator).__name__)
        for node in network.nodes if not isinstance(node.operator, allowed)
    ]
    return list(dict.fromkeys(names))


def pieces_of(network: Network) -> Pieces:
    """The pieces of a primitive network of Linear, Relu, Concat and Select nodes.

    A sum over operands of several levels becomes one partial sum a level, so that a chain may
    carry what is already summed.
    """
    collect = Collector()
    number = [collect.add(Source(), network.dimension, 0)]
    for _, node in network.items():
        number.append(collect.node(node, [number[operand] for operand in node.operands]))
    return Pieces(tuple(collect.pieces), tuple(collect.sizes), tuple(collect.levels),
                  number[network.outputs[0]])


class Collector:
    """Collects pieces with their sizes and levels."""

    def __init__(self) -> None:
        self.pieces: list[Piece] = []
        self.sizes: list[int] = []
        self.levels: list[int] = []

    def add(self, piece: Piece, size: int, level: int) -> int:
        self.pieces.append(piece)
        self.sizes.append(size)
        self.levels.append(level)
        return len(self.pieces) - 1

    def node(self, node: Node, operands: list[int]) -> int:
        size = node.shape[0]
        level = max((self.levels[operand] for operand in operands), default=0)
        match node.operator:
            case Relu():
                return self.add(Unit(operands[0]), size, level + 1)
            case Concat():
                return self.add(Stack(tuple(operands)), size, level)
            case Select(indices):
                part = Gather(indices=indices, scale=None, inputs=self.sizes[operands[0]])
                return self.total([(part, operands[0])], None, size)
            case Linear(maps, bias):
                return self.total(list(zip(maps, operands, strict=True)), bias, size)
            case operator:
                raise ValueError(f"a {type(operator).__name__} is no piece of a ReLU chain")

    def total(
        self, parts: list[tuple[LinearMap, int]], bias: Constant | None, size: int
    ) -> int:
        """A sum, by levels from below; the bias joins last."""
        levels = sorted({self.levels[value] for _, value in parts}) or [0]
        sofar: list[tuple[LinearMap, int]] = []
        for level in levels:
            sofar += [part for part in parts if self.levels[part[1]] == level]
            last = level == levels[-1]
            if len(sofar) == 1 and is_identity(sofar[0][0]) and (not last or bias is None):
                value = sofar[0][1]
            else:
                value = self.add(Sum(tuple(sofar), bias if last else None), size, level)
            sofar = [(identity_map(size), value)]
        return value


# --- ranges -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Range:
    """low <= value <= high, integers over 2^FIXED, where `has_low` / `has_high` say so."""

    low: np.ndarray
    high: np.ndarray
    has_low: np.ndarray
    has_high: np.ndarray


def ranges(
    pieces: Pieces, wanted: Iterable[int], box: tuple[Exact, Exact] | None
) -> dict[int, Range]:
    """Certified ranges of some pieces when the input lies in the box (None: anywhere)."""
    found: dict[int, Range] = {}
    for value in closure(pieces, wanted):
        found[value] = range_of(pieces, value, found, box)
    return found


def closure(pieces: Pieces, wanted: Iterable[int]) -> list[int]:
    """The wanted pieces and all that they depend on, in order."""
    open_values, seen = list(wanted), set()
    while open_values:
        value = open_values.pop()
        if value not in seen:
            seen.add(value)
            open_values += operands_of(pieces.pieces[value])
    return sorted(seen)


def range_of(
    pieces: Pieces, value: int, found: dict[int, Range], box: tuple[Exact, Exact] | None
) -> Range:
    """Interval arithmetic on one piece."""
    n = pieces.sizes[value]
    match pieces.pieces[value]:
        case Source():
            if box is None:
                none, zero = np.zeros(n, dtype=bool), integers([0] * n, (n,))
                return Range(zero, zero, none, none)
            known = np.ones(n, dtype=bool)
            return Range(fixed_floor(box[0]), -fixed_floor(-box[1]), known, known)
        case Unit(operand):
            inner = found[operand]
            low = np.maximum(np.where(inner.has_low, inner.low, 0), 0)
            high = np.maximum(inner.high, 0)
            return Range(low, high, np.ones(n, dtype=bool), inner.has_high)
        case Stack(operands):
            inner_ranges = [found[operand] for operand in operands]
            return Range(*(np.concatenate([getattr(r, name) for r in inner_ranges])
                           for name in ("low", "high", "has_low", "has_high")))
        case Sum(parts, bias):
            return sum_range(parts, bias, found, n)


def sum_range(
    parts: Sequence[tuple[LinearMap, int]], bias: Constant | None, found: dict[int, Range], n: int
) -> Range:
    """The range of a sum of linear maps of values with ranges."""
    start = Exact.zeros(n) if bias is None else Exact.zeros(n) + exact(bias).reshape(-1)
    low, high = fixed_floor(start), -fixed_floor(-start)
    has_low, has_high = np.ones(n, dtype=bool), np.ones(n, dtype=bool)
    for part, value in parts:
        matrix, inner = part.sparse(), found[value]
        rows, positive = matrix.row_numbers(), np.asarray(matrix.data > 0, dtype=bool)
        for is_low, has in ((True, has_low), (False, has_high)):
            uses_low, at = positive if is_low else ~positive, matrix.columns
            known = np.where(uses_low, inner.has_low[at], inner.has_high[at])
            has[rows[~known]] = False
            ends = np.where(uses_low, inner.low[at], inner.high[at])
            terms = matrix.data * np.where(known, ends, 0)
            sums = row_sums(matrix, terms)
            if is_low:
                low = low + sums // matrix.denominator
            else:
                high = high - (-sums) // matrix.denominator
    return Range(low, high, has_low, has_high)


def row_sums(matrix: ExactSparse, terms: np.ndarray) -> np.ndarray:
    """The sums of the terms of each row."""
    sums = integers([0] * matrix.shape[0], (matrix.shape[0],))
    filled = np.flatnonzero(np.diff(matrix.starts))
    if len(filled):
        sums[filled] = np.add.reduceat(terms, matrix.starts[:-1][filled])
    return sums


def fixed_floor(value: Exact) -> np.ndarray:
    """The largest multiples of 2^-FIXED that are not above."""
    return (value.numerator * (1 << FIXED)) // value.denominator


def short_below(low: int) -> int:
    """A multiple of 2^-FIXED with eight significant bits, not above `low`, at most 0."""
    magnitude = max(-low, 0)
    shift = max(magnitude.bit_length() - 8, 0)
    return -(((magnitude + (1 << shift) - 1) >> shift) << shift)


# --- what to carry ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class CarryPlan:
    """What hidden layer t (from 1) holds: `units[t]` ReLU pieces, `carried[t]` other pieces;
    `costs`: units that carrying a piece takes, `shared`: and in a layer that holds its ReLU anyway;
    `ranges`: of the carried pieces."""

    pieces: Pieces
    units: dict[int, tuple[int, ...]]
    carried: dict[int, tuple[int, ...]]
    costs: dict[int, int]
    shared: dict[int, int]
    ranges: dict[int, Range]

    def range_used(self, value: int, t: int) -> Range:
        """The range by which layer t carries a value. Where the layer holds relu(z) anyway,
        relu(-z) carries z at the cost of a shift, without the shift's loss of accuracy."""
        known = self.ranges[value]
        if value not in self.held(t):
            return known
        never = np.zeros(len(known.low), dtype=bool)
        positive = known.has_low & np.asarray(known.low >= 0, dtype=bool)
        return Range(known.low, known.high, positive, never)

    def held(self, t: int) -> set[int]:
        """Values whose ReLU layer t holds."""
        return {operands_of(self.pieces.pieces[value])[0] for value in self.units[t]}

    def width(self, t: int) -> int:
        """Units of hidden layer t at most, z and relu(z) sharing theirs."""
        sizes = sum(self.pieces.sizes[value] for value in self.units[t])
        held = self.held(t)
        return sizes + sum(
            self.shared[value] if value in held else self.costs[value] for value in self.carried[t]
        )


def carry_plan(pieces: Pieces, box: tuple[Exact, Exact] | None) -> CarryPlan:
    """From the output down: what each hidden layer holds."""
    crossing = candidates(pieces)
    found = ranges(pieces, crossing, box) if crossing else {}
    costs = {value: carry_cost(found[value]) for value in found}
    shared = {value: shared_cost(found[value]) for value in found}
    targets = {pieces.output}
    units: dict[int, tuple[int, ...]] = {}
    carried: dict[int, tuple[int, ...]] = {}
    for t in range(pieces.depth, 0, -1):
        here, below = reach(pieces, targets, t)
        held = {operands_of(pieces.pieces[value])[0] for value in here}
        local = {value: weighed(costs[value], shifted_rows(found[value])) for value in found}
        local |= {value: weighed(shared[value], 0) for value in held if value in shared}
        chosen: set[int] = set()
        for value in sorted(below, reverse=True):
            chosen |= cheapest(pieces, value, local, chosen, EXPANSIONS)[1]
        units[t], carried[t] = tuple(sorted(here)), tuple(sorted(chosen))
        targets = chosen | held
    return CarryPlan(pieces, units, carried, costs, shared, found)


def candidates(pieces: Pieces) -> list[int]:
    """Values that something above the next level reads: those that may have to be carried."""
    crossing = set()
    for value, piece in enumerate(pieces.pieces):
        if isinstance(piece, Unit):
            continue
        for operand in operands_of(piece):
            if pieces.levels[operand] < pieces.levels[value]:
                crossing.add(operand)
    return sorted(crossing)


def reach(pieces: Pieces, targets: set[int], t: int) -> tuple[set[int], set[int]]:
    """(ReLU pieces of level t, pieces below level t) that the targets are affine in."""
    here: set[int] = set()
    below: set[int] = set()
    open_values, seen = list(targets), set(targets)
    while open_values:
        value = open_values.pop()
        if pieces.levels[value] < t:
            below.add(value)
        elif isinstance(pieces.pieces[value], Unit):
            here.add(value)
        else:
            fresh = [v for v in operands_of(pieces.pieces[value]) if v not in seen]
            seen.update(fresh)
            open_values += fresh
    return here, below


def carry_cost(known: Range) -> int:
    """Units that carry a piece: one a row with a bound on one side, else two."""
    return int(np.sum(np.where(known.has_low | known.has_high, 1, 2)))


def shared_cost(known: Range) -> int:
    """Units beside relu(z) that carry z: none where z >= 0, else one."""
    free = known.has_low & np.asarray(known.low >= 0, dtype=bool)
    return int(np.sum(~free))


def shifted_rows(known: Range) -> int:
    """Rows of a piece that one unit carries with a shift."""
    at_zero = known.has_low & np.asarray(known.low >= 0, dtype=bool)
    return int(np.sum((known.has_low | known.has_high) & ~at_zero))


def weighed(units: int, shifts: int) -> int:
    """A cost in which fewer units count first and fewer shifts second."""
    return (units << 32) + shifts


def cheapest(
    pieces: Pieces, value: int, costs: dict[int, int], chosen: set[int], depth: int
) -> tuple[int, set[int]]:
    """The cheaper of carrying a value and carrying what it is a linear map of."""
    if value in chosen:
        return 0, {value}
    own = costs[value]
    operands = operands_of(pieces.pieces[value])
    if isinstance(pieces.pieces[value], Source | Unit) or not operands or depth == 0:
        return own, {value}
    total = 0
    union: set[int] = set()
    for operand in dict.fromkeys(operands):
        cost, picked = cheapest(pieces, operand, costs, chosen | union, depth - 1)
        total, union = total + cost, union | picked
        if total >= own:
            return own, {value}
    return total, union
