# SPDX-License-Identifier: Apache-2.0
"""Counterexamples of other verifiers: they pass the gate of our own, exact replay and the checker,
or are discarded with the reason."""

from __future__ import annotations

from dataclasses import dataclass

from isoform.certificate.check import check
from isoform.certificate.evidence import Counterexample
from isoform.certificate.verdict import Refuted, Witness
from isoform.network.claim import Avoids, Claim
from isoform.network.domain import contains
from isoform.network.network import Network
from isoform.numerics.exact import Exact
from isoform.text import decimal
from isoform.verify.goal import Finding, goal_of
from isoform.verify.question import Context, asked
from isoform.verify.replay import replay


@dataclass(frozen=True, slots=True)
class Judged:
    """What became of a foreign counterexample: a refutation (None: it was discarded), in words."""

    refuted: Refuted | None
    said: str


def judge(
    source: Network, target: Network, claim: Claim, point: Exact, *,
    files: tuple[str | None, str | None] = (None, None),
    reading: tuple[tuple[str, ...], tuple[str, ...]] = ((), ()),
) -> Judged:
    """Replay a point (n,) exactly against a claim. A point outside of the domain, or where the
    claim holds (or is not certain to fail), is discarded. Errors as in `verify.prove.prove`."""
    question = asked(source, target, claim, Context(files=files, reading=reading))
    if point.shape != (question.source.dimension,):
        return Judged(None, f"discarded: {point.size} numbers for "
                            f"{question.source.dimension} inputs")
    if not contains(question.claim.domain, point):
        return Judged(None, "discarded: the point is outside of the domain")
    goal = goal_of(claim.relation)
    found = replay(question.source, question.target, question.claim.domain, [point], goal)
    if not found:
        return Judged(None, "discarded: a function of the networks has no value at the point")
    finding = found[0].finding
    if not finding.refutes:
        return Judged(None, f"discarded: the claim holds at the point, exactly computed: "
                            f"{holding(claim, finding)}")
    witness = Witness(
        point=found[0].point, source=found[0].source, target=found[0].target,
        output=finding.output, difference=finding.difference,
    )
    certificate = question.certificate(Counterexample(found[0].point))
    check(certificate)
    refuted = Refuted(
        claim=question.claim, witness=witness, certificate=certificate, lower=finding.largest,
        seconds=question.seconds(),
    )
    return Judged(refuted, "accepted: replayed exactly")


def holding(claim: Claim, finding: Finding) -> str:
    """By how much a claim holds at a point."""
    if isinstance(claim.relation, Avoids):
        return f"it misses the nearest forbidden set by {decimal(-finding.rank, up=True)}"
    return f"the difference there is {decimal(finding.difference, up=True)}"
