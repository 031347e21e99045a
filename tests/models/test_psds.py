import numpy as np
import pytest

from models.training import psds as detection_score
from models.training.night_score import Hour
from models.training.tracks import Track
from monitor.errors import ConfigError

HOP_S = 0.25
DURATION_S = 3600.0


@pytest.fixture(scope="module")
def psds():
    try:
        detection_score._library()
    except ConfigError as absent:
        pytest.skip(str(absent))
    return detection_score.psds


def _hour(name, onsets, doubtful=()):
    bouts = tuple({"onset_s": o, "offset_s": o + 20.0, "doubtful": o in doubtful} for o in onsets)
    return Hour(name, {"duration_s": DURATION_S}, bouts, ())


def _track(*levels):
    """``levels``: (start_s, stop_s, score)."""
    edges = np.arange(0.0, DURATION_S + HOP_S, HOP_S)
    scores = np.zeros(len(edges) - 1)
    for start, stop, score in levels:
        scores[(edges[:-1] >= start) & (edges[1:] <= stop)] = score
    return Track(edges, scores, np.ones(len(scores), bool))


HOURS = [_hour("a", [100.0, 500.0]), _hour("b", [700.0])]


def test_perfect_detector_scores_one_and_a_silent_one_nothing(psds):
    perfect = [_track((100.0, 120.0, 0.9), (500.0, 520.0, 0.9)), _track((700.0, 720.0, 0.9))]
    assert psds(HOURS, perfect) == {"at most 100/h": 1.0, "at most 1/h": 1.0}
    assert psds(HOURS, [_track(), _track()]) == {"at most 100/h": 0.0, "at most 1/h": 0.0}


def test_area_of_a_hand_solved_case(psds):
    # Two of three bouts without a false alarm, the third behind one false alarm in two hours (0.5/h):
    # recall 2/3 up to 0.5/h and 1 above.
    tracks = [
        _track((100.0, 120.0, 0.9), (500.0, 520.0, 0.8), (2000.0, 2010.0, 0.7)),
        _track((700.0, 720.0, 0.6)),
    ]
    got = psds(HOURS, tracks)
    assert got["at most 1/h"] == pytest.approx(2 / 3 * 0.5 + 0.5)
    assert got["at most 100/h"] == pytest.approx((2 / 3 * 0.5 + 99.5) / 100)


def test_tenth_of_a_bout_is_enough_and_less_is_not(psds):
    hours = [_hour("a", [100.0])]
    assert psds(hours, [_track((100.0, 102.0, 0.9))])["at most 1/h"] == pytest.approx(1.0)
    assert psds(hours, [_track((100.0, 101.75, 0.9))])["at most 1/h"] == 0.0


def test_doubtful_bout_is_no_truth_and_its_detection_no_false_alarm(psds):
    hours = [_hour("a", [100.0, 500.0], doubtful={500.0})]
    track = _track((100.0, 120.0, 0.5), (500.0, 520.0, 0.9))
    assert psds(hours, [track])["at most 1/h"] == 1.0


def test_nights_without_crying_have_no_score(psds):
    with pytest.raises(ConfigError, match="clear bouts"):
        psds([_hour("a", [])], [_track()])
