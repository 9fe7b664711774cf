# SPDX-License-Identifier: Apache-2.0
"""Splitting: boxes are halved, or cut at a unit, until every forbidden set is closed on each.

The search is best first, in batches, in doubles, over the checker's own rules; what it leaves is
trees that the checker walks again in fixed point. Bounds of the open boxes are valid at every
moment as far as doubles are, so that a search that is stopped still has a value to show.
"""

from __future__ import annotations

import copy
import heapq
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from isoform.certificate.differential import Boxes
from isoform.certificate.relaxation import Layer, Lines
from isoform.certificate.tree import Part, Rows, split
from isoform.certificate.tree_evidence import Split, Tree
from isoform.verify.clock import FOREVER
from isoform.verify.halving import influence, input_scores
from isoform.verify.hints import Hint, gathered
from isoform.verify.traced import Traced

if TYPE_CHECKING:
    from isoform.verify.phase_programs import PhasePrograms
    from isoform.verify.programs import Programs

BATCH = 128
MOST_HALVED = 12  # inputs; with more of them boxes are cut at units
MOST_TRIES, WORTH = 64, 0.05  # of programmes with phases, and the least share that close boxes
MOST_CUT = 600  # units for which that is tried: a linear programme has ten rows for each


@dataclass(slots=True, eq=False)
class Node:
    """One node of a tree; kind LEAF until it is split. worst: the largest value that its box still
    allows a form that would have to be below 0 (before it is bounded, its parent's)."""

    parent: int
    side: int
    worst: float
    kind: int = Split.LEAF
    place: int = 0
    children: tuple[int, int] = (-1, -1)
    hint: Hint | None = None


