# SPDX-License-Identifier: Apache-2.0
"""Whether a network is one at all: primitive operators whose sizes and indices fit, work bounded.

The rules of a sweep and the exact evaluator rely on what is checked here; on a network that is not
well-formed they could read one input for another.
"""

from __future__ import annotations

import math

import numpy as np

from isoform.certificate.arrays import MOST_ENTRIES, malformed
from isoform.network.linear_map import Constant, Conv, Csr, Dense, Gather, LinearMap
from isoform.network.network import Network
from isoform.network.operators import OPAQUE_NAMES, Concat, Linear, Opaque, Product, Scan, Select
from isoform.numerics.exact import Exact

MOST_WORK = 1 << 30  # weights and entries that one evaluation touches, recurrences unrolled
FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


def check_network(network: Network) -> None:
    """A primitive network without empty values, every size that of its operator, no index out of
    range. CertificateRejected otherwise, and where one evaluation would touch too much."""
    if not network.is_primitive:
        raise malformed("a network that is not primitive")
    sizes = [network.dimension, *(node.shape[0] for node in network.nodes)]
    if min(sizes) == 0:
        raise malformed("a value without entries")
    if max(sizes) > MOST_ENTRIES:
        raise malformed(f"a value of {max(sizes):,} entries")
    for node in network.nodes:
        operator = node.operator
        if isinstance(operator, Linear):
            for part in operator.maps:
                check_map(part)
        if isinstance(operator, Scan):
            check_network(operator.cell)
        check_sizes(operator, [sizes[operand] for operand in node.operands], node.shape[0])
    work(network)


def work(network: Network) -> int:
    """Weights and entries that one evaluation touches; recurrences in recurrences multiply."""
    done = 0
    for node in network.nodes:
        operator = node.operator
        done += node.shape[0]
        if isinstance(operator, Linear):
            done += sum(entries(part) for part in operator.maps)
        if isinstance(operator, Scan):
            done += (operator.horizon or 0) * work(operator.cell)
        if done > MOST_WORK:
            raise malformed(f"a network that touches more than {MOST_WORK:,} numbers")
    return done


def entries(part: LinearMap) -> int:
    """Entries of the map's array, a convolution's for every place of its kernel."""
    if isinstance(part, Conv):
        return math.prod(part.kernel.shape) * math.prod(part.space_out)
    return part.outputs + part.parameters


def check_weight(value: Constant) -> None:
    """Weights are exact or double or single precision: other arrays have no nearest float."""
    if not isinstance(value, Exact) and value.dtype not in FLOATS:
        raise malformed(f"weights of type {value.dtype}")


def check_map(part: LinearMap) -> None:
    """Whether the arrays of a linear map fit each other."""
    match part:
        case Dense(weight):
            check_weight(weight)
            if weight.ndim != 2:
                raise malformed("a dense weight that is no matrix")
        case Csr():
            check_weight(part.values)
            check_csr(part)
        case Gather(indices=indices, scale=scale, inputs=inputs):
            if np.any(indices < -1) or np.any(indices >= inputs):
                raise malformed("a gather index out of range")
            if scale is None:
                return
            check_weight(scale)
            if scale.shape != indices.shape:
                raise malformed("a gather with scales of another number")
        case Conv():
            check_weight(part.kernel)
            check_conv(part)


def check_csr(part: Csr) -> None:
    starts, columns = part.starts, part.columns
    fits = len(starts) > 0 and starts[0] == 0 and starts[-1] == len(columns)
    if not fits or np.any(np.diff(starts) < 0) or part.values.shape != columns.shape:
        raise malformed("rows of a sparse matrix out of order")
    rows = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    same = rows[1:] == rows[:-1]
    if np.any(columns < 0) or np.any(columns >= part.inputs) or np.any(np.diff(columns)[same] <= 0):
        raise malformed("columns of a sparse matrix out of order")


def check_conv(part: Conv) -> None:
    axes = len(part.space)
    attributes = (part.strides, part.pads, part.dilations)
    fits = part.kernel.ndim == axes + 2 and all(len(given) == axes for given in attributes)
    if not fits or min((*part.strides, *part.dilations, part.groups), default=0) < 1:
        raise malformed("a convolution whose attributes do not fit its kernel")
    pads = [n for pair in part.pads for n in pair]
    numbers = (*part.strides, *part.dilations, *part.space, *pads)
    if max(numbers) > MOST_ENTRIES or min(numbers) < 0:  # places are 64-bit integers
        raise malformed("a convolution with attributes out of range")
    if part.channels_out % part.groups or min(part.space_out, default=0) < 1:
        raise malformed("a convolution without output")
    if entries(part) > MOST_WORK:
        raise malformed(f"a convolution of {entries(part):,} products")


def check_sizes(operator: object, given: list[int], size: int) -> None:
    """Whether operand sizes and result size are those of the operator."""
    fits: bool
    match operator:
        case Linear(maps, bias):
            if bias is not None:
                check_weight(bias)
            fits = len(maps) == len(given) and all(
                part.inputs == n and part.outputs == size
                for part, n in zip(maps, given, strict=False)
            ) and (bias is None or bias.shape == (size,)) and bool(maps or bias is not None)
        case Select(indices):
            fits = len(given) == 1 and indices.shape == (size,) and bool(
                np.all((indices >= 0) & (indices < given[0]))
            )
        case Concat():
            fits = bool(given) and sum(given) == size
        case Product():
            fits = given == [size, size]
        case Opaque(name, group):
            fits = given == [size] and name in OPAQUE_NAMES and (
                (name == "softmax") == (group > 0)
            ) and group >= 0 and (group == 0 or size % group == 0)
        case Scan(cell, state, horizon):
            steps, out = cell.dimension - state, cell.output_dimension - state
            fits = horizon is not None and state > 0 and min(steps, out, horizon) > 0 and (
                given == [state, horizon * steps] and size == state + horizon * out
            )
        case _:
            fits = given == [size]
    if not fits:
        raise malformed(f"{type(operator).__name__} from sizes {given} to {size}")
