# SPDX-License-Identifier: Apache-2.0
"""Steps of a splitting search: in this process, or open boxes handed to processes of this machine.

A worker gets the worst open boxes of one search, works on them for about a second, and returns the
trees below them; the search takes them over as if it had grown them itself. Boxes that are away
stay open until their trees are back, so that nothing is lost where a worker or this process ends.
"""

from __future__ import annotations

import copy
import heapq
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    wait,
)
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from isoform.certificate.tree import Part
from isoform.certificate.tree_evidence import Split
from isoform.errors import Refused
from isoform.regions.workers import end_with_parent, imported_by_a_worker, one_thread_each
from isoform.verify.branch import BATCH, Node, Search

SLICE = 1.0  # seconds for which a worker keeps what it was given
STEP = 0.5  # seconds that one step is to take at most
GRACE = 2.0  # seconds after the deadline for steps that are not done
TICK = 0.25


@dataclass(slots=True)
class Pace:
    """How many boxes a second are bounded, for steps that end in time."""

    rate: float = 0.0

    def step(self, search: Search, deadline: float) -> int:
        """One step of a search, of fewer boxes where time is short; how many were bounded."""
        began, count = time.perf_counter(), BATCH
        if self.rate:
            seconds = min(STEP, max(deadline - began, 0.0))
            count = min(count, max(1, int(self.rate * seconds)))
        elif search.phased or deadline - began < STEP:
            count = 1
        bounded = undisturbed(search, count)
        self.rate = bounded / max(time.perf_counter() - began, 1e-6)
        return bounded


def undisturbed(search: Search, most: int) -> int:
    """One step, or none at all where it is interrupted."""
    count = min(most, BATCH, len(search.waiting))
    waiting, nodes = list(search.waiting), len(search.nodes)
    picked = [number for _, number in heapq.nsmallest(count, waiting)]
    before = [(number, search.held[number], replace(search.nodes[number])) for number in picked]
    try:
        with np.errstate(all="ignore"):  # doubles may overflow; the checker's integers may not
            return search.step(most)
    except BaseException:
        for number in range(nodes, len(search.nodes)):
            search.held.pop(number, None)
        del search.nodes[nodes:]
        search.waiting = waiting
        for number, held, node in before:
            search.held[number], search.nodes[number] = held, node
        raise


# In the process that searches


@dataclass(frozen=True, slots=True, eq=False)
class Grown:
    """What a worker made of some boxes: nodes, the first of which are these boxes; what is held of
    those that are open; how many boxes were bounded."""

    nodes: list[Node]
    held: dict[int, Any]
    bounded: int


