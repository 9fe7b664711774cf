# SPDX-License-Identifier: Apache-2.0
"""Rules for surface operators that compare: maxima, pools, comparisons, positions of extremes."""

from __future__ import annotations

import math

import numpy as np

from isoform.errors import TooLarge
from isoform.network.linear_map import Csr, Gather
from isoform.network.lowering import Lowering
from isoform.network.network import Node, Shape
from isoform.network.operators import ArgExtreme, Compare, MaxPool, ReduceMax

PAIRS_LIMIT = 1 << 23


def maximum(low: Lowering, node: Node, operands: list[int], shapes: list[Shape]) -> int:
    """A balanced tree of max(a, b) = b + relu(a - b)."""
    values = list(operands)
    while len(values) > 1:
        pairs = [low.maximum(a, b) for a, b in zip(values[::2], values[1::2], strict=False)]
        values = pairs + ([values[-1]] if len(values) % 2 else [])
    return values[0]


def minimum(low: Lowering, node: Node, operands: list[int], shapes: list[Shape]) -> int:
    """A balanced tree of min(a, b) = b - relu(b - a)."""
    values = list(operands)
    while len(values) > 1:
        pairs = []
        for a, b in zip(values[::2], values[1::2], strict=False):
            if low.as_base(a) or low.too_large(b):
                a, b = b, a
            gap = low.relu(low.affine([(b, 1), (a, -1)]))
            pairs.append(low.affine([(b, 1), (gap, -1)]))
        values = pairs + ([values[-1]] if len(values) % 2 else [])
    return values[0]


def largest_of(low: Lowering, value: int, groups: np.ndarray) -> int:
    """y_i = max over k of value[groups[k, i]], by a balanced tree, one wide layer a level.

    groups: int64 (candidates, results). Entries that have no partner on a level pass through.
    """
    while len(groups) > 1:
        half, width = len(groups) // 2, groups.shape[1]
        left, right = groups[:half].reshape(-1), groups[half : 2 * half].reshape(-1)
        minus = np.full(len(left), -1, dtype=np.float32)
        inputs = low.size(value)
        gap = low.linear([
            (Gather(indices=left, scale=None, inputs=inputs), value),
            (Gather(indices=right, scale=minus, inputs=inputs), value),
        ])
        units = low.relu(gap)
        rest = groups[2 * half :].reshape(-1)
        from_units = np.concatenate((np.arange(len(left)), np.full(len(rest), -1)))
        value = low.linear([
            (Gather(indices=from_units, scale=None, inputs=len(left)), units),
            (Gather(indices=np.concatenate((right, rest)), scale=None, inputs=inputs), value),
        ])
        count = half + len(groups) - 2 * half
        groups = np.arange(count * width, dtype=np.int64).reshape(count, width)
    return low.select(value, groups[0])


