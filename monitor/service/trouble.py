"""The words in which health is judged: a trouble, how bad it is, what it says about the microphone."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum


class State(StrEnum):
    OK = "ok"
    DEGRADED = "degraded"
    """It listens, but something is lost or late."""
    FAULT = "fault"
    """It does not listen: a cry would go unheard."""


class Concern(Enum):
    """What a trouble says about the microphone."""

    MICROPHONE = "microphone"
    SIGNAL = "signal"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Trouble:
    """``kind`` identifies it over time; ``reason`` is a sentence without running numbers."""

    kind: str
    state: State
    reason: str
    concern: Concern = Concern.OTHER
