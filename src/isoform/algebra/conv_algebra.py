# SPDX-License-Identifier: Apache-2.0
"""Convolutions composed, added and scaled, as convolutions.

Every function takes and gives `Conv` values. With `values=False` only the geometry is worked out
and the kernel of the result is a placeholder, so that its size is known before it is computed.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from isoform.algebra.affine_rows import as_constant
from isoform.network.linear_map import Conv, Gather, LinearMap, exact
from isoform.numerics.exact import Exact, integer_product, integers


def outline(conv: Conv) -> Conv:
    """The same geometry with a placeholder for the kernel."""
    return replace(conv, kernel=placeholder(conv.kernel.shape))


def placeholder(shape: tuple[int, ...]) -> np.ndarray:
    """An array of a shape that takes no memory."""
    return np.broadcast_to(np.float32(0), shape)


def channel_scale(part: Gather, channels: int) -> Exact | None:
    """(channels,) where the gather multiplies each channel by one number, in place; else None."""
    if not np.array_equal(part.indices, np.arange(part.inputs)) or part.inputs % channels:
        return None
    if part.scale is None:
        return Exact(integers([1] * channels, (channels,)))
    scale = exact(part.scale)
    grid = scale.numerator.reshape(channels, -1)
    if not grid.shape[1] or not np.all(grid == grid[:, :1]):
        return None
    return Exact(grid[:, 0], scale.denominator)


def scaled_outputs(conv: Conv, scale: Exact) -> Conv:
    """Output channel o times scale[o]."""
    shape = (conv.channels_out,) + (1,) * (conv.kernel.ndim - 1)
    return replace(conv, kernel=as_constant(exact(conv.kernel) * scale.reshape(*shape)))


def scaled_inputs(conv: Conv, scale: Exact) -> Conv:
    """Input channel c times scale[c]."""
    per_group = conv.kernel.shape[1]
    group = np.arange(conv.channels_out) // (conv.channels_out // conv.groups)
    channel = group[:, None] * per_group + np.arange(per_group)
    factors = scale[channel].reshape(*channel.shape, *(1,) * len(conv.space))
    return replace(conv, kernel=as_constant(exact(conv.kernel) * factors))


def ungrouped(conv: Conv, values: bool) -> Conv:
    """The same convolution with one group."""
    if conv.groups == 1:
        return conv
    shape = (conv.channels_out, conv.channels_in, *conv.kernel.shape[2:])
    if not values:
        return replace(conv, kernel=placeholder(shape), groups=1)
    kernel = exact(conv.kernel)
    wide = integers([0] * math.prod(shape), shape)
    per_out, per_in = conv.channels_out // conv.groups, conv.kernel.shape[1]
    for group in range(conv.groups):
        rows = slice(group * per_out, (group + 1) * per_out)
        wide[rows, group * per_in : (group + 1) * per_in] = kernel.numerator[rows]
    return replace(conv, kernel=Exact(wide, kernel.denominator), groups=1)


def conv_after_conv(outer: Conv, inner: Conv, *, values: bool) -> Conv | None:
    """outer(inner(x)) as one convolution; None where zero padding stands between.

    Case 1: the outer one pads nothing. Case 2: the inner one has size 1, stride 1 and no padding
    (zero padding of its result is zero padding of its input). Strides multiply, taps spread:
    offset = stride_in * dilation_out * t_out + dilation_in * t_in.
    """
    if outer.space != inner.space_out or outer.channels_in != inner.channels_out:
        return None
    pointwise = all(k == 1 for k in inner.kernel.shape[2:]) and not any(map(any, inner.pads)) \
        and all(s == 1 for s in inner.strides)
    if any(map(any, outer.pads)) and not pointwise:
        return None
    outer, inner = ungrouped(outer, values), ungrouped(inner, values)
    steps, sizes, dilations = [], [], []
    axes = zip(outer.kernel.shape[2:], inner.kernel.shape[2:], outer.dilations, inner.dilations,
               inner.strides, strict=True)
    for k_out, k_in, d_out, d_in, stride in axes:
        step_out, step_in = stride * d_out if k_out > 1 else 0, d_in if k_in > 1 else 0
        common = math.gcd(step_out, step_in) or 1
        steps.append((step_out // common, step_in // common))
        sizes.append(((k_out - 1) * step_out + (k_in - 1) * step_in) // common + 1)
        dilations.append(common)
    shape = (outer.channels_out, inner.channels_in, *sizes)
    kernel = spread_product(outer, inner, steps, shape) if values else placeholder(shape)
    return Conv(
        kernel=kernel, space=inner.space, dilations=tuple(dilations),
        strides=tuple(a * b for a, b in zip(outer.strides, inner.strides, strict=True)),
        pads=outer.pads if pointwise else inner.pads,
    )


def spread_product(
    outer: Conv, inner: Conv, steps: list[tuple[int, int]], shape: tuple[int, ...]
) -> np.ndarray | Exact:
    """K[o, i, t] = sum of K_out[o, c, a] K_in[c, i, b] over taps a, b that fall on t."""
    one, two = exact(outer.kernel), exact(inner.kernel)
    size_out, size_in = one.shape[2:], two.shape[2:]
    taps_out, taps_in = math.prod(size_out), math.prod(size_in)
    left = one.reshape(one.shape[0], one.shape[1], taps_out)
    left = Exact(left.numerator.transpose(2, 0, 1).reshape(-1, one.shape[1]), one.denominator)
    both = left @ two.reshape(two.shape[0], -1)
    blocks = both.numerator.reshape(taps_out, one.shape[0], two.shape[1], taps_in)
    flat = integers([0] * math.prod(shape), (shape[0], shape[1], math.prod(shape[2:])))
    places_in = tap_places(size_in, [b for _, b in steps], shape[2:])
    places_out = tap_places(size_out, [a for a, _ in steps], shape[2:])
    for tap in range(taps_out):
        flat[:, :, places_out[tap] + places_in] += blocks[tap]
    return as_constant(Exact(flat.reshape(shape), both.denominator))


def tap_places(size: tuple[int, ...], steps: list[int], grid: tuple[int, ...]) -> np.ndarray:
    """Flat places of the taps of a kernel of `size`, spread by `steps`, in a kernel of `grid`."""
    place = np.zeros((), dtype=np.int64)
    for k, step, n in zip(size, steps, grid, strict=True):
        place = place[..., None] * n + np.arange(k) * step
    return place.ravel()


def conv_sum(a: Conv, b: Conv, *, values: bool) -> Conv | None:
    """a(x) + b(x) as one convolution, the smaller kernel embedded in the larger; else None."""
    same = (a.space, a.strides, a.space_out, a.channels_in, a.channels_out) == (
        b.space, b.strides, b.space_out, b.channels_in, b.channels_out)
    if not same:
        return None
    for large, small in ((a, b), (b, a)):
        places = embedding(large, small)
        if places is None:
            continue
        if large.groups != small.groups:
            large, small = ungrouped(large, values), ungrouped(small, values)
        if not values:
            return outline(large)
        common = exact(large.kernel) * 1
        inner = exact(small.kernel)
        denominator = math.lcm(common.denominator, inner.denominator)
        total = common.numerator * (denominator // common.denominator)
        total = total.reshape(*total.shape[:2], -1)
        added = inner.numerator * (denominator // inner.denominator)
        total[:, :, places] += added.reshape(*added.shape[:2], -1)
        kernel = Exact(total.reshape(large.kernel.shape), denominator)
        return replace(large, kernel=as_constant(kernel))
    return None


def embedding(large: Conv, small: Conv) -> np.ndarray | None:
    """The taps of `large` (flat) on which the taps of `small` fall; None if one falls beside."""
    grid = large.kernel.shape[2:]
    place = np.zeros((), dtype=np.int64)
    for axis, size in enumerate(small.kernel.shape[2:]):
        offset = np.arange(size) * small.dilations[axis] - small.pads[axis][0]
        shifted = offset + large.pads[axis][0]
        step = large.dilations[axis] if grid[axis] > 1 else 1
        taps = shifted // step
        if np.any(shifted % step) or np.any(taps < 0) or np.any(taps >= grid[axis]):
            return None
        place = place[..., None] * grid[axis] + taps
    return place.ravel()


def gather_as_conv(part: Gather, like: Conv) -> Conv | None:
    """A scale a channel (or the identity) as a convolution of size 1 beside `like`; else None."""
    if part.inputs != like.inputs or part.outputs != like.outputs:
        return None
    scale = channel_scale(part, like.channels_in)
    if scale is None or like.channels_in != like.channels_out or like.space != like.space_out:
        return None
    axes = len(like.space)
    return Conv(
        kernel=as_constant(scale.reshape(like.channels_in, 1, *(1,) * axes)), space=like.space,
        strides=(1,) * axes, pads=((0, 0),) * axes, dilations=(1,) * axes,
        groups=like.channels_in,
    )


def apply_exact(part: LinearMap, vector: Exact) -> Exact:
    """part(vector) for one exact vector; a convolution by patches, its matrix is never written."""
    if not isinstance(part, Conv):
        return part.sparse().times(vector)
    flat, inside = part.taps()
    image = vector.numerator.reshape(part.groups, part.kernel.shape[1], -1)
    patches = np.where(inside, image[..., np.where(inside, flat, 0)], 0)
    patches = patches.transpose(0, 1, 3, 2).reshape(part.groups, -1, flat.shape[0])
    kernel = exact(part.kernel)
    weights = kernel.numerator.reshape(part.groups, part.channels_out // part.groups, -1)
    rows = [integer_product(weights[g], patches[g]).ravel() for g in range(part.groups)]
    return Exact(np.concatenate(rows), kernel.denominator * vector.denominator)
