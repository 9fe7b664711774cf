# SPDX-License-Identifier: Apache-2.0
"""Deciding claims by the regions that both networks have in common: exact, where these are few.

On a common region both networks are affine, so the largest difference is attained at a vertex of
one, and a forbidden set meets a region or is closed there by a linear programme. All regions are
enumerated, so the answer is final: what is left open is only what the budget did not reach.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from isoform.certificate.cell_evidence import ClosedChart, CommonCells
from isoform.certificate.cells import ForbiddenRows, forbidden_rows
from isoform.certificate.check import check
from isoform.certificate.evidence import Counterexample
from isoform.certificate.region_evidence import Stream
from isoform.certificate.verdict import LowerAt, Proved, Refuted, Undecided, Verdict, Witness
from isoform.errors import CertificateRejected
from isoform.network.claim import Equal, RegionCount, Within, tolerances
from isoform.numerics.exact import Exact, exact_fractions
from isoform.regions.leaf_programs import Leaves
from isoform.regions.listing import Stopped
from isoform.regions.tasks import Budget
from isoform.verify.common_regions import (
    FEW_EXACT,
    CommonRegions,
    LargestDifference,
    Met,
    closed_sets,
    common_regions,
    largest_differences,
    nearly_equal,
)
from isoform.verify.goal import goal_of
from isoform.verify.question import Question
from isoform.verify.replay import Replay, replay

FEW_INPUTS = 5
REGIONS, FEWER = 100_000, 10_000  # enumerated at most, with up to FEW_INPUTS free inputs and more
SECONDS, FEWER_SECONDS = 30.0, 5.0
PATIENCE = 2.0  # times the seconds of a search that its check may take
SHARES = [Fraction(1)] + [1 - Fraction(1, 1 << j) for j in (20, 10, 4, 1)] + [Fraction(0)]


@dataclass(frozen=True, slots=True)
class Seen:
    """The largest difference so far, and the point where an output has it."""

    value: Fraction = Fraction(0)
    at: LowerAt | None = None


NOTHING = Seen()


def by_cells(question: Question, budget: Budget | None = None) -> Verdict | None:
    """Decide the claim by the common regions of both networks on its domain.

    Proved (with the exact largest difference as `lower` and `upper` for a claim within eps on a
    bounded domain, and the point and output where it is attained as `lower_at`), Refuted with an
    exact witness, Undecided where the budget is spent. None where the rung does not apply: networks
    that are not piecewise linear or not continuous, domains that are finite, without an interior or
    of more than 16 inputs that are not fixed.

    budget: regions and seconds; by default 100,000 and 30 with up to five free inputs, 10,000 and 5
    with more, and no longer than the question's time. A check that would take more than twice as
    long as that is not begun, and the verdict then Undecided. KeyboardInterrupt passes on.
    """
    relation = question.claim.relation
    if isinstance(relation, RegionCount):
        return None
    unbounded, measured = question.box is None, False
    if isinstance(relation, Equal | Within):  # on all of space only equality is a matter of values
        measured = not unbounded or not tolerances(relation, outputs(question)).any()
    rows, sets = forbidden_rows(
        Equal() if measured else relation, question.source, question.target, unbounded
    )
    if any(not part.rows for part in sets):
        return None
    question.context.report("cutting both networks into common regions")
    regions = common_regions(
        question.source, question.target, question.claim.domain, rows,
        budget or default_budget(question),
    )
    if regions is None or regions.count == 0:
        return None
    question.context.report(f"comparing on {regions.count:,} common regions")
    try:
        if measured:
            return by_differences(question, regions)
        return by_sets(question, regions, sets)
    except Stopped:
        return undecided(question, NOTHING, (
            f"the time was spent while {regions.count:,} common regions were compared"
        ))


def by_sets(
    question: Question, regions: CommonRegions, sets: tuple[ForbiddenRows, ...]
) -> Verdict:
    """Claims as forbidden sets."""
    found = closed_sets(regions, sets)
    if isinstance(found, Met):
        return refuted(question, regions, found)
    if regions.stopped is not None:
        return spent(question, regions, NOTHING)
    verdict = proved(question, regions, *found)
    if isinstance(verdict, Undecided):
        found = closed_sets(regions, sets, exactly=True)
        verdict = verdict if isinstance(found, Met) else proved(question, regions, *found)
    return verdict


def outputs(question: Question) -> int:
    return question.source.output_dimension


def default_budget(question: Question) -> Budget:
    domain = question.box
    free = question.source.dimension
    if domain is not None:
        free = int(np.count_nonzero((domain.high - domain.low).sign()))
    few = free <= FEW_INPUTS
    seconds = SECONDS if few else FEWER_SECONDS
    if question.context.timeout is not None:
        seconds = max(min(seconds, question.left()), 0.1)
    return Budget(regions=REGIONS if few else FEWER, seconds=seconds)


def by_differences(question: Question, regions: CommonRegions) -> Verdict:
    """Equality and claims within some eps."""
    if regions.stopped is None and nearly_equal(regions):
        found = equal_on_all(question, regions)
        if isinstance(found, Proved):
            return found
    verdict = by_largest(question, regions, FEW_EXACT)
    if isinstance(verdict, Undecided) and regions.stopped is None:
        verdict = by_largest(question, regions, None)
    return verdict


def equal_on_all(question: Question, regions: CommonRegions) -> Proved | Undecided:
    """With nothing to close: the checker compares both affine maps on every region."""
    sizes = [(len(part), part.compiled.dimension) for part in regions.charts]
    eps = None
    if isinstance(question.claim.relation, Within):
        eps = Exact.zeros(outputs(question))
    return proved(
        question, regions, [np.zeros((count, 0), dtype=np.uint8) for count, _ in sizes],
        [np.zeros((count, 0, k), dtype=np.int32) for count, k in sizes], eps=eps,
    )


def by_largest(question: Question, regions: CommonRegions, few: int | None) -> Verdict:
    """By the exact largest difference of each output."""
    relation = question.claim.relation
    assert isinstance(relation, Equal | Within)
    tops, ids = largest_differences(regions, few)
    allowed = tolerances(relation, len(tops)).fractions()
    widest = max(range(len(tops)), key=lambda i: tops[i].value)
    seen = NOTHING
    if question.box is not None:  # at infinity values are those of another scale
        top = tops[widest]
        point = points_near(regions.charts[top.chart], top.leaf, top.point)[0]
        seen = Seen(top.value, LowerAt(point=point, output=widest))
    excess = [top.value - eps for top, eps in zip(tops, allowed, strict=True)]
    if max(excess) > 0:
        return refuted(question, regions, tops[excess.index(max(excess))], seen)
    if regions.stopped is not None:
        return spent(question, regions, seen)
    if tops[widest].value == 0:
        return equal_on_all(question, regions)
    targets = [np.zeros(part.shape[:2], dtype=np.uint8) for part in ids]
    eps = exact_fractions([top.value for top in tops], (len(tops),))
    return proved(question, regions, targets, ids, eps=eps, seen=seen)


def proved(
    question: Question, regions: CommonRegions, targets: list[np.ndarray], ids: list[np.ndarray],
    *, eps: Exact | None = None, seen: Seen = NOTHING,
) -> Proved | Undecided:
    """The verdict, if the checker accepts the certificate; it is not asked where that would take
    much longer than the search was allowed to."""
    if regions.seconds is not None and regions.check_seconds > PATIENCE * regions.seconds:
        return undecided(question, seen, (
            f"the claim holds on {regions.count:,} common regions, but to check that would take "
            f"about {regions.check_seconds:.0f} seconds; allow more time"
        ))
    question.context.report("checking the certificate")
    charts = tuple(
        ClosedChart(streams_of(leaves), target, found)
        for leaves, target, found in zip(regions.charts, targets, ids, strict=True)
    )
    certificate = question.certificate(CommonCells(charts, eps))
    try:
        accepted = check(certificate)
    except CertificateRejected as error:
        return undecided(question, seen, f"the regions were enumerated, but {error}")
    return Proved(
        claim=question.claim, certificate=certificate, grade=accepted.grade, lower=seen.value,
        upper=accepted.upper or Fraction(0), seconds=question.seconds(), lower_at=seen.at,
    )


def streams_of(leaves: Leaves) -> tuple[Stream, ...]:
    return tuple(
        Stream(prefix=s.prefix, codes=s.codes, ids=s.ids, points=s.points, fine=s.fine)
        for s in leaves.streams
    )


def refuted(
    question: Question, regions: CommonRegions, at: LargestDifference | Met, seen: Seen = NOTHING
) -> Refuted | Undecided:
    """The verdict by a point of a leaf, replayed exactly; by one near it where it lies at
    infinity."""
    found = best_of(question, points_near(regions.charts[at.chart], at.leaf, at.point))
    if found is None:
        why = "a region contradicts the claim, but none of its points that were tried"
        return undecided(question, seen, why)
    certificate = question.certificate(Counterexample(found.point))
    try:
        check(certificate)
    except CertificateRejected as error:
        return undecided(question, seen, f"a point contradicts the claim, but {error}")
    witness = Witness(
        point=found.point, source=found.source, target=found.target,
        output=found.finding.output, difference=found.finding.difference,
    )
    if found.finding.largest > seen.value:
        here = LowerAt(point=found.point, output=found.finding.widest)
        seen = Seen(found.finding.largest, here)
    return Refuted(
        claim=question.claim, witness=witness, certificate=certificate, lower=seen.value,
        seconds=question.seconds(), lower_at=seen.at,
    )


def points_near(leaves: Leaves, leaf: int, point: Exact) -> list[Exact]:
    """Inputs (n,) between a vertex of a leaf and the point inside it, the vertex first; those at
    infinity are left out."""
    inside, chart = leaves.inside(leaf), leaves.compiled.chart
    found = []
    for share in SHARES:
        place = inside + (point - inside) * Exact.of(share)
        whole = chart.homogeneous(place)
        if whole[0].item() > 0:
            t = whole[0].item()
            found.append((whole[1:] * Exact.of(1 / t)).reduced())
    return found


def best_of(question: Question, points: list[Exact]) -> Replay | None:
    """The point that says most against the claim, if one refutes it."""
    goal = goal_of(question.claim.relation)
    tried = replay(question.source, question.target, question.claim.domain, points, goal)
    refuting = [found for found in tried if found.finding.refutes]
    return max(refuting, key=lambda found: found.finding.order, default=None)


def spent(question: Question, regions: CommonRegions, seen: Seen) -> Undecided:
    why = f"{regions.stopped} after {regions.count:,} common regions; none of them refutes"
    return undecided(question, seen, why)


def undecided(question: Question, seen: Seen, why: str) -> Undecided:
    return Undecided(
        claim=question.claim, lower=seen.value, upper=None, reason=why, seconds=question.seconds(),
        lower_at=seen.at,
    )
