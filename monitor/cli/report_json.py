"""A night as JSON, schema 1. Times are UTC in ISO 8601, lengths in seconds, levels in dBFS.

    schema, device, night (date of its evening), begin, end
    listened_s, listened, interruptions  spans {begin, end} in which the monitor (did not) hear
    crying_s, longest_calm               {begin, end, length_s}, null when there was none
    episodes                             id, onset, detected, end, ended, truncated, duration_s, crying_s,
                                         score, level_dbfs, escalations, told_after_s, acknowledged_at,
                                         acknowledged_by, acknowledged_after_s, confirmed_cause and
                                         cause {answer, probability, base_rate}; null where nothing is known
    causes                               how often each answer was given, "unsure" as well
    alerts                               at, kind ("test" or "delivery"), and what the message said
    faults                               begin, end, open, kind, reason, length_s
    minutes                              begin, heard_s, mean, max, min, peak, floor, active_share, crying_s

A field is never renamed or given another meaning within a schema; new ones may be added.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, date, datetime
from typing import Any, Final

from monitor.sinks.history_night import CryFacts, NightFacts, Span, alert_detail
from monitor.sinks.history_records import Fault, Minute

SCHEMA: Final = 1


def night_json(facts: NightFacts, evening: date, device: str) -> dict[str, Any]:
    calm = facts.calm
    return {
        "schema": SCHEMA,
        "device": device,
        "night": evening.isoformat(),
        "begin": _utc(facts.begin_s),
        "end": _utc(facts.end_s),
        "listened_s": round(facts.listened_s, 1),
        "listened": [_span(one) for one in facts.listened],
        "interruptions": [_span(one) for one in facts.interruptions],
        "crying_s": round(facts.crying_s, 1),
        "longest_calm": None if calm is None else _span(calm) | {"length_s": round(calm[1] - calm[0], 1)},
        "episodes": [_episode(cry) for cry in facts.cries],
        "causes": dict(Counter(cry.episode.cause or "not estimated" for cry in facts.cries)),
        "alerts": [
            {"at": _utc(one.at_s), "kind": one.kind} | {"detail": alert_detail(one)} for one in facts.alerts
        ],
        "faults": [_fault(one) for one in facts.faults],
        "minutes": [_minute(one) for one in facts.minutes],
    }


def _episode(cry: CryFacts) -> dict[str, Any]:
    one = cry.episode
    cause = {"answer": one.cause, "probability": one.cause_probability, "base_rate": one.cause_base_rate}
    return {
        "id": one.id,
        "onset": _utc(one.onset_s),
        "detected": _utc(one.detected_s),
        "end": _utc(one.until_s) if one.ended else None,
        "ended": bool(one.ended),
        "truncated": bool(one.truncated),
        "duration_s": round(one.duration_s, 1),
        "crying_s": round(one.crying_s, 1),
        "score": one.score,
        "level_dbfs": one.level_dbfs,
        "escalations": one.escalation,
        "cause": None if one.cause is None else cause,
        "confirmed_cause": one.confirmed_cause,
        "told_after_s": _rounded(cry.told_after_s),
        "acknowledged_at": None if one.acknowledged_s is None else _utc(one.acknowledged_s),
        "acknowledged_by": one.acknowledged_by or None,
        "acknowledged_after_s": _rounded(cry.acknowledged_after_s),
    }


def _fault(one: Fault) -> dict[str, Any]:
    return _span((one.begin_s, one.end_s)) | {
        "open": bool(one.open),
        "kind": one.kind,
        "reason": one.reason,
        "length_s": round(one.end_s - one.begin_s, 1),
    }


def _minute(one: Minute) -> dict[str, Any]:
    return {
        "begin": _utc(one.minute * 60),
        "heard_s": round(one.heard_s, 1),
        "mean": round(one.level_mean_dbfs, 1),
        "max": round(one.level_max_dbfs, 1),
        "min": round(one.level_min_dbfs, 1),
        "peak": round(one.peak_dbfs, 1),
        "floor": round(one.floor_dbfs, 1),
        "active_share": round(one.active_share, 3),
        "crying_s": round(one.crying_s, 1),
    }


def _span(one: Span) -> dict[str, Any]:
    return {"begin": _utc(one[0]), "end": _utc(one[1])}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


def _utc(at_s: float) -> str:
    text = datetime.fromtimestamp(at_s, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")
