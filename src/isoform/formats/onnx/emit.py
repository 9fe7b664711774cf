# SPDX-License-Identifier: Apache-2.0
"""Every operator of a network as ONNX nodes: one rule each."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from isoform.errors import Refused
from isoform.formats.onnx.emit_linear import emit_linear, emit_select, emit_select_node
from isoform.formats.onnx.graph import Graph, Held
from isoform.network.network import Network, Node
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

Rule = Callable[[Graph, Node, list[Held]], Held]
NAMED = {
    Relu: "Relu", Product: "Mul", Abs: "Abs", Maximum: "Max", Minimum: "Min", Divide: "Div",
    HardSwish: "HardSwish", Round: "Round",
}
OPAQUE = {
    "exp": "Exp", "log": "Log", "sqrt": "Sqrt", "reciprocal": "Reciprocal", "tanh": "Tanh",
    "sigmoid": "Sigmoid", "erf": "Erf", "softplus": "Softplus", "sin": "Sin", "cos": "Cos",
}
ENTRYWISE = (
    *NAMED, Step, LeakyRelu, Clip, Quantize, HardSigmoid, Power, Gelu, Compare, Where,
)
BYTES = {(-128, 127): np.int8, (0, 255): np.uint8}
COMPARE = {
    ">": "Greater", ">=": "GreaterOrEqual", "<": "Less", "<=": "LessOrEqual", "==": "Equal",
}


def emit_network(graph: Graph, network: Network, inputs: list[Held]) -> list[Held]:
    """The outputs of a network applied to these tensors (shaped as its inputs)."""
    values = list(inputs)
    for node in network.nodes:
        operands = [values[operand] for operand in node.operands]
        if isinstance(node.operator, ENTRYWISE):  # these may carry another shape than their operand
            operands = [graph.shaped(held, node.shape) for held in operands]
        values.append(RULES[type(node.operator)](graph, node, operands))
    return [values[value] for value in network.outputs]


def emit_named(graph: Graph, node: Node, operands: list[Held]) -> Held:
    names = [held.name for held in operands]
    return Held(graph.op(NAMED[type(node.operator)], names), node.shape)


def emit_opaque(graph: Graph, node: Node, operands: list[Held]) -> Held:
    operator, operand = node.operator, operands[0]
    assert isinstance(operator, Opaque)
    if operator.name != "softmax":
        operand = graph.shaped(operand, node.shape)
        return Held(graph.op(OPAQUE[operator.name], [operand.name]), node.shape)
    groups = operand.size // operator.group
    rows = (operator.group,) if groups == 1 else (groups, operator.group)
    grouped = graph.shaped(operand, rows)
    result = graph.op("Softmax", [grouped.name], {"axis": len(rows)})
    return graph.shaped(Held(result, rows), node.shape)


def emit_truth(graph: Graph, kind: str, inputs: list[str], node: Node) -> Held:
    """A comparison, cast from Boolean to 0 and 1."""
    truth = graph.op(kind, inputs)
    return Held(cast(graph, truth), node.shape, truth)


def cast(graph: Graph, name: str) -> str:
    """A tensor of another type as floats of the graph's dtype."""
    from onnx import helper

    return graph.op("Cast", [name], {"to": helper.np_dtype_to_tensor_dtype(graph.dtype)})


def emit_step(graph: Graph, node: Node, operands: list[Held]) -> Held:
    return emit_truth(graph, "GreaterOrEqual", [operands[0].name, graph.number("zero", 0.0)], node)


def emit_compare(graph: Graph, node: Node, operands: list[Held]) -> Held:
    assert isinstance(node.operator, Compare)
    return emit_truth(graph, COMPARE[node.operator.relation], [h.name for h in operands], node)


