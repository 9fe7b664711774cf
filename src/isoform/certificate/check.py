# SPDX-License-Identifier: Apache-2.0
"""The trusted checker: re-derives a claim from two networks and exact arithmetic.

It believes nothing that a certificate says of itself: hints are range-tested or harmless, bounds
are recomputed, a point is evaluated again. It imports no converter, planner, prover, solver or
region search. What stays outside is the reader that turns a file into a network; `check` compares
networks read from the files with the embedded ones when they are handed in.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from fractions import Fraction

from isoform.certificate.as_written import check_as_written
from isoform.certificate.cell_evidence import CommonCells
from isoform.certificate.cells import common_cells
from isoform.certificate.certificate import Certificate
from isoform.certificate.conclusion import swept
from isoform.certificate.evidence import Counterexample, Enumerate, Evidence, Rounding, Sweep
from isoform.certificate.points import enumerated, refuted
from isoform.certificate.reduction import Reduction, reduced, relation_of
from isoform.certificate.region_count import count_regions
from isoform.certificate.region_evidence import Regions
from isoform.certificate.rounding import check_rounding
from isoform.certificate.tree_check import check_trees
from isoform.certificate.tree_evidence import Trees
from isoform.certificate.tree_pieces import ALONE, Spread
from isoform.certificate.wellformed import check_network
from isoform.errors import CertificateRejected, DomainError, Refused, UnsupportedModel
from isoform.network.claim import (
    Arithmetic,
    Avoids,
    Claim,
    Equal,
    Forbidden,
    RegionCount,
    Relation,
    Within,
)
from isoform.network.domain import Domain, bound_to
from isoform.network.model import Loaded
from isoform.network.network import Network
from isoform.network.primitive import to_primitive
from isoform.numerics.exact import Exact

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
    grade: str = "exact", spread: Spread = ALONE,
) -> Accepted:
    """Re-derive the certificate's claim. Raises CertificateRejected with the first failing item.

    source, target: the models read from their files; their networks and file hashes must be those
    of the certificate. spread: how trees are cut and who walks the pieces, with the same result.
    All evidence of this version is checked in exact arithmetic, whatever the grade asked for; a
    grade only ever allows less.
    """
    started = time.perf_counter()
    if grade not in GRADES:
        raise ValueError(f"grade {grade!r} is none of {', '.join(GRADES)}")
    if about_one(certificate):  # so one file will do
        source, target = source or target, target or source
    try:
        compare_file("source", certificate.source, certificate.files[0], source)
        compare_file("target", certificate.target, certificate.files[1], target)
        if certificate.claim.arithmetic is not Arithmetic.REALS:
            for given in (source, target):
                if given is not None:
                    check_as_written(given.network, given.reading)
        holds, upper = concluded(certificate, spread)
    except DomainError as error:
        raise CertificateRejected("domain", str(error)) from None
    except (Refused, UnsupportedModel) as error:
        raise CertificateRejected("evidence", str(error)) from None
    except FAILURES as error:
        raise CertificateRejected("evidence", f"{type(error).__name__}: {error}") from None
    return Accepted(
        claim=certificate.claim, holds=holds, statement=statement(certificate, holds),
        grade=grade_of(certificate), seconds=time.perf_counter() - started,
        compared=source is not None and target is not None, upper=upper,
    )


def grade_of(certificate: Certificate) -> str:
    """In which arithmetic the evidence was checked: integers that are exact, or that are rounded
    outward."""
    rounded = any(isinstance(item.data, Trees) for item in certificate.evidence)
    return "fixed" if rounded else "exact"


def about_one(certificate: Certificate) -> bool:
    """Whether a claim is about one network, given as source and as target."""
    relation = certificate.claim.relation
    same = certificate.files[0] == certificate.files[1] and certificate.rounds is None
    if isinstance(relation, Avoids):
        return same and certificate.source.digest == certificate.target.digest
    return isinstance(relation, RegionCount)


def statement(certificate: Certificate, holds: bool) -> str:
    """What was checked, in words."""
    if isinstance(certificate.claim.relation, RegionCount):
        return f"the network has {certificate.claim}"
    about = "source and target"
    if certificate.rounds is not None:
        about = "source and the exact network whose constants the target file rounds"
    verb = "satisfy" if holds else "do not satisfy"
    if about_one(certificate):
        about, verb = "the network", "satisfies" if holds else "does not satisfy"
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


def concluded(certificate: Certificate, spread: Spread) -> tuple[bool, Fraction | None]:
    """Whether the claim holds, by the concluding item; all items are checked, in order."""
    source, target = certificate.source, certificate.target
    for network in (source, target, certificate.rounds):
        if network is not None:  # a file was checked when it was read, an object was not
            check_network(network)
    claimed = certificate.claim.relation
    outputs = source.output_dimension, target.output_dimension
    if source.dimension != target.dimension or (
        outputs[0] != outputs[1] and not isinstance(claimed, Avoids)
    ):
        raise CertificateRejected("networks", "their inputs or outputs differ in number")
    check_relation(claimed, source.dimension, *outputs)
    domain = bound_to(certificate.claim.domain, source.dimension)
    found = over_the_reals(certificate, domain)
    results: dict[str, tuple[bool, Fraction | None, bool]] = {}
    for item in certificate.evidence:
        if item.id in results:
            raise CertificateRejected(item.id, "this id occurs twice")
        for used in item.uses:
            if used not in results:
                raise CertificateRejected(item.id, f"it uses {used!r}, which does not come before")
        try:
            real = real_claim(certificate, found, item)
            results[item.id] = checked(item, real, domain, results, spread)
        except CertificateRejected as error:
            raise CertificateRejected(f"{item.id} ({error.item})", error.why) from None
    if certificate.conclusion not in results:
        raise CertificateRejected("conclusion", "it names no item of evidence")
    holds, upper, settles = results[certificate.conclusion]
    if found is not None and found.floats is not None and not holds and not any(
        item.id == certificate.conclusion and isinstance(item.data, Counterexample)
        for item in certificate.evidence
    ):
        raise CertificateRejected("conclusion", "float evaluation is refuted by a point only")
    if not settles:
        raise CertificateRejected("conclusion", "that item says nothing about the target file")
    return holds, upper if upper is None or found is None else found.raised(upper)


def over_the_reals(certificate: Certificate, domain: Domain) -> Reduction | None:
    """The claim as one over the reals about comparable outputs; None where it is that as it is."""
    claim = replace(certificate.claim, domain=domain)
    if isinstance(claim.relation, RegionCount) or certificate.rounds is not None:
        if claim.arithmetic is not Arithmetic.REALS:
            raise CertificateRejected("claim", f"no evidence is about it in {claim.arithmetic}")
        return None
    return reduced(certificate.source, certificate.target, claim)


def real_claim(
    certificate: Certificate, found: Reduction | None, item: Evidence
) -> Certificate:
    """The certificate as an item of evidence has to bear it out, over the reals."""
    if found is None:
        return certificate
    refutation = isinstance(item.data, Counterexample)
    if isinstance(item.data, Counterexample) and not found.admits(item.data.point):
        raise CertificateRejected("witness", "the point is not made of numbers of the type")
    claim = replace(
        certificate.claim, arithmetic=Arithmetic.REALS, relation=relation_of(found, refutation)
    )
    return replace(certificate, source=found.source, target=found.target, claim=claim)


def check_relation(relation: Relation, n: int, m: int, other: int) -> None:
    """Numbers that compare (nothing is larger than a NaN) and the norm that is computed here."""
    if isinstance(relation, RegionCount):
        if type(relation.count) is not int or relation.count < 0:
            raise CertificateRejected("claim", "a number of regions that is none")
        return
    if isinstance(relation, Equal):
        return
    if isinstance(relation, Avoids):
        for part in relation.forbidden:
            check_forbidden(part, n + m + other)
        return
    number = relation.eps if isinstance(relation, Within) else relation.margin
    numbers = number if isinstance(number, tuple) else (number,) * m
    if not all(isinstance(each, int | Fraction) for each in numbers) or len(numbers) != m:
        raise CertificateRejected("claim", f"{number!r} is no rational, nor one for each output")
    if isinstance(relation, Within) and min(numbers) < 0:
        raise CertificateRejected("claim", "eps is negative")
    if isinstance(relation, Within) and relation.norm != "max":
        raise CertificateRejected("claim", f"no evidence is about the norm {relation.norm!r}")


def check_forbidden(part: Forbidden, width: int) -> None:
    """Rows, bounds and flags that fit each other and the networks."""
    count = len(part.strict)
    tensors = isinstance(part.rows, Exact) and isinstance(part.bounds, Exact)
    if not tensors or part.rows.shape != (count, width) or part.bounds.shape != (count,):
        raise CertificateRejected("claim", "a forbidden set that does not fit the networks")
    if not all(isinstance(flag, bool) for flag in part.strict):
        raise CertificateRejected("claim", "a forbidden set with flags that are none")


def checked(
    item: Evidence, certificate: Certificate, domain: Domain,
    results: dict[str, tuple[bool, Fraction | None, bool]], spread: Spread,
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
        case CommonCells():
            bound = common_cells(item.data, certificate.source, second, domain, relation)
            return True, bound, direct
        case Trees():
            found = check_trees(
                item.data, certificate.source, second, domain, relation, spread
            )
            return True, found, direct
        case Regions():
            raise CertificateRejected("claim", "a list of regions proves only their number")
