"""Cuts episodes, with what came before them, out of the stream of audio. No disk and no clock in here."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import numpy as np
from numpy.typing import NDArray

from monitor.sinks.clip_file import Clip, Silence
from monitor.sinks.clip_recorder import Closed, Heard, Opened
from monitor.types import Block, SampleIndex, samples

RAISED_WITHIN_S: Final = 30.0
"""An episode is told of some seconds behind its onset; audio is kept for so long to reach back to it."""
LONGEST_SILENCE_S: Final = 5.0
"""Of a longer hole this much is heard; the comment says how long it was."""


@dataclass(slots=True)
class _Open:
    episode: Opened
    start: SampleIndex
    next: SampleIndex
    parts: list[NDArray[np.int16] | Silence] = field(default_factory=list)
    length: int = 0


@dataclass(frozen=True, slots=True)
class Cut:
    """A clip and when its crying began."""

    clip: Clip
    onset_at: datetime


class ClipCutter:
    """Fed with all that was heard, in order; gives a clip when its episode is over or long enough."""

    def __init__(self, *, pre_roll_s: float, max_s: float) -> None:
        self._pre_roll = samples(pre_roll_s)
        self._max = samples(max_s)
        self._recent: deque[Block] = deque()
        self._gaps: dict[SampleIndex, str] = {}
        self._open: _Open | None = None

    def feed(self, heard: Heard) -> Cut | None:
        """Take the next; the clip that it completes."""
        match heard:
            case Block():
                return self._take(heard)
            case Opened():
                return self._begin(heard)
            case Closed():
                return self.finish(heard.episode_id)
            case _:
                self._gaps[heard.start] = heard.reason.value
                return None

    def finish(self, episode_id: str | None = None) -> Cut | None:
        """End the open clip, or that of one episode."""
        current = self._open
        if current is None or episode_id not in {None, current.episode.episode_id}:
            return None
        self._open = None
        if not current.parts:
            return None
        onset = max(0, current.episode.onset - current.start)
        return Cut(Clip(current.episode.episode_id, onset, current.parts), current.episode.onset_at)

    def _begin(self, opened: Opened) -> Cut | None:
        before = self.finish()
        start = SampleIndex(max(0, opened.onset - self._pre_roll))
        if self._recent:
            start = max(start, self._recent[0].start)
        self._open = _Open(opened, start, start)
        for block in self._recent:
            if block.stop > start:
                self._append(
                    self._open, block
                )  # never more than a clip may hold; the next block ends it then
        return before

    def _take(self, block: Block) -> Cut | None:
        self._recent.append(block)
        if self._open is not None:
            self._append(self._open, block)
        oldest = block.stop - self._pre_roll - samples(RAISED_WITHIN_S)
        while self._recent[0].stop <= oldest:
            self._recent.popleft()
        self._gaps = {at: why for at, why in self._gaps.items() if at >= self._recent[0].start}
        is_full = self._open is not None and self._open.length >= self._max
        return self.finish() if is_full else None

    def _append(self, clip: _Open, block: Block) -> None:
        if block.start > clip.next:
            self._append_hole(clip, block.start - clip.next)
        # A stream that begins anew, or a block of which the front is in already.
        skip = max(0, clip.next - block.start) if block.stop > clip.next else 0
        part = block.samples[skip : skip + max(0, self._max - clip.length)]
        if len(part):
            clip.parts.append(part)
            clip.length += len(part)
        clip.next = block.stop

    def _append_hole(self, clip: _Open, length: int) -> None:
        reason = self._gaps.get(clip.next, "not recorded")
        audible = min(length, samples(LONGEST_SILENCE_S), max(0, self._max - clip.length))
        if audible < length:
            reason += f", {length / samples(1.0):.1f} s in all"
        if audible:
            clip.parts.append(Silence(audible, reason))
            clip.length += audible
