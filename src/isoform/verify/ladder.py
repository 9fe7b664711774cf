# SPDX-License-Identifier: Apache-2.0
"""The ladder: cheap and structural rungs first, search last; lower and upper value on the way.

1. Exact sweep: equal, whatever the depth, order, scaling, dead units and linear chains. 2. Finite
domains: every point. 3. Differential bounds on the whole domain. 4. Attack with exact replay.
5. Common regions, in few dimensions. 6. Differential bounds with splitting, while time lasts.
Sweeps with radii stand in where layers are too large to split. Nothing is called proved or refuted
before the independent checker has accepted the certificate.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from fractions import Fraction

from isoform.certificate.check import check
from isoform.certificate.evidence import Counterexample, Enumerate
from isoform.certificate.points import MOST_EVALUATIONS, count
from isoform.certificate.tree import check_trees
from isoform.certificate.tree_evidence import Trees
from isoform.certificate.verdict import Proved, Refuted, Undecided, Verdict
from isoform.errors import CertificateRejected
from isoform.network.claim import Avoids, Equal, SameDecision, Within
from isoform.network.domain import Binary, Domain, FiniteSet, Union
from isoform.numerics.exact import Exact, approximately
from isoform.regions.kernel import kept
from isoform.regions.tasks import Budget
from isoform.verify.cells import by_cells
from isoform.verify.falsify import Attack, falsify_relation
from isoform.verify.goal import has_exact_values, rounded_up
from isoform.verify.question import Question
from isoform.verify.structure import (
    equal_by_programme,
    equal_by_structure,
    goal,
    proved,
    tightest,
)
from isoform.verify.trees import BITS, MARGINS, Branching, branching

FIRST_BOXES = 1  # boxes that are bounded before the attack
FIRST_ATTACK = 1.0  # seconds
UPPER_SECONDS, UPPER_BOXES = 2.0, 256  # for an upper value of what is refuted, or not equal
QUICK = Budget(regions=2_000, seconds=1.0)
QUICK_INPUTS = 3
MOST_INPUTS = 8
WIDER = Fraction(1_000_001, 1_000_000)
LARGEST = 1e30  # an upper value that says something
MOST_CHECKED = 2_000  # boxes of an undecided search whose upper value is re-derived


@dataclass(slots=True)
class Progress:
    """What is known so far: lower value and its witness, a certified upper value."""

    lower: Fraction = Fraction(0)
    upper: Fraction | None = None
    seen: Attack | None = None


def decide(question: Question) -> Verdict:
    """The ladder."""
    relation = question.claim.relation
    found: Verdict | None = None
    if not isinstance(relation, Avoids):
        found = equal_by_structure(question)
    found = found or by_enumeration(question)
    if found is not None:
        return found
    known = Progress()
    search = branching(question)
    try:
        if isinstance(relation, Equal):
            found = equality(question, known)
        else:
            found = inequality(question, known, search)
    except KeyboardInterrupt:
        return undecided(question, known.lower, upper_value(question, known, search),
                         "interrupted; lower and upper value are what was found until then")
    if isinstance(found, Proved):
        return replace(found, lower=max(found.lower, known.lower))
    upper = upper_value(question, known, search)
    if isinstance(found, Refuted):
        return found if upper is None else replace(found, upper=upper)
    return undecided(question, known.lower, upper, reason(question, upper, search))


def equality(question: Question, known: Progress) -> Verdict | None:
    """Equal by other means than structure, or a point where the networks differ."""
    return (
        attacked(question, known, FIRST_ATTACK)
        or equal_by_programme(question)
        or by_regions(question, known, QUICK)
        or attacked(question, known, None)
        or by_regions(question, known, None)
    )


def inequality(
    question: Question, known: Progress, search: Branching | None
) -> Verdict | None:
    """Whether all is within what is allowed: the whole domain at once, then points, then parts."""
    relation = question.claim.relation
    found: Verdict | None = None
    if search is not None:
        found = by_splitting(question, search, boxes=FIRST_BOXES)
    elif not isinstance(relation, Avoids):
        within, known.upper = tightest(question)
        if within is not None and known.upper is not None and known.upper <= goal(relation):
            return proved(question, within, upper=known.upper)
    found = found or attacked(question, known, FIRST_ATTACK)
    found = found or by_regions(question, known, QUICK)
    if search is not None:
        found = found or by_splitting(question, search)
    return found or attacked(question, known, None) or by_regions(question, known, None)


def by_regions(question: Question, known: Progress, budget: Budget | None) -> Verdict | None:
    """The common regions of both networks, where they are few; a quick look only where nothing has
    to be compiled for it."""
    quick = budget is not None
    inputs = question.source.dimension
    if quick and (inputs > QUICK_INPUTS or not kept("leaf_kernel.close_sets")):
        return None
    if not quick and (inputs > MOST_INPUTS or question.deadline() <= time.perf_counter()):
        return None
    question.context.report("enumerating common regions")
    found = by_cells(question, budget)
    if isinstance(found, Undecided):
        known.lower = max(known.lower, found.lower)
        return None
    return found


def upper_value(
    question: Question, known: Progress, search: Branching | None
) -> Fraction | None:
    """The smallest certified upper value of the largest difference."""
    if search is None:
        return known.upper
    if not search.begun:
        search.begin(0.0)
        search.run(
            min(question.deadline(), time.perf_counter() + UPPER_SECONDS), UPPER_BOXES,
            question.context.report,
        )
    best = certified(question, search)
    values = [value for value in (known.upper, best and best[2]) if value is not None]
    return min(values, default=None)


def by_splitting(
    question: Question, search: Branching, boxes: int | None = None
) -> Proved | None:
    """Differential bounds until all is closed, the time is up, or so many boxes were bounded."""
    question.context.report("bounding the difference")
    for margin in MARGINS:
        search.begin(margin)
        if not search.run(question.deadline(), boxes, question.context.report):
            return None
        for bits in BITS:
            try:
                return proved(question, search.evidence(bits), upper=None)
            except CertificateRejected:
                continue
        search.begun = False
    return None


def attacked(question: Question, known: Progress, seconds: float | None) -> Refuted | None:
    """Look for a point where the claim fails."""
    question.context.report("looking for a counterexample")
    left = question.left() if seconds is None else min(seconds, question.left())
    points: list[Exact] = list(question.context.points)
    if known.seen is not None and known.seen.point is not None:
        points.append(known.seen.point)
    seen = falsify_relation(
        question.source, question.target, question.claim.domain, question.claim.relation,
        seconds=left, seed=question.context.seed + (known.seen is not None), points=points,
    )
    if known.seen is None or seen.lower >= known.lower:
        known.seen, known.lower = seen, seen.lower
    if seen.witness is None:
        return None
    certificate = question.certificate(Counterexample(seen.witness.point))
    if check(certificate).holds:
        return None
    return Refuted(
        claim=question.claim, witness=seen.witness, certificate=certificate, lower=seen.lower,
        upper=known.upper, seconds=question.seconds(),
    )


def certified(
    question: Question, search: Branching
) -> tuple[Within, Trees, Fraction] | None:
    """The smallest eps that the boxes so far prove, their trees, and the upper value that the
    checker finds; None where there is none, or too much to check."""
    relation = question.claim.relation
    search = search.cut(MOST_CHECKED)
    if not isinstance(relation, Equal | Within) or not search.worst < LARGEST:
        return None
    question.context.report("checking the upper value")
    eps = relation.eps if isinstance(relation, Within) else Fraction(0)
    for bits in BITS:
        excess = Fraction(max(search.worst, 0.0)) * WIDER + Fraction(1, 1 << (bits - 12))
        above = rounded_up(excess)
        wider = Within(tuple(e + above for e in eps) if isinstance(eps, tuple) else eps + above)
        trees = search.evidence(bits)
        try:
            upper = check_trees(
                trees, question.source, question.target, question.claim.domain, wider
            )
        except CertificateRejected:
            continue
        return None if upper is None else (wider, trees, upper)
    return None


def reason(question: Question, upper: Fraction | None, search: Branching | None) -> str:
    """Why the ladder ended, and what would help."""
    relation = question.claim.relation
    if question.box is None:
        return "the domain has no bounds and the units do not match; give a box with --on"
    if search is not None:
        return (
            f"{search.leaves:,} boxes were bounded in {question.seconds():.3g} s and no point was "
            "found that refutes the claim; a smaller domain, a larger allowance or more time "
            "(--timeout) may decide"
        )
    if upper is None:
        return "the networks are beyond the differential bounds, and the sweep found no bound"
    if isinstance(relation, Equal):
        return "the units do not match exactly and no point was found that differs"
    asked_for = "margin" if isinstance(relation, SameDecision) else "eps"
    return (
        f"the certified bound {approximately(upper):.3g} is above the asked one and no point was "
        f"found beyond it; a smaller box, a larger {asked_for} or --timeout may decide"
    )


def undecided(
    question: Question, lower: Fraction, upper: Fraction | None, why: str
) -> Undecided:
    return Undecided(
        claim=question.claim, lower=lower, upper=upper, reason=why, seconds=question.seconds()
    )


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
