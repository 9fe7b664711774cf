# SPDX-License-Identifier: Apache-2.0
"""What the trees of a splitting search say: where their boxes are, and the few that matter."""

from __future__ import annotations

import copy
import heapq
from dataclasses import replace

import numpy as np

from isoform.certificate.tree_evidence import Split
from isoform.network.domain import Box
from isoform.numerics.exact import Exact
from isoform.verify.branch import Search

HALF = Exact.of(np.array(0.5))


def shortened(search: Search, most: int) -> Search:
    """The same with every tree cut off where nothing below lowers the largest value that is still
    allowed, after `most` splits at the latest. Not to be searched further."""
    shown = copy.copy(search)
    shown.nodes = list(search.nodes)
    front = [(-search.nodes[root].worst, root) for root, _ in search.roots]
    heapq.heapify(front)
    for _ in range(most):
        node = search.nodes[front[0][1]]
        if node.kind == Split.LEAF:
            break
        below, above = node.children
        heapq.heapreplace(front, (-search.nodes[below].worst, below))
        heapq.heappush(front, (-search.nodes[above].worst, above))
    for _, number in front:
        shown.nodes[number] = replace(search.nodes[number], kind=Split.LEAF)
    shown.waiting = front
    return shown


def path_to(search: Search, number: int) -> list[tuple[int, int, int]]:
    """The splits above a node, the first one first: kind, place, side."""
    found = []
    while search.nodes[number].parent >= 0:
        node = search.nodes[number]
        above = search.nodes[node.parent]
        found.append((above.kind, above.place, node.side))
        number = node.parent
    return found[::-1]


def halves_above(search: Search, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Low and high ends (d,) of the box of a node, inputs in [-1, 1]."""
    cuts, ends = search.bounds.cuts, np.ones((1, search.bounds.d))
    low, high = -ends, ends
    for kind, place, side in path_to(search, number):
        if cuts is not None:
            low, high, _ = cuts.tightened(low, high)
        if kind == Split.INPUT:
            (low if side else high)[0, place] = (low[0, place] + high[0, place]) / 2
    if cuts is not None:
        low, high, _ = cuts.tightened(low, high)
    return low[0], high[0]


def box_in(box: Box, search: Search, number: int) -> Box:
    """The box of a node in the coordinates of the networks, inside the box of its part. What units
    were split on the way is left out."""
    ends = [Exact.of(end) for end in halves_above(search, number)]
    middle, half = (box.low + box.high) * HALF, (box.high - box.low) * HALF
    low, high = ((middle + half * end).reduced() for end in ends)
    return Box(low, high)
