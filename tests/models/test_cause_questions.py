"""A question finds what is there, finds nothing where nothing is, and never hears the baby it is asked of."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: make install-train")

from models.training import cause_metrics, cause_study, probe  # noqa: E402
from models.training.cause_questions import (  # noqa: E402
    QUESTIONS,
    Asked,
    Pipeline,
    Question,
    balanced,
    calibrated,
    chance,
    deal,
)
from models.training.corpus import Clip  # noqa: E402

pytestmark = pytest.mark.train


def _clip(**known):
    return Clip(**(dict.fromkeys(Clip.__slots__) | known))


@pytest.fixture(scope="module")
def asked():
    """Sixty babies, three cries each, every baby of one mind; one in four is tired."""
    label = np.repeat((np.arange(60) % 4 == 0).astype(int), 3)
    groups = np.repeat([f"baby-{i}" for i in range(60)], 3)
    question = Question("tired", ("rest", "tired"), lambda clip: None)
    return Asked(question, np.arange(180), label, groups)


@pytest.fixture(scope="module")
def voices(asked):
    """Every baby has a voice of its own; the second pipeline also hears the label, the first does not."""
    rng = np.random.default_rng(0)
    x = (3.0 * np.repeat(rng.normal(size=(60, 6)), 3, axis=0) + 0.1 * rng.normal(size=(180, 6))).astype(
        np.float32
    )
    told = x.copy()
    told[:, 0] = 9.0 * asked.label + rng.normal(size=180)
    return Pipeline(x, probe.lda), Pipeline(told, probe.lda)


def _folds(asked, n=2):
    rng = np.random.default_rng(1)
    return np.array([asked.folds(asked.label, rng) for _ in range(n)])


def test_a_babys_voice_alone_tells_nothing_and_the_label_everything(asked, voices):
    folds, labels = _folds(asked), np.tile(asked.label, (2, 1))
    dealt = deal(asked, 60, np.random.default_rng(2))
    p = []
    for pipeline in voices:
        observed = balanced(asked.evidence(pipeline, labels, folds), labels).mean()
        p.append(cause_metrics.permutation_p(observed, chance(asked, pipeline, dealt)))
    assert p[0] > 0.05
    assert p[1] == pytest.approx(1 / 61)


def test_a_deal_has_folds_of_its_own_that_keep_babies_whole(asked):
    dealt = deal(asked, 3, np.random.default_rng(0))
    assert dealt.labels.shape == dealt.folds.shape == (6, 180)
    for labels, folds in zip(dealt.labels, dealt.folds, strict=True):
        assert labels.sum() == asked.label.sum()
        assert all(len(set(folds[asked.groups == g])) == 1 for g in set(asked.groups))


def test_calibrated_answers_beat_the_base_rates_only_where_there_is_something(asked, voices):
    gains = []
    for pipeline in voices:
        answer, rates = calibrated(asked, pipeline, _folds(asked, 1), np.random.default_rng(0))
        here = np.arange(180)
        gains.append(float(np.log(answer[0, here, asked.label] / rates[0, here, asked.label]).mean()))
    assert gains[0] < 0.02
    assert gains[1] > 0.25


def test_base_rates_of_a_fold_come_from_the_other_folds(asked, voices):
    folds = _folds(asked, 1)
    _, rates = calibrated(asked, voices[0], folds, np.random.default_rng(0))
    for k in range(5):
        other = asked.label[folds[0] != k]
        assert rates[0, folds[0] == k, 1] == pytest.approx((other.sum() + 1) / (len(other) + 2))


def test_questions_read_the_manifest():
    by_name = {question.name: question for question in QUESTIONS}
    clip = _clip(cause5="belly_pain", age="2y+", sex="m", mn04_cry=0.01)
    assert by_name["pain-like"].of(clip) == 1
    assert by_name["hungry"].of(clip) == 0
    assert by_name["cause"].of(clip) == 0
    assert by_name["cause, where mn04 hears a cry"].of(clip) is None
    assert by_name["age"].classes[by_name["age"].of(clip)] == "7 m and more"
    assert by_name["sex"].classes[by_name["sex"].of(clip)] == "m"
    assert by_name["hungry"].of(_clip(cause5=None)) is None


def test_a_question_leaves_out_what_has_no_answer():
    clips = [_clip(cause5=cause, group=g) for cause, g in (("tired", "a"), (None, "b"), ("hungry", "c"))]
    asked = Asked.of(QUESTIONS[0], clips)
    assert asked.index.tolist() == [0, 2]
    assert asked.label.tolist() == [4, 3]
    assert asked.groups.tolist() == ["a", "c"]


def test_uploads_of_a_held_out_baby_do_not_teach():
    scored = np.array([True, True, False, False])
    groups = np.array(["a", "b", "a", "stranger"])
    folds = np.array([[0, 1, -1, -1]])
    extra = cause_study.of_other_babies(scored, groups, folds)
    assert extra[0, :, 0].tolist() == [False, False, False, True]
    assert extra[0, :, 1].tolist() == [False, False, True, True]
