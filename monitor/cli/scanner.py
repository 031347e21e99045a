"""One recording through the very pipeline of the live service, as fast as it goes.

Runs in the command's own process or in one of its workers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from monitor.capture.recording import Recording
from monitor.capture.source import SourceStats
from monitor.detect.loading import load_pipeline
from monitor.detect.settings import DetectorSettings
from monitor.errors import AudioFileError
from monitor.types import CauseEstimate, DetectorOutput, EndOfStream, EpisodeEnded, Gap, seconds

READ_TIMEOUT_S = 1.0


@dataclass(frozen=True, slots=True)
class ScanRequest:
    """What is the same for all recordings of a scan."""

    settings: DetectorSettings
    artifacts: Path | None
    channel: int


@dataclass(frozen=True, slots=True)
class FoundEpisode:
    """One episode of crying. Positions in seconds from the start of the recording."""

    onset_s: float
    detected_s: float
    """Where the live service would have raised it."""
    offset_s: float
    score: float
    cause: CauseEstimate | None


@dataclass(frozen=True, slots=True)
class Scanned:
    """``problem`` says why the recording could not be read; then there are no episodes.

    ``fault`` says what of it could not be heard, of which ``damaged_s`` was found to be missing.
    """

    path: Path
    episodes: tuple[FoundEpisode, ...] = ()
    length_s: float = 0.0
    damaged_s: float = 0.0
    fault: str = ""
    problem: str = ""


def scan_recording(
    path: Path, request: ScanRequest, on_progress: Callable[[float], None] | None = None
) -> Scanned:
    """Find the crying in one recording. ``on_progress`` is told how much of it is done, 0-1.

    Raises ModelError; a recording that cannot be read is a result.
    """
    try:
        return _scan(path, request, on_progress)
    except AudioFileError as error:
        return Scanned(path, problem=str(error))


def _scan(path: Path, request: ScanRequest, on_progress: Callable[[float], None] | None) -> Scanned:
    pipeline = load_pipeline(request.settings, request.artifacts)
    source = Recording(path, channel=request.channel)
    episodes: list[FoundEpisode] = []
    length = damaged = 0
    source.start()
    try:
        while not isinstance(item := source.read(READ_TIMEOUT_S), EndOfStream):
            if item is None:
                continue
            length = item.stop
            damaged += item.length if isinstance(item, Gap) else 0
            episodes += _ended(pipeline.process(item))
            if on_progress is not None:
                on_progress(_share(seconds(length), source.duration_s))
        episodes += _ended(pipeline.flush())
    finally:
        source.stop(0.0)
    fault = " ".join(filter(None, (source.stats().fault, _silent_channel(path, source.stats()))))
    return Scanned(path, tuple(episodes), seconds(length), seconds(damaged), fault)


def _silent_channel(path: Path, stats: SourceStats) -> str:
    """What to say where the channel that was listened to is empty and another one is not."""
    other = stats.better_channel
    if other is None:
        return ""
    return (
        f"{path}: the chosen channel is silent, channel {other} is not: listen to it with --channel {other}."
    )


def _ended(outputs: list[DetectorOutput]) -> Iterator[FoundEpisode]:
    for output in outputs:
        if isinstance(output, EpisodeEnded):
            yield FoundEpisode(
                onset_s=seconds(output.onset),
                detected_s=seconds(output.detected),
                offset_s=seconds(output.offset),
                score=float(output.score),
                cause=output.cause,
            )


def _share(position_s: float, duration_s: float | None) -> float:
    return min(1.0, position_s / duration_s) if duration_s else 0.0
