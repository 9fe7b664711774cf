# SPDX-License-Identifier: Apache-2.0
"""Exact rank of a rational matrix, and all rows as combinations of some of them."""

from __future__ import annotations

from fractions import Fraction

import flint
import numpy as np

from isoform.numerics.exact import Exact, exact_fractions, to_flint

PRIME = (1 << 61) - 1


def full_rank(matrix: Exact) -> bool:
    """True if the rank of a (k, n) matrix is min(k, n), by its rank modulo one prime; False says
    that it is probably less."""
    k, n = matrix.shape
    entries = [int(v) % PRIME for v in matrix.numerator.ravel().tolist()]
    return flint.nmod_mat(k, n, entries, PRIME).rank() == min(k, n)


def row_basis(matrix: Exact) -> tuple[np.ndarray, Exact]:
    """Numbers of r independent rows, r the exact rank, and C (k, r) with matrix = C matrix[rows].

    The first row that is no combination of the rows before it is taken each time. Rows of C that
    belong to the basis are unit rows.
    """
    k = matrix.shape[0]
    reduced, denominator, rank = to_flint(matrix.numerator.T).rref()
    entries = np.array([int(v) for v in reduced.entries()], dtype=object)
    top = entries.reshape(-1, k)[:rank]
    rows = np.array([int(np.flatnonzero(row)[0]) for row in top], dtype=np.int64)
    common = int(denominator)
    coefficients = [Fraction(int(v), common) for v in top.T.ravel().tolist()]
    return rows, exact_fractions(coefficients, (k, rank))