def emit_where(graph: Graph, node: Node, operands: list[Held]) -> Held:
    from onnx import TensorProto

    chooser, yes, no = operands
    truth = chooser.truth or graph.op("Cast", [chooser.name], {"to": TensorProto.BOOL})
    return Held(graph.op("Where", [truth, yes.name, no.name]), node.shape)


def emit_concat(graph: Graph, node: Node, operands: list[Held]) -> Held:
    assert isinstance(node.operator, Concat)
    names = [held.name for held in operands]
    return Held(graph.op("Concat", names, {"axis": node.operator.axis + 1}), node.shape)


def emit_scan(graph: Graph, node: Node, operands: list[Held]) -> Held:
    """The unrolled cell; the steps share their weights."""
    operator = node.operator
    assert isinstance(operator, Scan)
    if operator.horizon is None:
        raise Refused("a recurrence without a horizon cannot be written; give --horizon T")
    state, steps = operands
    width = operator.cell.dimension - operator.state
    produced = operator.cell.output_dimension
    results = []
    for t in range(operator.horizon):
        element = emit_select(graph, np.arange(t * width, (t + 1) * width), steps, (width,))
        joined = graph.op("Concat", [state.name, element.name], {"axis": 1})
        (y,) = emit_network(graph, operator.cell, [Held(joined, (operator.state + width,))])
        state = emit_select(graph, np.arange(operator.state), y, (operator.state,))
        rest = np.arange(operator.state, produced)
        if len(rest):
            results.append(emit_select(graph, rest, y, (len(rest),)))
    if not results:
        return state
    names = [state.name, *(held.name for held in results)]
    return Held(graph.op("Concat", names, {"axis": 1}), node.shape)


def single(value: float) -> bool:
    """Whether a number is a float32, as ONNX keeps its attributes."""
    with np.errstate(over="ignore"):
        return float(np.float32(value)) == value


def emit_leaky_relu(graph: Graph, node: Node, operands: list[Held]) -> Held:
    assert isinstance(node.operator, LeakyRelu)
    alpha, name = node.operator.alpha, operands[0].name
    if single(alpha):
        return Held(graph.op("LeakyRelu", [name], {"alpha": alpha}), node.shape)
    return Held(graph.op("PRelu", [name, graph.number("slope", alpha)]), node.shape)


def emit_prelu(graph: Graph, node: Node, operands: list[Held]) -> Held:
    assert isinstance(node.operator, PRelu)
    slope = graph.constant("slope", node.operator.slope)
    return Held(graph.op("PRelu", [operands[0].name, slope]), node.shape)


def emit_clip(graph: Graph, node: Node, operands: list[Held]) -> Held:
    assert isinstance(node.operator, Clip)
    return Held(clipped(graph, operands[0].name, node.operator.low, node.operator.high), node.shape)


def clipped(graph: Graph, name: str, low: float | None, high: float | None) -> str:
    inputs = [name, "" if low is None else graph.number("low", low)]
    if high is not None:
        inputs.append(graph.number("high", high))
    return graph.op("Clip", inputs)


def emit_quantize(graph: Graph, node: Node, operands: list[Held]) -> Held:
    """QuantizeLinear, and DequantizeLinear with scale 1 for its integers as floats; Div, Round, Add
    and Clip where the type of the operand or of the integers is none that the former take."""
    part, name = node.operator, operands[0].name
    assert isinstance(part, Quantize)
    lengths = [n for n in (*part.scale.shape, *part.zero_point.shape) if n > 1]
    axis = next((k for k, n in enumerate(node.shape) if n in lengths), 0)
    kind = BYTES.get((part.low, part.high))
    scale = graph.floats("scale", part.scale)
    points = graph.floats("zero_point", part.zero_point)
    per_axis = (1,) * axis + node.shape[axis : axis + 1] + (1,) * (len(node.shape) - axis - 1)
    fits = all(array.size == 1 or array.shape == per_axis for array in (scale, points))
    if kind is None or graph.dtype != np.float32 or not fits:
        turned = graph.op("Round", [graph.op("Div", [name, graph.initializer("scale", scale)])])
        moved = graph.op("Add", [turned, graph.initializer("zero_point", points)])
        return Held(clipped(graph, moved, float(part.low), float(part.high)), node.shape)
    shape = node.shape[axis : axis + 1] if lengths else ()
    given = [np.broadcast_to(array.reshape(-1) if shape else array.reshape(()), shape)
             for array in (scale, points)]
    inputs = [graph.initializer("scale", given[0]),
              graph.initializer("zero_point", given[1].astype(kind))]
    attributes = {"axis": axis + 1} if shape else {}
    whole = graph.op("QuantizeLinear", [name, *inputs], attributes)
    ones = [graph.number("one", 1.0), graph.initializer("none", np.zeros((), kind))]
    return Held(graph.op("DequantizeLinear", [whole, *ones]), node.shape)


