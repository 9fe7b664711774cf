# SPDX-License-Identifier: Apache-2.0
"""Running the checker on trees: in pieces, in several processes, with progress and an end.

Nothing here is trusted: the checker cuts the trees, and rejects where an answer is missing. What is
below decides only who walks a piece, and when that is given up.
"""

from __future__ import annotations

import multiprocessing
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from isoform.certificate.tree_pieces import Spread
from isoform.errors import Refused
from isoform.regions.workers import end_with_parent, imported_by_a_worker, one_thread_each
from isoform.verify.branch_workers import no_interrupt
from isoform.verify.clock import FOREVER, check_time

EACH = 2  # pieces for each process: more are of more equal length, fewer are bounded faster
SAID = 0.5  # seconds between two reports


def silent(line: str) -> None:
    """Nobody listens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checking:
    """How trees are checked. workers: processes; pieces: about so many, at least; nodes: of all
    trees, for progress; report: gets a line now and then; until: when to give up, by `OutOfTime`,
    on the clock of `time.perf_counter`."""

    workers: int = 1
    pieces: int = 1
    nodes: int = 0
    report: Callable[[str], None] = silent
    until: float = FOREVER

    @property
    def spread(self) -> Spread:
        """The same as the checker takes it."""
        pieces = self.pieces if self.workers == 1 else max(self.pieces, EACH * self.workers)
        return Spread(pieces, self.across)

    def across(
        self, function: Callable[[Any], Any], pieces: Iterable[Any]
    ) -> Iterator[Any]:
        """What the function says of each piece, in order."""
        began = said = time.perf_counter()
        sizes: list[int] = []

        def noted() -> Iterator[Any]:
            for piece in pieces:
                sizes.append(len(piece.tree.tokens))
                yield piece

        through = map if self.workers == 1 else self.in_processes
        done = 0
        for number, answer in enumerate(through(function, noted())):
            yield answer
            done += sizes[number]
            check_time(self.until)
            now = time.perf_counter()
            if now - said > SAID and self.nodes:
                said, share = now, min(1.0, done / self.nodes)
                left = (now - began) * (1 - share) / share
                self.report(f"checking the certificate: {share:.0%}, about {left:.0f} s left")

    def in_processes(
        self, function: Callable[[Any], Any], pieces: Iterable[Any]
    ) -> Iterator[Any]:
        """The same in processes of one thread each, which start fresh (spawn) and end with this."""
        given = list(pieces)
        if len(given) < 2:
            yield from map(function, given)
            return
        if imported_by_a_worker():
            raise Refused('a script must start processes under if __name__ == "__main__":')
        others = set(multiprocessing.active_children())
        count = min(self.workers, len(given))
        pool = ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), prepare)
        try:
            order = sorted(range(len(given)), key=lambda i: -len(given[i].tree.tokens))
            with one_thread_each(), no_interrupt():
                answers = {i: pool.submit(function, given[i]) for i in order}
            for i in range(len(given)):
                yield answers[i].result()
        except BrokenExecutor as error:
            raise Refused(
                f"one of {count} processes that check did not start or ended by itself; a script "
                'must call isoform under if __name__ == "__main__": and lie in a file; else give '
                "one process"
            ) from error
        finally:
            for child in set(multiprocessing.active_children()) - others:
                with suppress(OSError, ValueError):
                    child.terminate()
            pool.shutdown(wait=True, cancel_futures=True)


def prepare() -> None:
    """First thing in a process: leave interrupts to the one above, and end when that one does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=end_with_parent, daemon=True).start()
