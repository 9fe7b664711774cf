# SPDX-License-Identifier: Apache-2.0
"""Which bounds on the number of regions hold for a given network, and why.

The published bounds are about chains. A network with skips, branches, convolutions or step units
still obeys the argument behind them: once the regions of the units before it are fixed, a unit's
pre-activation is affine, so the units of one level cut every region like so many hyperplanes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from isoform.network.unit_layers import UnitLayer, UnitLayers
from isoform.numerics.exact import Exact, to_flint
from isoform.numerics.row_basis import full_rank
from isoform.numerics.sparse import ExactSparse
from isoform.regions.counting import (
    montufar_lower,
    montufar_upper,
    serra_lower,
    serra_upper,
    zaslavsky,
)

RANK_ENTRIES = 65_536  # larger weight matrices count as of full rank


@dataclass(frozen=True, slots=True)
class Bound:
    """upper: the network has at most `value` activation regions, on any convex domain. Otherwise
    (lower): some weights of a chain with its widths give at least `value`, on all of space; this
    network may have fewer."""

    name: str
    upper: bool
    value: int
    source: str
    why: str


@dataclass(frozen=True, slots=True)
class Level:
    """Units that read none of each other.

    units: all of them; walls: those whose rows differ and are not constant, a row and its multiples
    once; values: those that pass on more than a constant on a region (not step units). reads: the
    levels that they read, 0 for the inputs. rank: of the weights, at most.
    """

    units: int
    walls: int
    values: int
    reads: frozenset[int]
    rank: int


def bounds_of(layers: UnitLayers) -> tuple[Bound, ...]:
    """The bounds that hold for a network, lower ones first, the best last of each side.

    A published bound appears only where its conditions hold: for chains of ReLU layers (branches
    side by side count as one layer, since together they read only the layer before). The bound by
    levels holds for every network. A network without units has one region and no bounds here.
    """
    d, levels = layers.dimension, levels_of(layers)
    if not levels:
        return ()
    widths = [level.units for level in levels]
    found = [by_levels(d, levels)]
    if is_chain(levels) and all(level.values == level.units for level in levels):
        found += of_chain(d, widths, [level.rank for level in levels])
    return tuple(sorted(found, key=lambda b: (b.upper, -b.value if b.upper else b.value)))


def of_chain(d: int, widths: Sequence[int], ranks: Sequence[int]) -> list[Bound]:
    """The published bounds for a chain of ReLU layers, and the one with ranks where it differs."""
    shape = f"{d} inputs, hidden layers of {', '.join(map(str, widths))} units"
    if len(widths) == 1:
        return [Bound(
            "Zaslavsky", True, zaslavsky(widths[0], d), "Zaslavsky 1975",
            f"one hidden layer; the maximum over all weights with {shape}",
        )]
    some = f"reached or passed by some weights of a fully connected chain with {shape}"
    every = f"for all weights of a chain with {shape}"
    serra = "Serra, Tjandraatmadja and Ramalingam 2018, arXiv 1711.02114"
    found = [
        Bound("Montufar 2017", True, montufar_upper(d, widths),
              "Montufar 2017, Notes on the number of linear regions", every),
        Bound("Serra et al. 2018", True, serra_upper(d, widths), f"{serra}, Theorem 1", every),
    ]
    by_rank = serra_upper(d, widths, ranks)
    if by_rank < found[-1].value:
        found.append(Bound(
            "Serra et al. 2018 with ranks", True, by_rank, f"{serra}, remark on Theorem 1",
            f"for weight matrices of ranks {', '.join(map(str, ranks))} in a chain with {shape}",
        ))
    lower = montufar_lower(d, widths)
    if lower is not None:
        found.append(Bound("Montufar et al. 2014", False, lower, "arXiv 1402.1869", some))
    lower = serra_lower(d, widths)
    if lower is not None:
        found.append(Bound("Serra et al. 2018", False, lower, f"{serra}, section 3.3", some))
    return found


def by_levels(d: int, levels: Sequence[Level]) -> Bound:
    """The product of Zaslavsky's numbers over the levels, in the dimension that reaches each.

    On a region of the levels before, what a level reads has a range of dimension at most d, at most
    the sum over what it reads of the dimensions that those hand on, and at most its rank; a level
    hands on at most that, and at most one dimension a unit that is not a step. Units with equal,
    opposite or proportional rows share their wall; constant units have none.
    """
    handed, value = [d], 1
    for level in levels:
        seen = min(d, level.rank, sum(handed[other] for other in level.reads))
        value *= zaslavsky(level.walls, seen)
        handed.append(min(level.values, seen))
    return Bound(
        "by levels", True, value, "derived: Zaslavsky 1975 level by level, after Montufar 2017",
        f"for this network: {sum(level.walls for level in levels)} different walls "
        f"of {sum(level.units for level in levels)} units in {len(levels)} "
        f"level{'s' if len(levels) > 1 else ''}",
    )


def is_chain(levels: Sequence[Level]) -> bool:
    return all(level.reads <= {number} for number, level in enumerate(levels))


def levels_of(layers: UnitLayers) -> list[Level]:
    """The layers grouped by the longest path from the inputs, so that branches are side by side."""
    d = layers.dimension
    depth: list[int] = []
    groups: dict[int, list[UnitLayer]] = {}
    reads: dict[int, set[int]] = {}
    for layer in layers.layers:
        used = np.unique(layer.rows.columns)
        units = used[used > d] - 1 - d
        sources = np.unique(np.searchsorted(layers.starts, units, side="right") - 1)
        seen = {depth[int(source)] for source in sources}
        if np.any((used >= 1) & (used <= d)):
            seen.add(0)
        depth.append(1 + max(seen, default=0))
        groups.setdefault(depth[-1], []).append(layer)
        reads.setdefault(depth[-1], set()).update(seen)
    return [
        Level(
            units=sum(layer.size for layer in groups[n]),
            walls=walls([layer.rows for layer in groups[n]]),
            values=sum(layer.size for layer in groups[n] if not layer.step),
            reads=frozenset(reads[n]),
            rank=rank([layer.rows for layer in groups[n]]),
        )
        for n in sorted(groups) if any(layer.size for layer in groups[n])
    ]


def walls(parts: Sequence[ExactSparse]) -> int:
    """Rows that are not constant, a row and its multiples once."""
    seen = set()
    for rows in parts:
        columns, data, starts = rows.columns.tolist(), rows.data.tolist(), rows.starts.tolist()
        for start, end in zip(starts, starts[1:], strict=False):
            if end > start and columns[end - 1] > 0:
                common = math.gcd(*data[start:end]) * (1 if data[end - 1] > 0 else -1)
                seen.add((
                    tuple(columns[start:end]), tuple(value // common for value in data[start:end])
                ))
    return len(seen)


def rank(parts: Sequence[ExactSparse]) -> int:
    """An upper bound of the rank of the rows without their constants: exact for matrices of up to
    RANK_ENTRIES entries, else the smaller side."""
    used = np.unique(np.concatenate([rows.columns for rows in parts]))
    used = used[used > 0]
    count = sum(rows.shape[0] for rows in parts)
    if len(used) == 0 or count * len(used) > RANK_ENTRIES:
        return min(count, len(used))
    matrix = np.zeros((count, len(used)), dtype=object)
    top = 0
    for rows in parts:
        own = rows.columns > 0
        place = top + rows.row_numbers()[own], np.searchsorted(used, rows.columns[own])
        matrix[place] = rows.data[own]
        top += rows.shape[0]
    if full_rank(Exact(matrix)):
        return min(matrix.shape)
    return int(to_flint(matrix).rank())
