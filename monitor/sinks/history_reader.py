"""The reading end of the history: works beside a service that writes, and changes nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final, Self

from monitor.sinks.history_file import RECORDS, TABLES, open_for_reading
from monitor.sinks.history_records import Alert, Episode, Fault, Listening, Minute
from monitor.sqlite_file import DamagedError, translated


@dataclass(frozen=True, slots=True)
class Remembered:
    """All that is known of the time from ``begin_s`` to ``end_s``; an episode belongs where it began."""

    begin_s: float
    end_s: float
    episodes: tuple[Episode, ...] = ()
    minutes: tuple[Minute, ...] = ()
    listening: tuple[Listening, ...] = ()
    faults: tuple[Fault, ...] = ()
    alerts: tuple[Alert, ...] = ()

    def __bool__(self) -> bool:
        return any((self.episodes, self.minutes, self.listening, self.faults, self.alerts))


_BEYOND_CALENDARS_S: Final = 6e10
"""Some 1900 years from 1970 on, in both directions; no level or share comes near it."""

_KINDS: Final = {
    table: tuple(str(field.type) for field in fields(record)) for table, record in RECORDS.items()
}
"""Of the fields, as they are annotated: "float", "str | None"."""

_WITHIN: Final = {
    "episodes": "onset_s >= ? AND onset_s < ? ORDER BY onset_s",
    "minutes": "minute * 60 >= ? AND minute * 60 < ? ORDER BY minute",
    "listening": "end_s >= ? AND begin_s < ? ORDER BY begin_s",
    "faults": "end_s >= ? AND begin_s < ? ORDER BY begin_s, kind, reason",
    "alerts": "at_s >= ? AND at_s < ? ORDER BY at_s",
}


class HistoryReader:
    """Opened for a ``with`` block. Raises DamagedError or UnavailableError, then or later."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection = open_for_reading(path)

    def between(self, begin_s: float, end_s: float) -> Remembered:
        """What is known of that time, as of one moment."""
        with translated(self._path):
            self._connection.execute("BEGIN")  # one state of the file for all tables
            try:
                found = {table: list(self._rows(table, begin_s, end_s)) for table in TABLES}
            finally:
                self._connection.execute("COMMIT")
        return Remembered(
            begin_s,
            end_s,
            episodes=tuple(Episode(*row) for row in found["episodes"]),
            minutes=tuple(Minute(*row) for row in found["minutes"]),
            listening=tuple(Listening(*row) for row in found["listening"]),
            faults=tuple(Fault(*row) for row in found["faults"]),
            alerts=tuple(Alert(*row) for row in found["alerts"]),
        )

    def quarters(self) -> list[int]:
        """The quarters of an hour since 1970 of which anything is known, in order."""
        with translated(self._path):
            rows: list[tuple[int | None]] = self._connection.execute(
                "SELECT minute / 15 FROM minutes UNION SELECT CAST(onset_s / 900 AS INTEGER) FROM episodes "
                "UNION SELECT CAST(begin_s / 900 AS INTEGER) FROM faults "
                "UNION SELECT CAST(at_s / 900 AS INTEGER) FROM alerts ORDER BY 1"
            ).fetchall()
        # A time that a flipped bit made into nothing; whoever reads that night is told.
        return [quarter for (quarter,) in rows if quarter is not None]

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _rows(self, table: str, begin_s: float, end_s: float) -> Iterator[tuple[Any, ...]]:
        statement = f"SELECT {', '.join(TABLES[table])} FROM {table} WHERE {_WITHIN[table]}"  # noqa: S608 - our own names
        cursor: sqlite3.Cursor = self._connection.execute(statement, (begin_s, end_s))
        kinds = _KINDS[table]
        for row in cursor:
            if not all(_is_sound(value, kind) for value, kind in zip(row, kinds, strict=True)):
                raise DamagedError(f"{self._path} is damaged: {table} hold what they cannot hold.")
            yield row


def _is_sound(value: object, kind: str) -> bool:
    """Whether ``value`` is of its field's ``kind``. SQLite does not notice a flipped bit."""
    if value is None:
        return kind.endswith("| None")
    if isinstance(value, float):
        return kind.startswith("float") and abs(value) < _BEYOND_CALENDARS_S  # false for NaN as well
    if isinstance(value, int):
        return kind in {"int", "bool"} and abs(value) < _BEYOND_CALENDARS_S
    return isinstance(value, str) and kind.startswith("str")
