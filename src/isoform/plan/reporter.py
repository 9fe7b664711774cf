# SPDX-License-Identifier: Apache-2.0
"""What a long computation tells its caller. The search itself never prints."""

from __future__ import annotations

from isoform.network.size import Size


class Reporter:
    """Empty event methods; override those that matter.

    Order: planning, planned, (step_started, step_finished) a step, then writing, proving (with the
    prover's own messages as proof_progress) and replaying where a file is delivered.
    """

    def planning(self, goal: str) -> None:
        """The search for a route to `goal` begins."""

    def planned(self, converters: tuple[str, ...]) -> None:
        """A route was found, through these converters."""

    def step_started(self, converter: str) -> None:
        """A converter is about to run."""

    def step_finished(self, converter: str, size: Size, seconds: float) -> None:
        """A converter has run and kept its contract."""

    def writing(self, path: str) -> None:
        """A file is about to be written."""

    def proving(self, claim: str) -> None:
        """The prover is about to start on a claim."""

    def proof_progress(self, message: str) -> None:
        """The prover says how far it is."""

    def replaying(self, points: int) -> None:
        """Source and written file are about to be run on that many points."""


SILENT = Reporter()
