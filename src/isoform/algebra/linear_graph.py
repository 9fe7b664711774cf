# SPDX-License-Identifier: Apache-2.0
"""A network as affine sums and other nodes, made for rewriting the affine part.

Linear, batch normalisation, selection and concatenation nodes become `Affine sums` of sketched
maps; all other nodes stay. A sum that no rule touched is written back as the node that it was.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache

import numpy as np

from isoform.algebra.affine_rows import as_bias, is_identity, is_zero
from isoform.algebra.map_algebra import Sketch, sketch
from isoform.network.linear_map import Constant, Gather, LinearMap, exact
from isoform.network.network import Builder, Network, Node, Shape
from isoform.network.operators import (
    BatchNormalization,
    Concat,
    Linear,
    Operator,
    Select,
)
from isoform.network.primitive_arithmetic import channel_factors
from isoform.network.size import constants_of, multiply_adds
from isoform.numerics.exact import Exact

MakeBias = Callable[[], Exact]


@dataclass(slots=True)
class Total:
    """sum of maps(values) + bias; `origin` is the node as it was read, until a rule changes it;
    saving: what is gained beside the maps' when the node vanishes."""

    parts: list[tuple[Sketch, int]]
    bias: MakeBias | None
    shape: Shape
    origin: Operator | None
    saving: int = 0

    @property
    def rows(self) -> int:
        return math.prod(self.shape)

    def cost(self) -> int:
        """What is gained when the node vanishes."""
        return self.saving + sum(part.saving for part, _ in self.parts)


@dataclass(slots=True)
class LinearGraph:
    """Value number to node (a Total, or another Node); inputs keep their numbers."""

    inputs: tuple[Shape, ...]
    outputs: tuple[int, ...]
    nodes: dict[int, Total | Node] = field(default_factory=dict)

    def operands(self, value: int) -> list[int]:
        node = self.nodes[value]
        if isinstance(node, Total):
            return [operand for _, operand in node.parts]
        return list(node.operands)

    def uses(self) -> dict[int, int]:
        """How often each value is read (an output counts once), from what the outputs need."""
        count: dict[int, int] = {}
        open_values = list(self.outputs)
        for value in self.outputs:
            count[value] = count.get(value, 0) + 1
        seen: set[int] = set(self.outputs)
        while open_values:
            value = open_values.pop()
            if value not in self.nodes:
                continue
            for operand in self.operands(value):
                count[operand] = count.get(operand, 0) + 1
                if operand not in seen:
                    seen.add(operand)
                    open_values.append(operand)
        return count

    def drop_unread(self) -> None:
        """Forget nodes that no output needs."""
        read = self.uses()
        for value in [v for v in self.nodes if v not in read]:
            del self.nodes[value]

    def stored(self) -> tuple[int, int]:
        """(parameters, flops) at most."""
        parameters = flops = 0
        for node in self.nodes.values():
            if isinstance(node, Total) and node.origin is None:
                parameters += sum(part.stored for part, _ in node.parts)
                parameters += node.rows if node.bias is not None else 0
                flops += sum(part.flops for part, _ in node.parts)
            else:
                operator = node.origin if isinstance(node, Total) else node.operator
                parameters += sum(constant.size for constant in constants_of(operator))
                flops += multiply_adds(operator)
        return parameters, flops


def nodes_left(network: Network) -> int:
    """Number of affine nodes, selections and concatenations included."""
    kinds = (Linear, BatchNormalization, Select, Concat)
    return sum(isinstance(node.operator, kinds) for node in network.nodes)


def from_network(network: Network) -> LinearGraph:
    """The graph of a network; weights stored once and read twice save nothing when they go."""
    graph = LinearGraph(network.inputs, network.outputs)
    times: dict[int, int] = {}
    for node in network.nodes:
        for constant in constants_of(node.operator):
            times[id(constant)] = times.get(id(constant), 0) + 1
    for value, node in network.items():
        graph.nodes[value] = read_node(network, node, times)
    return graph


