# SPDX-License-Identifier: Apache-2.0
"""ONNX operators that multiply by weights, pool, sum and normalise."""

from __future__ import annotations

import numpy as np

from isoform.assemble import groups, matrix, pointwise, windows
from isoform.assemble.assembler import Assembler, Known, NotTaken, Value, fold
from isoform.assemble.axes import unsqueeze
from isoform.assemble.windows import Window
from isoform.errors import FormatError
from isoform.formats.onnx.node import OnnxNode, Rule
from isoform.network.operators import Abs


def gemm(asm: Assembler, node: OnnxNode) -> Value:
    return matrix.gemm(
        asm, node.value(0), node.value(1), node.optional(2),
        alpha=node.number("alpha", 1.0), beta=node.number("beta", 1.0),
        turn_left=node.flag("transA"), turn_right=node.flag("transB"),
    )


def matmul(asm: Assembler, node: OnnxNode) -> Value:
    return matrix.matmul(asm, node.value(0), node.value(1))


# --- windows ------------------------------------------------------------------------------------


def space_of(value: Value) -> tuple[int, ...]:
    """Spatial sizes of a value (batch, channels, *space)."""
    if value.rank < 3:
        raise FormatError(f"a window on a value with {value.rank} axes")
    return value.shape[2 - (value.rank - len(value.shape)):]


def window_of(node: OnnxNode, value: Value, size: tuple[int, ...]) -> Window:
    """Strides, pads and dilations of a node, with `auto_pad` worked out."""
    space = space_of(value)
    axes = len(space)
    if len(size) != axes:
        raise FormatError(f"a window of {len(size)} axes on space {space}")
    strides = tuple(node.integers("strides") or [1] * axes)
    dilations = tuple(node.integers("dilations") or [1] * axes)
    given = node.integers("pads") or [0] * (2 * axes)
    if not len(strides) == len(dilations) == axes or len(given) != 2 * axes:
        raise FormatError(f"strides, dilations or pads do not fit space {space}")
    if min((*strides, *dilations, *size)) < 1:
        raise FormatError("kernel, strides and dilations are at least 1")
    pads = tuple(zip(given[:axes], given[axes:], strict=True))
    mode = node.text("auto_pad", "NOTSET")
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        pads = tuple(
            same_pads(n, k, stride, dilation, mode == "SAME_UPPER")
            for n, k, stride, dilation in zip(space, size, strides, dilations, strict=True)
        )
    elif mode == "VALID":
        pads = ((0, 0),) * axes
    elif mode != "NOTSET":
        raise FormatError(f"auto_pad is {mode!r}")
    return Window(size=size, strides=strides, pads=pads, dilations=dilations)


