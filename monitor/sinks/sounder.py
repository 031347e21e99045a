"""An attached speaker as the last resort: it sounds when nobody can be told otherwise.

The microphone hears it as well, so there is a long pause between two alarms in which the baby is heard. All
is done in a child process that can be killed (:mod:`monitor.sinks.sounder_child`) and that waits for its
order from the start on: what keeps it from sounding is a fault before it is needed. Nothing here waits.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
from dataclasses import dataclass
from typing import Any, Final

import structlog

from monitor.helper_process import CRASHED, NO_PROCESS, environment, how_it_ended
from monitor.sinks.push_settings import SounderSettings
from monitor.sinks.sounder_child import EXIT_DONE, EXIT_REFUSED
from monitor.sinks.sounder_tone import ALARM_S

log = structlog.get_logger(__name__)

EVERY_S: Final = 12.0
"""From one alarm to the next: 1.8 s of beeps, then 10 s in which the detector hears the room again."""
DONE_WITHIN_S: Final = ALARM_S + 8.0
READY_WITHIN_S: Final = 15.0
"""From the start of the process: a busy Pi takes seconds to load Python."""
TRY_AGAIN_S: Final = 30.0
"""After a process that could not be started or found no speaker."""


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
        self._child: _Child | None = None
        self._undead: subprocess.Popen[bytes] | None = None
        """One that was killed and is still there: as long as it is, another would hang beside it."""
        self._spawn_at_s = 0.0
        self._ordered_s: float | None = None
        """When the latest alarm was ordered; None while none is wanted."""
        self._last = Played()
        self.alarms = 0
        """How many have been played to the end."""

    def step(self, now_s: float, *, wanted: bool) -> None:
        """Look after the process and the alarm that it plays, and begin the next one when it is time."""
        self._look_after(now_s)
        due = wanted and (self._ordered_s is None or now_s - self._ordered_s >= EVERY_S)
        if not wanted:
            self._ordered_s = None
            if self._child is not None and self._child.ordered:
                self._kill()
        if self._child is None and not self._is_blocked() and (due or now_s >= self._spawn_at_s):
            self._child = self._spawn(now_s)
        if due and self._child is not None and not self._child.ordered:
            if self._ordered_s is None:
                log.warning("sounder.sounding")
            self._ordered_s = now_s
            self._child.order(now_s)

    def fault(self) -> str:
        """Why the latest alarm was not heard, or the next one would not be; empty when all is well."""
        return f"sounder: {self._last.fault} {self._last.remedy}".strip() if self._last.fault else ""

    def close(self) -> None:
        self._kill()

    def play(self) -> Played:
        """Play one alarm and wait for it: for a test on demand."""
        child = self._spawn(0.0)
        if child is None:
            return self._last
        try:
            answer, _ = child.process.communicate(_ORDER, timeout=READY_WITHIN_S + DONE_WITHIN_S)
        except subprocess.TimeoutExpired:
            child.process.kill()
            child.process.communicate()
            return _HUNG
        return played(answer, child.process.returncode, self._settings)

    def look(self) -> Played:
        """Look for the speaker and make no sound; ``device`` is the one it would sound on."""
        child = self._spawn(0.0)
        if child is None:
            return self._last
        try:
            answer, _ = child.process.communicate(timeout=READY_WITHIN_S)
        except subprocess.TimeoutExpired:
            child.process.kill()
            child.process.communicate()
            return _HUNG
        return played(answer, child.process.returncode, self._settings)

    def _spawn(self, now_s: float) -> _Child | None:
        self._spawn_at_s = now_s + TRY_AGAIN_S
        device = self._settings.device
        request = {
            "device": int(device) if device is not None and device.isdecimal() else device,
            "tone_hz": self._settings.tone_hz,
            "volume": self._settings.volume,
        }
        try:
            process = subprocess.Popen(  # noqa: S603  (our own module, no shell)
                [sys.executable, "-P", "-m", "monitor.sinks.sounder_child", json.dumps(request)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,  # ALSA tells there about every plug-in it looked for
                bufsize=0,
                process_group=0,
                env=environment(os.environ),
            )
        except OSError as error:
            reason = error.strerror or error
            self._note(Played(fault=f"its process cannot be started: {reason}.", remedy=NO_PROCESS))
            return None
        return _Child(process, now_s)

    def _look_after(self, now_s: float) -> None:
        child = self._child
        if child is None:
            return
        ended = child.process.poll() is not None  # asked first: its last words are then in the pipe
        child.listen()
        if ended:
            self._child = None
            child.close()
            self._note(now := played(child.heard, child.process.returncode, self._settings))
            self.alarms += child.ordered and not now.fault
            if not now.fault:
                self._spawn_at_s = now_s  # the next one waits ready
        elif child.ready and not child.ordered:
            self._note(Played())
        elif now_s > child.until_s and (child.ordered or not child.ready):
            self._kill()
            self._note(_HUNG)
            self._spawn_at_s = now_s + TRY_AGAIN_S

    def _note(self, now: Played) -> None:
        if now.fault and now != self._last:
            log.error("sounder.failed", fault=now.fault, remedy=now.remedy)
        self._last = now

    def _kill(self) -> None:
        """Without waiting: a process inside of a broken driver cannot die."""
        child, self._child = self._child, None
        if child is not None:
            child.process.kill()
            child.close()
            # Else Popen complains of a child that nobody waited for.
            try:
                child.process.wait(0.2)
            except subprocess.TimeoutExpired:
                log.warning("sounder.cannot_be_killed", pid=child.process.pid)
                self._undead = child.process

    def _is_blocked(self) -> bool:
        if self._undead is not None and self._undead.poll() is not None:
            self._undead = None
        return self._undead is not None


class _Child:
    """One process: it looks for its speaker, waits, plays when ordered, and ends."""

    def __init__(self, process: subprocess.Popen[bytes], now_s: float) -> None:
        self.process = process
        self.until_s = now_s + READY_WITHIN_S
        self.heard = b""
        self.ordered = False

    @property
    def ready(self) -> bool:
        return self.heard.startswith(b'{"ready"')

    def listen(self) -> None:
        """Take what it has said, without waiting."""
        pipe = self.process.stdout
        assert pipe is not None
        while select.select([pipe], [], [], 0)[0] and (part := os.read(pipe.fileno(), 4096)):
            self.heard += part

    def order(self, now_s: float) -> None:
        """Let it play; one that is not ready yet does so as soon as it is."""
        self.ordered = True
        self.until_s = now_s + DONE_WITHIN_S + (0.0 if self.ready else READY_WITHIN_S)
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):  # it has ended: the next look says why
            self.process.stdin.write(_ORDER)

    def close(self) -> None:
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


_ORDER: Final = b"play\n"
_HUNG: Final = Played(
    fault="the sound system took no sound.", remedy="Is the sound daemon frozen? Restart it."
)


def played(answer: bytes, status: int, settings: SounderSettings) -> Played:
    """What the last line of the child's ``answer`` and its exit status mean."""
    if status not in {EXIT_DONE, EXIT_REFUSED} or not answer:
        return Played(fault=f"its process {how_it_ended(status)} and said nothing.", remedy=CRASHED)
    report: dict[str, Any] = json.loads(answer.splitlines()[-1])
    if "ready" in report:
        return Played(device=report["ready"])
    if "error" not in report:
        return Played(device=f"{report['device']}, {report['rate_hz']} Hz")
    message = report["message"]
    wanted = "default output device" if settings.device is None else f"output device {settings.device!r}"
    others = f"There is: {message}" if message else "There is none at all"
    known = {
        "not_found": f"there is no {wanted}. {others}",
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
