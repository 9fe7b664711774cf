# SPDX-License-Identifier: Apache-2.0
"""Rounding units in a sweep: round(v) is v up to a half, and that half is a unit of its own.

|v - p| <= e stands for: the value v is the row p up to the radius e, at every point of the domain.
"""

from __future__ import annotations

import numpy as np

from isoform.certificate.basis import GRID, ONE, Basis, Range
from isoform.certificate.codes import (
    Assembly,
    Code,
    Decide,
    Value,
    asked_codes,
    columns,
    failed,
    merged,
    range_of,
    ranks,
)
from isoform.numerics.enclosure import nearest_integers
from isoform.numerics.exact import Exact, as_array, integers
from isoform.numerics.sparse import ExactSparse


def rounded(value: Value, basis: Basis, decide: Decide) -> Value:
    """round(v) for |v - p| <= e, by code; ties go to even, so round is odd, and monotone.

    DEAD: both ends of the range of v round to one integer, which is the value. NEW: p + r_k, where
    r_k = round(p) - p is a unit with the range [-1/2, 1/2]; where e > 0, p + h with radius e, where
    h = round(v) - v has that range, and nobody merges with it. MERGE: p = rho_k, so p + r_k;
    NEGATIVE: p = -rho_k, so p - r_k; both need e = 0 and rows that differ by nothing.
    """
    codes = asked_codes("round", value, basis, decide)
    rows, e, made = value.rows.widened(basis.width), value.radius, Assembly(value.radius)
    if np.any(codes.factor.numerator != codes.factor.denominator):
        raise failed("a merge of roundings with a factor other than 1")
    if np.any(codes.code == Code.LINEAR):
        raise failed("a rounding is not linear")
    put_constants(made, rows, e, np.flatnonzero(codes.code == Code.DEAD), basis, codes.backward)
    new = codes.code == Code.NEW
    for which, kind in (
        (np.flatnonzero(new & (e == 0)), "round"), (np.flatnonzero(new & (e != 0)), "error")
    ):
        if len(which):
            argument = rows.take(which).widened(basis.width)
            before = range_of(argument, basis, codes.backward)
            known = argument if kind == "round" else ExactSparse.zeros(argument.shape)
            at = basis.append(kind, known, before, halves(len(which)))
            unit = columns(at, None, basis.width)
            made.put(which, argument.widened(basis.width) + unit, e[which])
    for code, sign in ((Code.MERGE, 1), (Code.NEGATIVE, -1)):
        which = np.flatnonzero(codes.code == code)
        if not len(which):
            continue
        chosen = ranks(codes, which)
        gap, _, _ = merged(rows, codes, which, chosen, "round", basis, sign)
        if gap.nonzeros or e[which].any():
            raise failed("merged roundings whose rows differ")
        unit = columns(codes.partner[chosen], None, basis.width)
        mine = rows.take(which).widened(basis.width)
        made.put(which, mine + unit if sign > 0 else mine - unit, e[which])
    return made.value(basis)


def put_constants(
    made: Assembly, rows: ExactSparse, e: np.ndarray, which: np.ndarray, basis: Basis,
    backward: bool,
) -> None:
    """Roundings that give one integer on the whole domain."""
    if not len(which):
        return
    known = range_of(rows.take(which), basis, backward)
    low, high = (
        nearest_integers(Exact(as_array(end), ONE)).numerator
        for end in (known.low - e[which], known.high + e[which])
    )
    if known.open_low.any() or known.open_high.any() or np.any(low != high):
        raise failed("a rounding called constant is not")
    constant = ExactSparse.of_triplets(
        (len(which), basis.width), np.arange(len(which)), np.zeros(len(which), dtype=np.int64), low
    )
    made.put(which, constant, integers([0] * len(which), (len(which),)))


def halves(n: int) -> Range:
    """n times the range [-1/2, 1/2]."""
    half, no = 1 << (GRID - 1), np.zeros(n, dtype=bool)
    return Range(integers([-half] * n, (n,)), integers([half] * n, (n,)), no, no)
