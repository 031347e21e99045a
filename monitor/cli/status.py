"""Ask the running service how it is.

Exit code 0: all is well; 1: it listens, but something is lost or late, or listening is switched off; 2: it
does not hear; 3: no service answers. With --alive: 0 while it works, be it only on a lost microphone; 1
when a restart would help.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, Field, FiniteFloat, ValidationError

from monitor.cli.options import add_config_options, load
from monitor.errors import MonitorError
from monitor.service.state_folder import SYSTEM_STATE, state_path
from monitor.service.status_socket import NAME, ask
from monitor.words import count, length, plain

CODES: Final = {"ok": 0, "degraded": 1, "fault": 2}
NO_ANSWER: Final = 3
STUCK: Final = 1


class _Controls(BaseModel):
    listening: bool
    sensitivity: int
    hold_s: float
    quiet_hours: str
    muted_until: str | None


class _Night(BaseModel):
    episodes: int
    crying_s: float


class _Counters(BaseModel):
    audio_s: FiniteFloat = Field(ge=0)
    audio_lost_s: float


class _Alert(BaseModel):
    state: str
    since: str | None


class Report(BaseModel):
    """What is shown of a service's answer; a service of another version may say more."""

    state: Literal["ok", "degraded", "fault"]
    reasons: list[str]
    device: str
    version: str
    pid: int
    uptime_s: FiniteFloat = Field(ge=0)
    source: str
    sinks: dict[str, str]
    controls: _Controls
    night: _Night
    counters: _Counters
    alert: _Alert
    alive: bool = True
    """False when it is stuck; one of an older version does not say so."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_options(parser)
    parser.add_argument("--json", action="store_true", help="print the whole answer as JSON")
    parser.add_argument(
        "--alive", action="store_true", help="only say, by exit code, if a restart would help"
    )


def run(arguments: argparse.Namespace) -> int:
    config = load(arguments).config
    mine = state_path(config.service.state_dir, config.device.id, os.environ)
    paths = [mine / NAME, SYSTEM_STATE / config.device.id / NAME]
    try:
        answer = ask(next((path for path in paths if _is_there(path)), paths[0]))
        report = understood(answer)
    except MonitorError as error:
        print(f"cradlewatch: error: {error}", file=sys.stderr)
        return STUCK if arguments.alive else NO_ANSWER
    if arguments.alive:
        return 0 if report.alive else STUCK
    if arguments.json:
        print(json.dumps(answer, indent=2))
    else:
        for name, value in lines(report):
            print(f"{name:12}  {plain(value, None)}")
    return max(CODES[report.state], 0 if report.controls.listening else 1)


def understood(answer: object) -> Report:
    """Raises MonitorError for an answer of another form."""
    try:
        return Report.model_validate(answer)
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"])) or "the whole"
        raise MonitorError(
            f"The service answers in a form that this version does not understand ({where}).",
            "Was one of them upgraded? Restart the service.",
        ) from error


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except PermissionError:
        return True  # what stands there says itself that it is not for us


def lines(report: Report) -> Iterator[tuple[str, str]]:
    """The facts that a person wants, with their names."""
    night, counters = report.night, report.counters
    yield "state", report.state.upper()
    for reason in report.reasons:
        yield "", reason
    # Health says so too, once the audio that comes is thrown away.
    if not report.controls.listening and not any("switched off" in reason for reason in report.reasons):
        yield "", "Listening is switched off."
    yield "device", f"{report.device}, cradlewatch {report.version}, process {report.pid}"
    yield "running for", length(report.uptime_s)
    yield "microphone", report.source
    yield "heard", f"{length(counters.audio_s)} of audio, {counters.audio_lost_s:.1f} s lost"
    for sink, fault in report.sinks.items():
        yield f"to {sink}", fault or "delivers"
    yield "cry", _cry(report.alert)
    yield "tonight", f"{count(night.episodes, 'episode')}, {length(night.crying_s)} of crying"
    yield "settings", _settings(report.controls)


def _cry(alert: _Alert) -> str:
    if alert.state == "none":
        return "none at the moment"
    return f"since {alert.since}, {alert.state}"


def _settings(controls: _Controls) -> str:
    muted = f", muted until {controls.muted_until}" if controls.muted_until else ""
    return (
        f"sensitivity {controls.sensitivity}, hold {controls.hold_s:g} s,"
        f" quiet hours {controls.quiet_hours}{muted}"
    )