def same_pads(n: int, k: int, stride: int, dilation: int, upper: bool) -> tuple[int, int]:
    """Pads that give ceil(n / stride) results; an odd one goes after (upper) or before."""
    more = max(0, (-(-n // stride) - 1) * stride + (k - 1) * dilation + 1 - n)
    return (more // 2, more - more // 2) if upper else (more - more // 2, more // 2)


def kernel_size(node: OnnxNode, kernel: Value) -> tuple[int, ...]:
    given = node.integers("kernel_shape")
    if given is not None and tuple(given) != kernel.shape[2:]:
        raise FormatError(f"kernel_shape {given} with weights of shape {kernel.shape}")
    return kernel.shape[2:]


def convolution(asm: Assembler, node: OnnxNode) -> Value:
    value, kernel = node.value(0), node.value(1)
    window = window_of(node, value, kernel_size(node, kernel))
    return windows.convolve(
        asm, value, kernel, node.optional(2), window, node.integer("group", 1)
    )


def transposed_convolution(asm: Assembler, node: OnnxNode) -> Value:
    value, kernel = node.value(0), node.value(1)
    size = kernel_size(node, kernel)
    space, axes = space_of(value), len(size)
    extra = node.integers("output_padding") or [0] * axes
    if len(extra) != axes or min(extra, default=0) < 0:
        raise FormatError(f"output_padding {extra}")
    mode = node.text("auto_pad", "NOTSET")
    wanted = node.integers("output_shape")
    if wanted is None and mode in ("NOTSET", "VALID"):
        window = window_of(node, value, size)
    elif mode in ("NOTSET", "SAME_UPPER", "SAME_LOWER"):
        window = pads_for(node, space, size, wanted, extra)
    else:
        raise NotTaken(f"auto_pad {mode!r} with an output_shape")
    return windows.convolve_transposed(
        asm, value, kernel, node.optional(2), window, groups=node.integer("group", 1), extra=extra
    )


def pads_for(
    node: OnnxNode, space: tuple[int, ...], size: tuple[int, ...], wanted: list[int] | None,
    extra: list[int],
) -> Window:
    """Pads of a transposed convolution whose result has a wanted shape (stride times n for
    SAME)."""
    axes = len(size)
    strides = tuple(node.integers("strides") or [1] * axes)
    dilations = tuple(node.integers("dilations") or [1] * axes)
    if len(strides) != axes or len(dilations) != axes or len(space) != axes:
        raise FormatError("strides or dilations do not fit the kernel")
    target = [n * s for n, s in zip(space, strides, strict=True)] if wanted is None \
        else wanted[-axes:]
    upper = node.text("auto_pad", "NOTSET") == "SAME_UPPER"
    pads = []
    for n, s, k, d, e, out in zip(
        space, strides, size, dilations, extra, target, strict=True
    ):
        more = s * (n - 1) + e + (k - 1) * d + 1 - out
        if more < 0:
            raise NotTaken(f"an output_shape {target} beyond the reach of the kernel")
        half = more // 2
        pads.append((half, more - half) if upper else (more - half, half))
    return Window(size=size, strides=strides, pads=tuple(pads), dilations=dilations)


def pool_size(node: OnnxNode) -> tuple[int, ...]:
    size = node.integers("kernel_shape")
    if not size:
        raise FormatError("attribute 'kernel_shape' is missing")
    return tuple(size)


def max_pool(asm: Assembler, node: OnnxNode) -> Value:
    node.only_first_output("indices")
    window = window_of(node, node.value(0), pool_size(node))
    return windows.max_pool(asm, node.value(0), window, node.flag("ceil_mode"))


def average_pool(asm: Assembler, node: OnnxNode) -> Value:
    window = window_of(node, node.value(0), pool_size(node))
    return windows.average_pool(
        asm, node.value(0), window, ceil=node.flag("ceil_mode"),
        count_padding=node.flag("count_include_pad"),
    )


def global_mean(asm: Assembler, node: OnnxNode) -> Value:
    value = node.value(0)
    space_of(value)
    return matrix.total(asm, value, range(2, value.rank), keep=True, mean=True)


def global_max(asm: Assembler, node: OnnxNode) -> Value:
    value = node.value(0)
    space_of(value)
    return groups.reduce_extreme(asm, value, range(2, value.rank), keep=True, largest=True)


# --- sums and extremes over axes ----------------------------------------------------------------


def reduced_axes(asm: Assembler, node: OnnxNode, since: int) -> tuple[list[int] | None, bool]:
    """(axes or None for all, whether nothing is to be done)."""
    places = node.integers_since(asm, since, "axes", 1)
    if places:
        return places, False
    return None, node.flag("noop_with_empty_axes")


def reduction(name: str) -> Rule:
    since = 13 if name == "ReduceSum" else 18

    def rule(asm: Assembler, node: OnnxNode) -> Value:
        places, nothing = reduced_axes(asm, node, since)
        keep = node.flag("keepdims", 1)
        value = node.value(0)
        before, after = AROUND.get(name, (None, None))
        if before is not None:
            value = before(asm, value)
        if not nothing:
            if name in ("ReduceMax", "ReduceMin"):
                value = groups.reduce_extreme(
                    asm, value, places, keep=keep, largest=name == "ReduceMax"
                )
            else:
                value = matrix.total(asm, value, places, keep=keep, mean=name == "ReduceMean")
        return value if after is None else after(asm, value)

    return rule


def squared(asm: Assembler, value: Value) -> Value:
    return pointwise.multiply(asm, value, value)


def magnitude(asm: Assembler, value: Value) -> Value:
    return fold(np.abs, value) if isinstance(value, Known) else pointwise.unary(asm, Abs(), value)


def root(asm: Assembler, value: Value) -> Value:
    return pointwise.opaque(asm, "sqrt", value)


def exponential(asm: Assembler, value: Value) -> Value:
    return pointwise.opaque(asm, "exp", value)


def logarithm(asm: Assembler, value: Value) -> Value:
    return pointwise.opaque(asm, "log", value)


AROUND = {
    "ReduceL1": (magnitude, None),
    "ReduceL2": (squared, root),
    "ReduceSumSquare": (squared, None),
    "ReduceLogSum": (None, logarithm),
    "ReduceLogSumExp": (exponential, logarithm),
}


def position(largest: bool) -> Rule:
    return lambda asm, node: groups.position_of_extreme(
        asm, node.value(0), node.integer("axis", 0), largest=largest,
        keep=node.flag("keepdims", 1), last=node.flag("select_last_index"),
    )


# --- normalisations -----------------------------------------------------------------------------


def softmax(asm: Assembler, node: OnnxNode) -> Value:
    if node.opset < 13:  # over all axes from `axis` on
        return groups.softmax_of_rest(asm, node.value(0), node.integer("axis", 1))
    return groups.softmax(asm, node.value(0), node.integer("axis", -1))


def log_softmax(asm: Assembler, node: OnnxNode) -> Value:
    return logarithm(asm, softmax(asm, node))


def batch_normalization(asm: Assembler, node: OnnxNode) -> Value:
    if node.flag("training_mode") or len(node.outputs) > 1 and any(node.outputs[1:]):
        raise NotTaken("training mode: it normalises over the batch")
    if not node.flag("spatial", 1):
        raise NotTaken("statistics of every entry (spatial = 0)")
    value, scale, shift, mean, variance = (node.value(position) for position in range(5))
    return groups.batch_normalization(
        asm, value, scale, shift, mean, variance, node.number("epsilon", 1e-5)
    )


def layer_normalization(asm: Assembler, node: OnnxNode) -> Value:
    node.only_first_output("mean and deviation")
    return groups.layer_normalization(
        asm, node.value(0), node.integer("axis", -1), node.optional(1), node.optional(2),
        node.number("epsilon", 1e-5),
    )


def instance_normalization(asm: Assembler, node: OnnxNode) -> Value:
    """Every channel of every row normalised over space, then scaled and shifted."""
    value = node.value(0)
    space = space_of(value)
    made = groups.layer_normalization(asm, value, 2, None, None, node.number("epsilon", 1e-5))
    scale, shift = (
        unsqueeze(asm, node.value(k), range(1, 1 + len(space))) for k in (1, 2)
    )
    return pointwise.add(asm, pointwise.multiply(asm, made, scale), shift)


LINEAR: dict[str, Rule] = {
    "Gemm": gemm,
    "MatMul": matmul,
    "Conv": convolution,
    "ConvTranspose": transposed_convolution,
    "MaxPool": max_pool,
    "AveragePool": average_pool,
    "GlobalAveragePool": global_mean,
    "GlobalMaxPool": global_max,
    "ArgMax": position(True),
    "ArgMin": position(False),
    "Softmax": softmax,
    "LogSoftmax": log_softmax,
    "BatchNormalization": batch_normalization,
    "LayerNormalization": layer_normalization,
    "InstanceNormalization": instance_normalization,
} | {
    name: reduction(name)
    for name in ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", *AROUND)
}
