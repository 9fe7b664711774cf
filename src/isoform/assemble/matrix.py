# SPDX-License-Identifier: Apache-2.0
"""Matrix products and sums over axes, with their structure kept."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from isoform.assemble.assembler import (
    Assembler,
    Computed,
    Known,
    NotRowByRow,
    NotTaken,
    Value,
    check_entries,
    fold,
    joint_shape,
    stretched,
)
from isoform.assemble.axes import axes_of, moved, swap_last
from isoform.assemble.pointwise import add, scaled
from isoform.errors import FormatError
from isoform.network.constants import broadcast, number_vector, real_array, times
from isoform.network.linear_map import Constant, Conv, Dense
from isoform.network.model import FACTOR_TAKEN
from isoform.network.network import Shape
from isoform.network.operators import MatMul
from isoform.network.primitive_arithmetic import group_sum


def matmul(asm: Assembler, left: Value, right: Value) -> Value:
    """numpy's matrix product of two values."""
    if left.rank == 0 or right.rank == 0:
        raise FormatError("a matrix product with a scalar")
    if isinstance(right, Known):
        if isinstance(left, Known):
            check_entries(product_shape(left.shape, right.shape), "a matrix product")
            return fold(np.matmul, left, right)
        return times_matrix(asm, left, right)
    if isinstance(left, Known):
        return matrix_times(asm, left, right)
    if left.batched or right.batched:
        if min(left.rank, right.rank) < 3:
            raise NotRowByRow("a product of two computed matrices over the batch axis")
        if left.rank != right.rank:
            raise NotRowByRow("a product of computed matrices with different numbers of axes")
    shape = product_shape(left.shape, right.shape)
    return asm.place(MatMul(), (asm.shaped(left), asm.shaped(right)), shape, left)


def product_shape(left: Shape, right: Shape) -> Shape:
    """Shape of a matrix product; FormatError where the inner sizes differ."""
    rows = left if len(left) > 1 else (1, *left)
    columns = right if len(right) > 1 else (*right, 1)
    if rows[-1] != columns[-2]:
        raise FormatError(f"a matrix product of shapes {left} and {right}")
    lead = joint_shape(rows[:-2], columns[:-2])
    result = (*lead, *rows[-2:-1], *columns[-1:])
    if len(left) == 1:
        result = (*lead, *columns[-1:])
    return result if len(right) > 1 else result[:-1]


def matrix_times(asm: Assembler, matrix: Known, value: Computed) -> Value:
    """A constant matrix times a computed value: the transpose of value^T matrix^T."""
    if value.rank == 1:
        turned = matrix if matrix.rank == 1 else swap_last(asm, matrix)
        return times_matrix(asm, value, turned)
    columns = swap_last(asm, value)
    if matrix.rank == 1:
        return times_matrix(asm, columns, matrix)
    product = times_matrix(asm, columns, swap_last(asm, matrix))
    return swap_last(asm, product)


def times_matrix(asm: Assembler, value: Computed, matrix: Known) -> Computed:
    """A computed value (.., T, d) times a constant (.., d, k)."""
    if value.batched and value.rank == 1:
        raise NotRowByRow("a product that sums over the batch axis")
    if matrix.rank == 1:
        column = Known(asm.plain(matrix, "a matrix")[:, None])
        product = times_matrix(asm, value, column)
        return without_axis(product, -1)
    if value.rank == 1:
        product = times_matrix(asm, with_axis(value, 0), matrix)
        return without_axis(product, len(product.shape) - 2)
    if value.batched and matrix.rank > value.rank:
        raise NotRowByRow("a product with a constant of more axes")
    array = asm.plain(matrix, "a matrix")
    if value.batched and matrix.rank == value.rank and matrix.rank > 2:
        if array.shape[0] != 1:
            raise NotRowByRow("a product with a constant that differs along the batch axis")
        array = array[0]
    weight = real_array(array, "a matrix")
    if value.shape[-1] != array.shape[-2]:
        raise FormatError(f"a matrix product of shapes {value.shape} and {array.shape}")
    lead = array.shape[:-2]
    if math.prod(lead) == 1:
        flat = weight.reshape(*array.shape[-2:])
        result = value if len(lead) <= max(0, len(value.shape) - 2) else with_axes(value, lead)
        return shared_matrix(asm, result, flat)
    return many_matrices(asm, value, weight)


def shared_matrix(asm: Assembler, value: Computed, matrix: Constant) -> Computed:
    """Every row (the last axis) of a value times one matrix (d, k): dense, or a 1x1 convolution."""
    d, k = matrix.shape
    lead = value.shape[:-1]
    rows = math.prod(lead)
    check_entries((rows, k), "a matrix product")
    weight = transposed(matrix)
    if rows == 1:
        return asm.linear([(Dense(weight), asm.order(value))], None, (*lead, k), value)
    columns = moved(value, lambda a: a.reshape(rows, d).T)
    part = Conv(kernel=weight.reshape(k, d, 1), space=(rows,), strides=(1,), pads=((0, 0),),
                dilations=(1,))
    made = asm.linear([(part, asm.shaped(columns))], None, (k, rows), value)
    return moved(made, lambda a: a.T.reshape(*lead, k))


