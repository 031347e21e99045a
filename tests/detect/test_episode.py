from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.detect.episode import EpisodeRules, EpisodeTracker, Hop, Tier
from monitor.types import Dbfs, EpisodeEnded, EpisodeStarted, EpisodeUpdated, SampleIndex

HOP = 3840
RULES = EpisodeRules(
    quick=Tier(0.6, 2, 3), offset=0.3, hang_over=4 * HOP, cool_down=3 * HOP, update_every=5 * HOP
)
TWO_TIERS = replace(RULES, quick=Tier(0.9, 2, 3), patient=Tier(0.6, 4, 10))


def play(scores: list[float], rules: EpisodeRules = RULES) -> list:
    tracker = EpisodeTracker(rules)
    events = []
    for k, score in enumerate(scores):
        events += tracker.process(Hop(SampleIndex(k * HOP), SampleIndex((k + 1) * HOP), score, Dbfs(-30.0)))
    return events + tracker.finish(SampleIndex(len(scores) * HOP))


def test_two_of_three_hits_start_an_episode_at_the_first_of_them():
    started = play([0.0, 0.7, 0.0, 0.9])[0]
    assert started == EpisodeStarted(1, SampleIndex(HOP), SampleIndex(4 * HOP), 0.9, -30.0)


def test_hits_too_far_apart_start_nothing():
    assert play([0.7, 0.0, 0.0, 0.7, 0.0, 0.0]) == []


def test_episode_ends_after_the_hang_over_at_its_last_crying_hop():
    ended = play([0.9, 0.9, 0.4, 0.0, 0.0, 0.0, 0.0, 0.0])[-1]
    assert isinstance(ended, EpisodeEnded)
    assert (ended.offset, ended.at, ended.truncated) == (3 * HOP, 7 * HOP, False)
    assert ended.crying_s == pytest.approx(3 * 0.24)


def test_pause_shorter_than_the_hang_over_does_not_end_it():
    events = play([0.9, 0.9, 0.0, 0.0, 0.0, 0.9, 0.9])
    assert [type(e) for e in events] == [EpisodeStarted, EpisodeUpdated, EpisodeEnded]
    assert events[-1].truncated


def test_scores_between_the_thresholds_hold_an_episode_but_start_none():
    assert play([0.5] * 10) == []
    assert sum(isinstance(e, EpisodeEnded) for e in play([0.9, 0.9] + [0.31] * 20)) == 1


def test_cool_down_delays_the_next_episode_but_does_not_lose_it():
    scores = [0.9, 0.9] + [0.0] * 4 + [0.9] * 6
    second = [e for e in play(scores) if isinstance(e, EpisodeStarted)][1]
    # Ended at hop 6; cooled down at the end of hop 9.
    assert second.detected == 9 * HOP
    assert second.onset == 6 * HOP


def test_patient_tier_takes_less_certain_crying_that_goes_on():
    scores = [0.7, 0.0, 0.7, 0.0, 0.0, 0.7, 0.0, 0.7, 0.0]
    assert [e for e in play(scores, replace(TWO_TIERS, patient=None)) if isinstance(e, EpisodeStarted)] == []
    started = play(scores, TWO_TIERS)[0]
    assert started == EpisodeStarted(1, SampleIndex(0), SampleIndex(8 * HOP), 0.7, -30.0)


def test_quick_tier_does_not_wait_for_the_patient_one():
    started = play([0.0, 0.95, 0.95], TWO_TIERS)[0]
    assert (started.onset, started.detected) == (HOP, 3 * HOP)


def test_patient_tier_forgets_hits_that_are_too_old():
    assert play([0.7, 0.7, 0.7] + [0.0] * 8 + [0.7], TWO_TIERS) == []


def test_patient_hits_before_an_end_do_not_count_after_it():
    scores = [0.95, 0.95, 0.7, 0.7, 0.7] + [0.0] * 8 + [0.7]
    assert sum(isinstance(e, EpisodeStarted) for e in play(scores, TWO_TIERS)) == 1


