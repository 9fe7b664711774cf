# SPDX-License-Identifier: Apache-2.0
"""The rung of differential bounds: pair the units, split until all is closed, keep the trees."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from isoform.certificate.curves import CURVES
from isoform.certificate.tree import Part, parts_of
from isoform.certificate.tree_evidence import Trees
from isoform.certificate.tree_work import sets_of
from isoform.errors import CertificateRejected, UnsupportedModel
from isoform.network.claim import RegionCount
from isoform.network.network import Network
from isoform.network.operators import Linear
from isoform.network.paired import Slots
from isoform.network.unit_layers import unit_layers
from isoform.verify.alignment import aligned
from isoform.verify.branch import Search
from isoform.verify.question import Question

MOST_WEIGHTS = 1 << 24  # entries of the dense matrices of both networks, between layers
BITS = (40, 37, 33)  # of the fixed point, tried in this order
MARGINS = (1e-9, 1e-6, 1e-4)  # tried in this order


@dataclass(slots=True, eq=False)
class Branching:
    """The searches of all parts of the domain, about so many forbidden sets each."""

    slots: tuple[Slots, ...]
    parts: list[Part]
    sets: int
    searches: list[Search] = field(default_factory=list)
    begun: bool = False

    def begin(self, margin: float) -> None:
        """Start, unless the search has begun. margin: by how much doubles have to be below what
        is asked, so that outward rounding finds it too."""
        if self.begun:
            return
        self.begun = True
        self.searches = [Search(part, number, margin) for number, part in enumerate(self.parts)]
        for search in self.searches:
            search.begin(np.arange(self.sets))

    @property
    def done(self) -> bool:
        return all(search.done for search in self.searches)

    @property
    def leaves(self) -> int:
        return sum((len(search.nodes) + len(search.roots)) // 2 for search in self.searches)

    def cut(self, most: int) -> Branching:
        """The same with all trees cut to their first nodes, so many in all."""
        each = max(1, most // max(1, len(self.searches)))
        return replace(self, searches=[search.cut(each) for search in self.searches])

    def run(
        self, deadline: float, boxes: int | None, report: Callable[[str], None]
    ) -> bool:
        """Go on until everything is closed, the time is up, or so many boxes were bounded; whether
        all is closed."""
        said = time.perf_counter()
        bounded = 0
        for search in self.searches:
            while not search.done:
                if boxes is not None and bounded >= boxes:
                    return False
                bounded += search.step(boxes)
                now = time.perf_counter()
                if now > deadline:
                    break
                if now - said > 0.5:
                    said = now
                    report(self.line())
        return self.done

    def line(self) -> str:
        """Where the search stands."""
        waiting = sum(len(search.waiting) for search in self.searches)
        return f"splitting: {self.leaves:,} boxes, {waiting:,} open, worst by {self.worst:.4g}"

    @property
    def worst(self) -> float:
        """By how much the worst open box misses its goal, in doubles."""
        return max((search.worst for search in self.searches), default=-np.inf)

    def evidence(self, bits: int) -> Trees:
        return Trees(
            self.slots, bits, tuple(tree for search in self.searches for tree in search.trees())
        )


def branching(question: Question) -> Branching | None:
    """A search that has not begun, or None where this rung does not reach: no bounded domain,
    functions that are not piecewise linear, layers too large."""
    if question.box is None:
        return None
    source, target = question.source, question.target
    if weight(source) + weight(target) > MOST_WEIGHTS:
        return None
    try:
        layers = unit_layers(source, curved=True), unit_layers(target, curved=True)
        if any(layer.name not in CURVES for net in layers for layer in net.layers):
            return None
        slots = aligned(*layers, question.box, question.context.seed)
        relation = question.claim.relation
        assert not isinstance(relation, RegionCount)
        sets = sets_of(relation, source.dimension, source.output_dimension)
        parts = list(parts_of(source, target, question.claim.domain, sets, slots))
    except (UnsupportedModel, CertificateRejected):
        return None
    return Branching(slots, parts, len(sets))


def weight(network: Network) -> int:
    """Entries of the dense matrices between values."""
    sizes = [network.dimension, *(node.shape[0] for node in network.nodes)]
    return sum(
        node.shape[0] * sizes[operand]
        for node in network.nodes if isinstance(node.operator, Linear) for operand in node.operands
    )
