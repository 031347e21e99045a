"""What direct push sends, and to whom: the words shared by its policy, its outbox and its channels."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import IntEnum
from functools import cache

from pydantic import TypeAdapter


class Urgency(IntEnum):
    """How loud it shall be; each channel maps it to what its service knows."""

    QUIET = 0
    """To be read some time: it must not make a sound."""
    NORMAL = 1
    HIGH = 2
    """A cry."""
    URGENT = 3
    """Crying that escalated, or a monitor that hears nothing: through do-not-disturb where possible."""


@dataclass(frozen=True, slots=True)
class Now:
    """The time, on the clock for durations and on the one on the wall (``local`` has its zone)."""

    monotonic_s: float
    local: datetime


@dataclass(frozen=True, slots=True)
class Recipient:
    """A channel as the policy sees it."""

    name: str
    step: int = 1
    urgent_only: bool = False


@dataclass(frozen=True, slots=True)
class Notification:
    """One message to some channels.

    ``key`` is unique. ``tag`` is what it is about: a newer one of a tag replaces an older one that still
    waits, and those of the tag ``outdates`` as well. ``lasts_s``: how long it is news. ``repeats_s``: when
    the next one of its tag comes, 0 for never. ``episode_id``: what can be acknowledged with it.
    """

    key: str
    tag: str
    title: str
    text: str
    urgency: Urgency
    recipients: tuple[str, ...]
    lasts_s: float
    step: int = 1
    repeats_s: float = 0.0
    episode_id: str | None = None
    outdates: str = ""

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Notification:
        """Raises ValueError for what ``to_json`` did not write."""
        return _adapter().validate_json(text)


@cache
def _adapter() -> TypeAdapter[Notification]:
    return TypeAdapter(Notification)


@dataclass(frozen=True, slots=True)
class Orders:
    """What the policy wants done: notifications to send, and tags of which none may be sent any more."""

    send: tuple[Notification, ...] = ()
    withdraw: tuple[str, ...] = ()
