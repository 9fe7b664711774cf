# SPDX-License-Identifier: Apache-2.0
"""Two networks side by side: layers of slots, each with a unit of the one, of the other, or both.

A slot pairs a unit h of the source with a unit h' of the target whose difference rho = h' - h is
worth following. Which units are paired, and in which order, is a choice: every choice gives the
same two functions. A target unit may carry a positive factor c: its slot then holds h' / c, and
whoever reads it multiplies by c, so that a rescaled copy lies beside its original.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from isoform.errors import CertificateRejected
from isoform.network.unit_layers import UnitLayers
from isoform.numerics.exact import Exact
from isoform.numerics.sparse import ExactSparse

NOBODY = -1  # in a slot that one of the networks has no unit for


@dataclass(frozen=True, slots=True, eq=False)
class Slots:
    """One layer of slots: numbers of the units of source and target (-1: none), and for each slot
    the positive factor of its target unit."""

    source: np.ndarray
    target: np.ndarray
    factor: Exact

    @property
    def size(self) -> int:
        return len(self.source)


@dataclass(frozen=True, slots=True, eq=False)
class PairedLayer:
    """n slots. source, target: rows (n, 1 + d + earlier slots) of the pre-activations y and y' over
    the constant, the inputs and the source's (target's) units in earlier slots; zero where there is
    no unit. has_source, has_target: whether there is one. curves: what both apply, "relu" or the
    name of a smooth or rounding function, for source and target."""

    source: ExactSparse
    target: ExactSparse
    has_source: np.ndarray
    has_target: np.ndarray
    curves: tuple[tuple[str, ...], tuple[str, ...]]

    @property
    def size(self) -> int:
        return len(self.has_source)


@dataclass(frozen=True, eq=False)
class Paired:
    """Both networks over shared inputs; outputs are rows (m, 1 + d + all slots) each."""

    dimension: int
    layers: tuple[PairedLayer, ...]
    source_outputs: ExactSparse
    target_outputs: ExactSparse

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """Number of the first slot of each layer, and at the end the number of all slots."""
        return tuple(int(n) for n in np.cumsum([0, *(layer.size for layer in self.layers)]))


def paired(source: UnitLayers, target: UnitLayers, slots: Sequence[Slots]) -> Paired:
    """The two networks with their units in these slots.

    Raises CertificateRejected where a unit is in no slot or in two, reads a unit of its own or a
    later layer, where a factor is not positive, or belongs to a function that is not homogeneous.
    """
    d = source.dimension
    if target.dimension != d:
        raise CertificateRejected("slots", "the networks have different inputs")
    places, curves, every = [], [], []
    for which, layers in ((0, source), (1, target)):
        numbers = np.concatenate([
            np.zeros(0, np.int64), *((s.source, s.target)[which] for s in slots)
        ])
        held = numbers[numbers != NOBODY]
        if not np.array_equal(np.sort(held), np.arange(layers.units)):
            raise CertificateRejected("slots", "not every unit is in exactly one slot")
        place = np.empty(layers.units, dtype=np.int64)
        place[held] = np.flatnonzero(numbers != NOBODY)
        places.append(place)
        curves.append([name for layer in layers.layers for name in [layer.name] * layer.size])
        every.append([
            (number, i) for number, layer in enumerate(layers.layers) for i in range(layer.size)
        ])
    factor = np.array([1] * target.units, dtype=object)
    for layer in slots:
        check_factors(layer, curves[1])
        factor[layer.target[layer.target != NOBODY]] = layer.factor[
            np.flatnonzero(layer.target != NOBODY)
        ].fractions()
    made, before = [], 0
    for layer in slots:
        rows = (
            moved(source, layer.source, places[0], None, every[0], before),
            moved(target, layer.target, places[1], factor, every[1], before),
        )
        names = tuple(
            tuple(names[u] if u != NOBODY else "none" for u in units)
            for names, units in zip(curves, (layer.source, layer.target), strict=True)
        )
        made.append(PairedLayer(
            rows[0], rows[1], layer.source != NOBODY, layer.target != NOBODY, (names[0], names[1]),
        ))
        before += layer.size
    return Paired(
        d, tuple(made), replaced(source.outputs, d, places[0], None, before),
        replaced(target.outputs, d, places[1], factor, before),
    )


def check_factors(layer: Slots, curves: list[str]) -> None:
    if layer.target.shape != layer.source.shape or layer.factor.shape != layer.source.shape:
        raise CertificateRejected("slots", "arrays of different lengths")
    if np.any((layer.source == NOBODY) & (layer.target == NOBODY)):
        raise CertificateRejected("slots", "an empty slot")
    for unit, value in zip(layer.target.tolist(), layer.factor.fractions(), strict=True):
        if value <= 0 or (value != 1 and (unit == NOBODY or curves[unit] != "relu")):
            raise CertificateRejected("slots", f"a factor of {value} cannot be taken out")


def moved(
    layers: UnitLayers, units: np.ndarray, place: np.ndarray, factor: np.ndarray | None,
    every: list[tuple[int, int]], before: int,
) -> ExactSparse:
    """The rows of these units, in slot order, over earlier slots; zero rows where there is none."""
    d = layers.dimension
    rows, columns, data, denominators = [], [], [], []
    for slot, unit in enumerate(units.tolist()):
        if unit == NOBODY:
            continue
        number, i = every[unit]
        part = layers.layers[number].rows
        at, values = part.row(i)
        rows.append(np.full(len(at), slot))
        columns.append(at)
        data.append(values)
        denominators.append(np.full(len(at), part.denominator, dtype=object))
    if not rows:
        return ExactSparse.zeros((len(units), 1 + d + before))
    common = 1
    for denominator in {int(each[0]) for each in denominators if len(each)}:
        common = np.lcm(common, denominator, dtype=object)
    numbers = np.concatenate(data) * (int(common) // np.concatenate(denominators))
    found = ExactSparse.of_triplets(
        (len(units), 1 + d + layers.units), np.concatenate(rows), np.concatenate(columns), numbers,
        int(common),
    )
    found = replaced(found, d, place, factor, before)
    if factor is None:
        return found
    inverse = [1 / factor[unit] if unit != NOBODY else 1 for unit in units.tolist()]
    if all(value == 1 for value in inverse):
        return found
    return found.scaled_rows(Exact.of(np.array(inverse, dtype=object))).reduced()


def replaced(
    rows: ExactSparse, d: int, place: np.ndarray, factor: np.ndarray | None, before: int
) -> ExactSparse:
    """Rows over units as rows over the slots that hold them, `before` slots in all."""
    if factor is not None and any(value != 1 for value in factor):
        ones = np.array([1] * (1 + d), dtype=object)
        scale = np.concatenate((ones, factor))[: rows.shape[1]]
        rows = rows.scaled_columns(Exact.of(scale))
    columns = rows.columns.astype(np.int64).copy()
    of_unit = columns > d
    columns[of_unit] = 1 + d + place[columns[of_unit] - 1 - d]
    if np.any(columns > d + before):
        raise CertificateRejected("slots", "a unit reads one that is not in an earlier layer")
    return ExactSparse.of_triplets(
        (rows.shape[0], 1 + d + before), rows.row_numbers(), columns, rows.data, rows.denominator
    )
