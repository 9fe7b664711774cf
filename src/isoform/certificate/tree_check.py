# SPDX-License-Identifier: Apache-2.0
"""Whether splitting trees close every forbidden set on a domain: all trees, cut into pieces.

A piece is a tree or a subtree. Who walks it does not matter: every piece that was given away has to
come back, with the largest values that closed its sets.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache

import numpy as np

from isoform.certificate.differential import Differential
from isoform.certificate.fixed import Fixed
from isoform.certificate.softmax_end import before_softmax
from isoform.certificate.tree import Part, Rows, Start, boxes_of, parts_of, walk
from isoform.certificate.tree_evidence import Tree, Trees
from isoform.certificate.tree_pieces import ALONE, Spread, cuts, shape_of, subtree
from isoform.certificate.tree_work import check_trees_shape, check_work, sets_of
from isoform.errors import CertificateRejected
from isoform.network.claim import Comparison, Equal, Forbidden, Within, tolerances
from isoform.network.domain import Domain, bound_to
from isoform.network.network import Network


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """A tree, or the subtree of tree `number` at token `first`, and what it starts from."""

    number: int
    first: int
    part: Part
    bits: int
    tree: Tree
    start: Start | None = None


def check_trees(
    data: Trees, source: Network, target: Network, domain: Domain, relation: Comparison,
    spread: Spread = ALONE,
) -> Fraction | None:
    """The trees prove the relation on the domain, or CertificateRejected. Returns an upper value of
    the largest difference, for relations that are about one."""
    before = before_softmax(source, target, relation)
    source, target, relation = before.source, before.target, before.relation
    sets = sets_of(relation, source.dimension, source.output_dimension)
    worst = closed_by_trees(data, source, target, domain, sets, spread)
    if not isinstance(relation, Equal | Within):
        return None
    eps = tolerances(relation, source.output_dimension).fractions()
    sides = zip(eps, worst[0::2], worst[1::2], strict=True)
    return before.share * max(Fraction(0), *(allowed + max(pair) for allowed, *pair in sides))


def closed_by_trees(
    data: Trees, source: Network, target: Network, domain: Domain, sets: tuple[Forbidden, ...],
    spread: Spread = ALONE,
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
    most = max(1, sum(len(tree.tokens) for tree in data.trees) // spread.pieces)
    asked: list[tuple[int, int]] = []

    def pieces() -> Iterator[Piece]:
        """What is above the cuts is walked here; every piece that is given away is noted."""
        for part, made in enumerate(parts_of(source, target, domain, sets, data.slots, data.codes)):
            made = made if data.faces else replace(made, faces=made.faces.none())
            check_work(data, count, len(made.forms.strict), len(sets), source.dimension, outputs,
                       len(made.faces))
            for number, tree in trees[part]:
                if len(tree.tokens) <= most:
                    asked.append((number, 0))
                    yield Piece(number, 0, made, data.bits, tree)
                    continue
                value, below = above_cuts(made, data.bits, number, tree, most)
                np.maximum.at(worst, tree.sets, value)
                asked.extend((piece.number, piece.first) for piece in below)
                yield from below

    given = pieces()
    found = list(spread.across(closed_piece, given))
    if next(given, None) is not None or [piece for piece, _ in found] != asked:
        raise CertificateRejected("tree", "the answers are not those for its pieces")
    for (number, _), value in found:
        np.maximum.at(worst, data.trees[number].sets, value)
    return [Fraction(value, 1 << data.bits) for value in worst.tolist()]


def above_cuts(
    part: Part, bits: int, number: int, tree: Tree, most: int
) -> tuple[np.ndarray, list[Piece]]:
    """Walk a tree down to subtrees of at most so many tokens; these, and what the walk gives."""
    try:
        rows = rows_of(part, bits)
        ends = cuts(shape_of(tree, rows.bounds.d, rows.bounds.units)[0], most)
        value, left = walk(rows, tree, below=ends)
    except CertificateRejected as error:
        raise CertificateRejected(f"tree {number}", error.why) from None
    pieces = [
        Piece(number, at, part, bits, subtree(tree, at, ends[at]), start) for at, start in left
    ]
    return value, pieces


def closed_piece(piece: Piece) -> tuple[tuple[int, int], np.ndarray]:
    """Which piece that is, and what the walk gives; CertificateRejected where a leaf is open."""
    try:
        rows = rows_of(piece.part, piece.bits)
        value, _ = walk(rows, piece.tree, piece.start, piece.first)
    except CertificateRejected as error:
        raise CertificateRejected(f"tree {piece.number}", error.why) from None
    return (piece.number, piece.first), value


@lru_cache(maxsize=1)
def rows_of(part: Part, bits: int) -> Rows:
    """A part in fixed point; kept for its next tree."""
    return Rows(Differential(part.pair, Fixed(bits), part.faces), part.forms)
