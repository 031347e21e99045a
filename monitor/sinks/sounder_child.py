"""The sounder's process: it waits, plays one alarm through PortAudio on demand, and ends.

``echo play | python -P -m monitor.sinks.sounder_child '{"device": null, "tone_hz": 880, "volume": 0.8}'``

It starts long before the alarm, looks for its speaker and says so: what is missing is known while somebody
can still see to it, and an alarm needs neither a new process nor the disk. It leaves when its standard input
closes. PortAudio may hang for ever in a sound system that froze, so the service kills this process when it
takes too long; should the service be gone by then, the alarm clock of the kernel does.

It says in JSON objects on standard output, one a line, what it found and what came of it.
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
        settings = json.loads(arguments[0])
        sounddevice = _portaudio()
        _tell(report, {"ready": prepare(sounddevice, **settings)})
        _wait_for_order()
        # The list of devices is as old as the library's start.
        sounddevice._initialize()  # noqa: SLF001 - the library has no public one
        answer = play(sounddevice, **settings)
        status = EXIT_DONE
    except RefusedError as error:
        answer, status = {"error": error.code, "message": str(error)}, EXIT_REFUSED
    except Exception as error:  # noqa: BLE001  (last stop of this process: the parent must hear of it)
        answer = {"error": "internal", "message": f"{type(error).__name__}: {error}"}
        status = EXIT_REFUSED
    _tell(report, answer)
    os._exit(status)  # not through PortAudio's own end, which may hang


def _tell(report: int, message: dict[str, Any]) -> None:
    os.write(report, json.dumps(message).encode() + b"\n")


def _wait_for_order() -> None:
    signal.alarm(0)
    if not os.read(0, 64):
        os._exit(EXIT_DONE)  # the service is gone
    signal.alarm(LIVES_S)


def _portaudio() -> ModuleType:
    try:
        return importlib.import_module("sounddevice")
    except OSError as error:
        raise RefusedError("no_portaudio", str(error)) from error


def prepare(sounddevice: ModuleType, device: str | int | None, tone_hz: float, volume: float) -> str:
    """Find the speaker and make the alarm for it; its name. Holds no device meanwhile."""
    chosen = choose(list(sounddevice.query_devices()), default_of(sounddevice), device)
    alarm(round(chosen["default_samplerate"]), tone_hz, volume)
    sounddevice._terminate()  # noqa: SLF001 - as above
    return str(chosen["name"])


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
        stream.write(alarm(rate_hz, tone_hz, volume))
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