def test_updates_come_at_their_interval():
    updates = [e for e in play([0.9] * 18) if isinstance(e, EpisodeUpdated)]
    assert [u.at // HOP for u in updates] == [7, 12, 17]


def test_gap_within_the_hang_over_keeps_the_episode():
    tracker = EpisodeTracker(RULES)
    for k in range(2):
        tracker.process(Hop(SampleIndex(k * HOP), SampleIndex((k + 1) * HOP), 0.9, Dbfs(-30.0)))
    assert tracker.skip(SampleIndex(5 * HOP)) == []
    assert tracker.crying


def test_long_gap_closes_the_episode_as_truncated():
    tracker = EpisodeTracker(RULES)
    for k in range(2):
        tracker.process(Hop(SampleIndex(k * HOP), SampleIndex((k + 1) * HOP), 0.9, Dbfs(-30.0)))
    (ended,) = tracker.skip(SampleIndex(6 * HOP))
    assert (ended.offset, ended.at, ended.truncated) == (2 * HOP, 6 * HOP, True)


def test_hits_before_a_gap_do_not_count_behind_it():
    tracker = EpisodeTracker(RULES)
    tracker.process(Hop(SampleIndex(0), SampleIndex(HOP), 0.9, Dbfs(-30.0)))
    tracker.skip(SampleIndex(2 * HOP))
    assert tracker.process(Hop(SampleIndex(2 * HOP), SampleIndex(3 * HOP), 0.9, Dbfs(-30.0))) == []


@given(st.lists(st.floats(0.0, 1.0), max_size=120), st.data())
def test_onset_and_offset_alternate_and_positions_rise(scores, data):
    tracker = EpisodeTracker(RULES)
    events, position = [], 0
    for score in scores:
        if data.draw(st.integers(0, 15)) == 0:
            position += data.draw(st.integers(1, 10 * HOP))
            events += tracker.skip(SampleIndex(position))
        events += tracker.process(Hop(SampleIndex(position), SampleIndex(position + HOP), score, Dbfs(-30.0)))
        position += HOP
    events += tracker.finish(SampleIndex(position))
    edges = [e for e in events if not isinstance(e, EpisodeUpdated)]
    assert [type(e) for e in edges] == [EpisodeStarted, EpisodeEnded] * (len(edges) // 2)
    last_end = 0
    for started, ended in zip(edges[::2], edges[1::2], strict=True):
        assert started.number == ended.number
        assert last_end <= started.onset < started.detected <= ended.offset <= ended.at <= position
        assert 0.6 <= started.score <= ended.score
        assert 0 < ended.crying_s <= (ended.offset - ended.onset) / 16000 + 1e-9
        last_end = ended.at


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"offset": 0.7}, "offset 0.7 and onset 0.6"),
        ({"quick": Tier(1.2, 2, 3)}, "onset 1.2"),
    ],
)
def test_contradicting_rules_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(RULES, **changes)


@pytest.mark.parametrize("hits", [0, 4])
def test_tier_that_can_never_be_complete_is_refused(hits):
    with pytest.raises(ValueError, match=f"hits {hits} of window_hops 3"):
        Tier(0.6, hits, 3)


def test_eased_rules_start_an_episode_at_lower_scores_and_end_it_as_before():
    eased = TWO_TIERS.eased(1.0)
    assert eased.quick.onset == pytest.approx(0.768, abs=1e-3)
    assert eased.patient is not None
    assert eased.patient.onset == pytest.approx(0.356, abs=1e-3)
    assert (eased.offset, eased.hang_over) == (TWO_TIERS.offset, TWO_TIERS.hang_over)
    assert TWO_TIERS.eased(0.0) is TWO_TIERS
    assert TWO_TIERS.eased(-1.0).quick.onset > 0.95


def test_an_onset_eased_below_the_offset_takes_the_offset_along():
    eased = RULES.eased(3.0)
    assert eased.offset == eased.quick.onset < 0.3


def test_other_rules_leave_an_open_episode_open():
    tracker = EpisodeTracker(RULES)
    hops = [Hop(SampleIndex(k * HOP), SampleIndex((k + 1) * HOP), 0.9, Dbfs(-30.0)) for k in range(4)]
    assert [type(e) for hop in hops[:2] for e in tracker.process(hop)] == [EpisodeStarted]
    tracker.follow(replace(RULES, hang_over=1 * HOP))
    assert [e for hop in hops[2:] for e in tracker.process(hop)] == []
    quiet = Hop(SampleIndex(4 * HOP), SampleIndex(5 * HOP), 0.0, Dbfs(-60.0))
    assert [type(e) for e in tracker.process(quiet)] == [EpisodeEnded]
