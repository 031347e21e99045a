"""The simulation of a baby's confirmed cries: nothing is known before it is told."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: make install-train")

from models.training import personal_curve as curve  # noqa: E402
from models.training.personal_study import by_place, hits, log_losses  # noqa: E402
from monitor.detect.personal import CAUSES, PersonalHead  # noqa: E402

pytestmark = pytest.mark.train


@pytest.fixture(scope="module")
def population():
    """Forty babies far apart, three cries each; along one axis causes differ within a baby."""
    rng = np.random.default_rng(0)
    baby = np.repeat(np.arange(40), 3)
    cause = rng.integers(5, size=120)
    x = rng.normal(size=(120, 10)) + 4.0 * rng.normal(size=(40, 10))[baby]
    x[:, 0] += 6.0 * cause
    return x.astype(np.float32), cause, baby.astype(str)


@pytest.fixture(scope="module")
def prior(population):
    return curve.fit_prior("made-up", *population, 4)


def test_prior_makes_one_babys_cries_of_one_cause_unit_wide(population):
    x, cause, groups = population
    twice = np.concatenate([x, x + np.random.default_rng(1).normal(0, 1.0, x.shape).astype(np.float32)])
    prior = curve.fit_prior("made-up", twice, np.tile(cause, 2), np.tile(groups, 2), 4)
    z = np.stack([prior.place(row) for row in twice])
    cell = np.unique(
        np.tile([f"{g} {c}" for g, c in zip(groups, cause, strict=True)], 2), return_inverse=True
    )[1]
    apart = z - np.stack([z[cell == c].mean(axis=0) for c in range(cell.max() + 1)])[cell]
    assert np.square(apart).sum(axis=0) / (240 - cell.max() - 1) == pytest.approx(np.ones(4), rel=0.35)
    assert prior.baby_variance > 1.0


def test_every_cry_comes_at_every_place_equally_often():
    every = np.array(list(curve.orders(5, np.random.default_rng(0))))
    assert len(every) >= curve.ORDERS
    for cry in range(5):
        assert len(set((every == cry).sum(axis=0))) == 1


def test_told_babies_answer_as_the_runtime_does(population, prior):
    x, _, _ = population
    cause = np.array([3, 3, 0, 4])
    told = curve.tell(prior, x[:4], cause, np.random.default_rng(0))
    choice = curve.Choice(4, 1.0, 2.0, 0.3)
    p = told.posteriors(prior.base_rates, 2.0, 0.3)
    head = PersonalHead(choice.of(prior))
    for place, cry in enumerate(told.cry[1]):
        np.testing.assert_allclose(p[1, place], list(head.predict(x[cry]).values()), rtol=1e-9)
        head.update(x[cry], CAUSES[cause[cry]])


def test_nothing_is_known_of_a_cry_before_it_is_told(population, prior):
    x, cause, _ = population
    told = curve.tell(prior, x[:3], cause[:3], np.random.default_rng(0))
    other = curve.tell(prior, x[:3], (cause[:3] + 1) % 5, np.random.default_rng(0))
    np.testing.assert_allclose(told.evidence[:, 0], other.evidence[:, 0])
    assert (told.counts.sum(axis=2) == np.arange(3)).all()


def test_a_baby_has_no_say_in_its_own_choice():
    choices = curve.every_choice((0.0, 1.0))
    lost = np.zeros((3, len(choices)))
    babies = [
        curve.Baby(str(i), split, np.ones(5) / 5, {}) for i, split in enumerate(["train", "train", "test"])
    ]
    lost[0, 5], lost[1, 7], lost[2, 9] = -1.0, -2.0, -99.0
    chosen = curve.choose(babies, lost, choices)
    assert chosen == [choices[7], choices[5], choices[7]]


def test_tables_hold_each_crys_figure_at_each_place():
    rates = np.array([0.1, 0.1, 0.1, 0.6, 0.1])
    told = curve.Told(
        cause=np.array([3, 0]),
        cry=np.array([[0, 1], [1, 0]]),
        evidence=np.zeros((2, 2, 5)),
        counts=np.array([[np.zeros(5), np.eye(5)[3]], [np.zeros(5), np.eye(5)[0]]]),
    )
    baby = curve.Baby("b", "train", rates, {(4, 1.0): told})
    p = told.posteriors(rates, 1.0, 0.0)
    hit = by_place([baby], [p], hits)[0]
    # Cry 0 is hungry: guessed from base rates; behind cry 1 (belly pain) 1.1/2 beats 0.6/2.
    assert hit.tolist() == [[1.0, 0.0], [0.0, 0.0]]
    loss = by_place([baby], [p], log_losses)[0]
    np.testing.assert_allclose(loss, -np.log([[0.6, 0.3], [0.1, 0.05]]))


def test_scatter_by_hand():
    # Baby 0: means 1 and 5 of two and one cry around 7/3. Baby 1 has one cause only.
    z, cause, baby = np.array([[0.0], [2.0], [5.0], [40.0]]), np.array([0, 0, 1, 2]), np.array([0, 0, 0, 1])
    wanted = 2 * (1 - 7 / 3) ** 2 + (5 - 7 / 3) ** 2
    assert curve.scatter(z, cause, baby) == pytest.approx(wanted)


def test_scatter_is_found_within_babies_and_not_between_them(population):
    x, cause, groups = population
    rng = np.random.default_rng(0)
    assert curve.scatter_p(x.astype(float), cause, groups, 99, rng)[1] == 0.01
    apart = np.random.default_rng(1).normal(size=(120, 3)) + 9.0 * groups.astype(int)[:, None]
    assert curve.scatter_p(apart, cause, groups, 99, rng)[1] > 0.05
