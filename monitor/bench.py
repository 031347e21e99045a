"""Measure what each stage costs on this machine: process time per hour of audio, sizes, memory.

The audio is made here: a quiet room, and one where something is going on all the time. With FILE the
whole pipeline is measured on that recording too. Figures are the median of several passes, with the
fastest and the slowest; stop what else runs, or the slowest says more about that.
"""

from __future__ import annotations

import argparse
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from monitor.capture.recording import Recording
from monitor.cli.options import add_config_options, load
from monitor.cli.table import print_table
from monitor.detect import artifacts
from monitor.detect.activity import HOP, ActivityDetector
from monitor.detect.artifacts import Kind
from monitor.detect.classifier import SEGMENT_FRAMES
from monitor.detect.features import FRAME_HOP, LogMel
from monitor.detect.forms import Choice, load_network
from monitor.detect.gate import GateModel
from monitor.detect.inference import Network
from monitor.detect.loading import has_verifier, load_classifier, load_pipeline, load_verifier
from monitor.detect.pipeline import Pipeline
from monitor.detect.segment_mel import SEGMENT_SAMPLES
from monitor.detect.settings import DetectorSettings
from monitor.detect.vad import Vad
from monitor.errors import AudioFileError, ConfigError
from monitor.service.app import detector_settings
from monitor.types import SAMPLE_RATE_HZ, Block, EndOfStream, SampleIndex, samples, seconds

Audio = NDArray[np.int16]
_Item = TypeVar("_Item")

QUIET_DBFS: Final = -68.0
ACTIVE_DBFS: Final = -35.0
BLOCK_SAMPLES: Final = samples(4.8)
MIN_SECONDS: Final = 12.0
"""Two segments of the classifier; below that the clock's own steps show."""
READ_TIMEOUT_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Cost:
    """Process time in seconds per hour of audio, over several passes."""

    median: float
    fastest: float
    slowest: float

    @property
    def times_real_time(self) -> float:
        """How much faster than the audio plays; infinite when the clock saw nothing."""
        return 3600.0 / self.median if self.median > 0.0 else float("inf")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file", nargs="?", type=Path, metavar="FILE", help="a recording to measure on as well"
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="audio of one pass (default 60)")
    parser.add_argument("--passes", type=int, default=5, help="passes of each stage (default 5)")
    add_config_options(parser)


def run(arguments: argparse.Namespace) -> int:
    _check("--seconds", arguments.seconds, MIN_SECONDS)
    _check("--passes", arguments.passes, 1)
    detect = load(arguments).config.detect
    settings, folder = detector_settings(detect), detect.artifacts
    bare_mib = resident_mib()
    begun = time.perf_counter()
    load_pipeline(settings, folder)
    loading_s = time.perf_counter() - begun
    choice = load_network(artifacts.find(folder, "gate"), settings.model_form)
    rows = stage_rows(settings, folder, choice.network, arguments.seconds, arguments.passes)
    # The whole pipeline with the very form that was timed alone.
    settings = replace(settings, model_form=choice.form)
    rows += pipeline_rows(settings, folder, arguments.seconds, arguments.passes)
    if arguments.file is not None:
        rows.append(
            _pipeline_row(arguments.file.name, settings, folder, _read(arguments.file), arguments.passes)
        )
    _say(
        f"{platform.machine()}, Python {platform.python_version()}: "
        f"{arguments.passes} passes over {arguments.seconds:g} s, process time"
    )
    print_table(("stage", "CPU s/h", "fastest", "slowest", "x real time", "note"), rows)
    _say("")
    print_table(("model", "KB", "file"), model_rows(folder))
    _say(f"\ngate model: {form_sentence(choice)}")
    _say(
        f"memory: {bare_mib:.0f} MiB before the models, {resident_mib():.0f} MiB at the end, this "
        f"program's audio included; models loaded in {loading_s * 1000.0:.0f} ms"
    )
    return 0


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def _check(key: str, value: float, least: float) -> None:
    if not value >= least:
        raise ConfigError(f"{key} {value:g} is too small.", f"Give at least {least:g}.")


