"""Metrics of causes against cases solved by hand and a plain slow reference."""

from __future__ import annotations

import math

import numpy as np
import pytest

from models.training import cause_metrics as worth

# Four cries of class 0, one of class 1; the second answer is as sure as the third.
P = np.array([[0.9, 0.1], [0.6, 0.4], [0.4, 0.6], [0.55, 0.45], [0.3, 0.7]])
LABEL = np.array([0, 0, 0, 0, 1])


def test_recalls_by_hand():
    hit = (P.argmax(axis=1) == LABEL).astype(float)
    np.testing.assert_allclose(worth.recalls(hit, LABEL), [3 / 4, 1.0])
    np.testing.assert_allclose(worth.recalls(hit, LABEL, np.array([1.0, 1, 2, 0, 3])), [2 / 4, 1.0])
    np.testing.assert_allclose(worth.recalls(hit, LABEL, np.array([1.0, 0, 0, 0, 0])), [1.0])


def test_macro_f1_by_hand():
    # Class 0: precision 1, recall 3/4, F1 6/7. Class 1: precision 1/2, recall 1, F1 2/3.
    assert worth.macro_f1(P.argmax(axis=1), LABEL) == pytest.approx((6 / 7 + 2 / 3) / 2)


def test_a_constant_answer_has_the_macro_f1_of_the_literature():
    label = np.repeat([0, 1, 2, 3, 4], [16, 8, 27, 382, 24])
    assert worth.macro_f1(np.full(457, 3), label) == pytest.approx(0.182, abs=0.0005)


def test_confusion_counts_labels_in_rows():
    assert worth.confusion(P.argmax(axis=1), LABEL, 2).tolist() == [[3, 1], [0, 1]]


def test_calibration_error_by_hand():
    # Tenths: [0.5, 0.6) one right at 0.55; [0.6, 0.7) one of two right at 0.6; 0.7 and 0.9 right.
    wanted = (abs(0.55 - 1) + 2 * abs(0.6 - 0.5) + abs(0.7 - 1) + abs(0.9 - 1)) / 5
    assert worth.expected_calibration_error(P, LABEL) == pytest.approx(wanted)


def test_reliability_takes_certainty_into_the_last_bin():
    bins = worth.reliability(np.array([[1.0, 0.0], [0.95, 0.05]]), np.array([0, 1]))
    assert bins == [worth.ReliabilityBin(2, 0.975, 0.5)]


def test_risk_coverage_answers_ties_together():
    coverage, risk = worth.risk_coverage(P, LABEL)
    np.testing.assert_allclose(coverage, [0.2, 0.4, 0.8, 1.0])
    np.testing.assert_allclose(risk, [0.0, 0.0, 0.25, 0.2])
    assert worth.area_under_risk(P, LABEL) == pytest.approx(0.4 * 0.25 + 0.2 * 0.2)


def test_an_answer_that_never_varies_has_one_point_on_the_curve():
    p = np.tile([0.8, 0.2], (5, 1))
    assert [x.tolist() for x in worth.risk_coverage(p, LABEL)] == [[1.0], [0.2]]
    assert worth.area_under_risk(p, LABEL) == pytest.approx(0.2)


def test_risk_coverage_equals_the_slow_reference():
    rng = np.random.default_rng(0)
    p = np.round(rng.dirichlet(np.ones(3), 60), 1) + 1e-9 * np.arange(3)
    label = rng.integers(3, size=60)
    coverage, risk = worth.risk_coverage(p, label)
    for c, r in zip(coverage, risk, strict=True):
        least = sorted(p.max(axis=1), reverse=True)[round(c * 60) - 1]
        answered = [i for i in range(60) if p[i].max() >= least]
        assert len(answered) == round(c * 60)
        assert r == pytest.approx(np.mean([p[i].argmax() != label[i] for i in answered]))


def test_draws_take_whole_groups():
    groups = np.array(["a", "b", "a", "c", "b", "b"])
    weights = worth.group_draws(groups, 200, np.random.default_rng(0))
    assert (weights[:, 0] == weights[:, 2]).all()
    assert (weights[:, 1] == weights[:, 4]).all()
    assert ((weights[:, 0] + weights[:, 1] + weights[:, 3]) == 3).all()


def test_interval_of_a_mean_widens_with_the_groups():
    values = np.repeat(np.random.default_rng(1).normal(size=20), 10)
    rng = np.random.default_rng(2)
    alone = worth.mean_interval(values, worth.group_draws(np.arange(200).astype(str), 800, rng))
    together = worth.mean_interval(
        values, worth.group_draws(np.repeat(np.arange(20), 10).astype(str), 800, rng)
    )
    assert alone.value == together.value == pytest.approx(values.mean())
    assert together.high - together.low == pytest.approx(math.sqrt(10) * (alone.high - alone.low), rel=0.2)


def test_balanced_accuracy_leaves_out_draws_without_a_class():
    hit, label = np.array([1.0, 1.0, 0.0]), np.array([0, 0, 1])
    found = worth.balanced_accuracy_interval(hit, label, np.array([[1.0, 1, 0], [1, 1, 1], [2, 0, 1]]))
    assert (found.value, found.low, found.high) == (0.5, 0.5, 0.5)


def test_permutation_p_counts_the_observed_among_the_permuted():
    assert worth.permutation_p(0.5, np.array([0.1, 0.5, 0.7])) == 3 / 4
    assert worth.permutation_p(0.9, np.array([0.1, 0.5, 0.7])) == 1 / 4


def test_holm_by_hand():
    np.testing.assert_allclose(worth.holm([0.04, 0.01, 0.03]), [0.06, 0.03, 0.06])
    assert worth.holm([0.9, 0.8]) == [1.0, 1.0]
