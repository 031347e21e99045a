"""A night as messages, for the tests of what is remembered of it."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

from monitor.messages import (
    AlertMessage,
    CauseHint,
    ConfirmedCauseMessage,
    DeliveryMessage,
    EpisodeMessage,
    HealthMessage,
    TelemetryMessage,
    TestMessage,
)

EVENING = datetime(2026, 11, 22, 20, 0, tzinfo=UTC)


def at(seconds: float) -> datetime:
    """So long after the beginning of the evening."""
    return EVENING + timedelta(seconds=seconds)


def header(seconds: float) -> dict:
    return {"event_id": str(uuid.uuid4()), "device": "nursery", "time": at(seconds)}


def level(seconds, dbfs=-50.0, *, active=False, crying=False):
    return TelemetryMessage(
        **header(seconds),
        level_dbfs=dbfs,
        peak_dbfs=dbfs + 10,
        noise_floor_dbfs=-60.0,
        score=0.9 if crying else 0.0,
        active=active,
        crying=crying,
    )


def hint(answer="hungry"):
    return CauseHint(
        answer=answer,
        probability=0.62,
        base_rate=0.4,
        probabilities={"hungry": 0.62, "tired": 0.2, "discomfort": 0.1, "burping": 0.05, "belly_pain": 0.03},
    )


def cry(event_type, onset, until, *, crying_s=None, episode_id="e1", cause=None, escalation=0, hold_s=5.0):
    ended = event_type == "ended"
    return EpisodeMessage(
        **header(until + hold_s if ended else until),
        event_type=event_type,
        episode_id=episode_id,
        escalation=escalation,
        onset_at=at(onset),
        detected_at=at(onset + 1.5),
        ended_at=at(until) if ended else None,
        duration_s=until - onset,
        crying_s=until - onset if crying_s is None else crying_s,
        score=0.9,
        level_dbfs=-30.0,
        cause=cause,
    )


def state(seconds, *reasons, microphone_ok=True, signal_ok=True, fault=False, lost_s=0.0):
    judged = "fault" if fault else "degraded" if reasons else "ok"
    return HealthMessage(
        **header(seconds),
        state=judged,
        reasons=list(reasons),
        microphone_ok=microphone_ok,
        signal_ok=signal_ok,
        uptime_s=seconds,
        version="1",
        counters={"audio_lost_s": lost_s},
    )


def heard(seconds, episode_id="e1", by="phone"):
    """Somebody acknowledged."""
    return AlertMessage(
        **header(seconds),
        state="acknowledged",
        episode_id=episode_id,
        since=at(0),
        acknowledged_at=at(seconds),
        acknowledged_by=by,
    )


def confirmed(seconds, cause="tired", episode_id="e1"):
    return ConfirmedCauseMessage(**header(seconds), episode_id=episode_id, cause=cause, counts={cause: 1})


def delivery(seconds, state="delivered", delivered=1, failed=0):
    return DeliveryMessage(
        **header(seconds),
        state=state,
        channels={"Mum": state},
        delivered=delivered,
        failed=failed,
        waiting=0,
        last_delivered_at=at(seconds) if delivered else None,
    )


def trial(seconds, source="daily"):
    return TestMessage(**header(seconds), source=source)
