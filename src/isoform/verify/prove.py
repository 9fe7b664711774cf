# SPDX-License-Identifier: Apache-2.0
"""The prover: a ladder, cheap and structural first, search last.

1. Exact sweep: equal, whatever the depth, order, scaling, dead units and linear chains. 2. Finite
domains: every point. 3. Sweep with radii: within a small eps. 4. Attack with exact replay. Nothing
is called proved or refuted before the independent checker has accepted the certificate.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from isoform.certificate.basis import backward_range, interval_range
from isoform.certificate.check import check
from isoform.certificate.conclusion import decision_margin, largest
from isoform.certificate.evidence import (
    Counterexample,
    Enumerate,
    Evidence,
    Rounding,
    Sweep,
)
from isoform.certificate.points import MOST_EVALUATIONS, count
from isoform.certificate.verdict import Proved, Refuted, Undecided, Verdict
from isoform.errors import CertificateRejected
from isoform.network.claim import Claim, Equal, Relation, SameDecision, Within
from isoform.network.domain import (
    Binary,
    Domain,
    FiniteSet,
    Union,
)
from isoform.network.network import Network
from isoform.network.primitive import to_primitive
from isoform.network.size import measure
from isoform.numerics.exact import approximately
from isoform.verify.falsify import Attack, falsify, falsify_decision
from isoform.verify.goal import has_exact_values, rounded_up
from isoform.verify.identity import Swept, sweep
from isoform.verify.question import Context, Question, Report, asked

BACKWARD_WEIGHTS = 120_000  # weights of both networks above which ranges stay interval ranges
RADII_WEIGHTS = 40_000  # and for sweeps with radii or linear programmes


def prove(
    source: Network, target: Network, claim: Claim, *,
    files: tuple[str | None, str | None] = (None, None),
    reading: tuple[tuple[str, ...], tuple[str, ...]] = ((), ()),
    trace: tuple[str, ...] = (), timeout: float | None = None, seed: int = 0,
    report: Report | None = None,
) -> Verdict:
    """Decide a claim about two networks R^n -> R^m, as far as the ladder reaches.

    Returns Proved with a certificate that the checker has accepted, Refuted with a witness replayed
    exactly, or Undecided with lower and upper value of the largest difference. timeout: seconds
    for the attack (default 5). Raises Refused where the question makes no sense: other numbers of
    inputs or outputs, a decision between fewer than two outputs, an arithmetic other than the
    reals, an empty domain (DomainError).
    """
    context = Context(
        files=files, reading=reading, trace=trace, timeout=timeout, seed=seed,
        report=report or (lambda line: None),
    )
    return decide(asked(source, target, claim, context))


def prove_best(
    source: Network, target: Network, domain: Domain, *,
    files: tuple[str | None, str | None] = (None, None),
    reading: tuple[tuple[str, ...], tuple[str, ...]] = ((), ()),
    trace: tuple[str, ...] = (), timeout: float | None = None, seed: int = 0,
    report: Report | None = None,
) -> Verdict:
    """The strongest relation that the sweep proves: Equal, else Within the certified upper value,
    rounded up to two significant digits. Undecided where there is no bound; the same errors."""
    context = Context(
        files=files, reading=reading, trace=trace, timeout=timeout, seed=seed,
        report=report or (lambda line: None),
    )
    question = asked(source, target, Claim(Equal(), domain), context)
    found = equal_by_structure(question)
    if found is None and measure(question.source).units != measure(question.target).units:
        found = equal_by_programme(question)  # units were dropped: perhaps nearly stable ones
    if found is not None:
        return found
    within, upper = tightest(question)
    if within is None or upper is None:
        lower = attack(question).lower
        return undecided(question, lower, None, "no bound of the difference on this domain")
    claim = Claim(Within(rounded_up(upper)), question.claim.domain)
    return proved(replace(question, claim=claim), within, upper=upper)


def prove_rounding(
    exact_target: Network, written: Network, source: Network, domain: Domain, *,
    files: tuple[str | None, str | None] = (None, None),
    reading: tuple[tuple[str, ...], tuple[str, ...]] = ((), ()),
    trace: tuple[str, ...] = (), timeout: float | None = None, seed: int = 0,
    report: Report | None = None,
) -> Verdict:
    """The claim that `source` equals the exact network whose constants the file `written` rounds
    (evidence of kind rounding). Nothing is said of the values that the file itself gives."""
    context = Context(
        files=files, reading=reading, trace=trace, timeout=timeout, seed=seed,
        report=report or (lambda line: None),
    )
    question = asked(source, exact_target, Claim(Equal(), domain), context)
    found = equal_by_structure(question) or decide(question)
    if not isinstance(found, Proved):
        return found
    certificate = replace(
        found.certificate, target=to_primitive(written), rounds=question.target,
        evidence=(*found.certificate.evidence, Evidence("e2", Rounding(), ("e1",))),
        conclusion="e2",
    )
    try:
        check(certificate)
    except CertificateRejected as error:
        return undecided(question, Fraction(0), None, str(error))
    return replace(found, certificate=certificate, seconds=question.seconds())


def decide(question: Question) -> Verdict:
    """The ladder."""
    found = equal_by_structure(question) or by_enumeration(question)
    if found is not None:
        return found
    relation = question.claim.relation
    upper = None
    if not isinstance(relation, Equal):
        within, upper = tightest(question)
        if within is not None and upper is not None and upper <= goal(relation):
            return proved(question, within, upper=upper)
    seen = attack(question)
    if seen.witness is not None:
        certificate = question.certificate(Counterexample(seen.witness.point))
        if not check(certificate).holds:
            return Refuted(
                claim=question.claim, witness=seen.witness, certificate=certificate,
                lower=seen.lower, upper=upper, seconds=question.seconds(),
            )
    if isinstance(relation, Equal):
        found = equal_by_programme(question)
        if found is not None:
            return found
        _, upper = tightest(question)
    return undecided(question, seen.lower, upper, reason(question, upper))


def goal(relation: Relation) -> Fraction:
    match relation:
        case Within(eps):
            return min(eps) if isinstance(eps, tuple) else eps
        case SameDecision(margin):
            return margin
        case _:
            return Fraction(0)


def reason(question: Question, upper: Fraction | None) -> str:
    """Why the ladder ended, and what would help."""
    if upper is None:
        if question.box is None:
            return "the domain has no bounds and the units do not match; give a box with --on"
        return "the sweep found no bound of the difference"
    relation = question.claim.relation
    if isinstance(relation, Equal):
        return "the units do not match exactly and no point was found that differs"
    asked_for = "margin" if isinstance(relation, SameDecision) else "eps"
    return (
        f"the certified bound {approximately(upper):.3g} is above the asked one and no point was "
        f"found beyond it; a smaller box, a larger {asked_for} or --timeout may decide"
    )


def equal_by_structure(question: Question) -> Proved | None:
    """Exact sweeps: interval ranges first, then ranges by backward substitution."""
    question.context.report("sweeping exactly")
    found = equal_by_sweep(question)
    if found is None and worth_backward(question):
        found = equal_by_sweep(question, backward=True)
    return found


def equal_by_programme(question: Question) -> Proved | None:
    """An exact sweep with slopes from linear programmes for units that are nearly stable."""
    if question.box is None or not worth_backward(question, RADII_WEIGHTS):
        return None
    question.context.report("sweeping with linear programmes")
    return equal_by_sweep(question, backward=True, programme=True)


def equal_by_sweep(
    question: Question, *, backward: bool = False, programme: bool = False
) -> Proved | None:
    try:
        found = sweep(
            question.source, question.target, question.box, backward=backward,
            programme=programme,
        )
    except CertificateRejected:
        return None
    rest = found.difference
    if rest.rows.nonzeros or not rest.is_exact:
        return None
    return proved(question, Sweep(found.codes), upper=Fraction(0))


def worth_backward(question: Question, most: int = BACKWARD_WEIGHTS) -> bool:
    """Backward ranges cost products of whole matrices: for small networks only."""
    weights = measure(question.source).nonzeros + measure(question.target).nonzeros
    return weights <= most


def by_enumeration(question: Question) -> Verdict | None:
    """All points of a small finite domain; None where the domain is infinite or too large."""
    domain = question.claim.domain
    if not is_finite(domain):
        return None
    widest = max(node.shape[0] for node in question.source.nodes) if question.source.nodes else 1
    if count(domain) * widest > MOST_EVALUATIONS:
        return None
    question.context.report(f"evaluating {count(domain):,} points")
    certificate = question.certificate(Enumerate())
    try:
        accepted = check(certificate)
    except CertificateRejected:
        return None
    upper = accepted.upper or Fraction(0)  # attained, unless outputs are only enclosed
    exact = has_exact_values(question.source) and has_exact_values(question.target)
    return Proved(
        claim=question.claim, certificate=certificate, grade=accepted.grade,
        lower=upper if exact else Fraction(0), upper=upper, seconds=question.seconds(),
    )


def is_finite(domain: Domain) -> bool:
    if isinstance(domain, Union):
        return all(is_finite(part) for part in domain.parts)
    return isinstance(domain, Binary | FiniteSet)


def tightest(question: Question) -> tuple[Sweep | None, Fraction | None]:
    """The sweep with the smallest certified value of the relation's target, and that value."""
    if question.box is None:
        return None, None
    question.context.report("sweeping with radii")
    best: tuple[Sweep | None, Fraction | None] = (None, None)
    modes = [(True, False)]
    if worth_backward(question, RADII_WEIGHTS):
        modes.append((True, True))
    for near, backward in (*modes, (False, False)):
        try:
            found = sweep(
                question.source, question.target, question.box, near=near, backward=backward,
                seed=question.context.seed,
            )
        except CertificateRejected:
            continue
        value = certified(question, found, backward)
        if value is not None and (best[1] is None or value < best[1]):
            best = Sweep(found.codes, backward), value
        decided = best[1] is not None and best[1] <= goal(question.claim.relation)
        if decided or (best[1] is not None and (near, backward) == modes[-1]):
            break
    return best


