# SPDX-License-Identifier: Apache-2.0
"""Stores of regions: nothing lost and nothing double, whatever happens; no other file harmed."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import region_stand_in
from isoform.errors import ContractBroken, FormatError, Refused
from isoform.network.domain import Box
from isoform.network.linear_map import Dense
from isoform.network.network import Builder, Network
from isoform.network.operators import Relu
from isoform.numerics.exact import Exact
from isoform.regions.enumeration import origin
from isoform.regions.listing import Part, Task, exact_of_text, exact_text, keys, words
from isoform.regions.memory import Memory
from isoform.regions.store import Store
from isoform.regions.store_file import DiskFull, Meta
from isoform.regions.tasks import Budget
from region_stand_in import HERE, Tree, enumerate_trees, everything

META = Meta("n", "d", "e", "activation", units=12, dimension=2, charts=2, task_regions=9,
            record=False)
ROOTS = (Task(0, b""), Task(1, b""))


def part(
    chart: int, rows: list[int], prefix: bytes = b"", children: tuple[bytes, ...] = ()
) -> Part:
    """A task of 12 units and 2 inputs that lists the patterns with these numbers."""
    bits = np.array([[row >> (11 - i) & 1 for i in range(12)] for row in rows], dtype=np.uint8)
    points = np.array(rows, dtype=float)[:, None] + [0.25 * chart, 0.5]
    return Part(Task(chart, prefix), np.packbits(bits.reshape(-1, 12), axis=1),
                points.reshape(-1, 2), (), children, None, None, len(rows), 0)


def test_a_store_lists_what_memory_lists(tmp_path: Path) -> None:
    """Two charts with common patterns, exact witnesses and streams."""
    trees = (Tree(units=11), Tree(seed=1, units=11))
    kept = enumerate_trees(*trees, record=True)
    stored = enumerate_trees(*trees, record=True, store=tmp_path / "s")
    assert everything(kept) == everything(stored)
    alone = [enumerate_trees(tree).count for tree in trees]
    assert max(alone) < kept.count < sum(alone)
    assert kept.complete and sum(len(chunk.fine) for chunk in kept.chunks()) > 10
    rows = keys(kept.patterns())
    assert rows == sorted(set(rows)) and len(rows) == kept.count


@pytest.mark.parametrize("late", [0, 1])
def test_a_pattern_met_twice_counts_once_with_the_first_witness(tmp_path: Path, late: int) -> None:
    """Whichever chart is entered first."""
    for listing in (Memory(12, 2, ROOTS), Store(tmp_path / "s", META, ROOTS)):
        for chart in (1 - late, late):
            listing.enter([part(chart, [5, 70, 9] if chart else [70, 300, 4])], 1.0)
        assert listing.count == 5 and listing.open_tasks == 0 and listing.programs == 6
        [chunk] = listing.chunks(100)
        assert chunk.charts.tolist() == [0, 1, 1, 0, 0]
        assert chunk.points[:, 0].tolist() == [4.0, 5.25, 9.25, 70.0, 300.0]
        assert listing.listed(part(0, [9, 10, 300]).patterns).tolist() == [True, False, True]
        listing.close()


def test_a_pattern_listed_twice_in_a_chart_is_a_bug(tmp_path: Path) -> None:
    roots = ROOTS[:1]
    store = Store(tmp_path / "s", replace(META, charts=1), roots)
    with pytest.raises(ContractBroken, match="twice"):
        store.enter([part(0, [1, 2, 1])], 0.0)
    assert store.count == 0 and store.open_tasks == 1 and not list(store.chunks(9))
    kept = Memory(12, 2, roots)
    kept.enter([part(0, [1, 2, 1])], 0.0)
    with pytest.raises(ContractBroken, match="twice"):
        kept.ordered()


def test_a_task_closes_once(tmp_path: Path) -> None:
    for listing in (Memory(12, 2, ROOTS), Store(tmp_path / "s", META, ROOTS)):
        listing.enter([part(0, [1], children=(b"\2", b"\3"))], 0.0)
        assert listing.open_tasks == 3
        with pytest.raises(ContractBroken, match="came back twice"):
            listing.enter([part(0, [2])], 0.0)
        assert listing.count == 1
        assert [t.key for t in listing.waiting(9, True, {(0, b"\2")})] == [(0, b"\3"), (1, b"")]
        assert [t.key for t in listing.waiting(1, False, set())] == [(1, b"")]


def test_networks_without_units_have_one_region(tmp_path: Path) -> None:
    empty = replace(part(0, [1]), patterns=np.zeros((1, 0), np.uint8))
    meta = replace(META, units=0, charts=1)
    for listing in (Memory(0, 2, ROOTS[:1]), Store(tmp_path / "s", meta, ROOTS[:1])):
        listing.enter([empty], 0.0)
        [chunk] = listing.chunks(5)
        assert chunk.patterns.shape == (1, 0) and chunk.points.tolist() == [[1.0, 1.5]]


# --- killed and resumed -----------------------------------------------------------------------


def test_a_killed_run_resumes(tmp_path: Path) -> None:
    """kill -9 at random moments, again and again; then the same bytes as in one run."""
    path = tmp_path / "s"
    moments = random.Random(3)
    script = [sys.executable, region_stand_in.__file__, str(path), "0.01", "1"]
    kills, counts = 0, []
    for _ in range(4):
        process = subprocess.Popen(script)
        wait_for_growth(path, process)
        time.sleep(moments.random() * 0.1)
        process.kill()
        kills += process.wait() < 0
        with sqlite3.connect(path) as file:
            counts.append(file.execute("select count(*) from region").fetchone()[0])
            assert file.execute("pragma integrity_check").fetchone() == ("ok",)
            listed = file.execute("select total(regions) from task").fetchone()[0]
            assert counts[-1] == listed
        file.close()
    assert kills == 4 and counts == sorted(counts) and 0 < counts[0] < counts[-1]
    trees = (Tree(), Tree(seed=1))
    resumed = enumerate_trees(*trees, store=path)
    assert resumed.complete and resumed.count > counts[-1]
    assert everything(resumed) == everything(enumerate_trees(*trees, record=True))
    again = enumerate_trees(*trees, store=path)
    assert everything(again) == everything(resumed) and again.seconds == resumed.seconds


def wait_for_growth(path: Path, process: subprocess.Popen[bytes]) -> None:
    """Until a run has written something of its own."""
    log = path.with_name(path.name + "-wal")
    for _ in range(1500):
        if log.exists() and log.stat().st_size > 300_000 or process.poll() is not None:
            return
        time.sleep(0.01)
    raise AssertionError("the run writes nothing")


@pytest.mark.parametrize("budget", [Budget(regions=40), Budget(seconds=1e-6)])
def test_the_same_command_goes_on_where_the_budget_ended(tmp_path: Path, budget: Budget) -> None:
    whole = enumerate_trees(Tree(units=10), record=True, task_regions=20)
    runs = 0
    while True:
        found = enumerate_trees(Tree(units=10), record=True, task_regions=20,
                                store=tmp_path / "s", budget=budget)
        runs += 1
        if found.complete:
            break
        assert found.stopped is not None and "budget" in found.stopped
        assert found.count < whole.count and found.open_tasks > 0
        assert len(found.patterns()) == found.count
    assert runs > 2 and found.stopped is None
    assert everything(found) == everything(whole)


def test_a_budget_of_bytes(tmp_path: Path) -> None:
    for store, size in ((None, 9_000), (tmp_path / "s", 400_000)):
        found = enumerate_trees(Tree(pause=0.05), store=store, budget=Budget(bytes=size))
        assert not found.complete and f"{size:,} bytes" in str(found.stopped)
        assert 0 < len(found.patterns()) == found.count
    with pytest.raises(ValueError, match="positive"):
        Budget(seconds=0)


def test_a_full_disk_stops_the_run_like_a_budget(tmp_path: Path) -> None:
    store = Store(tmp_path / "s", replace(META, charts=1), ROOTS[:1])
    assert store.file is not None
    pages = store.file.execute("pragma page_count").fetchone()[0]
    store.file.execute(f"pragma max_page_count = {pages + 1}")
    long = part(0, list(range(4000)))
    with pytest.raises(DiskFull, match="no space left"):
        store.enter([long], 0.0)
    assert store.count == 0 and store.open_tasks == 1
    store.file.execute("pragma max_page_count = 100000")
    store.enter([long], 0.0)
    assert store.count == 4000 and store.open_tasks == 0


# --- of something else ------------------------------------------------------------------------


def line(bias: float) -> Network:
    build = Builder((1,))
    hidden = build.linear(Dense(np.ones((1, 1))), 0, np.array([bias]))
    return build.build(build.add(Relu(), (hidden,), 1))


def test_a_store_of_another_network_or_domain_is_refused(tmp_path: Path) -> None:
    here = origin(line(0.5), Box(-1, 1))
    assert here == origin(line(0.5), Box([-1], [1.0]))
    path = tmp_path / "s"
    enumerate_trees(Tree(units=4), store=path, origin=here)
    others = {
        "another network": origin(line(0.25), Box(-1, 1)),
        "another domain": origin(line(0.5), Box(-1, 2)),
    }
    for what, other in others.items():
        with pytest.raises(Refused, match=what):
            enumerate_trees(Tree(units=4), store=path, origin=other)
    with pytest.raises(Refused, match="another units"):
        enumerate_trees(Tree(units=5), store=path, origin=here)
    with pytest.raises(Refused, match="tasks of 200 regions"):
        enumerate_trees(Tree(units=4), store=path, origin=here, task_regions=100)
    with pytest.raises(Refused, match="without token streams"):
        enumerate_trees(Tree(units=4), store=path, origin=here, record=True)
    with pytest.raises(ValueError, match="origin"):
        enumerate_trees(Tree(units=4), store=path, origin=None)
    assert enumerate_trees(Tree(units=4), store=path, origin=here, task_regions=None).complete


def test_a_later_schema_is_refused_and_other_files_stay_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "s"
    enumerate_trees(Tree(units=4), store=path)
    with sqlite3.connect(path) as file:
        file.execute("pragma user_version = 2")
    file.close()
    with pytest.raises(Refused, match="schema 2, written by a later isoform"):
        enumerate_trees(Tree(units=4), store=path)
    foreign = tmp_path / "foreign"
    with sqlite3.connect(foreign) as file:
        file.execute("create table region (pattern)")
    file.close()
    text, torn = tmp_path / "text", tmp_path / "torn"
    text.write_text("no database " * 1000)
    whole = tmp_path / "whole"
    enumerate_trees(store=whole)
    torn.write_bytes(whole.read_bytes()[:40_000])
    for other in (foreign, text, torn):
        before = other.read_bytes()
        with pytest.raises(FormatError):
            enumerate_trees(Tree(units=4), store=other)
        assert other.read_bytes() == before or other == torn
    with pytest.raises(Refused, match="no folder"):
        enumerate_trees(store=tmp_path / "none" / "s")


def test_a_store_has_one_writer(tmp_path: Path) -> None:
    store = Store(tmp_path / "s", META, ROOTS)
    with pytest.raises(Refused, match="in use"):
        Store(tmp_path / "s", META, ROOTS)
    store.close()
    Store(tmp_path / "s", META, ROOTS).close()


def test_an_empty_file_becomes_a_store(tmp_path: Path) -> None:
    """A run that is killed at its very beginning leaves one."""
    (tmp_path / "s").touch()
    assert enumerate_trees(Tree(units=4), store=tmp_path / "s", origin=HERE).complete


# --- encodings --------------------------------------------------------------------------------


def test_words_sort_as_bytes_do() -> None:
    patterns = np.random.default_rng(5).integers(0, 3, (200, 11), dtype=np.uint8)
    order = np.lexsort(words(patterns)[::-1])
    assert keys(patterns[order]) == sorted(keys(patterns))


def test_exact_points_as_text() -> None:
    for point in (Exact.of([1, -(3**200), 0]), Exact.of(np.array([0.1, -7.25]))):
        assert exact_of_text(exact_text(point)) == point
