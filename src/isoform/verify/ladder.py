# SPDX-License-Identifier: Apache-2.0
"""The ladder: cheap and structural rungs first, search last; lower and upper value on the way.

1. Exact sweep: equal, whatever the depth, order, scaling, dead units and linear chains. 2. Finite
domains: every point. 3. Differential bounds on the whole domain. 4. Attack with exact replay.
5. Common regions, in few dimensions. 6. Differential bounds with splitting, while time lasts, and
another attack in between. Sweeps with radii stand in where layers are too large to split. Nothing
is called proved or refuted before the independent checker has accepted the certificate.
"""

from __future__ import annotations

import math
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction

from isoform.certificate.check import check
from isoform.certificate.evidence import Counterexample, Enumerate
from isoform.certificate.points import MOST_EVALUATIONS, count
from isoform.certificate.verdict import LowerAt, Proved, Refuted, Undecided, UpperAt, Verdict
from isoform.errors import CertificateRejected, ContractBroken
from isoform.network.claim import Avoids, Equal, SameDecision, Within
from isoform.network.domain import Binary, Domain, FiniteSet, Union
from isoform.numerics.exact import Exact, approximately
from isoform.verify.branch_state import State
from isoform.verify.checking import Checking
from isoform.verify.clock import FOREVER, OutOfTime
from isoform.verify.falsify import Attack, falsify_relation
from isoform.verify.goal import has_exact_values
from isoform.verify.question import Question
from isoform.verify.structure import (
    equal_by_programme,
    equal_by_relations,
    equal_by_structure,
    goal,
    proved,
    tightest,
)
from isoform.verify.trees import BITS, MARGINS, SHARED, Branching, branching, unreached
from isoform.verify.upper_value import certified

FIRST_BOXES, FIRST_SECONDS = 128, 0.3  # of splitting before the attack
GLANCE = 0.02  # seconds of an attack before anything else
FIRST_ATTACK, SECOND_ATTACK = 2.0, 5.0  # seconds of attacks between which boxes are split
BEFORE_SECOND = 0.25  # share of the time for splitting before the second
UPPER_SECONDS, UPPER_BOXES = 2.0, 256  # for an upper value of what is refuted, or not equal
MOST_REGIONS = 100_000
FEW_INPUTS = 3  # up to so many free inputs, regions are enumerated before boxes are split
COMPILING = 15.0  # seconds that the first enumeration on a machine may take to compile
MOST_INPUTS = 8
CHECK_LEAST, CHECK_HURRY = 0.5, 5.0  # seconds to re-derive an upper value
PIECE = 4.0  # seconds for a piece of a tree: small ones are walked in small batches


@dataclass(slots=True)
class Progress:
    """What is known so far: lower value and its witness, a certified upper value; where both were
    found, and in which file that is kept."""

    lower: Fraction = Fraction(0)
    upper: Fraction | None = None
    seen: Attack | None = None
    lower_at: LowerAt | None = None
    upper_at: UpperAt | None = None
    state: State | None = None

    def below(self, lower: Fraction, at: LowerAt | None) -> None:
        """A lower value."""
        if lower > self.lower:
            self.lower, self.lower_at = lower, at
            if self.state is not None and at is not None:
                self.state.best = lower, at.point

    def above(self, upper: Fraction | None, at: UpperAt | None) -> None:
        """A certified upper value."""
        if upper is not None and (self.upper is None or upper < self.upper):
            self.upper, self.upper_at = upper, at


def decide(question: Question) -> Verdict:
    """The ladder. A first KeyboardInterrupt ends it with what is known by then, a second one
    passes on."""
    relation = question.claim.relation
    known = Progress(state=State.of(question))
    if known.state is not None and known.state.best is not None:
        points = (*question.context.points, known.state.best[1])
        question = replace(question, context=replace(question.context, points=points))
    search: Branching | None = None
    found: Verdict | None = None
    try:
        if not isinstance(relation, Avoids):
            found = equal_by_structure(question)
        found = found or by_enumeration(question)
        if found is not None:
            return found
        search = branching(question)
        if search is not None:
            search.resume(known.state)
        if isinstance(relation, Equal):
            found = equality(question, known)
        else:
            found = inequality(question, known, search)
        if not isinstance(found, Proved):
            upper_value(question, known, search)
    except KeyboardInterrupt:
        why = "interrupted; lower and upper value are what was found until then"
        if not isinstance(found, Refuted):
            upper_value(question, known, search, hurry=True)
            found = replace(undecided(question, known, why), interrupted=True)
    keep(known, search)
    match found:
        case Proved():
            return with_lower(question, found, known)
        case Refuted():
            return replace(
                found, seconds=question.seconds(), upper=known.upper, upper_at=known.upper_at,
                lower_at=found.lower_at or known.lower_at,
            )
    return found or undecided(question, known, reason(question, known.upper, search))


