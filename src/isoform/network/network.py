# SPDX-License-Identifier: Apache-2.0
"""The one thing that means a function: a graph of operators from the closed set."""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from isoform.network.linear_map import Constant
from isoform.network.operators import (
    PRIMITIVES,
    ArgExtreme,
    Compare,
    Linear,
    Operator,
    Quantize,
    Round,
    Scan,
    Step,
    Where,
)
from isoform.numerics.exact import Exact

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Node:
    """One operator applied to earlier values; `shape` is that of its result (no batch axis)."""

    operator: Operator
    operands: tuple[int, ...]
    shape: Shape


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """A function from its inputs to its outputs, over the reals.

    inputs: shapes of the inputs. Values are numbered: the inputs first, then one a node, in
    topological order. outputs: numbers of the values that are returned.
    Two networks are equal (`==`) iff their digests are: the same operators, wiring, shapes and
    constants (bit for bit, dtype included). Names are no part of it.
    """

    inputs: tuple[Shape, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[int, ...]

    def __post_init__(self) -> None:
        for position, node in enumerate(self.nodes):
            here = len(self.inputs) + position
            if any(not 0 <= operand < here for operand in node.operands):
                raise ValueError(f"node {position} uses a value that does not come before it")
        count = len(self.inputs) + len(self.nodes)
        if any(not 0 <= value < count for value in self.outputs):
            raise ValueError("an output names a value that does not exist")

    def shape_of(self, value: int) -> Shape:
        if value < len(self.inputs):
            return self.inputs[value]
        return self.nodes[value - len(self.inputs)].shape

    def size_of(self, value: int) -> int:
        """Number of entries of a value."""
        return math.prod(self.shape_of(value))

    def items(self) -> Iterator[tuple[int, Node]]:
        """(value number, node), in topological order."""
        return enumerate(self.nodes, start=len(self.inputs))

    @property
    def dimension(self) -> int:
        """Number of real inputs, all inputs in order, row-major."""
        return sum(math.prod(shape) for shape in self.inputs)

    @property
    def output_dimension(self) -> int:
        """Number of real outputs, concatenated in order, row-major."""
        return sum(self.size_of(value) for value in self.outputs)

    @property
    def is_primitive(self) -> bool:
        """One flat input, one flat output, primitive operators and flat shapes only."""
        flat = len(self.inputs) == 1 and len(self.outputs) == 1
        shapes = [*self.inputs, *(node.shape for node in self.nodes)]
        return (
            flat
            and all(len(shape) == 1 for shape in shapes)
            and all(isinstance(node.operator, PRIMITIVES) for node in self.nodes)
        )

    @property
    def continuous(self) -> bool:
        """Whether nothing steps or rounds: derived from the operators, never declared."""
        for node in self.nodes:
            if isinstance(node.operator, Step | Round | Quantize | Compare | Where | ArgExtreme):
                return False
            if isinstance(node.operator, Scan) and not node.operator.cell.continuous:
                return False
        return True

    @property
    def digest(self) -> str:
        """sha256 of operators, wiring, shapes and constants; stable under renaming."""
        return hashlib.sha256(b"".join(network_bytes(self))).hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Network) and (self is other or self.digest == other.digest)

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        return f"Network({self.dimension} -> {self.output_dimension}, {len(self.nodes)} nodes)"


class Builder:
    """Collects nodes in order; `add` returns the number of the new value.

    The single place where networks are put together: `Builder((n,))`, `add(...)`, `build(...)`.
    """

    def __init__(self, *inputs: Shape):
        self.inputs = inputs
        self.nodes: list[Node] = []

    def add(self, operator: Operator, operands: Sequence[int] = (), shape: Shape | int = ()) -> int:
        """Append a node; an integer shape is that of a flat vector."""
        shape = (shape,) if isinstance(shape, int) else tuple(shape)
        self.nodes.append(Node(operator, tuple(operands), shape))
        return len(self.inputs) + len(self.nodes) - 1

    def linear(self, maps: Any, operands: Any, bias: Constant | None = None) -> int:
        """Append a flat `Linear`; single map and operand may be given bare."""
        maps = maps if isinstance(maps, tuple | list) else (maps,)
        operands = (operands,) if isinstance(operands, int) else operands
        size = maps[0].outputs if maps else bias.size  # type: ignore[union-attr]
        return self.add(Linear(tuple(maps), bias), operands, size)

    def shape_of(self, value: int) -> Shape:
        if value < len(self.inputs):
            return self.inputs[value]
        return self.nodes[value - len(self.inputs)].shape

    def size_of(self, value: int) -> int:
        return math.prod(self.shape_of(value))

    def build(self, *outputs: int) -> Network:
        """The network that returns these values, without nodes that no output needs."""
        return prune(Network(tuple(self.inputs), tuple(self.nodes), tuple(outputs)))


def prune(network: Network) -> Network:
    """The same function without nodes that no output depends on."""
    first = len(network.inputs)
    needed = set(network.outputs)
    for value in range(first + len(network.nodes) - 1, first - 1, -1):
        if value in needed:
            needed.update(network.nodes[value - first].operands)
    kept = [v for v in range(first, first + len(network.nodes)) if v in needed]
    number = {v: v for v in range(first)} | {v: first + i for i, v in enumerate(kept)}
    nodes = []
    for value in kept:
        node = network.nodes[value - first]
        operands = tuple(number[operand] for operand in node.operands)
        nodes.append(Node(node.operator, operands, node.shape))
    return Network(network.inputs, tuple(nodes), tuple(number[v] for v in network.outputs))


def network_bytes(network: Network) -> Iterator[bytes]:
    """A canonical byte stream of a network, for hashing."""
    yield b"network"
    yield from value_bytes(network.inputs)
    yield from value_bytes(network.outputs)
    for node in network.nodes:
        yield from value_bytes(node.operator)
        yield from value_bytes(node.operands)
        yield from value_bytes(node.shape)


def value_bytes(value: Any) -> Iterator[bytes]:
    """Tagged bytes of an attribute: arrays with dtype and shape, dataclasses field by field."""
    match value:
        case np.ndarray():
            little = value.astype(value.dtype.newbyteorder("<"), copy=False)
            yield f"array {little.dtype.str} {value.shape}:".encode()
            yield np.ascontiguousarray(little).tobytes()
        case Exact():
            yield f"exact {value.shape} {numeral(value.denominator)}:".encode()
            for n in value.numerator.ravel().tolist():
                yield b"%d," % n if n.bit_length() <= 10_000 else b"%s," % numeral(n).encode()
        case Network():
            yield from network_bytes(value)
        case tuple():
            yield f"tuple {len(value)}:".encode()
            for item in value:
                yield from value_bytes(item)
        case bool() | None | str() | int():
            yield f"{type(value).__name__} {value!r};".encode()
        case float():
            yield b"float" + struct.pack("<d", value)
        case _ if hasattr(value, "__dataclass_fields__"):
            yield from record_bytes(value)
        case _:
            raise TypeError(f"a network does not hold a {type(value).__name__}")


def numeral(n: int) -> str:
    """An integer as digits; a long one in hexadecimal, for Python writes no 4,301 decimals."""
    return str(n) if n.bit_length() <= 10_000 else hex(n)


def record_bytes(record: Any) -> Iterator[bytes]:
    yield f"record {type(record).__name__}(".encode()
    for field in fields(record):
        yield f"{field.name}=".encode()
        yield from value_bytes(getattr(record, field.name))
    yield b")"
