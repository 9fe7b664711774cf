# SPDX-License-Identifier: Apache-2.0
"""Claims that follow from a claim over the reals about the same or shorter networks.

Float evaluation: |fl(g) - fl(f)| <= |g - f| + E_f + E_g at every point of the type's numbers, E_f
and E_g from `float_parts`; so Within(eps - E_f - E_g) over the reals proves Within(eps) in floats,
and a point of such numbers with |g - f| > eps + E_f + E_g refutes it for every evaluation order.

Decisions: a last softmax or increasing function changes no comparison (`decision`). With margin 0
only comparisons of f and of g are claimed, so both lose such an end. A margin is about the values
of f as given, so f keeps it then, and g loses its own only where f has none.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from isoform.certificate.decision import before_monotone_end
from isoform.certificate.float_error import TYPES, FloatType
from isoform.certificate.float_parts import float_error_within
from isoform.errors import CertificateRejected, Refused
from isoform.network.claim import Claim, Comparison, SameDecision, Within, tolerances
from isoform.network.network import Network
from isoform.numerics.exact import Exact


@dataclass(frozen=True, slots=True, kw_only=True)
class Reduction:
    """What is to be derived over the reals.

    source, target: the networks to be compared. proving: the relation that proves the claim, None
    where eps is too small for any proof; refuting: the relation whose violation refutes it, at a
    point of numbers of `floats` where that is not None. errors: E_f and E_g, (m,) each.
    """

    source: Network
    target: Network
    proving: Comparison | None
    refuting: Comparison
    floats: FloatType | None = None
    errors: tuple[Exact, Exact] | None = None

    @property
    def slack(self) -> Fraction:
        """The largest E_f + E_g: what a bound of |g - f| has to grow by."""
        return Fraction(0) if self.errors is None else (self.errors[0] + self.errors[1]).max_abs()

    def raised(self, upper: Fraction) -> Fraction:
        """What a proved upper value of |g - f| says of the claim's own difference; at most eps."""
        if self.errors is None or not isinstance(self.refuting, Within):
            return upper
        eps = tolerances(self.refuting, len(self.errors[0])) - self.errors[0] - self.errors[1]
        return min(upper + self.slack, max(eps.fractions()))

    def admits(self, point: Exact) -> bool:
        """Whether a claim speaks of this point of its domain."""
        return self.floats is None or point.is_representable(self.floats.dtype)


def reduced(source: Network, target: Network, claim: Claim) -> Reduction:
    """The reduction of a claim on a bound domain about two primitive networks. Refused where a
    claim about float evaluation is none that can be made."""
    relation = claim.relation
    assert not hasattr(relation, "count"), "numbers of regions are no comparison"
    kind = TYPES.get(claim.arithmetic)
    if kind is None:
        if isinstance(relation, SameDecision):
            return decision(source, target, relation)
        return Reduction(source=source, target=target, proving=relation, refuting=relation)
    if not isinstance(relation, Within):
        raise Refused(
            f"'{relation}' in {kind.name} is no claim that is decided: results depend on the order "
            "of sums, so bitwise equality and decisions near a tie do; ask within an eps"
        )
    eps = tolerances(relation, source.output_dimension)
    enough = min(eps.fractions()) / 4
    first = float_error_within(source, claim.domain, claim.arithmetic, enough)
    errors = first, first if target == source else float_error_within(
        target, claim.domain, claim.arithmetic, enough
    )
    slack = errors[0] + errors[1]
    rest = (eps - slack).fractions()
    return Reduction(
        source=source, target=target, floats=kind, errors=errors,
        proving=Within(tuple(rest)) if min(rest) >= 0 else None,
        refuting=Within(tuple((eps + slack).fractions())),
    )


def decision(source: Network, target: Network, relation: SameDecision) -> Reduction:
    """Both networks before a last function that keeps the order, as far as the margin allows."""
    first, second = before_monotone_end(source), before_monotone_end(target)
    if relation.margin != 0:
        second = second if first is source else target
        first = source
    return Reduction(source=first, target=second, proving=relation, refuting=relation)


def relation_of(found: Reduction, refutation: bool) -> Comparison:
    """The relation that an item of evidence has to settle."""
    if refutation:
        return found.refuting
    if found.proving is None:
        assert found.errors is not None
        parts = " and ".join(f"{float(error.max_abs()):.3g}" for error in found.errors)
        raise CertificateRejected("claim", f"eps is below the rounding errors {parts}")
    return found.proving
