# SPDX-License-Identifier: Apache-2.0
"""ONNX operators of quantised files: integers for real numbers, q for (q - zero point) scale.

On constants they are folded with numpy's semantics, as runtimes fold them. On computed values they
mean real functions: quantising is round(z / scale) + zero point with ties to even, saturated; the
operators on quantised operands (QLinear...) dequantise, compute and quantise once, with the exact
rational factor, where a runtime multiplies by a rounded one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from isoform.assemble import groups, matrix, pointwise, windows
from isoform.assemble.assembler import Assembler, Computed, Known, NotTaken, Value, as_typed, fold
from isoform.assemble.axes import axis_of, swap_last
from isoform.assemble.joins import concat
from isoform.errors import FormatError
from isoform.formats.onnx import integers
from isoform.formats.onnx.node import OnnxNode, Rule
from isoform.formats.onnx.rules_linear import kernel_size, pool_size, space_of, window_of
from isoform.formats.onnx.tensors import numpy_type
from isoform.network.constants import real_array, tidy
from isoform.network.linear_map import exact
from isoform.network.operators import LeakyRelu, Quantize
from isoform.numerics.exact import Exact

NOTE = "quantising is rounding half to even with saturation, over the reals"
LARGEST_SUM = 2**31 - 1  # of products, in the operators that add up to int32
INTEGERS = ("int8", "uint8", "int16", "uint16", "int32")


def fixed(asm: Assembler, node: OnnxNode, position: int, what: str) -> np.ndarray | None:
    """A constant operand; None where it is left out."""
    value = node.optional(position)
    if value is None:
        return None
    if isinstance(value, Computed):
        raise NotTaken(f"{what} is computed from the input; only fixed ones are read (quantise "
                       "statically, with calibration data)")
    return asm.plain(value, what)


def scale_of(asm: Assembler, node: OnnxNode, position: int) -> np.ndarray:
    """The numbers by which integers are multiplied, none of them zero."""
    scale = fixed(asm, node, position, "a scale")
    if scale is None:
        raise FormatError(f"operand {position}, a scale, is missing")
    if scale.dtype.kind not in "fV" or not np.all(scale):
        raise FormatError(f"a scale of type {scale.dtype} or of zero")
    real_array(scale, "a scale")
    return scale


def point_of(asm: Assembler, node: OnnxNode, position: int, dtype: np.dtype) -> np.ndarray:
    """The integers that stand for zero, of the type of what they belong to; 0 if left out."""
    point = fixed(asm, node, position, "a zero point")
    if point is None:
        return np.zeros((), dtype)
    if point.dtype != dtype or dtype.name not in INTEGERS:
        raise FormatError(f"a zero point of type {point.dtype} beside values of type {dtype}")
    return point


def along(value: Value, numbers: np.ndarray, axis: int) -> np.ndarray:
    """One number for all entries, or one for each place of an axis of the file, to broadcast."""
    if numbers.size == 1:
        return numbers.reshape(())
    if numbers.ndim != 1:
        raise NotTaken(f"scales of shape {numbers.shape}: one for all entries, or one for each "
                       "place of an axis, is read")
    place = axis_of(value, axis, "scales that differ")
    if value.shape[place] != numbers.size:
        raise FormatError(f"{numbers.size} scales for an axis of length {value.shape[place]}")
    return numbers.reshape([-1 if k == place else 1 for k in range(len(value.shape))])


# --- both ways ----------------------------------------------------------------------------------


def quantised(
    asm: Assembler, value: Value, scale: np.ndarray, point: np.ndarray, axis: int = 1
) -> Value:
    """The integers that stand for a value, of the type of the zero point."""
    ends = np.iinfo(point.dtype)
    scale, point = along(value, scale, axis), along(value, point, axis)
    if isinstance(value, Known):
        return fold(lambda a: folded_integers(a, scale, point), value)
    asm.note(NOTE)
    held = requantised(asm, value, scale, point)
    if held is not None:
        return held
    operator = Quantize(scale=as_constant(scale), zero_point=point.astype(np.float32),
                        low=int(ends.min), high=int(ends.max))
    if scale.size == point.size == 1:
        made = asm.entrywise(operator, value)
    else:
        made = asm.place(operator, (asm.shaped(value),), value.shape, value)
    return as_typed(made, point.dtype)


def requantised(
    asm: Assembler, value: Computed, scale: np.ndarray, point: np.ndarray
) -> Computed | None:
    """The integers of a value that was dequantised with these numbers; None where it was not."""
    if scale.size != 1 or point.size != 1 or value.index.min(initial=0) < 0:
        return None
    factor, ends = integers.single(as_constant(scale)), np.iinfo(point.dtype)
    if factor <= 0:
        return None
    found = integers.integers_behind(
        asm, value.source, factor, int(point.reshape(())), (int(ends.min), int(ends.max))
    )
    if found is None:
        return None
    return Computed(found, value.index, value.batched, point.dtype)


def folded_integers(array: np.ndarray, scale: np.ndarray, point: np.ndarray) -> np.ndarray:
    """What a runtime makes of constants: the quotient in the type of the operand."""
    whole = np.rint(np.divide(array, scale, dtype=scale.dtype)).astype(np.float64)
    ends = np.iinfo(point.dtype)
    return np.clip(whole + point, ends.min, ends.max).astype(point.dtype)


def as_constant(array: np.ndarray) -> np.ndarray:
    constant = real_array(array, "a scale")
    assert isinstance(constant, np.ndarray)
    return constant


def dequantised(
    asm: Assembler, value: Value, scale: np.ndarray, point: np.ndarray, axis: int = 1
) -> Value:
    """(q - zero point) scale; constants are folded in the type of the scale."""
    if value.dtype.name not in INTEGERS:
        raise NotTaken(f"integers of type {value.dtype}")
    scale, point = along(value, scale, axis), along(value, point, axis)
    if isinstance(value, Known):
        return fold(lambda a: (a.astype(np.int64) - point).astype(scale.dtype) * scale, value)
    return as_typed(shifted(asm, value, scale, point), scale.dtype)


def shifted(
    asm: Assembler, value: Computed, scale: np.ndarray, point: np.ndarray
) -> Computed:
    """(q - zero point) scale of a computed value, exactly."""
    factor = as_constant(scale)
    return asm.affine(value, factor, tidy(-(exact(factor) * Exact.of(point))))


def real_operand(
    asm: Assembler, node: OnnxNode, position: int, axis: int | None = None
) -> Value:
    """What the operand at a place, with scale and zero point in the two places behind it, stands
    for: constants as float64, which holds products of small integers and a float32 exactly. axis:
    along which the scales may differ; None where one is for all entries."""
    value = node.value(position)
    if value.dtype.name not in INTEGERS:
        raise FormatError(f"operand {position} is of type {value.dtype}, no small integer")
    scale = scale_of(asm, node, position + 1)
    point = point_of(asm, node, position + 2, value.dtype)
    if axis is None and max(scale.size, point.size) > 1:
        raise NotTaken(f"several scales for operand {position}")
    scale, point = along(value, scale, axis or 0), along(value, point, axis or 0)
    if isinstance(value, Computed):
        return as_typed(shifted(asm, value, scale, point), np.float32)
    if value.dtype == np.int32:
        raise NotTaken("weights of type int32")
    return fold(lambda a: (a.astype(np.float64) - point) * scale.astype(np.float64), value)


def result(asm: Assembler, node: OnnxNode, value: Value, position: int) -> Value:
    """A real value quantised by the scale and the zero point at a place, which give its type."""
    scale = scale_of(asm, node, position)
    point = fixed(asm, node, position + 1, "a zero point")
    point = np.zeros((), np.uint8) if point is None else point
    if point.dtype.name not in INTEGERS or max(scale.size, point.size) > 1:
        raise NotTaken(f"a result with {scale.size} scales and zero points of type {point.dtype}")
    return quantised(asm, pointwise.live(asm, value), scale, point)


def quantize_linear(asm: Assembler, node: OnnxNode) -> Value:
    if node.integer("block_size", 0):
        raise NotTaken("scales for blocks of entries")
    point = fixed(asm, node, 2, "a zero point")
    asked = node.integer("output_dtype", 0)
    if point is None:
        point = np.zeros((), numpy_type(asked) if asked else np.uint8)
    elif asked and numpy_type(asked) != point.dtype:
        raise FormatError(f"output_dtype is another type than {point.dtype}, the zero point's")
    if point.dtype.name not in INTEGERS:
        raise NotTaken(f"quantising to {point.dtype}")
    scale = scale_of(asm, node, 1)
    if scale.size > 1 and point.size == 1:
        point = np.broadcast_to(point.reshape(-1), scale.shape)
    return quantised(asm, node.value(0), scale, point, node.integer("axis", 1))


def dequantize_linear(asm: Assembler, node: OnnxNode) -> Value:
    if node.integer("block_size", 0):
        raise NotTaken("scales for blocks of entries")
    value = node.value(0)
    point = point_of(asm, node, 2, value.dtype)
    return dequantised(asm, value, scale_of(asm, node, 1), point, node.integer("axis", 1))


# --- products of integers -----------------------------------------------------------------------


def offset(asm: Assembler, node: OnnxNode, position: int, point: int, axis: int) -> Value:
    """An integer operand less its zero point, as reals."""
    value = node.value(position)
    zero = along(value, point_of(asm, node, point, value.dtype), axis)
    if isinstance(value, Known):
        return fold(lambda a: (a.astype(np.int64) - zero).astype(np.float64), value)
    return as_typed(shifted(asm, value, np.ones((), np.float32), zero), np.float32)


def whole_sum(value: Value, weights: Value, terms: int) -> Value:
    """The result of a sum of products in int32; NotTaken where it might not fit."""
    if isinstance(weights, Known):
        check_sum(terms, int(np.abs(weights.array).max(initial=0)))
    else:
        check_sum(terms)
    return fold(lambda a: a.astype(np.int32), value) if isinstance(value, Known) \
        else as_typed(value, np.int32)


def check_sum(terms: int, largest: int = 255, more: int = 0) -> None:
    """NotTaken where a sum of so many products of bytes with numbers up to `largest`, and a number
    up to `more`, might leave int32."""
    if terms * 255 * largest + more > LARGEST_SUM:
        raise NotTaken(f"a sum of {terms:,} products may leave int32, where runtimes wrap around")


def matmul_integer(asm: Assembler, node: OnnxNode) -> Value:
    left, right = offset(asm, node, 0, 2, -2), offset(asm, node, 1, 3, -1)
    return whole_sum(matrix.matmul(asm, left, right), right, summed(right))


def summed(right: Value) -> int:
    """How many products an entry of a matrix product adds up."""
    return right.shape[0 if len(right.shape) == 1 else -2]


def conv_integer(asm: Assembler, node: OnnxNode) -> Value:
    value, kernel = offset(asm, node, 0, 2, 1), offset(asm, node, 1, 3, 0)
    window = window_of(node, value, kernel_size(node, kernel))
    made = windows.convolve(asm, value, kernel, None, window, node.integer("group", 1))
    return whole_sum(made, kernel, int(np.prod(kernel.shape[1:])))


# --- operators on quantised operands ------------------------------------------------------------


def with_bias(
    asm: Assembler, node: OnnxNode, value: Value, position: int, scales: Sequence[np.ndarray],
    places: int, terms: int,
) -> Value:
    """Adds an int32 bias, an integer times the product of the scales of what was multiplied, to a
    sum of `terms` products; `places` axes stand behind the one that it runs along."""
    bias = fixed(asm, node, position, "a bias")
    check_sum(terms, more=0 if bias is None else int(np.abs(bias.astype(np.int64)).max(initial=0)))
    if bias is None:
        return value
    if bias.dtype != np.int32 or bias.ndim > 1 + (places == 0):
        raise FormatError(f"a bias of type {bias.dtype} and shape {bias.shape}")
    numbers = Exact.of(bias)
    for scale in scales:
        numbers = numbers * exact(as_constant(scale.reshape(-1) if scale.size > 1 else
                                              scale.reshape(())))
    shape = (*numbers.shape, *([1] * places))
    return asm.affine(pointwise.live(asm, value), None, tidy(numbers.reshape(*shape)))


def qlinear_matmul(asm: Assembler, node: OnnxNode) -> Value:
    left, right = real_operand(asm, node, 0), real_operand(asm, node, 3, -1)
    check_sum(summed(right))
    return result(asm, node, matrix.matmul(asm, left, right), 6)


def qlinear_conv(asm: Assembler, node: OnnxNode) -> Value:
    value, kernel = real_operand(asm, node, 0), real_operand(asm, node, 3, 0)
    window = window_of(node, value, kernel_size(node, kernel))
    made = windows.convolve(asm, value, kernel, None, window, node.integer("group", 1))
    scales = [scale_of(asm, node, position) for position in (1, 4)]
    terms = int(np.prod(kernel.shape[1:]))
    made = with_bias(asm, node, made, 8, scales, len(space_of(value)), terms)
    return result(asm, node, made, 6)


def q_gemm(asm: Assembler, node: OnnxNode) -> Value:
    turned = node.flag("transB")
    left, right = real_operand(asm, node, 0), real_operand(asm, node, 3, 0 if turned else 1)
    alpha = node.number("alpha", 1.0)
    right = swap_last(asm, right) if turned else right
    product = matrix.gemm(asm, left, right, None, alpha=alpha, turn_left=node.flag("transA"))
    scales = [scale_of(asm, node, position) for position in (1, 4)]
    made = with_bias(asm, node, product, 6, [*scales, np.array(alpha)], 0, summed(right))
    return made if node.optional(7) is None else result(asm, node, made, 7)


def pairwise(function: Callable[[Assembler, Value, Value], Value]) -> Rule:
    return lambda asm, node: result(
        asm, node, function(asm, real_operand(asm, node, 0), real_operand(asm, node, 3)), 6
    )


def single(function: Callable[[Assembler, OnnxNode, Value], Value]) -> Rule:
    return lambda asm, node: result(asm, node, function(asm, node, real_operand(asm, node, 0)), 3)


def channels_first(node: OnnxNode) -> None:
    if node.flag("channels_last"):
        raise NotTaken("channels behind space (channels_last)")


def global_mean(asm: Assembler, node: OnnxNode, value: Value) -> Value:
    channels_first(node)
    return matrix.total(asm, value, range(2, 2 + len(space_of(value))), keep=True, mean=True)


def average_pool(asm: Assembler, node: OnnxNode, value: Value) -> Value:
    channels_first(node)
    return windows.average_pool(
        asm, value, window_of(node, value, pool_size(node)), ceil=node.flag("ceil_mode"),
        count_padding=node.flag("count_include_pad"),
    )


def leaky(asm: Assembler, node: OnnxNode, value: Value) -> Value:
    return pointwise.unary(asm, LeakyRelu(node.number("alpha", 0.01)), value)


def softmax(asm: Assembler, node: OnnxNode, value: Value) -> Value:
    if node.integer("opset") < 13:
        return groups.softmax_of_rest(asm, value, node.integer("axis", 1))
    return groups.softmax(asm, value, node.integer("axis", -1))


def qlinear_concat(asm: Assembler, node: OnnxNode) -> Value:
    """Scale and zero point of the result come first, then three operands a part."""
    if len(node.inputs) < 5 or len(node.inputs) % 3 != 2:
        raise FormatError(f"{len(node.inputs)} operands: two, then three for each part")
    parts = [real_operand(asm, node, at) for at in range(2, len(node.inputs), 3)]
    return result(asm, node, concat(asm, parts, node.integer("axis")), 0)


def refused(why: str) -> Rule:
    def rule(asm: Assembler, node: OnnxNode) -> Value:
        raise NotTaken(why)

    return rule


QUANTISED: dict[str, Rule] = {
    "QuantizeLinear": quantize_linear,
    "DequantizeLinear": dequantize_linear,
    "MatMulInteger": matmul_integer,
    "ConvInteger": conv_integer,
    "QLinearMatMul": qlinear_matmul,
    "QLinearConv": qlinear_conv,
    "DynamicQuantizeLinear": refused(
        "its scale hangs on the largest entry of its operand, so it is no fixed rounding; quantise "
        "statically, with calibration data"
    ),
}
# Operators of onnxruntime's own domain with a clear meaning.
CONTRIBUTED: dict[str, Rule] = {
    "QuantizeLinear": quantize_linear,
    "DequantizeLinear": dequantize_linear,
    "QGemm": q_gemm,
    "QLinearAdd": pairwise(pointwise.add),
    "QLinearMul": pairwise(pointwise.multiply),
    "QLinearConcat": qlinear_concat,
    "QLinearGlobalAveragePool": single(global_mean),
    "QLinearAveragePool": single(average_pool),
    "QLinearLeakyRelu": single(leaky),
    "QLinearSigmoid": single(lambda asm, node, value: pointwise.opaque(asm, "sigmoid", value)),
    "QLinearSoftmax": single(softmax),
}
