# SPDX-License-Identifier: Apache-2.0
"""Convolutions and pools, with their structure kept.

Values have the full shape (batch, channels, *space) of a file; a dropped batch is left out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from isoform.assemble.assembler import (
    ENTRIES_LIMIT,
    Assembler,
    Computed,
    NotTaken,
    Value,
    check_entries,
)
from isoform.assemble.axes import moved
from isoform.assemble.matrix import with_axis, without_axis
from isoform.assemble.pointwise import live
from isoform.errors import FormatError, TooLarge
from isoform.network.constants import number_vector, real_array
from isoform.network.linear_map import Constant, Conv, Csr
from isoform.network.network import Shape
from isoform.network.operators import MaxPool
from isoform.network.primitive_order import pool_shape, windows
from isoform.numerics.exact import exact_fractions


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """How a kernel moves over space: one entry a spatial axis."""

    size: tuple[int, ...]
    strides: tuple[int, ...]
    pads: tuple[tuple[int, int], ...]
    dilations: tuple[int, ...]

    def __post_init__(self) -> None:
        axes = len(self.size)
        if not axes == len(self.strides) == len(self.pads) == len(self.dilations):
            raise FormatError("kernel, strides, pads and dilations name different axes")
        if min((*self.size, *self.strides, *self.dilations), default=1) < 1:
            raise FormatError("kernel, strides and dilations are at least 1")
        if any(min(pair) < 0 for pair in self.pads):
            raise NotTaken("negative pads of a window")


def imaged(value: Computed, what: str) -> tuple[Computed, int]:
    """(channels, rows that stay part of the function, *space) and the number of such rows.

    Where the batch was dropped, or is 1, there is one row, and its axis is left out.
    """
    if value.rank < 3:
        raise FormatError(f"{what} of a value with {value.rank} axes")
    if value.batched:
        return value, 1
    if value.shape[0] == 1:
        return without_axis(value, 0), 1
    return moved(value, lambda a: np.swapaxes(a, 0, 1)), value.shape[0]


def unimaged(value: Computed, rows: int, like: Computed) -> Computed:
    """The inverse of `imaged` on a result."""
    if like.batched:
        return value
    if rows == 1:
        return with_axis(value, 0)
    return moved(value, lambda a: np.swapaxes(a, 0, 1))


def convolve(
    asm: Assembler, value: Value, kernel: Value, bias: Value | None, window: Window, groups: int
) -> Value:
    """A convolution with a constant kernel (out, in / groups, *size) and bias (out)."""
    value = live(asm, value)
    weight, shift = weights_of(asm, kernel, bias)
    image, rows = imaged(value, "a convolution")
    channels, space = image.shape[0], image.shape[1 + (rows > 1):]
    if weight.ndim != len(space) + 2 or weight.shape[2:] != window.size:
        raise FormatError(f"a kernel of shape {weight.shape} on space {space}")
    check_groups(channels, weight.shape[1] * groups, weight.shape[0], groups)
    strides, pads, dilations = window.strides, window.pads, window.dilations
    if rows > 1:  # the rows are one more axis of space, with a kernel of length 1 along it
        weight = weight.reshape(*weight.shape[:2], 1, *weight.shape[2:])
        space, strides = (rows, *space), (1, *strides)
        pads, dilations = ((0, 0), *pads), (1, *dilations)
    part = Conv(kernel=weight, space=space, strides=strides, pads=pads, dilations=dilations,
                groups=groups)
    shape = (weight.shape[0], *part.space_out)
    if min(shape) < 1:
        raise FormatError(f"a convolution with the empty result {shape}")
    check_entries((*part.space_out, *weight.shape[1:]), "the patches of a convolution")
    check_entries(shape, "a convolution")
    flat = None if shift is None else np.repeat(np.arange(shift.size), math.prod(shape[1:]))
    bias_of_entries = None if shift is None else shift.reshape(-1)[flat]
    made = asm.linear([(part, asm.shaped(image))], bias_of_entries, shape, value)
    return unimaged(made, rows, value)


def weights_of(
    asm: Assembler, kernel: Value, bias: Value | None
) -> tuple[Constant, Constant | None]:
    if isinstance(kernel, Computed) or isinstance(bias, Computed):
        raise NotTaken("a convolution with computed weights")
    weight = real_array(asm.plain(kernel, "a kernel"), "a kernel")
    if bias is None:
        return weight, None
    return weight, real_array(asm.plain(bias, "a bias"), "a bias").reshape(-1)


def check_groups(channels: int, wanted: int, out: int, groups: int) -> None:
    if groups < 1 or channels != wanted or out % groups:
        raise FormatError(
            f"a kernel for {wanted} channels and {out} results in {groups} groups, "
            f"on a value with {channels} channels"
        )


def convolve_transposed(
    asm: Assembler, value: Value, kernel: Value, bias: Value | None, window: Window, *,
    groups: int, extra: Sequence[int],
) -> Value:
    """The transpose of a convolution, as a sparse matrix. kernel: (in, out / groups, *size);
    extra: output padding, one an axis."""
    value = live(asm, value)
    weight, shift = weights_of(asm, kernel, bias)
    image, rows = imaged(value, "a transposed convolution")
    if rows > 1:
        raise NotTaken("a transposed convolution of several rows that are part of the function")
    channels, space = image.shape[0], image.shape[1:]
    if weight.ndim != len(space) + 2 or weight.shape[2:] != window.size:
        raise FormatError(f"a kernel of shape {weight.shape} on space {space}")
    check_groups(channels, weight.shape[0], weight.shape[0], groups)
    out = weight.shape[1] * groups
    larger = tuple(
        stride * (n - 1) + more + (k - 1) * dilation + 1 - before - after
        for n, k, stride, (before, after), dilation, more in zip(
            space, window.size, window.strides, window.pads, window.dilations, extra, strict=True
        )
    )
    if min(larger) < 1 or not isinstance(weight, np.ndarray):
        raise FormatError(f"a transposed convolution with the empty result {larger}")
    forward = Conv(kernel=weight, space=larger, strides=window.strides, pads=window.pads,
                   dilations=window.dilations, groups=groups)
    if forward.space_out != space:
        raise NotTaken("an output padding that is not smaller than the stride")
    check_entries((math.prod(space), weight.size), "a transposed convolution")
    shape = (out, *larger)
    numbers = None if shift is None else shift[np.repeat(np.arange(out), math.prod(larger))]
    made = asm.linear([(adjoint(forward), asm.order(image))], numbers, shape, value)
    return unimaged(made, rows, value)


def adjoint(forward: Conv) -> Csr:
    """The transposed matrix of a convolution, in compressed rows."""
    flat, inside = forward.taps()
    positions, taps = np.nonzero(inside)
    kernel = forward.kernel
    assert isinstance(kernel, np.ndarray)
    per_group = kernel.shape[0] // forward.groups
    out, channel = np.divmod(np.arange(kernel.shape[0] * kernel.shape[1]), kernel.shape[1])
    channel = (out // per_group) * kernel.shape[1] + channel
    results = out[:, None] * flat.shape[0] + positions
    places = channel[:, None] * math.prod(forward.space) + flat[positions, taps]
    values = kernel.reshape(len(out), -1)[:, taps]
    results, places, values = results.reshape(-1), places.reshape(-1), values.reshape(-1)
    order = np.lexsort((results, places))
    counts = np.bincount(places, minlength=forward.inputs)
    return Csr(
        starts=np.concatenate(([0], np.cumsum(counts))).astype(np.int64),
        columns=results[order], values=values[order], inputs=forward.outputs,
    )


# --- pools --------------------------------------------------------------------------------------


def pooled(value: Computed, what: str) -> tuple[Computed, Shape]:
    """(channels, *space), every row and channel a channel of its own, and the leading axes."""
    if value.rank < 3:
        raise FormatError(f"{what} of a value with {value.rank} axes")
    lead = value.shape[: 1 if value.batched else 2]
    flat = moved(value, lambda a: a.reshape(math.prod(lead), *a.shape[len(lead):]))
    return flat, lead


def pool_operator(window: Window, ceil: bool, space: Shape, what: str) -> MaxPool:
    """The window of a pool, checked against the space that it moves over."""
    if len(window.size) != len(space):
        raise FormatError(f"{what} of {len(window.size)} axes on space {space}")
    for k, (before, after) in zip(window.size, window.pads, strict=True):
        if max(before, after) >= k:
            raise NotTaken(f"{what} with pads as large as its window")
    operator = MaxPool(size=window.size, strides=window.strides, pads=window.pads,
                       dilations=window.dilations, ceil=ceil)
    out = pool_shape(space, operator)
    if min(out) < 1:
        raise FormatError(f"{what} with the empty result {out}")
    check_entries((*window.size, *out), f"the windows of {what}")
    return operator


def max_pool(asm: Assembler, value: Value, window: Window, ceil: bool) -> Value:
    """The largest entry of each window."""
    value = live(asm, value)
    image, lead = pooled(value, "a max pool")
    operator = pool_operator(window, ceil, image.shape[1:], "a max pool")
    if not windows(image.shape[1:], operator)[1].any(axis=0).all():
        raise NotTaken("a max pool with a window that lies wholly in the padding")
    shape = (image.shape[0], *pool_shape(image.shape[1:], operator))
    made = asm.place(operator, (asm.shaped(image),), shape, value)
    return moved(made, lambda a: a.reshape(*lead, *shape[1:]))


def average_pool(
    asm: Assembler, value: Value, window: Window, *, ceil: bool, count_padding: bool
) -> Value:
    """The mean of each window; one ninth is the rational."""
    value = live(asm, value)
    image, lead = pooled(value, "an average pool")
    channels, space = image.shape[0], image.shape[1:]
    operator = pool_operator(window, ceil, space, "an average pool")
    flat, inside = windows(space, operator)
    counted = padded_counts(space, operator) if count_padding else inside.sum(axis=0)
    out = pool_shape(space, operator)
    count = int(counted.max())
    uniform = bool(np.all(counted == count)) and out == pool_shape(
        space, MaxPool(size=window.size, strides=window.strides, pads=window.pads,
                       dilations=window.dilations)
    )
    shape = (channels, *out)
    part: Conv | Csr
    if uniform:
        kernel = number_vector(Fraction(1, count), channels * math.prod(window.size))
        part = Conv(kernel=kernel.reshape(channels, 1, *window.size), space=space,
                    strides=window.strides, pads=window.pads, dilations=window.dilations,
                    groups=channels)
    else:
        part = pool_matrix(flat, inside, counted, channels, math.prod(space))
    made = asm.linear([(part, asm.shaped(image))], None, shape, value)
    return moved(made, lambda a: a.reshape(*lead, *out))


def padded_counts(space: Shape, operator: MaxPool) -> np.ndarray:
    """Entries of each window inside the data and its padding (not beyond it)."""
    total = tuple(n + before + after
                  for n, (before, after) in zip(space, operator.pads, strict=True))
    bare = MaxPool(size=operator.size, strides=operator.strides, dilations=operator.dilations,
                   pads=tuple((0, 0) for _ in space), ceil=operator.ceil)
    out = pool_shape(space, operator)
    inside = windows(total, bare)[1].reshape(-1, *pool_shape(total, bare))
    return inside[(slice(None), *(slice(0, n) for n in out))].sum(axis=0).reshape(-1)


def pool_matrix(
    flat: np.ndarray, inside: np.ndarray, counted: np.ndarray, channels: int, size: int
) -> Csr:
    """Means of windows of unequal sizes, as a sparse matrix of rationals."""
    window, tap = np.nonzero(inside.T)
    columns = flat[tap, window]
    order = np.lexsort((columns, window))
    window, columns = window[order], columns[order]
    if len(columns) * channels > ENTRIES_LIMIT:
        raise TooLarge(f"an average pool with {len(columns) * channels:,} entries")
    weights = exact_fractions(
        [Fraction(1, int(counted[w])) for w in window.tolist()], (len(window),)
    )
    counts = np.tile(inside.sum(axis=0), channels)
    offsets = np.arange(channels, dtype=np.int64)[:, None] * size
    return Csr(
        starts=np.concatenate(([0], np.cumsum(counts))).astype(np.int64),
        columns=(columns[None, :] + offsets).reshape(-1),
        values=weights[np.tile(np.arange(len(window)), channels)], inputs=channels * size,
    )
