# SPDX-License-Identifier: Apache-2.0
"""A stand-in for the search of regions: a tree drawn by a hash, so that tests of tasks and stores
need no kernels and can be slow or fail on demand. Importable by worker processes.

A script as well: `python region_stand_in.py STORE SECONDS WORKERS` enumerates into a store, each
task taking that long, until it is killed.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
import sys
import time
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

from isoform.numerics.exact import Exact
from isoform.regions.enumeration import Enumeration, Origin, enumerate_regions
from isoform.regions.workers import Search

DIMENSION = 3
HERE = Origin(network="0" * 64, domain="stand-in", domain_digest="1" * 64)


@dataclass(frozen=True)
class Tree:
    """In place of a chart. fine: how many of 16 leaves have an exact witness. pause: seconds a
    task. trouble: what happens below some node, "error" or (to worker processes) "kill"."""

    seed: int = 0
    units: int = 16
    pause: float = 0.0
    fine: int = 1
    trouble: str = ""
    dimension: int = DIMENSION
    more: None = None

    @property
    def layers(self) -> Any:
        return SimpleNamespace(units=self.units)


@dataclass(frozen=True)
class Node:
    prefix: bytes


def draw(tree: Tree, prefix: bytes) -> bytes:
    return hashlib.sha256(b"%d " % tree.seed + prefix).digest()


def point_of(tree: Tree, prefix: bytes) -> np.ndarray:
    numbers = np.frombuffer(draw(tree, prefix)[: 4 * DIMENSION], dtype="<u4")
    return np.asarray(numbers / 2.0**31 - 1.0)


def explore(tree: Tree, node: Node, *, most: int, record: bool, stop: Any = None) -> Any:
    """In preorder: the first byte of the hash says whether a unit splits, and which side first."""
    time.sleep(tree.pause)
    if tree.trouble and len(node.prefix) > 4:
        if tree.trouble == "error":
            raise ArithmeticError("no vertex")
        assert multiprocessing.parent_process() is not None
        os.kill(os.getpid(), signal.SIGKILL)
    stack, leaves, tokens = [node.prefix], [], []
    while stack and len(leaves) < most:
        prefix = stack.pop()
        if len(prefix) == tree.units:
            leaves.append(prefix)
            continue
        first = draw(tree, prefix)[0]
        tokens.append(first & 7)
        if first & 6:  # three in four split
            sides = (b"\2", b"\3") if first & 1 else (b"\3", b"\2")
            stack += [prefix + side for side in sides]
        else:
            stack.append(prefix + (b"\1" if first & 1 else b"\0"))
    bits = np.array([[code & 1 for code in leaf] for leaf in leaves], dtype=np.uint8)
    fine = tuple(
        (i, Exact.of([i + 1, -i, 7]) * Exact.of(np.array(0.125)))
        for i, leaf in enumerate(leaves) if draw(tree, leaf)[1] % 16 < tree.fine
    )
    return SimpleNamespace(
        patterns=np.packbits(bits.reshape(-1, tree.units), axis=1),
        points=np.array([point_of(tree, leaf) for leaf in leaves]).reshape(-1, DIMENSION),
        fine=fine, children=tuple(Node(prefix) for prefix in reversed(stack)),
        codes=np.array(tokens + [10] * len(stack) if record else [], dtype=np.uint8),
        ids=np.arange(len(leaves) if record else 0, dtype=np.int32),
        programs=len(tokens), decided=len(fine),
    )


def same(tree: Tree) -> Tree:
    return tree


SEARCH = Search(same, Node, explore)


def enumerate_trees(*trees: Tree, **options: Any) -> Enumeration:
    """The enumeration with this search."""
    charts: Any = trees or (Tree(),)
    options = {"origin": HERE, "workers": 1, "task_regions": 200, **options}
    return enumerate_regions(charts, search=SEARCH, **options)


def everything(found: Enumeration) -> tuple[Any, ...]:
    """All that an enumeration lists, to be compared."""
    chunks = list(found.chunks(777))
    start = np.cumsum([0, *map(len, chunks)])
    fine = [
        (int(start[i]) + row, point.fractions())
        for i, chunk in enumerate(chunks) for row, point in chunk.fine
    ]
    streams = [
        (s.chart, s.prefix, s.codes.tobytes(), s.ids.tobytes(), s.points.tobytes(),
         [(place, point.fractions()) for place, point in s.fine])
        for s in found.streams()
    ]
    charts = np.concatenate([chunk.charts for chunk in chunks])
    return (found.count, found.programs, found.decided, found.patterns().tobytes(),
            found.points().tobytes(), charts.tolist(), fine, streams)


if __name__ == "__main__":
    place, seconds, count = sys.argv[1:]
    done = enumerate_trees(Tree(pause=float(seconds)), Tree(seed=1), store=place, record=True,
                           workers=int(count))
    print(done.count, done.stopped)
