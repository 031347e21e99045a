"""What a night was like, from what is remembered of it. Pure; times in seconds since 1970, UTC."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from monitor.sinks.history_reader import Remembered
from monitor.sinks.history_records import Alert, Episode, Fault, Minute

Span = tuple[float, float]

TOLD_WITHIN_S: Final = 900.0
"""A push that arrives later than this behind the end of an episode was about something else."""
_NOTABLE_S: Final = 2.0
"""Shorter troubles are the start of the service and a device that was opened."""


@dataclass(frozen=True, slots=True)
class CryFacts:
    """An episode and what became of its alert."""

    episode: Episode
    told_after_s: float | None
    """From its detection until direct push delivered; None: nothing is known of that."""
    acknowledged_after_s: float | None
    """From its detection."""


@dataclass(frozen=True, slots=True)
class NightFacts:
    begin_s: float
    end_s: float
    cries: tuple[CryFacts, ...]
    crying_s: float
    listened: tuple[Span, ...]
    """When the monitor really listened: audio came, nothing of it was lost, and no fault made it deaf."""
    calm: Span | None
    """The longest time of listening without an episode."""
    faults: tuple[Fault, ...]
    """What was wrong, cut to the night, without what was over at once."""
    alerts: tuple[Alert, ...]
    minutes: tuple[Minute, ...]

    @property
    def listened_s(self) -> float:
        return total(self.listened)

    @property
    def interruptions(self) -> list[Span]:
        """When it did not listen, between the first and the last time that it did."""
        if not self.listened:
            return []
        return minus([(self.listened[0][0], self.listened[-1][1])], self.listened)


def night_facts(remembered: Remembered) -> NightFacts:
    """Add up."""
    night = (remembered.begin_s, remembered.end_s)
    lost = [(f.begin_s, f.end_s) for f in remembered.faults if f.kind in {"deaf", "audio_lost"}]
    heard = cut(union((stretch.begin_s, stretch.end_s) for stretch in remembered.listening), night)
    listened = minus(heard, lost)
    calm = minus(listened, [(e.onset_s, e.until_s) for e in remembered.episodes])
    return NightFacts(
        begin_s=remembered.begin_s,
        end_s=remembered.end_s,
        cries=tuple(_cry(episode, remembered.alerts) for episode in remembered.episodes),
        crying_s=sum(episode.crying_s for episode in remembered.episodes),
        listened=tuple(listened),
        calm=max(calm, key=lambda span: span[1] - span[0], default=None),
        faults=tuple(_notable(remembered.faults, night)),
        alerts=remembered.alerts,
        minutes=remembered.minutes,
    )


def _cry(episode: Episode, alerts: Sequence[Alert]) -> CryFacts:
    latest_s = episode.until_s + TOLD_WITHIN_S
    told = [
        at_s
        for alert in alerts
        if (at_s := _delivered_s(alert)) is not None and episode.detected_s <= at_s <= latest_s
    ]
    at_s = episode.acknowledged_s
    return CryFacts(
        episode,
        told_after_s=min(told) - episode.detected_s if told else None,
        acknowledged_after_s=None if at_s is None else max(0.0, at_s - episode.detected_s),
    )


def alert_detail(alert: Alert) -> dict[str, Any]:
    """What the alert's message said; nothing where the file is damaged."""
    try:
        detail = json.loads(alert.detail)
    except ValueError:
        return {}
    return detail if isinstance(detail, dict) else {}


def _delivered_s(alert: Alert) -> float | None:
    if alert.kind != "delivery":
        return None
    detail = alert_detail(alert)
    at_s, delivered = detail.get("last_delivered_s"), detail.get("delivered")
    is_said = isinstance(at_s, float) and isinstance(delivered, int) and delivered > 0
    return at_s if is_said else None


def _notable(faults: Iterable[Fault], night: Span) -> Iterable[Fault]:
    for fault in faults:
        begin_s, end_s = max(fault.begin_s, night[0]), min(fault.end_s, night[1])
        lasted = end_s - begin_s >= _NOTABLE_S or fault.open
        if fault.kind != "deaf" and (lasted or fault.kind == "audio_lost"):
            yield Fault(begin_s, fault.kind, fault.reason, end_s, fault.open)


# --- spans ------------------------------------------------------------------------------------------


def union(spans: Iterable[Span]) -> list[Span]:
    """The same time, in order and without overlaps.

    >>> union([(5, 6), (1, 3), (2, 4)])
    [(1, 4), (5, 6)]
    """
    joined: list[Span] = []
    for begin, end in sorted(spans):
        if joined and begin <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((begin, end))
    return joined


def minus(spans: Iterable[Span], holes: Iterable[Span]) -> list[Span]:
    """What is left of ``spans`` outside ``holes``; both need not be in order.

    >>> minus([(0, 10)], [(2, 3), (9, 12)])
    [(0, 2), (3, 9)]
    """
    left = union(spans)
    for begin, end in union(holes):
        left = [
            part
            for span in left
            for part in ((span[0], min(span[1], begin)), (max(span[0], end), span[1]))
            if part[0] < part[1]
        ]
    return left


def cut(spans: Iterable[Span], to: Span) -> list[Span]:
    """The parts of ``spans`` within ``to``."""
    return [
        (max(begin, to[0]), min(end, to[1])) for begin, end in spans if max(begin, to[0]) < min(end, to[1])
    ]


def total(spans: Iterable[Span]) -> float:
    return sum(end - begin for begin, end in spans)
