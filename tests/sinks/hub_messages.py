"""One message of every kind that the hub shows, and the same with nothing known."""

from datetime import timedelta

from monitor.messages import (
    AlertMessage,
    ConfirmedCauseMessage,
    ControlsMessage,
    DeliveryMessage,
    HealthMessage,
    NightMessage,
    TestMessage,
)
from tests.sinks.messages import DETECTED, ONSET

COMMON = {"device": "nursery", "time": ONSET}

COUNTERS = {
    "gate_rate": 0.1234,
    "vad_rate": 0.05,
    "detector_lag_s": 0.01234,
    "audio_lost_s": 1.25,
    "inference_ms": 3.14159,
    "queue_depth": 2.0,
    "cpu_temperature_c": 48.31,
}


def working(state="ok", counters=COUNTERS, *, reasons=(), microphone_ok=True, signal_ok=True):
    return HealthMessage(
        event_id="h1",
        **COMMON,
        state=state,
        reasons=list(reasons),
        microphone_ok=microphone_ok,
        signal_ok=signal_ok,
        uptime_s=3600.4,
        version="0.2.0",
        counters=counters,
    )


def controls(**fields):
    return ControlsMessage(event_id="c1", **COMMON, **{"hold_s": 5.0, **fields})


def muted(minutes):
    return controls(muted_until=ONSET + timedelta(minutes=minutes))


def alert(state="none", **fields):
    return AlertMessage(event_id="a1", **COMMON, state=state, **fields)


def night(**fields):
    quiet = {"night": "2026-11-21", "episodes": 0, "crying_s": 0.0, "longest_calm_s": 0.0}
    return NightMessage(event_id="n1", **COMMON, **quiet | fields)


def delivery(state="none", **fields):
    nothing = {"channels": {}, "delivered": 0, "failed": 0, "waiting": 0}
    return DeliveryMessage(event_id="d1", **COMMON, state=state, **nothing | fields)


def confirmed(cause="hungry"):
    return ConfirmedCauseMessage(event_id="k1", **COMMON, episode_id="e1", cause=cause, counts={cause: 3})


def a_test(source="hub"):
    return TestMessage(event_id="t1", **COMMON, source=source)


A_BAD_NIGHT = night(episodes=3, crying_s=754.0, longest_calm_s=11_100.0, last_cry_at=DETECTED)
UNHEARD = alert("unacknowledged", episode_id="e1", since=DETECTED, escalation=2)
PUSHED = delivery("retrying", channels={"ntfy": "refused"}, delivered=7, waiting=1, last_delivered_at=ONSET)
