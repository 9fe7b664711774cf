# SPDX-License-Identifier: Apache-2.0
"""The trusted checker: re-derives a claim from two networks and exact arithmetic.

It believes nothing that a certificate says of itself: hints are range-tested or harmless, bounds
are recomputed, a point is evaluated again. It imports no converter, planner, prover, solver or
region search. What stays outside is the reader that turns a file into a network; `check` compares
networks read from the files with the embedded ones when they are handed in.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from isoform.certificate.basis import GRID, Basis, Range, backward_range, interval_range
from isoform.certificate.certificate import Certificate
from isoform.certificate.codes import Asked, Codes, Value
from isoform.certificate.evidence import Counterexample, Enumerate, Evidence, Rounding, Sweep
from isoform.certificate.region_count import count_regions
from isoform.certificate.region_evidence import Regions
from isoform.certificate.rounding import check_rounding
from isoform.certificate.sweep import run
from isoform.certificate.wellformed import check_network, work
from isoform.errors import CertificateRejected, DomainError, Refused, UnsupportedModel
from isoform.network.claim import (
    Arithmetic,
    Claim,
    Comparison,
    Equal,
    RegionCount,
    Relation,
    SameDecision,
    Within,
    brief,
)
from isoform.network.domain import Binary, Domain, FiniteSet, Union, bound_to, contains, hull
from isoform.network.evaluate import evaluate_exact
from isoform.network.model import Loaded
from isoform.network.network import Network
from isoform.network.primitive import to_primitive
from isoform.numerics.enclosure import Enclosure
from isoform.numerics.exact import Exact, integers
from isoform.numerics.sparse import ExactSparse

MOST_EVALUATIONS = 1 << 24
MOST_PRODUCTS = 1 << 32  # of an enumeration: points times numbers that one evaluation touches
MOST_PAIRS = 1 << 24  # of outputs, for a decision
FAILURES = (  # whatever stops a derivation, nothing has been derived
    ArithmeticError, AssertionError, AttributeError, LookupError, MemoryError, RecursionError,
    TypeError, ValueError,
)
GRADES = ("exact", "fixed", "float-outward")


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """The claim holds (`holds`), or a replayed witness shows that it does not. statement: in words.
    compared: whether the model files were read and compared. upper: certified upper value of the
    largest difference, where the evidence gives one."""

    claim: Claim
    holds: bool
    statement: str
    grade: str
    seconds: float
    compared: bool
    upper: Fraction | None = None


def check(
    certificate: Certificate, *, source: Loaded | None = None, target: Loaded | None = None,
    grade: str = "exact",
) -> Accepted:
    """Re-derive the certificate's claim. Raises CertificateRejected with the first failing item.

    source, target: the models read from their files; their networks and file hashes must be those
    of the certificate. All evidence of this version is checked in exact arithmetic, whatever the
    grade asked for; a grade only ever allows less.
    """
    started = time.perf_counter()
    if grade not in GRADES:
        raise ValueError(f"grade {grade!r} is none of {', '.join(GRADES)}")
    if isinstance(certificate.claim.relation, RegionCount):  # one network, so one file will do
        source, target = source or target, target or source
    try:
        compare_file("source", certificate.source, certificate.files[0], source)
        compare_file("target", certificate.target, certificate.files[1], target)
        holds, upper = concluded(certificate)
    except DomainError as error:
        raise CertificateRejected("domain", str(error)) from None
    except (Refused, UnsupportedModel) as error:
        raise CertificateRejected("evidence", str(error)) from None
    except FAILURES as error:
        raise CertificateRejected("evidence", f"{type(error).__name__}: {error}") from None
    return Accepted(
        claim=certificate.claim, holds=holds, statement=statement(certificate, holds),
        grade="exact", seconds=time.perf_counter() - started,
        compared=source is not None and target is not None, upper=upper,
    )


def statement(certificate: Certificate, holds: bool) -> str:
    """What was checked, in words."""
    if isinstance(certificate.claim.relation, RegionCount):
        return f"the network has {certificate.claim}"
    about = "source and target"
    if certificate.rounds is not None:
        about = "source and the exact network whose constants the target file rounds"
    verb = "satisfy" if holds else "do not satisfy"
    return f"{about} {verb}: {certificate.claim}"


def compare_file(name: str, embedded: Network, digest: str | None, given: Loaded | None) -> None:
    """The file handed in is the one that the certificate speaks of."""
    if given is None:
        return
    if digest is not None and given.digest != digest:
        raise CertificateRejected(
            name, f"{given.origin} has sha256 {given.digest}, the certificate is for {digest}"
        )
    if to_primitive(given.network).digest != embedded.digest:
        raise CertificateRejected(name, f"{given.origin} is not the network of the certificate")


def concluded(certificate: Certificate) -> tuple[bool, Fraction | None]:
    """Whether the claim holds, by the concluding item; all items are checked, in order."""
    source, target = certificate.source, certificate.target
    for network in (source, target, certificate.rounds):
        if network is not None:  # a file was checked when it was read, an object was not
            check_network(network)
    if source.dimension != target.dimension or source.output_dimension != target.output_dimension:
        raise CertificateRejected("networks", "their inputs or outputs differ in number")
    if certificate.claim.arithmetic is not Arithmetic.REALS:
        raise CertificateRejected("claim", "no evidence of this version is about float evaluation")
    check_relation(certificate.claim.relation)
    domain = bound_to(certificate.claim.domain, source.dimension)
    results: dict[str, tuple[bool, Fraction | None, bool]] = {}
    for item in certificate.evidence:
        if item.id in results:
            raise CertificateRejected(item.id, "this id occurs twice")
        for used in item.uses:
            if used not in results:
                raise CertificateRejected(item.id, f"it uses {used!r}, which does not come before")
        try:
            results[item.id] = checked(item, certificate, domain, results)
        except CertificateRejected as error:
            raise CertificateRejected(f"{item.id} ({error.item})", error.why) from None
    if certificate.conclusion not in results:
        raise CertificateRejected("conclusion", "it names no item of evidence")
    holds, upper, settles = results[certificate.conclusion]
    if not settles:
        raise CertificateRejected("conclusion", "that item says nothing about the target file")
    return holds, upper


def check_relation(relation: Relation) -> None:
    """Numbers that compare (nothing is larger than a NaN) and the norm that is computed here."""
    if isinstance(relation, RegionCount):
        if type(relation.count) is not int or relation.count < 0:
            raise CertificateRejected("claim", "a number of regions that is none")
        return
    if isinstance(relation, Equal):
        return
    number = relation.eps if isinstance(relation, Within) else relation.margin
    if not isinstance(number, int | Fraction):
        raise CertificateRejected("claim", f"{number!r} is no rational")
    if isinstance(relation, Within) and relation.eps < 0:
        raise CertificateRejected("claim", "eps is negative")
    if isinstance(relation, Within) and relation.norm != "max":
        raise CertificateRejected("claim", f"no evidence is about the norm {relation.norm!r}")


def checked(
    item: Evidence, certificate: Certificate, domain: Domain,
    results: dict[str, tuple[bool, Fraction | None, bool]],
) -> tuple[bool, Fraction | None, bool]:
    """(claim holds, upper value, whether it settles the certificate's claim) by one item."""
    relation = certificate.claim.relation
    direct = certificate.rounds is None
    second = certificate.target if certificate.rounds is None else certificate.rounds
    if isinstance(relation, RegionCount):
        if not isinstance(item.data, Regions):
            raise CertificateRejected("claim", "only a list of the regions proves their number")
        count_regions(item.data, certificate.source, second, domain, relation)
        return True, None, direct
    match item.data:
        case Sweep():
            upper = swept(item.data, certificate.source, second, domain, relation)
            return True, upper, direct
        case Enumerate():
            upper = enumerated(certificate.source, second, domain, relation)
            return True, upper, direct
        case Counterexample(point):
            refuted(point, certificate.source, second, domain, relation)
            return False, None, direct
        case Rounding():
            if certificate.rounds is None or not any(results[used][0] for used in item.uses):
                raise CertificateRejected("rounding", "without a proof for the exact network")
            check_rounding(certificate.rounds, certificate.target)
            return True, None, True
        case Regions():
            raise CertificateRejected("claim", "a list of regions proves only their number")


# --- sweep ----------------------------------------------------------------------------------------


def swept(
    data: Sweep, source: Network, target: Network, domain: Domain, relation: Comparison
) -> Fraction:
    """Run both networks over one basis with the recorded codes, then bound the difference."""
    basis = Basis.on(hull(domain), source.dimension)
    recorded = iter(data.codes)

    def decide(asked: Asked) -> Codes:
        codes = next(recorded, None)
        if codes is None:
            raise CertificateRejected("sweep", "fewer codes than non-linear nodes")
        return codes

    first = run(source, basis, decide)
    second = run(target, basis, decide)
    if next(recorded, None) is not None:
        raise CertificateRejected("sweep", "more codes than non-linear nodes")
    return conclude(first, second, basis, relation, data.backward)


def conclude(
    first: Value, second: Value, basis: Basis, relation: Comparison, backward: bool
) -> Fraction:
    """The relation follows from final rows and radii, or CertificateRejected with the numbers.
    Returns an upper value of the largest difference (for a decision: of the margin)."""
    rows = second.rows.widened(basis.width) - first.rows.widened(basis.width)
    radius = first.radius + second.radius
    match relation:
        case Equal():
            if rows.nonzeros or radius.any():
                at = int(np.flatnonzero((np.diff(rows.starts) > 0) | (radius != 0))[0])
                raise CertificateRejected("sweep", f"output {at} differs")
            return Fraction(0)
        case Within(eps):
            upper = largest(bounded(rows, basis, backward), radius)
            if upper > eps:
                raise CertificateRejected(
                    "sweep", f"the difference is bounded by {brief(upper)}, not {brief(eps)}"
                )
            return upper
        case SameDecision(margin):
            upper = decision_margin(rows, radius, basis, backward)
            if upper > margin:
                raise CertificateRejected(
                    "sweep", f"the margin is {brief(upper)}, not {brief(margin)}"
                )
            return upper


def bounded(rows: ExactSparse, basis: Basis, backward: bool) -> Range:
    known = backward_range(rows, basis) if backward else interval_range(rows, basis)
    if known.open_low.any() or known.open_high.any():
        raise CertificateRejected("sweep", "the difference has no bound on this domain")
    return known


def largest(known: Range, radius: np.ndarray) -> Fraction:
    """Upper value of max |difference|."""
    return Fraction(max((known.magnitude()[0] + radius).tolist()), 1 << GRID)


def decision_margin(
    rows: ExactSparse, radius: np.ndarray, basis: Basis, backward: bool
) -> Fraction:
    """Upper value of (f_c - f_j) - (g_c - g_j) over all pairs of outputs: where f prefers c by that
    much, g does not prefer j."""
    m = rows.shape[0]
    if m < 2:
        raise CertificateRejected("sweep", "a decision needs two outputs or more")
    if m * m > MOST_PAIRS:
        raise CertificateRejected("sweep", f"{m * m:,} pairs of outputs are too many")
    first, second = np.meshgrid(np.arange(m), np.arange(m), indexing="ij")
    apart = first != second
    first, second = first[apart], second[apart]
    pairs = rows.take(second) - rows.take(first)
    known = bounded(pairs, basis, backward)
    return Fraction(max(0, *(known.high + radius[first] + radius[second]).tolist()), 1 << GRID)


# --- points ---------------------------------------------------------------------------------------


def refuted(
    point: Exact, source: Network, target: Network, domain: Domain, relation: Comparison
) -> None:
    """The point lies in the domain and violates the relation strictly."""
    if point.shape != (source.dimension,):
        raise CertificateRejected("witness", f"a point of shape {point.shape}")
    if not contains(domain, point):
        raise CertificateRejected("witness", "the point is outside the domain")
    first = Enclosure.of(evaluate_exact(source, point))
    second = Enclosure.of(evaluate_exact(target, point))
    if not violated(first, second, relation):
        raise CertificateRejected("witness", "the claim holds at this point")


def violated(first: Enclosure, second: Enclosure, relation: Comparison) -> bool:
    """Whether outputs (m,) contradict the relation, whatever the true values in the enclosures."""
    match relation:
        case Equal() | Within():
            eps = relation.eps if isinstance(relation, Within) else Fraction(0)
            over = (second.low - first.high - eps).sign() > 0
            under = (first.low - second.high - eps).sign() > 0
            return bool(np.any(over | under))
        case SameDecision(margin):
            return any(
                decides(first, c, margin) and beaten(second, c) for c in range(first.low.size)
            )


def decides(value: Enclosure, c: int, margin: Fraction) -> bool:
    """f_c >= f_j + margin for all j other than c, for certain."""
    lead = value.low[c] - value.high - margin
    return bool(np.all(np.delete(lead.sign(), c) >= 0))


def beaten(value: Enclosure, c: int) -> bool:
    """g_j > g_c for some j, for certain."""
    return bool(np.any((value.low - value.high[c]).sign() > 0))


def enumerated(
    source: Network, target: Network, domain: Domain, relation: Comparison
) -> Fraction:
    """Every point of a finite domain, evaluated."""
    widest = max(source.size_of(v) for v in range(len(source.nodes) + 1))
    touched = work(source) + work(target)
    if count(domain) * widest > MOST_EVALUATIONS or count(domain) * touched > MOST_PRODUCTS:
        raise CertificateRejected("enumerate", f"{count(domain):,} points are too many")
    upper = Fraction(0)
    for points in batches(domain):
        first = Enclosure.of(evaluate_exact(source, points))
        second = Enclosure.of(evaluate_exact(target, points))
        upper = max(
            upper, (second.high - first.low).max_abs(), (first.high - second.low).max_abs()
        )
        if isinstance(relation, SameDecision):
            for i in range(points.shape[1]):
                pair = [Enclosure(v.low[:, i], v.high[:, i]) for v in (first, second)]
                if not surely_agree(pair[0], pair[1], relation.margin):
                    raise CertificateRejected("enumerate", "a point decides differently")
        elif upper > (relation.eps if isinstance(relation, Within) else 0):
            raise CertificateRejected("enumerate", f"a point differs by {brief(upper)}")
    return upper


def surely_agree(first: Enclosure, second: Enclosure, margin: Fraction) -> bool:
    """Wherever f may prefer c by the margin, g surely does not prefer another output."""
    for c in range(first.low.size):
        lead = first.high[c] - first.low - margin
        may_decide = bool(np.all(np.delete(lead.sign(), c) >= 0))
        behind = (second.high - second.low[c]).sign() > 0
        if may_decide and bool(np.any(np.delete(behind, c))):
            return False
    return True


def count(domain: Domain) -> int:
    match domain:
        case Binary(n):
            return 1 << min(n or 0, 64)
        case FiniteSet(points):
            return len(points)
        case Union(parts):
            return sum(count(part) for part in parts)
        case _:
            raise CertificateRejected("enumerate", "the domain is not finite")


def batches(domain: Domain) -> Iterator[Exact]:
    """The points of a finite domain as columns, some hundreds at a time."""
    match domain:
        case Binary(n):
            for first in range(0, 1 << (n or 0), 512):
                numbers = range(first, min(first + 512, 1 << (n or 0)))
                bits = [(number >> i) & 1 for i in range(n or 0) for number in numbers]
                yield Exact(integers(bits, (n or 0, len(numbers))))
        case FiniteSet(points):
            for first in range(0, len(points), 512):
                yield points[first : first + 512].T
        case Union(parts):
            for part in parts:
                yield from batches(part)
        case _:
            raise CertificateRejected("enumerate", "the domain is not finite")
