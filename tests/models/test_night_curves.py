import numpy as np
import pytest

from models.training import metrics, night_curves
from models.training.metrics import Episode
from models.training.night_curves import THRESHOLDS
from models.training.night_score import Hour


def _hour(name, onsets, doubtful=()):
    bouts = tuple(
        {"onset_s": o, "offset_s": o + 10.0, "crying_s": 5.0, "doubtful": o in doubtful} for o in onsets
    )
    return Hour(name, {"duration_s": 3600.0}, bouts, ())


def _episodes_of(scored):
    """``scored``: (score, time) of blips; each is an episode at thresholds below its score."""
    return lambda threshold: [Episode(t, t + 1.0, t + 2.0) for score, t in scored if score > threshold]


def _curve(hours, blips):
    counted = [night_curves.sweep(hour, _episodes_of(own)) for hour, own in zip(hours, blips, strict=True)]
    return night_curves.curve(counted, float(len(hours)))


@pytest.fixture
def points():
    # Two hours, four clear bouts at scores .9 .8 .6 and one silent; false blips at .7 and .3.
    hours = [_hour("a", [100.0, 300.0]), _hour("b", [100.0, 300.0])]
    return _curve(hours, [[(0.9, 101.0), (0.8, 303.0), (0.7, 2000.0)], [(0.6, 105.0), (0.3, 1000.0)]])


def test_recall_at_fixed_false_alarms_of_a_hand_solved_night(points):
    at = {limit: night_curves.best_within(points, limit) for limit in (0.1, 0.5, 1.0)}
    assert [at[limit].recall.value for limit in (0.1, 0.5, 1.0)] == [0.5, 0.75, 0.75]
    assert at[0.1].alarms_per_hour.value == 0.0
    assert 0.7 <= at[0.1].threshold < 0.8
    assert at[0.5].alarms_per_hour.value == 0.5
    assert 0.3 <= at[1.0].threshold < 0.6
    assert at[0.5].delay_p50_s == 4.0  # of 2, 4 and 6


def test_of_equal_recalls_the_highest_threshold_is_taken(points):
    best = night_curves.best_within(points, 1.0)
    assert best.threshold == max(t for t in THRESHOLDS if t < 0.6)


def test_doubtful_bout_is_neither_hit_nor_miss_nor_false():
    points = _curve([_hour("a", [100.0, 300.0], doubtful={300.0})], [[(0.9, 101.0), (0.8, 301.0)]])
    low = night_curves.at_threshold(points, 0.5)
    assert low.recall.value == 1.0
    assert low.alarms_per_hour.value == 0.0


def test_curve_equals_a_slow_reference_on_random_nights():
    rng = np.random.default_rng(2)
    hours = [_hour(str(k), [200.0, 900.0, 2000.0]) for k in range(4)]
    blips = [[(float(s), float(t)) for s, t in rng.uniform([0, 0], [1, 3500], (12, 2))] for _ in hours]
    for point in _curve(hours, blips)[::7]:
        found = false = 0
        for hour, own in zip(hours, blips, strict=True):
            raised = _episodes_of(own)(point.threshold)
            hits = [
                any(e.offset_s >= b["onset_s"] - 0.5 and e.onset_s <= b["offset_s"] + 2.0 for e in raised)
                for b in hour.bouts
            ]
            found += sum(hits)
            false += len(metrics.match_episodes(hour.spans(), raised).false_alarms)
        assert point.recall.value == found / 12
        assert point.alarms_per_hour.value == false / 4


def test_no_threshold_within_the_limit_is_none():
    points = _curve([_hour("a", [100.0])], [[(2.0, 1000.0)]])
    assert night_curves.best_within(points, 0.5) is None


def test_threshold_of_other_nights_is_found_again(points):
    for point in points[::10]:
        assert night_curves.at_threshold(points, point.threshold) is point
