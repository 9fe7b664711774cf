# SPDX-License-Identifier: Apache-2.0
"""The question that the prover decides: two primitive networks, a claim, and what is refused."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from isoform.certificate.certificate import Certificate
from isoform.certificate.evidence import Data, Evidence
from isoform.certificate.reduction import reduced
from isoform.certificate.wellformed import check_network
from isoform.errors import CertificateRejected, Refused
from isoform.network.claim import Arithmetic, Avoids, Claim, Equal, SameDecision, Within
from isoform.network.domain import Box, bound_to, hull
from isoform.network.network import Network
from isoform.network.primitive import to_primitive
from isoform.numerics.exact import Exact
from isoform.verify.clock import FOREVER
from isoform.verify.goal import check_relation
from isoform.version import VERSION

Report = Callable[[str], None]
ATTACK_SECONDS = 5.0
LATE, LATEST = 0.1, 0.5  # share of a timeout, and seconds, by which a check may be late
LEAST_SWEEP = 0.5  # seconds of a sweep, whatever the timeout
SEARCH_SECONDS = 30.0  # of splitting, where no timeout is given
KEPT_BACK, MOST_KEPT_BACK = 0.4, 20.0  # share of a timeout, and seconds, for the upper value


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What goes into the certificate beside networks, claim and evidence; how long, with how many
    processes and where kept the search is."""

    files: tuple[str | None, str | None] = (None, None)
    reading: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
    trace: tuple[str, ...] = ()
    timeout: float | None = None
    points: tuple[Exact, ...] = ()
    seed: int = 0
    report: Report = field(default=lambda line: None)
    workers: int = 1
    state: str | os.PathLike[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Two primitive networks, a claim on a bound domain, and the context. written: the networks as
    the certificate holds them; `source` and `target` are what is compared: for a decision they may
    lack a last softmax or other increasing function (`certificate.reduction`)."""

    source: Network
    target: Network
    claim: Claim
    context: Context
    started: float
    written: tuple[Network, Network] | None = None

    @property
    def box(self) -> Box | None:
        return hull(self.claim.domain)

    def seconds(self) -> float:
        return time.perf_counter() - self.started

    def left(self) -> float:
        """Seconds left for the attack."""
        if self.context.timeout is None:
            return ATTACK_SECONDS
        return max(0.0, self.deadline() - time.perf_counter())

    def end(self) -> float:
        """When all has to be over, on the clock of `time.perf_counter`."""
        timeout = self.context.timeout
        return FOREVER if timeout is None else self.started + timeout

    def last(self) -> float:
        """When a check is given up: a little later."""
        return self.end() + LATE * (self.context.timeout or 0.0) + LATEST

    def half_time(self) -> float:
        """When a sweep ends that is to be checked, which takes as long; whatever the
        timeout, the first ones get a moment."""
        now = time.perf_counter()
        return max(self.started + LEAST_SWEEP, now + (self.end() - now) / 2)

    def deadline(self) -> float:
        """When the searches end, on the clock of `time.perf_counter`: some time before the timeout,
        where an upper value is to be re-derived by then."""
        timeout = self.context.timeout
        if timeout is None:
            return self.started + SEARCH_SECONDS
        return self.started + timeout - self.kept_back()

    def kept_back(self) -> float:
        """Seconds that the checker gets for the upper value of what stays undecided."""
        if not isinstance(self.claim.relation, Equal | Within):
            return 0.0
        if self.context.timeout is None:
            return MOST_KEPT_BACK
        return min(KEPT_BACK * self.context.timeout, MOST_KEPT_BACK)

    def certificate(self, data: Data) -> Certificate:
        source, target = self.written or (self.source, self.target)
        return Certificate(
            source=source, target=target, claim=self.claim,
            evidence=(Evidence("e1", data),), conclusion="e1", files=self.context.files,
            reading=self.context.reading, trace=self.context.trace, tool=f"isoform {VERSION}",
        )


def asked(source: Network, target: Network, claim: Claim, context: Context) -> Question:
    """The question with primitive networks and a bound domain; refusals of section 13."""
    for what, first, second in (
        ("inputs", source.dimension, target.dimension),
        ("outputs", source.output_dimension, target.output_dimension),
    ):
        if first != second and not (what == "outputs" and isinstance(claim.relation, Avoids)):
            raise Refused(
                f"the networks have {first} and {second} {what}; functions of different shape are "
                "never equal, compare networks with the same signature"
            )
    if context.timeout is not None and not context.timeout >= 0:
        raise Refused(f"a timeout of {context.timeout} seconds; give a number from 0 up")
    if context.workers < 1:
        raise Refused(f"{context.workers} workers; give 1 or more")
    if claim.arithmetic is not Arithmetic.REALS:
        raise Refused(
            f"claims in {claim.arithmetic.value} are decided by `prove_in_floats`, not here"
        )
    if isinstance(claim.relation, SameDecision) and source.output_dimension < 2:
        raise Refused("a decision needs at least two outputs; this network has one")
    check_relation(claim.relation)
    domain = bound_to(claim.domain, source.dimension)
    lowered = to_primitive(source)
    networks = lowered, lowered if target is source else to_primitive(target)
    for network in networks:
        try:
            check_network(network)
        except CertificateRejected as error:
            raise Refused(f"no certificate holds {network}: {error}") from None
    claim = replace(claim, domain=domain)
    compared = reduced(*networks, claim)
    return Question(
        source=compared.source, target=compared.target, written=networks,
        claim=claim, context=context, started=time.perf_counter(),
    )
