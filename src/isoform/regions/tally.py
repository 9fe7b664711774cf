# SPDX-License-Identifier: Apache-2.0
"""A listing that only counts: its memory is that of the open tasks, whatever their number of
regions."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from isoform.errors import ContractBroken, Refused
from isoform.regions.listing import Part, Regions, Stream, Task, keys


@dataclass(slots=True)
class Tally:
    """Counts the regions of one chart (over several, a pattern would have to be remembered).

    wanted: packed patterns that are looked out for, so that the share of the domain that is done
    can be told. kept: the token streams of the tasks that were recorded. tasks: closed ones.
    """

    open: dict[tuple[int, bytes], Task]
    count: int = 0
    programs: int = 0
    decided: int = 0
    seconds: float = 0.0
    point: np.ndarray | None = None
    wanted: set[bytes] = field(default_factory=set)
    met: set[bytes] = field(default_factory=set)
    kept: list[Stream] = field(default_factory=list)
    tasks: int = 0

    @staticmethod
    def of(roots: Sequence[Task]) -> Tally:
        if len(roots) > 1:
            raise Refused(
                "regions of all of space are counted over several charts, which share some; they "
                "have to be listed: leave out --count"
            )
        return Tally({task.key: task for task in roots})

    @property
    def open_tasks(self) -> int:
        return len(self.open)

    def enter(self, parts: Sequence[Part], seconds: float) -> None:
        self.seconds += seconds
        for part in parts:
            if self.open.pop(part.task.key, None) is None:
                raise ContractBroken("regions/tasks", f"a task came back twice: {part.task!r}")
            for prefix in part.children:
                child = Task(part.task.chart, prefix, part.task.level + 1)
                self.open[child.key] = child
            self.count += len(part.patterns)
            self.tasks += 1
            if part.codes is not None and part.ids is not None:
                self.kept.append(Stream(
                    part.task.chart, part.task.prefix, part.codes, part.ids, part.points, part.fine
                ))
            self.programs += part.programs
            self.decided += part.decided
            if self.point is None and len(part.points):
                self.point = np.array(part.points[0])
            if self.wanted:
                self.met |= self.wanted.intersection(keys(part.patterns))

    def waiting(self, most: int, deepest: bool, taken: set[tuple[int, bytes]]) -> list[Task]:
        free = (task for key, task in self.open.items() if key not in taken)
        pick = heapq.nlargest if deepest else heapq.nsmallest
        return pick(most, free, key=lambda task: task.level)

    def size(self) -> int:
        return 0

    def listed(self, patterns: np.ndarray) -> np.ndarray:
        """Which of these patterns were met since they were first asked for."""
        asked = keys(patterns)
        self.wanted |= set(asked) - self.met
        return np.array([key in self.met for key in asked], dtype=bool)

    def interior(self) -> np.ndarray | None:
        return self.point

    def chunks(self, rows: int) -> Iterator[Regions]:
        raise Refused("the regions were counted, not listed; leave out --count")

    def streams(self) -> Iterator[Stream]:
        return iter(sorted(self.kept, key=lambda stream: (stream.chart, stream.prefix)))

    def close(self) -> None:
        """Nothing is kept open."""
