# SPDX-License-Identifier: Apache-2.0
"""Slots for units that resemble each other at whatever depth they lie.

All units of one network are matched with all of the other. A slot comes after those of all units
that its own units read, in either network; where pairs make that impossible, those that resemble
least among the ones that wait for each other are given up. A slot's layer is the length of the
longest path to it.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from isoform.network.paired import NOBODY, Slots
from isoform.network.unit_layers import UnitLayers
from isoform.numerics.exact import Exact
from isoform.verify.unit_matches import factor, matched

MOST_UNITS, MOST_READ = 1024, 1 << 17  # beyond which layers are paired in order only
AT_ONCE = 8  # so large a part of the pairs that wait for each other is given up at once


def small_enough(source: UnitLayers, target: UnitLayers) -> bool:
    """Whether looking across layers is cheap."""
    read = sum(layer.rows.nonzeros for net in (source, target) for layer in net.layers)
    return source.units + target.units <= MOST_UNITS and read <= MOST_READ


def across(
    source: UnitLayers, target: UnitLayers, values: tuple[list[np.ndarray], list[np.ndarray]]
) -> tuple[Slots, ...]:
    """Slots for all units. values: pre-activations at sample points, layer by layer."""
    pairs: list[tuple[int, int]] = []
    factors: dict[tuple[int, int], Fraction | int] = {}
    unlike: dict[tuple[int, int], float] = {}
    for name in sorted({layer.name for layer in source.layers}):
        mine, theirs = (units_named(net, name) for net in (source, target))
        if not len(mine) or not len(theirs):
            continue
        first, second = (np.concatenate(part, axis=1)[:, units] for part, units in zip(
            values, (mine, theirs), strict=True))
        rows, columns, ratio = matched(first, second, name, name)
        for i, j, c in zip(rows.tolist(), columns.tolist(), ratio.tolist(), strict=True):
            pair = int(mine[i]), int(theirs[j])
            pairs.append(pair)
            factors[pair] = factor(c)
            unlike[pair] = float(np.linalg.norm(first[:, i] * c - second[:, j])
                                 / max(float(np.linalg.norm(second[:, j])), 1e-300))
    reads = reading(source), reading(target)
    while True:
        depth, waiting = layered(reads, pairs)
        if not waiting:
            break
        waiting.sort(key=lambda pair: -unlike[pair])
        given_up = set(waiting[: 1 + len(waiting) // AT_ONCE])
        pairs = [pair for pair in pairs if pair not in given_up]
    return tuple(
        slots_at(level, depth, factors) for level in range(1 + max(depth.values(), default=-1))
    )


def units_named(net: UnitLayers, name: str) -> np.ndarray:
    parts = [
        np.arange(start, start + layer.size)
        for start, layer in zip(net.starts, net.layers, strict=False) if layer.name == name
    ]
    return np.concatenate([np.zeros(0, dtype=np.int64), *parts])


def reading(net: UnitLayers) -> list[list[int]]:
    """The units that each unit reads."""
    found = []
    for layer in net.layers:
        for i in range(layer.size):
            columns = layer.rows.row(i)[0]
            found.append((columns[columns > net.dimension] - net.dimension - 1).tolist())
    return found


Slot = tuple[int, int]


def layered(
    reads: tuple[list[list[int]], list[list[int]]], pairs: list[Slot]
) -> tuple[dict[Slot, int], list[Slot]]:
    """The layer of every slot; and, where some wait for each other, the pairs that are left."""
    slot: tuple[dict[int, Slot], dict[int, Slot]] = ({}, {})
    for pair in pairs:
        slot[0][pair[0]], slot[1][pair[1]] = pair, pair
    for side in (0, 1):
        for unit in range(len(reads[side])):
            slot[side].setdefault(unit, (unit, NOBODY) if side == 0 else (NOBODY, unit))
    before = {
        place: {
            slot[side][read] for side in (0, 1) if place[side] != NOBODY
            for read in reads[side][place[side]]
        }
        for place in {*slot[0].values(), *slot[1].values()}
    }
    after: dict[Slot, list[Slot]] = {place: [] for place in before}
    missing = {place: len(earlier) for place, earlier in before.items()}
    for place, earlier in before.items():
        for each in earlier:
            after[each].append(place)
    depth = {place: 0 for place, count in missing.items() if not count}
    ready = list(depth)
    while ready:
        place = ready.pop()
        for later in after[place]:
            missing[later] -= 1
            if not missing[later]:
                depth[later] = 1 + max(depth[each] for each in before[later])
                ready.append(later)
    return depth, [pair for pair in pairs if pair not in depth]


def slots_at(
    level: int, depth: dict[Slot, int], factors: dict[Slot, Fraction | int]
) -> Slots:
    """One layer: pairs first, then who has no partner."""
    here = sorted(
        (place for place, found in depth.items() if found == level),
        key=lambda place: (NOBODY in place, place),
    )
    numbers = np.array(here, dtype=np.int64).reshape(-1, 2)
    ratios = [factors[place] if NOBODY not in place else 1 for place in here]
    return Slots(
        numbers[:, 0].copy(), numbers[:, 1].copy(), Exact.of(np.array(ratios, dtype=object))
    )
