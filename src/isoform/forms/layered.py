# SPDX-License-Identifier: Apache-2.0
"""Any graph of the closed set of operators without recurrence."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from isoform.algebra.affine_rows import identity_map
from isoform.errors import NotInClass
from isoform.forms.records import Arrays, network_arrays, network_of
from isoform.network.linear_map import Conv, Csr, Dense, Gather
from isoform.network.network import Builder, Network
from isoform.network.operators import (
    BatchNormalization,
    Concat,
    Linear,
    Opaque,
    Product,
    Relu,
    Scan,
    Select,
    Step,
)
from isoform.network.size import Size, is_unit, measure
from isoform.numerics.exact import Exact


@dataclass(frozen=True, slots=True, eq=False)
class Layered:
    """A network as it is, surface or primitive; it holds no Scan."""

    network: Network

    def __post_init__(self) -> None:
        if any(isinstance(node.operator, Scan) for node in self.network.nodes):
            raise ValueError("a layered network holds no recurrence")

    def lower(self) -> Network:
        """The network itself."""
        return self.network

    @classmethod
    def lift(cls, network: Network) -> Layered:
        """Every network without Scan. Raises NotInClass otherwise."""
        scans = sum(isinstance(node.operator, Scan) for node in network.nodes)
        if scans:
            raise NotInClass(f"{scans} node(s) are recurrences; unroll them over a fixed horizon "
                             "first (--horizon T)")
        return cls(network)

    @property
    def size(self) -> Size:
        return measure(self.network)

    def arrays(self) -> Arrays:
        """The entry `network` and what belongs to it."""
        return network_arrays("network", self.network)

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Layered:
        """The inverse of `arrays`; FormatError where an entry is missing or does not fit."""
        return cls(network_of(arrays, "network"))

    @staticmethod
    def examples() -> list[Layered]:
        """Affine chains and branches, residuals, convolutions, products, steps, functions."""
        return [
            *(Layered(build()) for build in (
                affine_chain_net, bottleneck, branches, residual, skip_by_concat, low_rank,
                repvgg_block, normalised_conv, leaky_primitive, multiplicative,
            )),
        ]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Layered) and self.network == other.network

    def __hash__(self) -> int:
        return hash(self.network)

    def __str__(self) -> str:
        kinds = [type(n.operator).__name__ for n in self.network.nodes if is_unit(n.operator)]
        found = ", ".join(f"{kinds.count(k)} {k}" for k in dict.fromkeys(kinds))
        ends = f"{self.network.dimension} to {self.network.output_dimension}"
        return f"Layered {ends}, {len(self.network.nodes)} nodes" + (f" ({found})" if found else "")

    def __repr__(self) -> str:
        return f"<{self}>"


def eighths(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Small multiples of one eighth."""
    random = np.random.default_rng(seed)
    return (random.integers(-16, 17, shape) / 8).astype(np.float32)


def affine_chain_net() -> Network:
    """Three affine maps in a row, with an exact one between."""
    build = Builder((3,))
    x = build.linear(Dense(eighths((8, 3), 0)), 0, eighths((8,), 1))
    third = Exact.of(np.array([Fraction(1, 3)] * 8, dtype=object))
    x = build.linear(Gather(indices=np.arange(8), scale=third, inputs=8), x)
    return build.build(build.linear(Dense(eighths((2, 8), 2)), x, eighths((2,), 3)))


def bottleneck() -> Network:
    """12-1-12: the product would be larger."""
    build = Builder((12,))
    x = build.linear(Dense(eighths((1, 12), 4)), 0)
    return build.build(build.linear(Dense(eighths((12, 1), 5)), x))


def branches() -> Network:
    """Two affine branches of one value that add up, then a ReLU layer."""
    build = Builder((3,))
    a = build.linear(Dense(eighths((4, 3), 6)), 0, eighths((4,), 7))
    b = build.linear(Dense(eighths((4, 3), 8)), 0)
    total = build.linear((identity_map(4), identity_map(4)), (a, b))
    z = build.add(Relu(), (total,), 4)
    return build.build(build.linear(Dense(eighths((2, 4), 9)), z))


def residual() -> Network:
    """Two residual blocks x + B relu(A x + a) + b."""
    build = Builder((3,))
    x = 0
    for i in range(2):
        z = build.linear(Dense(eighths((4, 3), 10 + i)), x, eighths((4,), 20 + i))
        z = build.add(Relu(), (z,), 4)
        maps = (identity_map(3), Dense(eighths((3, 4), 30 + i)))
        x = build.linear(maps, (x, z), eighths((3,), 40 + i))
    return build.build(x)


