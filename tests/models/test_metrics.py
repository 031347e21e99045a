import math

import numpy as np
import pytest

from models.training import metrics
from models.training.metrics import Bout, Episode, LabelAlarms, LabelledSound


def test_episode_within_a_bout_finds_it_with_its_delay():
    matching = metrics.match_episodes([Bout(10.0, 20.0)], [Episode(10.2, 11.0, 19.0)])
    assert matching.found == (True,)
    assert matching.delays_s == (1.0,)
    assert matching.false_alarms == ()


def test_several_episodes_in_one_bout_count_once_and_the_first_gives_the_delay():
    episodes = [Episode(12.0, 12.5, 13.0), Episode(17.0, 17.5, 19.0)]
    matching = metrics.match_episodes([Bout(10.0, 20.0)], episodes)
    assert matching.found == (True,)
    assert matching.delays_s == (2.5,)
    assert matching.false_alarms == ()


@pytest.mark.parametrize(
    ("episode", "found"),
    [
        (Episode(8.0, 9.0, 9.5), True),
        (Episode(8.0, 9.0, 9.4), False),
        (Episode(22.0, 22.5, 23.0), True),
        (Episode(22.1, 22.5, 23.0), False),
    ],
)
def test_tolerance_is_half_a_second_before_and_two_after(episode, found):
    matching = metrics.match_episodes([Bout(10.0, 20.0)], [episode])
    assert matching.found == (found,)
    assert matching.false_alarms == (() if found else (0,))


def test_bout_during_an_open_episode_is_found_without_a_delay():
    matching = metrics.match_episodes([Bout(10.0, 20.0)], [Episode(2.0, 3.0, 12.0)])
    assert matching.found == (True,)
    assert matching.delays_s == (None,)


def test_one_episode_over_two_bouts_finds_both_and_is_no_false_alarm():
    bouts = [Bout(10.0, 20.0), Bout(30.0, 40.0), Bout(90.0, 99.0)]
    matching = metrics.match_episodes(bouts, [Episode(10.0, 11.0, 35.0), Episode(60.0, 61.0, 62.0)])
    assert matching.found == (True, True, False)
    assert matching.delays_s == (1.0, None, None)
    assert matching.false_alarms == (1,)


def _slow_matching(bouts, episodes):
    """By the tenth of a second: which moments does each cover?"""

    def moments(start, stop):
        return set(range(round(start * 10), round(stop * 10) + 1))

    wide = [moments(bout.onset_s - 0.5, bout.offset_s + 2.0) for bout in bouts]
    said = [moments(episode.onset_s, episode.offset_s) for episode in episodes]
    found = tuple(any(bout & episode for episode in said) for bout in wide)
    false = tuple(i for i, episode in enumerate(said) if not any(episode & bout for bout in wide))
    return found, false


def test_matching_equals_a_slow_reference_on_random_nights():
    rng = np.random.default_rng(5)
    for _ in range(200):
        bouts = [Bout(a / 10, (a + b) / 10) for a, b in rng.integers(1, 200, (rng.integers(5), 2))]
        raw = rng.integers(1, 200, (rng.integers(6), 2))
        episodes = [Episode(a / 10, a / 10 + 0.5, (a + b) / 10) for a, b in raw]
        matching = metrics.match_episodes(bouts, episodes)
        assert (matching.found, matching.false_alarms) == _slow_matching(bouts, episodes)


def test_wilson_interval_of_a_textbook_case():
    # 8 of 10, solved by hand: centre 0.7166, half width 0.2264.
    interval = metrics.wilson(8, 10)
    assert (interval.value, interval.low, interval.high) == pytest.approx((0.8, 0.4902, 0.9433), abs=1e-4)


def test_wilson_interval_reaches_the_ends_and_knows_nothing_without_trials():
    assert metrics.wilson(0, 5).low == 0.0
    assert metrics.wilson(5, 5).high == 1.0
    nothing = metrics.wilson(0, 0)
    assert math.isnan(nothing.value)
    assert (nothing.low, nothing.high) == (0.0, 1.0)


@pytest.mark.parametrize(
    # Garwood's limits, as printed in tables of the exact Poisson interval.
    ("count", "low", "high"),
    [(0, 0.0, 3.6889), (1, 0.0253, 5.5716), (2, 0.2422, 7.2247), (5, 1.6235, 11.6683), (10, 4.7954, 18.3904)],
)
def test_poisson_interval_agrees_with_the_tables(count, low, high):
    interval = metrics.poisson_rate(count, 1.0)
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=1e-3)


def test_poisson_rate_is_per_hour():
    interval = metrics.poisson_rate(2, 8.0)
    assert interval.value == 0.25
    assert interval.high == pytest.approx(7.2247 / 8, abs=1e-3)
    assert metrics.poisson_rate(0, 0.0).high == math.inf


def test_large_poisson_counts_stay_finite():
    interval = metrics.poisson_rate(2000, 1.0)
    assert interval.low == pytest.approx(1913.3, abs=0.5)
    assert interval.high == pytest.approx(2089.6, abs=0.5)


def test_percentile_ignores_what_is_unknown():
    assert metrics.percentile([1.0, None, 3.0], 50.0) == 2.0
    assert math.isnan(metrics.percentile([None], 50.0))


def test_auc_of_a_hand_solved_case_with_a_tie():
    # Pairs (positive, negative): 0.9>0.5, 0.9>0.1, 0.5=0.5 (half), 0.5>0.1 -> 3.5 of 4.
    scores, labels = np.array([0.9, 0.5, 0.5, 0.1]), np.array([True, True, False, False])
    assert metrics.roc_auc(scores, labels) == pytest.approx(3.5 / 4)


