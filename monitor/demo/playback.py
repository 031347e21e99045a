"""The demonstration's source: a recording, and a note of when its first sample sounded."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime

from typing_extensions import override

from monitor.capture.source import AudioSource, SourceStats
from monitor.types import Block, EndOfStream, Gap, seconds


class Playback(AudioSource):
    """Hands on another source's audio and learns when the stream began on the wall.

    A paced source hands over no sample before it has sounded, and now and then without any delay; the
    earliest beginning that fits all its blocks is therefore the true one. Delays reckoned from it
    hold everything behind the source: waiting for a full block, the models, the broker.
    """

    def __init__(self, source: AudioSource, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._source = source
        self._monotonic_s = monotonic_s
        self._origin_s: float | None = None

    @property
    def origin_s(self) -> float:
        """time.monotonic() at the first sample; 0 when nothing was read."""
        return 0.0 if self._origin_s is None else self._origin_s

    @override
    def start(self) -> None:
        self._source.start()

    @override
    def read(self, timeout_s: float) -> Block | Gap | EndOfStream | None:
        item = self._source.read(timeout_s)
        if isinstance(item, Block):
            began_s = self._monotonic_s() - seconds(item.stop)
            self._origin_s = began_s if self._origin_s is None else min(self._origin_s, began_s)
        return item

    @override
    def began_at(self, now: datetime) -> datetime | None:
        return self._source.began_at(now)

    @override
    def stop(self, timeout_s: float) -> None:
        self._source.stop(timeout_s)

    @override
    def stats(self) -> SourceStats:
        return self._source.stats()