def keep(known: Progress, search: Branching | None) -> None:
    """Bring the file of the state up to date."""
    if search is not None:
        search.keep()
    elif known.state is not None:
        known.state.save([], (), 0.0, 0)


def with_lower(question: Question, found: Proved, known: Progress) -> Proved:
    """The verdict with the lower value that the attack has found; where there was none yet, that of
    a glance. KeyboardInterrupt in it is ignored, for the claim is proved."""
    if known.seen is None and isinstance(question.claim.relation, Within) and found.upper > 0:
        with suppress(KeyboardInterrupt):
            if attacked(question, known, GLANCE) is not None:
                raise ContractBroken("the prover", f"'{question.claim}' was proved, and refuted")
    if known.lower <= found.lower:
        return found
    return replace(found, lower=known.lower, lower_at=known.lower_at)


def equality(question: Question, known: Progress) -> Verdict | None:
    """Equal by other means than structure, or a point where the networks differ."""
    return (
        equal_by_relations(question)
        or attacked(question, known)
        or equal_by_programme(question)
        or by_regions(question, known, MOST_INPUTS)
        or attacked(question, known)
    )


def inequality(
    question: Question, known: Progress, search: Branching | None
) -> Verdict | None:
    """Whether all is within what is allowed: the whole domain at once, then points, then parts."""
    relation = question.claim.relation
    found: Verdict | None = None
    if search is not None:
        found = by_splitting(question, search, FIRST_BOXES, FIRST_SECONDS)
    elif not isinstance(relation, Avoids):
        within, known.upper = tightest(question)
        if within is not None and known.upper is not None and known.upper <= goal(relation):
            return proved(question, within, upper=known.upper)
    found = found or attacked(question, known, None if search is None else FIRST_ATTACK)
    found = found or by_regions(question, known, FEW_INPUTS)
    if search is not None:
        search.lower = approximately(known.lower)
        if found is None:
            search.deepen()
        left = question.deadline() - time.perf_counter()
        found = found or by_splitting(question, search, seconds=BEFORE_SECOND * left)
        found = found or attacked(question, known, SECOND_ATTACK)
        search.lower = approximately(known.lower)
        found = found or by_splitting(question, search)
    return found or attacked(question, known) or by_regions(question, known, MOST_INPUTS)


def by_regions(question: Question, known: Progress, most_inputs: int) -> Verdict | None:
    """The common regions of both networks, where not too many inputs are free, for half of the time
    that is left."""
    from isoform.regions.kernel import kept
    from isoform.regions.tasks import Budget
    from isoform.verify.cells import by_cells

    if free_inputs(question) > most_inputs:
        return None
    left = question.deadline() - time.perf_counter()
    simple = isinstance(question.claim.relation, Equal | Within)
    kernel = "largest_values" if simple else "close_sets"
    if left <= (0 if kept(f"leaf_kernel.{kernel}") else COMPILING):
        return None
    question.context.report("enumerating common regions")
    found = by_cells(question, Budget(regions=MOST_REGIONS, seconds=left / 2))
    if isinstance(found, Undecided):
        known.below(found.lower, found.lower_at)
        return None
    return found


def free_inputs(question: Question) -> int:
    """Inputs that the domain does not fix."""
    box = question.box
    if box is None:
        return question.source.dimension
    return int(((box.high - box.low).sign() > 0).sum())


def upper_value(
    question: Question, known: Progress, search: Branching | None, hurry: bool = False
) -> None:
    """The smallest certified upper value of the largest difference that the search gives; a search
    that has not begun takes a moment for one, or in a hurry a single box."""
    if search is None:
        return
    if not search.begun or (isinstance(question.claim.relation, Equal) and not hurry):
        search.begin(0.0)
        search.run(
            min(question.deadline(), time.perf_counter() + UPPER_SECONDS),
            1 if hurry else UPPER_BOXES, question.context.report,
        )
    left = min(question.kept_back(), question.end() - time.perf_counter())
    seconds = max(left, CHECK_LEAST)
    best = certified(question, search, min(seconds, CHECK_HURRY) if hurry else seconds)
    if best is not None:
        known.above(best[2], best[3])
    elif known.upper is None and not hurry and not isinstance(question.claim.relation, Avoids):
        known.upper = tightest(question)[1]


