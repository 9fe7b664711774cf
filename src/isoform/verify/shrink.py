# SPDX-License-Identifier: Apache-2.0
"""Make a witness readable: fewest bits, then as many plain coordinates as possible."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from isoform.network.domain import Binary, FiniteSet
from isoform.network.network import Network
from isoform.numerics.exact import Exact
from isoform.verify.goal import Goal
from isoform.verify.replay import Replay, replay
from isoform.verify.sample import Place, snap

BITS = (0, 1, 2, 3, 4, 6, 8, 10, 12, 16, 20, 24, 32)
Filter = Callable[[list[Exact]], list[Replay]]  # replays of the points that still refute
TOGETHER = 16  # variants replayed in one pass


def shrink(
    found: Replay, source: Network, target: Network, place: Place, goal: Goal, *, limit: float
) -> Replay:
    """A refuting replay with a simpler point, which keeps at least half of what refutes.

    limit: seconds. The result is `found` itself where nothing simpler refutes.
    """
    deadline = time.monotonic() + limit
    rank = found.finding.rank
    floor = (min(goal.threshold, rank) + rank) / 2

    def kept(points: list[Exact]) -> list[Replay]:
        tried = replay(source, target, place.domain, points, goal)
        return [r for r in tried if r.finding.refutes and r.finding.rank >= floor]

    if isinstance(place.domain, FiniteSet):
        return found
    if not isinstance(place.domain, Binary):
        x = found.point.to_float()
        shorter = [snap(place, x, bits) for bits in BITS]
        refuting = kept([point for point in shorter if point is not None])
        found = min([*refuting, found], key=lambda r: bits_of(r.point))
    return plain_coordinates(found, kept, place, deadline)


def bits_of(point: Exact) -> int:
    """Bits that it takes to write the coordinates."""
    return sum(f.numerator.bit_length() + f.denominator.bit_length() for f in point.fractions())


def plain_coordinates(found: Replay, kept: Filter, place: Place, deadline: float) -> Replay:
    """Replace coordinates by the plainest of their range, in ever smaller groups."""
    n = found.point.size
    plain = snap(place, np.zeros(n), 0)
    if plain is None:
        return found
    size = n
    while size >= 1:
        groups = [np.arange(a, min(a + size, n)) for a in range(0, n, size)]
        for first in range(0, len(groups), TOGETHER):
            if time.monotonic() > deadline:
                return found
            found = simplify_groups(found, kept, plain, groups[first : first + TOGETHER])
        size //= 2 if size < 4 or n <= 64 else 4
    return found


def simplify_groups(
    found: Replay, kept: Filter, plain: Exact, groups: list[np.ndarray]
) -> Replay:
    """Take over every group of plain coordinates that leaves the point refuting."""
    variants = [exchanged(found.point, plain, group) for group in groups]
    good = kept([v for v in variants if v != found.point])
    points = [r.point for r in good]
    useful = [
        group for group, variant in zip(groups, variants, strict=True)
        if any(variant == point for point in points)
    ]
    while len(useful) > 1:
        joined = kept([exchanged(found.point, plain, np.concatenate(useful))])
        if joined:
            return joined[0]
        useful = useful[: len(useful) // 2]
    return good[0] if good else found


def exchanged(point: Exact, plain: Exact, places: np.ndarray) -> Exact:
    """`point` with the entries of `plain` at some places."""
    mask = np.zeros(point.size, dtype=np.int64)
    mask[places] = 1
    return (point * Exact.of(1 - mask) + plain * Exact.of(mask)).reduced()
