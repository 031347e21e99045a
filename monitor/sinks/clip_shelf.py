"""The folder of clips, and the thread that writes to it."""

from __future__ import annotations

import contextlib
import os
import re
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import structlog

from monitor.files import make_private, write_bytes_atomically
from monitor.keeper import ANSWERS_WITHIN_S, Keeper
from monitor.sinks.moment import Moment
from monitor.words import count

log = structlog.get_logger(__name__)

RETRY_DISK_S: Final = 30.0
WAITING: Final = 2
"""Clips that wait in memory for a disk that is full; the newest matter."""
_DAY_S: Final = 86_400
_NAME: Final = re.compile(r"^(\d{8}T\d{6}Z)-(.+)\.(flac|opus)$")
_TIME: Final = "%Y%m%dT%H%M%SZ"


@dataclass(frozen=True, slots=True)
class KeptClip:
    """A clip on disk, as its name tells."""

    path: Path
    onset_at: datetime
    episode_id: str
    size: int


def file_name(onset_at: datetime, episode_id: str, suffix: str) -> str:
    return f"{onset_at.astimezone(UTC).strftime(_TIME)}-{episode_id}{suffix}"


class ClipShelf:
    """Files appear whole or not at all, are readable by their owner alone, and the oldest give way."""

    def __init__(
        self,
        folder: Path,
        *,
        keep_days: int,
        max_bytes: int,
        now: Callable[[], Moment],
        within_s: float = ANSWERS_WITHIN_S,
    ) -> None:
        self._folder = folder
        self._keep_days = keep_days
        self._max_bytes = max_bytes
        self._now = now
        self._lock = threading.Lock()
        self._waiting: deque[tuple[str, bytes]] = deque()
        self._prune_at: Moment | None = None
        self._lost = 0
        self._is_clean = False
        self._closing = False
        self._retry_at_s = 0.0
        self._disk_fault = ""
        self._keeper = Keeper("clips", self._work, within_s=within_s)

    def start(self) -> None:
        """Begin to clear up after a killed process, or go on after ``close``. Waits for nothing."""
        self._closing = False
        self._keeper.start()
        self._keeper.changed(within_s=0.0)

    def put(self, name: str, sound: bytes) -> None:
        """Have a file written; it is on disk on return, if the disk answers."""
        with self._lock:
            self._waiting.append((name, sound))
            while len(self._waiting) > WAITING:
                self._waiting.popleft()
                self._lost += 1
        self._retry_at_s = 0.0
        self._keeper.changed()

    def prune(self, by_age_at: Moment | None) -> None:
        """Delete what is too much, and what is too old where the clock can be trusted."""
        with self._lock:
            self._prune_at = by_age_at
        self._keeper.changed()

    def look(self) -> None:
        """Try the disk again when it is time. Call it about once a second."""
        if self._waiting and self._now().since_boot_s >= self._retry_at_s:
            self._keeper.changed()

    def fault(self) -> str:
        """Why clips are not kept, with a remedy. Takes no lock."""
        reason = self._keeper.fault
        if not (reason or self._disk_fault):
            return ""
        lost = f" Lost: {count(self._lost, 'clip')}." if self._lost else ""
        if reason:
            return f"The sound of episodes cannot be kept in {self._folder}: {reason}{lost}"
        return f"{self._disk_fault}{lost} Make room, or let the service write there."

    def close(self, timeout_s: float) -> None:
        """Write what waits, within ``timeout_s``."""
        self._closing = True
        self._keeper.close(timeout_s)
        if self._waiting:
            log.error("clips.lost_at_stop", clips=len(self._waiting), fault=self.fault())

    # --- the keeper's thread ------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            if not self._is_clean:
                self._clear_up()
            with self._lock:
                by_age_at, self._prune_at = self._prune_at, None
            self._make_room(0, by_age_at)
            if self._closing or self._now().since_boot_s >= self._retry_at_s:
                self._write()
        except OSError as error:
            self._on_disk_error(error)
        else:
            if not self._waiting:
                self._disk_fault = ""
                self._lost = 0

    def _on_disk_error(self, error: OSError) -> None:
        if not self._disk_fault:
            log.error("clips.not_on_disk", error=str(error))
        reason = error.strerror or str(error)
        self._disk_fault = f"The sound of episodes cannot be kept in {self._folder}: {reason}."
        self._retry_at_s = self._now().since_boot_s + RETRY_DISK_S

    def _clear_up(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        make_private(self._folder)
        for part in self._folder.glob(".*"):
            part.unlink(missing_ok=True)
        self._is_clean = True

    def _write(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    return
                name, sound = first = self._waiting[0]
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._make_room(len(sound), None)
            write_bytes_atomically(self._folder / name, sound)
            log.info("clips.kept", name=name, bytes=len(sound))
            with self._lock:
                if self._waiting and self._waiting[0] is first:  # it may have given way meanwhile
                    self._waiting.popleft()

    def _make_room(self, wanted: int, by_age_at: Moment | None) -> None:
        """Make room for ``wanted`` bytes, and delete what is too old at a time that can be trusted."""
        clips = kept_clips(self._folder)
        room = self._max_bytes - wanted
        held = sum(clip.size for clip in clips)
        for clip in clips:
            too_old = (
                by_age_at is not None
                and clip.onset_at.timestamp() < by_age_at.utc_s - self._keep_days * _DAY_S
            )
            if not too_old and held <= room:
                continue
            clip.path.unlink(missing_ok=True)
            held -= clip.size


def kept_clips(folder: Path) -> list[KeptClip]:
    """The clips in ``folder``, the oldest first. Raises OSError; a folder that is not there holds none."""
    found = []
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            name = _NAME.match(entry.name)
            if name is None:
                continue
            try:
                onset_at = datetime.strptime(name[1], _TIME).replace(tzinfo=UTC)
            except ValueError:
                continue  # not ours: 99999999T999999Z
            found.append(KeptClip(Path(entry.path), onset_at, name[2], entry.stat().st_size))
    return sorted(found, key=lambda clip: clip.onset_at)