def test_average_precision_of_a_hand_solved_case():
    # Ranked + - + -: precision 1 at the first hit, 2/3 at the second.
    scores, labels = np.array([0.9, 0.8, 0.7, 0.1]), np.array([True, False, True, False])
    assert metrics.average_precision(scores, labels) == pytest.approx((1.0 + 2.0 / 3.0) / 2.0)


def test_average_precision_of_one_tie_is_the_share_of_positives():
    assert metrics.average_precision(np.ones(4), np.array([True, False, False, False])) == 0.25


def test_ranking_metrics_equal_slow_references_on_random_ties():
    rng = np.random.default_rng(11)
    for _ in range(100):
        scores = rng.integers(0, 6, 12) / 5.0
        labels = rng.random(12) < 0.5
        if labels.all() or not labels.any():
            continue
        pairs = [(a > b) + 0.5 * (a == b) for a in scores[labels] for b in scores[~labels]]
        assert metrics.roc_auc(scores, labels) == pytest.approx(np.mean(pairs))
        area, recall = 0.0, 0.0
        for threshold in sorted(set(scores), reverse=True):
            taken = scores >= threshold
            now = labels[taken].sum() / labels.sum()
            area += (now - recall) * labels[taken].mean()
            recall = now
        assert metrics.average_precision(scores, labels) == pytest.approx(area)


def test_ranking_metrics_without_one_class_are_unknown():
    assert math.isnan(metrics.roc_auc(np.ones(3), np.ones(3, bool)))
    assert math.isnan(metrics.average_precision(np.ones(3), np.zeros(3, bool)))


def test_bootstrap_holds_the_value_and_widens_with_groups():
    rng = np.random.default_rng(2)
    labels = np.arange(60) % 2 == 0
    scores = labels + rng.normal(0, 1.0, 60)
    clips = metrics.bootstrap(metrics.roc_auc, scores, labels, np.random.default_rng(0), draws=300)
    assert clips.low < clips.value < clips.high
    assert clips.value == metrics.roc_auc(scores, labels)
    # The same clip ten times over is no more knowledge: whole groups are drawn.
    groups = [str(i) for i in range(60)] * 10
    ten_times = metrics.bootstrap(
        metrics.roc_auc,
        np.tile(scores, 10),
        np.tile(labels, 10),
        np.random.default_rng(0),
        groups=groups,
        draws=300,
    )
    assert ten_times.high - ten_times.low == pytest.approx(clips.high - clips.low, rel=0.25)


def test_minutes_error_is_signed_and_per_hour():
    assert metrics.crying_minutes_error(600.0, 480.0, 2.0) == pytest.approx(-1.0)


def test_false_alarm_belongs_to_the_sound_heard_when_it_was_raised():
    sounds = [
        LabelledSound("dog", 0.0, 5.0),
        LabelledSound("cat", 10.0, 14.0),
        LabelledSound("cat", 50.0, 60.0),
    ]
    # It goes on through the second cat, but it was the dog that raised it.
    alarms = [Episode(3.0, 4.0, 60.0), Episode(30.0, 31.0, 32.0)]
    assert metrics.alarms_by_label(alarms, sounds) == {
        "background": LabelAlarms(1, 0, 0),
        "cat": LabelAlarms(0, 2, 14.0),
        "dog": LabelAlarms(1, 1, 5.0),
    }


def test_collars_ask_for_onset_and_offset():
    bouts = [Bout(10.0, 20.0), Bout(100.0, 110.0), Bout(200.0, 203.0)]
    episodes = [
        Episode(10.9, 11.0, 22.0),  # within 1 s, and within a fifth of 10 s
        Episode(101.1, 102.0, 110.0),  # onset too late
        Episode(200.0, 201.0, 204.1),  # a fifth of 3 s is less than 1 s, and that is exceeded
    ]
    counts = metrics.collar_counts(bouts, episodes)
    assert (counts.hits, counts.bouts, counts.episodes) == (1, 3, 3)
    assert counts.f1() == pytest.approx(1 / 3)
    assert math.isnan(metrics.collar_counts([], []).f1())


def test_an_episode_agrees_with_one_bout_only():
    counts = metrics.collar_counts([Bout(10.0, 12.0), Bout(10.5, 12.0)], [Episode(10.0, 10.5, 12.0)])
    assert counts.hits == 1


def test_minutes_of_a_night_add_up_over_its_hours():
    night = metrics.minutes_a_night([0.5] * 4, [2.0] * 4, np.random.default_rng(0))
    assert (night.true_min, night.bias_min) == (20.0, 5.0)
    assert (night.error_p50_min, night.error_p95_min) == (5.0, 5.0)


def test_errors_of_opposite_sign_cancel_in_the_bias_and_not_in_the_size():
    night = metrics.minutes_a_night([1.0, -1.0], [2.0, 2.0], np.random.default_rng(0), hours=1)
    assert night.bias_min == 0.0
    assert (night.error_p50_min, night.error_p95_min) == (1.0, 1.0)


def test_size_of_a_nights_error_is_that_of_a_random_walk():
    # Ten hours of +-1: |error| is 0, 2, 4, 6 with P = .246, .410, .234, .088; the median is 2, p95 is 6.
    night = metrics.minutes_a_night([1.0, -1.0], [0.0, 0.0], np.random.default_rng(0))
    assert (night.error_p50_min, night.error_p95_min) == (2.0, 6.0)
