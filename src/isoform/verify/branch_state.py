# SPDX-License-Identifier: Apache-2.0
"""The state of a splitting search in a file, from which a run that ended or was killed goes on.

Kept are the shape of the trees, the largest value that every node still allows, and which sets are
open on which leaf. Bounds are not kept: what is above open boxes is bounded again. Nothing in such
a file is believed: what a search concludes is for the checker to re-derive.
"""

from __future__ import annotations

import hashlib
import heapq
import io
import json
import time
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from isoform.certificate.arrays import Arrays
from isoform.certificate.differential import Boxes
from isoform.certificate.encoding import encode_domain, encode_relation
from isoform.certificate.leaf_hints import KINDS as HINTS
from isoform.certificate.leaf_hints import Hints
from isoform.certificate.tree import split
from isoform.certificate.tree_evidence import Split
from isoform.errors import FormatError, Refused
from isoform.network.paired import Slots
from isoform.network.whole_file import write_whole
from isoform.numerics.exact import Exact, exact_fractions
from isoform.verify.branch import BATCH, Node, Search
from isoform.verify.clock import FOREVER
from isoform.verify.hints import gathered, scattered
from isoform.verify.question import Question
from isoform.version import VERSION

FORMAT, SCHEMA = "isoform search", 1
EVERY = 5.0  # seconds between two savings, and
SHARE = 20  # times as long as the last one took
DAMAGE = (zipfile.BadZipFile, zlib.error, ValueError, KeyError, EOFError, TypeError, IndexError,
          OverflowError, ZeroDivisionError)
NUMBERS = {"kind": np.uint8, "place": np.int32, "below": np.int64, "above": np.int64,
           "worst": np.float64}


@dataclass(slots=True, eq=False)
class State:
    """A file for the state of one question. key: what the question is, by parts; held: what the
    file held when it was opened. best: the point of the lower value and what is found there.
    searched: seconds of all runs so far."""

    path: Path
    key: dict[str, str]
    held: dict[str, np.ndarray] | None = None
    best: tuple[Fraction, Exact] | None = None
    searched: float = 0.0
    due: float = 0.0

    @classmethod
    def of(cls, question: Question) -> State | None:
        """The state that a question is to be kept in; None where it names no file.

        Raises Refused where the file is of another question or cannot be written there, FormatError
        where it is no such file.
        """
        if question.context.state is None:
            return None
        path = Path(question.context.state)
        if not path.parent.is_dir():
            raise Refused(f"there is no folder {path.parent} for the state of the search")
        made = cls(path, key_of(question))
        if path.exists():
            made.read()
        return made

    def read(self) -> None:
        """What the file holds, if it is of the same question."""
        try:
            with np.load(io.BytesIO(self.path.read_bytes()), allow_pickle=False) as archive:
                held = {name: archive[name] for name in archive.files}
            meta = json.loads(bytes(held["meta"]))
            if meta["format"] != FORMAT:
                raise ValueError("another format")
            schema, key, best = int(meta["schema"]), dict(meta["key"]), meta["best"]
            self.searched = float(meta.get("searched", FOREVER))
            if best is not None:
                values = [Fraction(number) for number in best["point"]]
                self.best = Fraction(best["value"]), exact_fractions(values, (len(values),))
        except DAMAGE as error:
            raise FormatError(
                f"{self.path} is damaged, or no state of a search ({error}); give another name"
            ) from error
        if schema > SCHEMA:
            raise Refused(f"{self.path} was written by a later isoform; update, or begin anew")
        for name, ours in self.key.items():
            if key.get(name) != ours:
                raise Refused(
                    f"{self.path} holds the search about another {name} ({key.get(name)}; asked "
                    f"now: {ours}); give another file, or ask what it was begun with"
                )
        self.held = held

    def restore(
        self, searches: list[Search], slots: tuple[Slots, ...], sets: int
    ) -> tuple[bool, float]:
        """Fill searches that have not begun; whether there was anything to go on from, and the
        margin that it was searched with."""
        if self.held is None:
            return False, 0.0
        try:
            meta = json.loads(bytes(self.held["meta"]))
            if not meta["begun"]:
                return False, 0.0
            if meta["slots"] != slots_digest(slots, searches) or meta["searches"] != len(searches):
                raise Refused(
                    f"{self.path} was begun with units paired otherwise (another seed, or another "
                    "version of isoform); give another file to begin anew"
                )
            for number, search in enumerate(searches):
                restore(search, part_of(self.held, number), sets)
            return True, float(meta["margin"])
        except DAMAGE as error:
            raise FormatError(f"{self.path} is damaged ({error}); give another name") from error
        finally:
            self.held = None

    def save(
        self, searches: list[Search], slots: tuple[Slots, ...], margin: float, sets: int
    ) -> None:
        """Write everything, whole or not at all."""
        began = time.perf_counter()
        best = None
        if self.best is not None:
            point = [str(number) for number in self.best[1].fractions()]
            best = {"value": str(self.best[0]), "point": point}
        meta = {
            "format": FORMAT, "schema": SCHEMA, "tool": f"isoform {VERSION}", "key": self.key,
            "slots": slots_digest(slots, searches), "searches": len(searches),
            "begun": bool(searches), "margin": margin, "best": best, "searched": self.searched,
        }
        arrays: dict[str, Any] = {"meta": np.frombuffer(json.dumps(meta).encode(), np.uint8)}
        for number, search in enumerate(searches):
            for name, array in numbers_of(search, sets).items():
                arrays[f"{number}.{name}"] = array
        write_whole(self.path, lambda file: np.savez_compressed(file, **arrays))
        now = time.perf_counter()
        self.due = now + max(EVERY, SHARE * (now - began))


