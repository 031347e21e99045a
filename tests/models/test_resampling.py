import numpy as np
import pytest

from models.training import metrics, resampling
from models.training.resampling import Ranking


def _case(seed, n=60, n_groups=7):
    rng = np.random.default_rng(seed)
    scores = np.round(rng.normal(0, 1, n), 1)  # rounded: many ties
    labels = rng.random(n) < 0.4
    groups = rng.integers(n_groups, size=n)
    return scores, labels, groups


@pytest.mark.parametrize("seed", range(5))
def test_weights_equal_the_slow_way_of_repeating_the_groups(seed):
    scores, labels, groups = _case(seed)
    ranking = Ranking.of(scores, labels, groups)
    names = np.unique(groups)
    for weights in [np.ones(len(names)), *resampling.draws(len(names), 10, seed)]:
        chosen = np.concatenate(
            [np.flatnonzero(groups == g) for g, w in zip(names, weights, strict=True) for _ in range(int(w))]
        )
        assert ranking.auc(weights) == pytest.approx(metrics.roc_auc(scores[chosen], labels[chosen]))
        assert ranking.ap(weights) == pytest.approx(metrics.average_precision(scores[chosen], labels[chosen]))


def test_draw_without_a_class_is_unknown():
    ranking = Ranking.of(np.array([1.0, 2.0]), np.array([True, False]), ["a", "b"])
    assert np.isnan(ranking.auc(np.array([1.0, 0.0])))
    assert np.isnan(ranking.ap(np.array([0.0, 1.0])))


def test_interval_holds_the_value_and_is_the_bootstraps():
    scores, labels, groups = _case(3, n=400, n_groups=80)
    ranking = Ranking.of(scores, labels, groups)
    fast = resampling.interval(ranking.auc, ranking.n_groups, 400)
    slow = metrics.bootstrap(
        metrics.roc_auc, scores, labels, np.random.default_rng(1), groups=groups.tolist(), draws=400
    )
    assert fast.value == pytest.approx(slow.value)
    assert (fast.low, fast.high) == pytest.approx((slow.low, slow.high), abs=0.02)


def test_paired_difference_of_a_form_with_itself_is_nothing():
    scores, labels, groups = _case(4)
    one, same = Ranking.of(scores, labels, groups), Ranking.of(2 * scores + 1, labels, groups)
    lost = resampling.interval(lambda w: same.auc(w) - one.auc(w), one.n_groups, 50)
    assert (lost.value, lost.low, lost.high) == (0.0, 0.0, 0.0)
