# SPDX-License-Identifier: Apache-2.0
"""A network on a slice of its input space: the affine image x = origin + directions u."""

from __future__ import annotations

from isoform.errors import DomainError
from isoform.network.linear_map import Dense
from isoform.network.network import Builder, Network
from isoform.network.primitive import to_primitive
from isoform.numerics.exact import Exact, concatenate
from isoform.numerics.row_basis import full_rank


def sliced(network: Network, origin: Exact, directions: Exact) -> Network:
    """u in R^k -> network(origin + directions u), exactly, in primitive operators.

    origin: (d,), directions: (d, k). Raises DomainError where these are not the network's d, or
    the directions are dependent.
    """
    primitive = to_primitive(network)
    d = primitive.dimension
    if origin.shape != (d,) or directions.ndim != 2 or directions.shape[0] != d:
        raise DomainError(
            f"a slice with an origin of shape {origin.shape} and directions of shape "
            f"{directions.shape}; the network takes {d} inputs: give ({d},) and ({d}, k)"
        )
    if not 0 < directions.shape[1] <= d or not full_rank(directions.T):
        raise DomainError(
            "the directions of the slice are linearly dependent (two of its points may be equal, "
            "or three on a line); give others"
        )
    build = Builder((directions.shape[1],))
    number = {0: build.linear(Dense(directions.reduced()), 0, origin.reduced())}
    for value, node in primitive.items():
        operands = tuple(number[operand] for operand in node.operands)
        number[value] = build.add(node.operator, operands, node.shape)
    return build.build(number[primitive.outputs[0]])


def through(points: Exact) -> tuple[Exact, Exact]:
    """(origin, directions) of the slice through k + 1 points, the rows of (k + 1, d): the first is
    u = 0, the others are the unit vectors of u."""
    if points.ndim != 2 or len(points) < 2:
        raise DomainError("a slice goes through two points or more (a line, a plane, ...)")
    first = points[0]
    rows = [(points[i] - first).reshape(1, -1) for i in range(1, len(points))]
    return first, concatenate(rows).T
