# SPDX-License-Identifier: Apache-2.0
"""What people do to a network: reorder, pad, round, prune, perturb, rewrite as deep and narrow.

Every function takes a chain and returns one, in float32 as a file would hold it; those that keep
the function keep it exactly. `networks` has the elementary steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

import networks
from networks import Chain, Layer

POINTS = 10_000
MOST_CORNERS = 1_024


def reordered(chain: Chain, seed: int) -> Chain:
    """The same function: units permuted, and rescaled by powers of two."""
    return networks.scrambled(chain, seed)


def padded(chain: Chain, seed: int) -> Chain:
    """The same function: reordered, with dead units, a linear layer more and an identity layer."""
    copy = networks.with_dead_units(networks.scrambled(chain, seed), seed + 1)
    return networks.with_identity_layer(networks.with_linear_layer(copy, seed + 2))


def halved(chain: Chain) -> Chain:
    """Weights and biases rounded to float16."""
    return each(chain, lambda array: array.astype(np.float16).astype(np.float32))


def perturbed(chain: Chain, seed: int, size: float = 1e-3) -> Chain:
    """Every weight and bias times 1 + u, u uniform in [-size, size]."""
    random = np.random.default_rng(seed)
    return each(chain, lambda array: (array * (1 + random.uniform(-size, size, array.shape))
                                      ).astype(np.float32))


def pruned(chain: Chain, share: float = 0.1) -> Chain:
    """The smallest weights of the whole network, by magnitude, set to 0."""
    sizes = np.sort(np.concatenate([np.abs(layer.weight).ravel() for layer in chain]))
    bound = sizes[int(share * sizes.size)]
    return tuple(
        replace(layer, weight=np.where(np.abs(layer.weight) < bound, np.float32(0), layer.weight))
        for layer in chain
    )


def moved(chain: Chain, points: np.ndarray, by: float = 1e-3) -> Chain:
    """Another function: one weight of the first output moved, that of the unit that is the most
    active on the points."""
    column = int(hidden_values(chain, points).mean(axis=0).argmax())
    weight = chain[-1].weight.copy()
    weight[0, column] += np.float32(by)
    return (*chain[:-1], replace(chain[-1], weight=weight))


def deepened(chain: Chain, positive: bool = False) -> Chain:
    """The same function with the hidden units one after the other: n-k-m becomes k hidden layers.

    Layer t holds the inputs (positive and negative parts; without the latter where all inputs are
    `positive`, and then the function is the same for those only), unit t, and for each output the
    sums so far of the terms with positive and with negative weights. Only copies of the old weights
    and 0, 1, -1 occur, so nothing is rounded.
    """
    first, last = chain
    (k, n), m = first.weight.shape, len(last.bias)
    parts = 1 if positive else 2
    width, unit = parts * n + 1 + 2 * m, parts * n
    up, down = np.maximum(last.weight, 0), np.maximum(-last.weight, 0)
    layers = []
    for t in range(k):
        weight = np.zeros((width, width if t else n), dtype=np.float32)
        bias = np.zeros(width, dtype=np.float32)
        row, bias[unit] = first.weight[t], first.bias[t]
        if t == 0:
            weight[:n] = np.eye(n)
            weight[n:unit] = -np.eye(n)[: unit - n]
            weight[unit] = row
        else:
            weight[:unit, :unit] = np.eye(unit)
            weight[unit, :unit] = row if positive else np.concatenate([row, -row])
            weight[unit + 1 :, unit + 1 :] = np.eye(2 * m)
            weight[unit + 1 :, unit] = np.concatenate([up[:, t - 1], down[:, t - 1]])
        layers.append(Layer(weight, bias))
    weight = np.zeros((m, width), dtype=np.float32)
    weight[:, unit] = last.weight[:, k - 1]
    weight[:, unit + 1 : unit + 1 + m], weight[:, unit + 1 + m :] = np.eye(m), -np.eye(m)
    return (*layers, Layer(weight, last.bias, relu=False))


def each(chain: Chain, change: Callable[[np.ndarray], np.ndarray]) -> Chain:
    return tuple(replace(layer, weight=change(layer.weight), bias=change(layer.bias))
                 for layer in chain)


# --- values in floats -----------------------------------------------------------------------------


def values(chain: Chain, points: np.ndarray) -> np.ndarray:
    """Outputs (batch, m) at points (batch, n), in float64."""
    return hidden_values(chain, points) @ chain[-1].weight.astype(float).T + chain[-1].bias


def hidden_values(chain: Chain, points: np.ndarray) -> np.ndarray:
    """What the last layer reads."""
    for layer in chain[:-1]:
        points = points @ layer.weight.astype(float).T + layer.bias
        if layer.relu:
            points = np.maximum(points, 0)
    return points


def sampled(low: np.ndarray, high: np.ndarray, seed: int = 0) -> np.ndarray:
    """Points of a box: uniform ones, and corners, all of them where there are few."""
    random, n = np.random.default_rng(seed), len(low)
    if 2**n <= MOST_CORNERS:
        bits = np.arange(2**n)[:, None] >> np.arange(n) & 1
    else:
        bits = random.integers(0, 2, (MOST_CORNERS, n))
    unit = np.concatenate([random.uniform(size=(POINTS, n)), bits])
    return low + unit * (high - low)


def largest_seen(first: Chain, second: Chain, points: np.ndarray) -> float:
    """The largest difference of two chains on points."""
    return float(np.abs(values(first, points) - values(second, points)).max())
