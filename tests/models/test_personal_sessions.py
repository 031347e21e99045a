"""Sessions by hand, and a cry that only earlier sessions may speak of."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: make install-train")

from models.training import personal_sessions as ps  # noqa: E402
from models.training.personal_curve import Baby, Choice  # noqa: E402
from monitor.detect.personal_prior import PersonalPrior  # noqa: E402

pytestmark = pytest.mark.train

RATES = np.array([0.1, 0.1, 0.1, 0.6, 0.1])


def test_the_time_is_read_from_both_kinds_of_phones():
    ios = "bucket/2439388A-9CF2-4D3B-9534-E6951FC9EAD4-1436877933-1.1-m-26-hu.caf"
    android = "bucket/2439388a-9cf2-4d3b-9534-e6951fc9ead4-1436877933250-1.7-m-26-hu.3gp"
    assert ps.recorded_s(ios) == 1436877933.0
    assert ps.recorded_s(android) == 1436877933.25
    with pytest.raises(ValueError, match=r"no time in 'cry\.wav'"):
        ps.recorded_s("cry.wav")


def test_a_session_ends_with_an_hour_of_silence():
    groups = np.array(["a", "b", "a", "a", "a"])
    when = np.array([7300.0, 10.0, 0.0, 3500.0, 20000.0])
    # Baby a: 0 and 3500 s belong together, 7300 s comes 3800 s later, 20000 s much later.
    assert ps.sessions(groups, when).tolist() == [1, 3, 0, 0, 2]


def test_pairs_by_hand():
    groups, session = np.array(["a", "a", "a", "b"]), np.array([0, 0, 1, 2])
    assert ps.pairs(groups, session, np.array([3, 3, 4, 3])) == {
        "within a session": {"pairs": 1, "same_cause": 1},
        "across sessions": {"pairs": 2, "same_cause": 0},
    }


def test_only_earlier_sessions_are_confirmed():
    prior = PersonalPrior("p", np.zeros(1), np.ones((1, 1)), RATES, 10.0, 1.0, 1.0, 1.0, 0.0)
    babies = [Baby("a", "train", RATES, {}), Baby("b", "train", RATES, {})]
    cause, session = np.array([0, 3, 3, 3]), np.array([0, 1, 1, 2])
    members = {"a": np.array([0, 1, 2]), "b": np.array([3])}
    choice = Choice(1, 1.0, 1.0, 0.0)
    systems = {
        name: ([choice] * 2, lambda baby, choice: prior) for name in ("own counts", "own counts and sound")
    }
    vectors = np.zeros((4, 1), np.float32)
    got = ps.across(
        babies, lambda baby: members[baby.name], session, vectors, cause, systems, np.random.default_rng(0)
    )
    assert (got["babies"], got["cries"]) == (1, 2)
    # Both cries of the second session follow one confirmed belly pain: (1 * 0.6 + 0) / 2.
    assert got["own counts"].value == pytest.approx(-np.log(0.3))
    assert got["base rates"].value == pytest.approx(-np.log(0.6))
    assert got["gain of own counts over base rates"].value == pytest.approx(np.log(0.5))
    assert got["gain of own counts and sound over own counts"].value == pytest.approx(0.0)
