import numpy as np
import pytest

from models.training import corpus, yamnet
from models.training.metrics import Episode
from models.training.yamnet import WINDOW_S, Rule, WindowScores
from monitor.errors import ConfigError, ModelError
from tests.models.corpus_folder import noise


def _scores(crying, rms=None):
    n = len(crying)
    return WindowScores(
        np.array(crying, float), np.full(n, 1000.0) if rms is None else np.array(rms, float), np.ones(n)
    )


def test_event_is_known_at_the_end_of_the_window_that_fired():
    episodes = yamnet.rule_episodes(_scores([0.0, 0.9, 0.0]), Rule("", 0.8))
    assert episodes == [Episode(WINDOW_S, 2 * WINDOW_S, 2 * WINDOW_S)]


def test_threshold_itself_does_not_fire():
    assert yamnet.rule_episodes(_scores([0.8]), Rule("", 0.8)) == []


def test_quiet_windows_are_not_heard_under_a_volume_limit():
    scores = _scores([0.9, 0.9], rms=[499.9, 500.0])
    assert len(yamnet.rule_episodes(scores, Rule("", 0.8, 500.0))) == 1
    assert yamnet.rule_episodes(scores, Rule("", 0.8, 500.0))[0].onset_s == WINDOW_S


def test_event_ends_after_30_s_without_a_hit():
    near = [0.9] + [0.0] * 29 + [0.9]  # its window ends 29.25 s after the first one
    far = [0.9] + [0.0] * 30 + [0.9]
    assert len(yamnet.rule_episodes(_scores(near), Rule("", 0.8))) == 1
    assert len(yamnet.rule_episodes(_scores(far), Rule("", 0.8))) == 2


def test_windows_do_not_overlap_and_a_rest_is_not_heard():
    seen = []

    def scorer(window):
        seen.append(window.copy())
        scores = np.zeros(yamnet.N_CLASSES, np.float32)
        scores[20] = 0.25 * len(seen)
        scores[100] = 1.0  # not crying
        return scores

    x = np.arange(2 * 15_600 + 100).astype(np.int16)
    scored = yamnet.score_windows(x, scorer)
    assert len(seen) == 2
    np.testing.assert_allclose(np.concatenate(seen) * 32768.0, x[: 2 * 15_600])
    np.testing.assert_allclose(scored.crying, [0.25, 0.5])
    assert scored.rms[0] == pytest.approx(np.sqrt(np.mean(np.arange(15_600.0) ** 2)), rel=1e-4)


def test_cost_counts_only_windows_over_the_volume_limit():
    scores = _scores([0.0, 0.0], rms=[100.0, 600.0])
    assert scores.cpu_s_per_hour(Rule("", 0.8, 500.0)) == pytest.approx(3600.0 / (2 * WINDOW_S))
    assert scores.cpu_s_per_hour(Rule("", 0.8)) == pytest.approx(3600.0 / WINDOW_S)


def test_the_real_network_hears_no_cry_in_noise():
    pytest.importorskip("ai_edge_litert", reason="the TFLite runtime comes with the extra 'train'")
    try:
        path = corpus.pretrained_root() / yamnet.MODEL_FILE
    except ConfigError as absent:
        pytest.skip(str(absent))
    scored = yamnet.score_windows((noise(2.0) * 32767).astype(np.int16), yamnet.Yamnet(path))
    assert scored.crying.shape == (2,)
    assert scored.crying.max() < 0.1


def test_broken_model_file_is_one_sentence(tmp_path):
    pytest.importorskip("ai_edge_litert", reason="the TFLite runtime comes with the extra 'train'")
    (tmp_path / "m.tflite").write_bytes(b"no model")
    with pytest.raises(ModelError, match=r"m\.tflite is no TFLite model"):
        yamnet.Yamnet(tmp_path / "m.tflite")