def by_splitting(
    question: Question, search: Branching, boxes: int | None = None, seconds: float = FOREVER
) -> Proved | None:
    """Differential bounds until all is closed, the time or so many seconds are up, or so many boxes
    were bounded."""
    question.context.report("bounding the difference")
    deadline = min(question.deadline(), time.perf_counter() + seconds)
    for margin in [margin for margin in MARGINS if margin >= search.margin]:
        search.begin(margin)
        if not search.run(deadline, boxes, question.context.report):
            return None
        if time.perf_counter() > question.last():
            return None
        for bits in BITS:
            try:
                return proved(
                    question, search.evidence(bits), upper=None,
                    checking=checking(question, search),
                )
            except CertificateRejected:
                continue
            except OutOfTime:
                return None
        search.begun = False
    return None


def checking(question: Question, search: Branching) -> Checking:
    """How the checker is to walk the trees of a search: in processes where that is worth it, and
    not much longer than it may take."""
    seconds = search.check_seconds()
    return Checking(
        workers=question.context.workers if seconds > SHARED else 1,
        pieces=max(1, math.ceil(seconds / PIECE)), nodes=2 * search.leaves,
        report=question.context.report, until=question.last(),
    )


def attacked(
    question: Question, known: Progress, seconds: float | None = None
) -> Refuted | None:
    """Look for a point where the claim fails; again with another seed than the last time."""
    question.context.report("looking for a counterexample")
    left = question.left() if seconds is None else min(seconds, question.left())
    points: list[Exact] = list(question.context.points)
    if known.seen is not None and known.seen.point is not None:
        points.append(known.seen.point)
    seen = falsify_relation(
        question.source, question.target, question.claim.domain, question.claim.relation,
        seconds=left, seed=question.context.seed + (known.seen is not None), points=points,
    )
    known.below(seen.lower, seen.lower_at)
    if known.seen is None or seen.lower >= known.lower:
        known.seen = seen
    if seen.witness is None:
        if seen.interrupted:
            raise KeyboardInterrupt
        return None
    certificate = question.certificate(Counterexample(seen.witness.point))
    if check(certificate).holds:
        return None
    return Refuted(
        claim=question.claim, witness=seen.witness, certificate=certificate, lower=known.lower,
        lower_at=known.lower_at, upper=known.upper, seconds=question.seconds(),
    )


def reason(question: Question, upper: Fraction | None, search: Branching | None) -> str:
    """Why the ladder ended, and what would help."""
    relation = question.claim.relation
    if question.box is None:
        return "the domain has no bounds and the units do not match; give a box with --on"
    if search is not None and search.begun and search.done:
        return (
            f"all of {search.leaves:,} boxes were closed in floats, but the certificate was not "
            f"checked in time, which takes about {search.check_seconds():.2g} s; more time "
            "(--timeout) or more processes (--workers) may decide"
        )
    if search is not None:
        nearer = ""
        if search.allowed is not None and upper is not None and search.begun:
            rough = search.allowed + max(search.worst, 0.0)
            if rough < 0.9 * approximately(upper):
                nearer = f", which in floats leave an upper value of about {rough:.3g}"
        return (
            f"{search.leaves:,} boxes were bounded in {question.seconds():.3g} s{nearer}, and no "
            "point was found that refutes the claim; a smaller domain, a larger allowance or more "
            "time (--timeout) may decide"
        )
    if upper is None:
        return f"{unreached(question)}, and the sweep found no bound"
    if isinstance(relation, Equal):
        return "the units do not match exactly and no point was found that differs"
    asked_for = "margin" if isinstance(relation, SameDecision) else "eps"
    return (
        f"the certified bound {approximately(upper):.3g} is above the asked one and no point was "
        f"found beyond it; a smaller box, a larger {asked_for} or --timeout may decide"
    )


def undecided(question: Question, known: Progress, why: str) -> Undecided:
    return Undecided(
        claim=question.claim, lower=known.lower, upper=known.upper, reason=why,
        lower_at=known.lower_at, upper_at=known.upper_at, seconds=question.seconds(),
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
