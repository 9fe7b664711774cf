# SPDX-License-Identifier: Apache-2.0
"""Whether a splitting tree closes its forbidden sets on a box of a domain.

A child is its parent with one more closed half, so the leaves cover the domain by construction and
no geometry is checked. Bounds that hold on a node hold on its children; what is bounded anew is
what was not settled there. Everything is fixed point, rounded outward.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from isoform.certificate.closing import Forms, forms_of
from isoform.certificate.codes import Codes
from isoform.certificate.differential import Boxes, Differential
from isoform.certificate.faces import Faces, faces_of
from isoform.certificate.leaf_hints import Hints
from isoform.certificate.relaxation import Layer
from isoform.certificate.swept_layers import swept_layers
from isoform.certificate.tree_evidence import Split, Tree
from isoform.certificate.tree_pieces import shape_of
from isoform.certificate.tree_work import check_rows, check_slots
from isoform.errors import CertificateRejected
from isoform.network.claim import Forbidden
from isoform.network.domain import Box, Domain, Union, bound_to, hull
from isoform.network.network import Network
from isoform.network.paired import Paired, Slots, paired
from isoform.network.unit_layers import substituted, unit_layers
from isoform.numerics.exact import Exact, concatenate

BATCH = 128  # boxes that are bounded together
HALF = Exact.of(np.array(0.5))
NOWHERE: dict[int, int] = {}
Start = tuple[Boxes, np.ndarray]  # one box, and which sets (1, S) are open on it


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """One box of the domain: both networks over u in [-1, 1]^d, the forms to bound, and the rows of
    the domain there."""

    pair: Paired
    forms: Forms
    faces: Faces


def parts_of(
    source: Network, target: Network, domain: Domain, sets: tuple[Forbidden, ...],
    slots: tuple[Slots, ...], codes: tuple[Codes, ...] | None = None,
) -> Iterator[Part]:
    """The boxes of the domain, each with the networks in its coordinates, one after the other.
    codes: of the sweep that the networks go through first."""
    for network in (source, target):
        check_rows(network)
    check_slots(slots, source.dimension, max(source.output_dimension, target.output_dimension))
    domain = bound_to(domain, source.dimension)
    if codes is None:
        first, second = (unit_layers(net, curved=True) for net in (source, target))
    else:
        first, second = swept_layers(source, target, domain, codes)
    for place in places_of(domain):
        box = box_around(place)
        middle, half = (box.low + box.high) * HALF, (box.high - box.low) * HALF
        constant = concatenate([Exact.of([1]), middle]).reduced()
        stretch = Exact.eye(len(half)) * half
        matrix = concatenate([Exact.zeros((1, len(half))), stretch]).reduced()
        pair = paired(
            substituted(first, constant, matrix), substituted(second, constant, matrix),
            slots,
        )
        faces = faces_of(place, middle, half)
        yield Part(pair, forms_of(sets, pair, constant, matrix), faces)


def places_of(domain: Domain) -> list[Domain]:
    """The parts of a union, or the domain alone."""
    if isinstance(domain, Union):
        return [place for part in domain.parts for place in places_of(part)]
    return [domain]


def box_around(domain: Domain) -> Box:
    box = hull(domain)
    if box is None:
        raise CertificateRejected("tree", "the domain has no bounds")
    return box


def boxes_of(domain: Domain) -> list[Box]:
    """Boxes that cover the domain together."""
    return [box_around(place) for place in places_of(domain)]


def walk(
    rows: Rows, tree: Tree, start: Start | None = None, first: int = 0,
    below: Mapping[int, int] = NOWHERE,
) -> tuple[np.ndarray, list[tuple[int, Start]]]:
    """Every leaf of a tree closes the tree's sets; the largest value that closed each of them.

    start: what its root starts from, where it is the subtree of another at token `first`. below:
    tokens that are not walked; they come back with what they start from, where sets are open there.
    """
    bounds, forms = rows.bounds, rows.forms
    second, place = shape_of(tree, bounds.d, bounds.units)
    if tree.hints is not None:
        tree.hints.check(tree.tokens, Split.LEAF, len(forms.strict), bounds)
    worst = np.full(len(forms.closes), -bounds.ops.infinity, dtype=np.int64)
    stack = [(np.zeros(1, dtype=np.int64), *(start or whole(rows, tree)))]
    later: list[tuple[int, Start]] = []
    stops = np.array(list(below), dtype=np.int64)
    while stack:
        at, boxes, left = stack.pop()
        here = np.isin(at, stops)
        for i in np.flatnonzero(here):
            later.append((int(at[i]), (boxes.take(np.array([i])), left[[i]])))
        at, boxes, left = at[~here], boxes.take(np.flatnonzero(~here)), left[~here]
        if not len(at):
            continue
        if len(at) > BATCH:
            stack.append((at[BATCH:], boxes.take(np.arange(BATCH, len(at))), left[BATCH:]))
            at, boxes, left = at[:BATCH], boxes.take(np.arange(BATCH)), left[:BATCH]
        boxes, layers, empty = bounds.settle(boxes)
        closed, value = rows.closed(boxes, layers, left & ~empty[:, None])
        np.maximum(worst, np.where(closed, value, -bounds.ops.infinity).max(axis=0), out=worst)
        left = left & ~closed & ~empty[:, None]
        leaf = tree.tokens[at] == Split.LEAF
        left, value = rows.hinted(tree.hints, at, boxes, layers, left & leaf[:, None], left)
        np.maximum(worst, value, out=worst)
        if left[leaf].any():
            which = int(at[leaf][left[leaf].any(axis=1)][0])
            raise CertificateRejected("tree", f"the leaf at token {first + which:,} is not closed")
        inner = np.flatnonzero(~leaf & left.any(axis=1))  # below a closed node nothing is needed
        if len(inner):
            at = at[inner]
            halves = split(bounds, boxes.take(inner), tree.tokens[at], place[at])
            stack.append((np.concatenate((at + 1, second[at])), halves,
                          np.concatenate((left[inner], left[inner]))))
    return worst[tree.sets], later


def whole(rows: Rows, tree: Tree) -> Start:
    """The whole box, and all sets of the tree."""
    ends = np.full((1, rows.bounds.d), 1 << rows.bounds.ops.bits, dtype=np.int64)
    open_sets = np.zeros((1, len(rows.forms.closes)), dtype=bool)
    open_sets[0, tree.sets] = True
    return rows.bounds.whole(-ends, ends), open_sets


def split(bounds: Differential, boxes: Boxes, kinds: np.ndarray, places: np.ndarray) -> Boxes:
    """Both halves of B boxes: first all sides below, then all sides above."""
    count = len(boxes)
    low, high, signs = (
        np.concatenate((part, part)) for part in (boxes.low, boxes.high, boxes.signs)
    )
    halved = np.flatnonzero(kinds == Split.INPUT)
    i = places[halved]
    middle = bounds.ops.middle(low[halved, i], high[halved, i])
    high[halved, i] = middle
    low[count + halved, i] = middle
    cut = np.flatnonzero(kinds != Split.INPUT)
    value = kinds[cut].astype(np.int64) - Split.SOURCE
    signs[cut, places[cut], value] = -1
    signs[count + cut, places[cut], value] = 1
    return Boxes(low, high, np.concatenate((boxes.bounds, boxes.bounds)), signs)


class Rows:
    """The forms of a part as coefficients."""

    def __init__(self, bounds: Differential, forms: Forms):
        self.bounds, self.forms = bounds, forms
        self.p, self.q = bounds.ops.rows(forms.targets.p), bounds.ops.rows(forms.targets.q)

    def upper(
        self, boxes: Boxes, layers: list[Layer], box: np.ndarray, form: np.ndarray
    ) -> np.ndarray:
        """Upper bounds (R,) of forms on boxes."""
        found = [np.zeros(0, dtype=self.bounds.ops.dtype)]
        for piece in self.bounds.pieces(self.bounds.count, len(box)):
            b, t = box[piece], form[piece]
            rows = self.bounds.carried(b, self.p[t], self.q[t], self.bounds.count, layers)
            found.append(self.bounds.concluded(rows, boxes, layers, self.bounds.count))
        return np.concatenate(found)

    def hinted(
        self, hints: Hints | None, at: np.ndarray, boxes: Boxes, layers: list[Layer],
        asked: np.ndarray, left: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:
        """What is still left (B, S) after the hints for boxes whose sets are asked for (B, S), and
        the largest value (S,) of a form that closed them."""
        closes = self.forms.closes
        worst = np.full(len(closes), -self.bounds.ops.infinity, dtype=self.bounds.ops.dtype)
        if hints is None or not len(hints.leaves):
            return left, worst
        which = np.minimum(np.searchsorted(hints.leaves, at), len(hints.leaves) - 1)
        box = np.flatnonzero((hints.leaves[which] == at) & asked.any(axis=1))
        for piece in self.bounds.pieces(self.bounds.count, len(box)):
            b = box[piece]
            form = hints.forms[which[b]]
            rows = self.bounds.carried(b, self.p[form], self.q[form], self.bounds.count, layers)
            hints.put(rows, boxes, which[b], self.bounds)
            upper = self.bounds.concluded(rows, boxes, layers, self.bounds.count)
            low = self.forms.closed(upper, form)[:, None] & closes[:, form].T & left[b]
            left[b] &= ~low
            value = np.where(low, upper[:, None], -self.bounds.ops.infinity)
            worst = np.maximum(worst, value.max(axis=0, initial=-self.bounds.ops.infinity))
        return left, worst

    def closed(
        self, boxes: Boxes, layers: list[Layer], left: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """(B, S): which of the sets that are left are closed on each box, and the least value of a
        form that is low enough."""
        closes = self.forms.closes
        box, form = np.nonzero(left @ closes)
        value = np.full((len(left), closes.shape[1]), self.bounds.ops.infinity)
        upper = self.upper(boxes, layers, box, form)
        value[box, form] = np.where(self.forms.closed(upper, form), upper, value[box, form])
        least = np.stack([value[:, forms].min(axis=1) for forms in closes], axis=1)
        return left & (least <= 0), least
