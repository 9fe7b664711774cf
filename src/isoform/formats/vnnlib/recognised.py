# SPDX-License-Identifier: Apache-2.0
"""Claims that have a name, among those with forbidden sets: equality, an eps, the same decision.

They are the same sets, so nothing is lost, and the prover knows more about them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

from isoform.network.claim import (
    Avoids,
    Claim,
    Comparison,
    Equal,
    Forbidden,
    SameDecision,
    Within,
    forbidden_sets,
)

MOST_NUMBERS = 2_000_000  # entries of all rows that are compared
Canonical = frozenset[frozenset[tuple[tuple[Fraction, ...], bool]]]


def recognised(claim: Claim, n: int, m: int, other: int) -> Claim:
    """The claim with its relation by name where it forbids just what Equal, Within or SameDecision
    forbids; as it is where it does not. n inputs, m and `other` outputs."""
    relation = claim.relation
    if not isinstance(relation, Avoids) or m != other:
        return claim
    if sum(part.rows.size for part in relation.forbidden) > MOST_NUMBERS:
        return claim
    sets = canonical(relation.forbidden)
    for candidate in candidates(relation.forbidden, n, m):
        if len(sets) == size_of(candidate, m) and canonical(
            forbidden_sets(candidate, n, m)
        ) == sets:
            return replace(claim, relation=candidate)
    return claim


def size_of(relation: Comparison, m: int) -> int:
    return m * (m - 1) if isinstance(relation, SameDecision) else 2 * m


def candidates(sets: tuple[Forbidden, ...], n: int, m: int) -> Iterator[Comparison]:
    """The relations whose numbers the sets suggest."""
    if len(sets) == 2 * m and all(part.strict == (True,) for part in sets):
        eps: list[Fraction] = [Fraction(-1)] * m
        for part in sets:
            row = part.rows.numerator[0].tolist()
            at = [i for i in range(m) if row[n + i]]
            if len(at) == 1:
                scale = abs(Fraction(row[n + at[0]], part.rows.denominator))
                eps[at[0]] = -part.bounds.item() / scale
        if min(eps) >= 0:
            yield Equal() if not any(eps) else Within(
                eps[0] if len(set(eps)) == 1 else tuple(eps))
    if len(sets) == m * (m - 1) and m > 1:
        bounds = [-bound for bound in sets[0].bounds.fractions() if bound]
        yield SameDecision(max(Fraction(0), *bounds) if bounds else Fraction(0))


def canonical(sets: tuple[Forbidden, ...]) -> Canonical:
    """The sets without the order and scale of their rows."""
    found = []
    for part in sets:
        width = part.rows.shape[1]
        numbers, bounds = part.rows.fractions(), part.bounds.fractions()
        rows = []
        for i, strict in enumerate(part.strict):
            row = [*numbers[i * width : (i + 1) * width], bounds[i]]
            scale = next((abs(number) for number in row if number), Fraction(1))
            rows.append((tuple(number / scale for number in row), strict))
        found.append(frozenset(rows))
    return frozenset(found)
