# SPDX-License-Identifier: Apache-2.0
"""Progress: one line on a terminal, for what takes over a second; a few lines in a log."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any, Self

from isoform.api import Reporter
from isoform.network.size import Size

PATIENCE = 1.0
LOGGED = 10.0  # seconds until a proof says something in a log, and twice as many each time
LONGEST = 600.0


class Progress(Reporter):
    """A spinner on standard error, where that is a terminal; elsewhere a line after ten seconds of
    a proof, the next after twenty more, and so on up to one in ten minutes.

    Use as a context. It appears with the first event later than a second after the start, so that
    quick commands print nothing.
    """

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.spinner: Any = None
        self.shown = sys.stderr.isatty()
        self.wait, self.logged = LOGGED, self.started

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.spinner is not None:
            self.spinner.stop()

    def say(self, text: str, long: bool = False) -> None:
        """Show what is being done; `long` steps are announced at once."""
        if not self.shown or not (long or time.monotonic() - self.started > PATIENCE):
            return
        if self.spinner is None:
            from rich.console import Console

            self.spinner = Console(stderr=True).status(text)
            self.spinner.start()
        self.spinner.update(text)

    def planning(self, goal: str) -> None:
        self.say(f"planning the way to {goal}")

    def step_started(self, converter: str) -> None:
        self.say(f"running {converter}", long=True)

    def step_finished(self, converter: str, size: Size, seconds: float) -> None:
        self.say(f"{converter}: {size.units:,} units in {seconds:.1f} s")

    def writing(self, path: str) -> None:
        self.say(f"writing {path}", long=True)

    def proving(self, claim: str) -> None:
        self.say(f"proving: {claim}", long=True)

    def proof_progress(self, message: str) -> None:
        self.say(f"proving: {message}")
        now = time.monotonic()
        if not self.shown and now - self.logged >= self.wait:
            self.logged, self.wait = now, min(2 * self.wait, LONGEST)
            print(f"isoform: after {now - self.started:.0f} s: {message}", file=sys.stderr,
                  flush=True)

    def replaying(self, points: int) -> None:
        self.say(f"running source and result on {points} points", long=True)

    def regions(self, at: Any) -> None:
        """How far the search for regions is."""
        if at.compiling:
            self.say("compiling the search (once)", long=True)
            return
        share = "" if at.share is None else f", about {at.share:.0%} of the volume"
        self.say(f"{at.regions:,} regions{share}, {at.rate:,.0f} a second, {at.open_tasks:,} open")
