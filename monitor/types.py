"""The vocabulary inside the pipeline: audio, positions and what the detector says.

Time in here is a sample index at 16 kHz since the stream began. It becomes UTC at one place only
(:class:`monitor.events.clock.StreamClock`), so a clock step on the Pi cannot bend a duration.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import TYPE_CHECKING, Final, NewType

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SampleIndex = NewType("SampleIndex", int)
"""Position in the stream, in samples at :data:`SAMPLE_RATE_HZ`, counted from its start."""

Dbfs = NewType("Dbfs", float)
"""Level in dB relative to a full-scale sine's peak (RMS of a full-scale square is 0 dBFS)."""

Probability = NewType("Probability", float)
"""A number in [0, 1]."""

SAMPLE_RATE_HZ: Final = 16_000
"""The one rate behind capture: both models, the VAD and all positions use it."""

SILENCE_DBFS: Final = Dbfs(-100.0)
"""Level reported for digital silence; -inf would not survive JSON."""


def seconds(n_samples: int) -> float:
    """Length of ``n_samples`` in seconds."""
    return n_samples / SAMPLE_RATE_HZ


def samples(duration_s: float) -> int:
    """Number of samples in ``duration_s`` seconds, rounded to the nearest."""
    return round(duration_s * SAMPLE_RATE_HZ)


# --- what a source delivers ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Block:
    """A run of audio: int16, shape (n,), mono, 16 kHz, read-only."""

    start: SampleIndex
    samples: NDArray[np.int16]

    @property
    def stop(self) -> SampleIndex:
        return SampleIndex(self.start + len(self.samples))


class GapReason(StrEnum):
    OVERRUN = "overrun"
    """The reader was too slow and the ring overwrote what it had not read."""
    DEVICE_LOST = "device_lost"
    """The device delivered nothing."""
    PAUSED = "paused"
    """Listening was switched off: what was said then is nobody's business."""
    DAMAGED = "damaged"
    """A recording could not be decoded here."""


@dataclass(frozen=True, slots=True)
class Gap:
    """A run of the stream of which the audio is lost. Every stage starts afresh behind it."""

    start: SampleIndex
    length: int
    reason: GapReason

    @property
    def stop(self) -> SampleIndex:
        return SampleIndex(self.start + self.length)


class EndOfStream(Enum):
    """What a finite source delivers after its last block."""

    END = "end"


# --- what the detector says ---------------------------------------------------------------------


class Cause(StrEnum):
    """Why a baby may cry, as the public data set names it; ``UNSURE`` is the usual answer."""

    BELLY_PAIN = "belly_pain"
    BURPING = "burping"
    DISCOMFORT = "discomfort"
    HUNGRY = "hungry"
    TIRED = "tired"
    UNSURE = "unsure"


@dataclass(frozen=True, slots=True)
class CauseEstimate:
    """The classifier's answer.

    ``probabilities`` are calibrated and sum to 1 over the five causes; ``priors`` are the base rates
    they have to beat. ``answer`` is UNSURE unless the top cause passes the model's own threshold.
    """

    answer: Cause
    probabilities: Mapping[Cause, float]
    priors: Mapping[Cause, float]


@dataclass(frozen=True, slots=True)
class HopReport:
    """One decision step (240 ms) of the detector, for meters, telemetry and metrics.

    ``score`` is the smoothed cry probability, or None while the gate model sleeps because neither
    the level nor the VAD saw activity.
    """

    start: SampleIndex
    stop: SampleIndex
    level_dbfs: Dbfs
    peak_dbfs: Dbfs
    noise_floor_dbfs: Dbfs
    active: bool
    score: Probability | None
    crying: bool


@dataclass(frozen=True, slots=True)
class EpisodeStarted:
    """A cry has been recognised. ``onset`` is where it began, ``detected`` where we knew."""

    number: int
    onset: SampleIndex
    detected: SampleIndex
    score: Probability
    level_dbfs: Dbfs


@dataclass(frozen=True, slots=True)
class EpisodeUpdated:
    """The episode goes on. ``score`` is its highest so far; ``cause`` may still be None."""

    number: int
    onset: SampleIndex
    detected: SampleIndex
    at: SampleIndex
    score: Probability
    level_dbfs: Dbfs
    crying_s: float
    cause: CauseEstimate | None


@dataclass(frozen=True, slots=True)
class EpisodeEnded:
    """The episode is over: its last cry ended at ``offset`` and the hang-over passed at ``at``.

    ``crying_s`` counts only the hops that held crying; ``truncated`` says that a gap or the end of
    the stream cut it off.
    """

    number: int
    onset: SampleIndex
    detected: SampleIndex
    offset: SampleIndex
    at: SampleIndex
    score: Probability
    level_dbfs: Dbfs
    crying_s: float
    cause: CauseEstimate | None
    truncated: bool


DetectorOutput = HopReport | EpisodeStarted | EpisodeUpdated | EpisodeEnded
