# SPDX-License-Identifier: Apache-2.0
"""Claims about float evaluation, decided by claims over the reals.

Within(eps - E_f - E_g) over the reals proves Within(eps) in floats; a point of float numbers at
which the reals differ by more than eps + E_f + E_g refutes it. Between the two it stays undecided.
"""

from __future__ import annotations

import os
import time
from dataclasses import replace
from fractions import Fraction

import numpy as np

from isoform.certificate.as_written import check_as_written
from isoform.certificate.certificate import Certificate
from isoform.certificate.check import check
from isoform.certificate.evidence import Counterexample, Evidence
from isoform.certificate.reduction import Reduction, reduced
from isoform.certificate.verdict import Proved, Refuted, Undecided, Verdict, Witness
from isoform.errors import Refused
from isoform.network.claim import Arithmetic, Claim, Within
from isoform.network.domain import Domain, bound_to, contains
from isoform.network.evaluate import evaluate_exact
from isoform.network.network import Network
from isoform.network.primitive import to_primitive
from isoform.numerics.exact import Exact, exact_fractions
from isoform.text import decimal
from isoform.verify.falsify import falsify
from isoform.verify.prove import prove
from isoform.verify.question import ATTACK_SECONDS, Report
from isoform.version import VERSION


def prove_in_floats(
    source: Network, target: Network, claim: Claim, *,
    files: tuple[str | None, str | None] = (None, None),
    reading: tuple[tuple[str, ...], tuple[str, ...]] = ((), ()),
    trace: tuple[str, ...] = (), timeout: float | None = None, seed: int = 0,
    report: Report | None = None, workers: int = 1,
    state: str | os.PathLike[str] | None = None,
) -> Verdict:
    """Decide Within(eps) about the evaluation of two networks in FLOAT32 or FLOAT64.

    The claim: at every point of the domain made of numbers of the type, evaluating both graphs as
    written gives |fl(g) - fl(f)| <= eps, whatever the order of the sums (`certificate.float_error`
    says what else is left open). Lower and upper values of the verdict are of that difference over
    all evaluations. Raises Refused where the graph as written is not what floats would evaluate,
    where the type has no such number, where the domain has no bounds, and for relations other than
    Within; DomainError and Refused as `prove` does.
    """
    started = time.perf_counter()
    said = report or (lambda line: None)
    if claim.arithmetic is Arithmetic.REALS:
        raise ValueError("a claim over the reals; `prove` decides it")
    for network, notes in zip((source, target), reading, strict=True):
        check_as_written(network, notes)
    if source.dimension != target.dimension or source.output_dimension != target.output_dimension:
        prove(source, target, replace(claim, arithmetic=Arithmetic.REALS))  # refuses, with reasons
    claim = replace(claim, domain=bound_to(claim.domain, source.dimension))
    first, second = to_primitive(source), to_primitive(target)
    said("bounding rounding errors")
    found = reduced(first, second, claim)
    inner = prove(
        first, second, Claim(found.proving or Within(Fraction(0)), claim.domain), files=files,
        reading=reading, trace=trace, timeout=timeout, seed=seed, report=report,
    )
    if isinstance(inner, Proved) and found.proving is not None:
        return proved(inner, claim, found, time.perf_counter() - started)
    upper = None if inner.upper is None else inner.upper + found.slack
    seeds = [inner.witness.point] if isinstance(inner, Refuted) else []
    said("looking for a counterexample in floats")
    left = ATTACK_SECONDS if timeout is None else max(0.0, timeout + started - time.perf_counter())
    lower, witness = attacked(found, claim.domain, seeds, left, seed)
    if witness is not None:
        certificate = Certificate(
            source=first, target=second, claim=claim, conclusion="e1", files=files, trace=trace,
            evidence=(Evidence("e1", Counterexample(witness.point)),), reading=reading,
            tool=f"isoform {VERSION}",
        )
        if not check(certificate).holds:
            return Refuted(
                claim=claim, witness=witness, certificate=certificate, lower=lower,
                upper=upper, seconds=time.perf_counter() - started,
            )
    return Undecided(
        claim=claim, lower=lower, upper=upper, reason=reason(found, upper),
        seconds=time.perf_counter() - started,
    )


def proved(inner: Proved, claim: Claim, found: Reduction, seconds: float) -> Proved:
    """The verdict on the float claim, after the checker has accepted its own certificate."""
    certificate = replace(inner.certificate, claim=claim)
    accepted = check(certificate)
    return Proved(
        claim=claim, certificate=certificate, grade=accepted.grade, seconds=seconds,
        lower=max(Fraction(0), inner.lower - found.slack), upper=found.raised(inner.upper),
    )


def attacked(
    found: Reduction, domain: Domain, seeds: list[Exact], seconds: float, seed: int
) -> tuple[Fraction, Witness | None]:
    """(lower value of the difference in floats, witness or None): points of float numbers only."""
    assert isinstance(found.refuting, Within) and isinstance(found.refuting.eps, tuple)
    attack = falsify(
        found.source, found.target, domain, found.refuting.eps, seconds=seconds, seed=seed,
        points=seeds,
    )
    met = [attack.witness.point] if attack.witness is not None else []
    met += [attack.point] if attack.point is not None else []
    if attack.interrupted and attack.witness is None:
        raise KeyboardInterrupt
    points = [point for given in (*met, *seeds) for point in (given, nearest(found, given))]
    lower, eps = Fraction(0), exact_fractions(found.refuting.eps, (len(found.refuting.eps),))
    for point in points:
        if not (found.admits(point) and contains(domain, point)):
            continue
        f, g = (Exact.of(evaluate_exact(net, point)) for net in (found.source, found.target))
        sizes = (g - f).abs()
        lower = max(lower, sizes.max_abs() - found.slack)
        over = np.flatnonzero((sizes - eps).sign() > 0)
        if len(over):
            return lower, Witness(
                point=point.reduced(), source=f, target=g, output=int(over[0]),
                difference=sizes[over[0]].item(),
            )
    return lower, None


def nearest(found: Reduction, point: Exact) -> Exact:
    """The point of float numbers next to a point."""
    assert found.floats is not None
    return Exact.of(point.to_float(found.floats.dtype))


def reason(found: Reduction, upper: Fraction | None) -> str:
    """Why neither was shown."""
    parts = error_text(found)
    if found.proving is not None:
        return f"no point differs by more than eps and the rounding errors, {parts}"
    enough = "" if upper is None else f" of {decimal(upper, up=True)} or more"
    return f"eps is below the bound of the rounding errors, {parts}; ask for an eps{enough}"


def error_text(found: Reduction) -> str:
    """E_f and E_g, the largest entry of each."""
    assert found.errors is not None
    first, second = (decimal(error.max_abs(), up=True) for error in found.errors)
    return f"{first} (source) and {second} (target)"


def rounding_errors(source: Network, target: Network, claim: Claim) -> tuple[Fraction, Fraction]:
    """The largest entries of E_f and E_g of a claim in floats, for reports. Refused as above."""
    bound = replace(claim, domain=bound_to(claim.domain, source.dimension))
    found = reduced(to_primitive(source), to_primitive(target), bound)
    if found.errors is None:
        raise Refused("a claim over the reals has no rounding errors")
    return found.errors[0].max_abs(), found.errors[1].max_abs()
