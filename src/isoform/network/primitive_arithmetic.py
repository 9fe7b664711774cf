# SPDX-License-Identifier: Apache-2.0
"""Rules for surface operators that multiply: matrix products, quotients, normalisations."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

from isoform.errors import TooLarge
from isoform.network.constants import broadcast, number_vector, reciprocal_root, tidy
from isoform.network.linear_map import Constant, Conv, Dense, Gather, LinearMap, exact
from isoform.network.lowering import Lowering
from isoform.network.network import Node, Shape
from isoform.network.operators import BatchNormalization, LayerNormalization, Softmax
from isoform.numerics.exact import exact_fractions

PRODUCTS_LIMIT = 1 << 26


def where(low: Lowering, node: Node, operands: list[int], shapes: list[Shape]) -> int:
    """c a + (1 - c) b."""
    c, a, b = operands
    rest = low.affine([(c, -1)], 1)
    return low.affine([(low.product(c, a), 1), (low.product(rest, b), 1)])


def divide(low: Lowering, node: Node, operands: list[int], shapes: list[Shape]) -> int:
    """a times the reciprocal of b."""
    return low.product(operands[0], low.opaque("reciprocal", operands[1]))


def group_sum(groups: int, size: int, weight: Constant) -> LinearMap:
    """sum of weight_k x[g * size + k] in each of `groups` consecutive groups."""
    if groups == 1:
        return Dense(weight.reshape(1, size))
    return Conv(
        kernel=weight.reshape(1, 1, size), space=(groups * size,), strides=(size,),
        pads=((0, 0),), dilations=(1,),
    )


def matrix_product(low: Lowering, node: Node, operands: list[int], shapes: list[Shape]) -> int:
    """All products A[.., i, l] B[.., l, j] at once, then their sums over l."""
    places = [
        np.arange(math.prod(shape), dtype=np.int64).reshape(shape) for shape in shapes
    ]
    left = places[0] if places[0].ndim > 1 else places[0][None, :]
    right = places[1] if places[1].ndim > 1 else places[1][:, None]
    left, right = left[..., :, None, :], np.swapaxes(right, -1, -2)[..., None, :, :]
    shape = np.broadcast_shapes(left.shape, right.shape)
    if math.prod(shape) > PRODUCTS_LIMIT:
        raise TooLarge(f"a product of two computed matrices takes {math.prod(shape):,} products")
    factors = [
        low.select(value, np.broadcast_to(index, shape).reshape(-1))
        for value, index in zip(operands, (left, right), strict=True)
    ]
    product = low.product(*factors)
    if shape[-1] == 1:
        return product
    ones = number_vector(1, shape[-1])
    return low.linear([(group_sum(math.prod(shape[:-1]), shape[-1], ones), product)])


def softmax(low: Lowering, node: Node, operands: list[int], shapes: list[Shape]) -> int:
    """The opaque softmax on consecutive groups, with the axis moved to the end and back."""
    assert isinstance(node.operator, Softmax)
    shape, axis = shapes[0], node.operator.axis
    places = np.arange(math.prod(shape), dtype=np.int64).reshape(shape)
    moved = np.moveaxis(places, axis, -1).reshape(-1)
    back = np.empty_like(moved)
    back[moved] = np.arange(len(moved))
    return low.select(low.opaque("softmax", low.select(operands[0], moved), shape[axis]), back)


def batch_normalization(
    low: Lowering, node: Node, operands: list[int], shapes: list[Shape]
) -> int:
    """A factor and a bias a channel; the reciprocal root is the nearest dyadic (81 bits)."""
    assert isinstance(node.operator, BatchNormalization)
    factor, bias = channel_factors(node.operator)
    repeats = math.prod(shapes[0][1:])
    index = np.repeat(np.arange(factor.size), repeats)
    return low.affine([(operands[0], factor[index])], bias[index])


def channel_factors(operator: BatchNormalization) -> tuple[Constant, Constant]:
    """(factor, bias), one entry a channel: the normalisation is factor x + bias."""
    epsilon = Fraction(operator.epsilon)
    roots = exact_fractions(
        [reciprocal_root(v + epsilon) for v in exact(operator.variance).fractions()],
        operator.variance.shape,
    )
    factor = exact(operator.scale) * roots
    bias = exact(operator.shift) - exact(operator.mean) * factor
    return tidy(factor), tidy(bias)


def layer_normalization(
    low: Lowering, node: Node, operands: list[int], shapes: list[Shape]
) -> int:
    """c = x - mean, v = mean of c^2, c / sqrt(v + epsilon), then scale and shift."""
    operator = node.operator
    assert isinstance(operator, LayerNormalization)
    shape = shapes[0]
    size = math.prod(shape[operator.axis :])
    groups = math.prod(shape[: operator.axis])
    mean_map = group_sum(groups, size, number_vector(Fraction(1, size), size))
    spread = np.repeat(np.arange(groups, dtype=np.int64), size)
    x = operands[0]
    minus = Gather(indices=spread, scale=number_vector(-1, len(spread)), inputs=groups)
    every = Gather(indices=np.arange(len(spread)), scale=None, inputs=len(spread))
    centred = low.linear([(every, x), (minus, low.linear([(mean_map, x)]))])
    epsilon = number_vector(Fraction(operator.epsilon), groups)
    variance = low.linear([(mean_map, low.product(centred, centred))], epsilon)
    factor = low.select(low.opaque("reciprocal", low.opaque("sqrt", variance)), spread)
    result = low.product(centred, factor)
    scale, shift = (
        None if constant is None else broadcast(constant, shape).reshape(-1)
        for constant in (operator.scale, operator.shift)
    )
    return low.affine([(result, 1 if scale is None else scale)], shift)
