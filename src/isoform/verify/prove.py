# SPDX-License-Identifier: Apache-2.0
"""The prover: decide a claim, find the strongest one, or follow a file to what it rounds."""

from __future__ import annotations

import os
import time
from dataclasses import replace

from isoform.certificate.check import check
from isoform.certificate.evidence import Evidence, Rounding
from isoform.certificate.verdict import Proved, Verdict
from isoform.errors import CertificateRejected
from isoform.network.claim import Claim, Equal, Within
from isoform.network.domain import Domain
from isoform.network.network import Network
from isoform.network.primitive import to_primitive
from isoform.network.size import measure
from isoform.numerics.exact import Exact
from isoform.verify.goal import rounded_up
from isoform.verify.ladder import Progress, attacked, decide, undecided
from isoform.verify.question import Context, Report, asked
from isoform.verify.structure import equal_by_programme, equal_by_structure, proved, tightest
from isoform.verify.trees import branching
from isoform.verify.upper_value import certified

BEST_BOXES, BEST_SECONDS = 64, 5.0  # of the search for a small eps
BEST_WEIGHTS = 60_000  # above which there is none where the sweep has found an eps
WORTH = 2  # an eps has to be smaller by this factor to be worth the lesser grade


def prove(
    source: Network, target: Network, claim: Claim, *,
    files: tuple[str | None, str | None] = (None, None),
    reading: tuple[tuple[str, ...], tuple[str, ...]] = ((), ()),
    trace: tuple[str, ...] = (), timeout: float | None = None, seed: int = 0,
    report: Report | None = None, points: tuple[Exact, ...] = (), workers: int = 1,
    state: str | os.PathLike[str] | None = None,
) -> Verdict:
    """Decide a claim about two networks R^n -> R^m, as far as the ladder reaches.

    Returns Proved with a certificate that the checker has accepted, Refuted with a witness replayed
    exactly, or Undecided with lower and upper value of the largest difference. timeout: seconds
    for everything, about (default: 30 for splitting, 5 for an attack, no end for sweeps and for
    the check of a proof). points: exact points to
    try first. workers: processes for splitting. state: a file in which the splitting search is
    kept, and from which it goes on. A first KeyboardInterrupt ends with Undecided and what was
    found until then. Raises FormatError for a file that is no state, Refused for one of another
    question, and where the question makes no sense: other numbers of
    inputs or outputs, a decision between fewer than two outputs, an arithmetic other than the
    reals, an empty domain (DomainError).
    """
    context = Context(
        files=files, reading=reading, trace=trace, timeout=timeout, seed=seed,
        report=report or (lambda line: None), points=points, workers=workers, state=state,
    )
    return decide(asked(source, target, claim, context))


def prove_best(
    source: Network, target: Network, domain: Domain, *,
    files: tuple[str | None, str | None] = (None, None),
    reading: tuple[tuple[str, ...], tuple[str, ...]] = ((), ()),
    trace: tuple[str, ...] = (), timeout: float | None = None, seed: int = 0,
    report: Report | None = None,
) -> Verdict:
    """The strongest relation that is cheap to prove: Equal, else Within the certified upper value
    of a sweep, or of differential bounds where these are much smaller, rounded up to two
    significant digits. Undecided where there is no bound; the same errors."""
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
    known = Progress()
    search = None
    if upper is None or measure(question.source).nonzeros <= BEST_WEIGHTS:
        search = branching(question)
    if search is not None and upper != 0:
        search.begin(0.0)
        search.run(time.perf_counter() + BEST_SECONDS, BEST_BOXES, question.context.report)
        better = certified(question, search)
        if better is not None and (upper is None or WORTH * better[2] < upper):
            claim = Claim(better[0], question.claim.domain)
            return proved(replace(question, claim=claim), better[1], upper=better[2])
    if within is None or upper is None:
        attacked(question, known)
        return undecided(question, known, "no bound of the difference on this domain")
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
        return undecided(question, Progress(), str(error))
    return replace(found, certificate=certificate, seconds=question.seconds())