@dataclass(slots=True, eq=False)
class Crew:
    """Worker processes, one thread each, and what is away with them: for each call the search and
    the entries of its heap."""

    pool: Executor
    count: int
    started: list[Future[int]]
    children: list[Any]
    away: dict[Future[Grown], tuple[Search, list[tuple[float, int]]]] = field(default_factory=dict)

    @classmethod
    def of(cls, parts: Sequence[Part], margin: float, count: int, phased: bool = False) -> Crew:
        """Start processes; they are ready some time later. They start fresh (spawn), for a copy of
        a process with threads may hang."""
        import multiprocessing

        others = set(multiprocessing.active_children())
        pool = ProcessPoolExecutor(
            count, multiprocessing.get_context("spawn"), prepare, (tuple(parts), margin, phased)
        )
        with one_thread_each(), no_interrupt():
            started = [pool.submit(os.getpid) for _ in range(count)]
        return cls(pool, count, started, list(set(multiprocessing.active_children()) - others))

    @property
    def ready(self) -> bool:
        """Whether all have started. Refused where they cannot."""
        if not all(future.done() for future in self.started):
            return False
        try:
            for future in self.started:
                future.result()
        except (BrokenExecutor, RuntimeError) as error:
            raise Refused(
                f"{self.count} worker processes cannot start; a script must call isoform under "
                'if __name__ == "__main__": and lie in a file; else give workers=1'
            ) from error
        return True

    def hand_out(self, searches: Sequence[Search], deadline: float) -> None:
        """Give every idle worker some of the worst open boxes of the search with most of them."""
        left = max(deadline - time.perf_counter(), 0.0)
        while len(self.away) < self.count:
            search = max(searches, key=lambda each: len(each.waiting))
            if not search.waiting:
                return
            share = -(-len(search.waiting) // (2 * self.count))
            picked = [heapq.heappop(search.waiting) for _ in range(min(share, BATCH))]
            boxes = [(search.nodes[number].worst, search.held[number]) for _, number in picked]
            future = self.pool.submit(grow, search.number, boxes, min(SLICE, left), left)
            self.away[future] = search, picked

    def take_back(self, seconds: float) -> int:
        """Take over what has come back within so many seconds; how many boxes were bounded."""
        done, _ = wait(self.away, timeout=seconds, return_when=FIRST_COMPLETED)
        bounded = 0
        for future in done:
            try:
                grown = future.result()
            except BrokenExecutor as error:
                raise Refused(
                    "a worker process ended by itself, out of memory perhaps; give fewer workers"
                ) from error
            search, picked = self.away.pop(future)
            graft(search, [number for _, number in picked], grown)
            bounded += grown.bounded
        return bounded

    @property
    def worst(self) -> float:
        """The largest value that a box which is away allows."""
        ends = (-first for _, picked in self.away.values() for first, _ in picked[:1])
        return max(ends, default=float("-inf"))

    def close(self) -> None:
        """End the processes; what is away is open as before."""
        for search, picked in self.away.values():
            for entry in picked:
                heapq.heappush(search.waiting, entry)
        self.away.clear()
        for child in self.children:
            with suppress(OSError, ValueError):
                child.terminate()
        self.pool.shutdown(wait=True, cancel_futures=True)


def together(
    searches: Sequence[Search], margin: float, workers: int, until: Callable[[], float],
    tick: Callable[[float], None],
) -> None:
    """Search with worker processes until all is closed or the time is up. until: when that is, as
    far as is known now. tick: called several times a second with the worst value that is away."""
    if imported_by_a_worker():
        raise Refused('a script must start workers under if __name__ == "__main__":')
    phased = any(search.phased for search in searches)
    crew = Crew.of([search.part for search in searches], margin, workers, phased)
    pace = Pace()
    try:
        while crew.away or any(search.waiting for search in searches):
            now, deadline = time.perf_counter(), until()
            if now > deadline + (GRACE if crew.away else 0):
                return
            if not crew.ready:
                pace.step(max(searches, key=lambda each: len(each.waiting)), deadline)
            else:
                if now < deadline:
                    crew.hand_out(searches, deadline)
                crew.take_back(TICK)
            tick(crew.worst)
    finally:
        crew.close()


def graft(search: Search, numbers: Sequence[int], grown: Grown) -> None:
    """Take over the trees below these nodes."""
    first = len(search.nodes) - len(numbers)  # of what is new
    for number in numbers:
        del search.held[number]

    def named(i: int) -> int:
        return numbers[i] if i < len(numbers) else first + i

    for i, node in enumerate(grown.nodes):
        if node.kind != Split.LEAF:
            node.children = named(node.children[0]), named(node.children[1])
        if i < len(numbers):
            node.parent, node.side = (
                search.nodes[numbers[i]].parent, search.nodes[numbers[i]].side
            )
            search.nodes[numbers[i]] = node
        else:
            node.parent = named(node.parent)
            search.nodes.append(node)
    for i, held in grown.held.items():
        search.held[named(i)] = held
        heapq.heappush(search.waiting, (-grown.nodes[i].worst, named(i)))


@contextmanager
def no_interrupt() -> Iterator[None]:
    """Processes started in here never see an interrupt of the terminal, not even while they import;
    one that comes meanwhile reaches this process afterwards."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# In a worker process

GIVEN: dict[int, Part] = {}
MADE: dict[int, Search] = {}
MARGIN = [0.0]
PHASED = [False]


def prepare(parts: Sequence[Part], margin: float, phased: bool) -> None:
    """First thing in a worker process: keep the parts, leave interrupts to the process above, and
    end when that one does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=end_with_parent, daemon=True).start()
    GIVEN.update(enumerate(parts))
    MADE.clear()
    MARGIN[0], PHASED[0] = margin, phased


def grow(
    number: int, boxes: Sequence[tuple[float, Any]], seconds: float, most: float
) -> Grown:
    """Go on below open boxes (their worst value, and what is held of them) for so long; a step that
    has begun may take longer, but not more than `most`."""
    if number not in MADE:
        MADE[number] = Search(GIVEN[number], number, MARGIN[0], PHASED[0])
    MADE[number].until = time.perf_counter() + most
    return grown(MADE[number], boxes, seconds)


def grown(prepared: Search, boxes: Sequence[tuple[float, Any]], seconds: float) -> Grown:
    """The same by a search that holds nothing; at least one step is made."""
    until = time.perf_counter() + seconds
    search = copy.copy(prepared)
    search.nodes, search.roots, search.waiting, search.held = [], [], [], {}
    search.bases = {}
    for worst, held in boxes:
        search.hold(Node(-1, 0, worst), *held)
    pace = Pace()
    bounded = pace.step(search, np.inf)
    while search.waiting and time.perf_counter() < until:
        bounded += pace.step(search, until)
    return Grown(search.nodes, search.held, bounded)
