"""Which episode was reported as begun and not as ended: a kill shall leave none open for ever."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import structlog
from pydantic import ValidationError

from monitor.messages import AnyMessage, EpisodeMessage
from monitor.sinks.outbox import Outbox

log = structlog.get_logger(__name__)

REMEMBER_EVERY_S: Final = 10.0
"""An SD card need not see every update of an episode."""

_PREFIX: Final = "episode "
_LAST: Final = "last episode"


@dataclass(frozen=True, slots=True)
class Change:
    """What is to be written together with the events of a message."""

    remember: dict[str, str] = field(default_factory=dict)
    forget: tuple[str, ...] = ()


class EpisodeLedger:
    """The latest that is known of each open episode and the end of the last, kept as facts of the outbox."""

    def __init__(self, outbox: Outbox, *, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._outbox = outbox
        self._monotonic_s = monotonic_s
        self._written_at_s: dict[str, float] = {}

    def change(self, message: AnyMessage) -> Change:
        if not isinstance(message, EpisodeMessage):
            return Change()
        name = f"{_PREFIX}{message.episode_id}"
        if message.event_type == "ended":
            self._written_at_s.pop(name, None)
            return Change(remember={_LAST: message.to_json()}, forget=(name,))
        now_s = self._monotonic_s()
        if (
            message.event_type == "updated"
            and now_s - self._written_at_s.get(name, -REMEMBER_EVERY_S) < REMEMBER_EVERY_S
        ):
            return Change()
        self._written_at_s[name] = now_s
        return Change(remember={name: message.to_json()})

    def left_open(self, left: Mapping[str, str]) -> Iterator[EpisodeMessage]:
        """An end for each episode that an earlier process began and did not end; ``left`` are its facts."""
        for name, text in left.items():
            if name.startswith(_PREFIX) and (last := self._read(name, text)) is not None:
                yield cut_short(last, datetime.now(UTC))

    def last_ended(self, left: Mapping[str, str]) -> EpisodeMessage | None:
        """The end of the latest episode that earlier processes reported."""
        text = left.get(_LAST)
        return None if text is None else self._read(_LAST, text)

    def _read(self, name: str, text: str) -> EpisodeMessage | None:
        try:
            return EpisodeMessage.model_validate_json(text)
        except ValidationError as error:
            why = f"{error.error_count()} fields do not fit"
        log.error("mqtt.episode_unreadable", fact=name, why=why)
        self._outbox.put(forget=[name])
        return None


def cut_short(last: EpisodeMessage, at: datetime) -> EpisodeMessage:
    """The end of an episode of which ``last`` is the latest that was kept.

    Its event id follows from the episode, so that a second kill, or a disk that forgot, makes no second end.
    """
    return last.model_copy(
        update={
            "event_id": str(uuid.uuid5(uuid.NAMESPACE_OID, f"{last.episode_id} cut short")),
            "event_type": "ended",
            "time": max(at, last.time),  # the clock may not be right yet
            "ended_at": last.time,
            "truncated": True,
        }
    )
