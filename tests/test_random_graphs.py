# SPDX-License-Identifier: Apache-2.0
"""Random graphs of shaped operators: every format gives back the same function, exactly.

Weights and inputs are small integers, so that float arithmetic makes no error either.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isoform.formats.npz import read_npz, write_network
from isoform.formats.onnx.read import read_onnx
from isoform.formats.onnx.write import write_onnx
from isoform.formats.replay import run_onnx
from isoform.network.evaluate import evaluate, evaluate_exact
from isoform.network.linear_map import Conv, Csr, Dense, Gather
from isoform.network.model import Signature
from isoform.network.network import Builder, Network, Shape
from isoform.network.operators import (
    Abs,
    ArgExtreme,
    Clip,
    Compare,
    Concat,
    LeakyRelu,
    Linear,
    MatMul,
    Maximum,
    Minimum,
    Product,
    ReduceMax,
    Relu,
    Select,
    Step,
)
from isoform.numerics.exact import Exact

MOST_ENTRIES = 64


class Draw:
    """Small integer arrays and shapes from one seed."""

    def __init__(self, seed: int):
        self.rng = np.random.default_rng(seed)

    def numbers(self, *shape: int) -> np.ndarray:
        return self.rng.integers(-3, 4, shape).astype(np.float32)

    def below(self, n: int) -> int:
        return int(self.rng.integers(n))

    def shape(self, size: int) -> Shape:
        """Some shape of one to three axes with this many entries."""
        divisors = [a for a in range(1, size + 1) if size % a == 0]
        first = divisors[self.below(len(divisors))]
        rest = [a for a in divisors if (size // first) % a == 0]
        second = rest[self.below(len(rest))]
        return [(size,), (first, size // first), (first, second, size // first // second)][
            self.below(3)
        ]


def dense(b: Builder, v: int, draw: Draw) -> int:
    rows = (4, 6, 8)[draw.below(3)]
    bias = draw.numbers(rows) if draw.below(2) else None
    return b.add(Linear((Dense(draw.numbers(rows, b.size_of(v))),), bias), (v,), draw.shape(rows))


def gathers(b: Builder, v: int, draw: Draw) -> int:
    n = b.size_of(v)
    scale = draw.numbers(n) if draw.below(2) else None
    moved = Gather(indices=draw.rng.integers(-1, n, n), scale=scale, inputs=n)
    same = Gather(indices=np.arange(n), scale=None, inputs=n)
    return b.add(Linear((moved, same), draw.numbers(n)), (v, v), b.shape_of(v))


def sparse(b: Builder, v: int, draw: Draw) -> int:
    n = b.size_of(v)
    rows, columns = np.nonzero(draw.rng.random((n, n)) < 0.3)
    part = Csr(starts=np.searchsorted(rows, np.arange(n + 1)), columns=columns,
               values=draw.numbers(len(columns)), inputs=n)
    return b.add(Linear((part,)), (v,), b.shape_of(v))


def convolution(b: Builder, v: int, draw: Draw) -> int:
    shape = b.shape_of(v)
    if len(shape) < 3:
        return v
    part = Conv(kernel=draw.numbers(2, shape[0], 1, 1), space=shape[1:], strides=(1, 1),
                pads=((draw.below(2), 0), (0, 1)), dilations=(1, 1))
    bias = np.repeat(draw.numbers(2), math.prod(part.space_out)) if draw.below(2) else None
    return b.add(Linear((part,), bias), (v,), (2, *part.space_out))


def selected(b: Builder, v: int, draw: Draw) -> int:
    size = (4, 6, 8)[draw.below(3)]
    return b.add(Select(draw.rng.integers(0, b.size_of(v), size)), (v,), draw.shape(size))


def transposed(b: Builder, v: int, draw: Draw) -> int:
    shape = b.shape_of(v)
    places = np.arange(b.size_of(v)).reshape(shape).transpose(draw.rng.permutation(len(shape)))
    return b.add(Select(places.ravel()), (v,), places.shape)


def joined(b: Builder, v: int, draw: Draw) -> int:
    shape = list(b.shape_of(v))
    if not shape:
        return v
    axis = draw.below(len(shape))
    shape[axis] *= 2
    return b.add(Concat(axis), (v, v), shape)


def pairs(b: Builder, v: int, draw: Draw) -> int:
    shape = b.shape_of(v)
    other = b.add(Select(draw.rng.permutation(b.size_of(v))), (v,), shape)
    operators = (Maximum(), Minimum(), Product(), Compare("<="), Compare("=="))
    return b.add(operators[draw.below(5)], (v, other), shape)


def activation(b: Builder, v: int, draw: Draw) -> int:
    operators = (Relu(), LeakyRelu(0.5), Clip(-1.0, 2.0), Clip(0.0, None), Abs(), Step())
    return b.add(operators[draw.below(6)], (v,), draw.shape(b.size_of(v)))


def extreme(b: Builder, v: int, draw: Draw) -> int:
    shape = b.shape_of(v)
    if not shape:
        return v
    axis, keep = draw.below(len(shape)), bool(draw.below(2))
    rest = tuple(1 if i == axis else n for i, n in enumerate(shape) if keep or i != axis)
    position = ArgExtreme(axis, bool(draw.below(2)), keep, bool(draw.below(2)))
    return b.add((ReduceMax((axis,), keep), position)[draw.below(2)], (v,), rest)


def squared(b: Builder, v: int, draw: Draw) -> int:
    shape = b.shape_of(v)
    if len(shape) < 2:
        return v
    places = np.arange(b.size_of(v)).reshape(shape).swapaxes(-1, -2)
    turned = b.add(Select(places.ravel()), (v,), places.shape)
    return b.add(MatMul(), (v, turned), (*shape[:-1], shape[-2]))


STEPS: tuple[Callable[[Builder, int, Draw], int], ...] = (
    dense, gathers, sparse, convolution, selected, transposed, joined, pairs, activation, extreme,
    squared,
)


def random_graph(seed: int) -> Network:
    draw = Draw(seed)
    b = Builder(*(draw.shape((4, 6, 8, 12)[draw.below(4)]) for _ in range(1 + draw.below(2))))
    values = list(range(len(b.inputs)))
    for _ in range(1 + draw.below(7)):
        made = STEPS[draw.below(len(STEPS))](b, values[draw.below(len(values))], draw)
        if b.size_of(made) <= MOST_ENTRIES:
            values.append(made)
    return b.build(*[values[-1], values[draw.below(len(values))]][: 1 + draw.below(2)])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([None, "N", 1, 2]))
def test_random_graphs(
    tmp_path_factory: pytest.TempPathFactory, seed: int, batch: str | int | None
) -> None:
    folder: Path = tmp_path_factory.mktemp("graph")
    network = random_graph(seed)
    default = Signature.of(network)
    signature = Signature(inputs=default.inputs, outputs=default.outputs, batch=batch)
    write_network(network, folder / "n.npz", signature)
    stored = read_npz(folder / "n.npz")
    assert stored.network == network and stored.signature == signature

    write_onnx(network, folder / "m.onnx", signature=signature)
    x = np.random.default_rng(seed).integers(-3, 4, (3, network.dimension)).astype(np.float32)
    assert np.array_equal(run_onnx(folder / "m.onnx", x), evaluate(network, x))
    loaded = read_onnx(folder / "m.onnx", batch="keep" if batch is None else "drop")
    assert loaded.signature == signature
    points = Exact.of(x.T)
    assert evaluate_exact(loaded.network, points) == evaluate_exact(network, points)
