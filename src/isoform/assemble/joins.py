# SPDX-License-Identifier: Apache-2.0
"""Padding, concatenation and splitting of values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

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
)
from isoform.assemble.axes import axis_of, moved
from isoform.errors import FormatError
from isoform.network.constants import real_array
from isoform.network.operators import Concat
from isoform.numerics.exact import Exact


def pad(
    asm: Assembler, value: Value, before: Sequence[int], after: Sequence[int], *,
    mode: str = "constant", fill: Value | None = None,
) -> Value:
    """More entries around the value, one pair an axis; negative pads cut entries off."""
    if len(before) != value.rank or len(after) != value.rank:
        raise FormatError(f"pads for {len(before)} axes of a value with {value.rank}")
    pairs = list(zip(before, after, strict=True))
    if isinstance(value, Computed) and value.batched:
        if any(pairs[0]):
            raise NotRowByRow("padding along the batch axis")
        pairs = pairs[1:]
    check_entries([n + max(a, 0) + max(b, 0)
                   for n, (a, b) in zip(value.shape, pairs, strict=True)], "a padded value")
    if isinstance(fill, Computed):
        raise NotTaken("the fill of a padding is computed from the input")
    number = 0 if fill is None else asm.plain(fill, "the fill of a padding").reshape(-1)[0]
    if mode not in ("constant", "edge", "reflect", "wrap"):
        raise NotTaken(f"padding mode {mode!r}")
    return padded(asm, value, pairs, mode, number)


def padded(
    asm: Assembler, value: Value, pairs: list[tuple[int, int]], mode: str,
    number: np.generic | int,
) -> Value:
    """Grown by the positive pads, then cut by the negative ones."""
    grow = [(max(a, 0), max(b, 0)) for a, b in pairs]

    def enlarge(array: np.ndarray, fill: Any) -> np.ndarray:
        options: Any = {"constant_values": fill} if mode == "constant" else {}
        big: np.ndarray = np.pad(array, grow, mode=mode, **options)  # type: ignore[call-overload]
        kept = tuple(
            slice(max(-a, 0), big.shape[k] - max(-b, 0)) for k, (a, b) in enumerate(pairs)
        )
        return big[kept]

    if isinstance(value, Known):
        return fold(lambda a: enlarge(a, number), value)
    index = enlarge(value.index, -1)
    plain = Computed(value.source, np.asarray(index, order="C"), value.batched, value.dtype)
    if mode != "constant" or number == 0:
        return plain
    outside = enlarge(np.zeros(value.shape, dtype=bool), True)
    bias = np.where(outside, np.asarray(number), np.zeros((), np.asarray(number).dtype))
    return asm.affine(plain, None, real_array(bias, "the fill of a padding"))


def concat(asm: Assembler, values: Sequence[Value], axis: int) -> Value:
    """The operands one after the other along an axis."""
    computed = [value for value in values if isinstance(value, Computed)]
    if not computed:
        place = axis_of(values[0], axis, "a concatenation")
        return fold(lambda *parts: join(parts, place), *values)  # type: ignore[arg-type]
    like = computed[0]
    if any(v.rank != like.rank or v.batched != like.batched for v in computed):
        raise FormatError("a concatenation of operands with different numbers of axes")
    place = axis_of(like, axis, "a concatenation")
    if len({value.source for value in computed}) == 1:
        return concat_one(asm, values, like, place)
    nodes, shapes = [], []
    for value in values:
        if isinstance(value, Computed):
            nodes.append(asm.shaped(value))
            shapes.append(value.shape)
            continue
        array = known_row(asm, value, like)
        nodes.append(asm.constant(real_array(array, "a part of a concatenation"), array.shape))
        shapes.append(array.shape)
    shape = join([np.broadcast_to(np.int8(0), shape) for shape in shapes], place).shape
    return asm.place(Concat(place), nodes, shape, like)


def concat_one(asm: Assembler, values: Sequence[Value], like: Computed, place: int) -> Value:
    """Parts of one source and constants: one index array, and a bias for the constants."""
    parts, numbers = [], []
    for value in values:
        if isinstance(value, Computed):
            parts.append(value.index)
            numbers.append(Exact.zeros(value.shape).numerator)
            continue
        array = known_row(asm, value, like)
        parts.append(np.full(array.shape, -1, dtype=np.int64))
        numbers.append(array)
    index = np.asarray(join(parts, place), order="C")
    plain = Computed(like.source, index, like.batched, like.dtype)
    if all(isinstance(value, Computed) for value in values):
        return plain
    dtype = next(value.dtype for value in values if isinstance(value, Known))
    bias = join([n.astype(dtype) if n.dtype == object else n for n in numbers], place)
    return asm.affine(plain, None, real_array(bias, "a part of a concatenation"))


def known_row(asm: Assembler, value: Known, like: Computed) -> np.ndarray:
    """A constant part beside computed ones, without the batch axis."""
    if value.rank != like.rank:
        raise FormatError("a concatenation of operands with different numbers of axes")
    if like.batched:
        return asm.row_of(value, "a part of a concatenation")
    return asm.plain(value, "a part of a concatenation")


def join(parts: Sequence[np.ndarray], axis: int) -> np.ndarray:
    try:
        check_entries([sum(part.size for part in parts)], "a concatenation")
        return np.concatenate(parts, axis=axis)
    except ValueError as error:
        shapes = [part.shape for part in parts]
        raise FormatError(f"a concatenation of shapes {shapes}: {error}") from None


def split(asm: Assembler, value: Value, sizes: Sequence[int], axis: int) -> list[Value]:
    """Consecutive parts along an axis."""
    place = axis_of(value, axis, "a split")
    length = value.shape[place]
    if sum(sizes) != length or min(sizes, default=0) < 0:
        raise FormatError(f"a split of length {length} into {list(sizes)}")
    starts = np.cumsum([0, *sizes]).tolist()
    return [part_of(value, place, starts[k], starts[k + 1]) for k in range(len(sizes))]


def part_of(value: Value, place: int, start: int, end: int) -> Value:
    """Entries start:end along one axis of the shape."""
    return moved(value, lambda a: np.take(a, np.arange(start, end), axis=place))
