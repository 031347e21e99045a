"""Test what the service depends on, as the service does. One line each, with the remedy.

Exit code 0 when all is well, 1 when something is not. Stop the service first: a microphone serves
one program only, unless a sound server shares it.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from monitor.capture.source import AudioSource
from monitor.cli.check_service import Outcome, check_ports, check_sounder, check_state
from monitor.cli.options import add_config_options, load
from monitor.config import Config
from monitor.detect.loading import load_pipeline, verify_artifacts
from monitor.errors import MonitorError
from monitor.service.app import audio_source, detector_settings, mqtt_settings
from monitor.service.push import push_settings
from monitor.service.signal_watch import SignalWatch
from monitor.sinks.mqtt_probe import probe
from monitor.sinks.push_channels import Channel
from monitor.types import SILENCE_DBFS, Block, EndOfStream, Gap, samples
from monitor.words import plain

LISTEN_S: Final = 2.0
FIRST_AUDIO_S: Final = 10.0
BROKER_S: Final = 5.0
FULL_SCALE: Final = 32768.0
FAILED: Final = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_options(parser)
    parser.add_argument("--only", choices=list(CHECKS), help="test this and nothing else")


def run(arguments: argparse.Namespace) -> int:
    config = load(arguments).config
    failed = False
    for name, check in CHECKS.items():
        if arguments.only not in {None, name}:
            continue
        try:
            outcome = check(config)
        except MonitorError as error:
            outcome = Outcome(ok=False, text=str(error))
        mark = {True: "OK  ", False: "FAIL", None: "--  "}[outcome.ok]
        print(f"{mark}  {name:10}  {plain(outcome.text, None)}", flush=True)
        failed = failed or outcome.ok is False
    return FAILED if failed else 0


def check_source(config: Config) -> Outcome:
    """Listen for two seconds."""
    source = audio_source(config)
    source.start()
    try:
        return listen(source, first_audio_s=max(FIRST_AUDIO_S, config.microphone.opened_within_s + LISTEN_S))
    finally:
        source.stop(1.0)


def listen(source: AudioSource, *, first_audio_s: float) -> Outcome:
    """Judge the first two seconds of a source that was started; they have ``first_audio_s`` to come."""
    watch = SignalWatch()
    blocks: list[Block] = []
    deadline_s = time.monotonic() + first_audio_s
    while sum(len(block.samples) for block in blocks) < samples(LISTEN_S) and time.monotonic() < deadline_s:
        item = source.read(0.25)
        if isinstance(item, EndOfStream):
            break
        if isinstance(item, Gap):
            watch.observe(item)
        elif item is not None:
            watch.observe(item)
            blocks.append(item)
    stats = source.stats()
    if not blocks:
        return Outcome(ok=False, text=f"No audio within {first_audio_s:.0f} s. {stats.fault}".strip())
    return _judged(np.concatenate([block.samples for block in blocks]), watch, stats.description)


def _judged(audio: NDArray[np.int16], watch: SignalWatch, description: str) -> Outcome:
    rms_dbfs, peak_dbfs = levels_dbfs(audio)
    heard = f"{description}: RMS {rms_dbfs:.1f} dBFS, peak {peak_dbfs:.1f} dBFS"
    if watch.value == 0:
        return Outcome(ok=False, text=f"{description}: digital silence. Is it muted? Look with `alsamixer`.")
    if watch.value is not None:
        return Outcome(ok=False, text=f"{description}: one constant value, {watch.value}: it is broken.")
    if peak_dbfs > -0.1:
        return Outcome(ok=False, text=f"{heard}: it clips. Turn its gain down, with `alsamixer` for example.")
    return Outcome(ok=True, text=heard)


def levels_dbfs(audio: NDArray[np.int16]) -> tuple[float, float]:
    """RMS and peak of ``audio``, int16 (n,), n > 0."""
    wave = audio.astype(np.float64) / FULL_SCALE
    return _dbfs(float(np.sqrt(np.mean(wave**2)))), _dbfs(float(np.abs(wave).max()))


def _dbfs(amplitude: float) -> float:
    return 20 * math.log10(amplitude) if amplitude > 0 else SILENCE_DBFS


def check_models(config: Config) -> Outcome:
    """Run each model on the input that was released with it, and load all as the service does."""
    load_pipeline(detector_settings(config.detect), config.detect.artifacts)
    results = verify_artifacts(config.detect.artifacts)
    return Outcome(ok=True, text=", ".join(f"{r.name} ({r.form}) answers as released" for r in results))


def check_broker(config: Config) -> Outcome:
    """Connect and publish one message that nobody keeps."""
    settings = mqtt_settings(config)
    if settings is None:
        return Outcome(ok=None, text="not configured: set mqtt.host to report to a broker")
    result = probe(settings, max(BROKER_S, settings.connect_timeout_s + settings.answer_timeout_s))
    if not result.ok:
        return Outcome(ok=False, text=f"{result.problem} {result.remedy}".strip())
    note = f" {result.note}" if result.note else ""
    return Outcome(
        ok=True,
        text=f"{settings.address}, MQTT {result.protocol}, answers in {result.round_trip_ms:.0f} ms.{note}",
    )


def check_push(config: Config) -> Outcome:
    """Read the channels without alarming anybody."""
    settings = push_settings(config)
    if settings is None or not settings.channels:
        return Outcome(ok=None, text="not configured: set push.channels_file to alert phones directly")
    for channel in settings.channels:
        Channel(channel).check()
    names = ", ".join(channel.name for channel in settings.channels)
    return Outcome(ok=True, text=f"{names}: usable; `cradlewatch alert test` tries whether they arrive")


CHECKS: Final[dict[str, Callable[[Config], Outcome]]] = {
    "microphone": check_source,
    "models": check_models,
    "broker": check_broker,
    "push": check_push,
    "sounder": check_sounder,
    "state": check_state,
    "ports": check_ports,
}
