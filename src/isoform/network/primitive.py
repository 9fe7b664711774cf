# SPDX-License-Identifier: Apache-2.0
"""Surface operators to primitive ones: one rule for each.

A rule gets the values of its node's operands in the primitive network and returns the value of
its result. Shapes are those of the surface network; primitive values are flat, row-major.
"""

from __future__ import annotations

import numpy as np

from isoform.errors import UnsupportedModel
from isoform.network import primitive_arithmetic as arithmetic
from isoform.network import primitive_order as order
from isoform.network import primitive_unary as unary
from isoform.network.lowering import Lowering
from isoform.network.network import Network, Node, Shape
from isoform.network.operators import (
    Abs,
    ArgExtreme,
    BatchNormalization,
    Clip,
    Compare,
    Concat,
    Divide,
    Gelu,
    HardSigmoid,
    HardSwish,
    LayerNormalization,
    LeakyRelu,
    Linear,
    MatMul,
    Maximum,
    MaxPool,
    Minimum,
    Opaque,
    Power,
    PRelu,
    Product,
    Quantize,
    ReduceMax,
    Relu,
    Round,
    Scan,
    Select,
    Softmax,
    Step,
    Where,
)


def to_primitive(network: Network) -> Network:
    """The same function with one flat input, one flat output and primitive operators only.

    The input is all inputs in order, row-major; the output all outputs in order. A network that
    `is_primitive` is returned as it is. Raises UnsupportedModel for a power without a rule and
    FormatError for a variance that has no reciprocal root.
    """
    if network.is_primitive:
        return network
    low = Lowering(network.dimension)
    values: list[int] = []
    start = 0
    for number in range(len(network.inputs)):
        size = network.size_of(number)
        values.append(low.select(0, np.arange(start, start + size, dtype=np.int64)))
        start += size
    for number, node in network.items():
        rule = RULES.get(type(node.operator))
        if rule is None:
            name = type(node.operator).__name__
            raise UnsupportedModel("this network", [f"value {number}: no rule for {name}"])
        shapes = [network.shape_of(operand) for operand in node.operands]
        values.append(rule(low, node, [values[operand] for operand in node.operands], shapes))
    outputs = [values[output] for output in network.outputs]
    return low.finish(join(low, outputs))


def join(low: Lowering, values: list[int]) -> int:
    """The values one after the other."""
    if len(values) == 1:
        return values[0]
    return low.add(Concat(), tuple(values), sum(low.size(value) for value in values))


def lower_linear(low: Lowering, node: Node, operands: list[int], shapes: list[Shape]) -> int:
    operator = node.operator
    assert isinstance(operator, Linear)
    bias = None if operator.bias is None else operator.bias.reshape(-1)
    return low.linear(list(zip(operator.maps, operands, strict=True)), bias)


def lower_select(low: Lowering, node: Node, operands: list[int], shapes: list[Shape]) -> int:
    assert isinstance(node.operator, Select)
    return low.select(operands[0], node.operator.indices.reshape(-1))


def lower_concat(low: Lowering, node: Node, operands: list[int], shapes: list[Shape]) -> int:
    """Flat values one after the other, then the order of the asked axis."""
    assert isinstance(node.operator, Concat)
    sizes = [low.size(operand) for operand in operands]
    starts = np.cumsum([0, *sizes[:-1]])
    places = [
        start + np.arange(size, dtype=np.int64).reshape(shape)
        for start, size, shape in zip(starts, sizes, shapes, strict=True)
    ]
    order_of_axis = np.concatenate(places, axis=node.operator.axis).reshape(-1)
    return low.select(join(low, operands), order_of_axis)


def lower_opaque(low: Lowering, node: Node, operands: list[int], shapes: list[Shape]) -> int:
    assert isinstance(node.operator, Opaque)
    return low.opaque(node.operator.name, operands[0], node.operator.group)


def lower_scan(low: Lowering, node: Node, operands: list[int], shapes: list[Shape]) -> int:
    return low.add(node.operator, operands, int(np.prod(node.shape, dtype=np.int64)))


RULES = {
    Linear: lower_linear,
    Select: lower_select,
    Concat: lower_concat,
    Opaque: lower_opaque,
    Scan: lower_scan,
    Relu: lambda low, node, operands, shapes: low.relu(operands[0]),
    Step: lambda low, node, operands, shapes: low.step(operands[0]),
    Round: lambda low, node, operands, shapes: low.round(operands[0]),
    Product: lambda low, node, operands, shapes: low.product(operands[0], operands[1]),
    LeakyRelu: unary.leaky_relu,
    PRelu: unary.parametric_relu,
    Clip: unary.clip,
    Quantize: unary.quantize,
    HardSigmoid: unary.hard_sigmoid,
    HardSwish: unary.hard_swish,
    Abs: unary.absolute,
    Gelu: unary.gelu,
    Power: unary.power,
    Maximum: order.maximum,
    Minimum: order.minimum,
    MaxPool: order.max_pool,
    ReduceMax: order.reduce_max,
    ArgExtreme: order.arg_extreme,
    Compare: order.compare,
    Where: arithmetic.where,
    MatMul: arithmetic.matrix_product,
    Divide: arithmetic.divide,
    Softmax: arithmetic.softmax,
    BatchNormalization: arithmetic.batch_normalization,
    LayerNormalization: arithmetic.layer_normalization,
}
