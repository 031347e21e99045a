"""The wording of notifications. Each can be read by itself, for the one before it may not have arrived."""

from __future__ import annotations

from datetime import datetime, tzinfo
from typing import Final

from monitor.messages import EpisodeMessage
from monitor.words import rough_length

_CAUSES: Final = {
    "belly_pain": "belly pain",
    "burping": "needs to burp",
    "discomfort": "discomfort",
    "hungry": "hungry",
    "tired": "tired",
}

_LOST: Final = {
    "microphone": ("Monitor hears nothing", "The microphone is lost"),
    "signal": ("Monitor may hear nothing", "The microphone's sound is not in order"),
    "detector": ("Monitor hears nothing", "Nothing listens to what the microphone hears"),
    "hub": ("Home hub is out of reach", "The link to the home hub is lost"),
}
_BACK: Final = {
    "microphone": "The microphone works again",
    "signal": "The microphone's sound is in order again",
    "detector": "The monitor listens again",
    "hub": "The home hub is reached again",
}
_ORIGINS: Final = {"hub": "in the home hub", "phone": "on a phone", "command": "at the monitor"}


def cry_title(name: str, *, urgent: bool) -> str:
    return f"{name}: still crying" if urgent else f"{name}: crying"


def cry_text(message: EpisodeMessage, zone: tzinfo | None) -> str:
    text = f"Crying since {_clock(message.began_at, zone)}, {rough_length(message.crying_s)} so far."
    if message.cause is not None and message.cause.answer != "unsure":
        percent = round(100 * message.cause.probability)
        text += f" Perhaps: {_CAUSES[message.cause.answer]} ({percent} %)."
    return text


def calm_title(name: str) -> str:
    return f"{name}: calm again"


def calm_text(message: EpisodeMessage, zone: tzinfo | None) -> str:
    ended_at = message.time if message.ended_at is None else message.ended_at
    return (
        f"Cried from {_clock(message.began_at, zone)} to {_clock(ended_at, zone)}, "
        f"{rough_length(message.crying_s)} in all."
    )


def interrupted_title(name: str) -> str:
    return f"{name}: monitor interrupted"


def interrupted_text(message: EpisodeMessage, zone: tzinfo | None) -> str:
    return (
        f"The monitor stopped hearing at {_clock(message.time, zone)}, while there was crying since "
        f"{_clock(message.began_at, zone)}. Go and look."
    )


def restarted_text(since: datetime, zone: tzinfo | None) -> str:
    return (
        f"The monitor has started anew. Before that there was crying since {_clock(since, zone)}, and nobody "
        "had acknowledged it. Go and look."
    )


def acknowledged_title(name: str) -> str:
    return f"{name}: somebody is on the way"


def acknowledged_text(channel: str | None, origin: str) -> str:
    where = _ORIGINS.get(origin, "")
    return f"Acknowledged by {channel}." if channel else " ".join(filter(None, ["Acknowledged", where])) + "."


def fault_title(name: str, kind: str) -> str:
    return f"{name}: {_LOST[kind][0]}"


def fault_text(kind: str, since: datetime, zone: tzinfo | None, reason: str) -> str:
    return f"{_LOST[kind][1]} since {_clock(since, zone)}. {reason}".strip()


def back_title(name: str, kind: str) -> str:
    return f"{name}: {_BACK[kind]}"


def back_text(kind: str, since: datetime, until: datetime, zone: tzinfo | None) -> str:
    return f"{_BACK[kind]}. The fault lasted from {_clock(since, zone)} to {_clock(until, zone)}."


def test_title(name: str) -> str:
    return f"{name}: test alert"


def test_text(source: str) -> str:
    asked = {"daily": "The daily test", "hub": "A test from the home hub", "command": "A test"}[source]
    return f"{asked}: alerts of this monitor reach you. The baby is not crying."


def _clock(time: datetime, zone: tzinfo | None) -> str:
    return f"{time.astimezone(zone):%H:%M}"
