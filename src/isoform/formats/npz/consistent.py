# SPDX-License-Identifier: Apache-2.0
"""Whether a network from a file fits together: operators in their places, sizes, index ranges."""

from __future__ import annotations

import math
from typing import Any, get_args

import numpy as np

from isoform.network.linear_map import Conv, Csr, Dense, Gather, LinearMap
from isoform.network.network import Network, Node, Shape
from isoform.network.operators import (
    OPAQUE_NAMES,
    Concat,
    Linear,
    Opaque,
    Operator,
    Product,
    Relu,
    Round,
    Scan,
    Select,
    Step,
)
from isoform.numerics.exact import Exact

ARITY = {Relu: 1, Step: 1, Round: 1, Product: 2, Opaque: 1, Select: 1, Scan: 2}


def check_network(network: Network) -> None:
    """ValueError with the first node that does not fit. Surface operators keep their own checks
    in the rules that lower them."""
    for value, node in network.items():
        try:
            check_node(network, node)
        except ValueError as error:
            raise ValueError(f"node {value}: {error}") from None


def check_node(network: Network, node: Node) -> None:
    operator = node.operator
    if not isinstance(operator, get_args(Operator)):
        raise ValueError(f"{type(operator).__name__} is no operator")
    shapes = [network.shape_of(operand) for operand in node.operands]
    sizes = [math.prod(shape) for shape in shapes]
    want(len(sizes) == ARITY.get(type(operator), len(sizes)), f"{len(sizes)} operands")
    match operator:
        case Linear():
            check_linear(operator, sizes, node.shape)
        case Relu() | Step() | Round() | Product() | Opaque():
            want(all(size == math.prod(node.shape) for size in sizes), "sizes differ")
        case Concat():
            want(bool(sizes) and sum(sizes) == math.prod(node.shape), "sizes do not add up")
        case Select():
            check_indices(operator.indices, sizes[0], 0)
            want(operator.indices.size == math.prod(node.shape), "the result has another size")
        case Scan():
            check_scan(operator, sizes, node.shape)
    if isinstance(operator, Opaque):
        want(operator.name in OPAQUE_NAMES, f"no function {operator.name!r}")
        grouped = operator.name == "softmax"
        want(type(operator.group) is int and (operator.group > 0) == grouped, "a wrong group")
        want(not grouped or sizes[0] % operator.group == 0, "a wrong group")


def want(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ValueError(otherwise)


def check_linear(operator: Linear, sizes: list[int], shape: Shape) -> None:
    size = math.prod(shape)
    want(isinstance(operator.maps, tuple) and len(operator.maps) == len(sizes),
         "not one operand a map")
    want(bool(operator.maps) or operator.bias is not None, "neither map nor bias")
    for part, given in zip(operator.maps, sizes, strict=True):
        check_map(part)
        want(part.inputs == given, f"a map takes {part.inputs} inputs, its operand has {given}")
        want(part.outputs == size, f"a map gives {part.outputs} outputs, the node has {size}")
    if operator.bias is not None:
        check_numbers(operator.bias)
        want(operator.bias.size == size, "the bias has another size")


def check_numbers(constant: Any) -> None:
    if isinstance(constant, Exact):
        return
    fine = isinstance(constant, np.ndarray) and constant.dtype in (np.float32, np.float64)
    want(fine and bool(np.all(np.isfinite(constant))), "a constant that is no finite float")


def check_indices(indices: Any, size: int, least: int) -> None:
    fine = isinstance(indices, np.ndarray) and indices.dtype.kind == "i"
    want(fine and indices.ndim == 1, "indices that are no vector of integers")
    want(indices.size == 0 or least <= int(indices.min()) <= int(indices.max()) < size,
         f"an index outside of {size} entries")


def check_map(part: Any) -> None:
    want(isinstance(part, get_args(LinearMap)), "something that is no linear map")
    match part:
        case Dense():
            check_numbers(part.weight)
            want(part.weight.ndim == 2, "a weight that is no matrix")
        case Gather():
            check_indices(part.indices, part.inputs, -1)
            if part.scale is not None:
                check_numbers(part.scale)
                want(part.scale.shape == part.indices.shape, "a scale of another size")
        case Csr():
            check_csr(part)
        case Conv():
            check_conv(part)


def check_csr(part: Csr) -> None:
    check_numbers(part.values)
    check_indices(part.columns, part.inputs, 0)
    count = len(part.columns)
    check_indices(part.starts, count + 1, 0)
    want(part.values.shape == (count,), "not one value a column")
    want(len(part.starts) > 0 and part.starts[0] == 0 and part.starts[-1] == count
         and bool(np.all(np.diff(part.starts) >= 0)), "row starts out of order")
    rows = np.repeat(np.arange(part.outputs), np.diff(part.starts))
    same = rows[1:] == rows[:-1]
    want(bool(np.all(np.diff(part.columns)[same] > 0)), "columns of a row out of order")


def check_conv(part: Conv) -> None:
    check_numbers(part.kernel)
    axes = len(part.space)
    want(part.kernel.ndim == axes + 2 and axes > 0, "a kernel of another rank")
    for numbers in (part.strides, part.dilations, part.pads):
        want(isinstance(numbers, tuple) and len(numbers) == axes, "not one number an axis")
    plain = [*part.space, *part.strides, *part.dilations, part.groups]
    want(all(type(n) is int and n > 0 for n in plain), "a size that is not positive")
    pads = [n for pair in part.pads for n in pair]
    want(len(pads) == 2 * axes and all(type(n) is int and n >= 0 for n in pads), "wrong pads")
    want(part.kernel.shape[0] % part.groups == 0, "channels that do not divide into groups")
    want(all(n > 0 for n in part.space_out), "a kernel larger than its input")


def check_scan(operator: Scan, sizes: list[int], shape: Shape) -> None:
    want(isinstance(operator.cell, Network) and operator.cell.is_primitive, "a wrong cell")
    check_network(operator.cell)
    width = operator.cell.dimension - operator.state
    want(type(operator.state) is int and operator.state >= 0 and width >= 0, "a wrong state")
    want(operator.cell.output_dimension >= operator.state, "a cell that loses its state")
    want(sizes[0] == operator.state, "an initial state of another size")
    if operator.horizon is None:
        return
    want(type(operator.horizon) is int and operator.horizon >= 0, "a wrong horizon")
    want(sizes[1] == operator.horizon * width, "a sequence of another length")
    produced = operator.horizon * (operator.cell.output_dimension - operator.state)
    want(math.prod(shape) == operator.state + produced, "a result of another size")
