from dataclasses import replace

import pytest

from monitor.capture.source import SourceState
from monitor.service.pace import NOT_BEFORE_S, ClockWatch, RateWatch
from tests.service.scripted import RUNNING


def heard(rate: float, *, from_s: int = 0, to_s: int = 30, watch: RateWatch | None = None) -> RateWatch:
    watch = RateWatch() if watch is None else watch
    for now_s in range(from_s, to_s):
        watch.observe(float(now_s), replace(RUNNING, samples=int(16_000 * rate * now_s)))
    return watch


@pytest.mark.parametrize(
    ("rate", "wrong"), [(1.0, False), (1.02, False), (0.97, False), (0.5, True), (2.0, True)]
)
def test_audio_that_comes_faster_or_slower_than_time_is_seen(rate, wrong):
    watch = heard(rate)
    assert watch.wrong is wrong
    assert watch.rate == pytest.approx(rate, abs=0.01)


def test_lost_and_waiting_audio_counts_as_arrived():
    watch = RateWatch()
    for now_s in range(30):
        part = 16_000 * now_s // 2
        watch.observe(
            float(now_s), replace(RUNNING, samples=part, lost_samples=part // 2, waiting_s=now_s / 4)
        )
    assert not watch.wrong


def test_a_microphone_that_came_back_is_measured_anew():
    watch = heard(0.5)
    watch.observe(30.0, replace(RUNNING, state=SourceState.LOST))
    assert not watch.wrong
    assert not heard(1.0, from_s=31, to_s=60, watch=watch).wrong


def test_what_a_sound_daemon_had_stored_is_no_wrong_rate():
    watch = RateWatch()
    for now_s in range(30):
        watch.observe(float(now_s), replace(RUNNING, samples=16_000 * (now_s + min(2 * now_s, 4))))
    assert not watch.wrong


def test_a_clock_that_is_set_is_seen_and_one_that_is_corrected_is_not():
    watch = ClockWatch()
    for now_s in range(10):
        watch.observe(float(now_s), NOT_BEFORE_S + 1.01 * now_s)
    assert watch.jumped_at_s is None
    watch.observe(10.0, NOT_BEFORE_S + 3610.0)
    assert (watch.jumped_at_s, round(watch.jump_s)) == (10.0, 3600)
    watch.observe(11.0, NOT_BEFORE_S + 11.0)
    assert (watch.jumped_at_s, round(watch.jump_s)) == (11.0, -3600)


def test_a_clock_before_this_program_was_made_has_never_been_set():
    watch = ClockWatch()
    watch.observe(5.0, 5.0)
    assert watch.unset
    watch.observe(6.0, NOT_BEFORE_S + 6.0)
    assert not watch.unset
