"""Recordings one after the other, as one stream of audio; now and then some of it is lost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from typing_extensions import override

from monitor.capture.recording import Recording
from monitor.capture.source import AudioSource, SourceState, SourceStats
from monitor.capture.timeline import Timeline
from monitor.types import Block, EndOfStream, Gap, GapReason, samples

LOST_S: Final = 7.0
LOST_AFTER_EACH: Final = 3
"""Recordings."""


class Playlist(AudioSource):
    """``files`` in their order, at full speed. :attr:`begins` has the position at which each began."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = tuple(files)
        self._items = self._play()
        self._timeline = Timeline()
        self._last = Recording(self._files[0]).stats()
        self._state = SourceState.STARTING
        self.begins: list[int] = []

    @override
    def start(self) -> None:
        self._state = SourceState.RUNNING

    @override
    def read(self, timeout_s: float) -> Block | Gap | EndOfStream | None:
        item = EndOfStream.END if self._state is SourceState.ENDED else next(self._items, EndOfStream.END)
        if isinstance(item, EndOfStream):
            self._state = SourceState.ENDED
        return item

    @override
    def stop(self, timeout_s: float) -> None:
        self._state = SourceState.ENDED

    @override
    def stats(self) -> SourceStats:
        return replace(
            self._last,
            state=self._state,
            samples=self._timeline.delivered,
            lost_samples=self._timeline.lost,
            last_block_age_s=0.0,
        )

    def _play(self) -> Iterator[Block | Gap]:
        for number, path in enumerate(self._files, start=1):
            self.begins.append(self._timeline.position)
            recording = Recording(path)
            recording.start()
            try:
                while not isinstance(item := recording.read(1.0), EndOfStream):
                    if isinstance(item, Gap):
                        yield self._timeline.gap(item.length, item.reason)
                    elif item is not None:
                        yield self._timeline.block(item.samples)
            finally:
                self._last = recording.stats()
                recording.stop(0.0)
            if number % LOST_AFTER_EACH == 0:
                yield self._timeline.gap(samples(LOST_S), GapReason.DEVICE_LOST)
