# SPDX-License-Identifier: Apache-2.0
"""Operations that only move entries: on constants by numpy, on computed values by their index.

Axes are counted as in the file. `axis_of` is the one place that knows about a dropped batch axis:
what touches it raises NotRowByRow.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import overload

import numpy as np

from isoform.assemble.assembler import (
    ROWS,
    Assembler,
    Computed,
    Known,
    NotRowByRow,
    NotTaken,
    Value,
    check_entries,
    fold,
)
from isoform.errors import FormatError
from isoform.network.network import Shape

WHOLE_AXIS = 2**31 - 1  # an end at least this large means the end of the axis


def axis_of(value: Value, axis: int, what: str = "an operation") -> int:
    """Position in `value.shape` of an axis of the file (negative ones count from the end)."""
    if not -value.rank <= axis < value.rank:
        raise FormatError(f"{what} along axis {axis} of a value with {value.rank} axes")
    axis %= value.rank
    if isinstance(value, Known) or not value.batched:
        return axis
    if axis == 0:
        raise NotRowByRow(f"{what} along the batch axis")
    return axis - 1


def axes_of(value: Value, axes: Sequence[int], what: str) -> tuple[int, ...]:
    """Sorted positions in `value.shape`; FormatError on repeats."""
    places = sorted(axis_of(value, int(axis), what) for axis in axes)
    if len(set(places)) < len(places):
        raise FormatError(f"{what} names an axis twice: {list(axes)}")
    return tuple(places)


@overload
def moved(value: Known, function: Callable[[np.ndarray], np.ndarray]) -> Known: ...
@overload
def moved(value: Computed, function: Callable[[np.ndarray], np.ndarray]) -> Computed: ...
def moved(value: Value, function: Callable[[np.ndarray], np.ndarray]) -> Value:
    """A numpy function that only moves entries (its axes counted in `value.shape`)."""
    if isinstance(value, Known):
        return fold(function, value)
    index = np.asarray(function(value.index), order="C")
    check_entries(index.shape, "a computed value")
    return Computed(value.source, index, value.batched, value.dtype)


def integer_list(asm: Assembler, value: Value, what: str) -> list[int]:
    """The integers of a constant that says how to shape something."""
    if isinstance(value, Computed):
        raise NotTaken(f"{what} is computed from the input: dynamic shapes are not taken")
    array = asm.plain(value, what)
    if array.dtype.kind not in "iu":
        raise FormatError(f"{what} is not of integers but {array.dtype}")
    return [int(n) for n in array.reshape(-1)]


def shape_of(asm: Assembler, value: Value) -> Known:
    """The shape as the file sees it, batch included."""
    if isinstance(value, Known):
        return fold(lambda array: np.array(array.shape, dtype=np.int64), value)
    if not value.batched:
        return Known(np.array(value.shape, dtype=np.int64))
    if asm.rows is not None:
        return Known(np.array((asm.rows, *value.shape), dtype=np.int64))
    return Known(*(np.array((rows, *value.shape), dtype=np.int64) for rows in (1, ROWS)))


def same_for_rows(
    asm: Assembler, value: Computed, target: Known, change: Callable[[Shape, list[int]], Shape],
    what: str,
) -> Shape:
    """Shape of one row after a change of the full shape, where the batch axis stays in front.

    change: full shape and the target's integers to the new full shape. It is worked out at the
    fixed batch size, or at one and at `ROWS` rows where the batch is symbolic.
    """
    sizes = (1, ROWS) if asm.rows is None else (asm.rows,)
    results = []
    for rows in sizes:
        wanted = target.array if target.other is None or rows == 1 else target.other
        try:
            result = change((rows, *value.shape), [int(n) for n in wanted.reshape(-1)])
        except FormatError:
            if rows == sizes[0]:
                raise
            raise NotRowByRow(f"{what} fits one row but not {rows}") from None
        if len(result) == 0 or result[0] != rows:
            raise NotRowByRow(f"{what} moves the batch axis: {(rows, *value.shape)} to {result}")
        results.append(result[1:])
    if any(result != results[0] for result in results):
        raise NotRowByRow(f"{what} depends on the number of rows")
    return results[0]


def resolve(shape: Shape, wanted: Sequence[int], allow_zero: bool = False) -> Shape:
    """The shape that a reshape asks for: 0 copies an axis, -1 is the rest."""
    result = list(wanted)
    for place, n in enumerate(result):
        if n == 0 and not allow_zero:
            if place >= len(shape):
                raise FormatError(f"reshape of {shape} to {list(wanted)}: no axis {place} to copy")
            result[place] = shape[place]
    count = math.prod(shape)
    if result.count(-1) == 1:
        rest = math.prod(n for n in result if n != -1)
        if rest <= 0 or count % rest:
            raise FormatError(f"reshape of {shape} to {list(wanted)}: the sizes do not divide")
        result[result.index(-1)] = count // rest
    if min(result, default=0) < 0 or math.prod(result) != count:
        raise FormatError(f"reshape of {shape} to {list(wanted)}: the sizes differ")
    return tuple(result)


def reshape(asm: Assembler, value: Value, target: Value, allow_zero: bool = False) -> Value:
    """The same entries, row-major, in another shape."""
    if isinstance(target, Computed):
        raise NotTaken("the shape is computed from the input: dynamic shapes are not taken")
    if isinstance(value, Known):
        return fold(lambda array, wanted: array.reshape(
            resolve(array.shape, wanted.reshape(-1).tolist(), allow_zero)), value, target)
    if not value.batched:
        wanted = integer_list(asm, target, "the shape of a reshape")
        return moved(value, lambda a: a.reshape(resolve(a.shape, wanted, allow_zero)))
    row = same_for_rows(
        asm, value, target, lambda shape, wanted: resolve(shape, wanted, allow_zero), "a reshape"
    )
    return moved(value, lambda a: a.reshape(row))


def flatten(asm: Assembler, value: Value, axis: int) -> Value:
    """Two axes: the product of those before `axis`, and the rest."""
    if not -value.rank <= axis <= value.rank:
        raise FormatError(f"flatten at axis {axis} of a value with {value.rank} axes")
    axis = axis + value.rank if axis < 0 else axis

    def two(shape: Shape, _: list[int] | None = None) -> Shape:
        return math.prod(shape[:axis]), math.prod(shape[axis:])

    if isinstance(value, Known) or not value.batched:
        return moved(value, lambda a: a.reshape(two(a.shape)))
    nothing = Known(np.zeros(0, dtype=np.int64))
    row = same_for_rows(asm, value, nothing, two, "a flattening")
    return moved(value, lambda a: a.reshape(row))


def expand(asm: Assembler, value: Value, target: Value) -> Value:
    """Broadcast to the target shape (both ways, as numpy does)."""
    if isinstance(target, Computed):
        raise NotTaken("the shape is computed from the input: dynamic shapes are not taken")

    def wide(shape: Shape, wanted: Sequence[int]) -> Shape:
        check_entries(wanted, "an expanded value")
        try:
            result = np.broadcast_shapes(shape, tuple(wanted))
        except ValueError:
            raise FormatError(f"shape {shape} does not expand to {tuple(wanted)}") from None
        check_entries(result, "an expanded value")
        return result

    if isinstance(value, Known):
        return fold(
            lambda a, t: np.broadcast_to(a, wide(a.shape, t.reshape(-1).tolist())).copy(),
            value, target,
        )
    if not value.batched:
        wanted = integer_list(asm, target, "the shape of an expansion")
        return moved(value, lambda a: np.broadcast_to(a, wide(a.shape, wanted)))
    if target.array.size > value.rank:
        raise NotRowByRow("an expansion to more axes moves the batch axis")
    row = same_for_rows(asm, value, target, wide, "an expansion")
    return moved(value, lambda a: np.broadcast_to(a, row))


def tile(asm: Assembler, value: Value, repeats: Sequence[int]) -> Value:
    """Copies side by side, `repeats` for each axis."""
    if len(repeats) != value.rank or any(n < 0 for n in repeats):
        raise FormatError(f"{len(repeats)} repeats for a value with {value.rank} axes")
    if isinstance(value, Computed) and value.batched:
        if repeats[0] != 1:
            raise NotRowByRow("a repetition along the batch axis")
        repeats = repeats[1:]
    check_entries([n * r for n, r in zip(value.shape, repeats, strict=True)], "a tiled value")
    return moved(value, lambda a: np.tile(a, tuple(repeats)))


@overload
def transpose(asm: Assembler, value: Known, order: Sequence[int] | None = None) -> Known: ...
@overload
def transpose(asm: Assembler, value: Computed, order: Sequence[int] | None = None) -> Computed: ...
def transpose(asm: Assembler, value: Value, order: Sequence[int] | None = None) -> Value:
    """Axis k of the result is axis order[k]; None reverses the axes."""
    order = list(range(value.rank))[::-1] if order is None else [int(axis) for axis in order]
    if sorted(order) != list(range(value.rank)):
        raise FormatError(f"{order} is no order of {value.rank} axes")
    if isinstance(value, Computed) and value.batched:
        if order[0] != 0:
            raise NotRowByRow(f"a transposition {order} moves the batch axis")
        order = [axis - 1 for axis in order[1:]]
    return moved(value, lambda a: np.transpose(a, order))


@overload
def swap_last(asm: Assembler, value: Known) -> Known: ...
@overload
def swap_last(asm: Assembler, value: Computed) -> Computed: ...
def swap_last(asm: Assembler, value: Value) -> Value:
    """The last two axes exchanged."""
    order = list(range(value.rank))
    order[-2:] = [order[-1], order[-2]]
    return transpose(asm, value, order)


def squeeze(asm: Assembler, value: Value, axes: Sequence[int] | None = None) -> Value:
    """Without the given axes of length 1; None takes all of them (never the batch)."""
    if axes is None:
        if isinstance(value, Computed) and value.batched and asm.rows in (None, 1):
            raise NotRowByRow("a squeeze of every axis of length 1 takes the batch axis too")
        places = tuple(k for k, n in enumerate(value.shape) if n == 1)
    elif len(axes) == 0:
        raise NotTaken("a squeeze of an empty list of axes: runtimes disagree on what it means")
    else:
        places = axes_of(value, axes, "a squeeze")
    if any(value.shape[place] != 1 for place in places):
        raise FormatError(f"a squeeze of axes {axes} of shape {value.shape}: not of length 1")
    return moved(value, lambda a: np.squeeze(a, places))


def unsqueeze(asm: Assembler, value: Value, axes: Sequence[int]) -> Value:
    """With new axes of length 1 at these places of the result."""
    rank = value.rank + len(axes)
    places = sorted(axis % rank if -rank <= axis < rank else rank for axis in axes)
    if len(set(places)) < len(places) or (places and places[-1] >= rank):
        raise FormatError(f"new axes {list(axes)} in a value with {rank} axes")
    if isinstance(value, Computed) and value.batched:
        if 0 in places:
            raise NotRowByRow("a new axis in front of the batch axis")
        places = [place - 1 for place in places]
    return moved(value, lambda a: np.expand_dims(a, tuple(places)))


def cut(
    asm: Assembler, value: Value, starts: Sequence[int], ends: Sequence[int],
    axes: Sequence[int], steps: Sequence[int],
) -> Value:
    """start:end:step along each of the axes, clamped as the format says."""
    if not len(starts) == len(ends) == len(axes) == len(steps):
        raise FormatError("a slice with unequal numbers of starts, ends, axes and steps")
    parts: dict[int, np.ndarray] = {}
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if step == 0:
            raise FormatError("a slice with step 0")
        if is_whole(asm, value, axis, start, end, step):
            continue
        place = axis_of(value, axis, "a slice")
        if place in parts:
            raise FormatError(f"a slice names an axis twice: {list(axes)}")
        parts[place] = steps_along(value.shape[place], start, end, step)

    def picked(a: np.ndarray) -> np.ndarray:
        for place, positions in parts.items():
            a = np.take(a, positions, axis=place)
        return a

    return moved(value, picked)


def steps_along(length: int, start: int, end: int, step: int) -> np.ndarray:
    """Positions of start:end:step on an axis; ends beyond it are clamped as the format says."""
    start, end = (n + length if n < 0 else n for n in (start, end))
    least, most = (0, length) if step > 0 else (-1, length - 1)
    start = min(max(start, 0), most)
    return np.arange(start, min(max(end, least), most), step, dtype=np.int64)


def is_whole(
    asm: Assembler, value: Value, axis: int, start: int, end: int, step: int
) -> bool:
    """Whether a slice takes the whole of a dropped batch axis."""
    if isinstance(value, Known) or not value.batched or axis not in (0, -value.rank):
        return False
    return start == 0 and step == 1 and end >= (asm.rows or WHOLE_AXIS)


def take(asm: Assembler, value: Value, places: Value, axis: int) -> Value:
    """Entries along an axis by constant positions, in numpy's sense of take."""
    if isinstance(places, Computed):
        raise NotTaken("the positions to gather are computed from the input")
    if isinstance(value, Known):
        axis = axis_of(value, axis, "a gathering")
        return fold(lambda a, p: picked_along(a, p, axis), value, places)
    position = asm.plain(places, "the positions to gather")
    place = axis_of(value, axis, "a gathering")
    return moved(value, lambda a: picked_along(a, position, place))


def picked_along(array: np.ndarray, places: np.ndarray, axis: int) -> np.ndarray:
    n = array.shape[axis]
    if places.dtype.kind not in "iu":
        raise FormatError(f"positions to gather of dtype {places.dtype}")
    if places.size and (places.min() < -n or places.max() >= n):
        raise FormatError(f"positions to gather beyond an axis of length {n}")
    check_entries([array.size // max(n, 1), places.size], "a gathered value")
    return np.take(array, places, axis=axis)
