# SPDX-License-Identifier: Apache-2.0
"""Random pairs of small networks, random slots for their units, and exact values of every slot."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from isoform.certificate.differential import Boxes, Differential
from isoform.certificate.fixed import Fixed
from isoform.certificate.relaxation import Layer
from isoform.certificate.tree import split
from isoform.certificate.tree_evidence import Split
from isoform.errors import CertificateRejected
from isoform.network.linear_map import Dense
from isoform.network.network import Builder, Network
from isoform.network.operators import Relu
from isoform.network.paired import NOBODY, Paired, Slots, paired
from isoform.network.unit_layers import UnitLayers, unit_layers
from isoform.numerics.exact import Exact

FACTORS = [Fraction(1), Fraction(1), Fraction(1, 2), Fraction(3), Fraction(5, 7)]


def random_net(
    random: np.random.Generator, d: int, m: int, depth: int, like: Network | None = None,
    noise: float = 0.0,
) -> Network:
    """Affine maps over the last units and, at times, over the inputs too; weights in eighths."""
    build = Builder((d,))
    value, size = 0, d
    for layer in range(depth + 1):
        n = m if layer == depth else int(random.integers(1, 5))
        maps = [Dense(random.integers(-12, 13, (n, size)) / 8)]
        operands = [value]
        if layer and random.random() < 0.4:
            maps.append(Dense(random.integers(-8, 9, (n, d)) / 8))
            operands.append(0)
        value = build.linear(maps, tuple(operands), random.integers(-8, 9, n) / 8)
        if layer < depth:
            value, size = build.add(Relu(), (value,), n), n
    return build.build(value)


def shaken(random: np.random.Generator, network: Network, size: float) -> Network:
    """The network with other weights of nearly the same size."""
    nodes = []
    for node in network.nodes:
        operator = node.operator
        if not isinstance(operator, Relu):
            maps = tuple(
                Dense(part.weight + size * random.integers(-8, 9, part.weight.shape) / 8)
                for part in operator.maps
            )
            operator = replace(operator, maps=maps)
        nodes.append(replace(node, operator=operator))
    return replace(network, nodes=tuple(nodes))


def random_pair(random: np.random.Generator) -> tuple[Network, Network]:
    """Two networks: unrelated, or the second near to the first."""
    d, m = int(random.integers(1, 4)), int(random.integers(1, 3))
    first = random_net(random, d, m, int(random.integers(0, 5)))
    if random.random() < 0.6:
        return first, shaken(random, first, float(random.choice([2.0**-3, 2.0**-6])))
    return first, random_net(random, d, m, int(random.integers(0, 5)))


def random_slots(
    random: np.random.Generator, source: UnitLayers, target: UnitLayers
) -> tuple[Slots, ...]:
    """Layers of both in a random order that each allows; units beside each other by chance."""
    made: list[Slots] = []
    i = j = 0
    while i < len(source.layers) or j < len(target.layers):
        both = i < len(source.layers) and j < len(target.layers)
        take = random.choice(["both", "both", "both", "source", "target"]) if both else (
            "source" if i < len(source.layers) else "target"
        )
        own = np.arange(*source.starts[i : i + 2]) if take != "target" else np.arange(0)
        other = np.arange(*target.starts[j : j + 2]) if take != "source" else np.arange(0)
        if random.random() < 0.3:
            own, other = random.permutation(own), random.permutation(other)
        count = min(len(own), len(other))
        pairs = int(random.integers(0, count + 1)) if random.random() < 0.4 else count
        rest = [len(own) - pairs, len(other) - pairs]
        first = np.concatenate((own, np.full(rest[1], NOBODY))).astype(np.int64)
        second = np.concatenate(
            (other[:pairs], np.full(rest[0], NOBODY), other[pairs:])
        ).astype(np.int64)
        factors = [
            FACTORS[int(random.integers(len(FACTORS)))] if unit != NOBODY else Fraction(1)
            for unit in second
        ]
        made.append(Slots(first, second, Exact.of(np.array(factors, dtype=object))))
        i, j = i + (take != "target"), j + (take != "source")
    return tuple(made)


def random_paired(random: np.random.Generator) -> tuple[Paired, Network, Network]:
    first, second = random_pair(random)
    layers = unit_layers(first), unit_layers(second)
    return paired(*layers, random_slots(random, *layers)), first, second


@dataclass(frozen=True)
class Values:
    """At one point: y, y', and so on of every slot, and the outputs."""

    point: list[Fraction]
    y: list[Fraction]
    z: list[Fraction]
    outputs: tuple[list[Fraction], list[Fraction]]

    def of(self, value: int) -> list[Fraction]:
        """y, y' or y' - y."""
        return [self.y, self.z, [b - a for a, b in zip(self.y, self.z, strict=True)]][value]


