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

    ``may_end`` waits up to the seconds that it is given and says whether the stream may end; it is asked for
    ``patience_s`` at most. A small broker drops what it has acknowledged when its sender leaves, and in a
    fast run the sender would leave with its last message.
    """

    def __init__(
        self,
        source: AudioSource,
        monotonic_s: Callable[[], float] = time.monotonic,
        *,
        may_end: Callable[[float], bool] = lambda _wait_s: True,
        patience_s: float = 0.0,
    ) -> None:
        self._source = source
        self._monotonic_s = monotonic_s
        self._may_end = may_end
        self._patience_s = patience_s
        self._origin_s: float | None = None
        self._ended_s: float | None = None

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
        if isinstance(item, EndOfStream) and not self._is_over(timeout_s):
            return None
        return item

    def _is_over(self, timeout_s: float) -> bool:
        if self._ended_s is None:
            self._ended_s = self._monotonic_s()
        left_s = self._ended_s + self._patience_s - self._monotonic_s()
        return left_s <= 0 or self._may_end(min(timeout_s, left_s))

    @override
    def began_at(self, now: datetime) -> datetime | None:
        return self._source.began_at(now)

    @override
    def stop(self, timeout_s: float) -> None:
        self._source.stop(timeout_s)

    @override
    def stats(self) -> SourceStats:
        return self._source.stats()
