"""Pieces of a demonstration that went well, for the tests of display and verdict."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from monitor.demo.hub import Received
from monitor.demo.verdict import Span, Truth
from monitor.messages import EpisodeMessage
from monitor.types import (
    Cause,
    CauseEstimate,
    Dbfs,
    EpisodeEnded,
    EpisodeStarted,
    HopReport,
    Probability,
    SampleIndex,
    samples,
)

TRUTH = Truth(
    70.0,
    (
        Span("door", 3.0, 4.0),
        Span("cry_bout", 14.0, 26.0),
        Span("speech", 44.0, 47.0),
        Span("cry_bout", 48.5, 59.0),
    ),
)
ORIGIN_S = 1_000.0
UNSURE = CauseEstimate(
    Cause.UNSURE, {Cause.HUNGRY: 0.8, Cause.TIRED: 0.2}, {Cause.HUNGRY: 0.84, Cause.TIRED: 0.16}
)


def at(time_s):
    return SampleIndex(samples(time_s))


def hop(stop_s, *, level=-70.0, score=None, crying=False):
    return HopReport(
        at(stop_s - 0.24),
        at(stop_s),
        Dbfs(level),
        Dbfs(level + 6),
        Dbfs(-70.0),
        score is not None,
        None if score is None else Probability(score),
        crying,
    )


def started(number, onset_s, detected_s):
    return EpisodeStarted(number, at(onset_s), at(detected_s), Probability(0.9), Dbfs(-20.0))


def ended(number, onset_s, detected_s, offset_s):
    return EpisodeEnded(
        number,
        at(onset_s),
        at(detected_s),
        at(offset_s),
        at(offset_s + 5.0),
        Probability(0.97),
        Dbfs(-20.0),
        9.3,
        UNSURE,
        False,
    )


def message(event_type, number, time_s=0.0):
    """An episode message; its ids tell number and type."""
    time = datetime(2026, 11, 22, 3, tzinfo=UTC) + timedelta(seconds=time_s)
    return EpisodeMessage(
        event_id=f"{event_type}-{number}",
        device="demo",
        time=time,
        event_type=event_type,
        episode_id=f"episode-{number}",
        onset_at=time,
        detected_at=time,
        duration_s=9.5,
        crying_s=9.3,
        score=0.97,
        level_dbfs=-20.0,
    )


def arrival(sent, at_s, topic="cradlewatch/demo/cry"):
    return Received(ORIGIN_S + at_s, topic, sent.to_json().encode(), retained=False)


def good_evening():
    """(outputs, sent, received) of two cries that were detected after 1.0 and 1.5 s."""
    outputs = [
        started(1, 14.1, 15.0),
        ended(1, 14.1, 15.0, 26.0),
        started(2, 48.7, 50.0),
        ended(2, 48.7, 50.0, 59.0),
    ]
    sent = [message("started", 1), message("ended", 1), message("started", 2), message("ended", 2)]
    received = [arrival(one, time_s) for one, time_s in zip(sent, (15.2, 31.2, 50.2, 64.2), strict=True)]
    return outputs, sent, received
