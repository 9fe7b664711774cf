# SPDX-License-Identifier: Apache-2.0
"""What is said of two networks: a relation, on a domain, in an arithmetic."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from math import isfinite

import numpy as np

from isoform.network.domain import Domain, Everywhere
from isoform.numerics.exact import Exact, approximately, exact_fractions
from isoform.text import decimal, plural


def brief(value: Fraction) -> str:
    """Six digits of a number, however large or small."""
    near = approximately(Fraction(value))
    fits = isfinite(near) and bool(near) == bool(value)
    return f"{near:.6g}" if fits else decimal(Fraction(value), 6)


class Arithmetic(Enum):
    """In which arithmetic the outputs are compared."""

    REALS = "reals"
    FLOAT64 = "float64"
    FLOAT32 = "float32"


@dataclass(frozen=True, slots=True)
class Equal:
    """f(x) = g(x) for all x of the domain."""

    def __str__(self) -> str:
        return "equal"


@dataclass(frozen=True, slots=True)
class Within:
    """|f_i(x) - g_i(x)| <= eps for every output i and all x of the domain (max norm); eps may be a
    tuple with one number for each output."""

    eps: Fraction | tuple[Fraction, ...]
    norm: str = "max"

    def __str__(self) -> str:
        if isinstance(self.eps, tuple):
            return f"within {', '.join(map(brief, self.eps))}"
        return f"within {brief(self.eps)}"


@dataclass(frozen=True, slots=True)
class SameDecision:
    """Where f prefers output c by at least `margin`, g does not prefer another one."""

    margin: Fraction = Fraction(0)

    def __str__(self) -> str:
        return "same decision" + (f" at margin {brief(self.margin)}" if self.margin else "")


@dataclass(frozen=True, slots=True)
class RegionCount:
    """One network (source and target are the same) has `count` linear regions of this kind with an
    interior on the domain: exactly so many, or, unless `complete`, at least so many."""

    count: int
    kind: str = "activation"
    complete: bool = True

    def __str__(self) -> str:
        number = plural(self.count, f"{self.kind} region")
        return f"exactly {number}" if self.complete else f"at least {number}"


@dataclass(frozen=True, slots=True, eq=False)
class Forbidden:
    """A set of (x, f(x), g(x)) in R^(n + m + m'): rows @ (x, f, g) <= bounds, in every row, and <
    in the rows that are `strict`. rows: (k, n + m + m'), bounds: (k,), strict: k flags."""

    rows: Exact
    bounds: Exact
    strict: tuple[bool, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Avoids:
    """No x of the domain has (x, f(x), g(x)) in any of the forbidden sets. A property of one
    network is a claim with source and target the same. name: how people call it."""

    forbidden: tuple[Forbidden, ...]
    name: str = ""

    def __str__(self) -> str:
        return self.name or f"avoids {plural(len(self.forbidden), 'forbidden set')}"


Comparison = Equal | Within | SameDecision | Avoids
Relation = Comparison | RegionCount


def tolerances(relation: Equal | Within, m: int) -> Exact:
    """The allowed difference of every output, (m,). ValueError for another number of them."""
    eps = relation.eps if isinstance(relation, Within) else Fraction(0)
    each = eps if isinstance(eps, tuple) else (eps,) * m
    if len(each) != m:
        raise ValueError(f"{plural(len(each), 'tolerance')} for {plural(m, 'output')}")
    return exact_fractions(each, (m,))


def forbidden_sets(relation: Comparison, n: int, m: int) -> tuple[Forbidden, ...]:
    """The claim as sets that (x, f(x), g(x)) never meets; n inputs, m outputs of each network.

    Within: {g_i - f_i > eps_i} and {f_i - g_i > eps_i} for each output. Same decision with margin
    M: {f_k <= f_c - M for all other k, g_c < g_j} for each pair of outputs c, j.
    """
    if isinstance(relation, Avoids):
        return relation.forbidden
    unit = np.eye(m, dtype=object)
    none = np.zeros((1, n), dtype=object)
    found = []
    if isinstance(relation, SameDecision):
        for c in range(m):
            for j in range(m):
                if j == c:
                    continue
                order = [k for k in range(m) if k not in (c, j)] + [j]
                others = unit[order] - unit[c]  # f_k - f_c <= -M
                rows = np.zeros((m, n + 2 * m), dtype=object)
                rows[: m - 1, n : n + m] = others
                rows[m - 1, n + m :] = unit[c] - unit[j]  # g_c - g_j < 0
                bounds = exact_fractions([-relation.margin] * (m - 1) + [Fraction(0)], (m,))
                strict = (False,) * (m - 1) + (True,)
                found.append(Forbidden(Exact(rows), bounds, strict))
        return tuple(found)
    eps = tolerances(relation, m)
    for i in range(m):
        for sign in (1, -1):
            row = np.concatenate((none, sign * unit[i : i + 1], -sign * unit[i : i + 1]), axis=1)
            found.append(Forbidden(Exact(row), -eps[i : i + 1], (True,)))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Claim:
    """`relation` between a source and a target network (or of one), on `domain`, in
    `arithmetic`."""

    relation: Relation
    domain: Domain = Everywhere()
    arithmetic: Arithmetic = Arithmetic.REALS

    def __str__(self) -> str:
        place = "everywhere" if isinstance(self.domain, Everywhere) else f"on {self.domain!r}"
        reals = self.arithmetic is Arithmetic.REALS
        numbers = "over the reals" if reals else f"evaluated in {self.arithmetic.value}"
        if isinstance(self.relation, RegionCount):
            return f"{self.relation} {place}, {numbers}"
        return f"{self.relation}, {numbers}, {place}"
