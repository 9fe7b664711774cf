# SPDX-License-Identifier: Apache-2.0
"""ONNX operators that move entries, and those that work on shapes."""

from __future__ import annotations

import math

import numpy as np

from isoform.assemble import axes, joins
from isoform.assemble.assembler import (
    Assembler,
    Computed,
    Known,
    NotTaken,
    Value,
    check_entries,
    fold,
)
from isoform.errors import FormatError
from isoform.formats.onnx.node import OnnxNode, Rule
from isoform.formats.onnx.rules_elementwise import scalar


def constant(asm: Assembler, node: OnnxNode) -> Value:
    given = [name for name in node.attributes if name.startswith("value")]
    if len(given) != 1 or len(node.attributes) != 1:
        raise FormatError(f"a Constant with the attributes {sorted(node.attributes)}")
    value = node.attributes[given[0]]
    match given[0]:
        case "value":
            return Known(value)
        case "value_float" | "value_floats":
            return Known(np.asarray(value, dtype=np.float32))
        case "value_int" | "value_ints":
            return Known(np.asarray(value, dtype=np.int64))
    raise NotTaken("a constant of text")


def constant_of_shape(asm: Assembler, node: OnnxNode) -> Value:
    shape = node.value(0)
    if isinstance(shape, Computed):
        raise NotTaken("the shape is computed from the input: dynamic shapes are not taken")
    fill = node.attributes.get("value", np.zeros(1, dtype=np.float32))
    if fill.size != 1:
        raise FormatError(f"a fill of shape {fill.shape}")

    def full(sizes: np.ndarray) -> np.ndarray:
        check_entries(sizes.tolist(), "a constant")
        return np.full(sizes.tolist(), fill.reshape(-1)[0], dtype=fill.dtype)

    return fold(full, shape)


def shape(asm: Assembler, node: OnnxNode) -> Value:
    sizes = axes.shape_of(asm, node.value(0))
    start, end = node.attributes.get("start"), node.attributes.get("end")
    return fold(lambda a: a[slice(start, end)], sizes)


def size(asm: Assembler, node: OnnxNode) -> Value:
    return fold(
        lambda a: np.asarray(math.prod(a.tolist()), dtype=np.int64),
        axes.shape_of(asm, node.value(0)),
    )


def span(asm: Assembler, node: OnnxNode) -> Value:
    values = node.values()
    if any(isinstance(value, Computed) for value in values):
        raise NotTaken("a range that is computed from the input")

    def numbers(start: np.ndarray, limit: np.ndarray, step: np.ndarray) -> np.ndarray:
        first, last, by = (a.reshape(-1)[0].item() for a in (start, limit, step))
        if by == 0 or not np.all(np.isfinite([first, last, by])):
            raise FormatError(f"a range from {first} to {last} by {by}")
        count = max(0, math.ceil((last - first) / by))
        check_entries([count], "a range")
        return (first + np.arange(count) * by).astype(start.dtype)

    return fold(numbers, *values)  # type: ignore[arg-type]


def reshape(asm: Assembler, node: OnnxNode) -> Value:
    return axes.reshape(asm, node.value(0), node.value(1), node.flag("allowzero"))


def flatten(asm: Assembler, node: OnnxNode) -> Value:
    return axes.flatten(asm, node.value(0), node.integer("axis", 1))


def squeeze(asm: Assembler, node: OnnxNode) -> Value:
    return axes.squeeze(asm, node.value(0), node.integers_since(asm, 13, "axes", 1))


def unsqueeze(asm: Assembler, node: OnnxNode) -> Value:
    places = node.integers_since(asm, 13, "axes", 1)
    if places is None:
        raise FormatError("attribute 'axes' is missing")
    return axes.unsqueeze(asm, node.value(0), places)


def transpose(asm: Assembler, node: OnnxNode) -> Value:
    return axes.transpose(asm, node.value(0), node.integers("perm"))


def expand(asm: Assembler, node: OnnxNode) -> Value:
    return axes.expand(asm, node.value(0), node.value(1))


def tile(asm: Assembler, node: OnnxNode) -> Value:
    repeats = node.integer_operand(asm, 1, "repeats")
    return axes.tile(asm, node.value(0), repeats or [])


def cut(asm: Assembler, node: OnnxNode) -> Value:
    value = node.value(0)
    starts, ends, places = (
        node.integers_since(asm, 10, name, position)
        for position, name in ((1, "starts"), (2, "ends"), (3, "axes"))
    )
    if starts is None or ends is None:
        raise FormatError("a slice without starts or ends")
    steps = node.integer_operand(asm, 4, "steps") if node.opset >= 10 else None
    places = list(range(len(starts))) if places is None else places
    return axes.cut(asm, value, starts, ends, places, steps or [1] * len(starts))


def gather(asm: Assembler, node: OnnxNode) -> Value:
    return axes.take(asm, node.value(0), node.value(1), node.integer("axis", 0))


