# SPDX-License-Identifier: Apache-2.0
"""One evaluator, two back ends: numpy floats in batches, and exact numbers.

Only primitive operators are evaluated; a network with surface operators means what
`primitive.to_primitive` makes of it. Inputs and outputs are flat: all inputs in order, row-major,
and all outputs concatenated.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from isoform.errors import Refused
from isoform.network.linear_map import exact, floats
from isoform.network.network import Network, Node
from isoform.network.operators import (
    Concat,
    Linear,
    Opaque,
    Product,
    Relu,
    Round,
    Scan,
    Select,
    Step,
)
from isoform.network.primitive import to_primitive
from isoform.numerics.enclosure import (
    Enclosure,
    check_length,
    linear_enclosure,
    nearest_integers,
    opaque_enclosure,
    product_enclosure,
    step_enclosure,
)
from isoform.numerics.exact import Exact, concatenate

Value = Any  # np.ndarray (batch, n), or Exact / Enclosure (n, points)
Rule = Callable[[Node, list[Value]], Value]


def evaluate(network: Network, x: np.ndarray) -> np.ndarray:
    """f(x) in floating point. x: (batch, n) or (n,), float32 or float64, which is also the
    arithmetic used. Returns (batch, m) or (m,). A measurement, never a claim."""
    x = np.asarray(x)
    if x.dtype not in (np.float32, np.float64):
        x = x.astype(np.float64)
    batch = x if x.ndim == 2 else x[None, :]
    check_width(network, batch.shape[1])
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        y = run(to_primitive(network), batch, FLOAT)
    return y if x.ndim == 2 else y[0]


def evaluate_exact(network: Network, x: Exact) -> Exact | Enclosure:
    """f(x) over the reals. x: (n,) or (n, points), exact. Returns exact numbers (m,) or (m,
    points), or a rigorous enclosure of them where an opaque operator stands in the way."""
    columns = x if x.ndim == 2 else x.reshape(-1, 1)
    check_width(network, columns.shape[0])
    y = run(to_primitive(network), columns, EXACT)
    if x.ndim == 2:
        return y
    if isinstance(y, Enclosure):
        return Enclosure(y.low[:, 0], y.high[:, 0])
    return y[:, 0]


def check_width(network: Network, given: int) -> None:
    if given != network.dimension:
        raise ValueError(f"the network takes {network.dimension} inputs, the point has {given}")


def trace(network: Network, x: np.ndarray) -> list[np.ndarray]:
    """Every value of a primitive network in floating point, by value number; x: (batch, n)."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        return run_all(network, x, FLOAT)


def run(network: Network, x: Value, rules: dict[type, Rule]) -> Value:
    return run_all(network, x, rules)[network.outputs[0]]


def run_all(network: Network, x: Value, rules: dict[type, Rule]) -> list[Value]:
    values: list[Value] = [x]
    for node in network.nodes:
        operands = [values[operand] for operand in node.operands]
        if not operands:
            operands = [x]  # constants take the batch size from the input
        if rules is EXACT:
            for operand in operands:
                bounded(operand)
        values.append(rules[type(node.operator)](node, operands))
    return values


def bounded(value: Value) -> None:
    """Refused where exact numbers have become too long: squares of squares double every time."""
    try:
        check_length(value)
    except ValueError as error:
        raise Refused(f"no exact value: {error}") from None


# --- floats: values are (batch, n) ------------------------------------------------------------


def float_linear(node: Node, operands: list[np.ndarray]) -> np.ndarray:
    operator = node.operator
    assert isinstance(operator, Linear)
    dtype = operands[0].dtype
    y = np.zeros((len(operands[0]), node.shape[0]), dtype=dtype)
    for part, operand in zip(operator.maps, operands, strict=False):
        y = y + part.apply(operand)
    return y if operator.bias is None else y + floats(operator.bias).astype(dtype)


def float_opaque(node: Node, operands: list[np.ndarray]) -> np.ndarray:
    operator, z = node.operator, operands[0]
    assert isinstance(operator, Opaque)
    if operator.name == "softmax":
        grouped = z.reshape(len(z), -1, operator.group)
        powers = np.exp(grouped - grouped.max(axis=2, keepdims=True))
        return (powers / powers.sum(axis=2, keepdims=True)).reshape(z.shape)
    return FUNCTIONS[operator.name](z).astype(z.dtype)


def error_function(z: np.ndarray) -> np.ndarray:
    from scipy.special import erf

    return erf(z)


def logistic(z: np.ndarray) -> np.ndarray:
    from scipy.special import expit

    return expit(z)


FUNCTIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "exp": np.exp,
    "log": np.log,
    "sqrt": np.sqrt,
    "reciprocal": np.reciprocal,
    "tanh": np.tanh,
    "sigmoid": logistic,
    "erf": error_function,
    "softplus": lambda z: np.logaddexp(z, 0),
    "sin": np.sin,
    "cos": np.cos,
}