def skip_by_concat() -> Network:
    """The output reads the input beside a two-layer branch, with entries picked."""
    build = Builder((2,))
    z = build.add(Relu(), (build.linear(Dense(eighths((3, 2), 50)), 0, eighths((3,), 51)),), 3)
    z = build.add(Relu(), (build.linear(Dense(eighths((3, 3), 52)), z),), 3)
    joined = build.add(Concat(), (z, 0), 5)
    picked = build.add(Select(np.array([4, 0, 0, 2])), (joined,), 4)
    return build.build(build.linear(Dense(eighths((2, 4), 53)), picked, eighths((2,), 54)))


def low_rank() -> Network:
    """W x + 2 B A x with a pair B A of rank one beside a dense matrix."""
    build = Builder((5,))
    w = build.linear(Dense(eighths((5, 5), 60)), 0, eighths((5,), 61))
    a = build.linear(Dense(eighths((1, 5), 62)), 0)
    b = build.linear(Dense(eighths((5, 1), 63)), a)
    twice = Gather(indices=np.arange(5), scale=np.full(5, 2.0, dtype=np.float32), inputs=5)
    total = build.linear((identity_map(5), twice), (w, b))
    return build.build(build.add(Relu(), (total,), 5))


def repvgg_block() -> Network:
    """3x3 + 1x1 + identity on a 2x3x3 image, all padded to the same size, then a ReLU."""
    build = Builder((2, 3, 3))

    def conv(kernel: np.ndarray, pad: int) -> Conv:
        return Conv(kernel=kernel, space=(3, 3), strides=(1, 1), pads=((pad, pad),) * 2,
                    dilations=(1, 1))

    bias = np.repeat(eighths((2,), 70), 9)
    a = build.add(Linear((conv(eighths((2, 2, 3, 3), 71), 1),), bias), (0,), (2, 3, 3))
    b = build.add(Linear((conv(eighths((2, 2, 1, 1), 72), 0),)), (0,), (2, 3, 3))
    total = build.add(Linear((identity_map(18),) * 3), (a, b, 0), (2, 3, 3))
    return build.build(build.add(Relu(), (total,), (2, 3, 3)))


def normalised_conv() -> Network:
    """Convolution, batch normalisation, ReLU, then a dense map of the flattened result."""
    build = Builder((1, 4, 4))
    part = Conv(kernel=eighths((2, 1, 3, 3), 80), space=(4, 4), strides=(1, 1),
                pads=((0, 0),) * 2, dilations=(1, 1))
    x = build.add(Linear((part,), np.repeat(eighths((2,), 81), 4)), (0,), (2, 2, 2))
    norm = BatchNormalization(
        scale=eighths((2,), 82), shift=eighths((2,), 83), mean=eighths((2,), 84),
        variance=np.array([0.25, 2.0], dtype=np.float32), epsilon=1e-5,
    )
    x = build.add(norm, (x,), (2, 2, 2))
    x = build.add(Relu(), (x,), (2, 2, 2))
    x = build.add(Select(np.arange(8)), (x,), 8)
    return build.build(build.linear(Dense(eighths((3, 8), 85)), x))


def leaky_primitive() -> Network:
    """relu(z) - relu(-z) / 8, and a maximum written as b + relu(a - b), with sparse maps."""
    build = Builder((2,))
    z = build.linear(Dense(eighths((4, 2), 90)), 0, eighths((4,), 91))
    negative = build.linear(
        Gather(indices=np.arange(4), scale=-np.ones(4, dtype=np.float32), inputs=4), z)
    up, down = build.add(Relu(), (z,), 4), build.add(Relu(), (negative,), 4)
    eighth = Gather(indices=np.arange(4), scale=np.full(4, -0.125), inputs=4)
    leaky = build.linear((identity_map(4), eighth), (up, down))
    a = build.add(Select(np.array([0, 1])), (leaky,), 2)
    b = build.add(Select(np.array([2, 3])), (leaky,), 2)
    minus = Csr(starts=np.array([0, 1, 2]), columns=np.array([0, 1]),
                values=np.array([-1.0, -1.0]), inputs=2)
    gap = build.add(Relu(), (build.linear((identity_map(2), minus), (a, b)),), 2)
    return build.build(build.linear((identity_map(2), identity_map(2)), (b, gap)))


def multiplicative() -> Network:
    """A gate: sigmoid times a step, summed."""
    build = Builder((2,))
    gate = build.add(Opaque("sigmoid"), (build.linear(Dense(eighths((2, 2), 95)), 0),), 2)
    step = build.add(Step(), (build.linear(Dense(eighths((2, 2), 96)), 0),), 2)
    both = build.add(Product(), (gate, step), 2)
    return build.build(build.linear(Dense(eighths((1, 2), 97)), both))
