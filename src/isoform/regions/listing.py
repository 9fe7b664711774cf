# SPDX-License-Identifier: Apache-2.0
"""What an enumeration keeps: tasks, regions and token streams, in memory or in a store.

A task is one subtree, named by its chart and the prefix of its first node; it is open or closed.
What a task returns is entered at once or not at all: its regions, its open rest as new tasks, its
stream, its closing. Both keepers (`memory.Memory`, `store.Store`) follow the same protocol.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from isoform.numerics.exact import Exact, integers

Fine = tuple[tuple[int, Exact], ...]


class Stopped(Exception):
    """A task was left before it was done; nothing of it is kept."""


@dataclass(frozen=True, slots=True)
class Task:
    """A subtree that is to be explored. level: how many tasks lie above it."""

    chart: int
    prefix: bytes
    level: int = 0

    @property
    def key(self) -> tuple[int, bytes]:
        return self.chart, self.prefix


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """What a task returns: R regions in the order of the tree, and the open rest.

    patterns: (R, ceil(N / 8)) packed bits. points: (R, k), `fine` replaces some of them.
    codes, ids: the token stream, None where none is recorded.
    programs: linear programs solved. decided: questions that exact arithmetic answered.
    """

    task: Task
    patterns: np.ndarray
    points: np.ndarray
    fine: Fine
    children: tuple[bytes, ...]
    codes: np.ndarray | None
    ids: np.ndarray | None
    programs: int
    decided: int


@dataclass(frozen=True, slots=True, eq=False)
class Regions:
    """Some regions, in the order of their patterns.

    patterns: (n, ceil(N / 8)) packed bits. charts: (n,), the chart of each witness. points: (n, k)
    float64 in the coordinates of that chart, strictly inside the region, exactly; `fine` replaces
    those (by row) that need more than a double.
    """

    patterns: np.ndarray
    charts: np.ndarray
    points: np.ndarray
    fine: Fine

    def __len__(self) -> int:
        return len(self.patterns)


def none_of(units: int, dimension: int) -> Regions:
    """No regions."""
    patterns = np.zeros((0, -(-units // 8)), dtype=np.uint8)
    return Regions(patterns, np.zeros(0, dtype=np.int32), np.zeros((0, dimension)), ())


@dataclass(frozen=True, slots=True, eq=False)
class Stream:
    """The token stream of a closed task, and the witnesses of its leaves in the order of the
    stream (`fine` replaces some of them)."""

    chart: int
    prefix: bytes
    codes: np.ndarray
    ids: np.ndarray
    points: np.ndarray
    fine: Fine


class Listing(Protocol):
    """A keeper. `count` counts a pattern once, however many charts it meets."""

    count: int
    programs: int
    decided: int
    seconds: float

    @property
    def open_tasks(self) -> int:
        """Tasks that are not closed."""

    def enter(self, parts: Sequence[Part], seconds: float) -> None:
        """Enter what tasks returned (parents before children), as one step; `seconds` of work."""

    def waiting(self, most: int, deepest: bool, taken: set[tuple[int, bytes]]) -> list[Task]:
        """Open tasks that are not taken, those of the highest or the lowest level first."""

    def size(self) -> int:
        """Bytes in use."""

    def listed(self, patterns: np.ndarray) -> np.ndarray:
        """Which of these patterns (n, ceil(N / 8)) are listed: (n,) bool."""

    def interior(self) -> np.ndarray | None:
        """Some witness in chart 0, (k,)."""

    def chunks(self, rows: int) -> Iterator[Regions]:
        """All regions in the order of their patterns, so many at a time."""

    def streams(self) -> Iterator[Stream]:
        """The streams of the closed tasks, by chart and prefix."""

    def close(self) -> None:
        """Nothing more is entered; reading goes on."""


def words(patterns: np.ndarray) -> np.ndarray:
    """Packed patterns (n, w) as (ceil(w / 8), n) integers whose lexicographic order is theirs."""
    n, width = patterns.shape
    padded = np.zeros((n, max(8, -(-width // 8) * 8)), dtype=np.uint8)
    padded[:, :width] = patterns
    return padded.view(">u8").astype(np.uint64).T


def keys(patterns: np.ndarray) -> list[bytes]:
    """The rows of packed patterns as bytes."""
    n, width = patterns.shape
    whole = np.ascontiguousarray(patterns).tobytes()
    return [whole[i * width : (i + 1) * width] for i in range(n)]


def exact_text(point: Exact) -> str:
    """An exact vector as text: denominator, colon, numerators, in hexadecimal."""
    return f"{point.denominator:x}:" + ",".join(f"{n:x}" for n in point.numerator.tolist())


def exact_of_text(text: str) -> Exact:
    """The inverse of `exact_text`. ValueError on other text."""
    denominator, _, rest = text.partition(":")
    values = [int(n, 16) for n in rest.split(",")]
    return Exact(integers(values, (len(values),)), int(denominator, 16))
