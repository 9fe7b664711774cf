# SPDX-License-Identifier: Apache-2.0
"""Which ReLU units never fire, always fire or are constant on a box or polytope, and how one knows.

Methods in order: interval, backward, and with effort "programme" also zonotope and, for units
within a factor 2 of stable, a linear programme. What interval and backward decide, the exact pass
of a certificate can decide again; the other two it cannot.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from isoform.bounds.backward import backward_bounds
from isoform.bounds.interval import Bounds, interval_bounds, meet
from isoform.bounds.linear_program import linear_program_bounds
from isoform.bounds.zonotope import zonotope_bounds
from isoform.errors import Refused
from isoform.network.domain import Box, Polytope
from isoform.network.network import Network
from isoform.network.operators import Relu

EFFORTS = ("interval", "backward", "programme")
MARGIN = 2.0**-20  # of the larger bound: covers what slopes on another grid may change
NEAR = 0.5  # smaller over larger bound of a unit that is worth a linear programme
OPEN, DEAD, ON = 0, -1, 1


@dataclass(frozen=True, slots=True)
class Stability:
    """The units of one ReLU node.

    value: number of the pre-activation; low, high: its bounds; state: DEAD, ON or OPEN a unit;
    method: the first method that decides the unit, "" for OPEN ones.
    """

    value: int
    low: np.ndarray
    high: np.ndarray
    state: np.ndarray
    method: tuple[str, ...]


def stable_units(
    network: Network, domain: Box | Polytope, *, effort: str = "backward", seconds: float = 2.0
) -> list[Stability]:
    """The state of every ReLU unit of a primitive network on a domain, in node order.

    effort: one of EFFORTS. seconds: limit of one linear programme. A unit counts as stable only by
    a margin of 2^-20 of its larger bound. Raises Refused for an unknown effort, otherwise errors as
    in `interval_bounds`.
    """
    if effort not in EFFORTS:
        raise Refused(f"effort {effort!r} is none of {', '.join(EFFORTS)}")
    box = domain.box if isinstance(domain, Polytope) else domain
    stages = [("interval", interval_bounds(network, box))]
    if effort == "programme":
        known = programme_bounds(network, domain, seconds)
        stages += [("zonotope", zonotope_bounds(network, box)),
                   ("backward", backward_bounds(network, box)), ("programme", known)]
    elif effort == "backward":
        stages.append(("backward", backward_bounds(network, box)))
    found = []
    for _, node in network.items():
        if isinstance(node.operator, Relu):
            at = node.operands[0]
            found.append(first_method(at, [(name, bounds[at]) for name, bounds in stages]))
    return found


def first_method(value: int, stages: list[tuple[str, Bounds]]) -> Stability:
    """States by the bounds of all methods together, each with the first method that settles it."""
    low, high = stages[0][1]
    method = np.full(len(low), "", dtype=object)
    state = np.zeros(len(low), dtype=np.int8)
    for name, bounds in stages:
        low, high = meet((low, high), bounds)
        now = states(low, high)
        method[(state == OPEN) & (now != OPEN)] = name
        state = now
    return Stability(value, low, high, state, tuple(method.tolist()))


def states(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """DEAD where high <= 0 and ON where low >= 0, by the margin; an end that is 0 is so by the
    signs of all terms and needs none (every other end was moved outward)."""
    finite = np.isfinite(low) & np.isfinite(high)
    slack = MARGIN * np.maximum(np.abs(low), np.abs(high))
    slack = np.where(finite, slack, 0.0)
    dead = ((high <= -slack) | (high == 0)) & (high < np.inf) & (low > -np.inf)
    on = ((low >= slack) | (low == 0)) & (high < np.inf)
    return np.where(dead, DEAD, np.where(on, ON, OPEN)).astype(np.int8)


def programme_bounds(
    network: Network, domain: Box | Polytope, seconds: float
) -> list[Bounds]:
    """Backward bounds met with zonotopes, near-stable units refined by linear programmes, each
    layer's bounds used in the next."""
    box = domain.box if isinstance(domain, Polytope) else domain
    known = zonotope_bounds(network, box)
    for _, node in network.items():
        if not isinstance(node.operator, Relu):
            continue
        at = node.operands[0]
        bounds = backward_bounds(network, box, until=at, known=known)
        low, high = (end.copy() for end in bounds[at])
        small, large = np.minimum(-low, high), np.maximum(-low, high)
        near = np.flatnonzero((low < 0) & (high > 0) & np.isfinite(large) & (small <= NEAR * large))
        if len(near):
            found = linear_program_bounds(network, domain, at, near.tolist(), bounds,
                                          seconds=seconds)
            low[near] = [end.low for end in found]
            high[near] = [end.high for end in found]
        known = [*known[:at], (low, high), *known[at + 1 :]]
    return backward_bounds(network, box, known=known)