# --- audio --------------------------------------------------------------------------------------


def quiet_room(duration_s: float) -> Audio:
    """A microphone's own noise and nothing else, int16."""
    noise = np.random.default_rng(1).standard_normal(samples(duration_s))
    return _int16(noise * 10.0 ** (QUIET_DBFS / 20.0))


def activity(duration_s: float) -> Audio:
    """A harmonic sound that comes and goes five times in two seconds, int16: the cheap stage never sleeps."""
    t = np.arange(samples(duration_s)) / SAMPLE_RATE_HZ
    f0_hz = 420.0 + 60.0 * np.sin(2.0 * np.pi * 0.7 * t)
    phase = 2.0 * np.pi * np.cumsum(f0_hz) / SAMPLE_RATE_HZ
    voice = np.sum([np.sin(k * phase) / k for k in range(1, 12)], axis=0)
    envelope = 0.5 - 0.5 * np.cos(2.0 * np.pi * 2.5 * t)
    loud = voice * envelope / np.sqrt(np.mean((voice * envelope) ** 2)) * 10.0 ** (ACTIVE_DBFS / 20.0)
    return _int16(loud + quiet_room(duration_s) / 32768.0)


def _int16(wave: NDArray[np.float64]) -> Audio:
    return np.clip(np.rint(wave * 32768.0), -32768, 32767).astype(np.int16)


def _read(path: Path) -> Audio:
    """A whole recording; a hole in it becomes silence."""
    source = Recording(path)
    source.start()
    parts: list[Audio] = []
    try:
        while not isinstance(item := source.read(READ_TIMEOUT_S), EndOfStream):
            if item is None:
                raise AudioFileError(f"{str(path)!r} delivers nothing.", "Try another recording.")
            parts.append(item.samples if isinstance(item, Block) else np.zeros(item.length, np.int16))
    finally:
        source.stop(1.0)
    if not sum(map(len, parts)):
        raise AudioFileError(f"{str(path)!r} holds no audio.", "Try another recording.")
    return np.concatenate(parts)


# --- measuring ----------------------------------------------------------------------------------


def measure(work: Callable[[], object], audio_s: float, passes: int) -> Cost:
    """Process time of ``work``, which stands for ``audio_s`` of audio. One pass before is not counted."""
    work()
    taken = []
    for _ in range(passes):
        begun = time.process_time()
        work()
        taken.append((time.process_time() - begun) / audio_s * 3600.0)
    return Cost(statistics.median(taken), min(taken), max(taken))


def _each(stage: Callable[[_Item], object], items: Sequence[_Item]) -> Callable[[], None]:
    """One pass of a stage over all items."""

    def work() -> None:
        for item in items:
            stage(item)

    return work


