"""Keeps the file of an outbox equal to what memory holds, on a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Final

import structlog

from monitor.errors import SinkError
from monitor.keeper import ANSWERS_WITHIN_S, Keeper
from monitor.sinks.outbox_file import Changes, Contents, Entry, OutboxFile
from monitor.sqlite_file import DamagedError, UnavailableError
from monitor.words import count

log = structlog.get_logger(__name__)

RETRY_DISK_S: Final = 5.0
TELL_DAMAGE_S: Final = 3600.0
"""A file that was damaged is a fault for this long; the log has it for ever."""
MOST_CHANGES: Final = 4096
"""What changes while the disk hangs is noted up to here; beyond it the file is rewritten as a whole."""


class OutboxMirror:
    """``lock`` guards the memory of the outbox and the changes noted here; no disk is asked under it.

    ``contents`` gives all that memory holds, ``take_over`` takes what an earlier process left, once, and says
    whether the file has to be rewritten for it. Both are called with the lock held.
    """

    def __init__(
        self,
        file: OutboxFile,
        lock: threading.Lock,
        *,
        contents: Callable[[], Contents],
        take_over: Callable[[Contents], bool],
        monotonic_s: Callable[[], float],
        within_s: float = ANSWERS_WITHIN_S,
    ) -> None:
        self._file = file
        self._lock = lock
        self._contents = contents
        self._take_over = take_over
        self._monotonic_s = monotonic_s
        self._keeper = Keeper(file.path.stem, self._work, within_s=within_s)
        self._changes = Changes()
        self._everything = False
        self._is_read = False
        self._closing = False
        self._disk_fault = ""
        self._retry_at_s: float | None = None
        self._damage = ""
        self._damaged_at_s = 0.0

    def start(self, within_s: float) -> None:
        """Begin to read what an earlier process left; wait for it for a moment."""
        self._keeper.start()
        self._keeper.changed(within_s=within_s)

    def note(
        self, put: Iterable[Entry], done: Iterable[int], remember: Mapping[str, str], forget: Iterable[str]
    ) -> None:
        """Take down what changed. With the lock held; ``settle`` without it."""
        self._changes.add(put, done, remember, forget)
        if len(self._changes) > MOST_CHANGES:
            self._rewrite_later()

    def settle(self) -> None:
        """Bring the file up to date; returns when it is, or soon."""
        self._keeper.changed()

    def close(self, timeout_s: float) -> bool:
        """Bring the file up to date a last time and give it up; whether the disk answered in time."""
        self._closing = True
        return self._keeper.close(timeout_s)

    @property
    def is_on_disk(self) -> bool:
        """Takes no lock, as what follows."""
        return not (self._disk_fault or self._keeper.hangs or self._keeper.failure)

    def fault(self) -> str:
        reason = self._keeper.fault
        if reason:
            return f"Events cannot be kept on disk and would not survive a restart: {reason}"
        if self._disk_fault:
            return self._disk_fault
        recent = self._monotonic_s() - self._damaged_at_s < TELL_DAMAGE_S
        return self._damage if recent else ""

    # --- the keeper's thread ------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            if self._file.is_gone():
                self._file.close()
                self._on_unavailable(UnavailableError(f"{self._file.path} was deleted."))
                self._retry_at_s = None
            if self._closing or self._retry_at_s is None or self._monotonic_s() >= self._retry_at_s:
                self._write()
        except UnavailableError as error:
            self._on_unavailable(error)
        except DamagedError as error:
            self._on_damaged(error)
        except BaseException:
            self._lose()
            raise
        finally:
            if self._closing:
                self._file.close()

    def _write(self) -> None:
        if not self._file.is_open:
            self._open()
        with self._lock:
            changes, self._changes = self._changes, Changes()
            everything = self._contents() if self._everything else None
            self._everything = False
        if everything is not None:
            self._file.rewrite(everything)
        elif len(changes):
            self._file.write(changes)
        self._on_available()

    def _open(self) -> None:
        contents = self._file.open()
        with self._lock:
            # What an earlier process left is older than what we hold, and is read only once.
            first, self._is_read = not self._is_read, True
            self._everything = self._take_over(contents) if first else True
        if first and contents.unfit:
            self._damaged_at_s = self._monotonic_s()
            self._damage = (
                f"{count(contents.unfit, 'damaged record')} of the outbox had to go; the rest is in order. "
                "Check the disk or the SD card."
            )
            log.error("outbox.records_damaged", records=contents.unfit)

    def _rewrite_later(self) -> None:
        self._changes, self._everything = Changes(), True

    def _lose(self) -> None:
        """What was written is not known: all of it has to be written again."""
        self._file.close()
        with self._lock:
            self._rewrite_later()

    def _on_available(self) -> None:
        if self._disk_fault:
            log.info("outbox.on_disk_again")
        self._disk_fault = ""
        self._retry_at_s = None

    def _on_unavailable(self, error: SinkError) -> None:
        self._lose()
        if not self._disk_fault:
            log.error("outbox.not_on_disk", error=str(error))
        self._disk_fault = f"Events cannot be kept on disk and would not survive a restart: {error}"
        self._retry_at_s = self._monotonic_s() + RETRY_DISK_S

    def _on_damaged(self, error: DamagedError) -> None:
        """Begin a new file with what memory holds."""
        self._lose()
        try:
            aside = self._file.move_aside(datetime.now(UTC))
            self._file.open()
            with self._lock:
                if not self._is_read:
                    self._is_read = True
                    self._take_over(Contents([], {}))
            self._write()
        except (UnavailableError, DamagedError) as second:
            self._on_unavailable(second)
            return
        self._damaged_at_s = self._monotonic_s()
        self._damage = (
            f"The outbox was damaged and a new one was begun ({error.message}); events that waited may be "
            f"lost. The damaged file is kept as {aside.name}; check the disk or the SD card."
        )
        log.error("outbox.damaged", error=str(error), kept_as=str(aside))
