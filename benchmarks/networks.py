# SPDX-License-Identifier: Apache-2.0
"""Seeded networks and scrambled copies of them, for tests and benchmarks alike.

A `Chain` is a list of affine maps, each followed by ReLU or by nothing. Every change below keeps
the function over the reals, except `nudged` and `rounded`, which say what they change. Weights stay
floats where floats can hold them; otherwise they become `Exact`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from isoform.network.linear_map import Constant, Dense, exact
from isoform.network.network import Builder, Network
from isoform.network.operators import Relu
from isoform.numerics.exact import Exact, concatenate


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """y = W x + b, then max(., 0) where `relu`. weight: (m, n); bias: (m,)."""

    weight: Constant
    bias: Constant
    relu: bool = True


Chain = tuple[Layer, ...]


def random_chain(widths: Sequence[int], seed: int, dtype: type = np.float32) -> Chain:
    """He-normal weights and uniform biases; the last layer is linear. widths: inputs, units of each
    hidden layer, outputs."""
    random = np.random.default_rng(seed)
    layers = []
    for n, m in zip(widths, widths[1:], strict=False):
        weight = (random.standard_normal((m, n)) * np.sqrt(2 / n)).astype(dtype)
        bias = random.uniform(-1, 1, m) / np.sqrt(n)
        layers.append(Layer(weight, bias.astype(dtype), len(layers) < len(widths) - 2))
    return tuple(layers)


def network(chain: Chain) -> Network:
    """The primitive network of a chain."""
    build = Builder((chain[0].weight.shape[1],))
    value = 0
    for layer in chain:
        value = build.linear(Dense(layer.weight), value, layer.bias)
        if layer.relu:
            value = build.add(Relu(), (value,), layer.weight.shape[0])
    return build.build(value)


def save_npz(chain: Chain, path: Path) -> None:
    """The plain layer list W0, b0, W1, ...: ReLU between, last layer linear."""
    if any(layer.relu != (i < len(chain) - 1) for i, layer in enumerate(chain)):
        raise ValueError("a plain layer list has ReLU after every layer but the last")
    arrays = {}
    for i, layer in enumerate(chain):
        if isinstance(layer.weight, Exact) or isinstance(layer.bias, Exact):
            raise ValueError("a plain layer list holds floats")
        arrays |= {f"W{i}": layer.weight, f"b{i}": layer.bias}
    np.savez(path, **arrays)


def hidden(chain: Chain) -> list[int]:
    """Numbers of the layers with ReLU that another layer follows."""
    return [i for i, layer in enumerate(chain[:-1]) if layer.relu]


def permuted(chain: Chain, seed: int) -> Chain:
    """The units of every hidden layer in another order."""
    random, layers = np.random.default_rng(seed), list(chain)
    for i in hidden(chain):
        order = random.permutation(len(layers[i].bias))
        layers[i] = replace(layers[i], weight=layers[i].weight[order], bias=layers[i].bias[order])
        layers[i + 1] = replace(layers[i + 1], weight=layers[i + 1].weight[:, order])
    return tuple(layers)


def rescaled(chain: Chain, seed: int, powers_of_two: bool = True) -> Chain:
    """Every hidden unit times a positive factor, undone by the next layer: c relu(z) = relu(c z).

    Powers of two from 1/8 to 8 keep floats exact; else quotients of 1 to 9, in `Exact`.
    """
    random, layers = np.random.default_rng(seed), list(chain)
    for i in hidden(chain):
        n = len(layers[i].bias)
        factor: Constant
        back: Constant
        if powers_of_two:
            factor = np.exp2(random.integers(-3, 4, n)).astype(np.float32)
            back = 1 / factor
        else:
            pairs = random.integers(1, 10, (n, 2)).tolist()
            factor = Exact.of([Fraction(p, q) for p, q in pairs])
            back = Exact.of([Fraction(q, p) for p, q in pairs])
        layers[i] = replace(
            layers[i], weight=times(layers[i].weight, factor.reshape(-1, 1)),
            bias=times(layers[i].bias, factor),
        )
        layers[i + 1] = replace(
            layers[i + 1], weight=times(layers[i + 1].weight, back.reshape(1, -1))
        )
    return tuple(layers)


def scrambled(chain: Chain, seed: int) -> Chain:
    """Permuted, and rescaled by powers of two."""
    return rescaled(permuted(chain, seed), seed + 1)


def with_dead_units(chain: Chain, seed: int, count: int = 3) -> Chain:
    """`count` more units a hidden layer: they never fire, whatever the input, and are read."""
    random, layers = np.random.default_rng(seed), list(chain)
    for i in hidden(chain):
        m, n = layers[i].weight.shape
        nothing = np.zeros((count, n), dtype=np.float32)
        below = -np.ones(count, dtype=np.float32)
        read = random.integers(-4, 5, (layers[i + 1].weight.shape[0], count)).astype(np.float32)
        layers[i] = replace(
            layers[i], weight=joined(layers[i].weight, nothing, 0),
            bias=joined(layers[i].bias, below, 0),
        )
        layers[i + 1] = replace(layers[i + 1], weight=joined(layers[i + 1].weight, read, 1))
    return tuple(layers)


def with_split_units(chain: Chain) -> Chain:
    """The first unit of every hidden layer twice, each read with half the weight."""
    layers = list(chain)
    for i in hidden(chain):
        weight, bias = layers[i].weight, layers[i].bias
        layers[i] = replace(
            layers[i], weight=joined(weight, weight[:1], 0), bias=joined(bias, bias[:1], 0)
        )
        after = layers[i + 1].weight
        half = times(after[:, :1], np.float32([[0.5]]))
        halved = joined(joined(half, after[:, 1:], 1), half, 1)
        layers[i + 1] = replace(layers[i + 1], weight=halved)
    return tuple(layers)


def with_identity_layer(chain: Chain, after: int = 0) -> Chain:
    """One hidden layer more, after hidden layer number `after`: relu(I h) = h for h >= 0."""
    at = hidden(chain)[after]
    n = len(chain[at].bias)
    same = Layer(np.eye(n, dtype=np.float32), np.zeros(n, dtype=np.float32))
    return (*chain[: at + 1], same, *chain[at + 1 :])


def with_linear_layer(chain: Chain, seed: int, before: int = 0) -> Chain:
    """An affine map written as two with nothing between: a signed permutation, then its inverse."""
    random, n = np.random.default_rng(seed), chain[before].weight.shape[1]
    turn = np.zeros((n, n), dtype=np.float32)
    turn[np.arange(n), random.permutation(n)] = random.choice([-2.0, -0.5, 0.5, 2.0], n)
    inverse = np.zeros((n, n), dtype=np.float32)
    rows, columns = np.nonzero(turn)
    inverse[columns, rows] = 1 / turn[rows, columns]
    first = Layer(turn, np.zeros(n, dtype=np.float32), relu=False)
    weight = chain[before].weight
    if isinstance(weight, Exact):
        second = weight @ Exact.of(inverse)
    else:
        second = (weight.astype(np.float64) @ inverse).astype(weight.dtype)  # one entry a column
    return (*chain[:before], first, replace(chain[before], weight=second), *chain[before + 1 :])


def nudged(chain: Chain, layer: int = 0, row: int = 0, column: int = 0) -> Chain:
    """Another function: one float weight moved to the next float above it."""
    weight = chain[layer].weight
    if isinstance(weight, Exact):
        raise ValueError("an exact weight has no next float")
    moved = weight.copy()
    moved[row, column] = np.nextafter(moved[row, column], moved.dtype.type(np.inf))
    changed = replace(chain[layer], weight=moved)
    return (*chain[:layer], changed, *chain[layer + 1 :])


def rounded(chain: Chain, dtype: type = np.float32) -> Chain:
    """Near the same function: every constant the nearest float."""
    return tuple(
        replace(layer, weight=exact(layer.weight).to_float(dtype),
                bias=exact(layer.bias).to_float(dtype))
        for layer in chain
    )


def joined(first: Constant, second: Constant, axis: int) -> Constant:
    """Two constants along an axis; exact where one of them is."""
    if isinstance(first, np.ndarray) and isinstance(second, np.ndarray):
        return np.concatenate([first, second.astype(first.dtype)], axis=axis)
    return concatenate([exact(first), exact(second)], axis)


def times(first: Constant, second: Constant) -> Constant:
    """Elementwise product with broadcasting; exact where one of the two is."""
    if isinstance(first, np.ndarray) and isinstance(second, np.ndarray):
        return (first * second).astype(first.dtype)
    return exact(first) * exact(second)
