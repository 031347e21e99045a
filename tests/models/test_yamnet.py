import numpy as np
import pytest

from models.training import corpus, yamnet
from monitor.errors import ConfigError, ModelError
from tests.models.corpus_folder import noise


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
    assert (scored.window_s, scored.hop_s) == (0.975, 0.975)
    assert scored.rms[0] == pytest.approx(np.sqrt(np.mean(np.arange(15_600.0) ** 2)), rel=1e-4)


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
