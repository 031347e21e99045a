from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.events.clock import StreamClock
from monitor.types import SAMPLE_RATE_HZ, SampleIndex

NOON = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)


def test_head_is_now_and_earlier_samples_are_earlier():
    clock = StreamClock()
    clock.observe(SampleIndex(160_000), NOON)
    assert clock.utc_of(SampleIndex(160_000)) == NOON
    assert clock.utc_of(SampleIndex(152_000)) == NOON - timedelta(seconds=0.5)
    assert clock.utc_of(SampleIndex(0)) == NOON - timedelta(seconds=10)


def test_three_days_with_a_sound_card_that_runs_100_ppm_fast_do_not_drift():
    clock = StreamClock()
    for second in range(0, 3 * 86_400 + 1, 600):
        heard = round(second * SAMPLE_RATE_HZ * 1.0001)
        clock.observe(SampleIndex(heard), NOON + timedelta(seconds=second))
    end = NOON + timedelta(days=3)
    assert clock.utc_of(SampleIndex(heard)) == end
    # Unanchored, the clock would be 26 s off by now; within the last second it is 0.1 ms.
    assert abs(clock.utc_of(SampleIndex(heard - 16_000)) - (end - timedelta(seconds=1))) < timedelta(
        milliseconds=1
    )


@pytest.mark.parametrize("step", [timedelta(hours=1), timedelta(hours=-1)])
def test_a_step_of_the_system_clock_moves_the_times_behind_it(step):
    clock = StreamClock()
    clock.observe(SampleIndex(16_000), NOON)
    before = clock.utc_of(SampleIndex(16_000))
    clock.observe(SampleIndex(32_000), NOON + timedelta(seconds=1) + step)
    assert clock.utc_of(SampleIndex(32_000)) - before == timedelta(seconds=1) + step


def test_another_zone_is_turned_into_utc():
    clock = StreamClock()
    clock.observe(SampleIndex(0), NOON.astimezone(timezone(timedelta(hours=5, minutes=30))))
    assert clock.utc_of(SampleIndex(0)).isoformat() == "2026-11-22T12:00:00+00:00"


def test_a_time_without_a_zone_is_refused():
    with pytest.raises(ValueError, match="zone"):
        StreamClock().observe(SampleIndex(0), datetime(2026, 11, 22))  # noqa: DTZ001 - what is tested


def test_before_the_first_audio_there_is_no_time():
    with pytest.raises(ValueError, match="not seen any audio"):
        StreamClock().utc_of(SampleIndex(0))


@given(st.integers(0, 2**50), st.integers(0, 2**50))
def test_distances_are_those_of_the_samples_wherever_the_stream_stands(head, index):
    clock = StreamClock()
    clock.observe(SampleIndex(head), NOON)
    try:
        heard = clock.utc_of(SampleIndex(index))
    except OverflowError:
        return  # beyond year 9999
    assert abs((heard - NOON).total_seconds() - (index - head) / SAMPLE_RATE_HZ) < 1e-3


def test_the_times_of_a_recording_follow_its_positions_however_fast_it_is_read():
    clock = StreamClock()
    clock.fix(NOON)
    for second in (4, 8, 12):
        clock.observe(SampleIndex(second * SAMPLE_RATE_HZ), NOON + timedelta(hours=second))
        assert clock.utc_of(SampleIndex(second * SAMPLE_RATE_HZ)) == NOON + timedelta(seconds=second)
    assert clock.utc_of(SampleIndex(0)) == NOON
