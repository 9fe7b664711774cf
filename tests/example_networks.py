# SPDX-License-Identifier: Apache-2.0
"""Networks that together hold every operator and every linear map, by name."""

from __future__ import annotations

import numpy as np

from isoform.network.linear_map import Conv, Csr, Dense, Gather
from isoform.network.network import Builder, Network, Shape
from isoform.network.operators import (
    Abs,
    ArgExtreme,
    BatchNormalization,
    Clip,
    Compare,
    Concat,
    Divide,
    Gelu,
    HardSigmoid,
    HardSwish,
    LayerNormalization,
    LeakyRelu,
    Linear,
    MatMul,
    Maximum,
    MaxPool,
    Minimum,
    Opaque,
    Power,
    PRelu,
    Product,
    Quantize,
    ReduceMax,
    Relu,
    Round,
    Scan,
    Select,
    Softmax,
    Step,
    Where,
)

RNG = np.random.default_rng(7)


def random(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def one(operator: object, *inputs: Shape, to: Shape) -> Network:
    """A network of one operator."""
    b = Builder(*inputs)
    return b.build(b.add(operator, range(len(inputs)), to))  # type: ignore[arg-type]


def dense() -> Network:
    b = Builder((3,))
    value = b.linear(Dense(random(5, 3)), 0, random(5))
    value = b.add(Relu(), (value,), 5)
    return b.build(b.linear(Dense(random(2, 5)), value))


def convolutional() -> Network:
    b = Builder((2, 6, 5))
    conv = Conv(kernel=random(4, 1, 3, 2), space=(6, 5), strides=(2, 1), pads=((1, 0), (0, 1)),
                dilations=(1, 2), groups=2)
    bias = np.repeat(random(4), int(np.prod(conv.space_out)))
    value = b.add(Linear((conv,), bias), (0,), (4, *conv.space_out))
    value = b.add(Relu(), (value,), (4, *conv.space_out))
    value = b.add(MaxPool(size=(2, 2), strides=(1, 2), pads=((0, 1), (0, 0)), dilations=(1, 1)),
                  (value,), (4, 3, 2))
    norm = BatchNormalization(scale=random(4), shift=random(4), mean=random(4),
                              variance=np.abs(random(4)) + 1, epsilon=float(np.float32(1e-5)))
    value = b.add(norm, (value,), (4, 3, 2))
    return b.build(b.add(Linear((Dense(random(3, 24)),), random(3)), (value,), (3,)))


def position_bias() -> Network:
    """A convolution whose bias is no number a channel."""
    b = Builder((1, 4))
    conv = Conv(kernel=random(1, 1, 2), space=(4,), strides=(1,), pads=((0, 0),), dilations=(1,))
    return b.build(b.add(Linear((conv,), random(3)), (0,), (1, 3)))


def several_maps() -> Network:
    b = Builder((4,))
    hidden = b.add(Relu(), (b.linear(Dense(random(4, 4)), 0),), 4)
    csr = Csr(starts=np.array([0, 1, 1, 3, 4]), columns=np.array([2, 0, 3, 1]), values=random(4),
              inputs=4)
    same = Gather(indices=np.arange(4), scale=None, inputs=4)
    return b.build(b.linear((same, Dense(random(4, 4)), csr), (0, hidden, hidden), random(4)))


def gathers() -> Network:
    b = Builder((4,))
    scaled = b.linear(Gather(indices=np.arange(4), scale=random(4), inputs=4), 0, random(4))
    holes = b.linear(Gather(indices=np.array([3, -1, 0]), scale=None, inputs=4), scaled)
    spread = b.linear(Gather(indices=np.array([2, 0, -1, 1]), scale=random(4), inputs=3), holes)
    return b.build(b.add(Select(np.array([3, 1, 1])), (spread,), 3))


def constant_operand() -> Network:
    b = Builder((2,))
    constant = b.linear((), (), random(3))
    return b.build(b.add(Concat(), (0, constant), 5))


def selects() -> Network:
    b = Builder((2, 3, 2))
    turned = np.arange(12).reshape(2, 3, 2).transpose(1, 0, 2)
    value = b.add(Select(turned.ravel()), (0,), (3, 2, 2))
    value = b.add(Select(np.arange(1, 11, 3)), (value,), (2, 2))
    return b.build(b.add(Concat(axis=1), (value, value), (2, 4)))


def scan() -> Network:
    cell = Builder((5,))
    mixed = cell.linear(Dense(random(4, 5)), 0, random(4))
    inner = cell.build(cell.add(Relu(), (mixed,), 4))
    b = Builder((9,))
    start = b.linear((), (), np.zeros(2, np.float32))
    return b.build(b.add(Scan(inner, 2, 3), (start, 0), 8))


def attention() -> Network:
    b = Builder((4, 3), (2, 3, 4))
    value = b.add(MatMul(), (0, 1), (2, 4, 4))
    value = b.add(Softmax(axis=2), (value,), (2, 4, 4))
    vector = b.add(Select(np.arange(4)), (value,), (4,))
    return b.build(b.add(MatMul(), (value, vector), (2, 4)))


def chosen() -> Network:
    b = Builder((3,), (3,))
    truth = b.add(Compare("<"), (0, 1), (3,))
    value = b.add(Where(), (truth, 0, 1), (3,))
    factor = b.add(Step(), (value,), (3,))
    return b.build(b.add(Where(), (factor, truth, value), (3,)))


def reshaped() -> Network:
    """Nodes that carry another shape than their operand: the entries are the same."""
    b = Builder((1, 2, 4))
    conv = Conv(kernel=random(3, 1, 1, 2), space=(2, 4), strides=(1, 1), pads=((0, 0), (0, 0)),
                dilations=(1, 1))
    value = b.add(Linear((conv,), None), (0,), (3, 2, 3))
    for i, operator in enumerate([Relu(), Opaque("tanh"), LeakyRelu(0.5), Clip(-1.0, 0.5), Abs()]):
        value = b.add(operator, (value,), [(18,), (2, 9), (3, 2, 3), (9, 2), (6, 3)][i])
    value = b.add(ReduceMax((0,), False), (value,), (3,))
    return b.build(b.add(Step(), (value,), (3, 1)), value)


def byte(scale: object, zero_point: object) -> Quantize:
    return Quantize(scale=np.asarray(scale, dtype=np.float32), low=0, high=255,
                    zero_point=np.asarray(zero_point, dtype=np.float32))


NETWORKS = {
    "reshaped": reshaped(),
    "dense": dense(), "convolutional": convolutional(), "position bias": position_bias(),
    "several maps": several_maps(), "gathers": gathers(), "constant operand": constant_operand(),
    "selects": selects(), "scan": scan(), "attention": attention(), "chosen": chosen(),
    "relu": one(Relu(), (2, 3), to=(2, 3)),
    "step": one(Step(), (3,), to=(3,)),
    "product": one(Product(), (3,), (3,), to=(3,)),
    "leaky relu": one(LeakyRelu(0.25), (3,), to=(3,)),
    "leaky relu, no float32": one(LeakyRelu(0.1), (3,), to=(3,)),
    "prelu": one(PRelu(random(2, 1)), (2, 3), to=(2, 3)),
    "clip": one(Clip(-0.5, 0.75), (3,), to=(3,)),
    "clip above": one(Clip(None, 0.75), (3,), to=(3,)),
    "clip below": one(Clip(0.0, None), (3,), to=(3,)),
    "round": one(Round(), (2, 3), to=(3, 2)),
    "quantise": one(byte(0.125, 3), (2, 3), to=(2, 3)),
    "quantise channels": one(byte([[0.25], [0.5]], [[0], [7]]), (2, 3), to=(2, 3)),
    "quantise to 16 bits": one(
        Quantize(scale=np.full((), 0.0625, np.float32), zero_point=np.zeros((), np.float32),
                 low=-(2**15), high=2**15 - 1),
        (3,), to=(3,),
    ),
    "hard sigmoid": one(HardSigmoid(0.25, 0.5), (3,), to=(3,)),
    "hard sigmoid, no float32": one(HardSigmoid(0.2, 0.5), (3,), to=(3,)),
    "hard swish": one(HardSwish(), (3,), to=(3,)),
    "abs": one(Abs(), (3,), to=(3,)),
    "maximum": one(Maximum(), (3,), (3,), (3,), to=(3,)),
    "minimum": one(Minimum(), (3,), (3,), to=(3,)),
    "max pool ceil": one(
        MaxPool(size=(2,), strides=(2,), pads=((0, 0),), dilations=(1,), ceil=True),
        (2, 5), to=(2, 3),
    ),
    "reduce max": one(ReduceMax((1,), True), (2, 3), to=(2, 1)),
    "argmax": one(ArgExtreme(0, True, False, True), (2, 3), to=(3,)),
    "argmin": one(ArgExtreme(1, False, True), (2, 3), to=(2, 1)),
    "divide": one(Divide(), (3,), (3,), to=(3,)),
    "power": one(Power(2.0), (3,), to=(3,)),
    "softmax": one(Softmax(0), (3, 2), to=(3, 2)),
    "softmax groups": one(Opaque("softmax", 3), (6,), to=(6,)),
    "softmax whole": one(Opaque("softmax", 6), (6,), to=(6,)),
    "gelu": one(Gelu(), (3,), to=(3,)),
    "gelu tanh": one(Gelu(tanh=True), (3,), to=(3,)),
    "layer normalization": one(
        LayerNormalization(axis=1, scale=random(3), shift=random(3),
                           epsilon=float(np.float32(1e-5))),
        (2, 3), to=(2, 3),
    ),
    "layer normalization, bare": one(
        LayerNormalization(axis=0, scale=None, shift=None, epsilon=0.0), (2, 3), to=(2, 3)
    ),
    **{
        name: one(Opaque(name), (3,), to=(3,))
        for name in ("exp", "reciprocal", "tanh", "sigmoid", "erf", "softplus", "sin", "cos")
    },
}
