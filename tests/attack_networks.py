# SPDX-License-Identifier: Apache-2.0
"""Tiny random networks, forged codes for them, and their truth by exact enumeration."""

from __future__ import annotations

import random
from fractions import Fraction

import numpy as np

from isoform.certificate.basis import Basis
from isoform.certificate.codes import Asked, Code, Codes
from isoform.network.linear_map import Csr, Dense, Gather
from isoform.network.network import Builder, Network
from isoform.network.operators import Concat, Linear, Opaque, Product, Relu, Scan, Select, Step
from isoform.numerics.exact import Exact, exact_fractions
from isoform.numerics.sparse import ExactSparse
from isoform.verify.identity import Search

WEIGHTS = (0, 0, 1, 1, -1, 2, -2, Fraction(1, 2), Fraction(-1, 2), 3, Fraction(1, 3))
FACTORS = (1, 2, Fraction(1, 2), Fraction(1, 3), 3, Fraction(3, 2), Fraction(999, 1000))

# --- networks ---------------------------------------------------------------------------------

Layers = list[tuple[list[list[Fraction]], list[Fraction]]]


def random_layers(rng: random.Random, widths: list[int]) -> Layers:
    """Matrices and biases of small numbers."""
    def number() -> Fraction:
        return Fraction(rng.choice(WEIGHTS))

    return [
        ([[number() for _ in range(n)] for _ in range(m)], [number() for _ in range(m)])
        for n, m in zip(widths, widths[1:], strict=False)
    ]


def chain(layers: Layers, kinds: list[str]) -> Network:
    """Affine maps with a kind of unit after each but the last."""
    build = Builder((len(layers[0][0][0]),))
    value = 0
    for i, (weight, bias) in enumerate(layers):
        value = build.linear(Dense(Exact.of(weight)), value, Exact.of(bias))
        if i < len(layers) - 1:
            operator = Relu() if kinds[i] == "relu" else Step()
            value = build.add(operator, (value,), len(bias))
    return build.build(value)


def disguised(rng: random.Random, layers: Layers, kinds: list[str]) -> Layers:
    """The same function: units permuted, scaled, repeated and mirrored in pairs."""
    layers = [([list(row) for row in weight], list(bias)) for weight, bias in layers]
    for i in range(len(layers) - 1):
        (weight, bias), (after, _) = layers[i], layers[i + 1]
        for unit in range(len(bias)):
            scale = Fraction(rng.choice(FACTORS))
            weight[unit] = [w * scale for w in weight[unit]]
            bias[unit] *= scale
            if kinds[i] == "relu":
                for row in after:
                    row[unit] /= scale
        if rng.random() < 0.4:  # half of the first unit twice
            weight.append(list(weight[0]))
            bias.append(bias[0])
            for row in after:
                row[0] /= 2
                row.append(row[0])
        order = rng.sample(range(len(bias)), len(bias))
        layers[i] = ([weight[j] for j in order], [bias[j] for j in order])
        for row in after:
            row[:] = [row[j] for j in order]
    return layers


def nudged(rng: random.Random, layers: Layers) -> Layers:
    """One number moved, often by very little."""
    layers = [([list(row) for row in weight], list(bias)) for weight, bias in layers]
    weight, bias = rng.choice(layers)
    size = rng.choice([1, 2, 16, 2**20, 2**95, 2**96, 2**97, 3**70])
    change = Fraction(rng.choice([1, -1]), size)
    row = rng.randrange(len(bias))
    if rng.random() < 0.5:
        bias[row] += change
    else:
        weight[row][rng.randrange(len(weight[row]))] += change
    return layers


def any_network(rng: random.Random, inputs: int, smooth: bool = True) -> Network:
    """A random graph over all primitive operators, with repeated and unused operands, constants
    and empty rows."""
    build = Builder((inputs,))
    values, seen = [0], 0
    for _ in range(rng.randrange(2, 9)):
        value = rng.choice(values[-3:])
        size = build.size_of(value)
        choice = rng.randrange(9 if smooth else 8)
        if choice <= 2:
            values.append(affine(rng, build, values, rng.randrange(1, 4)))
        elif choice <= 4:
            operator = Step() if rng.random() < 0.2 else Relu()
            values.append(build.add(operator, (value,), size))
        elif choice == 5:
            others = [v for v in values if build.size_of(v) == size]
            values.append(build.add(Product(), (value, rng.choice(others)), size))
        elif choice == 6 and not seen:
            seen = 1
            start = affine(rng, build, values, 1)
            values.append(build.add(Scan(cell(rng), 1, size), (start, value), 1 + size))
        elif choice == 7:
            parts = (value, rng.choice(values))
            joined = build.add(Concat(), parts, size + build.size_of(parts[1]))
            pick = np.array([rng.randrange(build.size_of(joined)) for _ in range(2)])
            values.append(build.add(Select(pick), (joined,), 2))
        elif choice == 8:
            name = rng.choice(["tanh", "sigmoid", "softmax", "softplus", "sin", "cos", "erf"])
            operator = Opaque(name, size if name == "softmax" else 0)
            values.append(build.add(operator, (value,), size))
    return build.build(affine(rng, build, values[-3:], 2))


