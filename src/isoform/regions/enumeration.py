# SPDX-License-Identifier: Apache-2.0
"""Enumerating the activation regions of a domain: in memory or into a store that resumes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from isoform.errors import DomainError, Refused
from isoform.network.charts import Chart
from isoform.network.domain import Domain, bound_to
from isoform.network.network import Network, value_bytes
from isoform.regions.listing import Listing, Regions, Stream, Task
from isoform.regions.memory import Memory
from isoform.regions.progress import PatternsAt, Progress, Share, float_patterns
from isoform.regions.tally import Tally
from isoform.regions.tasks import Budget, Run
from isoform.regions.workers import Job, Search, compiled_charts, splitting

if TYPE_CHECKING:
    from isoform.regions.store_file import Meta

LARGEST_TASK = 4096  # regions
WORK_OF_A_TASK = 20_000_000  # units times squared dimension times regions: a fraction of a second
ROWS = 65_536  # regions a chunk


@dataclass(frozen=True, slots=True)
class Origin:
    """What the charts come from; a store keeps it, and resumes nothing else.

    network: digest of the primitive network. domain: as text. domain_digest: of its encoding.
    """

    network: str
    domain: str
    domain_digest: str


def origin(network: Network, domain: Domain) -> Origin:
    """The origin of the charts of a primitive network on a domain."""
    bound = bound_to(domain, network.dimension)
    encoding = b"".join(value_bytes(bound))
    return Origin(network.digest, repr(bound), hashlib.sha256(encoding).hexdigest())


@dataclass(frozen=True, slots=True, eq=False)
class Enumeration:
    """What was found. kind: activation regions, each a full-dimensional cell of one pattern.

    count: regions listed, each once. complete: whether there are no others; if not, `stopped` says
    why, and `count` is a lower bound. seconds: of work, earlier runs included. open_tasks: subtrees
    left. programs: linear programs solved; decided: questions that exact arithmetic answered.
    units, dimension: N and k.
    """

    count: int
    complete: bool
    stopped: str | None
    seconds: float
    open_tasks: int
    programs: int
    decided: int
    units: int
    dimension: int
    charts: tuple[Chart, ...] = field(repr=False)
    listing: Listing = field(repr=False)

    def chunks(self, rows: int = ROWS) -> Iterator[Regions]:
        """The regions in the order of their patterns, so many at a time; with a store, no more is
        in memory."""
        return self.listing.chunks(rows)

    def streams(self) -> Iterator[Stream]:
        """The token streams (where recorded) of what is explored, by chart and prefix."""
        return self.listing.streams()

    def patterns(self) -> np.ndarray:
        """All patterns at once, (count, ceil(N / 8)) packed bits."""
        empty = np.zeros((0, -(-self.units // 8)), dtype=np.uint8)
        return np.concatenate([empty, *(chunk.patterns for chunk in self.chunks())])

    def points(self) -> np.ndarray:
        """All witnesses at once, (count, k), in the coordinates of their charts."""
        empty = np.zeros((0, self.dimension))
        return np.concatenate([empty, *(chunk.points for chunk in self.chunks())])


def enumerate_regions(
    charts: Sequence[Chart],
    *,
    origin: Origin | None = None,
    store: str | os.PathLike[str] | None = None,
    budget: Budget | None = None,
    workers: int | None = None,
    cluster: str | None = None,
    record: bool = False,
    listed: bool = True,
    audit: float = 0.0,
    seed: int = 0,
    task_regions: int | None = None,
    progress: Callable[[Progress], object] | None = None,
    patterns_at: PatternsAt | None = None,
    search: Search | None = None,
) -> Enumeration:
    """The activation regions of the charts of a domain, until all are found or the budget is spent.

    store: a file to keep them in, or to go on from (needs `origin`); else in memory. workers: 1 for
    this process, more for as many processes, None for this process and, after a second, all cores.
    cluster: address of a Dask scheduler. record: keep token streams, for a certificate. listed:
    false only counts, without a store; then `audit` is the share of the tasks, chosen by `seed`,
    whose streams are kept. An interrupt (Ctrl-C) ends the run like a budget; a second one ends it
    at once.

    The list, the witnesses and the streams of a complete enumeration depend on nothing but the
    charts, `task_regions` and `record`. A pattern that meets several charts counts once, with the
    witness in the first. Raises DomainError for a domain without interior, Refused for a store of
    something else and for workers that cannot be had, FormatError for a file that is no store.
    """
    search = search or splitting()
    charts = tuple(charts)
    units, k = charts[0].layers.units, charts[0].dimension
    size = task_regions or default_task(units, k)
    roots = [Task(chart, b"") for chart in range(len(charts))]
    listing: Listing = Memory(units, k, roots) if listed else Tally.of(roots)
    if store is not None:
        listing, size, record = resumed(store, origin, charts, task_regions, size, record)
    try:
        ready = compiled_charts(search, charts)
        job = Job(search, ready, size, record, audit, seed, not listed)
        run = Run(job, listing, budget or Budget())
        if progress is not None:
            run.report = progress
            run.share = Share(charts[0], patterns_at or float_patterns)
        run.whole(workers, cluster)
    finally:
        listing.close()
    if listing.count == listing.open_tasks == 0:  # a cell with an interior is a region at least
        from isoform.regions.splitting import NO_INTERIOR

        raise DomainError(NO_INTERIOR)
    left = listing.open_tasks
    return Enumeration(
        count=listing.count, complete=left == 0, stopped=run.stopped if left else None,
        seconds=listing.seconds, open_tasks=left, programs=listing.programs,
        decided=listing.decided, units=units, dimension=k, charts=charts, listing=listing,
    )


def resumed(
    path: str | os.PathLike[str], origin: Origin | None, charts: Sequence[Chart],
    asked: int | None, size: int, record: bool,
) -> tuple[Listing, int, bool]:
    """The store, new or as it was left, with the size of its tasks and whether it keeps streams."""
    from isoform.regions.store import Store

    if origin is None:
        raise ValueError("a store needs the origin of the charts: give origin(network, domain)")
    roots = [Task(chart, b"") for chart in range(len(charts))]
    store = Store(path, meta_of(origin, charts, size, record), roots)
    if asked not in (None, store.meta.task_regions):
        store.close()
        raise Refused(f"{path} has tasks of {store.meta.task_regions} regions, not {asked}")
    return store, store.meta.task_regions, store.meta.record


def default_task(units: int, dimension: int) -> int:
    """Regions a task lists at most: fewer where each costs more."""
    return max(16, min(LARGEST_TASK, WORK_OF_A_TASK // (max(1, units) * dimension**2)))


def meta_of(origin: Origin, charts: Sequence[Chart], size: int, record: bool) -> Meta:
    from isoform.regions.store_file import Meta

    return Meta(
        network=origin.network, domain=origin.domain, domain_digest=origin.domain_digest,
        kind="activation", units=charts[0].layers.units, dimension=charts[0].dimension,
        charts=len(charts), task_regions=size, record=record,
    )
