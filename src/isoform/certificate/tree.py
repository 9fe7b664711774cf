# SPDX-License-Identifier: Apache-2.0
"""Whether splitting trees close every forbidden set on a domain.

A child is its parent with one more closed half, so the leaves cover the domain by construction and
no geometry is checked. Bounds that hold on a node hold on its children; what is bounded anew is
what was not settled there. Everything is fixed point, rounded outward.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from isoform.certificate.arrays import malformed
from isoform.certificate.closing import Forms, forms_of
from isoform.certificate.codes import Codes
from isoform.certificate.differential import Boxes, Differential
from isoform.certificate.faces import Faces, faces_of
from isoform.certificate.fixed import Fixed
from isoform.certificate.leaf_hints import Hints
from isoform.certificate.relaxation import Layer
from isoform.certificate.softmax_end import before_softmax
from isoform.certificate.swept_layers import swept_layers
from isoform.certificate.tree_evidence import Split, Tree, Trees
from isoform.certificate.tree_work import (
    check_rows,
    check_slots,
    check_trees_shape,
    check_work,
    sets_of,
)
from isoform.errors import CertificateRejected
from isoform.network.claim import (
    Comparison,
    Equal,
    Forbidden,
    Within,
    tolerances,
)
from isoform.network.domain import Box, Domain, Union, bound_to, hull
from isoform.network.network import Network
from isoform.network.paired import Paired, Slots, paired
from isoform.network.unit_layers import substituted, unit_layers
from isoform.numerics.exact import Exact, concatenate

BATCH = 128  # boxes that are bounded together
DEEPEST = 4_096
HALF = Exact.of(np.array(0.5))


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


def check_trees(
    data: Trees, source: Network, target: Network, domain: Domain, relation: Comparison
) -> Fraction | None:
    """The trees prove the relation on the domain, or CertificateRejected. Returns an upper value of
    the largest difference, for relations that are about one."""
    before = before_softmax(source, target, relation)
    source, target, relation = before.source, before.target, before.relation
    sets = sets_of(relation, source.dimension, source.output_dimension)
    worst = closed_by_trees(data, source, target, domain, sets)
    if not isinstance(relation, Equal | Within):
        return None
    eps = tolerances(relation, source.output_dimension).fractions()
    sides = zip(eps, worst[0::2], worst[1::2], strict=True)
    return before.share * max(Fraction(0), *(allowed + max(pair) for allowed, *pair in sides))


def closed_by_trees(
    data: Trees, source: Network, target: Network, domain: Domain, sets: tuple[Forbidden, ...]
) -> list[Fraction]:
    """The trees close every set on every part of the domain, or CertificateRejected. Returns for
    each set the largest value, at most 0, of the forms that close it."""
    ops = Fixed(data.bits)
    count = len(boxes_of(bound_to(domain, source.dimension)))
    outputs = max(source.output_dimension, target.output_dimension)
    check_work(data, count, 1, len(sets), source.dimension, outputs)
    check_trees_shape(data, count, len(sets))
    trees: list[list[tuple[int, Tree]]] = [[] for _ in range(count)]
    for number, tree in enumerate(data.trees):
        trees[tree.part].append((number, tree))
    for part, about in enumerate(trees):
        wanted = set(range(len(sets))) - {int(s) for _, tree in about for s in tree.sets}
        if wanted:
            raise CertificateRejected("tree", f"no tree closes set {min(wanted)} on part {part}")
    worst = np.full(len(sets), -ops.infinity, dtype=np.int64)
    for part, made in enumerate(parts_of(source, target, domain, sets, data.slots, data.codes)):
        faces = made.faces if data.faces else None
        check_work(data, count, len(made.forms.strict), len(sets), source.dimension, outputs,
                   0 if faces is None else len(faces))
        bounds = Differential(made.pair, ops, faces)
        for number, tree in trees[part]:
            try:
                np.maximum.at(worst, tree.sets, walk(bounds, made.forms, tree))
            except CertificateRejected as error:
                raise CertificateRejected(f"tree {number}", error.why) from None
    return [Fraction(value, 1 << data.bits) for value in worst.tolist()]


def walk(bounds: Differential, forms: Forms, tree: Tree) -> np.ndarray:
    """Every leaf of a tree closes the tree's sets; the largest value that closed each of them."""
    second, place = shape_of(tree, bounds)
    if tree.hints is not None:
        tree.hints.check(tree.tokens, Split.LEAF, len(forms.strict), bounds)
    rows = Rows(bounds, forms)
    ends = np.full((1, bounds.d), 1 << bounds.ops.bits, dtype=np.int64)
    open_sets = np.zeros((1, len(forms.closes)), dtype=bool)
    open_sets[0, tree.sets] = True
    worst = np.full(len(forms.closes), -bounds.ops.infinity, dtype=np.int64)
    stack = [(np.zeros(1, dtype=np.int64), bounds.whole(-ends, ends), open_sets)]
    while stack:
        at, boxes, left = stack.pop()
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
            raise CertificateRejected("tree", f"the leaf at token {which:,} is not closed")
        inner = np.flatnonzero(~leaf & left.any(axis=1))  # below a closed node nothing is needed
        if len(inner):
            at = at[inner]
            halves = split(bounds, boxes.take(inner), tree.tokens[at], place[at])
            stack.append((np.concatenate((at + 1, second[at])), halves,
                          np.concatenate((left[inner], left[inner]))))
    return worst[tree.sets]


def shape_of(tree: Tree, bounds: Differential) -> tuple[np.ndarray, np.ndarray]:
    """For each token the token of its second child (0 for leaves), and its slot or input."""
    count = len(tree.tokens)
    if count == 0 or np.any(tree.tokens > max(Split)):
        raise malformed("tokens of a tree that are none")
    inner = np.flatnonzero(tree.tokens != Split.LEAF)
    if len(inner) != len(tree.places) or 2 * len(inner) + 1 != count:
        raise malformed("a tree that ends too early or too late")
    place = np.zeros(count, dtype=np.int64)
    place[inner] = tree.places
    limit = np.where(tree.tokens == Split.INPUT, bounds.d, bounds.units)
    if np.any((place[inner] < 0) | (place[inner] >= limit[inner])):
        raise malformed("a split of a slot or input that is not there")
    second = np.zeros(count, dtype=np.int64)
    waiting: list[int] = []  # splits whose second child has not begun
    for at, token in enumerate(tree.tokens.tolist()):
        if token != Split.LEAF:
            waiting.append(at)
            if len(waiting) > DEEPEST:
                raise malformed(f"a tree deeper than {DEEPEST:,}")
        elif waiting:
            second[waiting.pop()] = at + 1
        elif at + 1 != count:
            raise malformed("tokens behind the end of a tree")
    return second, place


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