@dataclass(slots=True, eq=False)
class Search:
    """The search on one part of the domain. roots: one for every group of sets. phased: whether
    programmes follow the inputs through both phases of units, where that is to be had; each of them
    takes some hundred times as long as one without. until: when to begin no more programmes, on the
    clock of `time.perf_counter`; what had none then is open as before."""

    part: Part
    number: int
    margin: float
    phased: bool = False
    until: float = FOREVER
    bounds: Traced = field(init=False, repr=False)
    rows: Rows = field(init=False, repr=False)
    nodes: list[Node] = field(default_factory=list)
    moved: np.ndarray = field(init=False, repr=False)
    units: bool = field(init=False)
    programs: Programs | None = field(init=False, repr=False, default=None)
    phases: PhasePrograms | None = field(init=False, repr=False, default=None)
    tries: int = field(init=False, default=0)  # of programmes with phases
    closings: int = field(init=False, default=0)
    bases: dict[tuple[int, int], Any] = field(init=False, repr=False, default_factory=dict)
    roots: list[tuple[int, np.ndarray]] = field(default_factory=list)
    waiting: list[tuple[float, int]] = field(default_factory=list)
    held: dict[int, tuple[Boxes, np.ndarray]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.bounds = Traced(self.part.pair, self.part.faces)
        self.rows = Rows(self.bounds, self.part.forms)
        plain = all(side.all() for side in self.bounds.plain)
        self.moved = influence(self.bounds)
        self.units = plain and 0 < self.bounds.units <= MOST_CUT and self.bounds.d > MOST_HALVED

    def cut(self, most: int) -> Search:
        """The trees of the first nodes alone, for what they prove; not to be searched further."""
        shown = copy.copy(self)
        nodes = [
            replace(node, kind=Split.LEAF) if node.children[1] >= most else node
            for node in self.nodes[:most]
        ]
        shown.nodes = nodes
        shown.waiting = [
            (-node.worst, i) for i, node in enumerate(nodes) if node.kind == Split.LEAF
        ]
        heapq.heapify(shown.waiting)
        return shown

    def begin(self, sets: np.ndarray) -> None:
        """One tree about these sets."""
        ends = np.ones((1, self.bounds.d))
        left = np.zeros((1, len(self.part.forms.closes)), dtype=bool)
        left[0, sets] = True
        self.roots.append((len(self.nodes), sets))
        self.hold(Node(-1, 0, np.inf), self.bounds.whole(-ends, ends), left[0])

    def hold(self, node: Node, boxes: Boxes, left: np.ndarray) -> int:
        number = len(self.nodes)
        self.nodes.append(node)
        self.held[number] = boxes, left
        heapq.heappush(self.waiting, (-node.worst, number))
        return number

    @property
    def done(self) -> bool:
        return not self.waiting

    @property
    def worst(self) -> float:
        """The largest value that an open box allows a form that would have to be below 0."""
        return -self.waiting[0][0] if self.waiting else -np.inf

    def step(self, most: int | None = None) -> int:
        """Bound the worst open boxes, close or split them; how many."""
        count = min(BATCH, len(self.waiting), most or BATCH)
        picked = [heapq.heappop(self.waiting)[1] for _ in range(count)]
        held = [self.held.pop(number) for number in picked]
        boxes = Boxes(*(np.concatenate([getattr(box, name) for box, _ in held])
                        for name in ("low", "high", "bounds", "signs")))
        left = np.stack([sets for _, sets in held])
        boxes, layers, empty = self.bounds.settle(boxes)
        value, best = self.values(boxes, layers, left)
        for at, number in enumerate(picked):
            self.nodes[number].worst = -np.inf if empty[at] else float(value[at][left[at]].max())
        left = left & (value > 0) & ~empty[:, None]
        form = best[np.arange(count), np.where(left, value, -np.inf).argmax(axis=1)]
        keep = np.flatnonzero(left.any(axis=1))
        if self.units:
            keep, kinds, places = self.by_units(picked, boxes, layers, form, left, keep)
        if not len(keep):
            return count
        boxes, left, form = boxes.take(keep), left[keep], form[keep]
        if not self.units:
            kinds, places = self.choose(boxes, [taken(layer, keep) for layer in layers], form)
        halves = split(self.bounds, boxes, kinds, places)
        for i, row in enumerate(keep):
            node = self.nodes[picked[row]]
            node.kind, node.place = int(kinds[i]), int(places[i])
            below, above = (
                self.hold(Node(picked[row], side, node.worst),
                          halves.take(np.array([i + side * len(keep)])), left[i])
                for side in (0, 1)
            )
            node.children = below, above
        return count

    def values(
        self, boxes: Boxes, layers: list[Layer], left: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """For each box and set the least upper bound of a form, a little above, and that form."""
        closes = self.part.forms.closes
        box, form = np.nonzero(left @ closes)
        upper = np.full((len(left), closes.shape[1]), np.inf)
        upper[box, form] = self.rows.upper(boxes, layers, box, form)
        table = np.where(closes[None], upper[:, None, :], np.inf)
        return table.min(axis=2) + self.margin, table.argmin(axis=2)

    def by_units(
        self, picked: list[int], boxes: Boxes, layers: list[Layer], form: np.ndarray,
        left: np.ndarray, keep: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Programmes for the boxes `keep`, for the sake of one form each: which boxes stay open,
        and where to split them."""
        if self.programs is None:
            from isoform.verify.phase_programs import phase_programs
            from isoform.verify.programs import Programs

            self.programs = Programs(self.bounds)
            self.phases = phase_programs(self.bounds) if self.phased else None
        for programs in (self.programs, self.phases):
            if programs is not None:
                programs.until = self.until
        closes = self.part.forms.closes
        opened, kinds, places = [], [], []
        for at, row in enumerate(keep.tolist()):
            if time.perf_counter() > self.until:
                self.put_back(picked, boxes, left, keep[at:])
                break
            node, t = self.nodes[picked[row]], int(form[row])
            bases = self.bases.pop((node.parent, node.side), (None, None))
            found = self.programs.hinted(boxes, layers, row, t, self.rows, bases[0])
            if found.hint is None and time.perf_counter() > self.until:
                self.put_back(picked, boxes, left, keep[at:])
                break
            held = found.basis, None
            if self.phases is not None and found.value + self.margin > 0:
                better = self.phases.hinted(boxes, layers, row, t, self.rows, bases[1])
                held = found.basis, better.basis
                found = better if better.value < found.value else found
                self.weigh(better.value + self.margin <= 0)
            if found.value + self.margin <= 0 and not (left[row] & ~closes[:, t]).any():
                node.worst, node.hint = found.value, found.hint
                continue
            if found.value < node.worst:  # kept where the box stays open, for its value
                node.worst, node.hint = found.value, found.hint
            opened.append(row)
            kinds.append(found.kind)
            places.append(found.place)
            for side in (0, 1):
                self.bases[picked[row], side] = held
        return np.array(opened, dtype=np.int64), np.array(kinds), np.array(places)

    def put_back(
        self, picked: list[int], boxes: Boxes, left: np.ndarray, rows: np.ndarray
    ) -> None:
        """Hold some of the boxes that were picked as they are."""
        for row in rows.tolist():
            number = picked[row]
            self.held[number] = boxes.take(np.array([row])), left[row]
            heapq.heappush(self.waiting, (-self.nodes[number].worst, number))

    def weigh(self, closed: bool) -> None:
        """Give phases up where they close hardly anything that lines leave open."""
        self.tries += 1
        self.closings += closed
        if self.tries >= MOST_TRIES and self.closings < WORTH * self.tries:
            self.phases = None

    def choose(
        self, boxes: Boxes, layers: list[Layer], form: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Where to split each box, for the sake of one form each."""
        box = np.arange(len(boxes))
        rows = self.bounds.carried(box, self.rows.p[form], self.rows.q[form], self.bounds.count,
                                   layers)
        self.bounds.watch(rows, boxes, layers)
        score = input_scores(self.bounds, rows, layers, boxes, self.moved)
        return np.full(len(box), Split.INPUT), score.argmax(axis=1)

    def trees(self) -> list[Tree]:
        """The trees as evidence."""
        made = []
        for root, sets in self.roots:
            tokens: list[int] = []
            places: list[int] = []
            hints: list[tuple[int, Hint]] = []
            stack = [root]
            while stack:
                node = self.nodes[stack.pop()]
                if node.kind != Split.LEAF:
                    places.append(node.place)
                    stack += [node.children[1], node.children[0]]
                elif node.hint is not None:
                    hints.append((len(tokens), node.hint))
                tokens.append(node.kind)
            made.append(Tree(
                self.number, sets.astype(np.int64), np.array(tokens, dtype=np.uint8),
                np.array(places, dtype=np.int32), gathered(hints) if hints else None,
            ))
        return made


def taken(layer: Layer, keep: np.ndarray) -> Layer:
    """The layer on some of the boxes."""
    def lines(part: Lines) -> Lines:
        return Lines(part.high_slope[keep], part.high[keep], part.low_slope[keep], part.low[keep])

    return Layer(
        lines(layer.source), lines(layer.target), lines(layer.difference), layer.exact[keep],
        layer.apart[keep], layer.h_size[keep], layer.rho_size[keep], layer.cost[keep],
    )
