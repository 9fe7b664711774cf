# SPDX-License-Identifier: Apache-2.0
"""Operations on groups of entries along axes: extremes, softmax, normalisations."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from isoform.assemble.assembler import (
    Assembler,
    Computed,
    Known,
    NotTaken,
    Value,
    as_typed,
    fold,
    joint_shape,
)
from isoform.assemble.axes import axes_of, axis_of, moved
from isoform.assemble.pointwise import live, negative
from isoform.errors import FormatError
from isoform.network.constants import broadcast, real_array, reciprocal_root
from isoform.network.linear_map import Constant, exact
from isoform.network.operators import (
    ArgExtreme,
    BatchNormalization,
    LayerNormalization,
    ReduceMax,
    Softmax,
)


def reduce_extreme(
    asm: Assembler, value: Value, axes: Sequence[int] | None, *, keep: bool, largest: bool
) -> Value:
    """The largest (or smallest) entry over axes of the file; None is all of them."""
    places = axes_of(value, range(value.rank) if axes is None else axes, "an extreme")
    if isinstance(value, Known):
        function = np.max if largest else np.min
        return fold(lambda a: np.asarray(function(a, axis=places, keepdims=keep)), value)
    if not places:
        return value
    if any(value.shape[place] == 0 for place in places):
        raise FormatError("an extreme over no entries")
    kept = tuple(1 if place in places else n for place, n in enumerate(value.shape))
    rest = tuple(n for place, n in enumerate(value.shape) if place not in places)
    signed = value if largest else negative(asm, value)
    assert isinstance(signed, Computed)
    operator = ReduceMax(places, keep)
    made = asm.place(operator, (asm.shaped(signed),), kept if keep else rest, value)
    return made if largest else negative(asm, made)


def position_of_extreme(
    asm: Assembler, value: Value, axis: int, *, largest: bool, keep: bool, last: bool
) -> Value:
    """Index of the largest (or smallest) entry along an axis; ties to the first (or last)."""
    place = axis_of(value, axis, "a position of an extreme")
    if value.shape[place] == 0:
        raise FormatError("a position of an extreme of no entries")
    if isinstance(value, Known):
        def position(a: np.ndarray) -> np.ndarray:
            a = np.flip(a, place) if last else a
            found = (np.argmax if largest else np.argmin)(a, axis=place, keepdims=keep)
            return np.asarray(a.shape[place] - 1 - found if last else found, dtype=np.int64)

        return fold(position, value)
    shape = tuple(
        1 if k == place else n for k, n in enumerate(value.shape) if keep or k != place
    )
    operator = ArgExtreme(place, largest, keep, last)
    made = asm.place(operator, (asm.shaped(value),), shape, value)
    return as_typed(made, np.int64)


def softmax(asm: Assembler, value: Value, axis: int) -> Value:
    """exp(z) normalised along one axis."""
    value = live(asm, value)
    place = axis_of(value, axis, "a softmax")
    return asm.place(Softmax(place), (asm.shaped(value),), value.shape, value)


def softmax_of_rest(asm: Assembler, value: Value, axis: int) -> Value:
    """exp(z) normalised over all axes from `axis` on (softmax before opset 13)."""
    value = live(asm, value)
    if axis == value.rank:
        raise FormatError(f"a softmax from axis {axis} of a value with {value.rank} axes")
    place = axis_of(value, axis, "a softmax")
    shape = value.shape
    flat = moved(value, lambda a: a.reshape(*shape[:place], -1))
    assert isinstance(flat, Computed)
    made = asm.place(Softmax(place), (asm.shaped(flat),), flat.shape, value)
    return moved(made, lambda a: a.reshape(shape))


def batch_normalization(
    asm: Assembler, value: Value, scale: Value, shift: Value, mean: Value, variance: Value,
    epsilon: float,
) -> Value:
    """scale (x - mean) / sqrt(variance + epsilon) + shift, a channel (axis 1 of the file) each."""
    value = live(asm, value)
    if value.rank < 2:
        raise FormatError(f"a batch normalisation of a value with {value.rank} axes")
    channel = axis_of(value, 1, "a batch normalisation")
    image = moved(value, lambda a: np.moveaxis(a, channel, 0))
    assert isinstance(image, Computed)
    named = {"scale": scale, "shift": shift, "mean": mean, "variance": variance}
    constants = {
        name: channel_numbers(asm, constant, name, image.shape[0])
        for name, constant in named.items()
    }
    for number in exact(constants["variance"]).fractions():
        reciprocal_root(number + exact(np.asarray(epsilon, dtype=np.float64)).item())
    asm.note(
        "the reciprocal square root in BatchNormalization is the nearest dyadic number with 81 bits"
    )
    operator = BatchNormalization(
        scale=constants["scale"], shift=constants["shift"], mean=constants["mean"],
        variance=constants["variance"], epsilon=epsilon,
    )
    made = asm.place(operator, (asm.shaped(image),), image.shape, value)
    return moved(made, lambda a: np.moveaxis(a, 0, channel))


def channel_numbers(asm: Assembler, value: Value, name: str, channels: int) -> Constant:
    if isinstance(value, Computed):
        raise NotTaken(f"a batch normalisation with a computed {name}")
    array = asm.plain(value, name).reshape(-1)
    if array.size != channels:
        raise FormatError(f"a batch normalisation with {array.size} of {name}, {channels} channels")
    return real_array(array, name)


def layer_normalization(
    asm: Assembler, value: Value, axis: int, scale: Value | None, shift: Value | None,
    epsilon: float,
) -> Value:
    """Normalise over the axes from `axis` on, then scale and shift by constants."""
    value = live(asm, value)
    place = axis_of(value, axis, "a layer normalisation")
    if epsilon < 0:
        raise FormatError(f"a layer normalisation with epsilon {epsilon}")
    operator = LayerNormalization(
        axis=place, scale=trailing(asm, scale, value, place, "a scale"),
        shift=trailing(asm, shift, value, place, "a shift"), epsilon=epsilon,
    )
    return asm.place(operator, (asm.shaped(value),), value.shape, value)


def trailing(
    asm: Assembler, constant: Value | None, value: Computed, place: int, what: str
) -> Constant | None:
    """A constant in the shape of the normalised axes, or of the whole value."""
    if constant is None:
        return None
    if isinstance(constant, Computed):
        raise NotTaken(f"a layer normalisation with {what} that is computed")
    numbers = asm.numbers(constant, value, what)
    if joint_shape(numbers.shape, value.shape) != value.shape:
        raise FormatError(f"{what} of shape {numbers.shape} for a value of shape {value.shape}")
    if numbers.ndim <= len(value.shape) - place:
        return broadcast(numbers, value.shape[place:])
    return broadcast(numbers, value.shape)