def many_matrices(asm: Assembler, value: Computed, matrices: Constant) -> Computed:
    """A matrix for each leading place, as one grouped 1x1 convolution."""
    (T, d), k = value.shape[-2:] if len(value.shape) > 1 else (1, value.shape[-1]), \
        matrices.shape[-1]
    lead = joint_shape(value.shape[:-2], matrices.shape[:-2])
    groups = math.prod(lead)
    check_entries((groups, max(T, d), k), "a matrix product")
    wide = stretched(value, (*lead, T, d))
    columns = moved(wide, lambda a: np.swapaxes(a, -1, -2).reshape(groups * d, T))
    kernel = transposed(broadcast(matrices, (*lead, d, k)).reshape(groups, d, k))
    part = Conv(kernel=kernel.reshape(groups * k, d, 1), space=(T,), strides=(1,),
                pads=((0, 0),), dilations=(1,), groups=groups)
    made = asm.linear([(part, asm.shaped(columns))], None, (groups * k, T), value)
    return moved(
        made, lambda a: np.swapaxes(a.reshape(*lead, k, T), -1, -2)
    )


def transposed(matrices: Constant) -> Constant:
    """The last two axes exchanged."""
    if isinstance(matrices, np.ndarray):
        return np.ascontiguousarray(np.swapaxes(matrices, -1, -2))
    return type(matrices)(np.swapaxes(matrices.numerator, -1, -2), matrices.denominator)


def with_axis(value: Computed, place: int) -> Computed:
    return moved(value, lambda a: np.expand_dims(a, place))


def with_axes(value: Computed, lead: Shape) -> Computed:
    """New leading axes of length 1, as many as a constant of this leading shape asks for."""
    missing = len(lead) - (len(value.shape) - 2)
    return moved(value, lambda a: a.reshape((1,) * missing + a.shape))


def without_axis(value: Computed, place: int) -> Computed:
    return moved(value, lambda a: np.squeeze(a, place))


def gemm(
    asm: Assembler, left: Value, right: Value, shift: Value | None, *, alpha: float = 1.0,
    beta: float = 1.0, turn_left: bool = False, turn_right: bool = False,
) -> Value:
    """alpha A' B' + beta C, with A' and B' matrices, transposed where asked."""
    if left.rank != 2 or right.rank != 2:
        raise FormatError(f"a Gemm of operands with {left.rank} and {right.rank} axes")
    if alpha != 1 or (beta != 1 and shift is not None):
        asm.note(f"{FACTOR_TAKEN} (alpha {alpha:g}, beta {beta:g})")
    left = swap_last(asm, left) if turn_left else left
    product: Value
    if isinstance(right, Known) and isinstance(left, Computed):
        weights = right if alpha == 1 else Known(asm.plain(right, "a matrix"))
        product = scaled_matrix(asm, left, weights, alpha, turn_right)
    else:
        right = swap_last(asm, right) if turn_right else right
        product = matmul(asm, left, right)
        product = product if alpha == 1 else scaled(asm, product, Fraction(alpha))
    if shift is None or beta == 0:
        return product
    if beta != 1 and isinstance(shift, Known) and isinstance(product, Computed):
        numbers = times(asm.numbers(shift, product), Fraction(beta))
        return asm.affine(product, None, numbers)
    return add(asm, product, shift if beta == 1 else scaled(asm, shift, Fraction(beta)))


def scaled_matrix(
    asm: Assembler, value: Computed, matrix: Known, alpha: float, turned: bool
) -> Computed:
    """value times alpha * matrix (transposed where asked), the factor taken into the weights."""
    weights = real_array(asm.plain(matrix, "a matrix"), "a matrix")
    weights = times(weights, Fraction(alpha))
    weights = transposed(weights) if turned else weights
    if value.shape[-1:] != weights.shape[:1]:
        raise FormatError(f"a Gemm of shapes {value.shape} and {weights.shape}")
    if value.batched and len(value.shape) == 0:
        raise NotRowByRow("a product that sums over the batch axis")
    return shared_matrix(asm, value, weights)


def total(
    asm: Assembler, value: Value, axes: Sequence[int] | None, *, keep: bool, mean: bool
) -> Value:
    """The sum (or the mean) over axes of the file; None is all of them."""
    places = axes_of(value, range(value.rank) if axes is None else axes, "a sum")
    if isinstance(value, Known):
        function = np.mean if mean else np.sum
        return fold(lambda a: np.asarray(
            function(a, axis=places, keepdims=keep), dtype=a.dtype), value)
    if mean and value.dtype.kind in "iu":
        raise NotTaken("a mean of computed integers")
    if not places:
        return value
    count = math.prod(value.shape[place] for place in places)
    rest = tuple(n for place, n in enumerate(value.shape) if place not in places)
    kept = tuple(1 if place in places else n for place, n in enumerate(value.shape))
    shape = kept if keep else rest
    if count == 0:
        raise FormatError("a sum over no entries")
    last = moved(value, lambda a: np.moveaxis(a, places, range(-len(places), 0)))
    weight = number_vector(Fraction(1, count if mean else 1), count)
    part = group_sum(math.prod(rest), count, weight)
    return asm.linear([(part, asm.order(last))], None, shape, value)
