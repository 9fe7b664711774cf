# SPDX-License-Identifier: Apache-2.0
"""The file of a store: its schema, what it is of, and opening it without harm to other files.

Why these settings: the write-ahead log with synchronous=NORMAL loses nothing when the process is
killed, and at a power failure at most the last transactions, which then count as not done; the
exclusive lock keeps a second run out and goes with the process that holds it.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from isoform.errors import FormatError, Refused
from isoform.version import VERSION

if TYPE_CHECKING:
    import sqlite3

APPLICATION = 0x69736F66  # "isof", in the header of every store
SCHEMA = 1
PAGE = 16_384  # bytes; four times the default: fewer levels, fewer splits of pages
ASIDE = ("-wal", "-shm", "-journal")  # SQLite's own files beside a store
TABLES = """
create table meta (name text primary key, value) without rowid;
create table task (
    id integer primary key, chart integer not null, prefix blob not null, level integer not null,
    closed integer not null default 0, regions integer not null default 0,
    programs integer not null default 0, decided integer not null default 0,
    unique (chart, prefix));
create index waiting on task (level, id) where not closed;
create table region (
    pattern blob primary key, point blob not null, chart integer not null, task integer not null
    ) without rowid;
create table stream (
    task integer primary key, codes blob not null, ids blob not null, points blob not null);
create table fine (
    task integer not null, place integer not null, chart integer not null, pattern blob not null,
    point text not null, primary key (task, place)) without rowid;
create index fine_pattern on fine (pattern);
"""


class DiskFull(Refused):
    """The file cannot grow; what was entered before stands."""


@dataclass(frozen=True, slots=True)
class Meta:
    """What a store is of. A resumed run agrees in all of it but the last two.

    network: the digest of the primitive network. domain: as text. domain_digest: sha256 of its
    exact encoding. units, dimension, charts: N, k and the number of charts. task_regions: regions a
    task lists at most. record: whether token streams are kept.
    """

    network: str
    domain: str
    domain_digest: str
    kind: str
    units: int
    dimension: int
    charts: int
    task_regions: int
    record: bool


@contextmanager
def plain_errors(path: Path) -> Iterator[None]:
    """SQLite's errors in our words."""
    import sqlite3

    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_FULL or code == sqlite3.SQLITE_IOERR and no_space(path):
            raise DiskFull(f"no space left for {path}") from error
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise Refused(
                f"{path} is in use by another process; wait until it is done, or give another store"
            ) from error
        if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
            raise Refused(f"{path} cannot be opened for writing: {error}") from error
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR):
            raise FormatError(f"{path} is damaged, or no store of regions: {error}") from error
        if code == sqlite3.SQLITE_IOERR:
            raise Refused(f"{path} cannot be read or written: {error}") from error
        raise


def no_space(path: Path) -> bool:
    """Whether the disk of a file is as good as full: what fails first need not be the file."""
    try:
        return shutil.disk_usage(path.parent).free < 16 * PAGE
    except OSError:
        return False


def connection(path: Path, create: bool = False) -> sqlite3.Connection:
    """A connection without implicit transactions. Looks before it changes anything: FormatError
    where the file is no store of ours, Refused where it is a later one's."""
    import sqlite3

    address = f"{path.absolute().as_uri()}?mode={'rwc' if create else 'rw'}"
    made = sqlite3.connect(address, uri=True, isolation_level=None, timeout=1.0)
    try:
        owner, schema = (made.execute(f"pragma {name}").fetchone()[0]
                         for name in ("application_id", "user_version"))
        if owner != APPLICATION and not (owner == 0 and is_empty(made)):
            raise FormatError(f"{path} is a database, but no store of regions; give another name")
        if schema > SCHEMA:
            raise Refused(
                f"{path} has schema {schema}, written by a later isoform; this one reads {SCHEMA}: "
                "update isoform, or give another store"
            )
    except BaseException:
        made.close()
        raise
    return made


def is_empty(made: sqlite3.Connection) -> bool:
    """Whether a database has no tables: a new file, or one whose making was cut off."""
    return bool(made.execute("select count(*) from sqlite_master").fetchone()[0] == 0)


def settings(made: sqlite3.Connection) -> None:
    """For the one connection that writes; takes the lock."""
    made.execute("pragma locking_mode = exclusive")
    made.execute(f"pragma page_size = {PAGE}")
    made.execute("pragma journal_mode = wal")
    made.execute("pragma synchronous = normal")
    made.execute("pragma cache_size = -65536")  # KiB
    made.execute("pragma temp_store = memory")


def write_schema(made: sqlite3.Connection, meta: Meta) -> None:
    """Tables and meta, inside a transaction of the caller's."""
    for statement in TABLES.split(";"):
        made.execute(statement)
    made.execute(f"pragma application_id = {APPLICATION}")
    made.execute(f"pragma user_version = {SCHEMA}")
    made.executemany("insert into meta values (?, ?)", [
        *asdict(meta).items(), ("seconds", 0.0), ("version", VERSION),
    ])


def read_meta(made: sqlite3.Connection) -> Meta:
    """What a store is of. FormatError where that is not in it."""
    values = dict(made.execute("select name, value from meta"))
    try:
        return Meta(
            network=str(values["network"]), domain=str(values["domain"]),
            domain_digest=str(values["domain_digest"]), kind=str(values["kind"]),
            units=int(values["units"]), dimension=int(values["dimension"]),
            charts=int(values["charts"]), task_regions=int(values["task_regions"]),
            record=bool(values["record"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(f"the store does not say what it is of: {error!r}") from error


def agree(path: Path, theirs: Meta, ours: Meta) -> None:
    """Refused where a store is of something else."""
    def refuse(what: str, there: object, here: object) -> None:
        raise Refused(
            f"{path} holds the regions of another {what} ({there}; asked now: {here}); "
            "give another store, or ask what it was made for"
        )

    if theirs.network != ours.network:
        refuse("network", f"sha256 {theirs.network[:16]}", f"sha256 {ours.network[:16]}")
    if theirs.domain_digest != ours.domain_digest:
        refuse("domain", f"{theirs.domain}, sha256 {theirs.domain_digest[:16]}",
               f"{ours.domain}, sha256 {ours.domain_digest[:16]}")
    for name in ("kind", "units", "dimension", "charts"):
        if getattr(theirs, name) != getattr(ours, name):
            refuse(name, getattr(theirs, name), getattr(ours, name))
    if ours.record and not theirs.record:
        raise Refused(
            f"{path} was begun without token streams, which a certificate needs; "
            "give another store to begin anew"
        )
