"""What of the states is worth a row in the hub's database.

Home Assistant keeps a row for each change of an entity, attributes included, on a card that wears out. So a
level that wanders, a cry that goes on and a cause that says nothing new are published as often as one looks
at them, and not as often as they change. What begins or ends always passes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from monitor.messages import AnyMessage, ConfirmedCauseMessage, EpisodeMessage, TelemetryMessage
from monitor.sinks.hub_topics import Topics
from monitor.sinks.mqtt_settings import Publication

SOUND_AT_LEAST_EVERY_S: Final = 300.0
"""Level and score of a room where nothing changes."""
_SOUND_BURST: Final = 5
_SOUND_EVERY_S: Final = 90.0
_LEVEL_STEP_DB: Final = 3.0
_SCORE_STEP: Final = 0.1

_UPDATE_BURST: Final = 12
_UPDATE_EVERY_S: Final = 90.0
"""The first minute of a cry is shown as it comes, the rest by the minute: an escalation counts."""


class _Allowance:
    """So many at once, and one more every ``every_s``."""

    def __init__(self, burst: int, every_s: float) -> None:
        self._burst = burst
        self._every_s = every_s
        self._left = float(burst)
        self._at_s: float | None = None

    def left(self, now_s: float) -> bool:
        if self._at_s is not None:
            self._left = min(self._burst, self._left + (now_s - self._at_s) / self._every_s)
        self._at_s = now_s
        return self._left >= 1.0

    def take(self) -> None:
        self._left = max(0.0, self._left - 1.0)


@dataclass(frozen=True, slots=True)
class _Sound:
    level_dbfs: float
    score: float
    at_s: float


class HubRates:
    """Chooses which of the states that a message makes to publish; ``now_s`` is monotonic."""

    def __init__(self, topics: Topics) -> None:
        self._topics = topics
        self._sound: _Sound | None = None
        self._sounds = _Allowance(_SOUND_BURST, _SOUND_EVERY_S)
        self._updates = _Allowance(_UPDATE_BURST, _UPDATE_EVERY_S)
        self._shown: dict[str, Any] = {}

    def worth(self, message: AnyMessage, states: list[Publication], now_s: float) -> list[Publication]:
        return [state for state in states if self._is_worth(message, state, now_s)]

    def forget(self) -> None:
        """All states are published again, whatever they were before."""
        self._shown.clear()

    def _is_worth(self, message: AnyMessage, state: Publication, now_s: float) -> bool:
        match message:
            case TelemetryMessage() if state.topic == self._topics.sound:
                return self._is_new_sound(_Sound(message.level_dbfs, message.score, now_s))
            case EpisodeMessage() if state.topic == self._topics.crying:
                return self._is_news(message, now_s)
            case EpisodeMessage():
                return self._says_more(state)
            case ConfirmedCauseMessage():
                self._shown[state.topic] = message.cause  # the next episode takes it back
                return True
            case _:
                return True

    def _is_new_sound(self, sound: _Sound) -> bool:
        last = self._sound
        differs = last is None or (
            abs(sound.level_dbfs - last.level_dbfs) >= _LEVEL_STEP_DB
            or abs(sound.score - last.score) >= _SCORE_STEP
        )
        is_old = last is None or sound.at_s - last.at_s >= SOUND_AT_LEAST_EVERY_S
        if not is_old and not (differs and self._sounds.left(sound.at_s)):
            return False
        self._sounds.take()
        self._sound = sound
        return True

    def _is_news(self, message: EpisodeMessage, now_s: float) -> bool:
        cause = None if message.cause is None else message.cause.answer
        if (
            message.event_type == "updated"
            and cause == self._shown.get("cause of the episode")
            and not self._updates.left(now_s)
        ):
            return False
        self._shown["cause of the episode"] = cause
        if message.event_type in {"updated", "escalated"}:
            self._updates.take()
        return True

    def _says_more(self, state: Publication) -> bool:
        """A cause that is not an answer adds nothing to one that is none either."""
        cause = json.loads(state.payload)["cause"]
        shown = self._shown.get(state.topic, _NOTHING)
        if cause == shown or (cause is None and shown == "unsure"):
            return False
        self._shown[state.topic] = cause
        return True


_NOTHING: Final = object()
