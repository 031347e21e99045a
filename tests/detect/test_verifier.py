from __future__ import annotations

import numpy as np
import pytest

from monitor.detect import artifacts
from monitor.detect.activity import HOP, ActivityDetector
from monitor.detect.episode import EpisodeRules, EpisodeTracker, Tier
from monitor.detect.gate import ScoreSmoother
from monitor.detect.inference import Network
from monitor.detect.pipeline import Pipeline
from monitor.detect.segment_mel import SEGMENT_SAMPLES
from monitor.detect.vad import Vad
from monitor.detect.verifier import Verdict, Verifier, weighed
from monitor.errors import ManifestMismatchError
from monitor.types import Block, EpisodeEnded, EpisodeStarted, HopReport, SampleIndex, samples
from tests.signals import noise

RULES = EpisodeRules(Tier(0.5, 2, 3), 0.4, samples(2.0), samples(5.0), samples(5.0))


class Suspicious:
    """A gate that suspects whatever is loud."""

    def reset(self) -> None:
        pass

    def process(self, frames: np.ndarray) -> np.ndarray:
        return np.full(3, 2.0 if frames.max() > 0.0 else -9.0, np.float32)


class Judge:
    """A verifier of known opinion that keeps what it was asked."""

    def __init__(self, logit: float) -> None:
        self.logit = logit
        self.asked: list[np.ndarray] = []

    def judge(self, segment: np.ndarray) -> Verdict:
        self.asked.append(segment.copy())
        return Verdict(self.logit, np.zeros(4, np.float32))


def pipeline_with(judge: Judge, suspect_threshold: float = 0.3) -> Pipeline:
    activity = ActivityDetector(Vad(2), 5.0)
    return Pipeline(
        activity, Suspicious(), ScoreSmoother(0.0), EpisodeTracker(RULES), None, judge,
        suspect_threshold=suspect_threshold, always_awake=True,
    )  # fmt: skip


def evening() -> np.ndarray:
    quiet = noise(8.0, -75.0)
    return np.concatenate([quiet, noise(3.0, -20.0), quiet])


def heard_by(pipeline: Pipeline, sound: np.ndarray) -> list:
    return pipeline.process(Block(SampleIndex(0), sound)) + pipeline.flush()


def test_what_the_verifier_denies_raises_nothing():
    judge = Judge(-3.0)
    outputs = heard_by(pipeline_with(judge), evening())
    assert not [o for o in outputs if not isinstance(o, HopReport)]
    assert len(judge.asked) == pytest.approx(3.0 / 0.24, abs=2)
    assert max(o.score for o in outputs) < 0.3


def test_what_it_confirms_starts_one_episode_that_the_gate_follows():
    judge = Judge(3.0)
    outputs = heard_by(pipeline_with(judge), evening())
    assert [type(o) for o in outputs if not isinstance(o, HopReport)] == [EpisodeStarted, EpisodeEnded]
    # Asked until the second hit; from then on the episode is open.
    assert len(judge.asked) == 2


def test_it_hears_the_segment_that_ends_with_the_hop():
    judge, sound = Judge(-3.0), evening()
    pipeline = pipeline_with(judge)
    outputs = [o for o in heard_by(pipeline, sound) if isinstance(o, HopReport)]
    first = next(o for o in outputs if o.score == pytest.approx(1 / (1 + np.exp(3.0))))
    np.testing.assert_array_equal(judge.asked[0], sound[first.stop - SEGMENT_SAMPLES : first.stop])
    assert pipeline.stats().verified_hops == len(judge.asked)


def test_at_the_start_of_a_stream_it_hears_silence_before():
    judge = Judge(-3.0)
    sound = noise(0.48, -20.0)
    heard_by(pipeline_with(judge), sound)
    assert len(judge.asked[0]) == SEGMENT_SAMPLES
    assert not judge.asked[0][: SEGMENT_SAMPLES - HOP].any()
    np.testing.assert_array_equal(judge.asked[0][-HOP:], sound[:HOP])


def test_gate_that_never_suspects_never_asks():
    judge = Judge(3.0)
    heard_by(pipeline_with(judge, suspect_threshold=0.95), evening())
    assert not judge.asked


def test_gate_and_verifier_are_weighed_by_their_logits():
    even = 1 / (1 + np.exp(-(0.25 * np.log(0.9 / 0.1) + 0.75 * -2.0)))
    assert weighed(0.9, -2.0, 0.75) == pytest.approx(even)
    assert weighed(0.9, -2.0, 0.0) == pytest.approx(0.9)
    assert weighed(0.2, 1.5, 1.0) == pytest.approx(1 / (1 + np.exp(-1.5)))


@pytest.mark.parametrize(("score", "logit"), [(1.0, 1e9), (0.0, -1e9)])
def test_extreme_opinions_stay_finite(score, logit):
    assert weighed(score, logit, 0.5) == pytest.approx(score, abs=1e-6)


def test_network_of_another_kind_is_refused():
    cause = artifacts.find(None, "cause")
    with pytest.raises(ManifestMismatchError, match="expected \\(1, 128, 237\\) and logit, embedding"):
        Verifier(Network(cause.model))
