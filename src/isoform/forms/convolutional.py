# SPDX-License-Identifier: Apache-2.0
"""A chain of convolutions, pools and activations on an image, then optionally dense layers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from isoform.algebra.affine_rows import identity_map
from isoform.errors import FormatError, NotInClass
from isoform.forms.chain import Layer, is_activation, joined, selected, straight_line
from isoform.forms.records import Arrays, plain, record_arrays, record_of, text
from isoform.network.linear_map import Conv, Dense
from isoform.network.network import Builder, Network, Shape
from isoform.network.operators import (
    BatchNormalization,
    Concat,
    LeakyRelu,
    Linear,
    MaxPool,
    Operator,
    PRelu,
    Relu,
    Select,
)
from isoform.network.size import Size, measure


@dataclass(frozen=True, slots=True, eq=False)
class Convolutional:
    """A chain of operators on one (channels, *space) tensor; at least one is a convolution.

    shape: of the input. layers: (operator, shape of its result): a Linear of one map (convolution,
    or dense and the like once flattened), a MaxPool, a BatchNormalization or an elementwise
    activation. The network that it means takes and returns flat vectors.
    """

    shape: Shape
    layers: tuple[tuple[Operator, Shape], ...]

    def __post_init__(self) -> None:
        shape = self.shape
        for i, (operator, result) in enumerate(self.layers):
            check_layer(i, operator, shape, result)
            shape = result
        if not any(is_conv(operator) for operator, _ in self.layers):
            raise ValueError("a convolutional network holds at least one convolution")

    def lower(self) -> Network:
        """The chain with its structure; a Select before the first pool gives it its shape."""
        build = Builder((math.prod(self.shape),))
        value = 0
        for i, (operator, shape) in enumerate(self.layers):
            before = self.shape if i == 0 else self.layers[i - 1][1]
            if build.shape_of(value) != before and not isinstance(operator, Linear):
                value = build.add(Select(np.arange(math.prod(before))), (value,), before)
            value = build.add(operator, (value,), shape)
        if len(build.shape_of(value)) != 1:
            value = build.add(Select(np.arange(build.size_of(value))), (value,),
                              build.size_of(value))
        return build.build(value)

    @classmethod
    def lift(cls, network: Network) -> Convolutional:
        """The form of a surface network that is such a chain.

        Raises NotInClass with the first obstacle. Flattening is only a change of shape.
        """
        if len(network.inputs) != 1 or len(network.outputs) != 1:
            raise NotInClass(f"{len(network.inputs)} inputs and {len(network.outputs)} outputs; a "
                             "convolutional chain has one of each")
        if not any(has_conv(node.operator) for node in network.nodes):
            raise NotInClass("the network holds no convolution")
        layers = chain_layers(network)
        try:
            return cls(image_shape(network.inputs[0], layers), tuple(layers))
        except ValueError as error:
            raise NotInClass(f"not a convolutional chain: {error}") from None

    @property
    def size(self) -> Size:
        return measure(self.lower())

    def arrays(self) -> Arrays:
        """The entry `shapes` (input, then one a layer) and `layer.i`."""
        arrays: Arrays = {"shapes": text([self.shape, *(shape for _, shape in self.layers)])}
        for i, (operator, _) in enumerate(self.layers):
            arrays |= record_arrays(f"layer.{i}", operator)
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Convolutional:
        """The inverse of `arrays`; FormatError where an entry is missing or does not fit."""
        shapes = plain(arrays, "shapes")
        if not isinstance(shapes, tuple) or not shapes:
            raise FormatError("'shapes' is not a list of shapes")
        layers = [(record_of(arrays, f"layer.{i}"), shape) for i, shape in enumerate(shapes[1:])]
        try:
            return cls(shapes[0], tuple(layers))
        except (ValueError, AttributeError, TypeError) as error:
            raise FormatError(f"the layers do not fit together: {error}") from None

    @staticmethod
    def examples() -> list[Convolutional]:
        """Padding, stride, dilation, groups, pools, batch normalisation, a dense end, 1-D."""
        norm = BatchNormalization(
            scale=np.array([0.5, 2.0]), shift=np.array([0.25, -1.0]),
            mean=np.array([0.0, 0.5]), variance=np.array([1.0, 3.0]), epsilon=1e-5,
        )
        slopes = PRelu(np.array([[[0.5]], [[-0.5]]]))
        return [
            Convolutional((2, 4, 4), (
                (conv_layer((3, 2, 3, 3), (4, 4), 0, pads=1), (3, 4, 4)), (Relu(), (3, 4, 4)),
                (pool(2), (3, 2, 2)), (dense_layer(2, 12, 1), (2,)),
            )),
            Convolutional((2, 5, 5), (
                (conv_layer((4, 1, 2, 2), (5, 5), 2, strides=2, groups=2), (4, 2, 2)),
                (LeakyRelu(0.25), (4, 2, 2)),
                (conv_layer((2, 4, 1, 1), (2, 2), 3), (2, 2, 2)),
            )),
            Convolutional((1, 9), (
                (conv_layer((2, 1, 3), (9,), 4, dilations=2), (2, 5)), (Relu(), (2, 5)),
                (dense_layer(4, 10, 5), (4,)), (Relu(), (4,)), (dense_layer(1, 4, 6), (1,)),
            )),
            Convolutional((1, 3, 3), (
                (conv_layer((2, 1, 2, 2), (3, 3), 7), (2, 2, 2)), (norm, (2, 2, 2)),
                (slopes, (2, 2, 2)), (pool(2, stride=1), (2, 1, 1)),
            )),
            Convolutional((1, 3, 3), (
                (conv_layer((1, 1, 3, 3), (3, 3), 8, pads=1), (1, 3, 3)),
            )),
        ]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Convolutional) or self.shape != other.shape:
            return False
        return self.lower() == other.lower()

    def __hash__(self) -> int:
        return hash(self.lower())

    def __str__(self) -> str:
        parts = []
        for operator, shape in self.layers:
            size = "x".join(map(str, shape))
            if isinstance(operator, Linear):
                parts.append(f"{'conv' if is_conv(operator) else 'affine'} {size}")
            elif isinstance(operator, MaxPool):
                parts.append(f"max pool {size}")
        return f"Convolutional {'x'.join(map(str, self.shape))}: {', '.join(parts)}"

    def __repr__(self) -> str:
        return f"<{self}>"


def is_conv(operator: Operator) -> bool:
    """Whether an operator is a Linear node of one convolution."""
    return isinstance(operator, Linear) and len(operator.maps) == 1 \
        and isinstance(operator.maps[0], Conv)


def has_conv(operator: Operator) -> bool:
    """Whether some map of an operator is a convolution."""
    return isinstance(operator, Linear) and any(isinstance(part, Conv) for part in operator.maps)


def check_layer(i: int, operator: Operator, shape: Shape, result: Shape) -> None:
    """ValueError unless the operator takes `shape` to `result`."""
    if isinstance(operator, Linear):
        if len(operator.maps) != 1:
            raise ValueError(f"layer {i} has {len(operator.maps)} linear maps, not one")
        (part,) = operator.maps
        if part.inputs != math.prod(shape) or part.outputs != math.prod(result):
            raise ValueError(f"layer {i} maps {part.inputs} to {part.outputs} entries between the "
                             f"shapes {shape} and {result}")
        return
    if isinstance(operator, MaxPool):
        if len(shape) != 1 + len(operator.size) or len(result) != len(shape):
            raise ValueError(f"layer {i} pools over {len(operator.size)} axes of shape {shape}")
        return
    if not isinstance(operator, BatchNormalization | PRelu) and not is_activation(operator):
        raise ValueError(f"layer {i} is a {type(operator).__name__}, which is neither affine, a "
                         "pool, nor an elementwise activation")
    if shape != result:
        raise ValueError(f"layer {i} changes the shape {shape} to {result}")


def chain_layers(network: Network) -> list[tuple[Operator, Shape]]:
    """The links of a chain with the shapes of their results, reshapes absorbed.

    A reshape between two links is only a change of view: an activation takes the shape of the link
    before it.
    """
    layers: list[tuple[Operator, Shape]] = []
    pending: tuple[Layer, Shape] | None = None
    shape = network.inputs[0]
    for value, node in straight_line(network, also=(MaxPool, BatchNormalization, PRelu)):
        size = math.prod(pending[1] if pending else shape)
        layer = (identity_map(size), None) if pending is None else pending[0]
        match node.operator:
            case Concat():
                pass
            case Select(indices):
                moved = selected(layer, indices)
                if pending is not None or moved is not layer:
                    pending = (moved, node.shape)
                elif not layers:
                    shape = node.shape
            case Linear() as operator:
                pending = (joined(layer, operator, value), node.shape)
            case operator:
                layers += closed(pending)
                shape = layers[-1][1] if layers else shape
                pending = None
                keeps = is_activation(operator) and not isinstance(operator, PRelu)
                shape = shape if keeps else node.shape
                layers.append((operator, shape))
    return layers + closed(pending)


def closed(pending: tuple[Layer, Shape] | None) -> list[tuple[Operator, Shape]]:
    """An affine link that is complete."""
    if pending is None:
        return []
    (part, bias), shape = pending
    if isinstance(part, Conv):  # a flattened result keeps the shape of the image
        shape = (part.channels_out, *part.space_out)
    return [(Linear((part,), bias), shape)]


def image_shape(shape: Shape, layers: list[tuple[Operator, Shape]]) -> Shape:
    """The shape of the input as the first link sees it (a flat input may feed a convolution)."""
    first = layers[0][0] if layers else None
    if isinstance(first, Linear) and isinstance(first.maps[0], Conv):
        return (first.maps[0].channels_in, *first.maps[0].space)
    return shape


def conv_layer(
    kernel: tuple[int, ...], space: tuple[int, ...], seed: int, *, pads: int = 0,
    strides: int = 1, dilations: int = 1, groups: int = 1,
) -> Linear:
    """A convolution with small eighths, for examples."""
    random = np.random.default_rng(seed)
    axes = len(space)
    part = Conv(
        kernel=(random.integers(-8, 9, kernel) / 8).astype(np.float32), space=space,
        strides=(strides,) * axes, pads=((pads, pads),) * axes, dilations=(dilations,) * axes,
        groups=groups,
    )
    bias = (random.integers(-8, 9, kernel[0]) / 8).astype(np.float32)
    return Linear((part,), np.repeat(bias, part.outputs // kernel[0]))


def dense_layer(m: int, n: int, seed: int) -> Linear:
    """A dense map with small eighths, for examples."""
    random = np.random.default_rng(seed)
    weight = (random.integers(-8, 9, (m, n)) / 8).astype(np.float32)
    return Linear((Dense(weight),), (random.integers(-8, 9, m) / 8).astype(np.float32))


def pool(size: int, stride: int | None = None) -> MaxPool:
    """A square max pool, for examples."""
    return MaxPool(size=(size,) * 2, strides=(stride or size,) * 2, pads=((0, 0),) * 2,
                   dilations=(1, 1))
