"""Which input devices there are.

PortAudio's list is frozen when the library starts, so every listing runs in a fresh process.
"""

from __future__ import annotations

import json
import select
import subprocess
import time
from dataclasses import dataclass
from typing import Any, Final

from monitor.capture.child_process import DeviceRequest, close_pipes, refusal, spawn
from monitor.errors import DeviceError
from monitor.helper_process import CRASHED, how_it_ended

LISTED_WITHIN_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class InputDevice:
    """A device that can record. ``index`` may change when something is plugged in or out."""

    index: int
    name: str
    host_api: str
    channels: int
    default_rate_hz: int
    is_default: bool


def list_devices(timeout_s: float = LISTED_WITHIN_S) -> list[InputDevice]:
    """All input devices, in PortAudio's order; empty when there is none.

    Raises ConfigError without PortAudio, and DeviceError when the sound system does not answer.
    """
    process = spawn(["--list"])
    try:
        # Not communicate(): it closes the child's standard input, and the child leaves when that happens.
        answer = _first_line(process, timeout_s)
    finally:
        process.kill()
        process.wait()
        close_pipes(process)
    if "error" in answer:
        raise refusal(answer, DeviceRequest())
    return [InputDevice(**device) for device in answer["devices"]]


def _first_line(process: subprocess.Popen[bytes], timeout_s: float) -> Any:
    assert process.stdout is not None
    deadline = time.monotonic() + timeout_s
    heard = b""
    while not heard.endswith(b"\n"):
        if not select.select([process.stdout], [], [], max(0.0, deadline - time.monotonic()))[0]:
            raise DeviceError(
                f"The sound system did not list its devices within {timeout_s:g} s.",
                "Is the sound daemon frozen? Restart it.",
            )
        part = process.stdout.read(65_536)
        if not part:
            status = process.wait()
            raise DeviceError(
                f"The capture process {how_it_ended(status)} and listed nothing.",
                CRASHED if status < 0 else "",
            )
        heard += part
    return json.loads(heard)
