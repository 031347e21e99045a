"""Test what the service depends on, as the service does. One line each, with the remedy.

Exit code 0 when all is well, 1 when something is not. Stop the service first: a microphone serves
one program only, unless a sound server shares it.
"""

from __future__ import annotations

import argparse
import math
import os
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from monitor.capture.source import AudioSource, SourceStats
from monitor.cli.check_service import Outcome, check_ports, check_sounder, check_state
from monitor.cli.options import add_config_options, load
from monitor.config import Config
from monitor.detect.loading import load_pipeline, verify_artifacts
from monitor.errors import MonitorError
from monitor.service.app import (
    audio_source,
    detector_settings,
    mqtt_settings,
    own_instances,
    signal_limits,
)
from monitor.service.push import push_settings
from monitor.service.signal_judgement import QUIET, SignalLimits, signal_troubles
from monitor.service.signal_watch import SignalStats, SignalWatch
from monitor.service.trouble import Concern
from monitor.sinks.mqtt_probe import probe
from monitor.sinks.push_channels import Channel
from monitor.types import SILENCE_DBFS, Block, EndOfStream
from monitor.words import plain

LISTEN_S: Final = 2.0
PATIENCE_S: Final = 12.0
"""Where nothing was heard: longer than the service takes to call it silence."""
SPEAK: Final = "If the room was silent, speak where the cot stands while you check again."
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
    """Listen for two seconds, longer where those tell too little."""
    source = audio_source(config)
    source.start()
    try:
        first_audio_s = max(FIRST_AUDIO_S, config.microphone.opened_within_s + LISTEN_S)
        return listen(source, signal_limits(config), first_audio_s=first_audio_s)
    finally:
        source.stop(1.0)


def listen(source: AudioSource, limits: SignalLimits, *, first_audio_s: float) -> Outcome:
    """Judge the beginning of a source that was started, as the service would.

    Its first audio has ``first_audio_s`` to come.
    """
    watch = SignalWatch()
    heard: list[NDArray[np.int16]] = []
    begun_s = time.monotonic()
    while time.monotonic() - begun_s < first_audio_s + (PATIENCE_S if heard else 0.0):
        item = source.read(0.25)
        if isinstance(item, EndOfStream):
            break
        if item is not None:
            watch.observe(item)
        if isinstance(item, Block) and len(item.samples):
            heard.append(item.samples)
            if _knows_enough(watch.stats(), limits):
                break
    stats = source.stats()
    if not heard:
        return Outcome(ok=False, text=f"No audio within {first_audio_s:.0f} s. {stats.fault}".strip())
    return _judged(np.concatenate(heard), watch.stats(), limits, stats)


def _knows_enough(signal: SignalStats, limits: SignalLimits) -> bool:
    """Whether more audio would not change the judgement: a still or quiet room may yet make a sound."""
    if signal.heard_s < LISTEN_S:
        return False
    sounds = signal.still_s == 0.0 and signal.loudest_dbfs >= limits.quiet_dbfs
    return sounds or signal.heard_s >= PATIENCE_S


def _judged(
    audio: NDArray[np.int16], signal: SignalStats, limits: SignalLimits, source: SourceStats
) -> Outcome:
    """The service's judgement, with the waits that it grants shortened to what was heard."""
    waits = min(limits.silent_after_s, 0.9 * signal.heard_s)
    now = replace(limits, silent_after_s=waits, quiet_after_s=0.0)
    rms_dbfs, peak_dbfs = levels_dbfs(audio)
    heard = f"{source.description}: RMS {rms_dbfs:.1f} dBFS, peak {peak_dbfs:.1f} dBFS"
    troubles = list(signal_troubles(signal, now, source.better_channel))
    if not troubles:
        return Outcome(ok=True, text=heard)
    hint = SPEAK if any(trouble.kind == QUIET for trouble in troubles) else ""
    return Outcome(
        ok=all(trouble.concern is not Concern.SIGNAL for trouble in troubles),
        text=" ".join([f"{heard}.", *(trouble.reason for trouble in troubles), hint]).strip(),
    )


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
    timeout_s = max(BROKER_S, settings.connect_timeout_s + settings.answer_timeout_s)
    result = probe(settings, timeout_s, ours=own_instances(config, os.environ))
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
