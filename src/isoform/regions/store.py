# SPDX-License-Identifier: Apache-2.0
"""A listing in a file (SQLite): what tasks return is one transaction, so a killed run resumes.

Insertion is fast because one statement a task cuts its arrays into rows inside SQLite, and because
the patterns of a subtree share their first bits, so that its sorted rows fall into one place of the
table.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from isoform.errors import ContractBroken, Refused
from isoform.regions.listing import (
    Fine,
    Part,
    Regions,
    Stream,
    Task,
    exact_of_text,
    exact_text,
    keys,
    words,
)
from isoform.regions.store_file import (
    Meta,
    agree,
    connection,
    is_empty,
    plain_errors,
    read_meta,
    settings,
    write_schema,
)

if TYPE_CHECKING:
    import sqlite3

ASIDE = ("", "-wal", "-shm")  # the store, and SQLite's own files beside it
INSERT = """
insert into region
select ifnull(substr(:patterns, i * :width + 1, :width), x''),
       substr(:points, i * :bytes + 1, :bytes), :chart, :task
from place where i < :count
on conflict (pattern) do """
KEEP_THE_FIRST_CHART = """
update set point = excluded.point, chart = excluded.chart, task = excluded.task
where excluded.chart < chart"""


class Store:
    """The listing in a file, which is made where it does not exist.

    `meta` is what the store was begun with: its streams go on, its tasks keep their size.
    Raises Refused where the file is of another network, domain or options, written by a later
    version or in use; FormatError where it is no store; DiskFull from `enter`.
    """

    def __init__(self, path: str | os.PathLike[str], meta: Meta, roots: Sequence[Task]):
        self.path = Path(path)
        if not self.path.parent.is_dir():
            raise Refused(f"there is no folder {self.path.parent} for the store")
        with plain_errors(self.path):
            self.file: sqlite3.Connection | None = connection(self.path, create=True)
            try:
                self.meta = self.begin(self.file, meta, roots)
                self.read_totals(self.file)
            except BaseException:
                self.close()
                raise

    def begin(self, file: sqlite3.Connection, meta: Meta, roots: Sequence[Task]) -> Meta:
        """Take the lock, write what a new store begins with, or compare what an old one is of."""
        if not is_empty(file):
            there = read_meta(file)
            agree(self.path, there, meta)
            meta = there
        settings(file)
        with self.transaction(file):
            if is_empty(file):
                write_schema(file, meta)
                add_tasks(file, roots)
        file.execute("create temp table place (i integer primary key)")
        self.places = 0
        return meta

    def read_totals(self, file: sqlite3.Connection) -> None:
        totals = file.execute(
            "select total(regions), total(programs), total(decided), total(not closed) from task"
        ).fetchone()
        self.count, self.programs, self.decided, self.open_count = map(int, totals)
        self.seconds = float(
            file.execute("select value from meta where name = 'seconds'").fetchone()[0]
        )

    @property
    def open_tasks(self) -> int:
        return self.open_count

    @contextmanager
    def transaction(self, file: sqlite3.Connection) -> Iterator[None]:
        """All or nothing, whatever goes wrong."""
        file.execute("begin immediate")
        try:
            yield
            file.execute("commit")
        except BaseException:
            if file.in_transaction:
                file.execute("rollback")
            raise

    def enter(self, parts: Sequence[Part], seconds: float) -> None:
        file = self.file
        if file is None:
            raise ValueError("the store is closed")
        longest = max((len(part.patterns) for part in parts), default=0)
        if longest > self.places:  # outside the transaction, which may be rolled back
            places = ((i,) for i in range(self.places, longest))
            file.executemany("insert into place values (?)", places)
            self.places = longest
        with plain_errors(self.path), self.transaction(file):
            new = [self.enter_part(file, part) for part in parts]
            file.execute("update meta set value = value + ? where name = 'seconds'", (seconds,))
        self.seconds += seconds
        self.count += sum(new)
        self.open_count += sum(len(part.children) - 1 for part in parts)
        self.programs += sum(part.programs for part in parts)
        self.decided += sum(part.decided for part in parts)

    def enter_part(self, file: sqlite3.Connection, part: Part) -> int:
        """Regions, rest, stream, closing; the number of patterns that were not listed before."""
        task = part.task
        found = file.execute(
            "select id from task where chart = ? and prefix = ? and not closed", task.key
        ).fetchone()
        if found is None:
            raise ContractBroken("regions/tasks", f"a task came back twice: {task!r}")
        number: int = found[0]
        new = self.enter_regions(file, part, number)
        add_tasks(file, [Task(task.chart, prefix, task.level + 1) for prefix in part.children])
        if self.meta.record and part.codes is not None and part.ids is not None:
            arrays = (part.codes.astype("u1"), part.ids.astype("<i4"), part.points.astype("<f8"))
            file.execute("insert into stream values (?, ?, ?, ?)",
                         (number, *(array.tobytes() for array in arrays)))
        file.executemany("insert into fine values (?, ?, ?, ?, ?)", [
            (number, place, task.chart, part.patterns[place].tobytes(), exact_text(point))
            for place, point in part.fine
        ])
        file.execute(
            "update task set closed = 1, regions = ?, programs = ?, decided = ? where id = ?",
            (new, part.programs, part.decided, number),
        )
        return new

    def enter_regions(self, file: sqlite3.Connection, part: Part, number: int) -> int:
        count = len(part.patterns)
        order = np.lexsort(words(part.patterns)[::-1])
        values = {
            "patterns": part.patterns[order].tobytes(), "width": part.patterns.shape[1],
            "points": part.points[order].astype("<f8").tobytes(), "bytes": 8 * self.meta.dimension,
            "chart": part.task.chart, "task": number, "count": count,
        }
        new = file.execute(INSERT + "nothing", values).rowcount
        if new < count and self.meta.charts == 1:
            raise ContractBroken("regions/splitting", "a pattern is listed twice")
        if new < count:
            file.execute(INSERT + KEEP_THE_FIRST_CHART, values)
        return new

    def waiting(self, most: int, deepest: bool, taken: set[tuple[int, bytes]]) -> list[Task]:
        down = "desc" if deepest else ""
        with self.reading() as file:
            rows = file.execute(
                "select chart, prefix, level from task where not closed "
                f"order by level {down}, id {down} limit ?", (most + len(taken),)
            ).fetchall()
        return [Task(*row) for row in rows if row[:2] not in taken][:most]

    def size(self) -> int:
        files = (Path(f"{self.path}{end}") for end in ASIDE)
        return sum(file.stat().st_size for file in files if file.exists())

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The connection that writes, or after closing one that is closed again."""
        with plain_errors(self.path):
            file = self.file or connection(self.path)
            try:
                yield file
            finally:
                if file is not self.file:
                    file.close()

    def listed(self, patterns: np.ndarray) -> np.ndarray:
        with self.reading() as file:
            found = [
                file.execute("select 1 from region where pattern = ?", (key,)).fetchone()
                for key in keys(patterns)
            ]
        return np.array([row is not None for row in found], dtype=bool)

    def interior(self) -> np.ndarray | None:
        with self.reading() as file:
            row = file.execute("select point from region where chart = 0 limit 1").fetchone()
        return None if row is None else np.frombuffer(row[0], dtype="<f8")

    def chunks(self, rows: int) -> Iterator[Regions]:
        """Memory: that of one chunk."""
        last: bytes | None = None
        with self.reading() as file:
            while True:
                where = "" if last is None else "where pattern > ?"
                found = file.execute(
                    f"select pattern, chart, point from region {where} order by pattern limit ?",
                    (rows,) if last is None else (last, rows),
                ).fetchall()
                if not found:
                    return
                patterns, charts, points = zip(*found, strict=True)
                last = patterns[-1]
                yield Regions(
                    np.frombuffer(b"".join(patterns), np.uint8).reshape(len(found), -1),
                    np.array(charts, dtype=np.int32),
                    np.frombuffer(b"".join(points), "<f8").reshape(len(found), -1),
                    fine_among(file, patterns),
                )

    def streams(self) -> Iterator[Stream]:
        """Memory: that of one stream."""
        with self.reading() as file:
            rows = file.execute(
                "select chart, prefix, codes, ids, points, id from task join stream on task = id "
                "order by chart, prefix"
            )
            for chart, prefix, codes, ids, points, number in rows:
                fine = file.execute(
                    "select place, point from fine where task = ? order by place", (number,)
                ).fetchall()
                yield Stream(
                    chart, prefix, np.frombuffer(codes, np.uint8), np.frombuffer(ids, "<i4"),
                    np.frombuffer(points, "<f8").reshape(-1, self.meta.dimension),
                    tuple((place, exact_of_text(text)) for place, text in fine),
                )

    def close(self) -> None:
        """Give up the lock; reading opens the file anew."""
        if self.file is not None:
            self.file.close()
            self.file = None


def add_tasks(file: sqlite3.Connection, tasks: Sequence[Task]) -> None:
    file.executemany(
        "insert into task (chart, prefix, level) values (?, ?, ?)",
        [(task.chart, task.prefix, task.level) for task in tasks],
    )


def fine_among(file: sqlite3.Connection, patterns: Sequence[bytes]) -> Fine:
    """The exact witnesses of those of some consecutive listed patterns that have one."""
    rows = file.execute(
        "select fine.pattern, fine.point from fine join region "
        "on region.pattern = fine.pattern and region.chart = fine.chart "
        "where fine.pattern between ? and ? order by fine.pattern", (patterns[0], patterns[-1])
    ).fetchall()
    if not rows:
        return ()
    place = {pattern: i for i, pattern in enumerate(patterns)}
    return tuple((place[pattern], exact_of_text(text)) for pattern, text in rows)
