"""What all SQLite files of ours have in common: how one is opened, checked, migrated, and given up.

None of them maps memory that is shared with other processes (SQLite's ``-shm``): on a card with blocks of
1 kB a full disk answers a write there with SIGBUS, which no program survives.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from monitor.errors import SinkError
from monitor.files import identity, make_private

_DAMAGE: Final = frozenset(
    {
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
        # A table or a column is missing, or a rule is there that is not ours: our own statements have no
        # other mistakes.
        sqlite3.SQLITE_ERROR,
        sqlite3.SQLITE_CONSTRAINT,
        sqlite3.SQLITE_MISMATCH,
    }
)

_WRITABLE: Final = "Make room, or let the service write there."
_CARD: Final = "Check the disk or the SD card."
_REMEDIES: Final = {
    sqlite3.SQLITE_FULL: "Make room.",
    sqlite3.SQLITE_BUSY: "Close the other program that has it open.",
    sqlite3.SQLITE_LOCKED: "Close the other program that has it open.",
    # Some of what a full disk refuses is no more than that to SQLite.
    sqlite3.SQLITE_IOERR: f"Make room. {_CARD}",
}

_ALONE: Final = (
    "journal_mode = WAL",
    "synchronous = FULL",
    "wal_autocheckpoint = 250",
    "journal_size_limit = 1048576",
)
_SHARED: Final = (
    # Before the first table, else it has no effect: what was pruned is given back to the disk.
    "auto_vacuum = INCREMENTAL",
    "journal_mode = TRUNCATE",
    "synchronous = FULL",
    # What is deleted is overwritten: a forgotten night must not be read out of free pages.
    "secure_delete = ON",
)


class DamagedError(SinkError):
    """The file is none that this version can read."""

    def __init__(self, message: str, remedy: str = _CARD) -> None:
        super().__init__(message, remedy)


class UnavailableError(SinkError):
    """The file cannot be read or written now: disk full, read-only, folder missing, failing card, locked."""

    def __init__(self, message: str, remedy: str = _WRITABLE) -> None:
        super().__init__(message, remedy)


@dataclass(frozen=True, slots=True)
class Form:
    """What kind of database a file is.

    ``shared``: others read it while we write. It has a rollback journal then; one of ours alone has a
    write-ahead log, which costs a third of the syncs.
    """

    migrations: tuple[str, ...]
    """Step n makes version n + 1 of version n. A step that was released is never changed."""
    tables: Mapping[str, tuple[str, ...]]
    """Columns that have to be there."""
    application_id: int = 0
    """0: not looked at."""
    shared: bool = False
    busy_s: float = 0.25
    """How long to wait for another process that holds the file."""
    cache_kb: int = 64

    @property
    def pragmas(self) -> tuple[str, ...]:
        """What is set when a file is opened, in this order."""
        return _SHARED if self.shared else _ALONE

    @property
    def version(self) -> int:
        return len(self.migrations)


@contextlib.contextmanager
def translated(path: Path) -> Iterator[None]:
    """Our two errors instead of SQLite's many."""
    try:
        yield
    except UnicodeDecodeError as error:
        # What SQLite says of a damaged schema quotes the damage.
        raise DamagedError(f"{path} is damaged: its description is not text.") from error
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", None)
        if code is None:
            raise  # ours: the module was called wrongly
        # Extended codes keep the kind in the low byte.
        message = f"{path}: {' '.join(str(error).split())}."
        if code & 0xFF in _DAMAGE:
            raise DamagedError(message) from error
        raise UnavailableError(message, _REMEDIES.get(code & 0xFF, _WRITABLE)) from error


def connect_to_write(path: Path, form: Form) -> sqlite3.Connection:
    """Open, create or migrate a file. Raises DamagedError or UnavailableError."""
    if path.is_dir():
        raise DamagedError(f"{path} is a folder.")
    _create(path)
    with contextlib.ExitStack() as stack:
        stack.enter_context(translated(path))
        # The statements are few and each is prepared in no time: SQLite need not keep a hundred.
        connection = sqlite3.connect(
            path, timeout=form.busy_s, isolation_level=None, check_same_thread=False, cached_statements=8
        )
        stack.callback(connection.close)
        connection.text_factory = text
        # First of all: a log that an earlier version left is read without memory that others share.
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute(f"PRAGMA cache_size = -{form.cache_kb}")
        connection.execute("PRAGMA mmap_size = 0")
        for pragma in form.pragmas:
            connection.execute(f"PRAGMA {pragma}").fetchone()
        check_pages(connection, path)
        with contextlib.suppress(OSError):  # an earlier version's, and nobody else has the file now
            Path(f"{path}-shm").unlink(missing_ok=True)
        _migrate(connection, path, form)
        check_tables(connection, form)
        if form.shared:
            connection.execute("PRAGMA locking_mode = NORMAL")
            connection.execute("SELECT 1 FROM sqlite_master").fetchone()  # which lets the lock go
        stack.pop_all()
    return connection


