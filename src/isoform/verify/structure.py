# SPDX-License-Identifier: Apache-2.0
"""The rungs of sweeps: equal by structure, or within a small eps by carried radii."""

from __future__ import annotations

import time
from fractions import Fraction

from isoform.certificate.basis import backward_range, interval_range
from isoform.certificate.check import check
from isoform.certificate.conclusion import decision_margin, largest
from isoform.certificate.evidence import Data, Sweep
from isoform.certificate.tree_pieces import ALONE
from isoform.certificate.verdict import Proved
from isoform.errors import CertificateRejected, Refused, UnsupportedModel
from isoform.network.claim import Relation, SameDecision, Within
from isoform.network.size import measure
from isoform.verify.checking import Checking
from isoform.verify.clock import OutOfTime
from isoform.verify.falsify import differ
from isoform.verify.identity import Swept, sweep
from isoform.verify.question import Question

BACKWARD_WEIGHTS = 120_000  # weights of both networks above which ranges stay interval ranges
RADII_WEIGHTS = 40_000  # and for sweeps with radii or linear programmes
SLOWER = 4  # times as long as a sweep takes one with backward ranges, at the least
QUICK = 0.5  # seconds for both that are always there
RELATION_WEIGHTS = 4_000  # and above which no relations are looked for


def equal_by_structure(question: Question) -> Proved | None:
    """Exact sweeps: interval ranges first, then ranges by backward substitution."""
    question.context.report("sweeping exactly")
    began = time.perf_counter()
    found = equal_by_sweep(question)
    if found is not None or not worth_backward(question):
        return found
    if not time_for_backward(question, began) or differ_somewhere(question):
        return None
    return equal_by_sweep(question, backward=True)


def differ_somewhere(question: Question) -> bool:
    """Whether a point of the box shows at once that no sweep on it will prove equality."""
    place = question.claim.domain if question.box is None else question.box
    try:
        return differ(question.source, question.target, place, question.context.seed)
    except (Refused, UnsupportedModel):
        return False


def equal_by_programme(question: Question) -> Proved | None:
    """An exact sweep with slopes from linear programmes for units that are nearly stable."""
    if question.box is None or not worth_backward(question, RADII_WEIGHTS):
        return None
    question.context.report("sweeping with linear programmes")
    return equal_by_sweep(question, backward=True, programme=True)


def equal_by_relations(question: Question) -> Proved | None:
    """An exact sweep that also finds units that are rows over several others."""
    if not worth_backward(question, RELATION_WEIGHTS):
        return None
    question.context.report("looking for relations between units")
    return equal_by_sweep(question, relations=True)


def equal_by_sweep(
    question: Question, *, backward: bool = False, programme: bool = False,
    relations: bool = False,
) -> Proved | None:
    try:
        found = sweep(
            question.source, question.target, question.box, backward=backward,
            programme=programme, relations=relations, until=question.half_time(),
        )
    except (CertificateRejected, OutOfTime):
        return None
    rest = found.difference
    if rest.rows.nonzeros or not rest.is_exact:
        return None
    return proved(question, Sweep(found.codes), upper=Fraction(0))


def worth_backward(question: Question, most: int = BACKWARD_WEIGHTS) -> bool:
    """Backward ranges cost products of whole matrices: for small networks only."""
    weights = measure(question.source).nonzeros + measure(question.target).nonzeros
    return weights <= most


def time_for_backward(question: Question, began: float) -> bool:
    """Whether there is time for a sweep with backward ranges, after one without that began then."""
    now = time.perf_counter()
    return now + SLOWER * (now - began) < max(question.half_time(), began + QUICK)


def tightest(question: Question) -> tuple[Sweep | None, Fraction | None]:
    """The sweep with the smallest certified value of the relation's target, and that value."""
    if question.box is None:
        return None, None
    question.context.report("sweeping with radii")
    best: tuple[Sweep | None, Fraction | None] = (None, None)
    modes = [(True, False)]
    if worth_backward(question, RADII_WEIGHTS):
        modes.append((True, True))
    began = time.perf_counter()
    for near, backward in (*modes, (False, False)):
        if backward and not time_for_backward(question, began):
            if best[1] is not None:
                break
            continue
        try:
            found = sweep(
                question.source, question.target, question.box, near=near, backward=backward,
                seed=question.context.seed, until=question.half_time(),
            )
        except (CertificateRejected, OutOfTime):
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


def goal(relation: Relation) -> Fraction:
    """What an upper value has to reach."""
    match relation:
        case Within(eps):
            return min(eps) if isinstance(eps, tuple) else eps
        case SameDecision(margin):
            return margin
        case _:
            return Fraction(0)


def proved(
    question: Question, data: Data, *, upper: Fraction | None, checking: Checking | None = None
) -> Proved:
    """The verdict, after the checker has accepted the certificate. checking: how trees are walked;
    it may end that by OutOfTime."""
    question.context.report("checking the certificate")
    certificate = question.certificate(data)
    accepted = check(certificate, spread=ALONE if checking is None else checking.spread)
    values = [value for value in (upper, accepted.upper) if value is not None]
    return Proved(
        claim=question.claim, certificate=certificate, grade=accepted.grade,
        upper=min(values, default=lost_margin(question)), seconds=question.seconds(),
    )


def lost_margin(question: Question) -> Fraction:
    """What a proof of a decision says of the margin by which it may be lost; 0 for other claims."""
    relation = question.claim.relation
    return relation.margin if isinstance(relation, SameDecision) else Fraction(0)