def pool_shape(space: Shape, operator: MaxPool) -> Shape:
    """Spatial shape of a pool's result. A window that would start in the padding after the data
    (possible where `ceil`) is left out."""
    result = []
    for axis, n in enumerate(space):
        before, after = operator.pads[axis]
        reach = n + before + after - operator.dilations[axis] * (operator.size[axis] - 1) - 1
        stride = operator.strides[axis]
        count = (-(-reach // stride) if operator.ceil else reach // stride) + 1
        if operator.ceil and (count - 1) * stride >= n + before:
            count -= 1
        result.append(count)
    return tuple(result)


def windows(space: Shape, operator: MaxPool) -> tuple[np.ndarray, np.ndarray]:
    """Flat position in space and whether it lies inside, of each (tap, window): int64, bool."""
    out, axes = pool_shape(space, operator), len(space)
    flat = np.zeros((*operator.size, *out), dtype=np.int64)
    inside = np.ones((*operator.size, *out), dtype=bool)
    for axis in range(axes):
        begin = np.arange(out[axis]) * operator.strides[axis] - operator.pads[axis][0]
        tap = np.arange(operator.size[axis]) * operator.dilations[axis]
        place = tap[:, None] + begin[None, :]
        shape = [1] * (2 * axes)
        shape[axis], shape[axes + axis] = operator.size[axis], out[axis]
        place = place.reshape(shape)
        inside &= (place >= 0) & (place < space[axis])
        flat = flat * space[axis] + place
    count = (math.prod(operator.size), math.prod(out))
    return flat.reshape(count), inside.reshape(count)


def max_pool(low: Lowering, node: Node, operands: list[int], shapes: list[Shape]) -> int:
    """The largest of each window; a place in the padding is taken by the window's first entry."""
    assert isinstance(node.operator, MaxPool)
    channels, space = shapes[0][0], shapes[0][1:]
    flat, inside = windows(space, node.operator)
    first = flat[np.argmax(inside, axis=0), np.arange(flat.shape[1])]
    flat = np.where(inside, flat, first)
    offsets = np.arange(channels, dtype=np.int64) * math.prod(space)
    groups = (offsets[:, None] + flat[:, None, :]).reshape(len(flat), -1)
    return largest_of(low, operands[0], groups)


def reduce_max(low: Lowering, node: Node, operands: list[int], shapes: list[Shape]) -> int:
    assert isinstance(node.operator, ReduceMax)
    axes = node.operator.axes
    places = np.arange(math.prod(shapes[0]), dtype=np.int64).reshape(shapes[0])
    count = math.prod(shapes[0][axis] for axis in axes)
    groups = np.moveaxis(places, axes, range(len(axes))).reshape(count, -1)
    return largest_of(low, operands[0], groups)


def compare(low: Lowering, node: Node, operands: list[int], shapes: list[Shape]) -> int:
    """Steps of the difference: a >= b is step(a - b), a > b is 1 - step(b - a)."""
    assert isinstance(node.operator, Compare)
    a, b = operands
    at_least = [(a, 1), (b, -1)]
    at_most = [(b, 1), (a, -1)]
    match node.operator.relation:
        case ">=":
            return low.step(low.affine(at_least))
        case "<=":
            return low.step(low.affine(at_most))
        case ">":
            return low.affine([(low.step(low.affine(at_most)), -1)], 1)
        case "<":
            return low.affine([(low.step(low.affine(at_least)), -1)], 1)
        case "==":
            both = (low.step(low.affine(at_least)), low.step(low.affine(at_most)))
            return low.affine([(both[0], 1), (both[1], 1)], -1)
    raise ValueError(f"no comparison {node.operator.relation!r}")


def arg_extreme(low: Lowering, node: Node, operands: list[int], shapes: list[Shape]) -> int:
    """Every pair i < j is decided by one step; the entry that wins all its pairs is the extreme.

    s_ij = 1 where i beats j (a tie goes to i, or to j if `last`). wins_i = sum of its won pairs;
    step(wins_i - (k - 1)) is one-hot, and the index is a linear map of it.
    """
    operator = node.operator
    assert isinstance(operator, ArgExtreme)
    places = np.arange(math.prod(shapes[0]), dtype=np.int64).reshape(shapes[0])
    groups = np.moveaxis(places, operator.axis, -1).reshape(-1, shapes[0][operator.axis])
    count, k = groups.shape
    if k == 1:
        return low.constant(np.zeros(count, dtype=np.float32))
    first, second = np.triu_indices(k, 1)
    if len(first) * count > PAIRS_LIMIT:
        raise TooLarge(f"a position of an extreme compares {len(first) * count:,} pairs")
    sign = 1.0 if operator.largest != operator.last else -1.0
    scale = np.full(len(first) * count, sign, dtype=np.float32)
    inputs = low.size(operands[0])
    left, right = groups[:, first].reshape(-1), groups[:, second].reshape(-1)
    decided = low.step(low.linear([
        (Gather(indices=left, scale=scale, inputs=inputs), operands[0]),
        (Gather(indices=right, scale=-scale, inputs=inputs), operands[0]),
    ]))
    # `decided` is 1 where the first of a pair wins, or, if ties go to the last, the second.
    for_first = -1.0 if operator.last else 1.0
    wins = low.linear(
        [(tournament(first, second, k, count, for_first), decided)],
        np.tile(lost_ties(k, operator.last), count),
    )
    hot = low.step(wins)
    index = Csr(
        starts=np.arange(count + 1, dtype=np.int64) * k, columns=np.arange(count * k),
        values=np.tile(np.arange(k, dtype=np.float32), count), inputs=count * k,
    )
    return low.linear([(index, hot)])


def tournament(
    first: np.ndarray, second: np.ndarray, k: int, count: int, for_first: float
) -> Csr:
    """Matrix from decided pairs to wins: +-1 for each pair that an entry takes part in."""
    pairs = len(first)
    entry = np.concatenate((first, second))
    pair = np.concatenate((np.arange(pairs), np.arange(pairs)))
    value = np.concatenate((np.full(pairs, for_first), np.full(pairs, -for_first)))
    order = np.lexsort((pair, entry))
    columns = pair[order][None, :] + np.arange(count, dtype=np.int64)[:, None] * pairs
    return Csr(
        starts=np.arange(count * k + 1, dtype=np.int64) * (k - 1),
        columns=columns.reshape(-1), values=np.tile(value[order].astype(np.float32), count),
        inputs=pairs * count,
    )


def lost_ties(k: int, last: bool) -> np.ndarray:
    """Bias of the wins, less k - 1: entry i is the second in i pairs, the first in k - 1 - i."""
    i = np.arange(k, dtype=np.float32)
    return (k - 1 - i if last else i) - (k - 1)
