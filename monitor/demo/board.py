"""What the demonstration knows at the moment, gathered from several threads for the display."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from monitor.demo.hub import Received
from monitor.types import DetectorOutput, EpisodeEnded, EpisodeStarted, EpisodeUpdated, HopReport, seconds
from monitor.words import count

KEPT_LINES: Final = 60


@dataclass(frozen=True, slots=True)
class HubLine:
    """A message at the subscriber, short enough for one line. ``at_s``: stream time shown then."""

    at_s: float
    topic: str
    text: str
    is_alert: bool


@dataclass(frozen=True, slots=True)
class Heard:
    """An episode as it is known so far, in stream time. ``offset_s`` is None while it goes on."""

    number: int
    onset_s: float
    detected_s: float
    score: float
    crying_s: float = 0.0
    offset_s: float | None = None
    cause: str = ""


@dataclass(frozen=True, slots=True)
class Moment:
    """A consistent view for one frame of the display."""

    position_s: float
    report: HopReport | None
    crying_until_s: float | None
    """When crying was last heard; None before the first cry."""
    episodes: tuple[Heard, ...]
    lines: tuple[HubLine, ...]
    received: int

    @property
    def open_episode(self) -> Heard | None:
        """The episode that goes on."""
        last = self.episodes[-1] if self.episodes else None
        return last if last is not None and last.offset_s is None else None


class Board:
    """Takes what happens from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._outputs: list[DetectorOutput] = []
        self._now = Moment(0.0, None, None, (), (), 0)

    @property
    def outputs(self) -> Sequence[DetectorOutput]:
        """All outputs but the hop reports, of which there are four a second."""
        with self._lock:
            return tuple(self._outputs)

    @property
    def now(self) -> Moment:
        with self._lock:
            return self._now

    def heard(self, output: DetectorOutput) -> None:
        """Take what the detector says."""
        with self._lock:
            if isinstance(output, HopReport):
                until = seconds(output.stop) if output.crying else self._now.crying_until_s
                self._now = replace(
                    self._now, position_s=seconds(output.stop), report=output, crying_until_s=until
                )
            else:
                self._outputs.append(output)
                self._now = replace(self._now, episodes=_with(self._now.episodes, output))

    def received(self, message: Received) -> HubLine | None:
        """Take what came to the subscriber; None for a level report, which only counts."""
        text, is_alert = summary(message.payload)
        with self._lock:
            line = HubLine(self._now.position_s, message.topic, text, is_alert)
            shown = not message.topic.endswith("/telemetry")
            lines = (*self._now.lines, line)[-KEPT_LINES:] if shown else self._now.lines
            self._now = replace(self._now, received=self._now.received + 1, lines=lines)
        return line if shown else None


def summary(payload: bytes) -> tuple[str, bool]:
    """A payload in a few words, and whether it tells of a cry."""
    text = payload.decode("utf-8", errors="replace")
    try:
        content = json.loads(text)
    except json.JSONDecodeError:
        return text, False
    if not isinstance(content, dict):
        return text, False
    return _words(content), content.get("kind") == "episode"


def _words(content: dict[str, Any]) -> str:
    match content:
        case {"kind": "episode"}:
            words = _episode_words(content)
        case {"kind": "health", "state": state, "reasons": reasons}:
            words = ", ".join([state, *reasons])
        case {"kind": "alert", "state": state}:
            words = "nothing to acknowledge" if state == "none" else str(state)
        case {"kind": "night", "episodes": episodes, "crying_s": crying_s}:
            words = f"tonight {count(episodes, 'episode')}, {crying_s:.1f} s crying"
        case {"kind": "controls", "sensitivity": sensitivity, "hold_s": hold_s}:
            words = f"sensitivity {sensitivity}, hold {hold_s:g} s"
        case {"cmps": components}:
            words = f"announces {len(components)} entities"
        case {"cause": None}:
            words = "not known yet"
        case {"probability": probability, "base_rate": base_rate, "cause": cause}:
            # Beside its base rate, without which the hint would promise too much.
            words = f"{cause} ({probability:.2f}, base rate {base_rate:.2f})"
        case _:
            words = ", ".join(f"{key} {value}" for key, value in content.items())
    return words


def _episode_words(content: dict[str, Any]) -> str:
    state = f"{content['state']}, " if "state" in content else ""
    words = f"{state}{content['event_type']}, score {content['score']:.2f}"
    if content["event_type"] == "started":
        return f"{words}, {content['level_dbfs']:.0f} dBFS"
    return f"{words}, {content['crying_s']:.1f} s crying"


def _with(episodes: tuple[Heard, ...], output: DetectorOutput) -> tuple[Heard, ...]:
    match output:
        case EpisodeStarted():
            new = Heard(output.number, seconds(output.onset), seconds(output.detected), output.score)
            return (*episodes, new)
        case EpisodeUpdated() | EpisodeEnded():
            last = replace(
                episodes[-1],
                score=output.score,
                crying_s=output.crying_s,
                offset_s=seconds(output.offset) if isinstance(output, EpisodeEnded) else None,
                cause="" if output.cause is None else output.cause.answer.value,
            )
            return (*episodes[:-1], last)
        case HopReport():
            return episodes
