# SPDX-License-Identifier: Apache-2.0
"""Several networks as one: outputs side by side over chosen inputs, and the difference of two."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from isoform.network.linear_map import Gather
from isoform.network.network import Builder, Network, Node
from isoform.network.operators import Concat, Select
from isoform.network.primitive import to_primitive


def joint(networks: Sequence[Network], inputs: Sequence[np.ndarray], dimension: int) -> Network:
    """The primitive network on R^dimension with output (f_1(z[inputs_1]), f_2(z[inputs_2]), ...).

    networks: R^n_k -> R^m_k; inputs: for each network the n_k numbers of its inputs among the
    entries of z (int64), in any order, shared or not. ValueError where they do not fit.
    """
    builder = Builder((dimension,))
    outputs = []
    for network, places in zip(networks, inputs, strict=True):
        primitive = to_primitive(network)
        if places.shape != (primitive.dimension,) or not np.all(
            (places >= 0) & (places < dimension)
        ):
            raise ValueError(f"inputs {places.shape} for a network of {primitive.dimension}")
        entered = 0
        if not np.array_equal(places, np.arange(dimension)):
            entered = builder.add(Select(places.astype(np.int64)), (0,), len(places))
        outputs += copied(builder, primitive, [entered])
    if len(outputs) == 1:
        return builder.build(outputs[0])
    width = sum(builder.size_of(output) for output in outputs)
    return builder.build(builder.add(Concat(), outputs, width))


def difference(source: Network, target: Network, *, both: bool = False) -> Network:
    """The network d = g - f of two networks with the same numbers of inputs and outputs, one flat
    output (m,); with `both` the output (f, d) in one, (2m,). It keeps surface operators, so that it
    can be written as a file, and takes the inputs of the source.

    d is computed by one linear node with factors 1 and -1, so that no constant is rounded.
    """
    sizes = [(net.dimension, net.output_dimension) for net in (source, target)]
    if sizes[0] != sizes[1]:
        raise ValueError(f"networks of shapes {sizes[0]} and {sizes[1]}")
    builder = Builder(*source.inputs)
    first = list(range(len(source.inputs)))
    second = first
    if target.inputs != source.inputs:
        whole = flattened(builder, first)
        ends = np.cumsum([0, *(target.size_of(i) for i in range(len(target.inputs)))])
        second = [
            builder.add(Select(np.arange(a, b).reshape(shape)), (whole,), shape)
            for shape, a, b in zip(target.inputs, ends[:-1], ends[1:], strict=True)
        ]
    f = flattened(builder, copied(builder, source, first))
    g = flattened(builder, copied(builder, target, second))
    m = source.output_dimension
    every = np.arange(m)
    minus = Gather(indices=every, scale=np.full(m, -1.0, np.float32), inputs=m)
    plus = Gather(indices=every, scale=None, inputs=m)
    gap = builder.linear((minus, plus), (f, g))
    return builder.build(builder.add(Concat(), (f, gap), 2 * m) if both else gap)


def copied(builder: Builder, network: Network, inputs: Sequence[int]) -> list[int]:
    """Add the nodes of a network behind the values `inputs`; the values of its outputs."""
    numbers = list(inputs)
    for node in network.nodes:
        operands = [numbers[operand] for operand in node.operands]
        numbers.append(add(builder, node, operands))
    return [numbers[output] for output in network.outputs]


def add(builder: Builder, node: Node, operands: Sequence[int]) -> int:
    return builder.add(node.operator, operands, node.shape)


def flattened(builder: Builder, values: Sequence[int]) -> int:
    """The values one after the other as one flat value."""
    flat = []
    for value in values:
        shape, size = builder.shape_of(value), builder.size_of(value)
        if len(shape) != 1:
            value = builder.add(Select(np.arange(size)), (value,), size)
        flat.append(value)
    if len(flat) == 1:
        return flat[0]
    return builder.add(Concat(), flat, sum(builder.size_of(value) for value in flat))
