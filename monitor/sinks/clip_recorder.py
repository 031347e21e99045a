"""The audio of the last seconds, on its way from the detector's thread to the one that keeps clips.

The detector's thread only hands over references: it never waits for a disk, nor for whoever takes them.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from monitor.messages import EpisodeMessage
from monitor.types import (
    Block,
    DetectorOutput,
    EpisodeEnded,
    EpisodeStarted,
    Gap,
    SampleIndex,
    samples,
)

BEHIND_S: Final = 60.0
"""How far the other thread may fall behind, while a disk stands still, before audio is dropped."""


@dataclass(frozen=True, slots=True)
class Opened:
    """An episode has begun, at sample ``onset`` and at ``onset_at``."""

    episode_id: str
    onset: SampleIndex
    onset_at: datetime


@dataclass(frozen=True, slots=True)
class Closed:
    episode_id: str


Heard = Block | Gap | Opened | Closed


class ClipRecorder:
    """Takes what the detector's thread sees, in its order. ``take`` may be called by one other thread."""

    def __init__(self, behind_s: float = BEHIND_S) -> None:
        self._most = samples(behind_s)
        self._lock = threading.Lock()  # held for a few pointers, never for audio
        self._audio: deque[tuple[int, Block | Gap]] = deque()
        self._marks: deque[tuple[int, Opened | Closed]] = deque()
        self._number = 0
        self._held = 0
        self._dropped = 0

    def on_block(self, item: Block | Gap) -> None:
        """Before the pipeline gets it: an episode must not be there before its audio."""
        with self._lock:
            self._number += 1
            self._audio.append((self._number, item))
            self._held += _length(item)
            while self._held > self._most and len(self._audio) > 1:
                _, oldest = self._audio.popleft()
                self._held -= _length(oldest)
                self._dropped += _length(oldest)

    def on_episode(self, output: DetectorOutput, message: EpisodeMessage) -> None:
        """``message`` is what the assembler made of ``output``."""
        mark: Opened | Closed
        if isinstance(output, EpisodeStarted):
            mark = Opened(message.episode_id, output.onset, message.onset_at)
        elif isinstance(output, EpisodeEnded):
            mark = Closed(message.episode_id)
        else:
            return
        with self._lock:
            self._number += 1
            self._marks.append((self._number, mark))

    def take(self) -> list[Heard]:
        """All since the last time, in order. What was dropped shows as a hole between two blocks."""
        with self._lock:
            audio, self._audio = self._audio, deque()
            marks, self._marks = self._marks, deque()
            self._held = 0
        return [item for _, item in sorted([*audio, *marks], key=lambda numbered: numbered[0])]

    @property
    def dropped_s(self) -> float:
        """Audio that nobody took in time."""
        return self._dropped / samples(1.0)


def _length(item: Block | Gap) -> int:
    return len(item.samples) if isinstance(item, Block) else 0
