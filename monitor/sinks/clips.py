"""The sink that keeps the sound of episodes, for those who have switched it on.

Its thread cuts and encodes; another one works with the folder (:mod:`~monitor.sinks.clip_shelf`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog
from typing_extensions import override

from monitor.keeper import ANSWERS_WITHIN_S
from monitor.messages import AnyMessage
from monitor.sinks import moment
from monitor.sinks.base import Role, Sink
from monitor.sinks.clip_cutter import ClipCutter, Cut
from monitor.sinks.clip_file import SUFFIX, Format, encoded
from monitor.sinks.clip_recorder import ClipRecorder
from monitor.sinks.clip_shelf import ClipShelf, file_name
from monitor.sinks.moment import Moment
from monitor.sinks.steady import SteadyClock

log = structlog.get_logger(__name__)

FOLDER: Final = "clips"
PRUNE_EVERY_S: Final = 600.0
_MEGABYTE: Final = 1_000_000


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


class ClipSink(Sink):
    """Cuts, encodes and keeps on its own thread; the recorder is what the detector's thread feeds."""

    def __init__(
        self,
        settings: ClipSettings,
        recorder: ClipRecorder,
        *,
        now: Callable[[], Moment] = moment.now,
        within_s: float = ANSWERS_WITHIN_S,
    ) -> None:
        self._settings = settings
        self._recorder = recorder
        self._now = now
        self._cutter = ClipCutter(pre_roll_s=settings.pre_roll_s, max_s=settings.max_s)
        self._clock = SteadyClock()
        self._max_bytes = settings.max_mb * _MEGABYTE
        self._shelf = ClipShelf(
            settings.folder,
            keep_days=settings.keep_days,
            max_bytes=self._max_bytes,
            now=now,
            within_s=within_s,
        )
        self._pruned_at_s = 0.0
        self._fault = ""

    @property
    @override
    def name(self) -> str:
        return "clips"

    @property
    @override
    def role(self) -> Role:
        return Role.REMEMBERS

    @override
    def open(self) -> None:
        self._shelf.start()

    @override
    def handle(self, message: AnyMessage) -> None:
        """Messages only wake us: what counts comes by way of the recorder, in one order with the audio."""
        self._cut()

    @override
    def tick(self) -> None:
        self._cut()
        now = self._now()
        steady = self._clock.is_steady(now)
        self._shelf.look()
        if now.since_boot_s - self._pruned_at_s >= PRUNE_EVERY_S:
            self._pruned_at_s = now.since_boot_s
            self._shelf.prune(now if steady else None)

    @override
    def fault(self) -> str:
        return self._shelf.fault() or self._fault

    @override
    def close(self, timeout_s: float) -> None:
        self._cut()
        last = self._cutter.finish()
        if last is not None:
            self._keep(last)
        self._shelf.close(timeout_s)

    # --- from audio to files ------------------------------------------------------------------------

    def _cut(self) -> None:
        for heard in self._recorder.take():
            done = self._cutter.feed(heard)
            if done is not None:
                self._keep(done)

    def _keep(self, done: Cut) -> None:
        episode_id = done.clip.episode_id
        try:
            sound = encoded(done.clip, self._settings.format)
        except RuntimeError as error:  # the library's, which has run out of something
            self._fault = f"The clip of an episode could not be encoded: {error}."
            log.exception("clips.not_encoded", episode_id=episode_id)
            return
        if len(sound) > self._max_bytes:
            self._fault = "A clip is larger than clips.max_mb allows for all: raise it or lower clips.max_s."
            return
        self._fault = ""
        self._shelf.put(file_name(done.onset_at, episode_id, SUFFIX[self._settings.format]), sound)
