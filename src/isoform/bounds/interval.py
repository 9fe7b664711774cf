# SPDX-License-Identifier: Apache-2.0
"""Interval bounds: every value of a primitive network between two float64 vectors, outward.

The bounds hold for the *real* values of the network as it means them (exact constants), for all
points of the box: every float result is widened by more than the rounding it may have suffered.
Bounds are (lower, upper) pairs of float64 vectors, infinite where nothing is known.
"""

from __future__ import annotations

import numpy as np

from isoform.bounds.matrices import Matrix, float_matrix
from isoform.errors import DomainError, Refused
from isoform.network.domain import Box
from isoform.network.linear_map import floats
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
from isoform.numerics.enclosure import Enclosure, opaque_enclosure
from isoform.numerics.exact import Exact

Bounds = tuple[np.ndarray, np.ndarray]
UNIT = 2.0**-53
TINY = 1e-290  # more than any sum of underflows
RANGES: dict[str, tuple[float, float]] = {
    "sigmoid": (0.0, 1.0), "softmax": (0.0, 1.0), "tanh": (-1.0, 1.0), "erf": (-1.0, 1.0),
    "sin": (-1.0, 1.0), "cos": (-1.0, 1.0), "exp": (0.0, np.inf), "softplus": (0.0, np.inf),
    "sqrt": (0.0, np.inf), "log": (-np.inf, np.inf), "reciprocal": (-np.inf, np.inf),
}


def interval_bounds(network: Network, box: Box) -> list[Bounds]:
    """Bounds of every value of a primitive network on a box, by value number.

    box: of the network's dimension. Raises DomainError if it has another, Refused for a recurrence
    without a horizon. An opaque function that is not defined on all of its interval has infinite
    bounds.
    """
    found = [box_bounds(network, box)]
    for _, node in network.items():
        found.append(node_bounds(node, [found[operand] for operand in node.operands]))
    return found


def box_bounds(network: Network, box: Box) -> Bounds:
    """The box in floats, rounded outward."""
    if not network.is_primitive:
        raise Refused("bounds are of primitive networks; lower the network first")
    if box.dimension != network.dimension:
        raise DomainError(
            f"the box has dimension {box.dimension}, the network takes {network.dimension} inputs"
        )
    return outward(box.low, box.high)


def outward(low: Exact, high: Exact) -> Bounds:
    """The nearest floats on the outer sides."""
    ends = []
    for value, side in ((low, -1), (high, 1)):
        near = value.to_float()
        finite = np.isfinite(near)
        gap = (Exact.of(np.where(finite, near, 0.0)) - value).sign() * side
        step = np.nextafter(near, side * np.inf)
        ends.append(np.where(finite & (gap < 0), step, near))
    below, above = ends
    largest = np.finfo(np.float64).max
    return np.where(below == np.inf, largest, below), np.where(above == -np.inf, -largest, above)


def gamma(n: int) -> float:
    """A bound of the relative error of n roundings."""
    return n * UNIT / (1 - n * UNIT)


def magnitude(bounds: Bounds) -> np.ndarray:
    return np.maximum(np.abs(bounds[0]), np.abs(bounds[1]))


def node_bounds(node: Node, operands: list[Bounds]) -> Bounds:
    """The interval rule of one operator."""
    match node.operator:
        case Linear():
            matrices = [float_matrix(part) for part in node.operator.maps]
            bias = None if node.operator.bias is None else floats(node.operator.bias)
            return linear_bounds(matrices, operands, bias, node.shape[0])
        case Relu():
            low, high = operands[0]
            return np.maximum(low, 0.0), np.maximum(high, 0.0)
        case Step():
            low, high = operands[0]
            return (low >= 0).astype(np.float64), (high >= 0).astype(np.float64)
        case Round():  # rint is exact and monotone, so the ends keep their sides
            low, high = operands[0]
            return np.rint(low), np.rint(high)
        case Product():
            return product_bounds(*operands)
        case Opaque():
            return opaque_bounds(node.operator, operands[0])
        case Concat():
            return (
                np.concatenate([low for low, _ in operands]),
                np.concatenate([high for _, high in operands]),
            )
        case Select():
            low, high = operands[0]
            return low[node.operator.indices], high[node.operator.indices]
        case Scan():
            return scan_bounds(node.operator, *operands)
        case _:
            raise Refused(f"no bounds for {type(node.operator).__name__}; lower the network first")


