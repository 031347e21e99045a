import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed: make install-train")

from models.training import corpus, mn04_rules, window_rules
from models.training.window_rules import Rule
from monitor.errors import ConfigError
from tests.models.corpus_folder import RATE, noise

pytestmark = pytest.mark.train


@pytest.fixture(scope="module")
def rival():
    try:
        pretrained = corpus.pretrained_root()
    except ConfigError as absent:
        pytest.skip(str(absent))
    if not (pretrained / mn04_rules.WEIGHTS).is_file():
        pytest.skip(f"{mn04_rules.WEIGHTS} is not in the pre-trained weights")
    return mn04_rules.rival(pretrained)


def _int16(x):
    return np.rint(x * 32767).astype(np.int16)


def test_windows_of_two_seconds_begin_every_second(rival):
    scores = rival.score(_int16(noise(5.5)))
    assert len(scores.crying) == 4  # from 0, 1, 2 and 3 s; half a second is left over
    assert (scores.window_s, scores.hop_s) == (2.0, 1.0)
    assert scores.crying.max() < 0.05
    assert scores.rms[0] == pytest.approx(3276.7, rel=0.05)
    assert (scores.cpu_s > 0.0).all()


def test_a_window_is_scored_alone_whatever_stands_beside_it(rival):
    x = _int16(np.concatenate([noise(2.0, seed=1), noise(9.0, seed=2)]))
    together = rival.score(x).crying  # ten windows, in two batches
    alone = [rival.score(x[k * RATE : (k + 2) * RATE]).crying[0] for k in range(10)]
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_recording_shorter_than_a_window_is_not_heard(rival):
    scores = rival.score(_int16(noise(1.9)))
    assert len(scores.crying) == 0
    assert window_rules.rule_episodes(scores, Rule("", 0.0)) == []


@pytest.mark.data
def test_clear_cry_scores_above_the_lowest_rule_and_speech_below(rival):
    try:
        root = corpus.data_root()
    except ConfigError as absent:
        pytest.skip(str(absent))
    clips = corpus.load_manifest(root)
    own = [clip for clip in clips if clip.split == "val" and clip.duration_s > 4.0]
    cry = max((clip for clip in own if clip.label == "cry"), key=lambda clip: clip.mn04_cry or 0.0)
    talk = next(clip for clip in own if clip.label == "speech")
    tops = [rival.score(_int16(corpus.read_audio(root / clip.path))).crying.max() for clip in (cry, talk)]
    assert tops[0] > rival.rules[-1].threshold
    assert tops[1] < rival.rules[0].threshold
