# SPDX-License-Identifier: Apache-2.0
"""From a query and its networks to a claim: an assignment that the query looks for is a point that
the claim forbids.

Inputs of different networks that a query identifies element by element (`==`, or <= and >=) are one
input. Case 1: one network f; the claim has f as source and target, and the rows say nothing of g.
Case 2: two networks all of whose inputs are identified; f is the source, g the target. Case 3: all
others (monotonicity, three networks, other orders of inputs): one joint network over the distinct
inputs with all outputs side by side, and a property of it. `unsat` is Proved, `sat` is Refuted,
`unknown` is Undecided.

The domain is the hull of the inputs' bounds over all branches, closed; a row about inputs that the
hull does not imply stays with its branch, and a branch that no input of the hull meets goes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from isoform.errors import DomainError, FormatError, Refused, TooLarge
from isoform.formats.vnnlib.linear import Row
from isoform.formats.vnnlib.query import Declared, Query, Variable
from isoform.formats.vnnlib.recognised import recognised
from isoform.network.claim import Avoids, Claim, Forbidden
from isoform.network.domain import Box, Polytope
from isoform.network.joint import joint
from isoform.network.model import Loaded, Tensor
from isoform.network.network import Network
from isoform.numerics.exact import exact_fractions
from isoform.text import plural

MOST_NUMBERS = 50_000_000  # entries of all rows, written densely
Bounds = dict[int, tuple[Fraction | None, Fraction | None]]
Terms = dict[int, Fraction]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Asked:
    """A query about networks as a claim about `source` and `target`.

    columns: for each entry of the query its place in (x, f(x), g(x)). files: the declared names of
    source and target, None where a joint network stands for them.
    """

    query: Query
    source: Network
    target: Network
    claim: Claim
    columns: np.ndarray
    files: tuple[str, str] | None


def network_query(query: Query, networks: Mapping[str, Loaded], name: str = "") -> Asked:
    """The claim that a query makes of networks, by their declared names; a network that is equal to
    another needs none. name: how people call the claim.

    Raises Refused for missing, needless or unfit networks, DomainError where an input has no bound
    or no input meets the assertions, TooLarge for too many rows.
    """
    loaded = assigned(query, networks)
    tables = [places_of(net, loaded[net.name]) for net in query.networks]
    inputs = shared_inputs(query, tables)
    dimension = 1 + max(int(part.max()) for part in inputs)
    source, target, starts, files = laid_out(query, loaded, inputs, dimension)
    columns = np.zeros(query.size, dtype=np.int64)
    for (enter, leave), part, start in zip(tables, inputs, starts, strict=True):
        columns[enter[:, 0]] = part[enter[:, 1]]
        columns[leave[:, 0]] = start + leave[:, 1]
    rows = Rows(query, columns, dimension)
    low, high, sets = rows.decided()
    width = dimension + source.output_dimension + target.output_dimension
    box = Box(exact_fractions(low, (dimension,)), exact_fractions(high, (dimension,)))
    domain, sets = domain_of(sets, box, dimension)
    claim = claim_of(sets, domain, width, name)
    if files is not None and len(query.networks) == 2:
        claim = recognised(claim, dimension, source.output_dimension, target.output_dimension)
    return Asked(query=query, source=source, target=target, claim=claim, columns=columns,
                 files=files)


# --- networks -------------------------------------------------------------------------------------


def assigned(query: Query, networks: Mapping[str, Loaded]) -> dict[str, Loaded]:
    """The network of each declaration."""
    needed = [net.name for net in query.networks if not stands_for(net)]
    missing = [name for name in needed if name not in networks]
    foreign = [name for name in networks if name not in needed]
    if missing or foreign:
        said = [f"no file for {', '.join(missing)}"] if missing else []
        said += [f"{', '.join(foreign)} is not declared, or equal to another"] if foreign else []
        raise Refused(f"the query declares {', '.join(needed)}: {'; '.join(said)}; give one file "
                      "for each (--network name=file)")
    found = dict(networks)
    return found | {net.name: found[file_of(net)] for net in query.networks}


def stands_for(net: Declared) -> bool:
    """Whether the network is another one once more, so that it has no file of its own."""
    return net.relation is not None and net.relation[0] == "equal-to"


def file_of(net: Declared) -> str:
    """The name of the network whose file this one has."""
    return net.relation[1] if net.relation is not None and stands_for(net) else net.name


def places_of(net: Declared, loaded: Loaded) -> tuple[np.ndarray, np.ndarray]:
    """(entry of the query, flat number in the network) of all inputs and of all outputs."""
    signature = loaded.signature
    pair = [
        matched(net, variables, tensors)
        for variables, tensors in ((net.inputs, signature.inputs), (net.outputs, signature.outputs))
    ]
    return pair[0], pair[1]


def matched(
    net: Declared, variables: Sequence[Variable], tensors: Sequence[Tensor]
) -> np.ndarray:
    """Declared tensors with those of the file: by their ONNX names where all have one, else in
    order. A leading axis that counts as batch is one row of the declared shape."""
    what = variables[0].kind
    if len(variables) != len(tensors):
        raise Refused(f"network {net.name} declares {plural(len(variables), what)}, its file has "
                      f"{len(tensors)}: {', '.join(tensor.name for tensor in tensors)}")
    named = [variable for variable in variables if variable.onnx is not None]
    if named and len(named) < len(variables):
        raise FormatError(f"network {net.name}: give all {what}s a name of the file, or none")
    sizes = {tensor.name: int(np.prod(tensor.shape, dtype=np.int64)) for tensor in tensors}
    starts = dict(zip(sizes, np.cumsum([0, *sizes.values()]), strict=False))
    found = []
    for variable, tensor in zip(variables, tensors, strict=True):
        name = tensor.name if variable.onnx is None else variable.onnx
        if name not in sizes:
            raise Refused(f"network {net.name} has no {what} {name!r}; its file has "
                          f"{', '.join(sizes)}")
        if sizes[name] != variable.size:
            raise Refused(
                f"{variable.name} has the shape {list(variable.shape)}, {variable.size:,} numbers; "
                f"the {what} {name} of network {net.name} has {sizes[name]:,}; a fixed batch of "
                "more than one row is part of the function with --batch keep"
            )
        every = np.arange(variable.size)
        found.append(np.column_stack([variable.first + every, starts[name] + every]))
    whole = np.concatenate(found)
    if len(np.unique(whole[:, 1])) < len(whole):
        raise FormatError(f"network {net.name}: two {what}s have the same name in the file")
    return whole


def laid_out(
    query: Query, loaded: dict[str, Loaded], inputs: list[np.ndarray], dimension: int
) -> tuple[Network, Network, list[int], tuple[str, str] | None]:
    """Source, target, where the outputs of each network begin in (x, f, g), and which files."""
    nets = query.networks
    every = np.arange(dimension)
    plain = all(np.array_equal(part, every) for part in inputs)
    networks = [loaded[net.name].network for net in nets]
    first = networks[0]
    if plain and len(nets) == 1:
        return first, first, [dimension], (nets[0].name, nets[0].name)
    if plain and len(nets) == 2:
        second = first if loaded[nets[1].name] is loaded[nets[0].name] else networks[1]
        start = dimension + first.output_dimension
        return first, second, [dimension, start], (nets[0].name, file_of(nets[1]))
    made = joint(networks, inputs, dimension)
    starts = np.cumsum([dimension, *(net.output_dimension for net in networks)])[:-1]
    return made, made, starts.tolist(), None


# --- inputs that are one --------------------------------------------------------------------------


def shared_inputs(
    query: Query, tables: list[tuple[np.ndarray, np.ndarray]]
) -> list[np.ndarray]:
    """For each network the numbers of its inputs among the distinct inputs of the query."""
    owner: dict[int, tuple[int, int]] = {}  # entry of the query: (network, input)
    for k, (enter, _) in enumerate(tables):
        owner |= {int(entry): (k, int(i)) for entry, i in enter}
    group = {entry: entry for entry in owner}
    members = {entry: {owner[entry][0]: entry} for entry in owner}
    for a, b in identified(query.common, owner):
        mine, theirs = members[group[a]], members[group[b]]
        if mine is theirs or mine.keys() & theirs.keys():
            continue  # two inputs of one network: the rows stay
        for entry in theirs.values():
            group[entry] = group[a]
        mine |= theirs
    numbers: dict[int, int] = {}
    found = []
    for enter, _ in tables:
        part = np.zeros(len(enter), dtype=np.int64)
        for entry, i in enter[np.argsort(enter[:, 1], kind="stable")].tolist():
            part[i] = numbers.setdefault(group[entry], len(numbers))
        found.append(part)
    return found


def identified(
    rows: Sequence[Row], owner: Mapping[int, tuple[int, int]]
) -> Iterator[tuple[int, int]]:
    """Pairs of inputs of different networks that two rows make equal, a <= b and b <= a."""
    below: set[tuple[int, int]] = set()
    for row in rows:
        if len(row.terms) != 2 or row.bound or row.strict:
            continue
        (a, factor), (b, other) = row.terms
        if factor != -other or a not in owner or b not in owner or owner[a][0] == owner[b][0]:
            continue
        pair = (a, b) if factor > 0 else (b, a)
        if pair[::-1] in below:
            yield min(pair), max(pair)
        below.add(pair)


# --- domain and forbidden sets --------------------------------------------------------------------


class Rows:
    """The rows of a query over (x, f, g), and what they say of the inputs alone."""

    def __init__(self, query: Query, columns: np.ndarray, dimension: int):
        self.query, self.dimension = query, dimension
        self.columns: list[int] = columns.tolist()
        self.common = self.moved(query.common)
        self.branches = [self.moved(branch) for branch in query.branches]

    def moved(self, rows: Sequence[Row]) -> list[Row]:
        """Rows over (x, f, g): entries that are one are added up, what is always true goes."""
        found: dict[Row, None] = {}
        for row in rows:
            terms: Terms = {}
            for entry, factor in row.terms:
                at = self.columns[entry]
                terms[at] = terms.get(at, Fraction(0)) + factor
            kept = tuple(sorted((at, factor) for at, factor in terms.items() if factor))
            moved = Row(kept, row.bound, row.strict)
            if kept or moved.false:
                found[moved] = None
        return list(found)

    def decided(self) -> tuple[list[Fraction], list[Fraction], list[list[Row]]]:
        """The hull of the inputs, low and high, and the rows of every branch that is left."""
        shared = self.bounds(self.common, {})
        boxes, rests = [], []
        for branch in self.branches:
            bounds = self.bounds(branch, shared)
            if all(lo is None or hi is None or lo <= hi for lo, hi in bounds.values()):
                boxes.append(bounds)
                rests.append(branch)
        if not boxes:
            raise DomainError(EMPTY)
        low, high = self.hull(boxes)
        common = self.left(self.common, low, high)
        sets = []
        for branch in rests:
            kept = self.left(branch, low, high)
            if common is not None and kept is not None:
                sets.append(list(dict.fromkeys([*common, *kept])))
        if not sets:
            raise DomainError(EMPTY)
        return low, high, sets

    def bounds(self, rows: Sequence[Row], known: Bounds) -> Bounds:
        """The bounds of single inputs among the rows, together with those that are known."""
        bounds = dict(known)
        for row in rows:
            if len(row.terms) != 1 or row.terms[0][0] >= self.dimension:
                continue
            at, factor = row.terms[0]
            end = row.bound / factor
            low, high = bounds.get(at, (None, None))
            if factor > 0:
                high = end if high is None else min(high, end)
            else:
                low = end if low is None else max(low, end)
            bounds[at] = low, high
        return bounds

    def hull(self, boxes: list[Bounds]) -> tuple[list[Fraction], list[Fraction]]:
        """The smallest box around those of the branches. DomainError where a bound is missing."""
        low: list[Fraction] = []
        high: list[Fraction] = []
        missing = []
        for at in range(self.dimension):
            ends = [box.get(at, (None, None)) for box in boxes]
            lows = [end[0] for end in ends if end[0] is not None]
            highs = [end[1] for end in ends if end[1] is not None]
            if len(lows) < len(ends) or len(highs) < len(ends):
                missing.append(self.query.entry(self.columns.index(at)))
            else:
                low.append(min(lows))
                high.append(max(highs))
        if missing:
            raise DomainError(
                f"{plural(len(missing), 'input')} without a lower or an upper bound: "
                f"{', '.join(missing[:5])}{', ...' if len(missing) > 5 else ''}; assert both"
            )
        return low, high

    def left(
        self, rows: Sequence[Row], low: list[Fraction], high: list[Fraction]
    ) -> list[Row] | None:
        """The rows that the box does not imply; None where one fails in all of the box."""
        kept = []
        for row in rows:
            if row.false:
                return None
            if row.terms[-1][0] < self.dimension:
                ends = [(c * low[i], c * high[i]) for i, c in row.terms]
                least, most = sum(map(min, ends)), sum(map(max, ends))
                if least > row.bound or row.strict and least == row.bound:
                    return None
                if most < row.bound or not row.strict and most == row.bound:
                    continue
            kept.append(row)
        return kept


EMPTY = (
    "no input meets the assertions about inputs: the query is unsat whatever the networks are, "
    "which is most likely a slip; check its bounds"
)


def domain_of(
    sets: list[list[Row]], box: Box, dimension: int
) -> tuple[Box | Polytope, list[list[Row]]]:
    """Rows about inputs that stand in every set, as rows of the domain, and the sets without them;
    strict ones stay in the sets too."""
    shared = [
        row for row in sets[0] if row.terms and row.terms[-1][0] < dimension
        and all(row in rows for rows in sets[1:])
    ]
    if not shared or len(shared) * dimension > MOST_NUMBERS:
        return box, sets
    dense: list[Fraction | int] = [0] * (len(shared) * dimension)
    for i, row in enumerate(shared):
        for at, factor in row.terms:
            dense[i * dimension + at] = factor
    A = exact_fractions(dense, (len(shared), dimension))
    b = exact_fractions([row.bound for row in shared], (len(shared),))
    gone = {row for row in shared if not row.strict}
    return Polytope(A, b, box), [[row for row in rows if row not in gone] for rows in sets]


def claim_of(sets: list[list[Row]], domain: Box | Polytope, width: int, name: str) -> Claim:
    """The claim that no x of the domain has (x, f, g) in one of the sets."""
    count = sum(map(len, sets))
    if count * width > MOST_NUMBERS:
        raise TooLarge(f"{count:,} rows over {width:,} numbers; the limit is {MOST_NUMBERS:,} "
                       "entries; split the query")
    distinct = {frozenset(rows): rows for rows in sets}
    return Claim(Avoids(tuple(forbidden(rows, width) for rows in distinct.values()), name), domain)


def forbidden(rows: list[Row], width: int) -> Forbidden:
    """The set of all rows; without any, 0 <= 0 stands for everything."""
    rows = rows or [Row((), Fraction(0))]
    dense: list[Fraction | int] = [0] * (len(rows) * width)
    for i, row in enumerate(rows):
        for at, factor in row.terms:
            dense[i * width + at] = factor
    return Forbidden(
        exact_fractions(dense, (len(rows), width)),
        exact_fractions([row.bound for row in rows], (len(rows),)),
        tuple(row.strict for row in rows),
    )
