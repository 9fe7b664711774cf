# SPDX-License-Identifier: Apache-2.0
"""The exact replay: the gate that every point passes before anything is said of it."""

from __future__ import annotations

from dataclasses import dataclass

from isoform.errors import Refused
from isoform.network.domain import Domain, contains
from isoform.network.evaluate import evaluate_exact
from isoform.network.network import Network
from isoform.numerics.enclosure import Enclosure
from isoform.numerics.exact import Exact, concatenate
from isoform.verify.goal import Finding, Goal, Value


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """An exact point of the domain, both outputs there, and what they say against a claim."""

    point: Exact
    source: Value
    target: Value
    finding: Finding


def replay(
    source: Network, target: Network, domain: Domain, points: list[Exact], goal: Goal
) -> list[Replay]:
    """Evaluate both primitive networks exactly at the points (n,) that lie in the (bound) domain.

    Points outside, and points where an opaque function has no value, are left out.
    """
    points = [point for point in points if contains(domain, point)]
    if not points:
        return []
    columns = concatenate([point.reshape(-1, 1) for point in points], axis=1)
    try:
        f = evaluate_exact(source, columns)
        g = f if target is source else evaluate_exact(target, columns)
    except Refused:
        if len(points) == 1:
            return []
        halves = points[: len(points) // 2], points[len(points) // 2 :]
        return [found for half in halves for found in replay(source, target, domain, half, goal)]
    return [
        Replay(
            point=points[i].reduced(), source=column(f, i), target=column(g, i), finding=finding
        )
        for i, finding in enumerate(goal.findings(points, f, g))
    ]


def column(value: Value, i: int) -> Value:
    if isinstance(value, Enclosure):
        return Enclosure(value.low[:, i].reduced(), value.high[:, i].reduced())
    return value[:, i].reduced()
