# SPDX-License-Identifier: Apache-2.0
"""The shape of a tree, and where it is cut so that its subtrees can be walked one by one, in other
processes too.

What is above a subtree decides its boxes and open sets, and nothing else does: a subtree is a tree
of its own that begins there. Where the cuts are changes no verdict and no value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from isoform.certificate.arrays import malformed
from isoform.certificate.tree_evidence import Split, Tree

DEEPEST = 4_096
SMALL = 8  # a subtree of less than this share of a piece is walked with what is above it


@dataclass(frozen=True, slots=True)
class Spread:
    """Trees are cut into about so many pieces, and `across` gives what a function says of each of
    them, in order: `map`, or the `map` of an executor."""

    pieces: int = 1
    across: Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]] = map


ALONE = Spread()


def shape_of(tree: Tree, inputs: int, slots: int) -> tuple[np.ndarray, np.ndarray]:
    """For each token the token of its second child (0 for leaves), and its slot or input."""
    count = len(tree.tokens)
    if count == 0 or np.any(tree.tokens > max(Split)):
        raise malformed("tokens of a tree that are none")
    inner = np.flatnonzero(tree.tokens != Split.LEAF)
    if len(inner) != len(tree.places) or 2 * len(inner) + 1 != count:
        raise malformed("a tree that ends too early or too late")
    place = np.zeros(count, dtype=np.int64)
    place[inner] = tree.places
    limit = np.where(tree.tokens == Split.INPUT, inputs, slots)
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


def cuts(second: np.ndarray, most: int) -> dict[int, int]:
    """The subtrees of at most so many tokens whose parents have more: where they begin and end.
    Very small ones are left out. second: for each token that of its second child, 0 for leaves."""
    size = np.ones(len(second), dtype=np.int64)
    for at in range(len(second) - 1, -1, -1):
        if second[at]:
            size[at] += size[at + 1] + size[second[at]]
    large = np.flatnonzero(size > most)
    below = np.concatenate((large + 1, second[large])) if len(large) else np.array([0])
    return {
        at: at + int(size[at]) for at in below.tolist() if most >= size[at] > most // SMALL
    }


def subtree(tree: Tree, first: int, end: int) -> Tree:
    """The tokens from `first` up to `end` as a tree, with their places and hints."""
    inner = np.cumsum(tree.tokens != Split.LEAF)
    start = int(inner[first - 1]) if first else 0
    return Tree(
        tree.part, tree.sets, tree.tokens[first:end], tree.places[start : int(inner[end - 1])],
        None if tree.hints is None else tree.hints.within(first, end),
    )
