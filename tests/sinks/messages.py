"""Messages for the tests of the sinks."""

from datetime import UTC, datetime, timedelta

from monitor.messages import CauseHint, EpisodeMessage, HealthMessage, TelemetryMessage

ONSET = datetime(2026, 11, 22, 3, 4, 5, 678_000, tzinfo=UTC)
DETECTED = ONSET + timedelta(milliseconds=720)

HUNGRY = CauseHint(
    answer="hungry",
    probability=0.62,
    base_rate=0.4,
    probabilities={"hungry": 0.62, "tired": 0.2, "discomfort": 0.1, "burping": 0.05, "belly_pain": 0.03},
)


def episode(event_type="started", number=1, *, episode_id="e1", cause=None, duration_s=0.72, score=0.91):
    return EpisodeMessage(
        event_id=f"{episode_id}-{event_type}-{number}",
        device="nursery",
        time=ONSET + timedelta(seconds=duration_s),
        event_type=event_type,
        episode_id=episode_id,
        onset_at=ONSET,
        detected_at=DETECTED,
        ended_at=ONSET + timedelta(seconds=duration_s) if event_type == "ended" else None,
        duration_s=duration_s,
        crying_s=duration_s,
        score=score,
        level_dbfs=-31.5,
        cause=cause,
    )


def telemetry(number=1, *, level_dbfs=-48.25, score=0.1):
    return TelemetryMessage(
        event_id=f"t{number}",
        device="nursery",
        time=ONSET,
        level_dbfs=level_dbfs,
        peak_dbfs=-40.0,
        noise_floor_dbfs=-61.0,
        score=score,
        active=False,
        crying=False,
    )


def health(number=1, *, microphone_ok=True, signal_ok=True):
    return HealthMessage(
        event_id=f"h{number}",
        device="nursery",
        time=ONSET,
        state="ok" if microphone_ok and signal_ok else "fault",
        reasons=[] if microphone_ok else ["no audio for 3 s"],
        microphone_ok=microphone_ok,
        signal_ok=signal_ok,
        uptime_s=12.0,
        version="0.1.0",
        counters={"gaps": 0},
    )
