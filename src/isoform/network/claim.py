# SPDX-License-Identifier: Apache-2.0
"""What is said of two networks: a relation, on a domain, in an arithmetic."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from math import isfinite

from isoform.network.domain import Domain, Everywhere
from isoform.numerics.exact import approximately
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
    """|f_i(x) - g_i(x)| <= eps for every output i and all x of the domain (max norm)."""

    eps: Fraction
    norm: str = "max"

    def __str__(self) -> str:
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


Comparison = Equal | Within | SameDecision
Relation = Comparison | RegionCount


@dataclass(frozen=True, slots=True)
class Claim:
    """`relation` between a source and a target network (or of one), on `domain`, in
    `arithmetic`."""

    relation: Relation
    domain: Domain = Everywhere()
    arithmetic: Arithmetic = Arithmetic.REALS

    def __str__(self) -> str:
        place = "everywhere" if isinstance(self.domain, Everywhere) else f"on {self.domain!r}"
        if isinstance(self.relation, RegionCount):
            return f"{self.relation} {place}, over the {self.arithmetic.value}"
        return f"{self.relation}, over the {self.arithmetic.value}, {place}"
