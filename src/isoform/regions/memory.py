# SPDX-License-Identifier: Apache-2.0
"""A listing in memory: what tasks return, kept as it comes, sorted when it is asked for."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence

import numpy as np

from isoform.errors import ContractBroken
from isoform.numerics.exact import Exact
from isoform.regions.listing import Part, Regions, Stream, Task, keys, words


class Memory:
    """The fastest listing, for what fits in memory and need not outlive the process.

    units, dimension: N and k. roots: the first tasks, one a chart. With several charts the listed
    patterns are kept a second time, so that one met before is not counted again.
    """

    def __init__(self, units: int, dimension: int, roots: Sequence[Task]):
        self.width, self.dimension = -(-units // 8), dimension
        self.count = self.programs = self.decided = self.stored = 0
        self.seconds = 0.0
        self.several = len(roots) > 1
        self.open = {task.key: task for task in roots}
        self.parts: list[Part] = []
        self.seen: set[bytes] = set()
        self.looked_at = 0
        self.closed = False
        self.ranked: Regions | None = None  # all regions in order, once nothing more comes

    @property
    def open_tasks(self) -> int:
        return len(self.open)

    def enter(self, parts: Sequence[Part], seconds: float) -> None:
        self.seconds += seconds
        for part in parts:
            task = self.open.pop(part.task.key, None)
            if task is None:
                raise ContractBroken("regions/tasks", f"a task came back twice: {part.task!r}")
            for prefix in part.children:
                child = Task(task.chart, prefix, task.level + 1)
                self.open[child.key] = child
            before = len(self.seen)
            if self.several:
                self.seen.update(keys(part.patterns))
            self.count += len(self.seen) - before if self.several else len(part.patterns)
            self.programs += part.programs
            self.decided += part.decided
            self.stored += sum(
                array.nbytes for array in (part.patterns, part.points, part.codes, part.ids)
                if array is not None
            )
            self.parts.append(part)

    def waiting(self, most: int, deepest: bool, taken: set[tuple[int, bytes]]) -> list[Task]:
        free = (task for key, task in self.open.items() if key not in taken)
        if deepest:
            return heapq.nlargest(most, free, key=lambda task: task.level)
        return heapq.nsmallest(most, free, key=lambda task: task.level)

    def size(self) -> int:
        return self.stored

    def listed(self, patterns: np.ndarray) -> np.ndarray:
        if not self.several:
            for part in self.parts[self.looked_at :]:
                self.seen.update(keys(part.patterns))
            self.looked_at = len(self.parts)
        return np.array([key in self.seen for key in keys(patterns)], dtype=bool)

    def interior(self) -> np.ndarray | None:
        for part in self.parts:
            if part.task.chart == 0 and len(part.points):
                return np.array(part.points[0])
        return None

    def ordered(self) -> Regions:
        """All regions in order; of a pattern met in several charts, the witness in the first."""
        if self.ranked is not None:
            return self.ranked
        empty = (np.zeros((0, self.width), np.uint8), np.zeros((0, self.dimension)))
        patterns = np.concatenate([empty[0], *(part.patterns for part in self.parts)])
        points = np.concatenate([empty[1], *(part.points for part in self.parts)])
        sizes = [len(part.patterns) for part in self.parts]
        charts = np.repeat([part.task.chart for part in self.parts], sizes).astype(np.int32)
        columns = words(patterns)
        order = np.lexsort((charts, *columns[::-1]))
        ranked = columns[:, order]
        fresh = np.append(np.ones(min(1, len(order)), bool),
                          np.any(ranked[:, 1:] != ranked[:, :-1], axis=0))
        if not self.several and not fresh.all():
            raise ContractBroken("regions/splitting", "a pattern is listed twice")
        order = order[fresh]
        rank = np.full(len(patterns), -1)
        rank[order] = np.arange(len(order))
        starts = np.cumsum([0, *sizes])
        fine = sorted(
            (int(rank[start + i]), point)
            for start, part in zip(starts, self.parts, strict=False) for i, point in part.fine
            if rank[start + i] >= 0
        ) if any(part.fine for part in self.parts) else []
        made = Regions(patterns[order], charts[order], points[order], tuple(fine))
        if self.closed:
            self.ranked = made
            self.parts = [part for part in self.parts if part.codes is not None]
        return made

    def chunks(self, rows: int) -> Iterator[Regions]:
        every = self.ordered()
        for start in range(0, len(every), rows):
            part = slice(start, start + rows)
            fine: tuple[tuple[int, Exact], ...] = tuple(
                (row - start, point) for row, point in every.fine if start <= row < start + rows
            )
            yield Regions(every.patterns[part], every.charts[part], every.points[part], fine)

    def streams(self) -> Iterator[Stream]:
        for part in sorted(self.parts, key=lambda part: part.task.key):
            if part.codes is not None and part.ids is not None:
                yield Stream(*part.task.key, part.codes, part.ids, part.points, part.fine)

    def close(self) -> None:
        self.closed = True
        self.seen = set()
