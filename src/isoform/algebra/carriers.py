# SPDX-License-Identifier: Apache-2.0
"""Fewer units for a group of units that always fire.

A group z = W h + b >= 0 read by a matrix U gives U relu(z) = (U W) h + U b, which is linear. Fewer
units that always fire carry the same: some of the group itself, the entries of h that it reads, or
the rows of U W. Entries and rows are shifted so that they are never negative:
c = relu(c + s) - s for c >= -s.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from isoform.algebra.affine_rows import AffineRows, as_map
from isoform.numerics.enclosure import Enclosure, linear_enclosure
from isoform.numerics.exact import Exact, exact_fractions, integers
from isoform.numerics.row_basis import full_rank, row_basis
from isoform.numerics.sparse import ExactSparse

LARGEST_RANK = 1_000_000  # entries of a matrix whose rank modulo a prime is worth knowing
LARGEST_BASIS = 20_000  # entries of a matrix whose exact row basis is worth knowing


@dataclass(frozen=True, slots=True)
class Carriers:
    """Units that always fire, with the matrix and bias that they add to the next layer.

    kept: numbers of the group's units that they are, None for new units.
    """

    rows: AffineRows
    weight: ExactSparse
    bias: Exact
    kept: np.ndarray | None = None


def candidates(group: AffineRows, outer: ExactSparse, before: Enclosure) -> list[Carriers]:
    """Every kind of carriers of an always-on group that has fewer units than the group.

    group: z = W h + b; outer: U; before: enclosure of h on the domain.
    """
    read = np.unique(group.matrix.columns)
    arriving = composed(group, AffineRows(outer, Exact.zeros(outer.shape[0])))
    reached = np.flatnonzero(np.diff(arriving.matrix.starts))
    found = [by_basis(group, outer, read)]
    if len(read) < group.rows:
        found.append(by_entries(arriving, read, before))
    if len(reached) < group.rows:
        found.append(by_arrival(arriving, reached, before))
    return [carriers for carriers in found if carriers is not None]


def by_basis(group: AffineRows, outer: ExactSparse, read: np.ndarray) -> Carriers | None:
    """Some of the units themselves, where the others follow with dyadic coefficients."""
    size = group.rows * len(read)
    if size == 0 or size > LARGEST_RANK:
        return None
    dense = columns_at(group.matrix, read).dense()
    if (group.rows <= len(read) and full_rank(dense)) or size > LARGEST_BASIS:
        return None
    rows, coefficients = row_basis(dense)
    if not coefficients.is_dyadic() or len(rows) >= group.rows:
        return None
    kept = group.take(rows)
    rest = group.bias - coefficients @ kept.bias
    weight = outer @ ExactSparse.of(coefficients.reduced())
    return Carriers(kept, weight.reduced(), outer.times(rest).reduced(), rows)


def by_entries(arriving: AffineRows, read: np.ndarray, before: Enclosure) -> Carriers:
    """relu(h_j - lo_j) for the entries that the group reads."""
    low = short_below(before.low[read], before.width[read])
    ones = integers([1] * len(read), (len(read),))
    picked = ExactSparse.of_triplets(
        (len(read), arriving.matrix.shape[1]), np.arange(len(read)), read, ones
    )
    weight = columns_at(arriving.matrix, read).reduced()
    return Carriers(
        AffineRows(picked, -low), weight, (arriving.bias + weight.times(low)).reduced()
    )


def by_arrival(arriving: AffineRows, reached: np.ndarray, before: Enclosure) -> Carriers:
    """relu((U W)_i h - lo_i) for the rows that arrive at the next layer."""
    rows = arriving.matrix.take(reached)
    ends = linear_enclosure(rows, before)
    # A little lower, so that a checker with rounded ranges sees that they never are negative.
    low = short_below(ends.low - ends.width * Fraction(1, 64), ends.width)
    count = len(reached)
    weight = ExactSparse.of_triplets(
        (arriving.rows, count), reached, np.arange(count), integers([1] * count, (count,))
    )
    return Carriers(AffineRows(rows, -low), weight, (arriving.bias + weight.times(low)).reduced())


def short_below(low: Exact, width: Exact) -> Exact:
    """Dyadics of few bits below `low` by at most a sixteenth of the width; zero stays zero."""
    found = []
    for value, size in zip(low.fractions(), width.fractions(), strict=True):
        exponent = size.numerator.bit_length() - size.denominator.bit_length() - 5
        grid = Fraction(2) ** exponent
        found.append(math.floor(value / grid) * grid if size else value)
    return exact_fractions(found, low.shape)


def composed(inner: AffineRows, outer: AffineRows) -> AffineRows:
    """outer(inner(h))."""
    bias = outer.bias + outer.matrix.times(inner.bias)
    return AffineRows((outer.matrix @ inner.matrix).reduced(), bias.reduced())


def stored(parts: list[AffineRows]) -> tuple[int, int]:
    """Numbers stored, and non-zeros, of the weights of affine maps."""
    weights = sum(as_map(part.matrix).parameters for part in parts)
    return weights, sum(part.matrix.nonzeros for part in parts)


def columns_at(matrix: ExactSparse, columns: np.ndarray) -> ExactSparse:
    """Only these (increasing) columns, renumbered."""
    place = np.full(matrix.shape[1], -1, dtype=np.int64)
    place[columns] = np.arange(len(columns))
    hold = place[matrix.columns] >= 0
    return ExactSparse.of_triplets(
        (matrix.shape[0], len(columns)), matrix.row_numbers()[hold],
        place[matrix.columns[hold]], matrix.data[hold], matrix.denominator,
    )


def beside(left: ExactSparse, right: ExactSparse) -> ExactSparse:
    """[left | right]."""
    common = math.lcm(left.denominator, right.denominator)
    parts = [left.over(common), right.over(common)]
    joined = ExactSparse.of_triplets(
        (left.shape[0], left.shape[1] + right.shape[1]),
        np.concatenate([part.row_numbers() for part in parts]),
        np.concatenate([parts[0].columns, parts[1].columns + left.shape[1]]),
        np.concatenate([part.data for part in parts]), common,
    )
    return joined.reduced()
