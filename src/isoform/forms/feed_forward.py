# SPDX-License-Identifier: Apache-2.0
"""A chain of affine maps with one elementwise activation a hidden layer and a linear output."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from isoform.errors import FormatError, NotInClass
from isoform.forms.chain import Layer, affine_chain, is_activation
from isoform.forms.records import Arrays, plain, record_arrays, record_of, text
from isoform.network.linear_map import Conv, Csr, Dense, Gather
from isoform.network.network import Builder, Network
from isoform.network.operators import (
    Clip,
    LeakyRelu,
    Linear,
    Opaque,
    Operator,
    PRelu,
    Relu,
    Step,
)
from isoform.network.size import Size, measure
from isoform.numerics.exact import Exact

NAMES = {"LeakyRelu": "leaky ReLU", "Relu": "relu", "PRelu": "parametric ReLU",
         "HardSigmoid": "hard sigmoid", "HardSwish": "hard swish", "Gelu": "GELU"}


@dataclass(frozen=True, slots=True, eq=False)
class FeedForward:
    """y = A_L(s_L(A_{L-1}( ... s_1(A_0(x)))))

    layers: (map, bias) of A_0, ..., A_L, dense, compressed rows or gather; a bias is (outputs,) or
    None for zero. activations: s_1, ..., s_L, one elementwise operator a hidden layer.
    """

    layers: tuple[Layer, ...]
    activations: tuple[Operator, ...] = ()

    def __post_init__(self) -> None:
        if len(self.layers) != len(self.activations) + 1:
            raise ValueError(f"{len(self.layers)} affine maps with {len(self.activations)} "
                             "activations; there is one activation between any two maps")
        width = self.layers[0][0].inputs
        for i, (part, bias) in enumerate(self.layers):
            if isinstance(part, Conv):
                raise ValueError(f"layer {i} is a convolution; that is the form Convolutional")
            if part.inputs != width:
                raise ValueError(f"layer {i} takes {part.inputs} entries, it gets {width}")
            if bias is not None and bias.size != part.outputs:
                raise ValueError(f"layer {i} has {part.outputs} rows and {bias.size} biases")
            width = part.outputs
        for operator in self.activations:
            if not is_activation(operator):
                raise ValueError(f"{type(operator).__name__} is no elementwise activation")

    @property
    def widths(self) -> tuple[int, ...]:
        """Inputs, units of each hidden layer, outputs."""
        return (self.layers[0][0].inputs, *(part.outputs for part, _ in self.layers))

    @property
    def is_relu(self) -> bool:
        """Whether every activation is a ReLU."""
        return all(isinstance(operator, Relu) for operator in self.activations)

    def lower(self) -> Network:
        """Linear and activation nodes in turn, flat shapes."""
        build = Builder((self.layers[0][0].inputs,))
        value = 0
        for i, (part, bias) in enumerate(self.layers):
            value = build.linear(part, value, bias)
            if i < len(self.activations):
                value = build.add(self.activations[i], (value,), part.outputs)
        return build.build(value)

    @classmethod
    def lift(cls, network: Network) -> FeedForward:
        """The form of a network that is written as a chain (see `forms/chain.py`).

        Raises NotInClass with the first obstacle.
        """
        layers, activations = affine_chain(network)
        for i, (part, _) in enumerate(layers):
            if isinstance(part, Conv):
                raise NotInClass(f"affine map {i} is a convolution: the network is in the class "
                                 "convolutional; --by convolutional_to_feed_forward writes it out")
        return cls(tuple(layers), tuple(activations))

    @property
    def size(self) -> Size:
        return measure(self.lower())

    def arrays(self) -> Arrays:
        """The entry `layers` (their number), `layer.i` and `activation.i`."""
        arrays: Arrays = {"layers": text(len(self.layers))}
        for i, (part, bias) in enumerate(self.layers):
            arrays |= record_arrays(f"layer.{i}", Linear((part,), bias))
        for i, operator in enumerate(self.activations):
            arrays |= record_arrays(f"activation.{i}", operator)
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> FeedForward:
        """The inverse of `arrays`; FormatError where an entry is missing or does not fit."""
        count = plain(arrays, "layers")
        if not isinstance(count, int) or count < 1:
            raise FormatError(f"'layers' is {count!r}, not a number of layers")
        records = [record_of(arrays, f"layer.{i}") for i in range(count)]
        if any(not isinstance(r, Linear) or len(r.maps) != 1 for r in records):
            raise FormatError("an entry 'layer.i' is not one affine map")
        activations = tuple(record_of(arrays, f"activation.{i}") for i in range(count - 1))
        try:
            return cls(tuple((r.maps[0], r.bias) for r in records), activations)
        except (ValueError, AttributeError) as error:
            raise FormatError(f"the layers do not fit together: {error}") from None

    @staticmethod
    def examples() -> list[FeedForward]:
        """No hidden layer, several outputs, width 1, zero rows, leaky, sigmoid, exact, sparse."""
        relu = Relu()
        small = dense_chain((2, 3, 2), 1)
        third = Exact.of(np.array([[Fraction(1, 3), Fraction(-1, 7)], [2, -1]], dtype=object))
        dead = np.array([[1.5, -0.5], [0.0, 0.0], [0.0, 0.0], [-3.0, 1.0]], dtype=np.float32)
        sparse = Csr(starts=np.array([0, 1, 3, 3]), columns=np.array([0, 0, 1]),
                     values=np.array([2.0, -1.0, 0.5]), inputs=2)
        picked = Gather(indices=np.array([2, -1, 0]), scale=None, inputs=3)
        slope = np.array([0.5, -0.25, 2.0], dtype=np.float32)
        return [
            FeedForward(dense_chain((3, 2), 0)),
            FeedForward(small, (relu,)),
            FeedForward(dense_chain((2, 4, 4, 3), 2), (relu, relu)),
            FeedForward(dense_chain((1, 1, 1, 1), 3), (relu, relu)),
            FeedForward(
                ((Dense(dead), np.array([0.5, 1.25, -2.0, 0.0], dtype=np.float32)),
                 (Dense(np.array([[1.0, 2.0, 3.0, -1.0]])), None)), (relu,),
            ),
            FeedForward(
                ((Dense(third), Exact.of(np.array([Fraction(1, 5), 0], dtype=object))),
                 (Dense(third), None)), (relu,),
            ),
            FeedForward(((sparse, np.array([0.0, 1.0, -1.0])), (picked, None)), (relu,)),
            FeedForward(redundant_layers(), (relu,)),
            FeedForward(small, (LeakyRelu(0.125),)),
            FeedForward(dense_chain((2, 3, 3, 1), 4), (PRelu(slope), Clip(0.0, 6.0))),
            FeedForward(small, (Opaque("sigmoid"),)),
            FeedForward(small, (Step(),)),
        ]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FeedForward) and self.lower() == other.lower()

    def __hash__(self) -> int:
        return hash(self.lower())

    def __str__(self) -> str:
        shown = [str(n) for n in self.widths]
        if len(shown) > 12:
            shown = [*shown[:4], f"... ({len(self.activations)} hidden layers) ...", *shown[-2:]]
        names = list(dict.fromkeys(activation_name(operator) for operator in self.activations))
        return f"FeedForward {'-'.join(shown)}" + (f", {' and '.join(names)}" if names else "")

    def __repr__(self) -> str:
        return f"<{self}>"


def activation_name(operator: Operator) -> str:
    """An activation as the field calls it."""
    if isinstance(operator, Opaque):
        return operator.name
    name = type(operator).__name__
    return NAMES.get(name, name.lower())


def dense_chain(widths: tuple[int, ...], seed: int) -> tuple[Layer, ...]:
    """Dense layers of small eighths, for examples."""
    random = np.random.default_rng(seed)
    layers = []
    for n, m in zip(widths, widths[1:], strict=False):
        weight = (random.integers(-16, 17, (m, n)) / 8).astype(np.float32)
        layers.append((Dense(weight), (random.integers(-8, 9, m) / 8).astype(np.float32)))
    return tuple(layers)


def redundant_layers() -> tuple[Layer, ...]:
    """Parallel, antiparallel and unused units, for examples."""
    first = np.array([[1, -2], [3, -6], [-1, 2], [0.5, 1], [2, 2]], dtype=np.float32)
    bias = np.array([0.5, 1.5, -0.5, 1, 0], dtype=np.float32)
    second = np.array([[1, -1, 2, 0, 3], [0.5, 2, 1, 0, -1]], dtype=np.float32)
    return ((Dense(first), bias), (Dense(second), np.array([0, 1], dtype=np.float32)))
