"""The released network under decision rules of our own: the shipped rule never lets it answer."""

from __future__ import annotations

import numpy as np
import pytest

from monitor.detect import artifacts
from monitor.detect.artifacts import CauseDecision
from monitor.detect.classifier import SEGMENT_FRAMES, CauseClassifier
from monitor.detect.features import N_MELS
from monitor.detect.inference import Network
from monitor.errors import ManifestMismatchError
from monitor.types import Cause

LABELS = ["belly_pain", "burping", "discomfort", "hungry", "tired"]
PRIORS = dict(zip(LABELS, (0.05, 0.05, 0.05, 0.8, 0.05), strict=True))


def classifier(**rule: float) -> CauseClassifier:
    values = {"temperature": 1.0, "answer_above": 1.1, "answer_probability": 0.5} | rule
    network = Network(artifacts.find(None, "cause").model)
    return CauseClassifier(network, LABELS, CauseDecision(**values, priors=PRIORS))


def log(*probabilities: float) -> np.ndarray:
    return np.log(np.array(probabilities))


def test_answers_when_probability_and_ratio_suffice():
    estimate = classifier().estimate([log(0.1, 0.1, 0.1, 0.1, 0.6)])
    assert estimate.answer is Cause.TIRED
    assert estimate.probabilities[Cause.TIRED] == pytest.approx(0.6)


@pytest.mark.parametrize(
    "rule",
    [{"answer_probability": 0.61}, {"answer_above": 12.1}],
    ids=["too improbable", "too near its base rate"],
)
def test_is_unsure_when_either_is_short(rule):
    assert classifier(**rule).estimate([log(0.1, 0.1, 0.1, 0.1, 0.6)]).answer is Cause.UNSURE


def test_a_base_rate_alone_is_no_answer():
    assert classifier().estimate([np.log(np.array(list(PRIORS.values())))]).answer is Cause.UNSURE


def test_segments_are_averaged_and_not_summed():
    once = classifier().estimate([log(0.1, 0.1, 0.1, 0.1, 0.6)])
    often = classifier().estimate([log(0.1, 0.1, 0.1, 0.1, 0.6)] * 5)
    assert often.probabilities[Cause.TIRED] == pytest.approx(once.probabilities[Cause.TIRED])


def test_a_high_temperature_leaves_the_base_rates():
    segment = np.random.default_rng(0).normal(0, 1, (SEGMENT_FRAMES, N_MELS)).astype(np.float32)
    posterior = np.exp(classifier(temperature=1e6).log_posterior(segment))
    assert posterior == pytest.approx(list(PRIORS.values()), abs=1e-4)
    sharp = np.exp(classifier(temperature=1.0).log_posterior(segment))
    assert sharp.sum() == pytest.approx(1.0)
    assert np.abs(sharp - posterior).max() > 0.01


@pytest.mark.parametrize(
    ("labels", "priors", "why"),
    [
        ([], PRIORS, "not causes"),
        ([*LABELS[:4], "boredom"], PRIORS, "not causes"),
        ([*LABELS[:4], "unsure"], PRIORS, "not causes"),
        ([*LABELS[:4], LABELS[0]], PRIORS, "not causes"),
        (LABELS[:4], PRIORS, "names 4 causes"),
        (LABELS, {label: PRIORS[label] for label in LABELS[:4]}, "no base rate"),
        (LABELS, PRIORS | {"tired": 0.0}, "no base rate"),
    ],
)
def test_labels_that_do_not_belong_to_the_network_are_refused_before_the_first_episode(labels, priors, why):
    network = Network(artifacts.find(None, "cause").model)
    decision = CauseDecision(temperature=1.0, answer_above=1.1, answer_probability=0.5, priors=priors)
    with pytest.raises(ManifestMismatchError, match=why):
        CauseClassifier(network, labels, decision)
