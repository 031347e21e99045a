"""The writing end of the history. One thread calls it, the history's own."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import astuple
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from monitor.files import identity
from monitor.sinks.history_file import TABLES, HistoryUnavailableError, open_for_writing, translated
from monitor.sinks.history_records import Batch, Episode, Minute

KEPT_IN_MIND: Final = 64
"""Episodes of an earlier process that may still be acknowledged or confirmed."""
_PRUNED_TO: Final = 0.9
"""Of the size that is allowed: not every minute has to prune."""
_STEP_ROWS: Final = 2000


class HistoryStore:
    """Each writing method is one transaction.

    All raise HistoryUnavailableError or HistoryDamagedError; the file is closed then, to be opened again.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None

    @property
    def is_open(self) -> bool:
        return self._connection is not None

    def open(self) -> list[Episode]:
        """Open or create the file and end what an earlier process left open; the latest episodes."""
        self._connection = open_for_writing(self.path)
        self._file = identity(self.path)
        with self._transaction() as connection:
            connection.execute("UPDATE episodes SET ended = 1, truncated = 1 WHERE NOT ended")
            connection.execute("UPDATE faults SET open = 0 WHERE open")
        with self._closing_on_error():
            rows = self._connection.execute(
                f"SELECT {', '.join(TABLES['episodes'])} FROM episodes ORDER BY onset_s DESC LIMIT ?",  # noqa: S608 - our own names
                (KEPT_IN_MIND,),
            ).fetchall()
        return [Episode(*row) for row in reversed(rows)]

    def is_gone(self) -> bool:
        """Whether the open file is no longer the one at its path: SQLite would go on writing into nothing."""
        return self.is_open and self._file != identity(self.path)

    def write(self, batch: Batch) -> None:
        """Store all of ``batch`` or nothing; what has a key that is there replaces it.

        Minutes may be lost by a power cut that comes before the next checkpoint: the card is spared a sync a
        minute (synchronous NORMAL; a kill loses nothing, and neither harms the file). Episodes and alerts are
        few and what a parent asks for: those are on the disk when this returns (FULL).
        """
        level = "FULL" if batch.episodes or batch.alerts else "NORMAL"
        with self._closing_on_error():
            self._opened.execute(f"PRAGMA synchronous = {level}")
        with self._transaction() as connection:
            minutes = [self._joined(connection, minute) for minute in batch.minutes.values()]
            for table, records in (
                ("episodes", batch.episodes.values()),
                ("minutes", minutes),
                ("listening", batch.listening.values()),
                ("faults", batch.faults.values()),
                ("alerts", batch.alerts.values()),
            ):
                _replace(connection, table, map(astuple, records))

    def prune_older(self, than_s: float) -> int:
        """Delete what ended before ``than_s``; how many rows went."""
        with self._transaction() as connection:
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
                with self._transaction() as connection:
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
        with self._closing_on_error():
            (pages,) = self._opened.execute("PRAGMA page_count").fetchone()
            (free,) = self._opened.execute("PRAGMA freelist_count").fetchone()
            (page_size,) = self._opened.execute("PRAGMA page_size").fetchone()
        return int((pages - free) * page_size)

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):  # what was committed is in the journal anyway
                connection.close()

    def move_aside(self, at: datetime) -> Path:
        """Keep an unreadable file for whoever wants to look into it; an earlier one makes room for it.

        Raises HistoryUnavailableError.
        """
        self.close()
        aside = self.path.with_name(f"{self.path.name}.damaged-{at.astimezone(UTC):%Y%m%dT%H%M%S%fZ}")
        try:
            for earlier in self.path.parent.glob(f"{self.path.name}.damaged-*"):
                shutil.rmtree(earlier) if earlier.is_dir() else earlier.unlink()
            for suffix in ("", "-wal"):
                with contextlib.suppress(FileNotFoundError):
                    Path(f"{self.path}{suffix}").rename(f"{aside}{suffix}")
            Path(f"{self.path}-shm").unlink(missing_ok=True)
        except OSError as error:
            raise HistoryUnavailableError(f"{self.path} is damaged and cannot be moved: {error}.") from error
        return aside

    @property
    def _opened(self) -> sqlite3.Connection:
        assert self._connection is not None, "the history is not open"
        return self._connection

    @staticmethod
    def _joined(connection: sqlite3.Connection, minute: Minute) -> Minute:
        row = connection.execute(
            f"SELECT {', '.join(TABLES['minutes'])} FROM minutes WHERE minute = ?",  # noqa: S608 - our own names
            (minute.minute,),
        ).fetchone()
        return minute if row is None else Minute(*row).joined(minute)

    def _give_back(self) -> None:
        with self._closing_on_error():
            # As a script: it gives back a page a step, and `execute` takes one step.
            self._opened.executescript("PRAGMA incremental_vacuum;")
            self._opened.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._closing_on_error():
            self._opened.execute("BEGIN IMMEDIATE")
            yield self._opened
            self._opened.execute("COMMIT")

    @contextlib.contextmanager
    def _closing_on_error(self) -> Iterator[None]:
        try:
            with translated(self.path):
                yield
        except BaseException:
            self.close()  # which rolls back
            raise


def _replace(connection: sqlite3.Connection, table: str, rows: Iterable[tuple[object, ...]]) -> None:
    places = ", ".join("?" * len(TABLES[table]))
    columns = ", ".join(TABLES[table])
    connection.executemany(f"INSERT OR REPLACE INTO {table} ({columns}) VALUES ({places})", rows)  # noqa: S608 - our own names


def _count(connection: sqlite3.Connection, statement: str, than: float) -> int:
    return connection.execute(statement, (than,)).rowcount