def key_of(question: Question) -> dict[str, str]:
    """What must be the same for a search to go on."""
    arrays = Arrays()
    domain = encode_domain(question.claim.domain, arrays)
    relation = encode_relation(question.claim.relation, arrays)
    texts = {
        name: json.dumps([record, arrays.records], sort_keys=True)
        for name, record in (("domain", domain), ("claim", relation))
    }
    digests = {
        "source": question.source.digest, "target": question.target.digest,
        **{name: hashlib.sha256(text.encode()).hexdigest() for name, text in texts.items()},
    }
    named = {"domain": f"{question.claim.domain}", "claim": f"{question.claim.relation}"}
    return {
        name: f"{named[name][:200]}, sha256 {digest[:32]}" if name in named
        else f"sha256 {digest}" for name, digest in digests.items()
    }


def slots_digest(slots: tuple[Slots, ...], searches: list[Search]) -> str:
    """Of the slots, and of the faces where there are any: what boxes are depends on them."""
    found = hashlib.sha256()
    for search in searches:
        found.update(search.part.faces.rows.astype("<i8").tobytes())
    for layer in slots:
        for part in (layer.source, layer.target):
            found.update(part.astype("<i8").tobytes() + b";")
        found.update(",".join(map(str, layer.factor.fractions())).encode() + b"\n")
    return found.hexdigest()


def part_of(held: Mapping[str, np.ndarray], number: int) -> dict[str, np.ndarray]:
    """The arrays of one search."""
    start = f"{number}."
    return {name[len(start):]: array for name, array in held.items() if name.startswith(start)}


def numbers_of(search: Search, sets: int) -> dict[str, np.ndarray]:
    """The trees of a search as arrays, in the order of its nodes."""
    nodes = search.nodes
    rows = [(n.kind, n.place, *n.children, n.worst) for n in nodes]
    columns = zip(*rows, strict=True) if rows else ((),) * len(NUMBERS)
    found = {
        name: np.array(column, dtype=dtype)
        for (name, dtype), column in zip(NUMBERS.items(), columns, strict=True)
    }
    roots = np.zeros((len(search.roots), sets), dtype=bool)
    for i, (_, members) in enumerate(search.roots):
        roots[i, members] = True
    opened = sorted(search.held)
    left = np.array([search.held[number][1] for number in opened], dtype=bool)
    hinted = [(number, node.hint) for number, node in enumerate(nodes) if node.hint is not None]
    if hinted:
        hints = gathered(hinted)
        found |= {f"hint_{name}": getattr(hints, name) for name, _, _ in HINTS}
    return found | {
        "roots": np.array([number for number, _ in search.roots], dtype=np.int64),
        "root_sets": roots, "open": np.array(opened, dtype=np.int64),
        "left": np.packbits(left.reshape(len(opened), sets), axis=1),
    }


