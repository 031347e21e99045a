"""Deletes from the databases of the sinks so that nothing of it is left in the files.

Only for files that no service has open: what a service holds in memory it would write again.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Collection, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from monitor.sinks.history_file import TABLES, open_for_writing
from monitor.sinks.outbox_file import Contents, OutboxFile
from monitor.sqlite_file import UnavailableError, translated

Span = tuple[float, float]
"""Seconds since 1970; the end is not part of it."""

BUSY_S: Final = 5.0
"""How long to wait for a report that is being read."""

_BELONGS: Final = {
    "episodes": "onset_s >= ? AND onset_s < ?",
    "minutes": "minute * 60 >= ? AND minute * 60 < ?",
    "alerts": "at_s >= ? AND at_s < ?",
}


def history_ids(file: Path, span: Span | None = None) -> set[str]:
    """The episodes that the history knows, of one span or of all. Raises Damaged or Unavailable."""
    begin_s, end_s = span or (float("-inf"), float("inf"))
    with contextlib.closing(open_for_writing(file)) as connection, translated(file):
        rows = connection.execute(
            "SELECT id FROM episodes WHERE onset_s >= ? AND onset_s < ?", (begin_s, end_s)
        ).fetchall()
    return {id_ for (id_,) in rows}


def erase_history(file: Path, span: Span) -> int:
    """Delete what is remembered of ``span``; how many rows went. Raises Damaged or Unavailable."""
    with contextlib.closing(open_for_writing(file)) as connection, translated(file):
        connection.execute("BEGIN IMMEDIATE")
        went = sum(
            connection.execute(f"DELETE FROM {table} WHERE {belongs}", span).rowcount  # noqa: S608 - our own names
            for table, belongs in _BELONGS.items()
        )
        went += sum(_cut_out(connection, table, span) for table in ("listening", "faults"))
        connection.execute("COMMIT")
    scrub(file)
    return went


def _cut_out(connection: sqlite3.Connection, table: str, span: Span) -> int:
    """Leave of what reaches into other nights the parts that lie there."""
    columns = TABLES[table]
    rows = connection.execute(
        f"SELECT {', '.join(columns)} FROM {table} WHERE end_s >= ? AND begin_s < ?",  # noqa: S608 - our own names
        span,
    ).fetchall()
    for row in rows:
        old = dict(zip(columns, row, strict=True))
        statement = f"DELETE FROM {table} WHERE begin_s = ? AND end_s = ?"  # noqa: S608 - our own names
        connection.execute(statement, (old["begin_s"], old["end_s"]))
        for begin_s, end_s in ((old["begin_s"], span[0]), (span[1], old["end_s"])):
            if begin_s < end_s:
                part = old | {"begin_s": begin_s, "end_s": end_s}
                places = ", ".join("?" * len(columns))
                connection.execute(f"INSERT OR REPLACE INTO {table} VALUES ({places})", tuple(part.values()))  # noqa: S608
    return len(rows)


def outbox_ids(file: Path, span: Span) -> set[str]:
    """Episodes of ``span`` of which an outbox tells."""
    with _outbox(file) as (_, contents):
        texts = [*contents.facts.values(), *(entry.item.payload for entry in contents.entries)]
    found = set()
    for text in texts:
        values = _object(text)
        onset, id_ = values.get("onset_at"), values.get("episode_id")
        if isinstance(onset, str) and isinstance(id_, str) and _within(onset, span):
            found.add(id_)
    return found


def erase_outbox(file: Path, span: Span, ids: Collection[str]) -> int:
    """Delete what waits of ``span`` and all that names one of ``ids``; how many entries and facts went."""

    def tells(text: str) -> bool:
        return any(id_ in text for id_ in ids)

    with _outbox(file) as (outbox, contents):
        entries = [
            entry
            for entry in contents.entries
            if not (
                span[0] <= entry.created.utc_s < span[1] or tells(entry.item.payload) or tells(entry.item.key)
            )
        ]
        facts = {name: value for name, value in contents.facts.items() if not (tells(name) or tells(value))}
        went = len(contents.entries) - len(entries) + len(contents.facts) - len(facts)
        if went:
            outbox.rewrite(Contents(entries, facts))
    scrub(file)
    return went


def scrub(file: Path) -> None:
    """Write a database anew, without free pages and without a journal. Raises Damaged or Unavailable."""
    with (
        translated(file),
        contextlib.closing(sqlite3.connect(file, timeout=BUSY_S, isolation_level=None)) as sqlite,
    ):
        sqlite.execute("PRAGMA locking_mode = EXCLUSIVE")
        sqlite.execute("PRAGMA secure_delete = ON")
        _empty_journal(sqlite, file)
        sqlite.execute("VACUUM")
        _empty_journal(sqlite, file)


def _empty_journal(sqlite: sqlite3.Connection, file: Path) -> None:
    (busy, _, _) = sqlite.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    if busy:
        raise UnavailableError(f"{file} is being read by another program: what was deleted is still in it.")


@contextlib.contextmanager
def _outbox(file: Path) -> Iterator[tuple[OutboxFile, Contents]]:
    outbox = OutboxFile(file)
    try:
        yield outbox, outbox.open()
    finally:
        outbox.close()


def _object(text: str) -> dict[str, Any]:
    try:
        values = json.loads(text)
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}


def _within(text: str, span: Span) -> bool:
    try:
        return span[0] <= datetime.fromisoformat(text).timestamp() < span[1]
    except (ValueError, OverflowError):
        return False