def float_scan(node: Node, operands: list[np.ndarray]) -> np.ndarray:
    return scan(node, operands, FLOAT, lambda parts: np.concatenate(parts, axis=1),
                lambda value, at: value[:, at])


def scan(
    node: Node, operands: list[Value], rules: dict[type, Rule],
    join: Callable[[list[Value]], Value], cut: Callable[[Value, slice], Value],
) -> Value:
    """The unrolled cell: `horizon` times (state, x_t) to (state, y_t)."""
    operator = node.operator
    assert isinstance(operator, Scan)
    if operator.horizon is None:
        raise Refused("a recurrence without a horizon has no value; give --horizon T")
    state, steps = operands
    width = operator.cell.dimension - operator.state
    results = []
    for t in range(operator.horizon):
        element = cut(steps, slice(t * width, (t + 1) * width))
        y = run(operator.cell, join([state, element]), rules)
        state = cut(y, slice(0, operator.state))
        results.append(cut(y, slice(operator.state, None)))
    return join([state, *results])


FLOAT: dict[type, Rule] = {
    Linear: float_linear,
    Relu: lambda node, operands: np.maximum(operands[0], 0),
    Step: lambda node, operands: (operands[0] >= 0).astype(operands[0].dtype),
    Round: lambda node, operands: np.rint(operands[0]),
    Product: lambda node, operands: operands[0] * operands[1],
    Opaque: float_opaque,
    Concat: lambda node, operands: np.concatenate(operands, axis=1),
    Select: lambda node, operands: operands[0][:, node.operator.indices],  # type: ignore
    Scan: float_scan,
}


# --- exact numbers: values are (n, points) ------------------------------------------------------


def exact_linear(node: Node, operands: list[Value]) -> Value:
    operator = node.operator
    assert isinstance(operator, Linear)
    points = (operands[0].low if isinstance(operands[0], Enclosure) else operands[0]).shape[1]
    y: Value = Exact.zeros((node.shape[0], points))
    if operator.bias is not None:
        y = y + exact(operator.bias).reshape(-1, 1)
    for part, operand in zip(operator.maps, operands, strict=False):
        matrix = part.sparse()
        if isinstance(operand, Exact) and isinstance(y, Exact):
            y = y + matrix.times(operand)
            continue
        sofar, term = Enclosure.of(y), linear_enclosure(matrix, Enclosure.of(operand))
        y = Enclosure(sofar.low + term.low, sofar.high + term.high)
    return y.reduced() if isinstance(y, Exact) else y


def exact_product(node: Node, operands: list[Value]) -> Value:
    left, right = operands
    if isinstance(left, Exact) and isinstance(right, Exact):
        return left * right
    return product_enclosure(Enclosure.of(left), Enclosure.of(right))


def exact_opaque(node: Node, operands: list[Value]) -> Value:
    assert isinstance(node.operator, Opaque)
    try:
        return opaque_enclosure(
            node.operator.name, Enclosure.of(operands[0]), node.operator.group
        )
    except ValueError as error:
        raise Refused(f"no exact value: {error}") from None


def exact_step(node: Node, operands: list[Value]) -> Value:
    value = operands[0]
    result = step_enclosure(Enclosure.of(value))
    return result.low if isinstance(value, Exact) or result.low == result.high else result


def exact_concat(node: Node, operands: list[Value]) -> Value:
    return join_exact(operands)


def join_exact(parts: list[Value]) -> Value:
    if not any(isinstance(part, Enclosure) for part in parts):
        return concatenate(parts)
    pairs = [Enclosure.of(part) for part in parts]
    return Enclosure(
        concatenate([pair.low for pair in pairs]), concatenate([pair.high for pair in pairs])
    )


def each_end(value: Value, change: Callable[[Exact], Exact]) -> Value:
    """An increasing map of exact tensors, on both ends of an enclosure."""
    if isinstance(value, Enclosure):
        return Enclosure(change(value.low), change(value.high))
    return change(value)


EXACT: dict[type, Rule] = {
    Linear: exact_linear,
    Relu: lambda node, operands: each_end(operands[0], Exact.relu),
    Step: exact_step,
    Round: lambda node, operands: each_end(operands[0], nearest_integers),
    Product: exact_product,
    Opaque: exact_opaque,
    Concat: exact_concat,
    Select: lambda node, operands: each_end(
        operands[0], lambda part: part[node.operator.indices]  # type: ignore[union-attr]
    ),
    Scan: lambda node, operands: scan(
        node, operands, EXACT, join_exact,
        lambda value, at: each_end(value, lambda part: part[at]),
    ),
}

