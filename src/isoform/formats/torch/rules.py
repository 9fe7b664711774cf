# SPDX-License-Identifier: Apache-2.0
"""torch operators that multiply by weights, pool, normalise and activate."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np

from isoform.assemble import groups, matrix, pointwise, windows
from isoform.assemble.assembler import Assembler, Known, NotTaken, Value
from isoform.assemble.axes import squeeze, swap_last, transpose, unsqueeze
from isoform.assemble.order import compare, extreme, where
from isoform.assemble.windows import Window
from isoform.formats.torch.call import Call, Rule, number, rounded
from isoform.network.operators import Abs, Gelu, HardSwish, LeakyRelu, Round

# --- weights ------------------------------------------------------------------------------------


def linear(asm: Assembler, call: Call) -> Value:
    weight, bias = call.tensor("weight"), call.optional("bias")
    if call.value.rank == 2:
        return matrix.gemm(asm, call.value, weight, bias, turn_right=True)
    product = matrix.matmul(asm, call.value, swap_last(asm, weight))
    return product if bias is None else pointwise.add(asm, product, bias)


def addmm(asm: Assembler, call: Call) -> Value:
    product = matrix.matmul(asm, call.tensor("mat1"), call.tensor("mat2"))
    if call.get("alpha", 1) != 1 or call.get("beta", 1) != 1:
        raise NotTaken("addmm with factors alpha and beta")
    return pointwise.add(asm, product, call.value)


def matmul(asm: Assembler, call: Call) -> Value:
    return matrix.matmul(asm, call.value, call.tensor("mat2" if "mat2" in call.arguments
                                                      else "other"))


def attention(asm: Assembler, call: Call) -> Value:
    """softmax(q k' / sqrt(d)) v."""
    query, key, value = (call.tensor(name) for name in ("query", "key", "value"))
    if call.get("attn_mask") is not None or call.get("is_causal") or call.get("dropout_p"):
        raise NotTaken("attention with a mask or with dropout")
    if query.rank != key.rank or key.rank != value.rank:
        raise NotTaken("attention of operands with different numbers of axes")
    scale = call.get("scale")
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    scores = matrix.matmul(asm, query, swap_last(asm, key))
    scores = pointwise.scaled(asm, scores, Fraction(rounded(scale, query.dtype)))
    return matrix.matmul(asm, groups.softmax(asm, scores, scores.rank - 1), value)


# --- windows ------------------------------------------------------------------------------------


def with_batch(asm: Assembler, value: Value, axes: int) -> tuple[Value, bool]:
    """A value with a batch axis in front of channels and space, and whether it was added."""
    if value.rank == axes + 2:
        return value, False
    if value.rank != axes + 1:
        raise NotTaken(f"a window over {axes} axes of a value with {value.rank}")
    return unsqueeze(asm, value, [0]), True


def convolution(asm: Assembler, call: Call) -> Value:
    kernel, bias = call.tensor("weight"), call.optional("bias")
    size = kernel.shape[2:]
    axes = len(size)
    strides, dilations = (tuple(call.integers(name, axes)) for name in ("stride", "dilation"))
    padding = call["padding"]
    if padding == "same":
        total = [d * (k - 1) for d, k in zip(dilations, size, strict=True)]
        pads = tuple((n // 2, n - n // 2) for n in total)
    elif padding == "valid":
        pads = ((0, 0),) * axes
    else:
        pads = tuple((n, n) for n in call.integers("padding", axes))
    window = Window(size=size, strides=strides, pads=pads, dilations=dilations)
    value, added = with_batch(asm, call.value, axes)
    result = windows.convolve(asm, value, kernel, bias, window, call["groups"])
    return squeeze(asm, result, [0]) if added else result


def transposed_convolution(asm: Assembler, call: Call) -> Value:
    kernel = call.tensor("weight")
    axes = len(kernel.shape) - 2
    window = Window(
        size=kernel.shape[2:], strides=tuple(call.integers("stride", axes)),
        pads=tuple((n, n) for n in call.integers("padding", axes)),
        dilations=tuple(call.integers("dilation", axes)),
    )
    value, added = with_batch(asm, call.value, axes)
    result = windows.convolve_transposed(
        asm, value, kernel, call.optional("bias"), window, groups=call["groups"],
        extra=call.integers("output_padding", axes),
    )
    return squeeze(asm, result, [0]) if added else result


def pool_window(call: Call, axes: int, dilated: bool) -> Window:
    size = tuple(call.integers("kernel_size", axes))
    strides = tuple(call.integers("stride", axes)) or size
    dilations = tuple(call.integers("dilation", axes)) if dilated else (1,) * axes
    pads = tuple((n, n) for n in call.integers("padding", axes))
    return Window(size=size, strides=strides, pads=pads, dilations=dilations)


def max_pool(axes: int) -> Rule:
    def rule(asm: Assembler, call: Call) -> Value:
        value, added = with_batch(asm, call.value, axes)
        window = pool_window(call, axes, dilated=True)
        result = windows.max_pool(asm, value, window, call["ceil_mode"])
        return squeeze(asm, result, [0]) if added else result

    return rule


def average_pool(axes: int) -> Rule:
    def rule(asm: Assembler, call: Call) -> Value:
        if call.get("divisor_override") is not None:
            raise NotTaken("an average pool with its own divisor")
        value, added = with_batch(asm, call.value, axes)
        result = windows.average_pool(
            asm, value, pool_window(call, axes, dilated=False), ceil=call["ceil_mode"],
            count_padding=call["count_include_pad"],
        )
        return squeeze(asm, result, [0]) if added else result

    return rule


def adaptive_pool(axes: int, mean: bool) -> Rule:
    """Pools of equal windows; the mean over all of space where the output is 1."""
    def rule(asm: Assembler, call: Call) -> Value:
        value, added = with_batch(asm, call.value, axes)
        space = value.shape[-axes:]
        wanted = call.integers("output_size", axes)
        if any(n % m for n, m in zip(space, wanted, strict=True)):
            raise NotTaken(f"an adaptive pool from {space} to {wanted}: windows of unequal size")
        size = tuple(n // m for n, m in zip(space, wanted, strict=True))
        window = Window(size=size, strides=size, pads=((0, 0),) * axes, dilations=(1,) * axes)
        if mean:
            result = windows.average_pool(asm, value, window, ceil=False, count_padding=True)
        else:
            result = windows.max_pool(asm, value, window, False)
        return squeeze(asm, result, [0]) if added else result

    return rule


# --- normalisations -----------------------------------------------------------------------------


def batch_normalization(asm: Assembler, call: Call) -> Value:
    if call.get("training"):
        raise NotTaken("batch normalisation in training mode; call module.eval()")
    mean, variance = call.optional("running_mean"), call.optional("running_var")
    if mean is None or variance is None:
        raise NotTaken("batch normalisation without running statistics")
    ones = Known(np.ones(mean.shape, mean.dtype))
    zeros = Known(np.zeros(mean.shape, mean.dtype))
    return groups.batch_normalization(
        asm, call.value, call.optional("weight") or ones, call.optional("bias") or zeros,
        mean, variance, call.real("eps"),
    )


def layer_normalization(asm: Assembler, call: Call) -> Value:
    axis = call.value.rank - len(call.integers("normalized_shape"))
    return groups.layer_normalization(
        asm, call.value, axis, call.optional("weight"), call.optional("bias"), call.real("eps")
    )


# --- activations --------------------------------------------------------------------------------


def same(asm: Assembler, call: Call) -> Value:
    return call.value


def dropout(asm: Assembler, call: Call) -> Value:
    if call.get("train"):
        raise NotTaken("dropout in training mode; call module.eval()")
    return call.value


def opaque(name: str) -> Rule:
    return lambda asm, call: pointwise.opaque(asm, name, call.value)


def leaky_relu(asm: Assembler, call: Call) -> Value:
    return pointwise.unary(asm, LeakyRelu(call.real("negative_slope")), call.value)


def prelu(asm: Assembler, call: Call) -> Value:
    """One slope, or one a channel (axis 1)."""
    slope, value = call.tensor("weight"), call.value
    if isinstance(slope, Known) and slope.array.size > 1 and value.rank > 2:
        slope = Known(slope.array.reshape(-1, *(1,) * (value.rank - 2)))
    return pointwise.parametric_relu(asm, value, slope)


def clamp(asm: Assembler, call: Call) -> Value:
    bounds = []
    for names in (("min", "min_val"), ("max", "max_val")):
        found = next((call[n] for n in names if call.get(n) is not None), None)
        if isinstance(found, Value):
            raise NotTaken("a clamp between tensors")
        bounds.append(None if found is None else rounded(found, call.value.dtype))
    return pointwise.clip(asm, call.value, *bounds)


def hard_sigmoid(asm: Assembler, call: Call) -> Value:
    """min(max(z + 3, 0), 6) / 6, with one sixth the rational."""
    moved = pointwise.add(asm, call.value, number(3, call.value.dtype))
    return pointwise.scaled(asm, pointwise.clip(asm, moved, 0.0, 6.0), Fraction(1, 6))


def gelu(asm: Assembler, call: Call) -> Value:
    asm.note("the roots in Gelu are the nearest dyadic numbers with 81 bits")
    return pointwise.unary(asm, Gelu(call.get("approximate", "none") == "tanh"), call.value)


def silu(asm: Assembler, call: Call) -> Value:
    return pointwise.multiply(asm, call.value, pointwise.opaque(asm, "sigmoid", call.value))


def softplus(asm: Assembler, call: Call) -> Value:
    """softplus(beta z) / beta; torch is linear above the threshold, which only floats can see."""
    beta = Fraction(call.real("beta"))
    inner = pointwise.scaled(asm, call.value, beta)
    asm.note("softplus without its threshold")
    return pointwise.scaled(asm, pointwise.opaque(asm, "softplus", inner), 1 / beta)


def elu(asm: Assembler, call: Call) -> Value:
    """relu(z) + alpha (exp(min(z, 0)) - 1)."""
    if call.real("scale") != 1 or call.real("input_scale") != 1:
        raise NotTaken("an ELU with scales")
    below = pointwise.clip(asm, call.value, None, 0.0)
    curve = pointwise.opaque(asm, "exp", below)
    curve = pointwise.subtract(asm, curve, number(1, call.value.dtype))
    curve = pointwise.scaled(asm, curve, Fraction(call.real("alpha")))
    return pointwise.add(asm, pointwise.relu(asm, call.value), curve)


def softmax(asm: Assembler, call: Call) -> Value:
    return groups.softmax(asm, call.value, call.integer("dim"))


def log_softmax(asm: Assembler, call: Call) -> Value:
    return pointwise.opaque(asm, "log", softmax(asm, call))


# --- arithmetic ---------------------------------------------------------------------------------


def arithmetic(operation: Any, reverse: bool = False) -> Rule:
    """add, subtract: self + alpha other."""
    def rule(asm: Assembler, call: Call) -> Value:
        left, right = call.value, call.tensor("other")
        factor = rounded(call.get("alpha", 1), left.dtype)
        if reverse:
            left, right = right, left
        if factor != 1:
            if reverse:
                raise NotTaken("rsub with a factor")
            right = pointwise.scaled(asm, right, Fraction(factor))
        return operation(asm, left, right)

    return rule


def divide(asm: Assembler, call: Call) -> Value:
    if call.get("rounding_mode") is not None:
        raise NotTaken("a division that rounds")
    return pointwise.divide(asm, call.value, call.tensor("other"))


def power(asm: Assembler, call: Call) -> Value:
    return pointwise.power(asm, call.value, call.tensor("exponent"))


def square_root_below(asm: Assembler, call: Call) -> Value:
    root = pointwise.opaque(asm, "sqrt", call.value)
    return pointwise.opaque(asm, "reciprocal", root)


def compared(relation: str) -> Rule:
    return lambda asm, call: compare(asm, relation, call.value, call.tensor("other"))


def chosen(asm: Assembler, call: Call) -> Value:
    left, right = call["self"], call["other"]
    dtype = next((v.dtype for v in (left, right) if isinstance(v, Value)), np.dtype(np.float32))
    left, right = (v if isinstance(v, Value) else number(v, dtype) for v in (left, right))
    return where(asm, call.tensor("condition"), left, right)


def total(mean: bool) -> Rule:
    def rule(asm: Assembler, call: Call) -> Value:
        axes = call.get("dim")
        axes = None if axes is None or axes == [] else call.integers("dim")
        return matrix.total(asm, call.value, axes, keep=bool(call.get("keepdim")), mean=mean)

    return rule


def reduced(largest: bool) -> Rule:
    def rule(asm: Assembler, call: Call) -> Any:
        if call.get("other") is not None:
            return extreme(asm, [call.value, call.tensor("other")], largest)
        axes = call.get("dim")
        axes = None if axes is None or axes == [] else call.integers("dim")
        keep = bool(call.get("keepdim"))
        result = groups.reduce_extreme(asm, call.value, axes, keep=keep, largest=largest)
        if call.overload != "dim":
            return result
        place = groups.position_of_extreme(
            asm, call.value, call.integer("dim"), largest=largest, keep=keep, last=False
        )
        return [result, place]

    return rule


def position(largest: bool) -> Rule:
    def rule(asm: Assembler, call: Call) -> Value:
        if call["dim"] is None:
            raise NotTaken("a position over all axes")
        return groups.position_of_extreme(
            asm, call.value, call.integer("dim"), largest=largest, keep=call["keepdim"], last=False
        )

    return rule


def round_even(asm: Assembler, call: Call) -> Value:
    """The nearest integer, ties to even."""
    if call.get("decimals"):
        raise NotTaken("rounding to decimals")
    return pointwise.unary(asm, Round(), call.value)


def permuted(asm: Assembler, call: Call) -> Value:
    rank = call.value.rank
    return transpose(asm, call.value, [axis % rank for axis in call.integers("dims")])


RULES: dict[str, Rule] = {
    "linear": linear, "addmm": addmm, "matmul": matmul, "mm": matmul, "bmm": matmul,
    "scaled_dot_product_attention": attention,
    "conv1d": convolution, "conv2d": convolution, "conv3d": convolution,
    "conv_transpose1d": transposed_convolution, "conv_transpose2d": transposed_convolution,
    "max_pool1d": max_pool(1), "max_pool2d": max_pool(2), "max_pool3d": max_pool(3),
    "avg_pool1d": average_pool(1), "avg_pool2d": average_pool(2), "avg_pool3d": average_pool(3),
    "adaptive_avg_pool1d": adaptive_pool(1, True), "adaptive_avg_pool2d": adaptive_pool(2, True),
    "batch_norm": batch_normalization, "layer_norm": layer_normalization,
    "relu": lambda asm, call: pointwise.relu(asm, call.value),
    "round": round_even,
    "relu6": lambda asm, call: pointwise.clip(asm, call.value, 0.0, 6.0),
    "leaky_relu": leaky_relu, "prelu": prelu, "clamp": clamp, "clamp_min": clamp,
    "clamp_max": clamp, "hardtanh": clamp, "hardsigmoid": hard_sigmoid,
    "hardswish": lambda asm, call: pointwise.unary(asm, HardSwish(), call.value),
    "abs": lambda asm, call: pointwise.unary(asm, Abs(), call.value),
    "gelu": gelu, "silu": silu, "softplus": softplus, "elu": elu,
    "softmax": softmax, "_softmax": softmax, "log_softmax": log_softmax,
    **{name: opaque(name) for name in ("exp", "log", "sqrt", "reciprocal", "tanh", "sigmoid",
                                       "erf", "sin", "cos")},
    "rsqrt": square_root_below,
    "neg": lambda asm, call: pointwise.negative(asm, call.value),
    "add": arithmetic(pointwise.add), "sub": arithmetic(pointwise.subtract),
    "rsub": arithmetic(pointwise.subtract, reverse=True),
    "mul": arithmetic(pointwise.multiply), "div": divide, "pow": power,
    "square": lambda asm, call: pointwise.multiply(asm, call.value, call.value),
    "gt": compared(">"), "ge": compared(">="), "lt": compared("<"), "le": compared("<="),
    "eq": compared("=="), "where": chosen,
    "sum": total(False), "mean": total(True), "amax": reduced(True), "amin": reduced(False),
    "max": reduced(True), "min": reduced(False), "maximum": reduced(True),
    "minimum": reduced(False), "argmax": position(True), "argmin": position(False),
    "dropout": dropout, "feature_dropout": dropout, "alpha_dropout": dropout,
    "permute": permuted,
    **dict.fromkeys(("contiguous", "clone", "detach", "detach_", "alias", "lift_fresh_copy",
                     "identity"), same),
}
