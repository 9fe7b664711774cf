# SPDX-License-Identifier: Apache-2.0
"""A pair of networks whose claim takes some hundred splits, and a search about it to be run in a
process of its own: python long_search.py STATE EPS TIMEOUT WORKERS; EPS "hard" asks `hard`."""

from __future__ import annotations

import sys
from fractions import Fraction

import numpy as np

from isoform.network.claim import Claim, Within
from isoform.network.domain import Box
from isoform.network.linear_map import Dense
from isoform.network.network import Builder, Network
from isoform.network.operators import Relu
from isoform.verify.prove import prove

SIZES = (5, 16, 16, 2)
LARGE = (8, 32, 32, 2)
DOMAIN, WIDE = Box([-1] * 5, [1] * 5), Box([-1] * 8, [1] * 8)


def pair(noise: float = 0.02, sizes: tuple[int, ...] = SIZES) -> tuple[Network, Network]:
    """Two networks with 5 inputs, 32 units and 2 outputs, whose weights differ a little. Their
    largest difference is between 0.104 and 0.15."""
    random = np.random.default_rng(1)
    layers = []
    for inputs, outputs in zip(sizes, sizes[1:], strict=False):
        weight = random.standard_normal((outputs, inputs)) / np.sqrt(inputs)
        bias = np.round(random.standard_normal(outputs) * 64) / 256
        layers.append((np.round(weight * 256) / 256, bias))
    other = [
        (w + np.round(random.standard_normal(w.shape) * noise * 4096) / 4096, b)
        for w, b in layers
    ]
    return chain(layers), chain(other)


def chain(layers: list[tuple[np.ndarray, np.ndarray]]) -> Network:
    build = Builder((layers[0][0].shape[1],))
    value = 0
    for i, (weight, bias) in enumerate(layers):
        value = build.linear([Dense(weight)], (value,), bias)
        if i < len(layers) - 1:
            value = build.add(Relu(), (value,), len(bias))
    return build.build(value)


def claim(eps: str) -> Claim:
    return Claim(Within(Fraction(eps)), DOMAIN)


def hard() -> tuple[Network, Network, Claim]:
    """A claim that no search of a minute decides: 8 inputs, 64 units, an eps just above the largest
    difference that an attack finds."""
    return *pair(0.02, LARGE), Claim(Within(Fraction("0.284")), WIDE)


def main() -> None:
    state, eps, timeout, workers = sys.argv[1:]
    print("began", flush=True)
    verdict = prove(
        *(hard() if eps == "hard" else (*pair(), claim(eps))), timeout=float(timeout),
        workers=int(workers), state=state, report=lambda line: print(line, flush=True),
    )
    print(type(verdict).__name__, flush=True)


if __name__ == "__main__":
    main()
