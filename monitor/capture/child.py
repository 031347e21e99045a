"""The capture process: PortAudio into the shared ring, and nothing else.

``python -P -S -m monitor.capture.child '{"ring": 5, ...}'`` records until its standard input closes,
which happens when the service dies, however it dies. ``--list`` prints the input devices instead.
PortAudio cannot be trusted with a frozen sound daemon or a pulled cable (it hangs for ever and says
nothing), so the service kills this process and starts another one. For the same reason nothing here
tries to end politely: every way out is ``os._exit``.

It speaks one JSON object a line on standard output, and imports little: no numpy, nothing of ours
that needs more than the standard library.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, NoReturn, TextIO

from monitor.capture.channels import ChannelWatch
from monitor.capture.ring import RingWriter, open_shared_memory

if TYPE_CHECKING:
    import mmap
    from types import ModuleType

EXIT_DONE: Final = 0
EXIT_REFUSED: Final = 3
EXIT_DEVICE_ENDED: Final = 4

RATES_OF_PLUGINS_HZ: Final = (48_000,)
"""ALSA's software devices run their cards at 48 kHz and convert by linear interpolation."""

WANTED_RATE_HZ: Final = 16_000

_CARD_NUMBERS: Final = re.compile(r"\s*\((hw|plughw):\d+(,\d+)?\)$")

_PA_INVALID_CHANNEL_COUNT: Final = -9998
_PA_INVALID_SAMPLE_RATE: Final = -9997
_PA_DEVICE_UNAVAILABLE: Final = -9985


