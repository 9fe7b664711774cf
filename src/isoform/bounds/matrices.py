# SPDX-License-Identifier: Apache-2.0
"""Linear maps as float64 matrices, dense or compressed, each entry the nearest double."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from isoform.network.linear_map import Conv, Csr, Dense, Gather, LinearMap, exact, floats
from isoform.network.network import Builder, Network
from isoform.network.operators import Concat, Linear, Scan, Select
from isoform.network.primitive import to_primitive
from isoform.numerics.exact import integers

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Matrix = Any  # np.ndarray or scipy csr_array, float64


def float_matrix(part: LinearMap) -> np.ndarray | csr_array:
    """The matrix of a linear map, (outputs, inputs), in nearest doubles.

    A float64 or float32 weight is taken without loss; an exact weight is rounded once, entry by
    entry. Dense maps give an array, all others a scipy csr_array.
    """
    from scipy.sparse import csr_array

    shape = (part.outputs, part.inputs)
    match part:
        case Dense():
            return floats(part.weight)
        case Csr():
            return csr_array((floats(part.values), part.columns, part.starts), shape=shape)
        case Gather():
            held = np.flatnonzero(part.indices >= 0)
            scale = np.ones(part.outputs) if part.scale is None else floats(part.scale)
            return csr_array((scale[held], (held, part.indices[held])), shape=shape)
        case Conv():
            # The exact rule places integers that number the taps; the doubles are looked up.
            numbers = integers(range(1, part.kernel.size + 1), part.kernel.shape)
            places = replace(part, kernel=exact(numbers)).sparse()
            values = floats(part.kernel).ravel()[places.data.astype(np.int64) - 1]
            return csr_array((values, places.columns, places.starts), shape=shape)


def flat_primitive(network: Network) -> Network:
    """The same function in primitive operators, every recurrence with a horizon unrolled.

    A recurrence without a horizon stays; whoever meets it refuses.
    """
    network = to_primitive(network)
    if not any(isinstance(node.operator, Scan) for node in network.nodes):
        return network
    builder = Builder(*network.inputs)
    value = inline(builder, network, 0)
    return builder.build(value)


def inline(builder: Builder, network: Network, source: int) -> int:
    """Append a primitive network's nodes on a value of the builder; returns its output's number."""
    number = {0: source}
    for value, node in network.items():
        operands = tuple(number[operand] for operand in node.operands)
        if isinstance(node.operator, Scan) and node.operator.horizon is not None:
            number[value] = unrolled(builder, node.operator, operands)
        else:
            number[value] = builder.add(node.operator, operands, node.shape)
    return number[network.outputs[0]]


def unrolled(builder: Builder, scan: Scan, operands: tuple[int, ...]) -> int:
    """`horizon` copies of the cell: final state, then y_1..y_T."""
    state, steps = operands
    width = scan.cell.dimension - scan.state
    results = []
    for t in range(scan.horizon or 0):
        element = pick(builder, steps, range(t * width, (t + 1) * width))
        joined = builder.add(Concat(), (state, element), scan.state + width)
        made = inline(builder, scan.cell, joined)
        state = pick(builder, made, range(scan.state))
        results.append(pick(builder, made, range(scan.state, builder.size_of(made))))
    size = sum(builder.size_of(value) for value in (state, *results))
    return builder.add(Concat(), (state, *results), size)


def pick(builder: Builder, value: int, indices: range) -> int:
    return builder.add(Select(np.array(indices, dtype=np.int64)), (value,), len(indices))


def matrices_of(network: Network) -> dict[int, tuple[Matrix, ...]]:
    """The float matrices of every linear node, by value number."""
    return {
        value: tuple(float_matrix(part) for part in node.operator.maps)
        for value, node in network.items()
        if isinstance(node.operator, Linear)
    }