def values_at(pair: Paired, point: list[Fraction]) -> Values:
    """All values at a point, in rationals."""
    known = [[Fraction(1), *point], [Fraction(1), *point]]
    found: list[list[Fraction]] = [[], []]

    def row(matrix, i: int, side: int) -> Fraction:
        entries = matrix.row_fractions(i).items()
        return sum((w * known[side][at] for at, w in entries), Fraction(0))

    for layer in pair.layers:
        fresh = [
            [row(matrix, i, side) for i in range(layer.size)]
            for side, matrix in enumerate((layer.source, layer.target))
        ]
        for side in (0, 1):
            found[side] += fresh[side]
            known[side] += [max(v, Fraction(0)) for v in fresh[side]]
    outputs = tuple(
        [row(matrix, i, side) for i in range(matrix.shape[0])]
        for side, matrix in enumerate((pair.source_outputs, pair.target_outputs))
    )
    return Values(point, found[0], found[1], outputs)


def numbers(value: np.ndarray, ops: object) -> list[Fraction]:
    """Values of either arithmetic as rationals."""
    unit = Fraction(1, 1 << ops.bits) if isinstance(ops, Fixed) else Fraction(1)
    return [Fraction(v) * unit for v in value.ravel().tolist()]


def one_of(ops: object) -> int | float:
    return 1 << ops.bits if isinstance(ops, Fixed) else 1.0


def random_tree(
    random: np.random.Generator, bounds: Differential, depth: int
) -> Iterator[tuple[Boxes, list[Layer], np.ndarray]]:
    """Settled boxes of [-1, 1]^d: the whole, and halves of halves by random splits."""
    ends = np.full((1, bounds.d), one_of(bounds.ops), dtype=bounds.ops.dtype)
    boxes = bounds.whole(-ends, ends)
    for _ in range(depth):
        boxes, layers, empty = bounds.settle(boxes)
        yield boxes, layers, empty
        inputs = random.random(len(boxes)) < (0.5 if bounds.units else 2.0)
        value, slots = random.integers(0, 3, len(boxes)), np.zeros(len(boxes), dtype=np.int64)
        if bounds.units:  # a second split of one value would hide the first from `signs`
            slots = random.integers(0, bounds.units, len(boxes))
            inputs |= boxes.signs[np.arange(len(boxes)), slots, value] != 0
        kinds = np.where(inputs, int(Split.INPUT), int(Split.SOURCE) + value)
        places = np.where(inputs, random.integers(0, bounds.d, len(boxes)), slots)
        boxes = split(bounds, boxes, kinds.astype(np.uint8), places)


def inside(boxes: Boxes, i: int, values: Values, ops: object) -> bool:
    """Whether the point lies in box i: between its ends, on the right sides of its splits."""
    low, high = numbers(boxes.low[i], ops), numbers(boxes.high[i], ops)
    if not all(a <= x <= b for a, x, b in zip(low, values.point, high, strict=True)):
        return False
    return all(
        int(sign) * v >= 0
        for value in range(3)
        for sign, v in zip(boxes.signs[i, :, value], values.of(value), strict=True)
    )


def random_points(random: np.random.Generator, d: int, count: int) -> list[list[Fraction]]:
    """Points of [-1, 1]^d: vertices, and others."""
    grid = random.integers(-64, 65, (count, d))
    grid[: count // 3] = np.where(grid[: count // 3] < 0, -64, 64)
    return [[Fraction(int(v), 64) for v in row] for row in grid]


def fixed_or_none(pair: Paired, bits: int) -> Differential | None:
    """In fixed point, or None where the numbers are too large for it."""
    try:
        return Differential(pair, Fixed(bits))
    except CertificateRejected:
        return None
