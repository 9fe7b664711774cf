# SPDX-License-Identifier: Apache-2.0
"""Linear and Select as ONNX operators."""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np

from isoform.formats.onnx.graph import Graph, Held
from isoform.network.linear_map import Constant, Conv, Csr, Dense, Gather, LinearMap, floats
from isoform.network.network import Node, Shape
from isoform.network.operators import Linear, Select
from isoform.numerics.exact import Exact

MOST_AXES = 5  # transpositions of more axes are written as one Gather


def emit_linear(graph: Graph, node: Node, operands: list[Held]) -> Held:
    """One term a map, the bias inside the first Gemm or Conv that can hold it, Add in order."""
    operator = node.operator
    assert isinstance(operator, Linear)
    if any(not isinstance(part, Gather) for part in operator.maps):
        graph.layer += 1
    bias, shape = operator.bias, node.shape
    if not operator.maps:
        return graph.constant_value(bias, shape)  # type: ignore[arg-type]
    held: Held | None = None
    for i, (part, operand) in enumerate(zip(operator.maps, operands, strict=True)):
        inside = bias if bias is not None and holds_bias(part, bias) else None
        bias = bias if inside is None else None
        term = graph.shaped(emit_map(graph, part, operand, inside, shape, i), shape)
        held = term if held is None else Held(graph.op("Add", [held.name, term.name]), shape)
    assert held is not None
    if bias is not None:
        held = Held(graph.op("Add", [held.name, graph.constant("bias", bias, shape)]), shape)
    return held


def holds_bias(part: LinearMap, bias: Constant) -> bool:
    """Whether the operator for this map has room for the bias."""
    if isinstance(part, Conv):
        return channel_bias(part, bias) is not None
    return isinstance(part, Dense | Csr)


def channel_bias(part: Conv, bias: Constant) -> Constant | None:
    """One number a channel, where the bias is constant on each."""
    rows = bias.reshape(part.channels_out, -1)
    entries = rows.numerator if isinstance(rows, Exact) else rows
    return rows[:, 0] if bool(np.all(entries == entries[:, :1])) else None


def emit_map(
    graph: Graph, part: LinearMap, operand: Held, bias: Constant | None, shape: Shape, number: int
) -> Held:
    """One map applied to its operand; the result may still have another shape than the node."""
    ending = str(number + 1) if number else ""
    match part:
        case Dense():
            weight = graph.constant(f"weight{ending}", part.weight)
            return emit_gemm(graph, operand, weight, bias, part.outputs)
        case Csr():
            return emit_gemm(graph, operand, dense_rows(graph, part, f"weight{ending}"), bias,
                             part.outputs)
        case Conv():
            return emit_conv(graph, part, operand, bias, f"weight{ending}")
        case Gather():
            return emit_gather(graph, part, operand, shape, f"scale{ending}")


def emit_gemm(
    graph: Graph, operand: Held, weight: str, bias: Constant | None, outputs: int
) -> Held:
    inputs = [graph.flat(operand).name, weight]
    if bias is not None:
        inputs.append(graph.constant("bias", bias, (outputs,)))
    return Held(graph.op("Gemm", inputs, {"transB": 1}), (outputs,))


def dense_rows(graph: Graph, part: Csr, name: str) -> str:
    """The initializer with the dense matrix of compressed rows."""
    key = (id(part), (part.outputs, part.inputs))
    if key in graph.shared:
        return graph.shared[key][1]
    graph.reserve(part.outputs * part.inputs, f"the dense form of {graph.scope}.{name}")
    values = graph.floats(name, part.values)
    matrix = np.zeros((part.outputs, part.inputs), dtype=graph.dtype)
    matrix[np.repeat(np.arange(part.outputs), np.diff(part.starts)), part.columns] = values
    made = graph.initializer(name, matrix)
    graph.shared[key] = (part, made)
    return made


def emit_conv(
    graph: Graph, part: Conv, operand: Held, bias: Constant | None, name: str
) -> Held:
    inputs = [
        graph.shaped(operand, (part.channels_in, *part.space)).name,
        graph.constant(name, part.kernel),
    ]
    if bias is not None:
        channels = channel_bias(part, bias)
        assert channels is not None
        inputs.append(graph.constant("bias", channels))
    attributes = {
        "kernel_shape": list(part.kernel.shape[2:]),
        "strides": list(part.strides),
        "pads": [before for before, _ in part.pads] + [after for _, after in part.pads],
        "dilations": list(part.dilations),
        "group": part.groups,
    }
    return Held(graph.op("Conv", inputs, attributes), (part.channels_out, *part.space_out))


def emit_gather(graph: Graph, part: Gather, operand: Held, shape: Shape, name: str) -> Held:
    """Mul where nothing moves, else Gather and Mul; an index of -1 becomes a scale of 0."""
    indices, scale = part.indices, part.scale
    missing = indices < 0
    if part.inputs == part.outputs and np.array_equal(indices, np.arange(part.inputs)):
        held = graph.shaped(operand, shape)
    else:
        held = emit_select(graph, np.maximum(indices, 0), operand, shape)
    if missing.any():
        ones = np.ones(len(indices)) if scale is None else floats(scale)
        scale = np.where(missing, 0.0, ones)
    if scale is None:
        return held
    factor = graph.constant(name, scale, held.shape)
    return Held(graph.op("Mul", [held.name, factor]), held.shape)


def emit_select(graph: Graph, indices: np.ndarray, operand: Held, shape: Shape) -> Held:
    """A reshape, a transposition, a slice or a Gather: the plainest that does it."""
    count = operand.size
    if len(indices) == count and np.array_equal(indices, np.arange(count)):
        return graph.shaped(operand, shape)
    order = transposition(indices, operand.shape)
    if order is not None:
        attributes = {"perm": [0, *(axis + 1 for axis in order)]}
        turned = tuple(operand.shape[axis] for axis in order)
        return graph.shaped(Held(graph.op("Transpose", [operand.name], attributes), turned), shape)
    flat = graph.flat(operand)
    steps = np.diff(indices)
    if len(indices) and (len(steps) == 0 or (steps[0] > 0 and np.all(steps == steps[0]))):
        step = int(steps[0]) if len(steps) else 1
        bounds = (int(indices[0]), int(indices[-1]) + 1, 1, step)
        names = ("starts", "ends", "axes", "steps")
        inputs = [graph.integers(n, [v]) for n, v in zip(names, bounds, strict=True)]
        part = graph.op("Slice", [flat.name, *inputs])
    else:
        part = graph.op("Gather", [flat.name, graph.integers("indices", indices)], {"axis": 1})
    return graph.shaped(Held(part, (len(indices),)), shape)


def transposition(indices: np.ndarray, shape: Shape) -> tuple[int, ...] | None:
    """The order of axes whose transposition is this index map, if there is one."""
    if not 2 <= len(shape) <= MOST_AXES or len(indices) != math.prod(shape):
        return None
    places = np.arange(len(indices)).reshape(shape)
    for order in permutations(range(len(shape))):
        turned = places.transpose(order)
        if turned.flat[1] == indices[1] and np.array_equal(turned.ravel(), indices):
            return order
    return None


def emit_select_node(graph: Graph, node: Node, operands: list[Held]) -> Held:
    assert isinstance(node.operator, Select)
    return emit_select(graph, node.operator.indices, operands[0], node.shape)