def certified(question: Question, found: Swept, backward: bool) -> Fraction | None:
    """Upper value of the relation's target after a sweep; None where it has no bound."""
    rest, basis = found.difference, found.basis
    try:
        if isinstance(question.claim.relation, SameDecision):
            return decision_margin(rest.rows, rest.radius, basis, backward)
        known = backward_range(rest.rows, basis) if backward else interval_range(rest.rows, basis)
    except CertificateRejected:
        return None
    if known.open_low.any() or known.open_high.any():
        return None
    return largest(known, rest.radius)


def attack(question: Question) -> Attack:
    """Look for a point where the claim fails."""
    question.context.report("looking for a counterexample")
    relation, seconds = question.claim.relation, question.left()
    if isinstance(relation, SameDecision):
        return falsify_decision(
            question.source, question.target, question.claim.domain, relation.margin,
            seconds=seconds, seed=question.context.seed,
        )
    return falsify(
        question.source, question.target, question.claim.domain, goal(relation) or None,
        seconds=seconds, seed=question.context.seed,
    )


def proved(question: Question, data: Sweep, *, upper: Fraction) -> Proved:
    """The verdict, after the checker has accepted the certificate."""
    question.context.report("checking the certificate")
    certificate = question.certificate(data)
    accepted = check(certificate)
    return Proved(
        claim=question.claim, certificate=certificate, grade=accepted.grade, upper=upper,
        seconds=question.seconds(),
    )


def undecided(question: Question, lower: Fraction, upper: Fraction | None, why: str) -> Undecided:
    return Undecided(
        claim=question.claim, lower=lower, upper=upper, reason=why, seconds=question.seconds()
    )
