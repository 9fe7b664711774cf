# SPDX-License-Identifier: Apache-2.0
"""Rules for surface operators of one operand, entry by entry."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from isoform.errors import FormatError, UnsupportedModel
from isoform.network.constants import (
    broadcast,
    inverse,
    number_vector,
    reciprocal_root,
    tidy,
)
from isoform.network.linear_map import exact
from isoform.network.lowering import LARGEST_BASE, Lowering
from isoform.network.network import Node, Shape
from isoform.network.operators import (
    Clip,
    Gelu,
    HardSigmoid,
    LeakyRelu,
    Power,
    PRelu,
    Quantize,
)
from isoform.numerics.exact import Exact

LARGEST_POWER = 64
PI = Fraction(3_141_592_653_589_793_238_462_643_383_279_502_884_197, 10**39)


def leaky_relu(low: Lowering, node: Node, operands: list[int], shapes: list[Shape]) -> int:
    """alpha z + (1 - alpha) relu(z)."""
    assert isinstance(node.operator, LeakyRelu)
    alpha = Fraction(node.operator.alpha)
    z = operands[0]
    return low.affine([(z, alpha), (low.relu(z), 1 - alpha)])


def parametric_relu(low: Lowering, node: Node, operands: list[int], shapes: list[Shape]) -> int:
    """slope z + (1 - slope) relu(z), the slope broadcast over the operand."""
    assert isinstance(node.operator, PRelu)
    slope = broadcast(node.operator.slope, shapes[0]).reshape(-1)
    rest = tidy(Exact.of(1) - exact(slope))
    z = operands[0]
    return low.affine([(z, slope), (low.relu(z), rest)])


def clip(low: Lowering, node: Node, operands: list[int], shapes: list[Shape]) -> int:
    assert isinstance(node.operator, Clip)
    return clip_value(low, operands[0], node.operator.low, node.operator.high)


def clip_value(low: Lowering, z: int, least: float | None, most: float | None) -> int:
    """min(max(z, least), most) = least + relu(z - least) - relu(z - most), if least <= most.

    Where `least` is very large, z + relu(least - z) - relu(z - most), the same function, keeps z
    from drowning in floating point.
    """
    if least is not None and most is not None and least > most:
        return low.constant(number_vector(most, low.size(z)))
    if least is None and most is None:
        return z
    if least is not None and abs(least) > LARGEST_BASE:
        below = low.relu(low.affine([(z, -1)], least))
        terms = [(z, 1), (below, 1)]
        return low.affine(terms if most is None else [*terms, (above(low, z, most), -1)])
    if least is None:
        return low.affine([(z, 1), (above(low, z, most), -1)])
    if most is None:
        return low.affine([(above(low, z, least), 1)], least)
    return low.affine([(above(low, z, least), 1), (above(low, z, most), -1)], least)


def quantize(low: Lowering, node: Node, operands: list[int], shapes: list[Shape]) -> int:
    """round(clip(z / s, low - p, high - p)) + p: bounds that are integers may be taken before
    rounding; the zero point p may not, for an odd one moves ties to the other side."""
    operator = node.operator
    assert isinstance(operator, Quantize)
    whole = exact(operator.zero_point).reduced().denominator == 1
    if not whole or operator.low > operator.high:
        raise FormatError("a quantisation whose zero point or range are no integers in order")
    factor = broadcast(inverse(operator.scale), shapes[0]).reshape(-1)
    points = broadcast(operator.zero_point, shapes[0]).reshape(-1)
    least, most = (tidy(exact(points) - end) for end in (operator.low, operator.high))
    above_least = low.relu(low.affine([(operands[0], factor)], least))
    above_most = low.relu(low.affine([(operands[0], factor)], most))
    kept = low.affine([(above_least, 1), (above_most, -1)], tidy(-exact(least)))
    return low.affine([(low.round(kept), 1)], points)


def above(low: Lowering, z: int, bound: float | Fraction | None) -> int:
    """relu(z - bound)."""
    return low.relu(low.affine([(z, 1)], -Fraction(bound or 0)))


def hard_sigmoid(low: Lowering, node: Node, operands: list[int], shapes: list[Shape]) -> int:
    """relu(u) - relu(u - 1) with u = alpha z + beta."""
    assert isinstance(node.operator, HardSigmoid)
    return ramp(low, operands[0], Fraction(node.operator.alpha), Fraction(node.operator.beta))


def ramp(low: Lowering, z: int, alpha: Fraction, beta: Fraction) -> int:
    """max(0, min(1, alpha z + beta))."""
    first = low.relu(low.affine([(z, alpha)], beta))
    second = low.relu(low.affine([(z, alpha)], beta - 1))
    return low.affine([(first, 1), (second, -1)])


def hard_swish(low: Lowering, node: Node, operands: list[int], shapes: list[Shape]) -> int:
    """z max(0, min(1, z / 6 + 1 / 2)); one sixth is the rational."""
    z = operands[0]
    return low.product(z, ramp(low, z, Fraction(1, 6), Fraction(1, 2)))


def absolute(low: Lowering, node: Node, operands: list[int], shapes: list[Shape]) -> int:
    """relu(z) + relu(-z)."""
    z = operands[0]
    return low.affine([(low.relu(z), 1), (low.relu(low.affine([(z, -1)])), 1)])


def gelu(low: Lowering, node: Node, operands: list[int], shapes: list[Shape]) -> int:
    """z (1 + erf(z / sqrt 2)) / 2, or z (1 + tanh(sqrt(2 / pi) (z + 0.044715 z^3))) / 2.

    Roots are the nearest dyadics with 81 bits; 0.044715 is the decimal.
    """
    assert isinstance(node.operator, Gelu)
    z = operands[0]
    if node.operator.tanh:
        root = reciprocal_root(PI / 2)
        cube = low.product(z, low.product(z, z))
        inner = low.affine([(z, root), (cube, root * Fraction(44715, 10**6))])
        curve = low.opaque("tanh", inner)
    else:
        curve = low.opaque("erf", low.affine([(z, reciprocal_root(Fraction(2)))]))
    half = Fraction(1, 2)
    return low.product(z, low.affine([(curve, half)], half))


def power_parts(exponent: float) -> tuple[int, bool, bool] | None:
    """(whole, root, reciprocal): z^exponent = (z^whole [sqrt z])^(+-1); None without a rule."""
    if not np.isfinite(exponent) or abs(exponent) > LARGEST_POWER:
        return None
    doubled = Fraction(abs(exponent)) * 2
    if doubled.denominator != 1:
        return None
    return int(doubled) // 2, int(doubled) % 2 == 1, exponent < 0


def power(low: Lowering, node: Node, operands: list[int], shapes: list[Shape]) -> int:
    """Integer exponents by repeated squaring; half a power by a square root; negative ones by a
    reciprocal."""
    assert isinstance(node.operator, Power)
    parts = power_parts(node.operator.exponent)
    if parts is None:
        raise UnsupportedModel("this network", [
            f"a power with exponent {node.operator.exponent}: only multiples of 1/2 up to "
            f"{LARGEST_POWER} have a rule"
        ])
    whole, root, reciprocal = parts
    z, result = operands[0], None
    square = z
    while whole:
        if whole & 1:
            result = square if result is None else low.product(result, square)
        whole >>= 1
        if whole:
            square = low.product(square, square)
    if root:
        half = low.opaque("sqrt", z)
        result = half if result is None else low.product(result, half)
    if result is None:
        return low.constant(number_vector(1, low.size(z)))
    return low.opaque("reciprocal", result) if reciprocal else result
