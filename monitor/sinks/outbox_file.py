"""The SQLite file behind an outbox. One connection; its owner holds a lock around every call."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import astuple, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from monitor.errors import SinkError
from monitor.files import identity
from monitor.sinks.moment import Moment

_VERSION: Final = 1

_SCHEMA: Final = f"""
CREATE TABLE entries (
    number INTEGER PRIMARY KEY,
    key TEXT NOT NULL,
    kind TEXT NOT NULL,
    payload TEXT NOT NULL,
    channel TEXT NOT NULL,
    lasts_s REAL,
    utc_s REAL NOT NULL,
    boot TEXT NOT NULL,
    since_boot_s REAL NOT NULL,
    UNIQUE (channel, key)
);
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
PRAGMA user_version = {_VERSION};
"""

_COLUMNS: Final = "number, key, kind, payload, channel, lasts_s, utc_s, boot, since_boot_s"

# A page has no check sum, so a bad card may turn one cell into something else, and SQLite minds no types.
_UNFIT_ENTRY: Final = """
    typeof(number) <> 'integer' OR number NOT BETWEEN 1 AND 1e15
    OR typeof(key) <> 'text' OR typeof(kind) <> 'text' OR typeof(payload) <> 'text'
    OR typeof(channel) <> 'text' OR typeof(boot) <> 'text'
    OR typeof(lasts_s) NOT IN ('real', 'null') OR coalesce(lasts_s, 0) NOT BETWEEN 0 AND 1e9
    OR typeof(utc_s) <> 'real' OR utc_s NOT BETWEEN 0 AND 1e12
    OR typeof(since_boot_s) <> 'real' OR since_boot_s NOT BETWEEN 0 AND 1e12
"""
_UNFIT_FACT: Final = "typeof(name) <> 'text' OR typeof(value) <> 'text'"

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


class OutboxDamagedError(SinkError):
    """The file is no outbox that this version can read."""


class OutboxUnavailableError(SinkError):
    """The file cannot be read or written now: disk full, read-only, folder missing, failing card."""


@dataclass(frozen=True, slots=True)
class Item:
    """Something to deliver. ``key`` (an event id) is unique within its ``channel``.

    ``lasts_s`` is how long it is news; None for what stays worth delivering.
    """

    key: str
    kind: str
    payload: str
    channel: str = ""
    lasts_s: float | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """An item that waits. ``number`` rises in the order in which items were put."""

    number: int
    item: Item
    created: Moment


@dataclass(frozen=True, slots=True)
class Contents:
    entries: list[Entry]
    facts: dict[str, str]
    unfit: int = 0
    """Entries and facts that were there and could not be read; they are gone."""


class OutboxFile:
    """Each writing method is one transaction, on disk when it returns.

    All raise OutboxUnavailableError or OutboxDamagedError; the file is closed then.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection: sqlite3.Connection | None = None
        self._opened: tuple[int, int] | None = None

    @property
    def is_open(self) -> bool:
        return self._connection is not None

    def is_gone(self) -> bool:
        """Whether the open file is no longer the one at its path: SQLite would go on writing into nothing."""
        return self._opened != identity(self.path)

    def open(self) -> Contents:
        """Open or create the file and read all of it."""
        with self._translated():
            # Whoever calls holds a lock; transactions are begun by hand.
            connection = sqlite3.connect(
                self.path, timeout=1.0, isolation_level=None, check_same_thread=False
            )
            self._connection = connection
            connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA journal_size_limit = 1048576")
            self._check(connection)
            unfit = self._drop_unfit(connection, "entries", _UNFIT_ENTRY)
            unfit += self._drop_unfit(connection, "facts", _UNFIT_FACT)
            rows = connection.execute(f"SELECT {_COLUMNS} FROM entries ORDER BY number")  # noqa: S608 - our own names
            self._opened = identity(self.path)
            entries = [Entry(row[0], Item(*row[1:6]), Moment(*row[6:])) for row in rows]
            return Contents(entries, dict(connection.execute("SELECT name, value FROM facts")), unfit)

    def write(
        self, put: Iterable[Entry], done: Iterable[int], remember: Mapping[str, str], forget: Collection[str]
    ) -> None:
        with self._transaction() as connection:
            connection.executemany("DELETE FROM entries WHERE number = ?", ((number,) for number in done))
            self._add(connection, put, remember)
            connection.executemany("DELETE FROM facts WHERE name = ?", ((name,) for name in forget))

    def rewrite(self, contents: Contents) -> None:
        """Replace all that the file holds."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM entries")
            connection.execute("DELETE FROM facts")
            self._add(connection, contents.entries, contents.facts)

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):  # what was committed is in the journal anyway
                connection.close()

    def move_aside(self, at: datetime) -> Path:
        """Keep an unreadable file for whoever wants to look into it. Raises OutboxUnavailableError."""
        self.close()
        aside = self.path.with_name(f"{self.path.name}.damaged-{at.astimezone(UTC):%Y%m%dT%H%M%S%fZ}")
        try:
            for suffix in ("", "-wal"):
                with contextlib.suppress(FileNotFoundError):
                    Path(f"{self.path}{suffix}").rename(f"{aside}{suffix}")
            Path(f"{self.path}-shm").unlink(missing_ok=True)
        except OSError as error:
            raise OutboxUnavailableError(f"{self.path} is damaged and cannot be moved: {error}.") from error
        return aside

    def _check(self, connection: sqlite3.Connection) -> None:
        (health,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if health != "ok":
            raise OutboxDamagedError(f"{self.path} is damaged: {' '.join(str(health).split())}.")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version == 0:
            connection.executescript(f"BEGIN IMMEDIATE;{_SCHEMA}COMMIT;")
        elif version != _VERSION:
            raise OutboxDamagedError(f"{self.path} has format {version}, this version reads {_VERSION}.")

    @staticmethod
    def _drop_unfit(connection: sqlite3.Connection, table: str, unfit: str) -> int:
        # Looked for first: to delete nothing is refused as well where the disk is read-only.
        (count,) = connection.execute(f"SELECT count(*) FROM {table} WHERE {unfit}").fetchone()  # noqa: S608 - our own names
        if count:
            connection.execute(f"DELETE FROM {table} WHERE {unfit}")  # noqa: S608 - our own names
        return int(count)

    @staticmethod
    def _add(connection: sqlite3.Connection, entries: Iterable[Entry], facts: Mapping[str, str]) -> None:
        rows = ((entry.number, *astuple(entry.item), *astuple(entry.created)) for entry in entries)
        places = "?, ?, ?, ?, ?, ?, ?, ?, ?"
        connection.executemany(f"INSERT INTO entries ({_COLUMNS}) VALUES ({places})", rows)  # noqa: S608 - our own names
        connection.executemany("INSERT OR REPLACE INTO facts (name, value) VALUES (?, ?)", facts.items())

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        connection = self._connection
        assert connection is not None, "the outbox file is not open"
        with self._translated():
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            self.close()  # which rolls back
            code = (
                getattr(error, "sqlite_errorcode", 0) & 0xFF
            )  # extended codes keep the kind in the low byte
            kind = OutboxDamagedError if code in _DAMAGE else OutboxUnavailableError
            raise kind(f"{self.path}: {' '.join(str(error).split())}.") from error
        except UnicodeDecodeError as error:
            # What SQLite says of a damaged schema quotes the damage.
            self.close()
            raise OutboxDamagedError(f"{self.path} is damaged: its description is no text.") from error
        except OutboxDamagedError:
            self.close()
            raise
