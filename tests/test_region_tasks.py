# SPDX-License-Identifier: Apache-2.0
"""Handing out subtrees: the same list whoever works, interrupts, accidents, progress."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import region_stand_in
from isoform.api.reading import read
from isoform.cli import progress as cli_progress
from isoform.errors import Refused
from isoform.network.charts import Chart, charts
from isoform.network.domain import Box, Everywhere, Polytope
from isoform.network.primitive import to_primitive
from isoform.network.unit_layers import unit_layers
from isoform.regions import tasks
from isoform.regions.enumeration import default_task, enumerate_regions, origin
from isoform.regions.listing import Task
from isoform.regions.progress import Progress, float_patterns, random_points
from isoform.regions.tasks import Budget
from isoform.regions.workers import Job, work
from region_stand_in import SEARCH, Tree, enumerate_trees, everything

TREES = (Tree(), Tree(seed=1))


def test_two_processes_list_what_one_lists(tmp_path: Path) -> None:
    """Byte for byte, streams included, in memory and in a store."""
    alone = everything(enumerate_trees(*TREES, record=True))
    together = enumerate_trees(*TREES, record=True, workers=2, store=tmp_path / "s")
    assert together.complete and everything(together) == alone
    assert everything(enumerate_trees(*TREES, record=True, task_regions=50)) != alone


def test_other_processes_join_a_long_search(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "PATIENCE", 0.3)
    monkeypatch.setattr(tasks, "all_cores", lambda: 2)
    started = []
    processes = tasks.Processes
    monkeypatch.setattr(
        tasks, "Processes", lambda job, count: started.append(count) or processes(job, count)
    )
    quick = enumerate_trees(Tree(units=6), workers=None)
    assert quick.complete and not started
    found = enumerate_trees(Tree(pause=0.01), workers=None)
    assert started == [2] and everything(found) == everything(enumerate_trees())


def test_where_no_process_can_start_this_one_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(job: Job, count: int) -> None:
        raise Refused("no processes here")

    monkeypatch.setattr(tasks, "PATIENCE", 0.0)
    monkeypatch.setattr(tasks, "all_cores", lambda: 2)
    monkeypatch.setattr(tasks, "Processes", refuse)
    assert everything(enumerate_trees(workers=None)) == everything(enumerate_trees())


def test_a_script_without_a_guard_is_told_so(tmp_path: Path) -> None:
    script = tmp_path / "unguarded.py"
    script.write_text(
        "from region_stand_in import enumerate_trees\nprint(enumerate_trees(workers=2).count)\n"
    )
    folder = str(Path(region_stand_in.__file__).parent)
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": folder}, timeout=60)
    assert done.returncode == 1 and 'if __name__ == "__main__":' in done.stderr.splitlines()[-1]


def test_a_cluster_lists_what_one_process_lists() -> None:
    distributed = pytest.importorskip("distributed", reason="the extra `cluster` is not installed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None
    ) as cluster:
        found = enumerate_trees(
            *TREES, record=True, workers=None, cluster=cluster.scheduler_address
        )
    assert everything(found) == everything(enumerate_trees(*TREES, record=True))


def test_workers_that_cannot_be_had() -> None:
    with pytest.raises(ValueError, match="1 or more"):
        enumerate_trees(workers=0)
    with pytest.raises(ValueError, match="not both"):
        enumerate_trees(workers=2, cluster="tcp://127.0.0.1:1")


def test_a_call_lasts_as_long_as_it_may() -> None:
    """One task at least; then what comes out of it, until time or regions are up."""
    job = Job(SEARCH, (Tree(),), 100, False)
    [single] = work(job, [Task(0, b"")], 0.0, 10**9)
    assert len(single.patterns) == 16 and single.codes is None
    some = work(job, [Task(0, b"")], 1e9, 500)
    assert 500 <= sum(len(part.patterns) for part in some) < 600
    whole = work(job, [Task(0, b"")], 1e9, 10**9)
    listed = {part.task.key for part in whole}
    assert listed == {(0, b"")} | {(0, child) for part in whole for child in part.children}
    assert max(len(part.patterns) for part in whole) == 100


# --- interrupts and accidents -----------------------------------------------------------------


def interrupt(times: int) -> None:
    for _ in range(times):
        time.sleep(0.6)
        os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("workers", [1, 2])
def test_an_interrupt_ends_a_run_like_a_budget(tmp_path: Path, workers: int) -> None:
    before = signal.getsignal(signal.SIGINT)
    thread = threading.Timer(1.5 if workers == 2 else 0, interrupt, [1])
    thread.start()
    found = enumerate_trees(Tree(pause=0.1), workers=workers, store=tmp_path / "s")
    thread.join()
    assert found.stopped == "interrupted" and not found.complete and found.count > 0
    assert signal.getsignal(signal.SIGINT) is before
    resumed = enumerate_trees(Tree(), store=tmp_path / "s")
    assert resumed.complete and everything(resumed) == everything(enumerate_trees())


def test_a_second_interrupt_ends_a_run_at_once(tmp_path: Path) -> None:
    thread = threading.Timer(0, interrupt, [2])
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        enumerate_trees(Tree(pause=2.0), store=tmp_path / "s")
    thread.join()
    assert enumerate_trees(Tree(), store=tmp_path / "s").complete


def test_an_interrupt_from_the_terminal_reaches_the_workers_too(tmp_path: Path) -> None:
    """Ctrl-C goes to the whole group of processes; they leave it to the one in front."""
    script = [sys.executable, region_stand_in.__file__, str(tmp_path / "s"), "0.1", "2"]
    process = subprocess.Popen(script, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               start_new_session=True)
    log = tmp_path / "s-wal"
    for _ in range(1500):
        if log.exists() and log.stat().st_size > 300_000:
            break
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "") and out.endswith("interrupted\n")
    assert everything(enumerate_trees(*TREES, store=tmp_path / "s")) == everything(
        enumerate_trees(*TREES, record=True)
    )


def test_a_killed_worker_ends_a_run_like_a_budget(tmp_path: Path) -> None:
    found = enumerate_trees(Tree(trouble="kill"), workers=2, store=tmp_path / "s")
    assert not found.complete and "worker process was killed" in str(found.stopped)
    assert everything(enumerate_trees(store=tmp_path / "s")) == everything(enumerate_trees())


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_of_the_search_is_raised_and_harms_no_store(tmp_path: Path, workers: int) -> None:
    with pytest.raises(ArithmeticError, match="no vertex"):
        enumerate_trees(Tree(trouble="error"), workers=workers, store=tmp_path / "s")
    assert everything(enumerate_trees(store=tmp_path / "s")) == everything(enumerate_trees())


# --- progress ---------------------------------------------------------------------------------


def test_progress_tells_counts_and_the_share_of_the_domain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "TICK", 0.0)
    whole = enumerate_trees(Tree(units=12))
    some = whole.patterns()[:: 2]
    unlisted = np.full((len(some) // 2, some.shape[1]), 255, np.uint8)
    events: list[Progress] = []
    enumerate_trees(Tree(units=12, pause=0.05), progress=events.append,
                    patterns_at=lambda chart, points: np.concatenate([some, unlisted]))
    counts, shares = [e.regions for e in events], [e.share for e in events]
    assert counts == sorted(counts) and counts[-1] == whole.count and len(set(counts)) > 2
    assert shares == sorted(shares) and shares[0] < 0.4  # type: ignore[type-var,operator]
    assert shares[-1] == pytest.approx(len(some) / (len(some) + len(unlisted)))
    assert events[-1].open_tasks == 0 and events[-1].rate > 0


@pytest.mark.parametrize("ready", [False, True])
def test_a_search_that_is_compiled_first_says_so(
    monkeypatch: pytest.MonkeyPatch, ready: bool
) -> None:
    lines: list[tuple[str, bool]] = []
    shown = cli_progress.Progress()
    monkeypatch.setattr(shown, "say", lambda text, long=False: lines.append((text, long)))
    monkeypatch.setattr(region_stand_in, "SEARCH", replace(SEARCH, ready=lambda: ready))
    events: list[Progress] = []
    enumerate_trees(Tree(units=4), progress=events.append,
                    patterns_at=lambda chart, points: np.zeros((1, 1), np.uint8))
    for event in events:
        shown.regions(event)
    assert [event.compiling for event in events] == ([] if ready else [True]) + [False]
    assert (("compiling the search (once)", True) in lines) is not ready


def test_random_points_of_a_polytope_are_spread_over_it() -> None:
    """A thin simplex in 6 dimensions, from which a box's points would almost all be rejected."""
    d = 6
    domain = Polytope(np.ones((1, d)), np.array([-d + 1.0]), Box([-1] * d, [1] * d))
    [chart] = charts(unit_layers(network_of([np.ones((1, d))])), domain)
    points = random_points(chart, 2000, np.full(d, -0.99))
    gap = points + 1
    assert np.all(gap > 0) and np.all(gap.sum(axis=1) < 1)
    assert gap.mean(axis=0) == pytest.approx(1 / (d + 1), abs=0.01)  # the centroid


