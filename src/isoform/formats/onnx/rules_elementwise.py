# SPDX-License-Identifier: Apache-2.0
"""ONNX operators that act entry by entry, and on constants alone."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np

from isoform.assemble import order, pointwise
from isoform.assemble.assembler import Assembler, Computed, Known, NotTaken, Value, fold
from isoform.errors import FormatError
from isoform.formats.onnx.node import OnnxNode, Rule, is_computed
from isoform.formats.onnx.tensors import numpy_type
from isoform.network.operators import Abs, Gelu, HardSigmoid, HardSwish, LeakyRelu, Round


def binary(function: Callable[[Assembler, Value, Value], Value]) -> Rule:
    return lambda asm, node: function(asm, wide(node.value(0)), wide(node.value(1)))


def wide(value: Value) -> Value:
    """An operand of arithmetic; small integers would wrap around at their ends."""
    if isinstance(value, Computed) and value.dtype.kind in "iu" and value.dtype.itemsize < 4:
        raise NotTaken(f"arithmetic of computed {value.dtype} wraps around; dequantise first")
    return value


def relation(sign: str) -> Rule:
    return lambda asm, node: order.compare(asm, sign, node.value(0), node.value(1))


def logic(name: str) -> Rule:
    return lambda asm, node: order.logical(asm, name, node.value(0), node.value(1))


def named(function: str) -> Rule:
    return lambda asm, node: pointwise.opaque(asm, function, node.value(0))


def identity(asm: Assembler, node: OnnxNode) -> Value:
    return node.value(0)


def total(asm: Assembler, node: OnnxNode) -> Value:
    values = node.values()
    result = values[0]
    for value in values[1:]:
        result = pointwise.add(asm, result, value)
    return result


def mean(asm: Assembler, node: OnnxNode) -> Value:
    result = total(asm, node)
    count = len(node.inputs)
    if isinstance(result, Known):
        return fold(lambda a: (a / np.asarray(count, dtype=a.dtype)).astype(a.dtype), result)
    return pointwise.scaled(asm, result, Fraction(1, count))


def extreme(largest: bool) -> Rule:
    return lambda asm, node: order.extreme(asm, node.values(), largest)


def absolute(asm: Assembler, node: OnnxNode) -> Value:
    value = node.value(0)
    if isinstance(value, Known):
        return fold(np.abs, value)
    return pointwise.unary(asm, Abs(), value)


def leaky_relu(asm: Assembler, node: OnnxNode) -> Value:
    alpha = node.number("alpha", 0.01)
    return pointwise.unary(asm, LeakyRelu(alpha), node.value(0))


def hard_sigmoid(asm: Assembler, node: OnnxNode) -> Value:
    alpha = node.number("alpha", 0.2)
    beta = node.number("beta", 0.5)
    return pointwise.unary(asm, HardSigmoid(alpha, beta), node.value(0))


def clip(asm: Assembler, node: OnnxNode) -> Value:
    if node.opset < 11:
        low, high = (node.attributes.get(name) for name in ("min", "max"))
        return pointwise.clip(asm, node.value(0), low, high)
    bounds = [node.optional(1), node.optional(2)]
    if any(is_computed(bound) for bound in bounds):
        value = node.value(0)
        if bounds[0] is not None:
            value = order.extreme(asm, [value, bounds[0]], True)
        return value if bounds[1] is None else order.extreme(asm, [value, bounds[1]], False)
    numbers = [None if bound is None else scalar(asm, bound, "a bound") for bound in bounds]
    return pointwise.clip(asm, node.value(0), *numbers)


def scalar(asm: Assembler, value: Value, what: str) -> Any:
    """The single number of a constant operand."""
    if isinstance(value, Computed):
        raise NotTaken(f"{what} is computed from the input")
    array = asm.plain(value, what)
    if array.size != 1:
        raise FormatError(f"{what} of shape {array.shape} is no single number")
    return array.reshape(-1)[0].item()


def gelu(asm: Assembler, node: OnnxNode) -> Value:
    approximate = node.text("approximate", "none")
    if approximate not in ("none", "tanh"):
        raise FormatError(f"attribute 'approximate' is {approximate!r}")
    asm.note("the roots in Gelu are the nearest dyadic numbers with 81 bits")
    return pointwise.unary(asm, Gelu(approximate == "tanh"), node.value(0))


def elu_parts(asm: Assembler, value: Value, alpha: float, inner: float, outer: float) -> Value:
    """outer (relu(z) + alpha (exp(-relu(-z) / inner) - 1))."""
    below = pointwise.negative(asm, pointwise.relu(asm, pointwise.negative(asm, value)))
    if inner != 1:
        below = pointwise.scaled(asm, below, 1 / Fraction(inner))
    curve = pointwise.opaque(asm, "exp", below)
    curve = pointwise.scaled(asm, curve, Fraction(alpha) * Fraction(outer))
    one = Known(np.asarray(-alpha * outer, dtype=np.float64))
    if Fraction(float(one.array)) != -Fraction(alpha) * Fraction(outer):
        raise NotTaken("attributes whose product is no float64")
    units = pointwise.scaled(asm, pointwise.relu(asm, value), Fraction(outer))
    return pointwise.add(asm, pointwise.add(asm, units, curve), one)


def elu(asm: Assembler, node: OnnxNode) -> Value:
    return elu_parts(asm, live(asm, node), node.number("alpha", 1.0), 1.0, 1.0)


def celu(asm: Assembler, node: OnnxNode) -> Value:
    alpha = node.number("alpha", 1.0)
    if alpha == 0:
        raise FormatError("attribute 'alpha' is 0")
    return elu_parts(asm, live(asm, node), alpha, alpha, 1.0)


def selu(asm: Assembler, node: OnnxNode) -> Value:
    alpha = node.number("alpha", 1.67326319217681884765625)
    gamma = node.number("gamma", 1.05070102214813232421875)
    return elu_parts(asm, live(asm, node), alpha, 1.0, gamma)


def live(asm: Assembler, node: OnnxNode) -> Value:
    return pointwise.live(asm, node.value(0))


def thresholded_relu(asm: Assembler, node: OnnxNode) -> Value:
    """z where z > alpha, else 0."""
    value = live(asm, node)
    alpha = Known(np.asarray(node.number("alpha", 1.0), dtype=np.float32))
    above = order.compare(asm, ">", value, alpha)
    return order.where(asm, above, value, Known(np.zeros((), dtype=value.dtype)))


def softsign(asm: Assembler, node: OnnxNode) -> Value:
    """z / (1 + |z|)."""
    value = live(asm, node)
    one = Known(np.ones((), dtype=np.float32))
    return pointwise.divide(
        asm, value, pointwise.add(asm, pointwise.unary(asm, Abs(), value), one)
    )


def sign(asm: Assembler, node: OnnxNode) -> Value:
    """[z > 0] - [z < 0]."""
    value = node.value(0)
    if isinstance(value, Known):
        return fold(np.sign, value)
    zero = Known(np.zeros((), dtype=value.dtype))
    parts = [
        order.cast(asm, order.compare(asm, s, value, zero), value.dtype) for s in (">", "<")
    ]
    return pointwise.subtract(asm, *parts)


def swish(asm: Assembler, node: OnnxNode) -> Value:
    """z sigmoid(alpha z)."""
    value = live(asm, node)
    inner = pointwise.scaled(asm, value, Fraction(node.number("alpha", 1.0)))
    return pointwise.multiply(asm, value, pointwise.opaque(asm, "sigmoid", inner))


def mish(asm: Assembler, node: OnnxNode) -> Value:
    """z tanh(softplus(z))."""
    value = live(asm, node)
    inner = pointwise.opaque(asm, "tanh", pointwise.opaque(asm, "softplus", value))
    return pointwise.multiply(asm, value, inner)


def cast(asm: Assembler, node: OnnxNode) -> Value:
    return order.cast(asm, node.value(0), numpy_type(node.integer("to")))


def cast_like(asm: Assembler, node: OnnxNode) -> Value:
    return order.cast(asm, node.value(0), node.value(1).dtype)


def dropout(asm: Assembler, node: OnnxNode) -> Value:
    """Nothing happens in inference."""
    mode = node.optional(2)
    if mode is not None and (is_computed(mode) or scalar(asm, mode, "training_mode")):
        raise NotTaken("training mode: its result is random")
    node.only_first_output("mask")
    return node.value(0)


def modulo(asm: Assembler, node: OnnxNode) -> Value:
    left, right = node.value(0), node.value(1)
    if not (isinstance(left, Known) and isinstance(right, Known)):
        raise NotTaken("a remainder of computed values")
    return pointwise.folded(np.fmod if node.flag("fmod") else np.mod, left, right)


def round_even(asm: Assembler, node: OnnxNode) -> Value:
    """The nearest integer, ties to even."""
    value = node.value(0)
    if isinstance(value, Computed):
        return asm.entrywise(Round(), value)
    return fold(lambda a: np.rint(a).astype(a.dtype), value)


def rounding(function: Callable[[np.ndarray], np.ndarray]) -> Rule:
    """Rounding down or up takes constants only: no operator of a network means it."""
    def rule(asm: Assembler, node: OnnxNode) -> Value:
        value = node.value(0)
        if isinstance(value, Computed):
            raise NotTaken("rounding of computed values down or up; Round, to the nearest, is read")
        return fold(lambda a: function(a).astype(a.dtype), value)

    return rule


ELEMENTWISE: dict[str, Rule] = {
    "Add": binary(pointwise.add),
    "Sub": binary(pointwise.subtract),
    "Mul": binary(pointwise.multiply),
    "Div": binary(pointwise.divide),
    "Pow": binary(pointwise.power),
    "PRelu": binary(pointwise.parametric_relu),
    "Neg": lambda asm, node: pointwise.negative(asm, wide(node.value(0))),
    "Relu": lambda asm, node: pointwise.relu(asm, node.value(0)),
    "Not": lambda asm, node: order.logical_not(asm, node.value(0)),
    "HardSwish": lambda asm, node: pointwise.unary(asm, HardSwish(), node.value(0)),
    "Where": lambda asm, node: order.where(asm, node.value(0), node.value(1), node.value(2)),
    "Identity": identity,
    "Sum": total,
    "Mean": mean,
    "Max": extreme(True),
    "Min": extreme(False),
    "Abs": absolute,
    "LeakyRelu": leaky_relu,
    "HardSigmoid": hard_sigmoid,
    "Clip": clip,
    "Gelu": gelu,
    "Elu": elu,
    "Celu": celu,
    "Selu": selu,
    "ThresholdedRelu": thresholded_relu,
    "Softsign": softsign,
    "Sign": sign,
    "Swish": swish,
    "Mish": mish,
    "Cast": cast,
    "CastLike": cast_like,
    "Dropout": dropout,
    "Mod": modulo,
    "Floor": rounding(np.floor),
    "Ceil": rounding(np.ceil),
    "Round": round_even,
    "And": logic("and"),
    "Or": logic("or"),
    "Xor": logic("xor"),
    "Greater": relation(">"),
    "GreaterOrEqual": relation(">="),
    "Less": relation("<"),
    "LessOrEqual": relation("<="),
    "Equal": relation("=="),
    "Sqrt": named("sqrt"),
    "Exp": named("exp"),
    "Log": named("log"),
    "Reciprocal": named("reciprocal"),
    "Tanh": named("tanh"),
    "Sigmoid": named("sigmoid"),
    "Erf": named("erf"),
    "Softplus": named("softplus"),
    "Sin": named("sin"),
    "Cos": named("cos"),
}
