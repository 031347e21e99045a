"""The demonstration's face: a live display on a terminal, plain lines everywhere else.

``heard`` and ``received`` may be called from any thread.
"""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager, nullcontext
from typing import Final, Protocol

from rich.console import Console
from rich.live import Live
from typing_extensions import override

from monitor.demo.board import Board
from monitor.demo.frame import Frame
from monitor.demo.hub import Received
from monitor.demo.verdict import Truth, clock
from monitor.types import DetectorOutput, EpisodeEnded, EpisodeStarted, HopReport, seconds

FRAMES_PER_SECOND: Final = 10
METER_EVERY_S: Final = 5.0


class Show(Protocol):
    """What the command needs of a display."""

    def running(self) -> AbstractContextManager[object]:
        """Show while inside."""

    def heard(self, output: DetectorOutput) -> None:
        """The detector said something."""

    def received(self, message: Received) -> None:
        """Something came to the subscriber."""


class LiveShow(Show):
    """Redraws one screen many times a second from the board."""

    def __init__(self, console: Console, board: Board, frame: Frame) -> None:
        self._console = console
        self._board = board
        self._frame = frame

    @override
    def running(self) -> AbstractContextManager[object]:
        return Live(
            get_renderable=lambda: self._frame.render(self._board.now, self._console.size),
            console=self._console,
            refresh_per_second=FRAMES_PER_SECOND,
        )

    @override
    def heard(self, output: DetectorOutput) -> None:
        self._board.heard(output)

    @override
    def received(self, message: Received) -> None:
        self._board.received(message)


class PlainShow(Show):
    """One line for what happens, and one every few seconds for the meters; no control codes."""

    def __init__(self, console: Console, board: Board, truth: Truth) -> None:
        self._console = console
        self._board = board
        self._truth = truth
        self._writing = threading.Lock()
        self._awake = False
        self._next_meter_s = 0.0

    @override
    def running(self) -> AbstractContextManager[object]:
        return nullcontext()

    @override
    def heard(self, output: DetectorOutput) -> None:
        self._board.heard(output)
        match output:
            case HopReport():
                self._meters(output)
            case EpisodeStarted():
                since = clock(seconds(output.onset))
                self._line(
                    seconds(output.detected),
                    "episode",
                    f"{output.number} STARTED: crying since {since}, score {output.score:.2f}",
                )
            case EpisodeEnded():
                cause = "none" if output.cause is None else output.cause.answer.value
                self._line(
                    seconds(output.at),
                    "episode",
                    f"{output.number} ENDED: last cry until {clock(seconds(output.offset))}, "
                    f"{output.crying_s:.1f} s of crying, cause {cause}",
                )

    @override
    def received(self, message: Received) -> None:
        line = self._board.received(message)
        if line is not None:
            self._line(line.at_s, "hub", f"{line.topic}  {line.text}")

    def _meters(self, report: HopReport) -> None:
        at_s = seconds(report.stop)
        if report.active != self._awake:
            self._awake = report.active
            self._line(at_s, "gate", "opens: the cry model listens" if report.active else "closes")
        if at_s >= self._next_meter_s:
            self._next_meter_s += METER_EVERY_S
            score = "asleep" if report.score is None else f"cry score {report.score:.2f}"
            heard = self._truth.at(at_s).replace("_", " ") or "calm"
            self._line(
                at_s,
                "meter",
                f"{report.level_dbfs:6.1f} dBFS, room {report.noise_floor_dbfs:6.1f}, {score} ({heard})",
            )

    def _line(self, at_s: float, topic: str, text: str) -> None:
        with self._writing:
            self._console.print(f"{clock(at_s)}  {topic:<8}{text}", markup=False, soft_wrap=True)
