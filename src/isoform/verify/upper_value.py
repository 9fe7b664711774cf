# SPDX-License-Identifier: Apache-2.0
"""The upper value of a search that has not closed everything, re-derived by the checker.

What the open boxes allow in doubles is a hint. The checker walks the same trees, cut to the splits
that matter, about a wider claim; what it finds there is the upper value. It is slower than the
search, so that only so many splits are walked as there is time for.
"""

from __future__ import annotations

import time
from fractions import Fraction

from isoform.certificate.softmax_end import before_softmax
from isoform.certificate.tree import boxes_of
from isoform.certificate.tree_check import closed_by_trees
from isoform.certificate.tree_evidence import Split, Trees
from isoform.certificate.verdict import UpperAt
from isoform.errors import CertificateRejected
from isoform.network.claim import Equal, Within, forbidden_sets, tolerances
from isoform.verify.branch_trees import box_in
from isoform.verify.goal import rounded_up
from isoform.verify.question import Question
from isoform.verify.trees import BITS, Branching

WIDER = Fraction(1_000_001, 1_000_000)
LARGEST = 1e30  # an upper value that says something
FIRST = 16  # splits that are walked to see how long it takes
CAUTION = 0.8  # of what seems possible
ENOUGH = 1.3  # times as many splits are worth another walk

Certified = tuple[Within, Trees, Fraction, UpperAt]


def certified(
    question: Question, search: Branching, seconds: float | None = None
) -> Certified | None:
    """The smallest eps that the boxes so far prove, their trees, and the upper value that the
    checker finds, with where it is; None where there is none. seconds: about how long that may
    take; without it the answer does not depend on the clock."""
    if not isinstance(question.claim.relation, Equal | Within):
        return None
    question.context.report("checking the upper value")
    if seconds is None:
        return rederived(question, search.cut(search.leaves))
    until = time.perf_counter() + seconds
    best: Certified | None = None
    most = FIRST
    while True:
        began = time.perf_counter()
        short = search.cut(most)
        found = rederived(question, short)
        if found is not None and (best is None or found[2] < best[2]):
            best = found
        now = time.perf_counter()
        possible = int(CAUTION * most * (until - now) / max(now - began, 1e-6))
        if is_whole(search, short) or possible < ENOUGH * most:
            return best
        most = possible


def is_whole(search: Branching, short: Branching) -> bool:
    """Whether nothing that was cut off lowers the upper value."""
    pairs = zip(search.searches, short.searches, strict=True)
    return all(
        whole.nodes[cut.waiting[0][1]].kind == Split.LEAF for whole, cut in pairs if cut.waiting
    )


def rederived(question: Question, search: Branching) -> Certified | None:
    """What the checker finds about these trees."""
    relation = question.claim.relation
    if not isinstance(relation, Equal | Within) or not search.worst < LARGEST:
        return None
    outputs = question.source.output_dimension
    eps = relation.eps if isinstance(relation, Within) else Fraction(0)
    for bits in BITS:
        excess = Fraction(max(search.worst, 0.0)) * WIDER + Fraction(1, 1 << (bits - 12))
        above = rounded_up(excess)
        wider = Within(tuple(e + above for e in eps) if isinstance(eps, tuple) else eps + above)
        trees = search.evidence(bits)
        before = before_softmax(question.source, question.target, wider)
        assert isinstance(before.relation, Within)
        sets = forbidden_sets(before.relation, question.source.dimension, outputs)
        try:
            found = closed_by_trees(
                trees, before.source, before.target, question.claim.domain, sets
            )
        except CertificateRejected:
            continue
        allowed = tolerances(before.relation, outputs).fractions()
        sides = zip(allowed, found[0::2], found[1::2], strict=True)
        values = [before.share * max(Fraction(0), most + max(pair)) for most, *pair in sides]
        return wider, trees, max(values), where(question, search, values)
    return None


def where(question: Question, search: Branching, values: list[Fraction]) -> UpperAt:
    """The output with the largest upper value, and the worst box of a search."""
    worst = max(search.searches, key=lambda each: each.worst)
    whole = boxes_of(question.claim.domain)[worst.number]
    box = box_in(whole, worst, worst.waiting[0][1]) if worst.waiting else None
    return UpperAt(output=values.index(max(values)), box=box)