def emit_hard_sigmoid(graph: Graph, node: Node, operands: list[Held]) -> Held:
    assert isinstance(node.operator, HardSigmoid)
    alpha, beta, name = node.operator.alpha, node.operator.beta, operands[0].name
    if single(alpha) and single(beta):
        attributes = {"alpha": alpha, "beta": beta}
        return Held(graph.op("HardSigmoid", [name], attributes), node.shape)
    scaled = graph.op("Mul", [name, graph.number("alpha", alpha)])
    moved = graph.op("Add", [scaled, graph.number("beta", beta)])
    return Held(clipped(graph, moved, 0.0, 1.0), node.shape)


def emit_max_pool(graph: Graph, node: Node, operands: list[Held]) -> Held:
    pool = node.operator
    assert isinstance(pool, MaxPool)
    attributes = {
        "kernel_shape": list(pool.size),
        "strides": list(pool.strides),
        "pads": [before for before, _ in pool.pads] + [after for _, after in pool.pads],
        "dilations": list(pool.dilations),
        "ceil_mode": int(pool.ceil),
    }
    return Held(graph.op("MaxPool", [operands[0].name], attributes), node.shape)


def kept_epsilon(graph: Graph, what: str, epsilon: float) -> float:
    if not single(epsilon):
        raise Refused(
            f"{graph.scope}: the epsilon {epsilon!r} of {what} is no float32, and ONNX keeps it as "
            "one; round or split the network first (network.rounding: rounded, split)"
        )
    return epsilon


def emit_batch_normalization(graph: Graph, node: Node, operands: list[Held]) -> Held:
    norm = node.operator
    assert isinstance(norm, BatchNormalization)
    inputs = [
        operands[0].name,
        graph.constant("scale", norm.scale), graph.constant("shift", norm.shift),
        graph.constant("mean", norm.mean), graph.constant("variance", norm.variance),
    ]
    attributes = {"epsilon": kept_epsilon(graph, "BatchNormalization", norm.epsilon)}
    return Held(graph.op("BatchNormalization", inputs, attributes), node.shape)


def emit_layer_normalization(graph: Graph, node: Node, operands: list[Held]) -> Held:
    norm, operand = node.operator, operands[0]
    assert isinstance(norm, LayerNormalization)
    trailing = operand.shape[norm.axis:]
    scale = np.ones(trailing, graph.dtype) if norm.scale is None else norm.scale
    inputs = [operand.name, graph.constant("scale", scale)]
    if norm.shift is not None:
        inputs.append(graph.constant("shift", norm.shift))
    axis = norm.axis + 1 if norm.axis >= 0 else norm.axis
    attributes = {"axis": axis, "epsilon": kept_epsilon(graph, "LayerNormalization", norm.epsilon)}
    return Held(graph.op("LayerNormalization", inputs, attributes), node.shape)