def stage_rows(
    settings: DetectorSettings, folder: Path | None, network: Network, duration_s: float, passes: int
) -> list[tuple[str, ...]]:
    """Each stage alone, on every hop of the active audio as if nothing before it had said no."""
    audio = activity(duration_s)
    hops = [audio[start : start + HOP] for start in range(0, len(audio) - HOP + 1, HOP)]
    quiet = quiet_room(duration_s)
    quiet_hops = [quiet[start : start + HOP] for start in range(0, len(quiet) - HOP + 1, HOP)]
    vad, log_mel = Vad(settings.vad_mode), LogMel()
    detector = ActivityDetector(vad, settings.level_margin_db)
    gate = GateModel(network)
    frames = [log_mel.process(hop) for hop in hops]
    heard_s = seconds(len(hops) * HOP)
    stages = [
        ("bands and floors, quiet", _each(detector.process, quiet_hops), "runs always"),
        ("bands and floors, active", _each(detector.process, hops), "asks the VAD only when in doubt"),
        ("VAD", _each(vad.voiced_frames, hops), "if it were asked about every hop"),
        ("log-mel", _each(log_mel.process, hops), "runs while awake"),
        ("gate model", _each(gate.process, frames), "runs while awake"),
    ]
    rows = [_row(name, measure(work, heard_s, passes), note) for name, work, note in stages]
    if has_verifier(folder):
        verifier, segment = load_verifier(folder), np.resize(audio, SEGMENT_SAMPLES)
        cost = measure(lambda: verifier.judge(segment), seconds(HOP), passes)
        rows.append(_row("verifier", cost, "runs while the gate suspects and no episode is open"))
    if settings.classify:
        classifier = load_classifier(folder)
        mels = np.resize(np.concatenate(frames), (SEGMENT_FRAMES, frames[0].shape[1]))
        segment_s = seconds(SEGMENT_FRAMES * FRAME_HOP)
        cost = measure(lambda: classifier.log_posterior(mels), segment_s, passes)
        rows.append(_row("classifier", cost, "runs during an episode, at most its first minute"))
    return rows


def pipeline_rows(
    settings: DetectorSettings, folder: Path | None, duration_s: float, passes: int
) -> list[tuple[str, ...]]:
    """The whole pipeline in a quiet room and in continuous activity."""
    return [
        _pipeline_row("quiet room", settings, folder, quiet_room(duration_s), passes),
        _pipeline_row("continuous activity", settings, folder, activity(duration_s), passes),
    ]


def _pipeline_row(
    name: str, settings: DetectorSettings, folder: Path | None, audio: Audio, passes: int
) -> tuple[str, ...]:
    player = _Player(load_pipeline(settings, folder))
    cost = measure(lambda: player.play(audio), seconds(len(audio)), passes)
    return _row(f"whole pipeline, {name}", cost, f"gate model awake {player.awake_share():.0%} of the time")


class _Player:
    """Plays audio to one pipeline again and again, as one long stream."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._position = 0

    def play(self, audio: Audio) -> None:
        for start in range(0, len(audio), BLOCK_SAMPLES):
            block = Block(SampleIndex(self._position), audio[start : start + BLOCK_SAMPLES])
            self._pipeline.process(block)
            self._position = block.stop

    def awake_share(self) -> float:
        stats = self._pipeline.stats()
        return stats.awake_hops / stats.hops if stats.hops else 0.0


def _row(name: str, cost: Cost, note: str) -> tuple[str, ...]:
    times = f"{cost.times_real_time:,.0f}"
    return (name, f"{cost.median:.2f}", f"{cost.fastest:.2f}", f"{cost.slowest:.2f}", times, note)


def form_sentence(choice: Choice) -> str:
    """Which form of the gate model runs, and why."""
    if choice.int8_ms is None or choice.float_ms is None:
        return f"{choice.form}, as set or because there is no other form"
    return (
        f"{choice.form} was chosen: a run takes {choice.int8_ms:.3f} ms in int8, {choice.float_ms:.3f} ms"
        " in float (medians)"
    )


def model_rows(folder: Path | None) -> list[tuple[str, ...]]:
    """Size of each model file, and of all."""
    kinds: tuple[Kind, ...] = ("gate", "verifier", "cause") if has_verifier(folder) else ("gate", "cause")
    found = [artifacts.find(folder, kind) for kind in kinds]
    files = [file for each in found for file in (each.model, each.float_model) if file is not None]
    sizes = [file.stat().st_size for file in files]
    rows = [
        (file.parent.name, f"{size / 1000.0:.1f}", file.name) for file, size in zip(files, sizes, strict=True)
    ]
    return [*rows, ("together", f"{sum(sizes) / 1000.0:.1f}", "")]


def resident_mib() -> float:
    """Highest resident memory of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1024.0 if sys.platform != "darwin" else peak / 1024.0 / 1024.0
