"""What waits to be remembered, and the thread that writes it to the history's file."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import structlog

from monitor.keeper import ANSWERS_WITHIN_S, Keeper
from monitor.sinks.history_records import Batch, Episode
from monitor.sinks.history_store import HistoryStore
from monitor.sinks.moment import Moment
from monitor.sqlite_file import DamagedError, UnavailableError
from monitor.words import count

log = structlog.get_logger(__name__)

RETRY_DISK_S: Final = 5.0
TELL_DAMAGE_S: Final = 3600.0
"""A file that was damaged is a fault for this long; the log has it for ever."""
MINUTES_IN_MEMORY: Final = 24 * 60
OTHERS_IN_MEMORY: Final = 500
"""Of each kind; with the minutes below 1 MB, and more than a night has."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A file was opened; ``episodes`` are its latest. ``anew``: it has to get what is still known."""

    episodes: list[Episode]
    anew: bool


class HistoryKeeper:
    """Takes batches and never refuses one. What cannot be written waits in memory, bounded as well."""

    def __init__(
        self,
        store: HistoryStore,
        max_bytes: int,
        *,
        now: Callable[[], Moment],
        within_s: float = ANSWERS_WITHIN_S,
    ) -> None:
        self._store = store
        self._max_bytes = max_bytes
        self._now = now
        self._lock = threading.Lock()
        self._batch = Batch()
        self._prune_before_s: float | None = None
        self._opened: Opened | None = None
        self._anew = False
        self._closing = False
        self._retry_at_s = 0.0
        self._disk_fault = self._damage = ""
        self._damaged_at_s = 0.0
        self._gave_way = 0
        self._keeper = Keeper("history", self._work, within_s=within_s)

    def start(self) -> None:
        """Begin to open the file. To check a large one takes a card seconds: nobody waits for it.

        Call it again after ``close`` to go on.
        """
        self._closing = False
        self._keeper.start()
        self._keeper.changed(within_s=0.0)

    def write(self, batch: Batch) -> None:
        """Have ``batch`` written; on return it is on disk, if the disk answers."""
        with self._lock:
            self._batch.join(batch)
            went = self._batch.bound(MINUTES_IN_MEMORY, OTHERS_IN_MEMORY)
            told, self._gave_way = self._gave_way, self._gave_way + went
        if went and not told:
            log.error("history.memory_full", fault=self.fault())
        self._keeper.changed()

    def look(self) -> None:
        """Look after the file, and try the disk again when it is time. Call it about once a second."""
        self._keeper.changed()

    def prune_older(self, than_s: float) -> None:
        """Have deleted what ended before ``than_s``."""
        with self._lock:
            self._prune_before_s = than_s
        self._keeper.changed()

    def take_opened(self) -> Opened | None:
        """That a file was opened, once for each time."""
        with self._lock:
            opened, self._opened = self._opened, None
        return opened

    def fault(self) -> str:
        """What is wrong, with a remedy. Takes no lock."""
        reason = self._keeper.fault
        fault = _not_kept(reason) if reason else self._disk_fault
        if fault:
            return fault + (f" {count(self._gave_way, 'older record')} gave way." if self._gave_way else "")
        recent = self._now().since_boot_s - self._damaged_at_s < TELL_DAMAGE_S
        return self._damage if recent else ""

    def close(self, timeout_s: float) -> None:
        """Write what waits, within ``timeout_s``, and give the file up."""
        self._closing = True
        closed = self._keeper.close(timeout_s)
        if self._batch or not closed:
            log.error("history.lost_at_stop", fault=self.fault())

    # --- the keeper's thread ------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            if self._store.is_gone():
                log.warning("history.file_lost")
                self._store.close()
                self._anew = True
            if self._closing or self._now().since_boot_s >= self._retry_at_s:
                self._write()
        except UnavailableError as error:
            self._on_unavailable(error)
        except DamagedError as error:
            self._on_damaged(error)
        finally:
            if self._closing:
                self._store.close()

    def _write(self) -> None:
        if not self._store.is_open:
            episodes = self._store.open()
            with self._lock:
                self._opened = Opened(episodes, self._anew)
            self._anew = False
        with self._lock:
            batch, self._batch = self._batch, Batch()
            before_s, self._prune_before_s = self._prune_before_s, None
        if batch:
            try:
                self._store.write(batch)
            except BaseException:
                self._put_back(batch)
                raise
            self._store.prune_to(self._max_bytes)
        if before_s is not None:
            self._store.prune_older(before_s)
        self._on_available()

    def _put_back(self, batch: Batch) -> None:
        with self._lock:
            batch.join(self._batch)
            self._batch = batch

    def _on_available(self) -> None:
        if self._disk_fault:
            log.info("history.on_disk_again", gave_way=self._gave_way)
        self._disk_fault = ""
        self._gave_way = 0
        self._retry_at_s = 0.0

    def _on_unavailable(self, error: UnavailableError | DamagedError) -> None:
        if not self._disk_fault:
            log.error("history.not_on_disk", error=str(error))
        self._disk_fault = _not_kept(str(error))
        self._retry_at_s = self._now().since_boot_s + RETRY_DISK_S

    def _on_damaged(self, error: DamagedError) -> None:
        """Begin a new file with what memory holds."""
        try:
            aside = self._store.move_aside(datetime.now(UTC))
            self._anew = True
            self._write()
        except (UnavailableError, DamagedError) as second:  # the disk damages what we have only just written
            self._on_unavailable(second)
            return
        self._damaged_at_s = self._now().since_boot_s
        self._damage = (
            f"The memory of earlier nights was damaged and a new one was begun ({error.message}) The damaged "
            f"file is kept as {aside.name}; check the disk or the SD card."
        )
        log.error("history.damaged", error=str(error), kept_as=str(aside))


def _not_kept(reason: str) -> str:
    return f"The night cannot be remembered on disk and would not survive a restart: {reason}"
