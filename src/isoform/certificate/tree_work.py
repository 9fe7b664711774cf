# SPDX-License-Identifier: Apache-2.0
"""How much splitting trees ask for, counted before anything is made: a small file must not fill the
memory or run for days."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from isoform.certificate.arrays import malformed
from isoform.certificate.tree_evidence import Trees
from isoform.errors import CertificateRejected
from isoform.network.claim import Comparison, Forbidden, SameDecision, forbidden_sets
from isoform.network.network import Network
from isoform.network.operators import Concat, Linear, Select
from isoform.network.paired import Slots

MOST_WEIGHTS = 1 << 26  # of a network as dense rows over inputs and units
MOST_ENTRIES = 1 << 26  # of the rows of all forbidden sets
MOST_WORK = 1 << 46  # products, about: hours
FACE_WORK, STEP_WORK = 1 << 6, 1 << 17  # of a face for each input of a form, and for each batch
TREE_WORK, PART_WORK = 1 << 29, 1 << 30  # of a tree or a part of the domain, whatever its size


def check_rows(network: Network) -> None:
    """The rows of all values over inputs and units would fit, even if none of them is sparse, and
    so would the coordinates of a box."""
    width = 1 + network.dimension
    total = width**2
    for node in network.nodes:
        if isinstance(node.operator, Linear | Concat | Select):
            total += node.shape[0] * width
        else:
            width += node.shape[0]
    if total > MOST_WEIGHTS:
        raise CertificateRejected("tree", f"a network of up to {total:,} weights between its units")


def weights(slots: Sequence[Slots], dimension: int, outputs: int) -> int:
    """Entries of both networks as dense rows over the constant, the inputs and earlier slots."""
    width, total = 1 + dimension, 0
    for layer in slots:
        total += layer.size * width
        width += layer.size
    return total + outputs * width


def check_slots(slots: Sequence[Slots], dimension: int, outputs: int) -> None:
    """Lists of numbers, and not too many weights in the layers that they make."""
    for layer in slots:
        for units in (layer.source, layer.target):
            if units.dtype != np.int64 or units.ndim != 1 or not len(units):
                raise malformed("a layer of slots that is no list of units")
    total = weights(slots, dimension, outputs)
    if total > MOST_WEIGHTS:
        raise CertificateRejected("tree", f"slots with {total:,} weights between them")


def check_trees_shape(data: Trees, parts: int, sets: int) -> None:
    """Arrays of the right types; parts and sets that are there."""
    if type(data.faces) is not bool:
        raise malformed("trees that do not say whether faces take part")
    for number, tree in enumerate(data.trees):
        types = tree.sets.dtype, tree.tokens.dtype, tree.places.dtype
        if types != (np.int64, np.uint8, np.int32) or {
            tree.sets.ndim, tree.tokens.ndim, tree.places.ndim
        } != {1}:
            raise malformed(f"tree {number} has arrays of other types")
        inside = np.all((tree.sets >= 0) & (tree.sets < sets))
        if type(tree.part) is not int or not 0 <= tree.part < parts or not inside:
            raise malformed(f"tree {number} is about a part or a set that is not there")


def check_work(
    data: Trees, parts: int, forms: int, sets: int, dimension: int, outputs: int, faces: int = 0
) -> None:
    """Every node may bound y and y' - y of every slot from both sides, and every form, each by a
    pass through all weights and all faces."""
    slots = sum(layer.size for layer in data.slots)
    each = weights(data.slots, dimension, outputs) + faces * dimension * FACE_WORK
    node = (4 * slots + forms) * each + sets * forms
    node += (4 * len(data.slots) + 1) * faces * STEP_WORK
    nodes = sum(len(tree.tokens) for tree in data.trees)
    work = nodes * node + len(data.trees) * TREE_WORK + parts * PART_WORK
    if work > MOST_WORK:
        raise CertificateRejected("tree", f"{nodes:,} nodes of {node:,} products are too many")


def sets_of(relation: Comparison, n: int, m: int) -> tuple[Forbidden, ...]:
    """The forbidden sets of a relation, where writing them out is not too much."""
    if isinstance(relation, SameDecision) and m**3 * (n + 2 * m) > MOST_ENTRIES:
        raise CertificateRejected("tree", f"decisions between {m:,} outputs are too many to bound")
    return forbidden_sets(relation, n, m)
