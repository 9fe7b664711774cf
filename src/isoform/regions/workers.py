# SPDX-License-Identifier: Apache-2.0
"""Who explores: this process, processes of this machine, or a Dask cluster.

A call is some tasks and, while its time lasts, the tasks that come out of them. How much of the
tree of tasks one call works through depends on the clock; the tree itself does not.
"""

from __future__ import annotations

import hashlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Protocol

from isoform.errors import Refused
from isoform.regions.listing import Part, Stopped, Task

FIRST_TASK = 16  # regions of the first task of a chart; four times as many a level below
REFRESH = 5.0  # seconds after which a cluster is asked again how many cores it has
THREADS = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


def at_once() -> bool:
    """A search that is never compiled."""
    return True


@dataclass(frozen=True, slots=True)
class Search:
    """The search, as functions that a worker can import by name.

    compiled(chart) -> what explore takes. node(prefix) -> a node. explore(compiled, node, most=...,
    record=..., stop=...) -> an Explored (see `splitting`). ready() -> whether it starts at once,
    without being compiled.
    """

    compiled: Callable[[Any], Any]
    node: Callable[[bytes], Any]
    explore: Callable[..., Any]
    ready: Callable[[], bool] = at_once


def splitting() -> Search:
    """The search of this room."""
    from isoform.regions.compiled import compiled
    from isoform.regions.splitting import Node, explore

    return Search(compiled, Node, explore, splitting_ready)


def splitting_ready() -> bool:
    """Whether the kernels of the splitting search are compiled."""
    from isoform.regions.kernel import kept

    return kept("splitting_kernel.run")


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """What every worker needs to know once: the charts, compiled; at most so many regions a task;
    whether to keep token streams, of all tasks or of about a share `audit` of them, which `seed`
    chooses; whether the regions are only counted, and their witnesses not asked for."""

    search: Search
    compiled: tuple[Any, ...]
    task_regions: int
    record: bool
    audit: float = 0.0
    seed: int = 0
    counting: bool = False

    def recorded(self, task: Task) -> bool:
        """Whether the token stream of a task is kept; that depends on its place in the tree, and
        not on who works on it when."""
        if self.record or not self.audit:
            return self.record
        place = f"{self.seed}/{task.chart}/".encode() + task.prefix
        number = int.from_bytes(hashlib.sha256(place).digest()[:8], "big")
        return number < self.audit * 2.0**64

    def most(self, level: int) -> int:
        """Regions that a task may list. The first tasks are small, so that there is soon work for
        many; the number depends on nothing but the place in the tree of tasks."""
        return min(self.task_regions, FIRST_TASK << min(2 * level, 40))


def work(
    job: Job, tasks: Sequence[Task], seconds: float, enough: int,
    stop: Callable[[], bool] | None = None,
) -> list[Part]:
    """These tasks, the last first, each followed by those that come out of it, until so many
    seconds or regions are reached; at least one, unless `stop` says to leave it where it is."""
    until = time.monotonic() + seconds
    stack, made, regions = list(tasks), [], 0
    while stack:
        task = stack.pop()
        record = job.recorded(task)
        try:
            found = job.search.explore(
                job.compiled[task.chart], job.search.node(task.prefix),
                most=job.most(task.level), record=record, stop=stop,
            )
        except Stopped:
            break
        children = tuple(node.prefix for node in found.children)
        bare = job.counting and not record
        made.append(Part(
            task, found.patterns, found.points[:1] if bare else found.points,
            () if bare else found.fine, children,
            found.codes if record else None, found.ids if record else None,
            found.programs, found.decided,
        ))
        stack += [Task(task.chart, prefix, task.level + 1) for prefix in reversed(children)]
        regions += len(found.patterns)
        if time.monotonic() >= until or regions >= enough:
            break
    return made


class Workers(Protocol):
    """Who takes calls."""

    def slots(self) -> int:
        """How many calls run at once."""

    def submit(self, tasks: Sequence[Task], seconds: float, enough: int) -> Future[list[Part]]:
        """`work`, some time."""

    def close(self, now: bool) -> None:
        """Let go; `now`: without waiting for running calls."""


