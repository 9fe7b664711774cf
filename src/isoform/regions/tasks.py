# SPDX-License-Identifier: Apache-2.0
"""Handing out subtrees to workers and entering what they find, until a budget is spent.

Tasks have a budget of regions, not of time: the tree of tasks, the list and the token streams are
the same for any number of workers, and for one run as for many.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from isoform.errors import Refused
from isoform.regions.listing import Listing, Part, Task
from isoform.regions.progress import Progress, Share
from isoform.regions.workers import (
    Cluster,
    Here,
    Job,
    Processes,
    Workers,
    all_cores,
    check_choice,
    work,
)

SLICE = 0.25  # seconds of one call to a worker
MOST_TOGETHER = 32  # tasks of one call
PATIENCE = 1.0  # seconds before this process asks others to join
TICK = 0.5  # seconds between two reports of progress
GRACE = 2.0  # seconds beyond the time until calls are given up


@dataclass(frozen=True, slots=True)
class Budget:
    """When to stop: None for no limit.

    regions, seconds: of this run, so that the same command goes on where the last one stopped.
    bytes: of the store with all that earlier runs put there, or of the memory that the list takes.
    A budget is looked at between calls: a run ends a little beyond it, and makes one at least. Only
    a call that has run for GRACE seconds beyond the time (or beyond an interrupt) is given up.
    """

    regions: int | None = None
    seconds: float | None = None
    bytes: int | None = None

    def __post_init__(self) -> None:
        for name in ("regions", "seconds", "bytes"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"a budget of {value} {name}; give a positive number")


class Run:
    """One run: hands out tasks, enters what comes back, until all is done or a limit is reached."""

    def __init__(self, job: Job, listing: Listing, budget: Budget):
        self.job, self.listing, self.budget = job, listing, budget
        self.report: Callable[[Progress], object] | None = None
        self.share: Share | None = None
        self.stopped: str | None = None
        self.flying: dict[Future[list[Part]], list[Task]] = {}
        self.began = self.entered = time.monotonic()
        self.told = self.began
        self.before = listing.count
        self.calls = 0
        self.given_up = False  # calls that still run
        self.over: float | None = None  # when a call was first seen to go on beyond the time
        self.asked: Callable[[], bool] = lambda: False

    def whole(self, workers: int | None, cluster: str | None) -> None:
        """The run, with workers that are let go at its end."""
        check_choice(workers, cluster)
        if self.listing.open_tasks == 0:
            self.tell(always=True)
            return
        at_work: Workers = Here(self.job, self.overdue)
        if self.report is not None and not self.job.search.ready():
            self.tell(always=True, compiling=True)
        hurry = True
        try:
            with interrupts() as asked:
                self.asked = asked
                if cluster is not None:
                    at_work = Cluster(self.job, cluster)
                elif workers != 1:
                    self.start_alone(asked, workers)
                    at_work = self.joined(workers) or at_work
                self.loop(at_work, asked, None)
            hurry = self.given_up
        finally:
            at_work.close(now=hurry)
        self.tell(always=True)

    def start_alone(self, asked: Callable[[], bool], workers: int | None) -> None:
        """The first second, or where processes are asked for the first task, in this process: most
        searches are no longer, and kernels are compiled and put aside once, not by every worker."""
        if workers is None:
            self.loop(Here(self.job, self.overdue), asked, self.began + PATIENCE)
        elif self.stopped is None:
            for task in self.listing.waiting(1, False, set()):
                self.listing.enter(work(self.job, [task], 0.0, 1, self.overdue), 0.0)

    def joined(self, workers: int | None) -> Workers | None:
        """Processes, where there is work for some. Without a wish, one that cannot be fulfilled is
        none: this process goes on alone."""
        count = workers or all_cores()
        if self.stopped is not None or self.listing.open_tasks < 2 or count < 2:
            return None
        with suppress(*([Refused] if workers is None else [])):
            return Processes(self.job, count)
        return None

    def loop(self, workers: Workers, asked: Callable[[], bool], until: float | None) -> None:
        """Until all is done, a limit is reached, or (with other workers to come) the time is up."""
        from isoform.regions.store_file import DiskFull

        try:
            while True:
                self.stopped = self.stopped or self.limit(asked)
                late = until is not None and time.monotonic() > until
                if self.stopped is None and not late:
                    self.hand_out(workers)
                else:
                    self.call_back()
                if self.flying and self.stopped is not None and self.overdue():
                    self.flying.clear()
                    self.given_up = True
                if not self.flying:
                    return
                done, _ = wait(self.flying, timeout=0.2, return_when=FIRST_COMPLETED)
                for future in done:
                    self.take(future)
                self.tell()
        except DiskFull as error:
            self.stopped = str(error)
        except BrokenExecutor:
            self.flying.clear()
            self.stopped = "a worker process was killed (for lack of memory?)"

    def hand_out(self, workers: Workers) -> None:
        """Two calls a slot: single tasks, the largest, while there are few, so that all get work;
        later some together, the smallest, so that the rest does not grow and calls take a while."""
        slots, alone = workers.slots(), isinstance(workers, Here)
        calls = (1 if alone else 2 * slots) - len(self.flying)
        if calls <= 0:
            return
        taken = {task.key for tasks in self.flying.values() for task in tasks}
        free = self.listing.open_tasks - len(taken)
        several = max(1, min(MOST_TOGETHER, free // (8 * slots)))
        seconds = min(SLICE if alone or free >= 4 * slots else 0.0, self.time_left())
        tasks = self.listing.waiting(calls * several, several > 1, taken)
        for i in range(0, len(tasks), several):
            together = tasks[i : i + several]
            future = workers.submit(together[::-1], seconds, self.room(slots))
            self.flying[future] = together
            self.calls += 1

    def room(self, slots: int) -> int:
        """Regions that one call may still list."""
        if self.budget.regions is None:
            return 1 << 62
        return max(1, (self.budget.regions - (self.listing.count - self.before)) // slots)

    def time_left(self) -> float:
        if self.budget.seconds is None:
            return float("inf")
        return max(0.0, self.began + self.budget.seconds - time.monotonic())

    def overdue(self) -> bool:
        """Whether calls that still run are to be given up. Where kernels are compiled first, the
        call begins when that is done."""
        if not self.asked() and self.time_left() > 0:
            return False
        now = time.monotonic()
        self.over = now if self.over is None else self.over
        return now > self.over + GRACE

    def take(self, future: Future[list[Part]]) -> None:
        """Enter what a call brings. Its tasks stay open where that fails."""
        del self.flying[future]
        if not future.cancelled():
            parts = future.result()
            now = time.monotonic()
            self.listing.enter(parts, now - self.entered)
            self.entered = now

    def call_back(self) -> None:
        """Take back the calls that have not begun."""
        for future in list(self.flying):
            if future.cancel():
                del self.flying[future]

    def limit(self, asked: Callable[[], bool]) -> str | None:
        """Why to stop, if so."""
        budget = self.budget
        if asked():
            return "interrupted"
        if budget.regions is not None and self.listing.count - self.before >= budget.regions:
            return f"the budget of {budget.regions:,} regions is spent"
        if self.calls and budget.seconds is not None and self.time_left() <= 0:
            return f"the budget of {budget.seconds:g} seconds is spent"
        if budget.bytes is not None and self.listing.size() >= budget.bytes:
            return f"the budget of {budget.bytes:,} bytes is spent"
        return None

    def tell(self, always: bool = False, compiling: bool = False) -> None:
        """Report progress, now and then."""
        now = time.monotonic()
        if self.report is None or not (always or now - self.told >= TICK):
            return
        self.told = now
        share = self.share.update(self.listing) if self.share and not compiling else None
        found, seconds = self.listing.count - self.before, now - self.began
        self.report(Progress(
            regions=self.listing.count, found=found, open_tasks=self.listing.open_tasks,
            seconds=seconds, rate=found / max(seconds, 1e-9), share=share, compiling=compiling,
        ))


@contextmanager
def interrupts() -> Iterator[Callable[[], bool]]:
    """Inside, the first Ctrl-C only sets what the yielded function tells; a second one raises
    KeyboardInterrupt. Handlers of the caller's stay as they are."""
    ours = threading.current_thread() is threading.main_thread()
    if not ours or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield lambda: False
        return
    asked: list[int] = []

    def note(number: int, frame: object) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    signal.signal(signal.SIGINT, note)
    try:
        yield lambda: bool(asked)
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
