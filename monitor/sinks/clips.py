"""The sink that keeps the sound of episodes, for those who have switched it on.

Files appear whole or not at all, are readable by their owner alone, and the oldest give way to new ones.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import structlog
from typing_extensions import override

from monitor.files import write_bytes_atomically
from monitor.messages import AnyMessage
from monitor.sinks import moment
from monitor.sinks.base import Sink
from monitor.sinks.clip_cutter import ClipCutter, Cut
from monitor.sinks.clip_file import SUFFIX, Format, encoded
from monitor.sinks.clip_recorder import ClipRecorder
from monitor.sinks.moment import Moment
from monitor.sinks.steady import SteadyClock

log = structlog.get_logger(__name__)

FOLDER: Final = "clips"
PRUNE_EVERY_S: Final = 600.0
RETRY_DISK_S: Final = 30.0
WAITING: Final = 2
"""Clips that wait in memory for a disk that is full; the newest matter."""
_MEGABYTE: Final = 1_000_000
_DAY_S: Final = 86_400
_NAME: Final = re.compile(r"^(\d{8}T\d{6}Z)-(.+)\.(flac|opus)$")
_TIME: Final = "%Y%m%dT%H%M%SZ"


@dataclass(frozen=True, slots=True)
class ClipSettings:
    state_dir: Path
    pre_roll_s: float = 10.0
    max_s: float = 120.0
    keep_days: int = 7
    max_mb: int = 256
    format: Format = "flac"

    @property
    def folder(self) -> Path:
        return self.state_dir / FOLDER


@dataclass(frozen=True, slots=True)
class KeptClip:
    """A clip on disk, as its name tells."""

    path: Path
    onset_at: datetime
    episode_id: str
    size: int


class ClipSink(Sink):
    """Cuts, encodes and keeps on its own thread; the recorder is what the detector's thread feeds."""

    def __init__(
        self, settings: ClipSettings, recorder: ClipRecorder, *, now: Callable[[], Moment] = moment.now
    ) -> None:
        self._settings = settings
        self._recorder = recorder
        self._now = now
        self._cutter = ClipCutter(pre_roll_s=settings.pre_roll_s, max_s=settings.max_s)
        self._clock = SteadyClock()
        self._waiting: deque[tuple[str, bytes]] = deque()
        self._retry_at_s = self._pruned_at_s = 0.0
        self._lost = 0
        self._fault = ""

    @property
    @override
    def name(self) -> str:
        return "clips"

    @override
    def open(self) -> None:
        """Clear up behind a process that was killed; a disk that does not work is a fault and no error."""
        with self._disk_at_work():
            self._settings.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._settings.folder.chmod(0o700)
            for part in self._settings.folder.glob(".*"):
                part.unlink(missing_ok=True)

    @override
    def handle(self, message: AnyMessage) -> None:
        """Messages only wake us: what counts comes by way of the recorder, in one order with the audio."""
        self._cut()

    @override
    def tick(self) -> None:
        self._cut()
        now = self._now()
        steady = self._clock.is_steady(now)
        if self._waiting and now.since_boot_s >= self._retry_at_s:
            self._keep_waiting()
        if now.since_boot_s - self._pruned_at_s >= PRUNE_EVERY_S:
            self._pruned_at_s = now.since_boot_s
            with self._disk_at_work():
                self._prune(0, now if steady else None)

    @override
    def fault(self) -> str:
        return self._fault

    @override
    def close(self, timeout_s: float) -> None:
        self._cut()
        last = self._cutter.finish()
        if last is not None:
            self._keep(last)
        if self._waiting:
            self._keep_waiting()
        if self._waiting:
            log.error("clips.lost_at_stop", clips=len(self._waiting), fault=self._fault)

    # --- from audio to files ------------------------------------------------------------------------

    def _cut(self) -> None:
        for heard in self._recorder.take():
            done = self._cutter.feed(heard)
            if done is not None:
                self._keep(done)

    def _keep(self, done: Cut) -> None:
        name = f"{done.onset_at.astimezone(UTC).strftime(_TIME)}-{done.clip.episode_id}"
        try:
            sound = encoded(done.clip, self._settings.format)
        except RuntimeError as error:  # the library's, which has run out of something
            self._fault = f"The clip of an episode could not be encoded: {error}."
            log.exception("clips.not_encoded", episode_id=done.clip.episode_id)
            return
        if len(sound) > self._settings.max_mb * _MEGABYTE:
            self._fault = "A clip is larger than clips.max_mb allows for all: raise it or lower clips.max_s."
            return
        self._waiting.append((name + SUFFIX[self._settings.format], sound))
        while len(self._waiting) > WAITING:
            self._waiting.popleft()
            self._lost += 1
        self._keep_waiting()

    def _keep_waiting(self) -> None:
        self._retry_at_s = self._now().since_boot_s + RETRY_DISK_S
        with self._disk_at_work():
            self._settings.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            while self._waiting:
                name, sound = self._waiting[0]
                self._prune(len(sound), None)
                write_bytes_atomically(self._settings.folder / name, sound)
                self._waiting.popleft()
                log.info("clips.kept", name=name, bytes=len(sound))

    def _prune(self, wanted: int, by_age_at: Moment | None) -> None:
        """Make room for ``wanted`` bytes, and delete what is too old where the clock can be trusted."""
        clips = kept_clips(self._settings.folder)
        room = self._settings.max_mb * _MEGABYTE - wanted
        held = sum(clip.size for clip in clips)
        for clip in clips:
            too_old = (
                by_age_at is not None
                and clip.onset_at.timestamp() < by_age_at.utc_s - self._settings.keep_days * _DAY_S
            )
            if not too_old and held <= room:
                continue
            clip.path.unlink(missing_ok=True)
            held -= clip.size

    @contextlib.contextmanager
    def _disk_at_work(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._on_disk_error(error)
        else:
            if not self._waiting:
                self._fault = ""
                self._lost = 0

    def _on_disk_error(self, error: OSError) -> None:
        if not self._fault:
            log.error("clips.not_on_disk", error=str(error))
        lost = f" {self._lost} clips are lost." if self._lost else ""
        self._fault = (
            f"The sound of episodes cannot be kept in {self._settings.folder}: {error.strerror}.{lost} "
            "Make room, or let the service write there."
        )


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
