# SPDX-License-Identifier: Apache-2.0
"""What a merge of rectifier units leaves over, and the units that share it.

Where d = p - q does not vanish, relu(p) - relu(q) lies between 0 and d, so it is d / 2 up to
|d| / 2. Half of d joins the row; the rest is a function of its own, a basis column of kind `error`
with a range, so that everything which depends on it later cancels where it can.
"""

from __future__ import annotations

import numpy as np

from isoform.certificate.basis import Basis, Range
from isoform.certificate.codes import Assembly, Code, Codes, columns, difference, failed, ranks
from isoform.certificate.relations import related
from isoform.numerics.exact import as_array
from isoform.numerics.sparse import ExactSparse

MOST_RELATED = 1 << 10  # units of one node that are relations


def with_residue(
    rows: ExactSparse, gap: ExactSparse, eta: np.ndarray, basis: Basis
) -> ExactSparse:
    """rows + gap / 2 + a new error column in [-eta / 2, eta / 2] for each row whose gap is not 0.
    eta: upper values of |gap|, units of 2^-96."""
    open_rows = np.flatnonzero(np.diff(gap.starts))
    if not len(open_rows):
        return rows
    half = ExactSparse(gap.shape, gap.starts, gap.columns, gap.data, 2 * gap.denominator)
    size = as_array(-(-eta[open_rows] >> 1))
    no = np.zeros(len(size), dtype=bool)
    nothing = ExactSparse.zeros((len(size), basis.width))
    at = basis.append(
        "error", nothing, Range.all_reals(len(size)), Range(as_array(-size), size, no, no)
    )
    ones = columns(at, None, basis.width)
    errors = ExactSparse.of_triplets(
        (rows.shape[0], basis.width), open_rows, ones.columns, ones.data
    )
    return (rows + half).widened(basis.width) + errors


def put_followers(
    made: Assembly, rows: ExactSparse, e: np.ndarray, codes: Codes, basis: Basis
) -> None:
    """FOLLOW: p_i = c p_j for a leader j of this node, so relu(p_i) = c relu(p_j). MIRROR:
    p_i = -c p_j, so relu(p_i) = c relu(p_j) - c p_j. The row of a leader that is NEW, MERGE or
    NEGATIVE is relu(p_j) exactly, error column included, so the radius is e_i alone."""
    for code, sign in ((Code.FOLLOW, 1), (Code.MIRROR, -1)):
        which = np.flatnonzero(codes.code == code)
        if not len(which):
            continue
        chosen = ranks(codes, which)
        leader, factor = codes.partner[chosen], codes.factor[chosen]
        if leader.min() < 0 or leader.max() >= len(codes.code):
            raise failed("a unit follows one that is not there")
        if not np.isin(codes.code[leader], (Code.NEW, Code.MERGE, Code.NEGATIVE)).all():
            raise failed("a unit follows one that is no leader")
        theirs = rows.take(leader).widened(basis.width).scaled_rows(factor)
        mine = rows.take(which).widened(basis.width)
        if difference(mine, theirs if sign > 0 else -theirs).nonzeros:
            raise failed("a unit follows one whose row is no multiple of its own")
        unit = made.rows_of(leader, basis).scaled_rows(factor)
        made.put(which, unit if sign > 0 else unit - theirs, e[which])


def put_related(
    made: Assembly, rows: ExactSparse, e: np.ndarray, codes: Codes, basis: Basis
) -> None:
    """RELATION: relu(p_i) = q on the domain, so |relu(v_i) - q| <= e_i."""
    which = np.flatnonzero(codes.code == Code.RELATION)
    chosen = ranks(codes, which)
    if len(which) > MOST_RELATED:
        raise failed(f"{len(which):,} relations of one node")
    if np.any(codes.factor.numerator[chosen] != codes.factor.denominator):
        raise failed("a relation with a factor")
    for i, number in zip(which.tolist(), codes.partner[chosen].tolist(), strict=True):
        if not 0 <= number < len(codes.relations):
            raise failed("a relation that is not there")
        row = related(rows.take([i]), codes.relations[number], basis)
        made.put(np.array([i]), row, e[i : i + 1])
