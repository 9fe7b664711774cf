# SPDX-License-Identifier: Apache-2.0
"""The answers of the prover. Refuted and Undecided are values, not errors."""

from __future__ import annotations

import html
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from isoform.network.claim import Claim, brief
from isoform.network.domain import Box
from isoform.numerics.enclosure import Enclosure
from isoform.numerics.exact import Exact

if TYPE_CHECKING:
    from isoform.certificate.certificate import Certificate


@dataclass(frozen=True, slots=True, kw_only=True)
class Witness:
    """A point of the domain where the claim fails, with both outputs as exact numbers (or
    enclosures), the output that differs and by how much (a lower value)."""

    point: Exact
    source: Exact | Enclosure
    target: Exact | Enclosure
    output: int
    difference: Fraction


@dataclass(frozen=True, slots=True, kw_only=True)
class LowerAt:
    """Where a lower value was found: a point of the domain, and the output that has it there."""

    point: Exact
    output: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UpperAt:
    """Where an upper value comes from: the output that it bounds, and the box of the domain on
    which that bound is worst, as the floats of the search tell (None: not followed)."""

    output: int
    box: Box | None


class Shown:
    """Verdicts show themselves in a line: the claim and the numbers, not networks and evidence."""

    __slots__ = ()
    claim: Claim

    def __repr__(self) -> str:
        parts = [str(self.claim)]
        for name in ("reason", "grade", "lower", "upper", "seconds"):
            value = getattr(self, name, None)
            if value is not None:
                shown = value if isinstance(value, str) else brief(Fraction(value))
                parts.append(f"{name} {shown}")
        return f"{type(self).__name__}({'; '.join(parts)})"

    def _repr_html_(self) -> str:
        return f"<code>{html.escape(repr(self))}</code>"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Proved(Shown):
    """The claim holds; `certificate` was accepted by the checker. grade: exact, fixed or
    float-outward. lower, upper: of the largest absolute difference over the domain; of a decision
    that a sweep settles, `upper` bounds how far the difference of two outputs changes. lower_at:
    where `lower` was found, if it was by points."""

    claim: Claim
    certificate: Certificate
    grade: str = "exact"
    lower: Fraction = Fraction(0)
    upper: Fraction = Fraction(0)
    seconds: float = 0.0
    lower_at: LowerAt | None = None


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Refuted(Shown):
    """The claim is false, by `witness`, replayed in exact arithmetic. lower: the largest difference
    found; upper: a certified upper value where one is known; lower_at, upper_at: where."""

    claim: Claim
    witness: Witness
    certificate: Certificate
    lower: Fraction = Fraction(0)
    upper: Fraction | None = None
    seconds: float = 0.0
    lower_at: LowerAt | None = None
    upper_at: UpperAt | None = None


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Undecided(Shown):
    """Neither: lower and upper value of the largest difference (None: no finite bound), and why.
    lower_at, upper_at: where they were found, if that is known. interrupted: it ended by Ctrl-C."""

    claim: Claim
    lower: Fraction
    upper: Fraction | None
    reason: str
    seconds: float = 0.0
    lower_at: LowerAt | None = None
    upper_at: UpperAt | None = None
    interrupted: bool = False


Verdict = Proved | Refuted | Undecided
