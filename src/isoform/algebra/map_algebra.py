# SPDX-License-Identifier: Apache-2.0
"""Products and sums of linear maps, first as sketches (what would be stored), then computed.

A sketch knows how many numbers its map stores at most, and its structure where there is one; the
map itself is multiplied out only when `make()` is called. Convolutions stay convolutions where
they meet a scale a channel, another convolution that nothing is padded for, or a parallel branch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np

from isoform.algebra.affine_rows import (
    as_constant,
    as_map,
    entries,
    is_identity,
    product,
    widest_row,
)
from isoform.algebra.conv_algebra import (
    channel_scale,
    conv_after_conv,
    conv_sum,
    gather_as_conv,
    outline,
    scaled_inputs,
    scaled_outputs,
)
from isoform.network.linear_map import Conv, Gather, LinearMap, exact
from isoform.numerics.exact import Exact


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Sketch:
    """A linear map that need not be computed yet.

    stored: parameters at most; entries, widest: of the matrix and of its fullest row, at most;
    frame: the map itself if it is a Gather, a Conv with the right geometry (its kernel may be a
    placeholder), or None; saving: what is gained when the map is no longer needed.
    """

    inputs: int
    outputs: int
    stored: int
    entries: int
    widest: int
    saving: int
    frame: Gather | Conv | None
    make: Callable[[], LinearMap]

    @property
    def flops(self) -> int:
        """Operations of one application, at most."""
        if isinstance(self.frame, Conv):
            return 2 * self.stored * (self.outputs // self.frame.channels_out)
        return 2 * self.stored


def sketch(part: LinearMap, saving: int | None = None) -> Sketch:
    """The sketch of a map that exists."""
    return Sketch(
        inputs=part.inputs, outputs=part.outputs, stored=part.parameters, entries=entries(part),
        widest=widest_row(part), saving=part.parameters if saving is None else saving,
        frame=part if isinstance(part, Gather | Conv) else None, make=lambda: part,
    )


def matrix_sketch(
    inputs: int, outputs: int, filled: int, widest: int, make: Callable[[], LinearMap]
) -> Sketch:
    """The sketch of a matrix with at most `filled` entries, stored as `as_map` stores it."""
    full = inputs * outputs
    widest = min(widest, inputs)
    filled = min(filled, outputs * widest)
    stored = filled if widest <= 1 or 2 * filled < full else full
    return Sketch(inputs=inputs, outputs=outputs, stored=stored, entries=filled, widest=widest,
                  saving=stored, frame=None, make=cache(make))


def conv_sketch(frame: Conv, make: Callable[[], LinearMap]) -> Sketch:
    """The sketch of a convolution with this geometry."""
    return Sketch(
        inputs=frame.inputs, outputs=frame.outputs, stored=frame.parameters,
        entries=entries(frame), widest=widest_row(frame), saving=frame.parameters, frame=frame,
        make=cache(make),
    )


def composed(outer: Sketch, inner: Sketch) -> Sketch:
    """The sketch of outer(inner(x))."""
    if inner.frame is not None and is_identity(inner.frame):
        return outer
    if outer.frame is not None and is_identity(outer.frame):
        return inner
    structured = composed_frames(outer, inner)
    if structured is not None:
        return structured

    def make() -> LinearMap:
        return as_map(product(outer.make().sparse(), inner.make().sparse()))

    filled = outer.entries * inner.widest
    if isinstance(outer.frame, Gather) and distinct(outer.frame):
        filled = min(filled, inner.entries)
    if isinstance(inner.frame, Gather):
        filled = min(filled, outer.outputs * int(np.count_nonzero(inner.frame.indices >= 0)))
    widest = outer.widest * inner.widest
    return matrix_sketch(inner.inputs, outer.outputs, filled, widest, make)


def distinct(part: Gather) -> bool:
    """Whether no entry is read twice."""
    read = part.indices[part.indices >= 0]
    return len(np.unique(read)) == len(read)


def composed_frames(outer: Sketch, inner: Sketch) -> Sketch | None:
    """A product that keeps its structure: two gathers, or convolutions with what suits them."""
    match outer.frame, inner.frame:
        case Gather() as a, Gather() as b:
            return sketch(gather_after_gather(a, b))
        case Gather() as a, Conv() as b:
            after = channel_scale(a, b.channels_out)
            if after is None:
                return None
            return conv_sketch(outline(b), lambda: scaled_outputs(conv_of(inner), after))
        case Conv() as a, Gather() as b:
            before = channel_scale(b, a.channels_in)
            if before is None:
                return None
            return conv_sketch(outline(a), lambda: scaled_inputs(conv_of(outer), before))
        case Conv() as a, Conv() as b:
            frame = conv_after_conv(outline(a), outline(b), values=False)
            if frame is None:
                return None
            return conv_sketch(frame, lambda: product_conv(conv_of(outer), conv_of(inner)))
    return None


def conv_of(part: Sketch) -> Conv:
    made = part.make()
    if not isinstance(made, Conv):
        raise TypeError("a convolution was sketched and something else was made")
    return made


def product_conv(outer: Conv, inner: Conv) -> Conv:
    made = conv_after_conv(outer, inner, values=True)
    if made is None:
        raise TypeError("a convolution was sketched where there is none")
    return made


def gather_after_gather(a: Gather, b: Gather) -> Gather:
    """a(b(x))"""
    held = a.indices >= 0
    at = np.where(held, a.indices, 0)
    indices = np.where(held, b.indices[at], -1) if b.outputs else np.full(a.outputs, -1)
    factors = [] if a.scale is None else [exact(a.scale)]
    if b.scale is not None and b.outputs:
        factors.append(exact(b.scale)[at])
    scale = None
    if factors:
        total = factors[0] if len(factors) == 1 else factors[0] * factors[1]
        scale = None if np.all(total.numerator == total.denominator) else as_constant(total)
    return Gather(indices=indices.astype(np.int64), scale=scale, inputs=b.inputs)


def summed(a: Sketch, b: Sketch) -> Sketch:
    """The sketch of a(x) + b(x)."""
    structured = summed_frames(a, b)
    if structured is not None:
        return structured

    def make() -> LinearMap:
        return as_map(a.make().sparse() + b.make().sparse())

    return matrix_sketch(a.inputs, a.outputs, a.entries + b.entries, a.widest + b.widest, make)


def summed_frames(a: Sketch, b: Sketch) -> Sketch | None:
    """A sum that keeps its structure: gathers of the same entries, aligned convolutions."""
    match a.frame, b.frame:
        case Gather() as one, Gather() as two:
            if not np.array_equal(one.indices, two.indices):
                return None
            scale = scale_of(one) + scale_of(two)
            return sketch(Gather(indices=one.indices, scale=as_constant(scale), inputs=one.inputs))
        case Conv() as conv, Gather() as gather:
            as_conv = gather_as_conv(gather, conv)
            return None if as_conv is None else summed_convs(a, sketch(as_conv))
        case Gather(), Conv():
            return summed_frames(b, a)
        case Conv(), Conv():
            return summed_convs(a, b)
    return None


def summed_convs(a: Sketch, b: Sketch) -> Sketch | None:
    """Two convolutions whose taps fall on common places."""
    frame = conv_sum(outline(a.frame), outline(b.frame), values=False)  # type: ignore[arg-type]
    if frame is None:
        return None

    def make() -> LinearMap:
        made = conv_sum(conv_of(a), conv_of(b), values=True)
        if made is None:
            raise TypeError("a convolution was sketched where there is none")
        return made

    return conv_sketch(frame, make)


def scale_of(part: Gather) -> Exact:
    """The scales of a gather, ones where it has none."""
    return Exact.zeros(part.outputs) + (1 if part.scale is None else exact(part.scale))