def restore(search: Search, held: dict[str, np.ndarray], sets: int) -> None:
    """The trees again; every open leaf waits with the box of its path. ValueError or the like for
    arrays that are no trees."""
    columns = [held[name].tolist() for name in NUMBERS]
    parents, sides = whence(held)
    nodes = [
        Node(parent, side, worst, kind, place, (below, above))
        for (kind, place, below, above, worst), parent, side in zip(
            zip(*columns, strict=True), parents, sides, strict=True)
    ]
    opened, left = held["open"].tolist(), held["left"]
    flags = np.unpackbits(left, axis=1, count=sets).astype(bool) if opened else left
    if any(nodes[number].kind != Split.LEAF for number in opened) or len(flags) != len(opened):
        raise ValueError("an open box that is none")
    if "hint_leaves" in held:
        none = np.zeros((len(held["hint_leaves"]), 0), dtype=np.float32)
        hints = Hints(*(held.get(f"hint_{name}", none) for name, _, _ in HINTS))
        for number, hint in scattered(hints):
            nodes[number].hint = hint
    search.nodes, search.waiting, search.held = nodes, [], {}
    search.roots = [
        (int(root), np.flatnonzero(members))
        for root, members in zip(held["roots"], held["root_sets"], strict=True)
    ]
    boxes = boxes_of(search, opened)
    for number, flag in zip(opened, flags, strict=True):
        search.held[number] = boxes[number], flag
        heapq.heappush(search.waiting, (-nodes[number].worst, number))


def whence(held: dict[str, np.ndarray]) -> tuple[list[int], list[int]]:
    """Parent and side of every node. ValueError where the arrays are not those of trees whose
    nodes come after their parents."""
    count = len(held["kind"])
    parents, sides = np.full(count, -1), np.zeros(count, dtype=np.int64)
    inner = np.flatnonzero(held["kind"] != Split.LEAF)
    seen = np.zeros(count, dtype=np.int64)
    for side, name in enumerate(("below", "above")):
        children = held[name][inner]
        if np.any(children <= inner) or np.any(children >= count):
            raise ValueError("a child that is not there")
        parents[children], sides[children] = inner, side
        np.add.at(seen, children, 1)
    np.add.at(seen, held["roots"], 1)
    if np.any(seen != 1) or np.any(held["kind"] > max(Split)):
        raise ValueError("nodes that form no trees")
    return parents.tolist(), sides.tolist()


def boxes_of(search: Search, numbers: list[int]) -> dict[int, Boxes]:
    """The boxes of nodes, with the bounds that they inherit: every node above is bounded again, as
    the checker will do it. Tighter bounds would close leaves that the checker finds open."""
    nodes, bounds = search.nodes, search.bounds
    wanted: set[int] = set()
    for number in numbers:
        while number >= 0 and number not in wanted:
            wanted.add(number)
            number = nodes[number].parent
    ends = np.ones((1, bounds.d))
    front = {root: bounds.whole(-ends, ends) for root, _ in search.roots if root in wanted}
    found: dict[int, Boxes] = {}
    while front:
        found |= {number: box for number, box in front.items() if nodes[number].kind == Split.LEAF}
        inner = [number for number in front if nodes[number].kind != Split.LEAF]
        below: dict[int, Boxes] = {}
        for first in range(0, len(inner), BATCH):
            piece = inner[first : first + BATCH]
            boxes, _, _ = bounds.settle(Boxes(*(
                np.concatenate([getattr(front[number], name) for number in piece])
                for name in ("low", "high", "bounds", "signs")
            )))
            kinds, places = (np.array([getattr(nodes[number], name) for number in piece])
                             for name in ("kind", "place"))
            halves = split(bounds, boxes, kinds, places)
            for i, number in enumerate(piece):
                for side, child in enumerate(nodes[number].children):
                    if child in wanted:
                        below[child] = halves.take(np.array([i + side * len(piece)]))
        front = below
    return found
