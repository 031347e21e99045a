"""The service's half of the capture child: start it, hear its reports, kill it.

Nothing in here waits for the child: it may hang in a frozen sound daemon at any time.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from monitor.capture.ring import RingReader, create_shared_memory
from monitor.errors import ConfigError, DeviceError, DeviceLostError, DeviceNotFoundError
from monitor.helper_process import CRASHED, NO_PROCESS, environment, how_it_ended

RING_CAPACITY: Final = 480_000
"""Samples: 10 s at 48 kHz, 30 s at 16 kHz. Only what is used takes memory."""

REAPED_WITHIN_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class DeviceRequest:
    """Which microphone to open, and how.

    ``device``: index, name or part of a name; None is the system's default. ``channel`` counts from 0.
    ``channels``: how many to open; None leaves it to the child (``channels_to_open`` there).
    ``rate_hz``: None lets the child choose (``rates_to_try``).
    ``block_s``: length of one callback. Half a detector hop: every second one completes a hop, and
    longer ones would save little but delay the alarm.
    ``latency_s``: how much PortAudio may hold back before audio is lost; three blocks.
    """

    device: str | int | None = None
    channel: int = 0
    channels: int | None = None
    rate_hz: int | None = None
    block_s: float = 0.12
    latency_s: float = 0.36


class CaptureChild:
    """One run of the capture process. One thread, except :meth:`kill`, which any thread may call.

    ``description`` is empty until the device is open.
    """

    def __init__(self, request: DeviceRequest) -> None:
        try:
            descriptor, memory = create_shared_memory(RING_CAPACITY)
        except OSError as error:  # out of memory or of file descriptors: both may pass
            raise DeviceError(f"The capture process cannot be given memory: {error.strerror}.") from error
        try:
            self._process = spawn([json.dumps({"ring": descriptor, **asdict(request)})], (descriptor,))
        finally:
            os.close(descriptor)
        self._request = request
        self._heard = b""
        self.ring = RingReader(memory)
        self.started_s = 0.0
        self.description = ""
        self.device = ""
        """The name of the device that was opened."""

    def check(self, now_s: float, opened_within_s: float) -> None:
        """Hear the child's reports.

        Raises what it reported as its fault (:func:`refusal`), or DeviceLostError when it ended or
        has written nothing ``opened_within_s`` after its start.
        """
        ended = self._process.poll() is not None  # asked first: its last words are then in the pipe
        for report in self._reports():
            if "error" in report:
                raise refusal(report, self._request)
            if not self.ring.ready:
                raise DeviceLostError("The capture process was replaced: restart the service.")
            self.device = report["open"]
            self.description = (
                f"{report['open']}, channel {self._request.channel} of {report['channels']},"
                f" {report['rate_hz']} Hz"
            )
        if ended:
            status = self._process.returncode
            reason = f"The microphone is lost: the capture process {how_it_ended(status)}."
            raise DeviceLostError(reason, CRASHED if status < 0 and status != -signal.SIGKILL else "")
        if self.ring.written == 0 and now_s - self.started_s > opened_within_s:
            raise DeviceLostError(f"The sound system delivers no audio within {opened_within_s:g} s.")

    def _reports(self) -> list[dict[str, Any]]:
        """What the child has said since the last call."""
        pipe = self._process.stdout
        if pipe is None or pipe.closed:
            return []
        while select.select([pipe], [], [], 0)[0]:
            heard = os.read(pipe.fileno(), 65_536)
            if not heard:
                break
            self._heard += heard
        *lines, self._heard = self._heard.split(b"\n")
        return [json.loads(line) for line in lines]

    def kill(self) -> bool:
        """SIGKILL the child. False while the kernel still holds it: ask again later.

        A process inside a broken driver cannot die; waiting for it would hang the service as well.
        """
        self._process.kill()
        try:
            self._process.wait(REAPED_WITHIN_S)
        except subprocess.TimeoutExpired:
            return False
        close_pipes(self._process)
        return True


def spawn(arguments: list[str], pass_fds: tuple[int, ...] = ()) -> subprocess.Popen[bytes]:
    """Start the capture module in an interpreter of its own.

    Its standard input is its life line: it leaves when that closes. ``-S`` skips the search for
    packages, which takes time and memory; instead it gets our own ``sys.path``, so that a clone, a
    virtual environment and a wheel all work alike.
    """
    try:
        return subprocess.Popen(  # noqa: S603  (our own module, no shell)
            [sys.executable, "-P", "-S", "-m", "monitor.capture.child", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # ALSA tells there about every plug-in it looked for
            bufsize=0,
            pass_fds=pass_fds,
            process_group=0,  # not reached by Ctrl-C at the terminal
            env=environment(os.environ),
        )
    except OSError as error:
        reason = error.strerror or error
        raise DeviceError(f"The capture process cannot be started: {reason}.", NO_PROCESS) from error


def close_pipes(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()


def refusal(report: Mapping[str, Any], request: DeviceRequest) -> DeviceError | ConfigError:
    """The error that a child's ``error`` report means."""
    message = report["message"]
    channel = f"microphone.channel = {request.channel}"
    if request.channels is not None:
        channel += f" of microphone.channels = {request.channels}"
    wanted = "default input device" if request.device is None else f"input device {request.device!r}"
    found = f"There is: {message}." if message else "There is none at all: is a microphone plugged in?"
    unknown = DeviceLostError(f"The microphone cannot be opened: {message}.")
    errors: dict[str, DeviceError | ConfigError] = {
        "not_found": DeviceNotFoundError(
            f"No {wanted} was found. {found}",
            "`cradlewatch devices` shows what microphone.device can be.",
        ),
        "ambiguous": ConfigError(
            f"microphone.device = {request.device!r} fits several input devices: {message}.",
            "Give more of the name, or the index.",
        ),
        "too_few_channels": ConfigError(
            f"{channel} is not there: {message} channel(s).", "The first channel is 0."
        ),
        "no_portaudio": ConfigError(
            f"The audio library PortAudio is missing ({message}).",
            "Install it: sudo apt-get install libportaudio2",
        ),
        "no_rate": ConfigError(f"No sample rate fits: {message}.", "Leave microphone.rate_hz unset."),
        "no_channel_count": ConfigError(
            f"microphone.channels = {request.channels or 'not set'} does not fit: {message} channel(s).",
            "Set microphone.channels to a number of channels that the device offers.",
        ),
        "busy": DeviceLostError(f"The microphone is in use by another program, or gone: {message}."),
        "ended": DeviceLostError(f"The microphone is gone: {message}."),
    }
    return errors.get(report["error"], unknown)