def linear_bounds(
    matrices: list[Matrix], operands: list[Bounds], bias: np.ndarray | None, size: int
) -> Bounds:
    """sum W_i [l_i, u_i] + b: the products, widened by gamma_k (sum |W_i| max(|l_i|, |u_i|) + |b|).

    k counts the products and sums of a row, the rounding of weights that are no doubles, and those
    in the widening itself. Where every term has one sign, so has the sum: that end is 0 at least.
    """
    low, high = np.zeros(size), np.zeros(size)
    weight = np.zeros(size)
    open_low, open_high = np.zeros(size, dtype=bool), np.zeros(size, dtype=bool)
    falls, rises = np.zeros(size, dtype=bool), np.zeros(size, dtype=bool)
    count = 8
    for matrix, bounds in zip(matrices, operands, strict=True):
        below, above = finite_part(bounds)
        positive, negative = parts(matrix)
        falls |= touches(positive, bounds[0] < 0) | touches(negative, bounds[1] > 0)
        rises |= touches(positive, bounds[1] > 0) | touches(negative, bounds[0] < 0)
        low += positive @ below + negative @ above
        high += positive @ above + negative @ below
        weight += abs(matrix) @ np.maximum(np.abs(below), np.abs(above))
        count += 4 + 2 * matrix.shape[1]
        if not (np.all(np.isfinite(bounds[0])) and np.all(np.isfinite(bounds[1]))):
            without = [~np.isfinite(end) for end in bounds]
            open_low |= touches(positive, without[0]) | touches(negative, without[1])
            open_high |= touches(positive, without[1]) | touches(negative, without[0])
    if bias is not None:
        low, high, weight = low + bias, high + bias, weight + np.abs(bias)
        falls, rises = falls | np.signbit(bias), rises | ~np.signbit(bias) & (bias != 0)
    slack = gamma(count) * weight + TINY
    low, high = low - slack, high + slack
    low = np.where(open_low | ~np.isfinite(low), -np.inf, np.nextafter(low, -np.inf))
    high = np.where(open_high | ~np.isfinite(high), np.inf, np.nextafter(high, np.inf))
    return np.where(falls, low, np.maximum(low, 0.0)), np.where(rises, high, np.minimum(high, 0.0))


def finite_part(bounds: Bounds) -> Bounds:
    low, high = (np.where(np.isfinite(end), end, 0.0) for end in bounds)
    return low, high


def parts(matrix: Matrix) -> tuple[Matrix, Matrix]:
    """Positive and negative entries of a dense or compressed matrix."""
    if isinstance(matrix, np.ndarray):
        return np.maximum(matrix, 0.0), np.minimum(matrix, 0.0)
    return matrix.maximum(0.0), matrix.minimum(0.0)


def touches(matrix: Matrix, columns: np.ndarray) -> np.ndarray:
    """Whether a row has a non-zero in one of the columns."""
    return (matrix != 0) @ columns.astype(np.float64) > 0


def product_bounds(left: Bounds, right: Bounds) -> Bounds:
    """The extreme corners; an infinite end times zero is zero, as all values are finite."""
    with np.errstate(invalid="ignore", over="ignore"):
        corners = [np.nan_to_num(a * b, nan=0.0, posinf=np.inf, neginf=-np.inf)
                   for a in left for b in right]
    low, high = np.minimum.reduce(corners), np.maximum.reduce(corners)
    exact_zero = (low == 0) & (high == 0) & (
        ((left[0] == 0) & (left[1] == 0)) | ((right[0] == 0) & (right[1] == 0))
    )
    below = np.nextafter(low, -np.inf)
    above = np.nextafter(high, np.inf)
    return np.where(exact_zero, 0.0, below), np.where(exact_zero, 0.0, above)


def opaque_bounds(operator: Opaque, bounds: Bounds) -> Bounds:
    """Arb's enclosures where the interval is finite, the function's whole range elsewhere."""
    low, high = bounds
    below, above = RANGES[operator.name]
    finite = np.isfinite(low) & np.isfinite(high)
    if operator.group:
        finite = np.repeat(finite.reshape(-1, operator.group).all(axis=1), operator.group)
    result = np.full(len(low), below), np.full(len(low), above)
    whole = np.flatnonzero(finite)
    step = operator.group or 1
    for first in range(0, len(whole), step):
        at = whole[first : first + step]
        argument = Enclosure(Exact.of(low[at]), Exact.of(high[at]))
        try:
            value = opaque_enclosure(operator.name, argument, operator.group)
        except ValueError:
            result[0][at], result[1][at] = -np.inf, np.inf
            continue
        result[0][at], result[1][at] = outward(value.low, value.high)
    return result


def scan_bounds(operator: Scan, state: Bounds, steps: Bounds) -> Bounds:
    """The cell's bounds, `horizon` times."""
    if operator.horizon is None:
        raise Refused("a recurrence without a horizon has no bounds; give --horizon T")
    width = operator.cell.dimension - operator.state
    results: list[Bounds] = []
    for t in range(operator.horizon):
        piece = slice(t * width, (t + 1) * width)
        found: list[Bounds] = [(
            np.concatenate([state[0], steps[0][piece]]),
            np.concatenate([state[1], steps[1][piece]]),
        )]
        for _, node in operator.cell.items():
            found.append(node_bounds(node, [found[operand] for operand in node.operands]))
        low, high = found[operator.cell.outputs[0]]
        state = low[: operator.state], high[: operator.state]
        results.append((low[operator.state :], high[operator.state :]))
    return (
        np.concatenate([state[0], *(low for low, _ in results)]),
        np.concatenate([state[1], *(high for _, high in results)]),
    )


def meet(first: Bounds, second: Bounds) -> Bounds:
    """The intersection of two bounds of the same values."""
    return np.maximum(first[0], second[0]), np.minimum(first[1], second[1])
