"""The SQLite file behind an outbox. One thread uses it, its keeper's."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Final

from monitor.sinks.moment import Moment
from monitor.sqlite_file import Form, SqliteFile

_COLUMNS: Final = ("number", "key", "kind", "payload", "channel", "lasts_s", "utc_s", "boot", "since_boot_s")

_FORM: Final = Form(
    migrations=(
        """
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
        """,
    ),
    tables={"entries": _COLUMNS, "facts": ("name", "value")},
)

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


@dataclass(slots=True)
class Changes:
    """What memory holds and the file does not yet; what cancels out leaves nothing here."""

    put: dict[int, Entry] = field(default_factory=dict)
    done: set[int] = field(default_factory=set)
    remember: dict[str, str] = field(default_factory=dict)
    forget: set[str] = field(default_factory=set)

    def __len__(self) -> int:
        return len(self.put) + len(self.done) + len(self.remember) + len(self.forget)

    def add(
        self, put: Iterable[Entry], done: Iterable[int], remember: Mapping[str, str], forget: Iterable[str]
    ) -> None:
        self.put |= {entry.number: entry for entry in put}
        self.done |= {number for number in done if self.put.pop(number, None) is None}
        for name, value in remember.items():
            self.remember[name] = value
            self.forget.discard(name)
        for name in forget:
            self.remember.pop(name, None)
            self.forget.add(name)


class OutboxFile(SqliteFile):
    """Each writing method is one transaction, on disk when it returns."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, _FORM)

    def open(self) -> Contents:
        """Open or create the file and read all of it."""
        self.connect()
        with self.reading() as connection:
            unfit = self._drop_unfit(connection, "entries", _UNFIT_ENTRY)
            unfit += self._drop_unfit(connection, "facts", _UNFIT_FACT)
            rows = connection.execute(f"SELECT {', '.join(_COLUMNS)} FROM entries ORDER BY number")  # noqa: S608 - our own names
            entries = [Entry(row[0], Item(*row[1:6]), Moment(*row[6:])) for row in rows]
            return Contents(entries, dict(connection.execute("SELECT name, value FROM facts")), unfit)

    def write(self, changes: Changes) -> None:
        with self.transaction() as connection:
            connection.executemany("DELETE FROM entries WHERE number = ?", ((n,) for n in changes.done))
            self._add(connection, changes.put.values(), changes.remember)
            connection.executemany("DELETE FROM facts WHERE name = ?", ((name,) for name in changes.forget))

    def rewrite(self, contents: Contents) -> None:
        """Replace all that the file holds."""
        with self.transaction() as connection:
            connection.execute("DELETE FROM entries")
            connection.execute("DELETE FROM facts")
            self._add(connection, contents.entries, contents.facts)

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
        places = ", ".join("?" * len(_COLUMNS))
        connection.executemany(f"INSERT INTO entries ({', '.join(_COLUMNS)}) VALUES ({places})", rows)  # noqa: S608 - our own names
        connection.executemany("INSERT OR REPLACE INTO facts (name, value) VALUES (?, ?)", facts.items())
