"""An attached speaker as the last resort: it sounds when nobody can be told otherwise.

The microphone hears it as well, so there is a long pause between two alarms in which the baby is heard. All
is done in a child process that can be killed (:mod:`monitor.sinks.sounder_child`); nothing here waits for it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import Any, Final

import structlog

from monitor.sinks.push_settings import SounderSettings
from monitor.sinks.sounder_tone import ALARM_S

log = structlog.get_logger(__name__)

EVERY_S: Final = 12.0
"""From one alarm to the next: 1.8 s of beeps, then 10 s in which the detector hears the room again."""
DONE_WITHIN_S: Final = ALARM_S + 8.0


@dataclass(frozen=True, slots=True)
class Played:
    """``fault`` is a sentence for a person, empty when it was played on ``device``."""

    device: str = ""
    fault: str = ""
    remedy: str = ""


class Sounder:
    """Plays an alarm again and again while it is asked to. One thread; time comes in."""

    def __init__(self, settings: SounderSettings) -> None:
        self._settings = settings
        self._child: subprocess.Popen[bytes] | None = None
        self._undead: subprocess.Popen[bytes] | None = None
        """One that was killed and is still there: as long as it is, another would hang beside it."""
        self._started_s: float | None = None
        self._last = Played()
        self.alarms = 0
        """How many have been played to the end."""

    def step(self, now_s: float, *, wanted: bool) -> None:
        """Look after the alarm that plays, and begin the next one when it is time."""
        self._look_after(now_s)
        if not wanted:
            self._kill()
            self._started_s = None
        elif self._child is not None or self._is_blocked():
            return
        elif self._started_s is None or now_s - self._started_s >= EVERY_S:
            if self._started_s is None:
                log.warning("sounder.sounding")
            self._started_s = now_s
            self._child = self._spawn()

    def fault(self) -> str:
        """Why the latest alarm was not heard; empty when it was."""
        return f"sounder: {self._last.fault} {self._last.remedy}".strip() if self._last.fault else ""

    def close(self) -> None:
        self._kill()

    def play(self) -> Played:
        """Play one alarm and wait for it: for a test on demand."""
        child = self._spawn()
        if child is None:
            return self._last
        try:
            answer, _ = child.communicate(timeout=DONE_WITHIN_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.communicate()
            return _HUNG
        return played(answer, child.returncode, self._settings)

    def _spawn(self) -> subprocess.Popen[bytes] | None:
        device = self._settings.device
        request = {
            "device": int(device) if device is not None and device.isdecimal() else device,
            "tone_hz": self._settings.tone_hz,
            "volume": self._settings.volume,
        }
        path = os.pathsep.join(entry or "." for entry in sys.path)
        try:
            return subprocess.Popen(  # noqa: S603  (our own module, no shell)
                [sys.executable, "-P", "-m", "monitor.sinks.sounder_child", json.dumps(request)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,  # ALSA tells there about every plug-in it looked for
                process_group=0,
                env={**os.environ, "PYTHONPATH": path},
            )
        except OSError as error:
            self._last = Played(fault=f"its process cannot be started: {error}.")
            return None

    def _look_after(self, now_s: float) -> None:
        child = self._child
        if child is None or self._started_s is None:
            return
        if child.poll() is None:
            if now_s - self._started_s > DONE_WITHIN_S:
                self._kill()
                self._note(_HUNG)
            return
        assert child.stdout is not None
        answer = child.stdout.read()
        child.stdout.close()
        self._child = None
        self._note(played(answer, child.returncode, self._settings))

    def _note(self, now: Played) -> None:
        if now.fault and now != self._last:
            log.error("sounder.failed", fault=now.fault, remedy=now.remedy)
        self._last = now
        self.alarms += not now.fault

    def _kill(self) -> None:
        """Without waiting: a process inside of a broken driver cannot die."""
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            if child.stdout is not None:
                child.stdout.close()
            # Else Popen complains of a child that nobody waited for.
            try:
                child.wait(0.2)
            except subprocess.TimeoutExpired:
                log.warning("sounder.cannot_be_killed", pid=child.pid)
                self._undead = child

    def _is_blocked(self) -> bool:
        if self._undead is not None and self._undead.poll() is not None:
            self._undead = None
        return self._undead is not None


_HUNG: Final = Played(
    fault="the sound system took no sound.", remedy="Is the sound daemon frozen? Restart it."
)


def played(answer: bytes, status: int, settings: SounderSettings) -> Played:
    """What the child's answer means."""
    if not answer:
        return Played(fault=f"its process ended with status {status} and said nothing.")
    report: dict[str, Any] = json.loads(answer)
    if "error" not in report:
        return Played(device=f"{report['device']}, {report['rate_hz']} Hz")
    message = report["message"]
    wanted = "a default output device" if settings.device is None else f"an output device {settings.device!r}"
    known = {
        "not_found": (
            f"there is no {wanted.removeprefix('a').removeprefix('n').strip()}. There is: {message}"
        ),
        "ambiguous": f"sounder.device = {settings.device!r} fits several devices: {message}",
        "no_portaudio": f"PortAudio is missing ({message})",
        "cannot_open": f"the speaker cannot be opened: {message}",
    }
    remedies = {
        "not_found": "Plug a speaker in, or set sounder.device.",
        "ambiguous": "Give more of the name.",
        "no_portaudio": "Install it: sudo apt-get install libportaudio2",
        "cannot_open": "Does another program use it?",
    }
    code = report["error"]
    return Played(fault=f"{known.get(code, message)}.", remedy=remedies.get(code, ""))
