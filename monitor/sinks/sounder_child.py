"""The sounder's process: one alarm through PortAudio, and nothing else.

``python -P -m monitor.sinks.sounder_child '{"device": null, "tone_hz": 880, "volume": 0.8}'`` plays and
ends. PortAudio may hang for ever in a sound system that froze, so the service kills this process when it
takes too long; should the service be gone by then, the alarm clock of the kernel does.

It says in one JSON object on standard output what came of it.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
from types import ModuleType
from typing import Any, Final, NoReturn

from monitor.sinks.sounder_tone import alarm

LIVES_S: Final = 30
RATES_HZ: Final = (48_000, 44_100, 16_000)
EXIT_DONE: Final = 0
EXIT_REFUSED: Final = 3


class RefusedError(Exception):
    """It cannot be played. ``code`` is for the parent, the message for a person."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def main(arguments: list[str]) -> NoReturn:
    report = os.dup(1)
    os.dup2(2, 1)  # what C libraries print there is no report
    try:
        answer = play(_portaudio(), **json.loads(arguments[0]))
        status = EXIT_DONE
    except RefusedError as error:
        answer, status = {"error": error.code, "message": str(error)}, EXIT_REFUSED
    except Exception as error:  # noqa: BLE001  (last stop of this process: the parent must hear of it)
        answer = {"error": "internal", "message": f"{type(error).__name__}: {error}"}
        status = EXIT_REFUSED
    os.write(report, json.dumps(answer).encode())
    os._exit(status)  # not through PortAudio's own end, which may hang


def _portaudio() -> ModuleType:
    try:
        return importlib.import_module("sounddevice")
    except OSError as error:
        raise RefusedError("no_portaudio", str(error)) from error


def play(sounddevice: ModuleType, device: str | int | None, tone_hz: float, volume: float) -> dict[str, Any]:
    """Play one alarm and wait until it was heard; says on which device, and at which rate."""
    chosen = choose(list(sounddevice.query_devices()), default_of(sounddevice), device)
    fault = ""
    for rate_hz in dict.fromkeys([round(chosen["default_samplerate"]), *RATES_HZ]):
        try:
            stream = sounddevice.RawOutputStream(
                device=chosen["index"], channels=1, samplerate=rate_hz, dtype="int16", latency=0.2
            )
        except sounddevice.PortAudioError as error:
            fault = str(error)
            continue
        stream.start()
        stream.write(alarm(rate_hz, tone_hz, volume).tobytes())
        stream.stop()  # waits until all has been played
        return {"device": chosen["name"], "rate_hz": rate_hz}
    raise RefusedError("cannot_open", f"{chosen['name']!r}: {fault}")


def default_of(sounddevice: ModuleType) -> int:
    """Index of the default output device; -1 when there is none."""
    default = int(sounddevice.default.device[1])
    host_apis = sounddevice.query_hostapis()
    return int(host_apis[0]["default_output_device"]) if default < 0 and host_apis else default


def choose(devices: list[dict[str, Any]], default: int, wanted: str | int | None) -> dict[str, Any]:
    """The one output device that ``wanted`` means: an index, a name or a part of one, or None = default."""
    outputs = [device for device in devices if device["max_output_channels"] > 0]
    if wanted is None:
        matches = [device for device in outputs if device["index"] == default]
    elif isinstance(wanted, int):
        matches = [device for device in outputs if device["index"] == wanted]
    else:
        matches = [device for device in outputs if device["name"] == wanted]
        matches = matches or [device for device in outputs if wanted.lower() in device["name"].lower()]
    if not matches:
        raise RefusedError("not_found", ", ".join(f"{d['index']}: {d['name']!r}" for d in outputs))
    if len(matches) > 1:
        raise RefusedError("ambiguous", ", ".join(repr(device["name"]) for device in matches))
    return matches[0]


if __name__ == "__main__":
    signal.alarm(LIVES_S)
    main(sys.argv[1:])
