"""Writes small files for threads that must not wait for a disk: main above all, which feeds the watchdog.

A card that died does not fail, it just does not answer. Whoever has something written waits for it for a
moment, so that in all but that case it is on disk when he goes on.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from monitor.files import write_atomically

log = structlog.get_logger(__name__)

WRITTEN_WITHIN_S: Final = 1.0
RETRY_EVERY_S: Final = 3.0


@dataclass(slots=True)
class _File:
    text: str
    wanted_at_s: float
    written: bool = False
    error: str = ""
    retry_at_s: float = 0.0

    @property
    def overdue(self) -> bool:
        return not self.written and not self.error and time.monotonic() - self.wanted_at_s > WRITTEN_WITHIN_S


class StateWriter:
    """One thread writes the newest text of each file and tries again for ever."""

    def __init__(self, *, retry_every_s: float = RETRY_EVERY_S) -> None:
        self._retry_every_s = retry_every_s
        self._files: dict[Path, _File] = {}
        self._changed = threading.Condition()
        self._closing = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Make the thread. Call it before the first file: later there may be none to be had."""
        with self._changed:
            self._start()

    def write(self, path: Path, text: str) -> None:
        """Replace ``path`` by ``text``; waits a second at most, and not at all for a disk that hangs."""
        with self._changed:
            before = self._files.get(path)
            hangs = any(file.overdue for file in self._files.values())
            since_s = before.wanted_at_s if before is not None and hangs else time.monotonic()
            file = self._files[path] = _File(text, since_s, error="" if before is None else before.error)
            file.error = file.error or self._start()
            self._changed.notify_all()
            if not hangs and self._thread is not None:
                self._changed.wait_for(
                    lambda: file.written or file.retry_at_s > 0 or self._files[path] is not file,
                    WRITTEN_WITHIN_S,
                )

    def fault(self, path: Path) -> str:
        """Why the newest text is not on disk, for a person; empty when it is. Never waits for a disk."""
        with self._changed:
            file = self._files.get(path)
            if file is None or file.written:
                return ""
            reason = file.error or ("the disk does not answer" if file.overdue else "")
        return f"{path} cannot be written: {reason}. A restart will forget what is new." if reason else ""

    def close(self, timeout_s: float) -> None:
        """Let what waits be written within ``timeout_s``, and end."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _start(self) -> str:
        """Why there is no thread; empty when there is one."""
        if self._thread is None:
            # Daemonic: one that hangs in a dead disk must not keep a stopped process.
            thread = threading.Thread(target=self._run, name="state-writer", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # the system has none left; the next file tries again
                return str(error)
            self._thread = thread
        return ""

    def _run(self) -> None:
        while True:
            with self._changed:
                while (due := self._due()) is None:
                    if self._closing:
                        return
                    self._changed.wait(self._pause_s())
            self._write(*due)

    def _due(self) -> tuple[Path, _File] | None:
        now_s = time.monotonic()
        waiting = ((path, file) for path, file in self._files.items() if not file.written)
        return next(((path, file) for path, file in waiting if file.retry_at_s <= now_s), None)

    def _pause_s(self) -> float | None:
        retries = [file.retry_at_s for file in self._files.values() if not file.written]
        return max(0.0, min(retries) - time.monotonic()) if retries else None

    def _write(self, path: Path, file: _File) -> None:
        try:
            write_atomically(path, file.text)
            error = ""
        except OSError as failure:
            error = failure.strerror or str(failure)
            if not file.error:
                log.warning("state.not_kept", path=str(path), error=error)
        with self._changed:
            if error:
                file.error, file.retry_at_s = error, time.monotonic() + self._retry_every_s
            else:
                file.error, file.written = "", True
            self._changed.notify_all()
