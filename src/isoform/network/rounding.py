# SPDX-License-Identifier: Apache-2.0
"""Constants that a file can hold: rounded to the nearest float, or written as sums of floats.

Rounding changes the function, and says how many numbers it changes. Splitting does not: a constant
that is no float of the dtype becomes an unevaluated sum of two to four of them, and the network
stays equal over the reals.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import numpy as np

from isoform.errors import Refused
from isoform.network.linear_map import Constant, Conv, Csr, Dense, Gather, LinearMap, exact
from isoform.network.network import Network, Node
from isoform.network.operators import Linear, Scan
from isoform.network.primitive import to_primitive
from isoform.numerics.exact import Exact

MOST_PARTS = 4
SPARSE_BELOW = 1 / 3  # a remainder with a smaller share of non-zeros is kept in compressed rows
Change = Callable[[str, Constant], Constant]


def rounded(network: Network, dtype: Any) -> Network:
    """The network whose constants are the nearest floats of `dtype` (float32 or float64).

    Ties go to even. Every constant becomes an array of `dtype`; the ones that fit keep their value.
    Numbers inside operators (a leaky ReLU's slope) are rounded likewise; an `epsilon` always to
    float32, because model files keep it so. Refused, naming the constant, where one overflows.
    """
    return with_constants(network, lambda name, constant: nearest(name, constant, dtype))


def needs_rounding(network: Network, dtype: Any) -> int:
    """How many numbers `rounded(network, dtype)` would change."""
    changed = 0

    def count(name: str, constant: Constant) -> Constant:
        nonlocal changed
        changed += misfits(constant, dtype_of(name, dtype))
        return constant

    with_constants(network, count, shared=False)
    return changed


def split(network: Network, dtype: Any) -> Network:
    """The same function over the reals, with constants that are floats of `dtype`.

    A weight that does not fit becomes W1 + W2 + ... (parallel maps on one operand), a bias likewise
    (further additions). Where a surface operator's own constants do not fit, the network is lowered
    to primitive operators first. Refused, naming the constant, where it is not dyadic or needs more
    than four floats.
    """
    if surface_misfits(network, dtype):
        network = to_primitive(network)
    return split_nodes(network, Splitter(np.dtype(dtype), {}))


# --- constants one by one ---------------------------------------------------------------------


def with_constants(network: Network, change: Change, shared: bool = True) -> Network:
    """The network with `change(name, constant)` for every constant.

    With `shared`, `change` is called once for an array that several operators hold, so that it
    stays shared. Numbers inside operators are passed as arrays of shape ().
    """
    seen: dict[tuple[int, bool], tuple[Constant, Constant]] = {}

    def once(name: str, constant: Constant) -> Constant:
        key = (id(constant), name.endswith(" epsilon"))
        if key not in seen or not shared:
            seen[key] = (constant, change(name, constant))  # held, so that its id stays its own
        return seen[key][1]

    nodes = tuple(
        Node(changed(node.operator, f"node {value} ({type(node.operator).__name__})", once),
             node.operands, node.shape)
        for value, node in network.items()
    )
    return Network(network.inputs, nodes, network.outputs)


def changed(record: Any, name: str, change: Change) -> Any:
    """A dataclass (operator or linear map) with its constants changed."""
    new: dict[str, Any] = {}
    for field in fields(record):
        value, label = getattr(record, field.name), f"{name} {field.name}"
        match value:
            case Exact():
                new[field.name] = change(label, value)
            case np.ndarray() if value.dtype.kind == "f":
                new[field.name] = change(label, value)
            case float():
                new[field.name] = as_number(change(label, np.array(value)))
            case tuple() if value and is_dataclass(value[0]):
                new[field.name] = tuple(
                    changed(part, f"{name} map {i}", change) for i, part in enumerate(value)
                )
            case Network():
                new[field.name] = with_constants(value, change)
    return replace(record, **new) if new else record


def as_number(constant: Constant) -> float:
    return float(constant.to_float() if isinstance(constant, Exact) else constant)


def dtype_of(name: str, dtype: Any) -> np.dtype:
    """The dtype that a constant of this name is written in."""
    return np.dtype(np.float32) if name.endswith(" epsilon") else np.dtype(dtype)


def nearest(name: str, constant: Constant, dtype: Any) -> np.ndarray:
    """The nearest floats; Refused where one overflows."""
    dtype = dtype_of(name, dtype)
    with np.errstate(over="ignore"):
        floats = constant.to_float(dtype) if isinstance(constant, Exact) else constant.astype(dtype)
    bad = ~np.isfinite(floats)
    if bad.any():
        at = tuple(int(i) for i in np.argwhere(bad)[0])
        raise Refused(
            f"{name} does not fit {dtype}: entry {at} is beyond the largest float, "
            f"{np.finfo(dtype).max:.6g}; ask for float64, or rescale the network"
        )
    return floats


def misfits(constant: Constant, dtype: np.dtype) -> int:
    """How many entries are not floats of `dtype`."""
    if not isinstance(constant, Exact):
        if constant.dtype.itemsize <= dtype.itemsize:
            return 0
        with np.errstate(over="ignore"):
            return int(np.count_nonzero(constant.astype(dtype).astype(constant.dtype) != constant))
    floats = constant.to_float(dtype)
    finite = np.isfinite(floats)
    held = Exact.of(np.where(finite, floats, 0))
    equal = held.numerator * constant.denominator == constant.numerator * held.denominator
    return int(np.count_nonzero(~(np.asarray(equal, dtype=bool) & finite)))


# --- unevaluated sums -------------------------------------------------------------------------


def surface_misfits(network: Network, dtype: Any) -> bool:
    """Whether an operator that is no linear map holds a constant that does not fit."""
    rest = [
        Node(node.operator, node.operands, node.shape)
        for node in network.nodes
        if not isinstance(node.operator, Linear | Scan)
    ]
    found = 0

    def count(name: str, constant: Constant) -> Constant:
        nonlocal found
        found += misfits(constant, dtype_of(name, dtype))
        return constant

    for node in rest:
        changed(node.operator, type(node.operator).__name__, count)
    return found > 0


@dataclass(frozen=True, slots=True)
class Splitter:
    """Splits constants into floats of `dtype`, each array once; `done` remembers them by id."""

    dtype: np.dtype
    done: dict[tuple[int, str], tuple[Any, Any]]

    def once(self, kind: str, key: Any, make: Callable[[], Any]) -> Any:
        """`make()`, or what it gave for the same object before."""
        place = (id(key), kind)
        if place not in self.done:
            self.done[place] = (key, make())
        return self.done[place][1]

    def parts(self, name: str, constant: Constant) -> list[np.ndarray]:
        return self.once("parts", constant, lambda: parts_of(name, constant, self.dtype))

    def compacted(self, weight: np.ndarray) -> LinearMap:
        return self.once("compact", weight, lambda: compact(weight))

    def maps(self, name: str, part: LinearMap) -> list[LinearMap]:
        return self.once("maps", part, lambda: split_map(name, part, self))


def split_nodes(network: Network, splitter: Splitter) -> Network:
    """The network with every node replaced by those that stand for it."""
    nodes: list[Node] = []
    first = len(network.inputs)
    place = list(range(first))
    for value, node in network.items():
        operands = tuple(place[operand] for operand in node.operands)
        nodes += split_node(node, operands, f"node {value}", splitter, first + len(nodes))
        place.append(first + len(nodes) - 1)
    return Network(network.inputs, tuple(nodes), tuple(place[value] for value in network.outputs))


def split_node(
    node: Node, operands: tuple[int, ...], name: str, splitter: Splitter, here: int
) -> list[Node]:
    """The nodes that stand for one node; `here` is the number of the first of them."""
    operator = node.operator
    if isinstance(operator, Scan):
        cell = split_nodes(operator.cell, splitter)
        return [Node(replace(operator, cell=cell), operands, node.shape)]
    if not isinstance(operator, Linear):
        label = f"{name} ({type(operator).__name__})"
        fitted = changed(operator, label, lambda n, c: nearest(n, c, splitter.dtype))
        return [Node(fitted, operands, node.shape)]
    maps: list[LinearMap] = []
    sources: list[int] = []
    for i, (part, operand) in enumerate(zip(operator.maps, operands, strict=True)):
        pieces = splitter.maps(f"{name} (Linear) map {i}", part)
        maps += pieces
        sources += [operand] * len(pieces)
    if operator.bias is None:
        return [Node(Linear(tuple(maps)), tuple(sources), node.shape)]
    biases = splitter.parts(f"{name} (Linear) bias", operator.bias)
    nodes = [Node(Linear(tuple(maps), biases[0]), tuple(sources), node.shape)]
    for bias in biases[1:]:
        same = Gather(indices=np.arange(bias.size), scale=None, inputs=bias.size)
        nodes.append(Node(Linear((same,), bias), (here + len(nodes) - 1,), node.shape))
    return nodes


def split_map(name: str, part: LinearMap, splitter: Splitter) -> list[LinearMap]:
    """Maps whose sum is `part`, with constants of the dtype."""
    match part:
        case Dense():
            parts = splitter.parts(f"{name} weight", part.weight)
            return [Dense(parts[0]), *map(splitter.compacted, parts[1:])]
        case Conv():
            parts = splitter.parts(f"{name} kernel", part.kernel)
            return [replace(part, kernel=piece) for piece in parts]
        case Csr():
            parts = splitter.parts(f"{name} values", part.values)
            return [replace(part, values=parts[0]), *(thinned(part, p) for p in parts[1:])]
        case Gather():
            if part.scale is None:
                return [part]
            parts = splitter.parts(f"{name} scale", part.scale)
            rest = [
                replace(part, indices=np.where(piece != 0, part.indices, -1), scale=piece)
                for piece in parts[1:]
            ]
            return [replace(part, scale=parts[0]), *rest]


def compact(weight: np.ndarray) -> LinearMap:
    """A dense remainder, in compressed rows where it is sparse."""
    if np.count_nonzero(weight) > SPARSE_BELOW * weight.size:
        return Dense(weight)
    rows, columns = np.nonzero(weight)
    starts = np.searchsorted(rows, np.arange(weight.shape[0] + 1)).astype(np.int64)
    return Csr(
        starts=starts, columns=columns.astype(np.int64), values=weight[rows, columns],
        inputs=weight.shape[1],
    )


def thinned(part: Csr, values: np.ndarray) -> Csr:
    """The pattern of `part` with these values, without its zeros."""
    keep = values != 0
    starts = np.concatenate(([0], np.cumsum(keep)))[part.starts].astype(np.int64)
    return Csr(
        starts=starts, columns=part.columns[keep], values=values[keep], inputs=part.inputs
    )


def parts_of(name: str, constant: Constant, dtype: np.dtype) -> list[np.ndarray]:
    """One to four arrays of `dtype` whose exact sum is the constant, largest first."""
    if not isinstance(constant, Exact) and constant.dtype.itemsize <= dtype.itemsize:
        return [constant.astype(dtype)]
    rest = exact(constant)
    if not rest.is_dyadic():
        raise Refused(
            f"{name} is no sum of floats: its denominator "
            f"{brief(rest.reduced().denominator)} is no power of two; "
            "write it rounded, which is proved within eps"
        )
    parts: list[np.ndarray] = []
    while not parts or rest.any():
        if len(parts) == MOST_PARTS:
            raise Refused(
                f"{name} needs more than {MOST_PARTS} floats of {dtype} a number (numerator up to "
                f"{int(np.max(np.abs(rest.numerator))).bit_length()} bits left over); "
                "ask for float64, or write it rounded"
            )
        parts.append(nearest(name, rest, dtype))
        rest = (rest - Exact.of(parts[-1])).reduced()
    return parts


def brief(number: int) -> str:
    return str(number) if number.bit_length() < 64 else f"of {number.bit_length()} bits"
