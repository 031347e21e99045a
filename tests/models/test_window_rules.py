import numpy as np
import pytest

from models.training import window_rules
from models.training.metrics import Episode
from models.training.window_rules import Rule, WindowScores

WINDOW_S = 0.975


def _scores(crying, rms=None, window_s=WINDOW_S, hop_s=WINDOW_S):
    n = len(crying)
    loud = np.full(n, 1000.0) if rms is None else np.array(rms, float)
    return WindowScores(np.array(crying, float), loud, np.ones(n), window_s, hop_s)


def test_event_is_known_at_the_end_of_the_window_that_fired():
    episodes = window_rules.rule_episodes(_scores([0.0, 0.9, 0.0]), Rule("", 0.8))
    assert episodes == [Episode(WINDOW_S, 2 * WINDOW_S, 2 * WINDOW_S)]


def test_overlapping_windows_begin_a_hop_apart():
    scores = _scores([0.0, 0.9, 0.9, 0.0], window_s=2.0, hop_s=1.0)
    assert window_rules.rule_episodes(scores, Rule("", 0.8)) == [Episode(1.0, 3.0, 4.0)]


def test_threshold_itself_does_not_fire():
    assert window_rules.rule_episodes(_scores([0.8]), Rule("", 0.8)) == []


def test_quiet_windows_are_not_heard_under_a_volume_limit():
    scores = _scores([0.9, 0.9], rms=[499.9, 500.0])
    episodes = window_rules.rule_episodes(scores, Rule("", 0.8, 500.0))
    assert [episode.onset_s for episode in episodes] == [WINDOW_S]


def test_event_ends_after_30_s_without_a_hit():
    near = [0.9] + [0.0] * 29 + [0.9]  # its window ends 29.25 s after the first one
    far = [0.9] + [0.0] * 30 + [0.9]
    assert len(window_rules.rule_episodes(_scores(near), Rule("", 0.8))) == 1
    assert len(window_rules.rule_episodes(_scores(far), Rule("", 0.8))) == 2


def test_cost_counts_only_windows_over_the_volume_limit():
    scores = _scores([0.0, 0.0], rms=[100.0, 600.0])
    assert scores.cpu_s_per_hour(Rule("", 0.8, 500.0)) == pytest.approx(3600.0 / (2 * WINDOW_S))
    assert scores.cpu_s_per_hour(Rule("", 0.8)) == pytest.approx(3600.0 / WINDOW_S)


def test_cost_of_overlapping_windows_is_per_hop_of_audio():
    scores = _scores([0.0] * 10, window_s=2.0, hop_s=1.0)
    assert scores.cpu_s_per_hour(Rule("", 0.5)) == pytest.approx(3600.0)


def test_track_puts_each_score_into_the_middle_of_its_window():
    track = _scores([0.1, 0.2, 0.3], window_s=2.0, hop_s=1.0).track()
    np.testing.assert_allclose(track.edges_s, [0.0, 1.5, 2.5, 4.0])
    np.testing.assert_allclose(track.scores, [0.1, 0.2, 0.3])
    assert track.heard.all()
