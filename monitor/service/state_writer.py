"""Reads and writes small files for threads that must not wait for a disk: main above all.

A caller that has something written waits for it for a moment: in all but the case of a dead disk it is on
disk when the caller goes on.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from monitor.files import write_atomically
from monitor.keeper import ANSWERS_WITHIN_S, Keeper

log = structlog.get_logger(__name__)

READ_WITHIN_S: Final = 1.0
RETRY_EVERY_S: Final = 3.0


@dataclass(slots=True)
class _File:
    text: str
    written: bool = False
    error: str = ""
    retry_at_s: float = 0.0


class StateWriter:
    """One thread writes the newest text of each file and tries again for ever. ``close`` ends it."""

    def __init__(self, *, retry_every_s: float = RETRY_EVERY_S, within_s: float = ANSWERS_WITHIN_S) -> None:
        self._retry_every_s = retry_every_s
        self._lock = threading.Lock()
        self._files: dict[Path, _File] = {}
        self._wanted: dict[Path, None] = {}
        self._contents: dict[Path, bytes | OSError] = {}
        self._keeper = Keeper("state", self._work, within_s=within_s)

    def start(self) -> None:
        """Make the thread. Call it before the first file: later there may be none to be had."""
        self._keeper.start()

    def read(self, *paths: Path) -> None:
        """Begin to read; wait for a moment. ``content`` gives what was read, then or later."""
        with self._lock:
            self._wanted |= dict.fromkeys(paths)
        self._keeper.changed(within_s=READ_WITHIN_S)

    def content(self, path: Path) -> bytes | None:
        """What was read, once; None as long as the disk has not answered. Raises OSError."""
        with self._lock:
            content = self._contents.pop(path, None)
        if isinstance(content, OSError):
            raise content
        return content

    def write(self, path: Path, text: str) -> None:
        """Replace ``path`` by ``text``; waits half a second at most, not at all for a disk that hangs."""
        with self._lock:
            before = self._files.get(path)
            self._files[path] = _File(text, error="" if before is None else before.error)
        self._keeper.changed()

    def fault(self, path: Path) -> str:
        """Why the newest text is not on disk, for a person; empty when it is. Never waits for a disk."""
        file = self._files.get(path)
        if file is None or file.written:
            return ""
        reason = file.error or self._keeper.fault.rstrip(".")
        return f"{path} cannot be written: {reason}. A restart will forget what is new." if reason else ""

    def close(self, timeout_s: float) -> None:
        """Let what waits be written within ``timeout_s``, and end."""
        with self._lock:
            for file in self._files.values():
                file.retry_at_s = 0.0  # the last chance
        self._keeper.close(timeout_s)

    # --- the keeper's thread --------------------------------------------------------------------------

    def _work(self) -> float | None:
        while (path := next(iter(self._wanted), None)) is not None:
            self._read(path)
        while (due := self._due()) is not None:
            self._write(*due)
        with self._lock:
            retries = [file.retry_at_s for file in self._files.values() if not file.written]
        return max(0.0, min(retries) - time.monotonic()) if retries else None

    def _read(self, path: Path) -> None:
        try:
            content: bytes | OSError = path.read_bytes()
        except OSError as error:
            content = error
        with self._lock:
            self._contents[path] = content
            del self._wanted[path]

    def _due(self) -> tuple[Path, _File] | None:
        now_s = time.monotonic()
        with self._lock:
            waiting = [(path, file) for path, file in self._files.items() if not file.written]
        return next(((path, file) for path, file in waiting if file.retry_at_s <= now_s), None)

    def _write(self, path: Path, file: _File) -> None:
        try:
            write_atomically(path, file.text)
        except OSError as failure:
            error = failure.strerror or str(failure)
            if not file.error:
                log.warning("state.not_kept", path=str(path), error=error)
            file.error, file.retry_at_s = error, time.monotonic() + self._retry_every_s
        else:
            file.error, file.written = "", True
