# SPDX-License-Identifier: Apache-2.0
"""Which units of two networks lie side by side: by order where that fits, else by simulation.

Units are compared by their pre-activations at sample points. Layers are paired in order so that as
many units as possible find a partner, units within two layers by a minimum-cost assignment;
whoever has no partner stands alone. Where units of one layer belong beside units of several ones,
they are spread over slots of their own depth (`alignment_across`). Nothing here needs to be right:
every choice of slots gives the same functions.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from isoform.network.domain import Box
from isoform.network.paired import NOBODY, Slots
from isoform.network.unit_layers import UnitLayers
from isoform.numerics.exact import Exact
from isoform.numerics.smooth import SMOOTH
from isoform.numerics.sparse import ExactSparse
from isoform.verify.alignment_across import across, small_enough
from isoform.verify.signatures import sample
from isoform.verify.unit_matches import ALIKE, Match, distances, factor, matched


@np.errstate(over="ignore", invalid="ignore")
def aligned(source: UnitLayers, target: UnitLayers, box: Box, seed: int) -> tuple[Slots, ...]:
    """Slots for all units of both networks."""
    points = sample(box, seed)
    first, second = signatures(source, points), signatures(target, points)
    shapes = [[(layer.size, layer.name) for layer in net.layers] for net in (source, target)]
    if shapes[0] == shapes[1] and all(
        np.median(distances(a, b)) < ALIKE for a, b in zip(first, second, strict=True)
    ):
        return tuple(
            Slots(unit, unit, Exact(np.array([1] * len(unit), dtype=object)))
            for unit in map(np.arange, source.starts[:-1], source.starts[1:])
        )
    matches = [
        [matched(a, b, one.name, two.name) for b, two in zip(second, target.layers, strict=True)]
        for a, one in zip(first, source.layers, strict=True)
    ]
    in_order = tuple(slots_of(source, target, matches))
    every = min(source.units, target.units)
    if pairs(in_order) == every or not small_enough(source, target):
        return in_order
    crossing = across(source, target, (first, second))
    return crossing if pairs(crossing) > pairs(in_order) else in_order


def pairs(slots: tuple[Slots, ...]) -> int:
    """How many slots hold two units."""
    return sum(int(((s.source != NOBODY) & (s.target != NOBODY)).sum()) for s in slots)


def signatures(layers: UnitLayers, points: np.ndarray) -> list[np.ndarray]:
    """Pre-activations at points (count, d), one array (count, n) for each layer."""
    values = np.concatenate((np.ones((len(points), 1)), points), axis=1)
    found = []
    for layer in layers.layers:
        with np.errstate(all="ignore"):
            z = np.nan_to_num(np.asarray((in_floats(layer.rows) @ values.T).T))
            found.append(z)
            h = np.nan_to_num(applied(layer.name, z))
        values = np.concatenate((values, h), axis=1)
    return found


def applied(name: str, z: np.ndarray) -> np.ndarray:
    """What units of this name give, in doubles."""
    match name:
        case "relu":
            return np.maximum(z, 0)
        case "round":
            return np.round(z)
        case _ if name in SMOOTH:
            return SMOOTH[name].value(z)
    return np.tanh(z)  # any curve will do


def in_floats(rows: ExactSparse) -> Any:
    """The rows as a sparse array of doubles."""
    from scipy.sparse import csr_array

    data = Exact(rows.data, rows.denominator).to_float() if len(rows.data) else np.zeros(0)
    return csr_array((data, rows.columns, rows.starts), shape=rows.shape)


def slots_of(
    source: UnitLayers, target: UnitLayers,
    matches: list[list[Match]],
) -> list[Slots]:
    """Layers paired in order with the most matches in all, and the others between them."""
    rows, columns = len(source.layers), len(target.layers)
    most = np.zeros((rows + 1, columns + 1), dtype=np.int64)
    for i in range(rows - 1, -1, -1):
        for j in range(columns - 1, -1, -1):
            together = len(matches[i][j][0]) + most[i + 1, j + 1]
            most[i, j] = max(together, most[i + 1, j], most[i, j + 1])
    made, i, j = [], 0, 0
    while i < rows or j < columns:
        if i < rows and j < columns and len(matches[i][j][0]) and (
            most[i, j] == len(matches[i][j][0]) + most[i + 1, j + 1]
        ):
            made.append(together_of(source, target, i, j, matches[i][j]))
            i, j = i + 1, j + 1
        elif i < rows and (j == columns or most[i, j] == most[i + 1, j]):
            made.append(alone(np.arange(*source.starts[i : i + 2]), first=True))
            i += 1
        else:
            made.append(alone(np.arange(*target.starts[j : j + 2]), first=False))
            j += 1
    return made


def together_of(
    source: UnitLayers, target: UnitLayers, i: int, j: int,
    match: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> Slots:
    """One layer of slots: pairs first, then who has no partner."""
    rows, columns, ratio = match
    own = np.setdiff1d(np.arange(source.layers[i].size), rows)
    other = np.setdiff1d(np.arange(target.layers[j].size), columns)
    nobody = [np.full(len(part), NOBODY) for part in (own, other)]
    first = np.concatenate((rows + source.starts[i], own + source.starts[i], nobody[1]))
    second = np.concatenate((columns + target.starts[j], nobody[0], other + target.starts[j]))
    factors = [factor(value) for value in ratio.tolist()] + [1] * (len(own) + len(other))
    return Slots(first, second, Exact.of(np.array(factors, dtype=object)))


def alone(units: np.ndarray, *, first: bool) -> Slots:
    nobody = np.full(len(units), NOBODY)
    ones = Exact(np.array([1] * len(units), dtype=object))
    return Slots(units, nobody, ones) if first else Slots(nobody, units, ones)