def pad(asm: Assembler, node: OnnxNode) -> Value:
    value = node.value(0)
    pads = node.integers_since(asm, 11, "pads", 1)
    fill: Value | None = node.optional(2)
    if node.opset < 11:
        fill = Known(np.asarray(node.number("value", 0.0), dtype=np.float32))
    places = node.integer_operand(asm, 3, "axes")
    rank = value.rank
    places = list(range(rank)) if places is None else places
    if pads is None or len(pads) != 2 * len(places):
        raise FormatError(f"pads {pads} for {len(places)} axes")
    before, after = [0] * rank, [0] * rank
    for position, axis in enumerate(places):
        if not -rank <= axis < rank:
            raise FormatError(f"padding along axis {axis} of a value with {rank} axes")
        before[axis], after[axis] = pads[position], pads[len(places) + position]
    return joins.pad(
        asm, value, before, after, mode=node.text("mode", "constant"), fill=fill
    )


def concat(asm: Assembler, node: OnnxNode) -> Value:
    return joins.concat(asm, node.values(), node.integer("axis"))


def split(asm: Assembler, node: OnnxNode) -> list[Value]:
    value, axis, count = node.value(0), node.integer("axis", 0), len(node.outputs)
    sizes = node.integers_since(asm, 13, "split", 1)
    if sizes is None:
        place = axes.axis_of(value, axis, "a split")
        length = value.shape[place]
        if node.opset < 18 and length % count:
            raise FormatError(f"a split of length {length} into {count} equal parts")
        if node.integer("num_outputs", count) != count:
            raise FormatError(f"a split into {count} parts that says another number")
        part = -(-length // count)
        sizes = [max(0, min(part, length - k * part)) for k in range(count)]
    if len(sizes) != count:
        raise FormatError(f"a split into {len(sizes)} sizes with {count} results")
    return joins.split(asm, value, sizes, axis)


def block_parts(node: OnnxNode, value: Value) -> tuple[tuple[int, ...], int]:
    block = node.integer("blocksize")
    if value.rank != 4 or block < 1:
        raise FormatError(f"blocks of {block} on a value with {value.rank} axes")
    return value.shape[-3:], block


def depth_to_space(asm: Assembler, node: OnnxNode) -> Value:
    value = node.value(0)
    (c, h, w), b = block_parts(node, value)
    if c % (b * b):
        raise FormatError(f"{c} channels do not make blocks of {b} x {b}")
    columns_first = node.text("mode", "DCR") == "CRD"

    def move(a: np.ndarray) -> np.ndarray:
        lead = a.shape[:-3]
        k = len(lead)
        if columns_first:
            a = a.reshape(*lead, c // (b * b), b, b, h, w)
            order = (*range(k), k, k + 3, k + 1, k + 4, k + 2)
        else:
            a = a.reshape(*lead, b, b, c // (b * b), h, w)
            order = (*range(k), k + 2, k + 3, k, k + 4, k + 1)
        return a.transpose(order).reshape(*lead, c // (b * b), h * b, w * b)

    return axes.moved(value, move)


def space_to_depth(asm: Assembler, node: OnnxNode) -> Value:
    value = node.value(0)
    (c, h, w), b = block_parts(node, value)
    if h % b or w % b:
        raise FormatError(f"space {h} x {w} is not made of blocks of {b} x {b}")

    def move(a: np.ndarray) -> np.ndarray:
        lead = a.shape[:-3]
        k = len(lead)
        a = a.reshape(*lead, c, h // b, b, w // b, b)
        order = (*range(k), k + 2, k + 4, k, k + 1, k + 3)
        return a.transpose(order).reshape(*lead, c * b * b, h // b, w // b)

    return axes.moved(value, move)


def cumulated(asm: Assembler, node: OnnxNode) -> Value:
    value, axis = node.value(0), int(scalar(asm, node.value(1), "an axis"))
    if isinstance(value, Computed) or node.flag("exclusive") or node.flag("reverse"):
        raise NotTaken("a cumulated sum of computed values")
    place = axes.axis_of(value, axis, "a cumulated sum")
    return fold(lambda a: np.cumsum(a, axis=place, dtype=a.dtype), value)


SHAPES: dict[str, Rule] = {
    "Constant": constant,
    "ConstantOfShape": constant_of_shape,
    "Shape": shape,
    "Size": size,
    "Range": span,
    "Reshape": reshape,
    "Flatten": flatten,
    "Squeeze": squeeze,
    "Unsqueeze": unsqueeze,
    "Transpose": transpose,
    "Expand": expand,
    "Tile": tile,
    "Slice": cut,
    "Gather": gather,
    "Pad": pad,
    "Concat": concat,
    "Split": split,
    "DepthToSpace": depth_to_space,
    "SpaceToDepth": space_to_depth,
    "CumSum": cumulated,
}
