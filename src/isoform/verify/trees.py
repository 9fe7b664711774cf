# SPDX-License-Identifier: Apache-2.0
"""The rung of differential bounds: pair the units, split until all is closed, keep the trees."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from isoform.certificate.codes import Codes
from isoform.certificate.curves import CURVES
from isoform.certificate.differential import Differential
from isoform.certificate.softmax_end import before_softmax
from isoform.certificate.tree import Part, parts_of
from isoform.certificate.tree_evidence import Trees
from isoform.certificate.tree_work import sets_of
from isoform.errors import CertificateRejected, UnsupportedModel
from isoform.network.claim import Equal, RegionCount, Within, tolerances
from isoform.network.network import Network
from isoform.network.operators import Concat, Linear, Select
from isoform.network.paired import Slots
from isoform.network.unit_layers import unit_name
from isoform.numerics.exact import approximately
from isoform.numerics.smooth import SMOOTH
from isoform.verify.alignment import aligned
from isoform.verify.branch import Search
from isoform.verify.branch_state import State
from isoform.verify.branch_trees import shortened
from isoform.verify.branch_workers import Pace, together, undisturbed
from isoform.verify.check_pace import CheckPace, check_pace
from isoform.verify.clock import FOREVER
from isoform.verify.compared_layers import compared
from isoform.verify.floats import Floats
from isoform.verify.question import Question

MOST_WEIGHTS = 1 << 24  # entries of the dense matrices of both networks, between layers
BITS = (40, 37, 33, 26)  # of the fixed point, tried in this order
MARGINS = (1e-9, 1e-6, 1e-4)  # tried in this order
COUNTED = 16  # boxes that are bounded together where they are counted
ALONE = 1.0  # seconds before worker processes are started
UNASKED = 1.0  # seconds of a search whose check will be short
SHARED = 3.0  # seconds of a check above which processes take part
PROGRAMMES = 1.0  # seconds for the first programmes of a search that is counted
MOST_REDONE = 1024  # leaves of a search that is begun anew


@dataclass(slots=True, eq=False)
class Branching:
    """The searches of all parts of the domain, about so many forbidden sets each.

    workers: processes that take part after the first second. state: where the search is kept.
    phased: whether searches follow inputs through both phases of units. allowed: what is added to
    `worst` for an upper value of the largest difference, where the claim is about one; lower: the
    lower value, for progress. codes: of the sweep that the networks went through before their units
    were paired. end: when the checker has to be done with the trees; checking: how fast it will be;
    searched: seconds so far, those of all processes together.
    """

    slots: tuple[Slots, ...]
    parts: list[Part]
    sets: int
    searches: list[Search] = field(default_factory=list)
    begun: bool = False
    phased: bool = False
    margin: float = 0.0
    workers: int = 1
    state: State | None = None
    allowed: float | None = None
    lower: float = 0.0
    pace: Pace = field(default_factory=Pace)
    codes: tuple[Codes, ...] | None = None
    end: float = FOREVER
    checking: CheckPace | None = None
    searched: float = 0.0

    def begin(self, margin: float) -> None:
        """Start, unless the search has begun. margin: by how much doubles have to be below what
        is asked, so that outward rounding finds it too."""
        if self.begun:
            return
        self.begun, self.margin = True, margin
        self.searches = [
            Search(part, number, margin, self.phased) for number, part in enumerate(self.parts)
        ]
        for search in self.searches:
            if search.units:  # a cut at a unit serves one set at a time
                for number in range(self.sets):
                    search.begin(np.array([number]))
            else:
                search.begin(np.arange(self.sets))

    def deepen(self) -> None:
        """Begin anew with programmes that take longer and say more, where there are such and little
        is lost: a root that they close has no need of its splits."""
        if self.phased or not self.begun or self.leaves > MOST_REDONE:
            return
        from isoform.verify.phase_programs import phase_programs

        self.phased = any(
            search.units and phase_programs(search.bounds) is not None for search in self.searches
        )
        if self.phased:
            self.begun = False
            self.begin(self.margin)

    def resume(self, state: State | None) -> None:
        """Go on from a file where it holds this search, and keep the search there."""
        self.state = state
        if state is None:
            return
        searches = [Search(part, number, 0.0, True) for number, part in enumerate(self.parts)]
        self.begun, margin = state.restore(searches, self.slots, self.sets)
        if self.begun:
            self.searches, self.margin, self.phased = searches, margin, True
            self.searched = state.searched
            for search in searches:
                search.margin = margin

    def keep(self) -> None:
        """Bring the file up to date."""
        if self.state is not None:
            self.state.searched = self.searched
            self.state.save(self.searches, self.slots, self.margin, self.sets)

    @property
    def done(self) -> bool:
        return all(search.done for search in self.searches)

    @property
    def leaves(self) -> int:
        return sum((len(search.nodes) + len(search.roots)) // 2 for search in self.searches)

    def cut(self, most: int) -> Branching:
        """The same with all trees cut to the splits that matter, so many in all at the most."""
        each = max(1, most // max(1, len(self.searches)))
        return replace(self, searches=[shortened(search, each) for search in self.searches])

    def run(
        self, deadline: float, boxes: int | None, report: Callable[[str], None]
    ) -> bool:
        """Go on until everything is closed, the time is up, or so many boxes were bounded; whether
        all is closed. A search that the checker could not follow in time goes on no further. Where
        this is interrupted, the search stands as after the last step."""
        said = last = began = time.perf_counter()
        alone = self.workers == 1 or boxes is not None
        for search in self.searches:
            search.until = max(deadline, began + PROGRAMMES) if boxes is not None else deadline

        def until() -> float:
            if self.checking is None and time.perf_counter() - began > UNASKED:
                self.checking = check_pace(self.parts, BITS[-1])
            return min(deadline, self.end - self.check_seconds())

        def tick(away: float = -np.inf) -> None:
            nonlocal said, last
            now = time.perf_counter()
            self.searched += (now - last) * (1 if alone or now - began < ALONE else self.workers)
            last = now
            if now - said > 0.5:
                said = now
                report(self.line(away))
            if self.state is not None and now > self.state.due:
                self.keep()

        try:
            self.run_here(
                until if alone else lambda: min(until(), began + ALONE), boxes, tick
            )
            if not alone and not self.done and time.perf_counter() < until():
                together(self.searches, self.margin, self.workers, until, tick)
        finally:
            self.keep()
        return self.done

    def check_seconds(self) -> float:
        """How long the checker will take for the trees so far, about; 0 for a search that has just
        begun."""
        if self.checking is None:
            return 0.0
        boxes = sum(len(search.nodes) for search in self.searches)
        seconds = self.checking.seconds(boxes, self.searched)
        return seconds if seconds < SHARED else SHARED + (seconds - SHARED) / self.workers

    def run_here(
        self, until: Callable[[], float], boxes: int | None, tick: Callable[[], None]
    ) -> None:
        """The same in this process; at least one step for every part. How a counted search goes
        does not depend on the clock, but for its end."""
        bounded = 0
        for search in self.searches:
            while not search.done:
                if boxes is not None and bounded >= boxes:
                    return
                bounded += (
                    self.pace.step(search, until()) if boxes is None
                    else undisturbed(search, min(boxes, COUNTED))
                )
                tick()
                if time.perf_counter() > until():
                    break

    def line(self, away: float = -np.inf) -> str:
        """Where the search stands. away: the worst value that a worker works on."""
        opened = sum(len(search.held) for search in self.searches)
        boxes = f"{self.leaves:,} boxes, {opened:,} open"
        worst = max(self.worst, away)
        if self.allowed is None:
            return f"{boxes}, worst by {worst:.4g}"
        return (f"{boxes}, largest difference between {self.lower:.4g} and about "
                f"{self.allowed + worst:.4g}")

    @property
    def worst(self) -> float:
        """By how much the worst open box misses its goal, in doubles."""
        return max((search.worst for search in self.searches), default=-np.inf)

    def evidence(self, bits: int) -> Trees:
        trees = tuple(tree for search in self.searches for tree in search.trees())
        faces = any(len(part.faces) for part in self.parts)
        return Trees(self.slots, bits, trees, faces, self.codes)


def branching(question: Question) -> Branching | None:
    """A search that has not begun, or None where this rung does not reach: no bounded domain,
    functions that are not piecewise linear, layers too large."""
    if question.box is None:
        return None
    relation = question.claim.relation
    assert not isinstance(relation, RegionCount)
    before = before_softmax(question.source, question.target, relation)
    source, target, relation = before.source, before.target, before.relation
    if weight(source) + weight(target) > MOST_WEIGHTS:
        return None
    try:
        found = compared(source, target, question.box, question.half_time())
        layers = found.source, found.target
        if any(layer.name not in CURVES for net in layers for layer in net.layers):
            return None
        slots = aligned(*layers, question.box, question.context.seed)
        sets = sets_of(relation, source.dimension, source.output_dimension)
        parts = list(parts_of(source, target, question.claim.domain, sets, slots, found.codes))
        for part in parts:
            check_defined(part)
    except (UnsupportedModel, CertificateRejected):
        return None
    made = Branching(
        slots, parts, len(sets), workers=question.context.workers, codes=found.codes,
        end=question.end(),
    )
    if isinstance(relation, Equal | Within) and before.share == 1:
        made.allowed = approximately(tolerances(relation, source.output_dimension).max_abs())
    return made


def unreached(question: Question) -> str:
    """Why `branching` gives nothing, in words."""
    relation = question.claim.relation
    assert not isinstance(relation, RegionCount)
    before = before_softmax(question.source, question.target, relation)
    names = {
        unit_name(node.operator) for net in (before.source, before.target) for node in net.nodes
        if not isinstance(node.operator, Linear | Concat | Select)
    }
    if foreign := sorted(names - CURVES):
        return f"the differential bounds know no lines around {', '.join(foreign)}"
    return "the networks are beyond the differential bounds"


def check_defined(part: Part) -> None:
    """CertificateRejected where the bounds of a whole part leave the range on which its functions
    are defined, or too large to compute with; parts of it are then bounded no better at first."""
    names = {name for layer in part.pair.layers for side in layer.curves for name in side}
    if names & SMOOTH.keys():
        bounds = Differential(part.pair, Floats(), part.faces)
        ends = np.ones((1, bounds.d))
        bounds.settle(bounds.whole(-ends, ends))


def weight(network: Network) -> int:
    """Entries of the dense matrices between values."""
    sizes = [network.dimension, *(node.shape[0] for node in network.nodes)]
    return sum(
        node.shape[0] * sizes[operand]
        for node in network.nodes if isinstance(node.operator, Linear) for operand in node.operands
    )
