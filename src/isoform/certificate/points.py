# SPDX-License-Identifier: Apache-2.0
"""What single points prove: one that violates a claim, or all points of a finite domain."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import numpy as np

from isoform.certificate.wellformed import work
from isoform.errors import CertificateRejected
from isoform.network.claim import (
    Avoids,
    Comparison,
    Equal,
    Forbidden,
    SameDecision,
    Within,
    brief,
    tolerances,
)
from isoform.network.domain import Binary, Domain, FiniteSet, Union, contains
from isoform.network.evaluate import evaluate_exact
from isoform.network.network import Network
from isoform.numerics.enclosure import Enclosure
from isoform.numerics.exact import Exact, concatenate, integers

MOST_EVALUATIONS = 1 << 24
MOST_PRODUCTS = 1 << 32  # of an enumeration: points times numbers that one evaluation touches


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
    if not violated(point, first, second, relation):
        raise CertificateRejected("witness", "the claim holds at this point")


def violated(
    point: Exact, first: Enclosure, second: Enclosure, relation: Comparison
) -> bool:
    """Whether outputs (m,) of a point (n,) contradict the relation, whatever the true values in the
    enclosures."""
    match relation:
        case Equal() | Within():
            eps = tolerances(relation, first.low.size)
            over = (second.low - first.high - eps).sign() > 0
            under = (first.low - second.high - eps).sign() > 0
            return bool(np.any(over | under))
        case SameDecision(margin):
            return any(
                decides(first, c, margin) and beaten(second, c) for c in range(first.low.size)
            )
        case Avoids(forbidden):
            return any(
                holds(slacks(part, point, first, second)[1], part.strict) for part in forbidden
            )


def slacks(
    part: Forbidden, point: Exact, first: Enclosure, second: Enclosure
) -> tuple[Exact, Exact]:
    """Least and largest value of rows @ (x, f, g) - bounds over the enclosures."""
    low = concatenate([point, first.low, second.low])
    half = concatenate([point - point, first.high - first.low, second.high - second.low])
    up, down = part.rows.relu(), (-part.rows).relu()
    base = part.rows @ low - part.bounds
    return base - down @ half, base + up @ half


def holds(slack: Exact, strict: tuple[bool, ...]) -> bool:
    """All rows hold: slack <= 0, < 0 where strict."""
    limit = np.where(np.array(strict), -1, 0)
    return bool(np.all(slack.sign() <= limit))


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
        if first.low.shape == second.low.shape:
            upper = max(
                upper, (second.high - first.low).max_abs(), (first.high - second.low).max_abs()
            )
        if isinstance(relation, SameDecision):
            for i in range(points.shape[1]):
                pair = [Enclosure(v.low[:, i], v.high[:, i]) for v in (first, second)]
                if not surely_agree(pair[0], pair[1], relation.margin):
                    raise CertificateRejected("enumerate", "a point decides differently")
        elif isinstance(relation, Avoids):
            for i in range(points.shape[1]):
                pair = [Enclosure(v.low[:, i], v.high[:, i]) for v in (first, second)]
                for part in relation.forbidden:
                    if holds(slacks(part, points[:, i], pair[0], pair[1])[0], part.strict):
                        raise CertificateRejected("enumerate", "a point lies in a forbidden set")
        else:
            allowed = tolerances(relation, first.low.shape[0]).reshape(-1, 1)
            over = (second.high - first.low - allowed).sign() > 0
            if np.any(over | ((first.high - second.low - allowed).sign() > 0)):
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