def network_of(weights: list[np.ndarray]) -> Any:
    from isoform.network.linear_map import Dense
    from isoform.network.network import Builder
    from isoform.network.operators import Relu

    build = Builder((weights[0].shape[1],))
    value = 0
    for matrix in weights:
        value = build.linear(Dense(matrix), value, np.full(len(matrix), 0.125))
        value = build.add(Relu(), (value,), len(matrix))
    return build.build(value)


# --- with the search of the room --------------------------------------------------------------


def bench_charts(bench: Path, name: str, domain: Any) -> tuple[tuple[Chart, ...], Any]:
    network = to_primitive(read(bench / "regions" / f"{name}.npz").network)
    return charts(unit_layers(network), domain), origin(network, domain)


def test_true_counts_by_any_workers_with_any_interruptions(bench: Path, tmp_path: Path) -> None:
    parts, source = bench_charts(bench, "3-32-32-1_s0", Box(-1, 1))
    events: list[Progress] = []
    whole = enumerate_regions(parts, workers=1, record=True, progress=events.append)
    assert whole.complete and whole.count == 21_980
    assert events[-1].share == 1.0
    for budget in (Budget(regions=3000), Budget(seconds=0.1), None):
        found = enumerate_regions(parts, workers=2 if budget is None else 1, record=True,
                                  origin=source, store=tmp_path / "s", budget=budget)
    assert everything(found) == everything(whole)


def test_all_of_space_counts_a_region_once(bench: Path, tmp_path: Path) -> None:
    parts, source = bench_charts(bench, "2-32-32-1_s0", Everywhere())
    found = enumerate_regions(parts, workers=1)
    stored = enumerate_regions(parts, workers=1, origin=source, store=tmp_path / "s")
    assert everything(found) == everything(stored)
    box, _ = bench_charts(bench, "2-32-32-1_s0", Box(-1, 1))
    far, _ = bench_charts(bench, "2-32-32-1_s0", Box(-(2**20), 2**20))
    counts = [enumerate_regions(one, workers=1).count for one in (box, far)]
    assert counts[0] == 1254 and counts[1] <= found.count == 2151
    for number, part in enumerate(parts):
        points = random_points(part, 500, np.zeros(2))
        assert found_in(found.patterns(), float_patterns(part, points)), number


def found_in(listed: np.ndarray, patterns: np.ndarray) -> bool:
    rows = {row.tobytes() for row in listed}
    return all(row.tobytes() in rows for row in patterns)


def test_tasks_are_smaller_where_regions_cost_more() -> None:
    assert default_task(24, 6) == 4096 and default_task(22, 784) == 16
    assert default_task(0, 1) == 4096
