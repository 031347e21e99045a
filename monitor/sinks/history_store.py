"""The writing end of the history. One thread calls it, that of its keeper."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import astuple
from pathlib import Path
from typing import Final

from monitor.sinks.history_file import FORM, TABLES
from monitor.sinks.history_records import Batch, Episode, Minute
from monitor.sqlite_file import SqliteFile

KEPT_IN_MIND: Final = 64
"""Episodes of an earlier process that may still be acknowledged or confirmed."""
_PRUNED_TO: Final = 0.9
"""Of the size that is allowed: not every minute has to prune."""
_STEP_ROWS: Final = 2000
_INDEXED: Final = frozenset({"id", "onset_s"})
"""Columns of the episodes' indexes."""


class HistoryStore(SqliteFile):
    """Each writing method is one transaction, on disk when it returns."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, FORM)

    def open(self) -> list[Episode]:
        """Open or create the file and end what an earlier process left open; the latest episodes."""
        self.connect()
        with self.transaction() as connection:
            connection.execute("UPDATE episodes SET ended = 1, truncated = 1 WHERE NOT ended")
            connection.execute("UPDATE faults SET open = 0 WHERE open")
            rows = connection.execute(
                f"SELECT {', '.join(TABLES['episodes'])} FROM episodes ORDER BY onset_s DESC LIMIT ?",  # noqa: S608 - our own names
                (KEPT_IN_MIND,),
            ).fetchall()
        return [Episode(*row) for row in reversed(rows)]

    def write(self, batch: Batch) -> None:
        """Store all of ``batch`` or nothing; what has a key that is there replaces it."""
        with self.transaction() as connection:
            _update(connection, batch.episodes.values())
            minutes = [self._joined(connection, minute) for minute in batch.minutes.values()]
            for table, records in (
                ("minutes", minutes),
                ("listening", batch.listening.values()),
                ("faults", batch.faults.values()),
                ("alerts", batch.alerts.values()),
            ):
                _replace(connection, table, map(astuple, records))

    def prune_older(self, than_s: float) -> int:
        """Delete what ended before ``than_s``; how many rows went."""
        with self.transaction() as connection:
            went = _count(connection, "DELETE FROM episodes WHERE until_s < ?", than_s)
            went += _count(connection, "DELETE FROM minutes WHERE minute < ?", than_s // 60)
            went += _count(connection, "DELETE FROM listening WHERE end_s < ?", than_s)
            went += _count(connection, "DELETE FROM faults WHERE end_s < ?", than_s)
            went += _count(connection, "DELETE FROM alerts WHERE at_s < ?", than_s)
        self._give_back()
        return went

    def prune_to(self, max_bytes: int) -> int:
        """Delete the oldest until the file is small enough, minutes before all else; how many rows went."""
        went = 0
        if self.size() <= max_bytes:
            return went
        for table, time in (
            ("minutes", "minute"),
            ("alerts", "at_s"),
            ("faults", "begin_s"),
            ("listening", "begin_s"),
            ("episodes", "onset_s"),
        ):
            while self.size() > _PRUNED_TO * max_bytes:
                with self.transaction() as connection:
                    gone = connection.execute(
                        f"DELETE FROM {table} WHERE {time} IN "  # noqa: S608 - our own names
                        f"(SELECT {time} FROM {table} ORDER BY {time} LIMIT {_STEP_ROWS})"
                    ).rowcount
                self._give_back()
                went += gone
                if gone == 0:
                    break
        return went

    def size(self) -> int:
        """Bytes of the file, free pages not counted: those are given back."""
        with self.reading() as connection:
            (pages,) = connection.execute("PRAGMA page_count").fetchone()
            (free,) = connection.execute("PRAGMA freelist_count").fetchone()
            (page_size,) = connection.execute("PRAGMA page_size").fetchone()
        return int((pages - free) * page_size)

    @staticmethod
    def _joined(connection: sqlite3.Connection, minute: Minute) -> Minute:
        row = connection.execute(
            f"SELECT {', '.join(TABLES['minutes'])} FROM minutes WHERE minute = ?",  # noqa: S608 - our own names
            (minute.minute,),
        ).fetchone()
        return minute if row is None else Minute(*row).joined(minute)

    def _give_back(self) -> None:
        with self.reading() as connection:
            # As a script: it gives back a page a step, and `execute` takes one step.
            connection.executescript("PRAGMA incremental_vacuum;")


def _replace(connection: sqlite3.Connection, table: str, rows: Iterable[tuple[object, ...]]) -> None:
    places = ", ".join("?" * len(TABLES[table]))
    columns = ", ".join(TABLES[table])
    connection.executemany(f"INSERT OR REPLACE INTO {table} ({columns}) VALUES ({places})", rows)  # noqa: S608 - our own names


def _update(connection: sqlite3.Connection, episodes: Iterable[Episode]) -> None:
    """Write ``episodes``; of one that goes on only the page of its row, and none of its indexes."""
    columns = TABLES["episodes"]
    places = ", ".join(f":{column}" for column in columns)
    changed = ", ".join(f"{column} = excluded.{column}" for column in columns if column not in _INDEXED)
    rows = [dict(zip(columns, astuple(episode), strict=True)) for episode in episodes]
    # A clock that was set moves an onset.
    connection.executemany(
        "UPDATE episodes SET onset_s = :onset_s WHERE id = :id AND onset_s <> :onset_s", rows
    )
    connection.executemany(
        f"INSERT INTO episodes ({', '.join(columns)}) VALUES ({places}) "  # noqa: S608 - our own names
        f"ON CONFLICT (id) DO UPDATE SET {changed}",
        rows,
    )


def _count(connection: sqlite3.Connection, statement: str, than: float) -> int:
    return connection.execute(statement, (than,)).rowcount