def read_node(network: Network, node: Node, times: dict[int, int]) -> Total | Node:
    """One node as a sum, if it is affine."""
    shapes = [network.shape_of(operand) for operand in node.operands]
    match node.operator:
        case Linear(maps, bias) as operator:
            parts = [
                (sketch(part, owned(part, times)), operand)
                for part, operand in zip(maps, node.operands, strict=True)
            ]
            saving = 0 if bias is None or times[id(bias)] > 1 else bias.size
            return Total(parts, bias_of(bias), node.shape, operator, saving)
        case Select(indices) as operator:
            part = Gather(indices=indices, scale=None, inputs=math.prod(shapes[0]))
            return Total([(sketch(part), node.operands[0])], None, node.shape, operator)
        case Concat(axis) as operator:
            placings = placed(shapes, axis)
            parts = [(sketch(part), v) for part, v in zip(placings, node.operands, strict=True)]
            return Total(parts, None, node.shape, operator)
        case BatchNormalization() as operator:
            return normalisation(operator, node, math.prod(node.shape[1:]))
        case _:
            return node


def owned(part: LinearMap, times: dict[int, int]) -> int:
    """Parameters of a map that no other map stores too."""
    weights = [c for name, c in part.constants.items()
               if name not in ("starts", "columns", "indices")]
    return sum(constant.size for constant in weights if times.get(id(constant), 1) == 1)


def bias_of(bias: Constant | None) -> MakeBias | None:
    """A bias, computed when it is asked for; None where it is zero."""
    if bias is None or is_zero(bias):
        return None
    return cache(lambda: exact(bias).reshape(-1))


def placed(shapes: list[Shape], axis: int) -> list[LinearMap]:
    """A concatenation along an axis as one gather an operand."""
    pieces, start = [], 0
    for shape in shapes:
        count = math.prod(shape)
        pieces.append(np.arange(start, start + count).reshape(shape))
        start += count
    order = np.concatenate(pieces, axis=axis).ravel()
    maps: list[LinearMap] = []
    start = 0
    for shape in shapes:
        count = math.prod(shape)
        inside = (order >= start) & (order < start + count)
        maps.append(Gather(indices=np.where(inside, order - start, -1), scale=None, inputs=count))
        start += count
    return maps


def normalisation(operator: BatchNormalization, node: Node, repeats: int) -> Total:
    """A batch normalisation as a scale and a shift a channel."""
    factor, shift = channel_factors(operator)
    index = np.repeat(np.arange(factor.size), repeats)
    part = Gather(indices=np.arange(len(index)), scale=factor[index], inputs=len(index))
    saving = sum(constant.size for constant in constants_of(operator))
    total = Total([(sketch(part, 0), node.operands[0])], None, node.shape, operator, saving)
    if not is_zero(shift):
        total.bias = cache(lambda: exact(shift)[index])
    return total


def to_network(graph: LinearGraph) -> Network:
    """The network of a graph; maps are computed here."""
    build = Builder(*graph.inputs)
    number = {value: value for value in range(len(graph.inputs))}
    for value in sorted(graph.nodes):
        node = graph.nodes[value]
        operands = [number[operand] for operand in graph.operands(value)]
        if isinstance(node, Node):
            number[value] = build.add(node.operator, operands, node.shape)
        elif node.origin is not None:
            number[value] = build.add(node.origin, operands, node.shape)
        else:
            number[value] = add_total(build, node, operands)
    return build.build(*(number[value] for value in graph.outputs))


def add_total(build: Builder, node: Total, operands: list[int]) -> int:
    """A changed sum: nothing where it is the identity, a selection where it only moves entries."""
    maps = tuple(part.make() for part, _ in node.parts)
    bias = None if node.bias is None else as_bias(node.bias())
    if len(maps) == 1 and bias is None and isinstance(maps[0], Gather):
        part = maps[0]
        if is_identity(part) and build.shape_of(operands[0]) == node.shape:
            return operands[0]
        if part.scale is None and np.all(part.indices >= 0):
            return build.add(Select(part.indices), operands, node.shape)
    return build.add(Linear(maps, bias), operands, node.shape)
