# SPDX-License-Identifier: Apache-2.0
"""What a sweep works with: values as rows with radii, the code of each unit, merges of rows.

Codes are hints: a wrong one makes a radius large, never a bound false, because every radius is
computed here from the rows themselves.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from isoform.certificate.basis import Basis, Range, backward_range, interval_range
from isoform.certificate.relations import Relation
from isoform.errors import CertificateRejected
from isoform.numerics.exact import Exact, integers, longest
from isoform.numerics.sparse import ExactSparse, stack

LONGEST = 1 << 17  # bits of a number in rows, ranges and radii


class Code(IntEnum):
    """What a unit is."""

    NEW = 0
    DEAD = 1
    LINEAR = 2
    MERGE = 3
    NEGATIVE = 4
    FOLLOW = 5
    MIRROR = 6
    RELATION = 7


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Codes:
    """Hints for the n units of one node.

    code: uint8 (n). partner: int64, in order, the column of the earlier unit of each MERGE or
    NEGATIVE, the position in this node of the leader of each FOLLOW or MIRROR. factor: exact, one
    positive number each, same order. backward: whether the ranges of this node's rows are refined
    by backward substitution. refined, slopes: positions of dead or linear units whose range needs
    slopes of its own, and these slopes (`backward_range`). relations: of RELATION units, whose
    partner is a number among them and whose factor is 1.
    """

    code: np.ndarray
    partner: np.ndarray
    factor: Exact
    backward: bool = False
    refined: np.ndarray | None = None
    slopes: np.ndarray | None = None
    relations: tuple[Relation, ...] = ()

    @staticmethod
    def all_new(n: int, backward: bool = False) -> Codes:
        return Codes(
            code=np.zeros(n, dtype=np.uint8),
            partner=np.zeros(0, dtype=np.int64),
            factor=Exact(integers([], (0,))),
            backward=backward,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Value:
    """Rows over the basis and a radius each (integers in units of 2^-96)."""

    rows: ExactSparse
    radius: np.ndarray

    @property
    def is_exact(self) -> bool:
        return not self.radius.any()


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """What a decision is about: the node's kind, its rows (for products both factors), radii."""

    kind: str
    value: Value
    other: Value | None
    basis: Basis


Decide = Callable[[Asked], Codes]


def failed(why: str) -> CertificateRejected:
    return CertificateRejected("sweep", why)


def asked_codes(kind: str, value: Value, basis: Basis, decide: Decide,
                other: Value | None = None) -> Codes:
    """The decision, checked for shape: what a file says is not trusted."""
    codes = decide(Asked(kind, value, other, basis))
    merges = int(np.count_nonzero(codes.code >= Code.MERGE))
    last = Code.RELATION if kind == "relu" else Code.NEGATIVE
    known = codes.code.ndim == 1 and codes.code.dtype == np.uint8  # no negative ones
    if not known or len(codes.code) != value.rows.shape[0] or codes.code.max() > last:
        raise failed(f"{len(codes.code)} codes for {value.rows.shape[0]} units of kind {kind}")
    if len(codes.partner) != merges or codes.factor.shape != (merges,):
        raise failed(f"{merges} merges with {len(codes.partner)} partners of kind {kind}")
    if np.any(codes.factor.numerator <= 0):
        raise failed("a merge with a factor that is not positive")
    if codes.refined is not None:
        shape = None if codes.slopes is None else codes.slopes.shape
        if kind != "relu" or shape != (len(codes.refined), basis.width):
            raise failed("slopes of another number than the units that they refine")
    return codes


def short_enough(value: Value) -> Value:
    """The value, or a failure where its numbers have become so long that products of them would
    never end."""
    rows = value.rows
    bits = max(rows.denominator.bit_length(), longest(rows.data), longest(value.radius))
    if bits > LONGEST or bits * rows.nonzeros > LONGEST << 15:
        raise failed(f"rows of {rows.nonzeros:,} numbers of {bits:,} bits are too long")
    return value


def range_of(rows: ExactSparse, basis: Basis, backward: bool) -> Range:
    return backward_range(rows, basis) if backward else interval_range(rows, basis)


def distance(rows: ExactSparse, basis: Basis, backward: bool) -> np.ndarray:
    """Upper values of |row| on the domain, in units of 2^-96; 0 exactly for empty rows."""
    result = np.zeros(rows.shape[0], dtype=object)
    filled = np.flatnonzero(np.diff(rows.starts))
    if len(filled):
        size, unbounded = range_of(rows.take(filled), basis, backward).magnitude()
        if unbounded.any():
            raise failed("a merge of rows that differ, on a domain without bounds")
        result[filled] = size
    return result


class Assembly:
    """Puts the result rows of one node together, some rows at a time."""

    def __init__(self, radius: np.ndarray):
        self.parts: list[ExactSparse] = []
        self.places: list[np.ndarray] = []
        self.radius = radius.copy()

    def put(self, which: np.ndarray, rows: ExactSparse, radius: np.ndarray) -> None:
        if len(which):
            self.parts.append(rows)
            self.places.append(which)
            self.radius[which] = radius

    def rows_of(self, which: np.ndarray, basis: Basis) -> ExactSparse:
        """The rows already put for these units."""
        order = np.concatenate(self.places)
        rows = stack([part.widened(basis.width) for part in self.parts])
        place = {int(unit): i for i, unit in enumerate(order)}
        return rows.take(np.array([place[int(unit)] for unit in which], dtype=np.int64))

    def value(self, basis: Basis) -> Value:
        order = np.concatenate(self.places)
        rows = stack([part.widened(basis.width) for part in self.parts])
        if np.array_equal(order, np.arange(len(order))):
            return Value(rows, self.radius)
        back = np.empty(len(order), dtype=np.int64)
        back[order] = np.arange(len(order))
        return Value(rows.take(back), self.radius)


def columns(at: np.ndarray, factor: Exact | None, width: int) -> ExactSparse:
    """Rows with one entry each: factor_i (default 1) in column at_i."""
    n = len(at)
    data = integers([1] * n, (n,)) if factor is None else factor.numerator
    return ExactSparse(
        (n, width), np.arange(n + 1), np.asarray(at, dtype=np.int64), data,
        1 if factor is None else factor.denominator,
    )


def merged(rows: ExactSparse, codes: Codes, which: np.ndarray, chosen: np.ndarray, kind: str,
           basis: Basis, sign: int) -> tuple[ExactSparse, Exact, ExactSparse]:
    """For units `which`, merges number `chosen`: rows - sign * factor * partner's rows, the factors
    and the partner's rows."""
    partner, factor = codes.partner[chosen], codes.factor[chosen]
    try:
        theirs = basis.arguments(partner, kind)
    except IndexError as error:
        raise failed(str(error)) from None
    scaled = theirs.scaled_rows(factor)
    mine = rows.take(which).widened(basis.width)
    return difference(mine, scaled if sign > 0 else -scaled), factor, scaled


def difference(left: ExactSparse, right: ExactSparse) -> ExactSparse:
    """left - right; quick where both store the same places (a merge that fits)."""
    if np.array_equal(left.starts, right.starts) and np.array_equal(left.columns, right.columns):
        common = math.lcm(left.denominator, right.denominator)
        data = left.over(common).data - right.over(common).data
        if not data.any():
            return ExactSparse.zeros(left.shape)
    return left - right


def ranks(codes: Codes, which: np.ndarray) -> np.ndarray:
    """Positions of these units among all merges of the node."""
    return (np.cumsum(codes.code >= Code.MERGE) - 1)[which]
