import itertools
import json
import math
from datetime import UTC, datetime, timedelta

import pytest

from monitor.events.assembler import MessageAssembler
from monitor.events.clock import StreamClock
from monitor.messages import EpisodeMessage, TelemetryMessage
from monitor.types import (
    Cause,
    CauseEstimate,
    EpisodeEnded,
    EpisodeStarted,
    EpisodeUpdated,
    HopReport,
    SampleIndex,
)

START = datetime(2026, 11, 22, 3, 0, 0, tzinfo=UTC)
HOP = 3840

FIVE = {
    Cause.HUNGRY: 0.6,
    Cause.TIRED: 0.2,
    Cause.DISCOMFORT: 0.1,
    Cause.BURPING: 0.06,
    Cause.BELLY_PAIN: 0.04,
}
BASE_RATES = dict.fromkeys(FIVE, 0.2)


def at(second):
    return SampleIndex(round(second * 16_000))


def clock_at_start():
    clock = StreamClock()
    clock.observe(SampleIndex(0), START)
    return clock


def assembler(clock=None, **options):
    numbers = iter(range(1, 10_000))
    return MessageAssembler(
        "nursery", clock or clock_at_start(), new_id=lambda: f"id-{next(numbers)}", **options
    )


def hop(number, *, level=-50.0, peak=-40.0, score=None, active=False, crying=False):
    start = SampleIndex(number * HOP)
    return HopReport(start, SampleIndex(start + HOP), level, peak, -60.0, active, score, crying)


def started(number=1, onset=10.0, detected=10.72):
    return EpisodeStarted(number, at(onset), at(detected), 0.91, -32.0)


def updated(number=1, now=15.0, cause=None, crying_s=4.2):
    return EpisodeUpdated(number, at(10.0), at(10.72), at(now), 0.95, -30.0, crying_s, cause)


def ended(number=1, offset=20.0, now=28.0, cause=None, truncated=False):
    return EpisodeEnded(number, at(10.0), at(10.72), at(offset), at(now), 0.97, -29.0, 8.4, cause, truncated)


def test_a_start_says_when_the_cry_began_and_when_we_knew():
    message = assembler().assemble(started())
    assert json.loads(message.to_json()) == {
        "schema": 1,
        "event_id": "id-2",
        "device": "nursery",
        "time": "2026-11-22T03:00:10.720Z",
        "kind": "episode",
        "event_type": "started",
        "episode_id": "id-1",
        "escalation": 0,
        "onset_at": "2026-11-22T03:00:10.000Z",
        "detected_at": "2026-11-22T03:00:10.720Z",
        "ended_at": None,
        "duration_s": 0.72,
        "crying_s": 0.72,
        "score": 0.91,
        "level_dbfs": -32.0,
        "cause": None,
        "truncated": False,
    }


def test_an_end_counts_to_the_last_cry_and_not_to_the_end_of_the_hang_over():
    assemble = assembler().assemble
    assemble(started())
    message = assemble(ended(truncated=True))
    assert message.event_type == "ended"
    assert message.ended_at == START + timedelta(seconds=20)
    assert message.time == START + timedelta(seconds=28)
    assert message.duration_s == 10.0
    assert message.crying_s == 8.4
    assert message.truncated


def test_one_episode_keeps_its_id_and_each_message_has_its_own():
    assemble = assembler().assemble
    first = [assemble(output) for output in (started(), updated(), ended())]
    second = [assemble(output) for output in (started(2), ended(2))]
    assert len({message.episode_id for message in first}) == 1
    assert {message.episode_id for message in second} & {message.episode_id for message in first} == set()
    assert len({message.event_id for message in first + second}) == 5


def test_crying_that_goes_on_escalates_once_for_every_further_while():
    assemble = assembler(escalate_every_s=60.0).assemble
    assemble(started())
    heard = [
        assemble(updated(now=15.0 + s, crying_s=s)) for s in (4.2, 59.9, 60.0, 65.0, 119.9, 185.0, 190.0)
    ]
    assert [message.event_type for message in heard] == [
        "updated", "updated", "escalated", "updated", "updated", "escalated", "updated",
    ]  # fmt: skip
    assert [message.escalation for message in heard] == [0, 0, 1, 1, 1, 3, 3]
    assert assemble(ended(now=230.0)).escalation == 3


def test_ids_are_random_uuids_unless_told_otherwise():
    message = MessageAssembler("nursery", clock_at_start()).assemble(started())
    assert len(message.event_id) == len(message.episode_id) == 36
    assert message.event_id != message.episode_id


