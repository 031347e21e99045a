"""The SQLite file of the history: its form, and how it is opened. Writer, reader and `forget` share it."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Final

from monitor.errors import SinkError
from monitor.sinks.history_records import Alert, Episode, Fault, Listening, Minute

FILE_NAME: Final = "history.sqlite"
APPLICATION_ID: Final = 0x43524457
"""CRDW: tells our file from any other that SQLite can read."""

_MIGRATIONS: Final = (
    """
    CREATE TABLE episodes (
        id TEXT PRIMARY KEY, onset_s REAL NOT NULL, detected_s REAL NOT NULL, until_s REAL NOT NULL,
        ended INTEGER NOT NULL, duration_s REAL NOT NULL, crying_s REAL NOT NULL, score REAL NOT NULL,
        level_dbfs REAL NOT NULL, escalation INTEGER NOT NULL, truncated INTEGER NOT NULL, cause TEXT,
        cause_probability REAL, cause_base_rate REAL, acknowledged_s REAL, acknowledged_by TEXT NOT NULL,
        confirmed_cause TEXT
    ) STRICT;
    CREATE INDEX episodes_by_onset ON episodes (onset_s);
    CREATE TABLE minutes (
        minute INTEGER PRIMARY KEY, heard_s REAL NOT NULL, level_mean_dbfs REAL NOT NULL,
        level_max_dbfs REAL NOT NULL, level_min_dbfs REAL NOT NULL, peak_dbfs REAL NOT NULL,
        floor_dbfs REAL NOT NULL, active_share REAL NOT NULL, crying_s REAL NOT NULL
    ) STRICT;
    CREATE TABLE listening (begin_s REAL PRIMARY KEY, end_s REAL NOT NULL) WITHOUT ROWID, STRICT;
    CREATE TABLE faults (
        begin_s REAL NOT NULL, kind TEXT NOT NULL, reason TEXT NOT NULL, end_s REAL NOT NULL,
        open INTEGER NOT NULL, PRIMARY KEY (begin_s, kind, reason)
    ) WITHOUT ROWID, STRICT;
    CREATE TABLE alerts (
        id TEXT PRIMARY KEY, at_s REAL NOT NULL, kind TEXT NOT NULL, detail TEXT NOT NULL
    ) STRICT;
    CREATE INDEX alerts_by_time ON alerts (at_s);
    """,
)
"""Step n makes version n + 1 of version n. A step that was released is never changed."""

VERSION: Final = len(_MIGRATIONS)

RECORDS: Final = {
    "episodes": Episode,
    "minutes": Minute,
    "listening": Listening,
    "faults": Fault,
    "alerts": Alert,
}

TABLES: Final = {table: tuple(field.name for field in fields(record)) for table, record in RECORDS.items()}
"""Columns, in the order of the records' fields, whose names they bear."""

_DAMAGE: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR})
"""SQLITE_ERROR is what a missing table or column gives: our own statements have no other mistakes."""


class HistoryDamagedError(SinkError):
    """The file is no history that this version can read."""


class HistoryUnavailableError(SinkError):
    """The file cannot be read or written now: disk full, read-only, folder missing, failing card, locked."""


@contextlib.contextmanager
def translated(path: Path) -> Iterator[None]:
    """Our two errors instead of SQLite's many."""
    try:
        yield
    except UnicodeDecodeError as error:
        # What SQLite says of a damaged schema quotes the damage.
        raise HistoryDamagedError(f"{path} is damaged: its description is no text.") from error
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", None)
        if code is None:
            raise  # ours: the module was called wrongly
        # Extended codes keep the kind in the low byte.
        code &= 0xFF
        kind = HistoryDamagedError if code in _DAMAGE else HistoryUnavailableError
        raise kind(f"{path}: {' '.join(str(error).split())}.") from error


def open_for_writing(path: Path) -> sqlite3.Connection:
    """Open, create or migrate the file. Raises HistoryDamagedError or HistoryUnavailableError."""
    if path.is_dir():
        raise HistoryDamagedError(f"{path} is a folder.")
    with contextlib.ExitStack() as stack:
        stack.enter_context(translated(path))
        _create(path)
        connection = sqlite3.connect(path, timeout=5.0, isolation_level=None, check_same_thread=False)
        stack.callback(connection.close)
        connection.text_factory = _text
        # Before the first table, else it has no effect: what was pruned is given back to the disk.
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA journal_size_limit = 1048576")
        # What is deleted is overwritten: a forgotten night must not be read out of free pages.
        connection.execute("PRAGMA secure_delete = ON")
        (health,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if health != "ok":
            raise HistoryDamagedError(f"{path} is damaged: {' '.join(str(health).split())}.")
        _migrate(connection, path)
        check_tables(connection)
        stack.pop_all()
    return connection


def open_for_reading(path: Path) -> sqlite3.Connection:
    """Open the file beside a service that writes. Raises as ``open_for_writing``; creates nothing."""
    if not path.is_file():
        raise HistoryDamagedError(f"{path} is no file.")
    with contextlib.ExitStack() as stack:
        stack.enter_context(translated(path))
        connection = _connected(path)
        stack.callback(connection.close)
        connection.text_factory = _text
        version = check_origin(connection, path)
        if version != VERSION:
            raise HistoryDamagedError(f"{path} has format {version}, this version reads {VERSION}.")
        check_tables(connection)
        stack.pop_all()
    return connection


def check_origin(connection: sqlite3.Connection, path: Path) -> int:
    """The file's version. Raises HistoryDamagedError for another program's file."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    if application != APPLICATION_ID:
        raise HistoryDamagedError(f"{path} is not a history: another program has written it.")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)


def check_tables(connection: sqlite3.Connection) -> None:
    """Raise sqlite3.Error where a table or a column is missing."""
    for table, columns in TABLES.items():
        connection.execute(f"SELECT {', '.join(columns)} FROM {table} LIMIT 0")  # noqa: S608 - our own names


def _create(path: Path) -> None:
    """Make an empty file that nobody else may read; SQLite gives its journal the same rights."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise HistoryUnavailableError(f"{path} cannot be opened: {error.strerror}.") from error


def _connected(path: Path) -> sqlite3.Connection:
    uri = path.absolute().as_uri()
    connection = sqlite3.connect(f"{uri}?mode=ro", uri=True, timeout=5.0, isolation_level=None)
    try:
        connection.execute("SELECT 1 FROM sqlite_master").fetchone()
    except sqlite3.OperationalError:
        # A disk that is read-only lets nobody make the shared memory that readers share with a writer. With
        # no journal there is no writer, and the file can be read as it stands.
        connection.close()
        if Path(f"{path}-wal").exists():
            raise
        connection = sqlite3.connect(f"{uri}?mode=ro&immutable=1", uri=True, isolation_level=None)
    return connection


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if tables or version:
        version = check_origin(connection, path)
    if version > VERSION:
        raise HistoryDamagedError(f"{path} has format {version}, this version reads {VERSION}.")
    for number in range(version, VERSION):
        connection.executescript(
            f"BEGIN IMMEDIATE;{_MIGRATIONS[number]}"
            f"PRAGMA application_id = {APPLICATION_ID};PRAGMA user_version = {number + 1};COMMIT;"
        )


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")