class Here:
    """This process, at once. stop: whether to leave a task that is not done."""

    def __init__(self, job: Job, stop: Callable[[], bool] | None = None):
        self.job, self.stop = job, stop

    def slots(self) -> int:
        return 1

    def submit(self, tasks: Sequence[Task], seconds: float, enough: int) -> Future[list[Part]]:
        future: Future[list[Part]] = Future()
        future.set_result(work(self.job, tasks, seconds, enough, self.stop))
        return future

    def close(self, now: bool) -> None:
        pass


GIVEN: list[Job] = []  # in a worker process: the job


def prepare(job: Job) -> None:
    """First thing in a worker process. An interrupt is for the process that hands out the work; and
    where that one is killed, this one ends too, for nobody would ever let it go."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=end_with_parent, daemon=True).start()
    GIVEN[:] = [job]


def end_with_parent() -> None:
    """Wait for the end of the process above, however it comes, and end this one."""
    from multiprocessing import connection, parent_process

    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def work_there(tasks: Sequence[Task], seconds: float, enough: int) -> list[Part]:
    return work(GIVEN[0], tasks, seconds, enough)


class Processes:
    """Processes of this machine, one thread each. They start fresh (spawn), for a copy of a process
    that has threads may hang.

    A script that starts them must do so under `if __name__ == "__main__":`, for they import it;
    Refused where they cannot start.
    """

    def __init__(self, job: Job, count: int):
        import multiprocessing

        others = set(multiprocessing.active_children())
        self.count = count
        context = multiprocessing.get_context("spawn")
        self.pool: Executor = ProcessPoolExecutor(count, context, prepare, (job,))
        try:
            with one_thread_each():
                for ready in [self.pool.submit(os.getpid) for _ in range(count)]:
                    ready.result()
        except (BrokenExecutor, RuntimeError) as error:
            raise Refused(
                f"{count} worker processes cannot start; a script must call isoform under "
                'if __name__ == "__main__": and lie in a file; else give workers=1'
            ) from error
        self.children = set(multiprocessing.active_children()) - others

    def slots(self) -> int:
        return self.count

    def submit(self, tasks: Sequence[Task], seconds: float, enough: int) -> Future[list[Part]]:
        return self.pool.submit(work_there, tasks, seconds, enough)

    def close(self, now: bool) -> None:
        if now:
            for child in self.children:
                with suppress(OSError, ValueError):
                    child.terminate()
        self.pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Processes started in here use one thread in BLAS and numba; the cores are taken."""
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


class Cluster:
    """A Dask cluster: its scheduler's address. Its machines need the same isoform."""

    def __init__(self, job: Job, address: str):
        try:
            from distributed import Client
        except ImportError:
            raise Refused(
                "a cluster needs the package distributed: pip install 'isoform[cluster]'"
            ) from None
        if ":" not in address:
            raise Refused(f"{address!r} is no address of a scheduler; give HOST:PORT")
        try:
            self.client = Client(address, timeout=20, set_as_default=False)
            self.client.wait_for_workers(1, timeout=120)
        except (OSError, TimeoutError) as error:
            raise Refused(f"no cluster with workers at {address}: {error}") from error
        self.job = self.client.scatter(job, broadcast=True)
        self.pool: Executor = self.client.get_executor()
        self.asked, self.cores = 0.0, 1

    def slots(self) -> int:
        if time.monotonic() > self.asked + REFRESH:
            self.cores = max(1, sum(self.client.ncores().values()))
            self.asked = time.monotonic()
        return self.cores

    def submit(self, tasks: Sequence[Task], seconds: float, enough: int) -> Future[list[Part]]:
        return self.pool.submit(work, self.job, tasks, seconds, enough)

    def close(self, now: bool) -> None:
        self.pool.shutdown(wait=not now)
        self.client.close()


def all_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def imported_by_a_worker() -> bool:
    """Whether this process is a worker that still imports the script of the process above."""
    import multiprocessing

    return bool(getattr(multiprocessing.current_process(), "_inheriting", False))


def check_choice(workers: int | None, cluster: str | None) -> None:
    """ValueError for a number of workers below 1, or one together with a cluster."""
    if workers is not None and cluster is not None:
        raise ValueError("give workers or a cluster, not both")
    if workers is not None and workers < 1:
        raise ValueError(f"{workers} workers; give 1 or more")
    if imported_by_a_worker():
        raise Refused('a script must start workers under if __name__ == "__main__":')


def compiled_charts(search: Search, charts: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(search.compiled(chart) for chart in charts)
