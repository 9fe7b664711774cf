# SPDX-License-Identifier: Apache-2.0
"""Splitting trees as evidence: slots for the units, and for each tree what it is about.

A tree is its tokens in preorder: a leaf, or a split whose two subtrees follow, the side below
first. A split of input i halves the box there; a split of a slot is about y, y' or delta at zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np

from isoform.certificate.arrays import Arrays, fetch, fetch_exact, fetch_index, listed, malformed
from isoform.certificate.arrays import whole as integer
from isoform.certificate.code_evidence import decode_codes, encode_codes
from isoform.certificate.codes import Codes
from isoform.certificate.leaf_hints import Hints, decode_hints, encode_hints
from isoform.network.linear_map import Constant
from isoform.network.paired import Slots


class Split(IntEnum):
    """Tokens of a tree."""

    LEAF = 0
    SOURCE = 1  # y <= 0 or y >= 0 of a slot
    TARGET = 2  # the same for y'
    DIFFERENCE = 3  # the same for y' - y
    INPUT = 4


@dataclass(frozen=True, slots=True, eq=False)
class Tree:
    """One tree over a box of the domain. part: number of the box (domains with one box: 0). sets:
    numbers of the forbidden sets that its leaves close. tokens (uint8), places (int32): a slot or
    an input for every split, in order. hints: for leaves that need more than the default passes."""

    part: int
    sets: np.ndarray
    tokens: np.ndarray
    places: np.ndarray
    hints: Hints | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Trees:
    """slots: which units lie side by side; bits: of the fixed point; trees: together they close
    every forbidden set on every part of the domain. faces: whether the rows of the domain take
    part; without that trees are about the boxes around it. codes: of an exact sweep, where the
    slots are about the layers that it leaves (`swept_layers`)."""

    slots: tuple[Slots, ...]
    bits: int
    trees: tuple[Tree, ...]
    faces: bool = False
    codes: tuple[Codes, ...] | None = None


def encode_trees(data: Trees, arrays: Arrays) -> dict[str, Any]:
    layers = [
        {"source": arrays.add(layer.source.astype(np.int64)),
         "target": arrays.add(layer.target.astype(np.int64)), "factor": arrays.add(layer.factor)}
        for layer in data.slots
    ]
    trees = [
        {"part": tree.part, "sets": arrays.add(tree.sets.astype(np.int64)),
         "tokens": arrays.add(tree.tokens), "places": arrays.add(tree.places),
         "hints": encode_hints(tree.hints, arrays)}
        for tree in data.trees
    ]
    record: dict[str, Any] = {"slots": layers, "bits": data.bits, "trees": trees}
    if data.faces:
        record["faces"] = True
    if data.codes is not None:
        record["codes"] = [encode_codes(entry, arrays) for entry in data.codes]
    return record


def decode_trees(data: dict[str, Any], arrays: list[Constant]) -> Trees:
    slots = tuple(
        Slots(fetch_index(arrays, record.get("source")), fetch_index(arrays, record.get("target")),
              fetch_exact(arrays, record.get("factor")))
        for record in listed(data, "slots")
    )
    trees = tuple(
        Tree(integer(record.get("part")), fetch_index(arrays, record.get("sets")),
             typed(fetch(arrays, record.get("tokens")), np.uint8),
             typed(fetch(arrays, record.get("places")), np.int32),
             decode_hints(record.get("hints"), arrays))
        for record in listed(data, "trees")
    )
    codes = None
    if "codes" in data:
        codes = tuple(decode_codes(entry, arrays) for entry in listed(data, "codes"))
    return Trees(slots, integer(data.get("bits")), trees, data.get("faces") is True, codes)


def typed(value: Constant, dtype: Any) -> np.ndarray:
    if not isinstance(value, np.ndarray) or value.dtype != dtype or value.ndim != 1:
        raise malformed(f"an array that is no list of {np.dtype(dtype).name}")
    return value
