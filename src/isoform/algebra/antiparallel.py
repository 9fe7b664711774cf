# SPDX-License-Identifier: Apache-2.0
"""Which second unit of a pair relu(z), relu(-c z) is an affine form of the other units.

relu(-c z) = c relu(z) - c z, so it is one wherever z is a combination of 1, of the rows of units
that are always on, and of the z_j of other pairs. The combination is found by exact elimination.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction

import flint
import numpy as np

from isoform.algebra.affine_rows import AffineRows
from isoform.algebra.primitive_rows import PrimitiveRows
from isoform.numerics.exact import exact_fractions
from isoform.numerics.sparse import ExactSparse

MOST_ROWS = 96  # rows (always on, and pairs) that take part in one elimination
MOST_BITS = 64  # of numerator and denominator of a coefficient: longer ones are no simplification

Pair = tuple[int, int]


def combinations(
    rows: AffineRows, found: PrimitiveRows, always: Sequence[int], pairs: Sequence[Pair]
) -> Iterator[tuple[Pair, AffineRows]]:
    """(pair, its second unit as an affine form of one row over all units), where there is one.

    rows: of the layer; found: their primitive rows; always: units that are always on; pairs: units
    (j, k) with opposite primitive rows. The form of a pair uses no second unit of that pair.
    """
    pairs = pairs[: MOST_ROWS]
    always = always[: MOST_ROWS]
    width = rows.matrix.shape[1] + 1
    units = [*always, *(j for j, _ in pairs)]
    matrix = flint.fmpz_mat(width, 1 + len(units), key_columns(found, units, width))
    echelon, denominator, rank = matrix.rref()
    pivots = pivot_columns(echelon, rank)
    factors = found.factors.fractions()
    for at, pair in enumerate(pairs):
        column = 1 + len(always) + at
        if column in pivots:
            continue
        weights = {p: Fraction(int(echelon[r, column]), int(denominator))
                   for r, p in enumerate(pivots) if int(echelon[r, column])}
        if max((bits(w) for w in weights.values()), default=0) > MOST_BITS:
            continue
        yield pair, second_unit(pair, weights, always, pairs, factors, rows.rows)


def key_columns(found: PrimitiveRows, units: Sequence[int], width: int) -> list[int]:
    """Row-major entries of the matrix whose columns are [1], then the primitive rows of units."""
    grid = np.zeros((width, 1 + len(units)), dtype=object)
    grid[width - 1, 0] = 1
    for at, unit in enumerate(units):
        columns, weights, bias = found.keys[unit]
        grid[list(columns), 1 + at] = weights
        grid[width - 1, 1 + at] = bias
    return grid.ravel().tolist()


def pivot_columns(echelon: flint.fmpz_mat, rank: int) -> list[int]:
    """The pivot column of each of the first `rank` rows."""
    pivots, column = [], 0
    for row in range(rank):
        while int(echelon[row, column]) == 0:
            column += 1
        pivots.append(column)
        column += 1
    return pivots


def bits(value: Fraction) -> int:
    return max(value.numerator.bit_length(), value.denominator.bit_length())


def second_unit(
    pair: Pair, weights: dict[int, Fraction], always: Sequence[int], pairs: Sequence[Pair],
    factors: list[Fraction], count: int,
) -> AffineRows:
    """relu(-c p) = c relu(p) - c p for the primitive row p of the pair, p by its combination.

    weights: of the columns [1], always on, pairs. A unit is its factor times relu(primitive row).
    """
    first, second = pair
    terms: dict[int, Fraction] = {first: factors[second] / factors[first]}
    constant = Fraction(0)
    for column, weight in weights.items():
        share = -factors[second] * weight
        if column == 0:
            constant += share
        elif column <= len(always):
            unit = always[column - 1]
            terms[unit] = terms.get(unit, Fraction(0)) + share / factors[unit]
        else:
            up, down = pairs[column - 1 - len(always)]
            terms[up] = terms.get(up, Fraction(0)) + share / factors[up]
            terms[down] = terms.get(down, Fraction(0)) - share / factors[down]
    units = sorted(terms)
    values = exact_fractions([terms[unit] for unit in units], (len(units),))
    matrix = ExactSparse.of_triplets(
        (1, count), np.zeros(len(units), dtype=np.int64), np.array(units, dtype=np.int64),
        values.numerator, values.denominator,
    )
    return AffineRows(matrix, exact_fractions([constant], (1,)))