def check_pages(connection: sqlite3.Connection, path: Path) -> None:
    (health,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if health != "ok":
        raise DamagedError(f"{path} is damaged: {' '.join(str(health).split())}.")


def check_tables(connection: sqlite3.Connection, form: Form) -> None:
    """Raise sqlite3.Error where a table or a column is missing."""
    for table, columns in form.tables.items():
        connection.execute(f"SELECT {', '.join(columns)} FROM {table} LIMIT 0")  # noqa: S608 - our own names


def check_origin(connection: sqlite3.Connection, path: Path, form: Form) -> int:
    """The file's version. Raises DamagedError for another program's file, and for a later version."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    if form.application_id not in {0, application}:
        raise DamagedError(f"{path} is not ours: another program has written it.")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if not 0 <= version <= form.version:
        raise DamagedError(f"{path} has format {version}, this version reads {form.version}.")
    return int(version)


def text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


def _create(path: Path) -> None:
    """Make an empty file that nobody else may read; SQLite gives its journal the same rights."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        if not path.exists():  # one that can only be read is read
            raise UnavailableError(f"{path} cannot be opened: {error.strerror}.") from error
    for suffix in ("", "-wal", "-journal"):
        make_private(Path(f"{path}{suffix}"))


def _migrate(connection: sqlite3.Connection, path: Path, form: Form) -> None:
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if tables or version:
        version = check_origin(connection, path, form)
    for number in range(version, form.version):
        connection.executescript(
            f"BEGIN IMMEDIATE;{form.migrations[number]}"
            f"PRAGMA application_id = {form.application_id};PRAGMA user_version = {number + 1};COMMIT;"
        )


class SqliteFile:
    """A file that is written: one connection, used by one thread at a time.

    All raise DamagedError or UnavailableError; the file is closed then, to be opened again.
    """

    def __init__(self, path: Path, form: Form) -> None:
        self.path = path
        self._form = form
        self._connection: sqlite3.Connection | None = None
        self._opened: tuple[int, int] | None = None

    @property
    def is_open(self) -> bool:
        return self._connection is not None

    def is_gone(self) -> bool:
        """Whether the open file is no longer the one at its path: SQLite would go on writing into nothing."""
        return self.is_open and self._opened != identity(self.path)

    def connect(self) -> None:
        """Open, create or migrate the file."""
        self._connection = connect_to_write(self.path, self._form)
        self._opened = identity(self.path)

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The connection, with SQLite's errors translated; closed by any error, which rolls back."""
        connection = self._connection
        assert connection is not None, f"{self.path} is not open"
        try:
            with translated(self.path):
                yield connection
        except BaseException:
            self.close()
            raise

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """What is written in it is on disk at its end, all or nothing."""
        with self.reading() as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):  # what was committed is in the journal anyway
                connection.close()

    def move_aside(self, at: datetime) -> Path:
        """Keep an unreadable file for anybody who wants to look into it; an earlier one makes room for it."""
        self.close()
        aside = self.path.with_name(f"{self.path.name}.damaged-{at.astimezone(UTC):%Y%m%dT%H%M%S%fZ}")
        try:
            for earlier in self.path.parent.glob(f"{self.path.name}.damaged-*"):
                shutil.rmtree(earlier) if earlier.is_dir() else earlier.unlink()
            for suffix in ("", "-wal", "-journal"):
                with contextlib.suppress(FileNotFoundError):
                    Path(f"{self.path}{suffix}").rename(f"{aside}{suffix}")
            Path(f"{self.path}-shm").unlink(missing_ok=True)
        except OSError as error:
            raise UnavailableError(f"{self.path} is damaged and cannot be moved: {error}.") from error
        return aside
