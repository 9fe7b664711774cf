# SPDX-License-Identifier: Apache-2.0
"""Units that are a row over earlier units, though no single one of them is a multiple.

relu(p) = q on the domain, for rows p and q over the basis, is shown for each side pattern of p and
of a few units r_k = relu(rho_k): r_k = rho_k on one side of rho_k = 0, r_k = 0 on the other. With
these put in, from the last unit to the first, either both sides of the equation are the same row,
or the pattern is nowhere: a sum of multiples of what it asks to be >= 0 or > 0 is < 0 on the
domain, or <= 0 with a part that is asked to be > 0. Each point has one pattern, for `above` says on
which side of a unit zero counts, given the sides of those before it; so the equation holds at every
point.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from isoform.certificate.basis import Basis, interval_range
from isoform.errors import CertificateRejected
from isoform.numerics.exact import Exact
from isoform.numerics.sparse import ExactSparse

MOST_HINGES = 7  # units of a relation beside its own: 256 patterns
MOST_TERMS = 1 << 20  # entries of its rows, for all patterns

Row = dict[int, Fraction]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Relation:
    """columns, values: the row q. hinges: k columns of rectifier units, increasing; p is number k.
    Bit j of a pattern says whether unit j is above. above (2^(k + 1) - 1,): whether zero counts so,
    for unit j with sides s of those before at the place 2^j - 1 + s. multipliers (2^(k + 1),
    k + 1), not negative: for each pattern and each unit."""

    columns: np.ndarray
    values: Exact
    hinges: np.ndarray
    above: np.ndarray
    multipliers: Exact


def failed(why: str) -> CertificateRejected:
    return CertificateRejected("sweep", why)


def related(argument: ExactSparse, relation: Relation, basis: Basis) -> ExactSparse:
    """The row q that relu of the row p equals on the domain, or CertificateRejected."""
    result, hinges = checked_row(relation, basis), relation.hinges.tolist()
    rows = [
        basis.arguments(relation.hinges[j : j + 1], "relu").row_fractions(0)
        for j in range(len(hinges))
    ]
    rows.append(argument.row_fractions(0))
    row = result.row_fractions(0)
    if sum(map(len, (*rows, row))) << len(rows) > MOST_TERMS:
        raise failed("a relation of rows that are too long for so many patterns")
    for pattern in range(1 << len(rows)):
        on = [bool(pattern >> j & 1) for j in range(len(rows))]
        *forms, value = (on_sides(each, hinges, rows, on) for each in (*rows, row))
        if (forms[-1] if on[-1] else {}) == value:
            continue
        weights = relation.multipliers[pattern].fractions()
        total: Row = {}
        for form, side, weight in zip(forms, on, weights, strict=True):
            add(total, form, weight if side else -weight)
        strict = any(
            weights[j] > 0 and on[j] != bool(relation.above[place_of(j, pattern)])
            for j in range(len(rows))
        )
        known = interval_range(sparse(total, basis.width), basis)
        if known.open_high[0] or known.high[0] > 0 or (known.high[0] == 0 and not strict):
            raise failed(f"a relation is not shown for pattern {pattern}")
    return result


def place_of(j: int, pattern: int) -> int:
    """Where `above` speaks of unit j, given the sides of the units before it."""
    return (1 << j) - 1 + (pattern & ((1 << j) - 1))


def checked_row(relation: Relation, basis: Basis) -> ExactSparse:
    """The row q, after all arrays have been found to fit."""
    columns, hinges, k = relation.columns, relation.hinges, len(relation.hinges)
    listed = columns.ndim == hinges.ndim == 1 and k <= MOST_HINGES
    if not listed or np.any(np.diff(hinges) <= 0) or np.any(np.diff(columns) <= 0):
        raise failed("a relation of columns out of order, or of too many units")
    for part in (columns, hinges):
        if len(part) and (part[0] < 0 or part[-1] >= basis.width):
            raise failed("a relation with columns that are not there")
    for column in hinges.tolist():
        if column <= basis.inputs or basis.block_of(column).kind != "relu":
            raise failed("a relation of columns that are no rectifiers")
    shapes = relation.values.shape, relation.above.shape, relation.multipliers.shape
    if shapes != (columns.shape, ((2 << k) - 1,), (2 << k, k + 1)):
        raise failed("a relation with arrays of other shapes")
    if np.any(relation.multipliers.numerator < 0):
        raise failed("a relation with a negative multiplier")
    return ExactSparse.of_triplets(
        (1, basis.width), np.zeros(len(columns), dtype=np.int64), columns,
        relation.values.numerator, relation.values.denominator,
    )


def on_sides(row: Row, hinges: list[int], arguments: list[Row], on: list[bool]) -> Row:
    """The row where the units are on these sides."""
    row = dict(row)
    for j in range(len(hinges) - 1, -1, -1):
        weight = row.pop(hinges[j], Fraction(0))
        if weight and on[j]:
            add(row, arguments[j], weight)
    return row


def add(row: Row, other: Row, weight: Fraction) -> None:
    """row + weight * other, in place, without zeros."""
    for column, value in other.items():
        total = row.get(column, Fraction(0)) + weight * value
        if total:
            row[column] = total
        else:
            row.pop(column, None)


def sparse(row: Row, width: int) -> ExactSparse:
    """One row as a matrix."""
    columns = sorted(row)
    values = Exact.of(np.array([row[c] for c in columns], dtype=object))
    return ExactSparse.of_triplets(
        (1, width), np.zeros(len(columns), dtype=np.int64), np.array(columns, dtype=np.int64),
        values.numerator, values.denominator,
    )
