from itertools import pairwise

import numpy as np
import pytest

from models.training.tracks import Track, reliability, share_covered


def test_share_of_a_step_that_a_run_covers():
    shares = share_covered(np.array([0.0, 1.0, 2.0, 3.0]), [(0.5, 1.25), (1.75, 2.0)])
    np.testing.assert_allclose(shares, [0.5, 0.5, 0.0])


def test_share_equals_a_slow_reference():
    rng = np.random.default_rng(1)
    for _ in range(20):
        marks = np.sort(rng.choice(400, 8, replace=False)) / 10.0
        runs = list(zip(marks[::2], marks[1::2], strict=True))
        edges = np.concatenate(([0.0], np.sort(rng.choice(np.arange(1, 400), 9, replace=False)) / 10.0))
        moments = np.arange(0.005, 40.0, 0.01)
        inside = np.zeros(len(moments), bool)
        for start, stop in runs:
            inside |= (moments >= start) & (moments < stop)
        slow = [inside[(moments >= a) & (moments < b)].mean() for a, b in pairwise(edges)]
        np.testing.assert_allclose(share_covered(edges, runs), slow, atol=1e-6)


def test_nothing_is_covered_without_runs():
    np.testing.assert_array_equal(share_covered(np.array([0.0, 1.0, 2.0]), []), [0.0, 0.0])


def _track(scores, heard=None):
    n = len(scores)
    return Track(np.arange(n + 1.0), np.array(scores), np.ones(n, bool) if heard is None else np.array(heard))


def test_reliability_of_a_hand_solved_case():
    # Bin 0.2-0.3: two steps, one crying. Bin 0.9-1.0: two steps, both crying; the slept one counts nowhere.
    track = _track([0.2, 0.28, 0.9, 1.0, 0.0], heard=[True] * 4 + [False])
    own = reliability(track, np.array([True, False, True, True, True]), np.ones(5, bool))
    assert own.steps.tolist() == [0, 0, 2, 0, 0, 0, 0, 0, 0, 2]
    assert own.crying.tolist() == [0, 0, 1, 0, 0, 0, 0, 0, 0, 2]
    assert own.expected_calibration_error() == pytest.approx((abs(0.48 - 1) + abs(1.9 - 2)) / 4)


def test_reliability_adds_up_and_leaves_out_what_does_not_count():
    crying = np.array([True, False])
    one = reliability(_track([0.55, 0.55]), crying, np.array([True, True]))
    other = reliability(_track([0.55, 0.55]), crying, np.array([False, True]))
    both = one + other
    assert both.steps[5] == 3
    assert both.crying[5] == 1
    assert both.as_json()["score"][5] == pytest.approx(0.55)
