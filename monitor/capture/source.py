"""What the detector needs of a source of audio: a microphone, a recording or a pipe."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from monitor.types import Block, EndOfStream, Gap


class SourceState(StrEnum):
    STARTING = "starting"
    RUNNING = "running"
    LOST = "lost"
    """Nothing arrives; the source is trying to get its device back."""
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class SourceStats:
    """Counters since the start of the source. Positions and counts are at 16 kHz."""

    state: SourceState
    description: str
    """For a person: the device's or the file's name, rate and channel."""
    samples: int
    """Samples delivered to the reader."""
    lost_samples: int
    """Samples that became a Gap."""
    overflows: int
    """Blocks that the device flagged as incomplete."""
    restarts: int
    """Times that the capture child was started again."""
    waiting_s: float
    """Audio that was captured and not yet read."""
    last_block_age_s: float | None
    """Seconds since audio last arrived; None before the first."""
    fault: str
    """Why nothing arrives, for a person; empty while all is well."""
    better_channel: int | None = None
    """Another channel that sounds, where the chosen one never has."""


class AudioSource(Protocol):
    """A source of 16 kHz mono audio. One thread at a time may call it."""

    def start(self) -> None:
        """Begin to deliver.

        Raises DeviceNotFoundError, AudioFileError or ConfigError when it never can.
        """

    def read(self, timeout_s: float) -> Block | Gap | EndOfStream | None:
        """The next run of the stream; None when nothing came within ``timeout_s``.

        Runs join without holes: each ``start`` is the ``stop`` before it.
        """

    def began_at(self, now: datetime) -> datetime | None:  # noqa: ARG002 - for those that have an answer
        """When the first sample sounded, asked at ``now`` with the first audio.

        None where audio arrives as it sounds: then the newest is as old as its arrival.
        """
        return None

    def stop(self, timeout_s: float) -> None:
        """Release the device within ``timeout_s``. Calling it twice does no harm."""

    def stats(self) -> SourceStats:
        """A snapshot of the counters; any thread may call it."""