def emit_reduce_max(graph: Graph, node: Node, operands: list[Held]) -> Held:
    assert isinstance(node.operator, ReduceMax)
    axes = [axis + 1 for axis in node.operator.axes]
    attributes: dict[str, object] = {"keepdims": int(node.operator.keep)}
    inputs = [operands[0].name]
    if graph.opset >= 18:
        inputs.append(graph.integers("axes", axes))
    else:
        attributes["axes"] = axes
    return Held(graph.op("ReduceMax", inputs, attributes), node.shape)


def emit_arg_extreme(graph: Graph, node: Node, operands: list[Held]) -> Held:
    extreme = node.operator
    assert isinstance(extreme, ArgExtreme)
    attributes = {
        "axis": extreme.axis + 1,
        "keepdims": int(extreme.keep),
        "select_last_index": int(extreme.last),
    }
    kind = "ArgMax" if extreme.largest else "ArgMin"
    return Held(cast(graph, graph.op(kind, [operands[0].name], attributes)), node.shape)


def emit_matmul(graph: Graph, node: Node, operands: list[Held]) -> Held:
    """Leading axes are filled with ones, so that the batch axes meet."""
    left, right = operands
    rows, columns = left.shape, right.shape
    rows = (1, *rows) if len(rows) == 1 else rows
    columns = (*columns, 1) if len(columns) == 1 else columns
    rank = max(len(rows), len(columns))
    rows = (1,) * (rank - len(rows)) + rows
    columns = (1,) * (rank - len(columns)) + columns
    names = [graph.shaped(left, rows).name, graph.shaped(right, columns).name]
    lead = np.broadcast_shapes(rows[:-2], columns[:-2])
    product = Held(graph.op("MatMul", names), (*lead, rows[-2], columns[-1]))
    return graph.shaped(product, node.shape)


def emit_power(graph: Graph, node: Node, operands: list[Held]) -> Held:
    assert isinstance(node.operator, Power)
    exponent = graph.number("exponent", node.operator.exponent)
    return Held(graph.op("Pow", [operands[0].name, exponent]), node.shape)


def emit_softmax(graph: Graph, node: Node, operands: list[Held]) -> Held:
    assert isinstance(node.operator, Softmax)
    axis = node.operator.axis % max(len(node.shape), 1)
    return Held(graph.op("Softmax", [operands[0].name], {"axis": axis + 1}), node.shape)


def emit_gelu(graph: Graph, node: Node, operands: list[Held]) -> Held:
    assert isinstance(node.operator, Gelu)
    attributes = {"approximate": "tanh" if node.operator.tanh else "none"}
    return Held(graph.op("Gelu", [operands[0].name], attributes), node.shape)


RULES: dict[type, Rule] = {
    Linear: emit_linear,
    Select: emit_select_node,
    Opaque: emit_opaque,
    Step: emit_step,
    Compare: emit_compare,
    Where: emit_where,
    Concat: emit_concat,
    Scan: emit_scan,
    LeakyRelu: emit_leaky_relu,
    PRelu: emit_prelu,
    Clip: emit_clip,
    Quantize: emit_quantize,
    HardSigmoid: emit_hard_sigmoid,
    MaxPool: emit_max_pool,
    BatchNormalization: emit_batch_normalization,
    LayerNormalization: emit_layer_normalization,
    ReduceMax: emit_reduce_max,
    ArgExtreme: emit_arg_extreme,
    MatMul: emit_matmul,
    Power: emit_power,
    Softmax: emit_softmax,
    Gelu: emit_gelu,
    **dict.fromkeys(NAMED, emit_named),
}


def least_opset(network: Network) -> int:
    """The first ONNX operator set that has every operator of the network."""
    needed = 13
    for node in network.nodes:
        match node.operator:
            case Gelu():
                needed = max(needed, 20)
            case LayerNormalization():
                needed = max(needed, 17)
            case HardSwish():
                needed = max(needed, 14)
            case Scan(cell=cell):
                needed = max(needed, least_opset(cell))
            case _:
                pass
    return needed
