"""The demonstration says PASSED only when it did."""

from __future__ import annotations

import pytest

from monitor.demo.verdict import clock, episodes, judge, load_truth
from tests.demo.story import ORIGIN_S, TRUTH, arrival, ended, good_evening, message, started
from tests.demo.test_synth import BUNDLED


def verdict(outputs, sent, received):
    return judge(TRUTH, episodes(outputs, sent, received, ORIGIN_S))


def test_two_detected_cries_that_arrived_pass_with_their_delays():
    result = verdict(*good_evening())
    assert result.is_good
    assert [row.detection_delay_s for row in result.rows] == pytest.approx([1.0, 1.5])
    assert [row.arrival_delay_s for row in result.rows] == pytest.approx([1.2, 1.7])


def test_missed_cry_fails():
    outputs, sent, received = good_evening()
    result = verdict(outputs[:2], sent[:2], received[:2])
    assert result.faults == ("the cry at 00:48.5 was missed",)
    assert result.rows[1].episode is None
    assert result.rows[1].detection_delay_s is None


def test_false_alarm_fails_and_names_its_cause():
    outputs, sent, received = good_evening()
    outputs[2:2] = [started(7, 44.2, 45.0), ended(7, 44.2, 45.0, 46.0)]
    sent[2:2] = [message("started", 7), message("ended", 7)]
    received += [arrival(message("started", 7), 45.1), arrival(message("ended", 7), 47.0)]
    result = verdict(outputs, sent, received)
    assert result.faults == ("a false alarm at 00:44.2 (speech)",)
    assert [row.bout is None for row in result.rows] == [False, True, False]


def test_alarm_after_the_cry_is_over_counts_as_false_and_the_cry_as_missed():
    outputs, sent, received = good_evening()
    outputs[0:2] = [started(1, 30.0, 31.0), ended(1, 30.0, 31.0, 32.0)]
    assert len(verdict(outputs, sent, received).faults) == 2


def test_cry_in_two_episodes_is_one_cry():
    outputs, sent, received = good_evening()
    outputs[2:2] = [started(9, 22.0, 23.0), ended(9, 22.0, 23.0, 26.0)]
    sent[2:2] = [message("started", 9), message("ended", 9)]
    received += [arrival(message("started", 9), 23.1), arrival(message("ended", 9), 31.0)]
    result = verdict(outputs, sent, received)
    assert result.is_good
    assert len(result.rows) == 3


@pytest.mark.parametrize(("lost", "word"), [(0, "start"), (1, "end")])
def test_message_that_did_not_arrive_fails(lost, word):
    outputs, sent, received = good_evening()
    del received[lost]
    assert verdict(outputs, sent, received).faults == (
        f"the {word} of episode 1 did not reach the subscriber",
    )


def test_message_of_another_monitor_on_the_same_broker_does_not_count():
    outputs, sent, received = good_evening()
    received[0] = arrival(message("started", 99), 15.1)
    assert "the start of episode 1 did not reach the subscriber" in verdict(outputs, sent, received).faults


def test_event_that_comes_on_two_topics_arrived_with_the_first():
    outputs, sent, received = good_evening()
    received.append(arrival(sent[0], 16.0, topic="elsewhere"))
    assert verdict(outputs, sent, received).rows[0].arrival_delay_s == pytest.approx(1.2)


def test_bundled_truth_has_two_bouts_and_what_must_not_raise_an_alarm():
    truth = load_truth(BUNDLED.with_suffix(".json"))
    assert len(truth.bouts) == 2
    assert {span.kind for span in truth.spans} == {
        "cry_bout",
        "door",
        "speech",
        "rustle",
        "kettle",
        "clatter",
    }
    assert truth.at(truth.bouts[0].onset_s + 1.0) == "cry_bout"
    assert truth.at(1.0) == ""


@pytest.mark.parametrize(("time_s", "text"), [(0.0, "00:00.0"), (59.96, "01:00.0"), (754.32, "12:34.3")])
def test_clock(time_s, text):
    assert clock(time_s) == text