class RefusedError(Exception):
    """The device cannot be opened. ``code`` is for the parent, the message for a person."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def main(arguments: list[str]) -> NoReturn:
    report = _own_standard_output()
    try:
        sounddevice = _load_portaudio()
        if arguments == ["--list"]:
            _tell(report, {"devices": list(input_devices(sounddevice))})
        else:
            record(sounddevice, json.loads(arguments[0]), report)
    except RefusedError as error:
        _tell(report, {"error": error.code, "message": str(error)})
        os._exit(EXIT_REFUSED)
    except Exception as error:  # noqa: BLE001  (last stop of this process: the parent must hear of it)
        _tell(report, {"error": "internal", "message": f"{type(error).__name__}: {error}"})
        os._exit(EXIT_REFUSED)
    os._exit(EXIT_DONE)


def _own_standard_output() -> TextIO:
    """Keep standard output for the reports; what C libraries print there goes to standard error."""
    report = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return report


def _tell(report: TextIO, message: dict[str, Any]) -> None:
    try:
        report.write(json.dumps(message) + "\n")
        report.flush()
    except BrokenPipeError:
        os._exit(EXIT_DONE)  # the service is gone


def _load_portaudio() -> ModuleType:
    # Importing sounddevice initialises PortAudio, which may hang: our way out must stand before that.
    try:
        return importlib.import_module("sounddevice")
    except OSError as error:
        raise RefusedError("no_portaudio", str(error)) from error


# --- choosing a device ----------------------------------------------------------------------------


def input_devices(sounddevice: ModuleType) -> Iterator[dict[str, Any]]:
    """Every device that can record, as JSON values."""
    default = sounddevice.default.device[0]
    host_apis = sounddevice.query_hostapis()
    if default < 0 and host_apis:
        default = host_apis[0]["default_input_device"]
    for device in sounddevice.query_devices():
        if device["max_input_channels"] > 0:
            yield {
                "index": device["index"],
                "name": device["name"],
                "host_api": host_apis[device["hostapi"]]["name"],
                "channels": device["max_input_channels"],
                "default_rate_hz": round(device["default_samplerate"]),
                "is_default": device["index"] == default,
            }


def choose(devices: list[dict[str, Any]], wanted: str | int | None) -> dict[str, Any]:
    """The one device that ``wanted`` means: an index, a name or a part of one, or None = default."""
    if wanted is None:
        matches = [device for device in devices if device["is_default"]]
    elif isinstance(wanted, int):
        matches = [device for device in devices if device["index"] == wanted]
    else:
        matches = [device for device in devices if device["name"] == wanted]
        matches = matches or [device for device in devices if wanted.lower() in device["name"].lower()]
        # Plugged in again, a card may have got another number; its own name stays.
        matches = matches or [
            device for device in devices if lasting_name(device["name"]) == lasting_name(wanted)
        ]
    names = ", ".join(f"{device['index']}: {device['name']!r}" for device in devices)
    if not matches:
        raise RefusedError("not_found", names)
    if len(matches) > 1:
        raise RefusedError("ambiguous", ", ".join(repr(device["name"]) for device in matches))
    return matches[0]


def lasting_name(name: str) -> str:
    """``name`` without the numbers ALSA gave the card: of "USB Mic: Audio (hw:1,0)" the first part."""
    return _CARD_NUMBERS.sub("", name)


def has_sound_server(environment: Mapping[str, str]) -> bool:
    """PulseAudio or PipeWire runs for this user; distributions then route "default" through it."""
    runtime = environment.get("XDG_RUNTIME_DIR", "")
    sockets = ("pulse/native", "pipewire-0")
    return "PULSE_SERVER" in environment or any(os.access(f"{runtime}/{name}", os.F_OK) for name in sockets)


def rates_to_try(device: dict[str, Any], rate_hz: int | None, *, sound_server: bool) -> list[int]:
    """Sample rates to open ``device`` with, best first.

    At 16 kHz nothing is left to convert, so it is asked for wherever a poor converter cannot be in
    the way: of hardware itself, and of sound servers, which convert well. ALSA's software devices
    ("default", "sysdefault", "dsnoop") accept any rate and interpolate linearly, which folds hiss
    into the cry band; from them we take the rate of the card and convert ourselves.
    """
    if rate_hz is not None:
        return [rate_hz]
    own = device["default_rate_hz"]
    name = device["name"].lower()
    servers = {"pulse", "pipewire", *(["default"] if sound_server else [])}
    converts_well = "(hw:" in name or device["host_api"] != "ALSA" or name in servers
    order = [WANTED_RATE_HZ, own, 48_000] if converts_well else [*RATES_OF_PLUGINS_HZ, own, WANTED_RATE_HZ]
    return list(dict.fromkeys([*order, 44_100, 32_000, 8_000]))


def channels_to_open(device: dict[str, Any], channel: int, channels: int | None) -> int:
    """How many channels to open so that ``channel`` is that channel and not a mix.

    A sound server that is asked for one channel of a stereo microphone gives the mean of both, hence
    at least two.
    """
    offered = int(device["channels"])
    wanted = max(2, channel + 1) if channels is None else channels
    if channel >= offered or (channels is not None and channels > offered):
        raise RefusedError("too_few_channels", f"{device['name']!r} has {offered}")
    return min(wanted, offered)


# --- recording ------------------------------------------------------------------------------------


def record(sounddevice: ModuleType, settings: dict[str, Any], report: TextIO) -> None:
    """Record until standard input closes or the device ends the stream."""
    device = choose(list(input_devices(sounddevice)), settings["device"])
    memory = open_shared_memory(settings["ring"])
    ended = threading.Event()
    # PortAudio calls into the stream: it must not be collected while it records.
    _stream, rate_hz, channels = open_stream(sounddevice, device, settings, memory, ended)
    _tell(report, {"open": device["name"], "rate_hz": rate_hz, "channels": channels})
    ended.wait()
    _tell(report, {"error": "ended", "message": f"{device['name']!r} stopped delivering"})
    os._exit(EXIT_DEVICE_ENDED)


def open_stream(
    sounddevice: ModuleType,
    device: dict[str, Any],
    settings: dict[str, Any],
    memory: mmap.mmap | bytearray,
    ended: threading.Event,
) -> tuple[Any, int, int]:
    """Start recording into ``memory``: the stream, its rate in Hz and its number of channels.

    Hardware itself may offer nothing but all of its channels (arrays of 4 or 6 microphones do): one
    that refuses a part of them is asked for all, and the wanted one is taken out of those.
    """
    channel = settings["channel"]
    counts = [channels_to_open(device, channel, settings["channels"]), int(device["channels"])]
    rates = rates_to_try(device, settings["rate_hz"], sound_server=has_sound_server(os.environ))
    for channels in dict.fromkeys(counts):
        for rate_hz in rates:
            try:
                stream = sounddevice.RawInputStream(
                    device=device["index"],
                    channels=channels,
                    samplerate=rate_hz,
                    dtype="int16",
                    blocksize=round(settings["block_s"] * rate_hz),
                    latency=settings["latency_s"],
                    callback=_into(RingWriter(memory, rate_hz=rate_hz), channel, channels),
                    finished_callback=ended.set,
                )
                stream.start()
            except sounddevice.PortAudioError as error:
                code = error.args[1] if len(error.args) > 1 else None
                if code == _PA_INVALID_SAMPLE_RATE:
                    continue
                if code == _PA_INVALID_CHANNEL_COUNT:
                    break
                reason = "busy" if code == _PA_DEVICE_UNAVAILABLE else "cannot_open"
                raise RefusedError(reason, f"{device['name']!r}: {error}") from error
            return stream, rate_hz, channels
        else:
            tried = ", ".join(str(rate) for rate in rates)
            raise RefusedError("no_rate", f"{device['name']!r} refuses every sample rate tried: {tried} Hz")
    tried = " and ".join(str(count) for count in dict.fromkeys(counts))
    raise RefusedError("no_channel_count", f"{device['name']!r} refuses to be opened with {tried}")


def _into(ring: RingWriter, channel: int, channels: int) -> Callable[[Any, int, Any, Any], None]:
    watch = ChannelWatch(channels)

    # Runs on PortAudio's thread: no lock, no log, nothing that waits.
    def take(data: Any, _frames: int, _time: Any, status: Any) -> None:
        if status and status.input_overflow:
            ring.count_overflow()
        frames = memoryview(data).cast("h")
        ring.write(frames[channel::channels], time.monotonic_ns())
        watch.observe(frames)
        ring.note_channels(watch.moved)

    return take


def _leave_with_parent() -> NoReturn:
    """Wait for standard input to close. Works while PortAudio hangs: its calls hold no GIL."""
    while os.read(0, 64):
        pass
    os._exit(EXIT_DONE)


if __name__ == "__main__":
    # The service decides when we go: a Ctrl-C at the terminal reaches us too, and would look like a
    # lost microphone while the service is still finishing its last episode.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=_leave_with_parent, name="parent-watch", daemon=True).start()
    main(sys.argv[1:])
