"""The SQLite file of the history: its form, and how it is read. Writer, reader and `forget` share it."""

from __future__ import annotations

import contextlib
import sqlite3
from dataclasses import fields
from pathlib import Path
from typing import Final

from monitor.sinks.history_records import Alert, Episode, Fault, Listening, Minute
from monitor.sqlite_file import (
    DamagedError,
    Form,
    check_origin,
    check_tables,
    connect_to_write,
    text,
    translated,
)

FILE_NAME: Final = "history.sqlite"
APPLICATION_ID: Final = 0x43524457
"""CRDW: tells our file from any other that SQLite can read."""
_READER_WAITS_S: Final = 5.0
_WRITER_WAITS_S: Final = 1.0
"""For one that reads; what could not be written then is written with the next try."""
_NOT_OPENED: Final = frozenset({sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY})

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
RECORDS: Final = {
    "episodes": Episode,
    "minutes": Minute,
    "listening": Listening,
    "faults": Fault,
    "alerts": Alert,
}

TABLES: Final = {table: tuple(field.name for field in fields(record)) for table, record in RECORDS.items()}
"""Columns, in the order of the records' fields, whose names they bear."""

FORM: Final = Form(
    _MIGRATIONS, TABLES, application_id=APPLICATION_ID, shared=True, busy_s=_WRITER_WAITS_S, cache_kb=128
)


def open_for_writing(path: Path) -> sqlite3.Connection:
    """Open, create or migrate the file. Raises DamagedError or UnavailableError."""
    return connect_to_write(path, FORM)


def open_for_reading(path: Path) -> sqlite3.Connection:
    """Open the file beside a service that writes. Raises as ``open_for_writing``; creates nothing."""
    if not path.is_file():
        raise DamagedError(f"{path} is not a file.")
    with contextlib.ExitStack() as stack:
        stack.enter_context(translated(path))
        connection = _connected(path)
        stack.callback(connection.close)
        connection.text_factory = text
        version = check_origin(connection, path, FORM)
        if version != FORM.version:
            raise DamagedError(f"{path} has format {version}, this version reads {FORM.version}.")
        check_tables(connection, FORM)
        stack.pop_all()
    return connection


def _connected(path: Path) -> sqlite3.Connection:
    uri = path.absolute().as_uri()
    ways = [f"{uri}?mode=ro"]
    if Path(f"{path}-journal").exists():
        # Of a writer that was killed: what it had begun has to be taken back before anything is read.
        ways.append(f"{uri}?mode=rw")
    if not Path(f"{path}-wal").exists():
        # An earlier version's file on a disk that is read-only: nobody can make the memory that its readers
        # share with a writer. Without a log there is no writer, and the file can be read as it stands.
        ways.append(f"{uri}?mode=ro&immutable=1")
    for way in ways[:-1]:
        try:
            return _opened(way)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF not in _NOT_OPENED:
                raise
    return _opened(ways[-1])


def _opened(uri: str) -> sqlite3.Connection:
    connection = sqlite3.connect(uri, uri=True, timeout=_READER_WAITS_S, isolation_level=None)
    try:
        connection.execute("SELECT 1 FROM sqlite_master").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection
