# SPDX-License-Identifier: Apache-2.0
"""How the rounding errors of single nodes reach the outputs: signs kept as far as units are stable.

The computed values are those of the real network with a fresh error e_v added to every value v. A
relu passes the change of its operand on with some slope s: s = 0 where both the real and the
computed operand are <= 0, s = 1 where both are >= 0, else any s in [0, 1]. So the change of the
outputs is the sum over v of A_v e_v, A_v a product of weights and such slopes; an enclosure of A_v,
C +- R entry by entry, is carried from the outputs back, and |A_v| <= |C| + R.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from isoform.certificate.basis import GRID, ONE
from isoform.network.linear_map import Gather, LinearMap
from isoform.network.network import Network
from isoform.network.operators import Concat, Linear, Relu, Select
from isoform.numerics.exact import Exact, as_array
from isoform.numerics.sparse import ExactSparse

MOST_PRODUCTS = 1 << 24  # outputs times weights, above which the plain recursion has to do
DEAD, OPEN, PASSED = 0, 1, 2


@dataclass(frozen=True, slots=True, eq=False)
class Fresh:
    """What a node adds: error (n,), in units of 2^-GRID; slope: of a relu, DEAD, OPEN or PASSED for
    each unit, else None."""

    error: np.ndarray
    slope: np.ndarray | None = None


Factors = tuple[np.ndarray, np.ndarray]  # C and R, (m, n) integers in units of 2^-GRID


def carried_to_outputs(network: Network, fresh: list[Fresh]) -> np.ndarray | None:
    """Bounds (m,) of the error of the outputs in units of 2^-GRID; fresh: one a value, the input's
    included. None where that would take too long."""
    m, last = network.output_dimension, network.outputs[0]
    if m * (products(network) + m) > MOST_PRODUCTS:
        return None
    unit = np.zeros((m, m), dtype=object)
    unit[np.diag_indices(m)] = ONE
    factors: dict[int, Factors] = {last: (unit, np.zeros((m, m), dtype=object))}
    total = np.zeros(m, dtype=object)
    for value in range(last, -1, -1):
        if value not in factors:
            continue
        centre, radius = factors.pop(value)
        total = total + (np.abs(centre) + radius).dot(fresh[value].error)
        if value == 0:
            continue
        node = network.nodes[value - 1]
        for operand, part in passed_on(network, value, centre, radius, fresh[value]):
            if operand == 0 and isinstance(node.operator, Linear):
                continue  # the error of inputs is in the fresh error of their first sums
            known = factors.get(operand)
            factors[operand] = part if known is None else (
                known[0] + part[0], known[1] + part[1]
            )
    return as_array(-((-total) >> GRID))


def products(network: Network) -> int:
    return sum(
        part.inputs * part.outputs if hasattr(part, "weight") else part.parameters + part.outputs
        for node in network.nodes if isinstance(node.operator, Linear)
        for part in node.operator.maps
    )


def passed_on(
    network: Network, value: int, centre: np.ndarray, radius: np.ndarray, fresh: Fresh
) -> list[tuple[int, Factors]]:
    """The factors of a node's operands that come from those of its value."""
    node = network.nodes[value - 1]
    match node.operator:
        case Linear(maps):
            return [
                (operand, times(part, centre, radius))
                for part, operand in zip(maps, node.operands, strict=True)
                if operand != 0
            ]
        case Select(indices):
            size = network.size_of(node.operands[0])
            part = Gather(indices=indices, scale=None, inputs=size)
            return [(node.operands[0], times(part, centre, radius))]
        case Concat():
            places = np.cumsum([0, *(network.size_of(operand) for operand in node.operands)])
            return [
                (operand, (centre[:, a:b], radius[:, a:b]))
                for operand, a, b in zip(node.operands, places[:-1], places[1:], strict=True)
            ]
        case Relu():
            assert fresh.slope is not None
            return [(node.operands[0], sloped(centre, radius, fresh.slope))]
    raise AssertionError(f"{type(node.operator).__name__} was let through")


def sloped(centre: np.ndarray, radius: np.ndarray, slope: np.ndarray) -> Factors:
    """The hull of s a for a in C +- R and s = 0, s = 1, or all s in [0, 1]."""
    low, high = centre - radius, centre + radius
    shut = slope != PASSED
    low = np.where(shut & ((slope == DEAD) | (low > 0)), 0, low)
    high = np.where(shut & ((slope == DEAD) | (high < 0)), 0, high)
    middle = (low + high) >> 1
    return as_array(middle), as_array(high - middle)


def times(part: LinearMap, centre: np.ndarray, radius: np.ndarray) -> Factors:
    """(C +- R) W, rounded outward."""
    matrix = part.sparse()
    plain = (sparse(centre) @ matrix).dense().numerator
    if radius.any():
        size = ExactSparse(
            matrix.shape, matrix.starts, matrix.columns, np.abs(matrix.data), matrix.denominator
        )
        wide = (sparse(radius) @ size).dense().numerator
    else:
        wide = np.zeros(plain.shape, dtype=object)
    unit = matrix.denominator
    if unit == 1:
        return plain, wide
    return as_array(plain // unit), as_array(1 - (-wide) // unit)


def sparse(matrix: np.ndarray) -> ExactSparse:
    return ExactSparse.of(Exact(matrix))