def affine(rng: random.Random, build: Builder, values: list[int], size: int) -> int:
    """A sum of one or two maps of any structure, with or without a bias."""
    maps, operands = [], []
    for _ in range(rng.choice([1, 1, 2])):
        value = rng.choice(values)
        n = build.size_of(value)
        dense = Exact.of([[Fraction(rng.choice(WEIGHTS)) for _ in range(n)] for _ in range(size)])
        part = rng.choice([Dense(dense), Csr.of(ExactSparse.of(dense)), Gather(
            indices=np.array([rng.randrange(-1, n) for _ in range(size)]),
            scale=dense[:, 0] if rng.random() < 0.5 else None, inputs=n,
        )])
        maps.append(part)
        operands.append(value)
    bias = Exact.of([Fraction(rng.choice(WEIGHTS)) for _ in range(size)])
    return build.linear(maps, operands, bias if rng.random() < 0.7 else None)


def cell(rng: random.Random) -> Network:
    """(state, x) to (state, y)."""
    build = Builder((2,))
    value = affine(rng, build, [0], 2)
    return build.build(build.add(Relu(), (value,), 2) if rng.random() < 0.7 else value)


# --- forged codes -----------------------------------------------------------------------------


class Forger:
    """Chooses codes at random, or honestly with some units changed."""

    def __init__(self, basis: Basis, rng: random.Random, boldness: float):
        self.basis, self.rng, self.boldness = basis, rng, boldness
        self.honest = Search(basis, backward=rng.random() < 0.3)
        self.made: list[Codes] = []

    def __call__(self, asked: Asked) -> Codes:
        honest = self.honest(asked)
        codes = honest if self.rng.random() > self.boldness else self.forged(asked, honest)
        self.made.append(codes)
        return codes

    def forged(self, asked: Asked, honest: Codes) -> Codes:
        rng, n = self.rng, asked.value.rows.shape[0]
        columns = [
            column for block in self.basis.blocks if block.kind == asked.kind
            for column in range(block.start, block.stop)
        ]
        code, partner, factor, rank = honest.code.copy(), [], [], 0
        for i in range(n):
            old = code[i] >= Code.MERGE
            if rng.random() < 0.5:
                code[i] = rng.choice([0, 0, 1, 2, 3, 4] if columns else [0, 1, 2])
                if asked.kind == "relu" and n > 1 and rng.random() < 0.15:
                    code[i] = rng.choice([Code.FOLLOW, Code.MIRROR])
            if code[i] >= Code.MERGE:
                keep = old and rng.random() < 0.7
                others = range(n) if code[i] >= Code.FOLLOW else columns or [1]
                partner.append(int(honest.partner[rank]) if keep else rng.choice(others))
                scale = Fraction(rng.choice(FACTORS)) if asked.kind == "relu" else Fraction(1)
                factor.append(
                    honest.factor[rank].item() if old and rng.random() < 0.7 else scale
                )
            rank += old
        refined = slopes = None
        free = np.flatnonzero(code < Code.MERGE)
        if asked.kind == "relu" and len(free) and rng.random() < 0.3:
            refined = np.array(rng.sample(free.tolist(), rng.randrange(1, len(free) + 1)))
            bits = [rng.choice([0, 1 << 15, 1 << 14, 65535, rng.randrange(1 << 15)])
                    for _ in range(len(refined) * self.basis.width)]
            slopes = np.array(bits, dtype=np.uint16).reshape(len(refined), -1)
        return Codes(
            code=code, partner=np.array(partner, dtype=np.int64),
            factor=exact_fractions(factor, (len(factor),)), backward=rng.random() < 0.4,
            refined=refined, slopes=slopes,
        )


# --- truth in one dimension -------------------------------------------------------------------

Line = tuple[Fraction, Fraction]  # slope and intercept


def pieces(networks: list[Network], low: Fraction, high: Fraction) -> list[Fraction]:
    """Break points of piecewise affine networks of one input, low and high included: between two
    of them no pre-activation changes its sign."""
    points, waiting = {low, high}, [(low, high)]
    while waiting:
        left, right = waiting.pop()
        if left == right:
            continue
        roots = {root for net in networks for root in lines(net, left, right)[1]}
        if roots:
            cuts = [left, *sorted(roots), right]
            points |= roots
            waiting += list(zip(cuts, cuts[1:], strict=False))
    return sorted(points)


def lines(net: Network, left: Fraction, right: Fraction) -> tuple[list[Line], set[Fraction]]:
    """Outputs on the open interval, as lines, from the signs in its middle; and the roots of
    pre-activations inside it (where there are some, the lines mean nothing)."""
    middle, roots = (left + right) / 2, set()
    values: list[list[Line]] = [[(Fraction(1), Fraction(0))]]
    for node in net.nodes:
        operands = [values[o] for o in node.operands]
        match node.operator:
            case Linear(maps, bias):
                out = [(Fraction(0), b) for b in Exact.of(bias).fractions()] if bias is not None \
                    else [(Fraction(0), Fraction(0))] * node.shape[0]
                for part, given in zip(maps, operands, strict=True):
                    for i, row in enumerate(map(part.sparse().row_fractions, range(len(out)))):
                        out[i] = (
                            out[i][0] + sum(w * given[j][0] for j, w in row.items()),
                            out[i][1] + sum(w * given[j][1] for j, w in row.items()),
                        )
            case Relu() | Step():
                out = []
                for a, b in operands[0]:
                    if a and left < -b / a < right:
                        roots.add(-b / a)
                    on = a * middle + b >= 0
                    step = isinstance(node.operator, Step)
                    out.append((Fraction(0), Fraction(on)) if step else
                               (a, b) if on else (Fraction(0), Fraction(0)))
            case other:
                raise TypeError(other)
        values.append(out)
    return values[net.outputs[0]], roots