@pytest.mark.parametrize("step", [timedelta(hours=1), timedelta(hours=-1)])
def test_a_clock_step_within_an_episode_bends_no_duration_and_not_the_onset(step):
    clock = clock_at_start()
    assemble = assembler(clock).assemble
    begin = assemble(started())
    clock.observe(at(14.0), START + timedelta(seconds=14) + step)
    going_on, end = assemble(updated()), assemble(ended())
    assert going_on.onset_at == end.onset_at == begin.onset_at
    assert going_on.detected_at == end.detected_at == begin.detected_at
    assert (going_on.duration_s, end.duration_s) == (5.0, 10.0)
    assert end.ended_at == START + timedelta(seconds=20) + step
    assert begin.clock_step == timedelta()
    assert going_on.clock_step == end.clock_step == step
    assert end.began_at == begin.onset_at + step


def test_a_cause_is_told_with_its_base_rate():
    assemble = assembler().assemble
    assemble(started())
    hint = assemble(updated(cause=CauseEstimate(Cause.HUNGRY, FIVE, BASE_RATES))).cause
    assert (hint.answer, hint.probability, hint.base_rate) == ("hungry", 0.6, 0.2)
    assert hint.probabilities["tired"] == 0.2


def test_unsure_shows_the_likeliest_cause_as_what_it_was_unsure_of():
    assemble = assembler().assemble
    assemble(started())
    hint = assemble(updated(cause=CauseEstimate(Cause.UNSURE, FIVE, BASE_RATES))).cause
    assert (hint.answer, hint.probability) == ("unsure", 0.6)


def telemetry_of(assemble, reports):
    return [message for message in map(assemble, reports) if message is not None]


def test_calm_telemetry_comes_every_ten_seconds():
    # 200 hops are 48 s: one report at once, then after 42 hops (10.08 s) each.
    sent = telemetry_of(assembler().assemble, [hop(n) for n in range(200)])
    assert [(m.time - START).total_seconds() for m in sent] == [0.24, 10.32, 20.4, 30.48, 40.56]


def test_telemetry_comes_every_second_while_the_gate_is_awake_or_a_baby_cries():
    for state in ({"active": True, "score": 0.2}, {"crying": True}):
        sent = telemetry_of(assembler().assemble, [hop(n, **state) for n in range(50)])
        gaps = [(b.time - a.time).total_seconds() for a, b in itertools.pairwise(sent)]
        assert gaps == [1.2] * 9


def test_waking_up_is_told_without_waiting_for_the_calm_interval():
    assemble = assembler().assemble
    sent = telemetry_of(assemble, [hop(n) for n in range(10)] + [hop(10, active=True, score=0.4)])
    assert [message.active for message in sent] == [False, True]


def test_the_rates_can_be_chosen():
    sent = telemetry_of(assembler(calm_every_s=0.24).assemble, [hop(n) for n in range(7)])
    assert len(sent) == 7


def test_a_peak_between_two_messages_is_not_missed():
    reports = [hop(0), *(hop(n, peak=-3.0 if n == 20 else -40.0) for n in range(1, 86))]
    assert [m.peak_dbfs for m in telemetry_of(assembler().assemble, reports)] == [-40.0, -3.0, -40.0]


def test_a_stream_that_begins_anew_reports_at_once():
    assemble = assembler().assemble
    assert assemble(hop(1000)) is not None
    assert assemble(hop(0)) is not None


def test_levels_and_scores_carry_no_digits_without_meaning():
    told = json.loads(assembler().assemble(hop(0, level=-48.251678, score=1 / 3, active=True)).to_json())
    assert (told["level_dbfs"], told["score"]) == (-48.25, 0.3333)


def test_digital_silence_and_a_sleeping_gate_are_numbers_in_json():
    message = assembler().assemble(hop(0, level=-math.inf, peak=-math.inf))
    assert isinstance(message, TelemetryMessage)
    told = json.loads(message.to_json())
    assert (told["level_dbfs"], told["peak_dbfs"], told["score"]) == (-100.0, -100.0, 0.0)


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_what_is_no_number_never_reaches_json(broken):
    with pytest.raises(ValueError, match="where a number belongs"):
        assembler().assemble(hop(0, level=broken))
    with pytest.raises(ValueError, match="where a number belongs"):
        assembler().assemble(hop(0, score=broken, active=True))
    assemble = assembler().assemble
    assemble(started())
    with pytest.raises(ValueError, match="where a number belongs"):
        assemble(updated(crying_s=broken))


def test_an_ended_episode_is_forgotten():
    assemble = assembler().assemble
    assert isinstance(assemble(started()), EpisodeMessage)
    assemble(ended())
    with pytest.raises(AssertionError, match="without a start"):
        assemble(updated())
