"""What a baby's confirmed cries teach, solved by hand; and files that must be refused."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest

from monitor.detect.personal import CAUSES, PersonalHead
from monitor.detect.personal_prior import PersonalPrior
from monitor.errors import ManifestMismatchError, ModelError
from monitor.types import Cause

RATES = np.array([0.05, 0.05, 0.1, 0.7, 0.1])
HUNGRY, TIRED = CAUSES.index(Cause.HUNGRY), CAUSES.index(Cause.TIRED)


@pytest.fixture
def prior():
    """One axis, so that the update can be solved by hand: z is the embedding's first number less 1."""
    return PersonalPrior(
        embedding="made-up",
        mean=np.array([1.0, 5.0]),
        axes=np.array([[1.0], [0.0]]),
        base_rates=RATES,
        radius=10.0,
        baby_variance=2.0,
        cause_variance=0.5,
        prior_count=4.0,
        sound_weight=1.0,
    )


@pytest.fixture
def wide():
    rng = np.random.default_rng(0)
    return PersonalPrior(
        "wide", rng.normal(size=12), rng.normal(size=(12, 3)), RATES, 20.0, 1.5, 0.4, 2.0, 0.5
    )


def cry(z):
    return np.array([1.0 + z, 99.0], np.float32)


def normal(z, mean, variance):
    return np.exp(-0.5 * (z - mean) ** 2 / variance) / np.sqrt(variance)


def test_without_a_confirmed_cry_the_answer_is_the_base_rates_whatever_is_heard(prior):
    head = PersonalHead(prior)
    for z in (-9.0, 0.0, 3.0, 1e6):
        p = head.predict(cry(z))
        assert list(p) == list(CAUSES)
        assert list(p.values()) == pytest.approx(RATES.tolist(), rel=1e-12)


def test_one_confirmed_cry_by_hand(prior):
    """Cause means vary by 2.5 and covary by 2; a cry at 3 with noise 1 moves its own by 2.5/3.5 of 3."""
    head = PersonalHead(prior)
    head.update(cry(3.0), Cause.TIRED)
    mean = {TIRED: 2.5 / 3.5 * 3.0, HUNGRY: 2.0 / 3.5 * 3.0}
    variance = {TIRED: 2.5 - 2.5**2 / 3.5, HUNGRY: 2.5 - 2.0**2 / 3.5}
    rates = (4.0 * RATES + np.eye(5)[TIRED]) / 5.0
    z = 1.5
    wanted = np.array(
        [
            rates[c] * normal(z, mean.get(c, mean[HUNGRY]), 1.0 + variance.get(c, variance[HUNGRY]))
            for c in range(5)
        ]
    )
    assert list(head.predict(cry(z)).values()) == pytest.approx((wanted / wanted.sum()).tolist(), rel=1e-9)
    assert list(head.rates.values()) == pytest.approx(rates.tolist())


def test_many_cries_equal_the_conditional_of_the_joint_normal(wide):
    """Against the slow way: one normal over all cause means and all cries at once."""
    rng = np.random.default_rng(1)
    embeddings = rng.normal(size=(6, 12))
    causes = [3, 3, 0, 4, 3, 0]
    head = PersonalHead(wide)
    for embedding, c in zip(embeddings, causes, strict=True):
        head.update(embedding, CAUSES[c])
    z = np.stack([wide.place(e) for e in embeddings])
    pick = np.eye(5)[causes]
    between = wide.baby_variance + wide.cause_variance * np.eye(5)
    gain = between @ pick.T @ np.linalg.inv(pick @ between @ pick.T + np.eye(6))
    means, covariance = gain @ z, between - gain @ pick @ between
    new = rng.normal(size=12)
    variance = 1.0 + covariance.diagonal()
    wanted = -0.5 * np.square(wide.place(new) - means).sum(axis=1) / variance - 1.5 * np.log(variance)
    np.testing.assert_allclose(head.evidence(new), wanted, rtol=1e-9)


def test_the_babys_own_voice_is_no_cause(prior):
    """All its cries lie at 5: what was confirmed once must not claim every later cry by that alone."""
    head = PersonalHead(replace(prior, baby_variance=25.0, cause_variance=0.1, base_rates=np.full(5, 0.2)))
    head.update(cry(5.0), Cause.BURPING)
    p = head.predict(cry(5.0))
    assert p[Cause.BURPING] == pytest.approx(head.rates[Cause.BURPING], abs=0.04)


def test_causes_that_sound_apart_are_told_apart(prior):
    head = PersonalHead(prior)
    for _ in range(4):
        head.update(cry(-2.0), Cause.HUNGRY)
        head.update(cry(2.0), Cause.TIRED)
    assert head.predict(cry(-2.0))[Cause.HUNGRY] > 0.9 > 0.2 > head.predict(cry(2.0))[Cause.HUNGRY]


def test_a_silent_weight_leaves_the_counts(prior):
    head = PersonalHead(replace(prior, sound_weight=0.0))
    head.update(cry(3.0), Cause.TIRED)
    for z in (-3.0, 3.0):
        assert head.predict(cry(z)) == pytest.approx(dict(head.rates))


def test_order_of_confirmation_does_not_matter(wide):
    rng = np.random.default_rng(2)
    cries = [
        (rng.normal(size=12), cause) for cause in (Cause.TIRED, Cause.HUNGRY, Cause.HUNGRY, Cause.BURPING)
    ]
    probe, answers = rng.normal(size=12), []
    for order in itertools.permutations(cries):
        head = PersonalHead(wide)
        for embedding, cause in order:
            head.update(embedding, cause)
        answers.append(list(head.predict(probe).values()))
    np.testing.assert_allclose(answers, np.tile(answers[0], (24, 1)), rtol=1e-10)


def test_a_sound_from_nowhere_says_no_more_than_one_at_the_rim(prior):
    head = PersonalHead(prior)
    head.update(cry(0.0), Cause.HUNGRY)
    assert head.predict(cry(1e9)) == pytest.approx(dict(head.predict(cry(10.0))))


def test_forgetting_leaves_nothing(prior):
    head = PersonalHead(prior)
    head.update(cry(3.0), Cause.TIRED)
    assert head.confirmed[Cause.TIRED] == 1
    head.forget()
    assert set(head.confirmed.values()) == {0}
    assert list(head.predict(cry(3.0)).values()) == pytest.approx(RATES.tolist())


@pytest.mark.parametrize(
    ("embedding", "error", "message"),
    [
        (np.zeros(3), ManifestMismatchError, r"shape \(3,\) came, made-up has \(2,\)"),
        (np.zeros((1, 2)), ManifestMismatchError, r"shape \(1, 2\)"),
        (np.array([0.0, np.nan]), ModelError, "NaN"),
        (np.array([np.inf, 0.0]), ModelError, "infinity"),
    ],
)
def test_what_is_no_embedding_is_refused_and_changes_nothing(prior, embedding, error, message):
    head = PersonalHead(prior)
    with pytest.raises(error, match=message):
        head.update(embedding, Cause.HUNGRY)
    with pytest.raises(error, match=message):
        head.predict(embedding)
    assert set(head.confirmed.values()) == {0}


def test_unsure_is_no_cause_to_learn(prior):
    with pytest.raises(ModelError, match="'unsure' is no cause"):
        PersonalHead(prior).update(cry(0.0), Cause.UNSURE)


@pytest.fixture
def learnt(wide, tmp_path):
    rng = np.random.default_rng(3)
    head = PersonalHead(wide)
    for cause in (Cause.TIRED, Cause.HUNGRY, Cause.TIRED):
        head.update(rng.normal(size=12), cause)
    head.save(tmp_path / "baby.json")
    return head, tmp_path / "baby.json"


def test_saved_and_loaded_it_answers_the_same_and_learns_on(learnt, wide):
    head, path = learnt
    again = PersonalHead.load(path, wide)
    sound = np.random.default_rng(4).normal(size=12)
    assert again.predict(sound) == head.predict(sound)
    assert again.confirmed == head.confirmed
    for one in (head, again):
        one.update(sound, Cause.BURPING)
    assert again.predict(sound) == head.predict(sound)


def test_saving_replaces_in_one_step_and_for_the_owner_alone(learnt):
    head, path = learnt
    head.forget()
    head.save(path)
    assert [other.name for other in path.parent.iterdir()] == ["baby.json"]
    assert path.stat().st_mode & 0o077 == 0
    assert set(json.loads(path.read_text())["confirmed"].values()) == {0}


def test_a_file_that_cannot_be_written_is_named(learnt, tmp_path):
    with pytest.raises(ModelError, match=r"cannot be written to .*nowhere"):
        learnt[0].save(tmp_path / "nowhere" / "baby.json")


def test_base_rates_may_be_tuned_beneath_a_file(learnt, wide):
    tuned = replace(wide, prior_count=8.0, sound_weight=0.1, cause_variance=0.2)
    assert PersonalHead.load(learnt[1], tuned).confirmed[Cause.TIRED] == 2


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"kind": "something else"}, ManifestMismatchError, "does not hold what was learnt of a baby"),
        ({"schema": 2}, ManifestMismatchError, "newer Cradlewatch .schema 2, this one reads 1"),
        ({"schema": "1"}, ModelError, "its schema is '1'"),
        ({"embedding": "other"}, ManifestMismatchError, "embedding 'other', not 'wide'"),
        ({"prior": "0" * 32}, ManifestMismatchError, "another population's prior"),
        ({"confirmed": {"tired": 1}}, ModelError, "damaged: KeyError"),
        ({"confirmed": 3}, ModelError, "damaged: TypeError"),
        ({"confirmed": dict.fromkeys(CAUSES, -1)}, ModelError, "not counts"),
        ({"confirmed": dict.fromkeys(CAUSES, True)}, ModelError, "not counts"),
        ({"sums": {c: [0.0] for c in CAUSES}}, ModelError, r"its sums are not \(5, 3\) numbers"),
        ({"sums": {c: [0.0, 0.0, float("nan")] for c in CAUSES}}, ModelError, "its sums are not"),
        ({"sums": {c: ["a", "b", "c"] for c in CAUSES}}, ModelError, "damaged: ValueError"),
        ({"sums": {c: [1.0, 0.0, 0.0] for c in CAUSES}}, ModelError, "contradict each other"),
    ],
)
def test_a_foreign_or_damaged_file_is_refused(learnt, wide, change, error, message):
    path = learnt[1]
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(error, match=message):
        PersonalHead.load(path, wide)


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_state_at_all_is_refused(wide, tmp_path, content):
    (tmp_path / "baby.json").write_bytes(content)
    with pytest.raises(ModelError, match=r"baby\.json"):
        PersonalHead.load(tmp_path / "baby.json", wide)


def test_a_truncated_file_is_refused_wherever_it_ends(learnt, wide):
    path = learnt[1]
    whole = path.read_bytes()
    for stop in range(0, len(whole) - 1, 97):
        path.write_bytes(whole[:stop])
        with pytest.raises(ModelError):
            PersonalHead.load(path, wide)


def test_a_missing_file_is_named(wide, tmp_path):
    with pytest.raises(ModelError, match=r"none\.json"):
        PersonalHead.load(tmp_path / "none.json", wide)


def test_prior_round_trip(wide, tmp_path):
    wide.save(tmp_path / "personal.npz")
    again = PersonalPrior.load(tmp_path / "personal.npz", "wide")
    assert again.identity() == wide.identity()
    assert (again.radius, again.prior_count, again.sound_weight) == (20.0, 2.0, 0.5)
    np.testing.assert_array_equal(again.base_rates, wide.base_rates)


def test_prior_of_another_embedding_is_refused(wide, tmp_path):
    wide.save(tmp_path / "personal.npz")
    with pytest.raises(ManifestMismatchError, match="made for 'wide', the network gives 'narrow'"):
        PersonalPrior.load(tmp_path / "personal.npz", "narrow")


def test_prior_that_is_damaged_or_of_another_version_is_refused(wide, tmp_path):
    path = tmp_path / "personal.npz"
    wide.save(path)
    whole = path.read_bytes()
    for stop in (0, 10, len(whole) // 2, len(whole) - 5):
        path.write_bytes(whole[:stop])
        with pytest.raises(ModelError, match=r"personal\.npz"):
            PersonalPrior.load(path, "wide")
    np.savez(path, schema=2)
    with pytest.raises(ManifestMismatchError, match="schema 2, expected 1"):
        PersonalPrior.load(path, "wide")
    np.savez(path, schema=1, embedding="wide")
    with pytest.raises(ModelError, match="lacks axes"):
        PersonalPrior.load(path, "wide")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"axes": np.zeros((3, 1))}, "do not fit"),
        ({"mean": np.array([np.nan, 0.0])}, "numbers that are none"),
        ({"base_rates": np.array([0.0, 0.1, 0.1, 0.7, 0.1])}, "numbers that are none"),
        ({"base_rates": np.full(5, 0.3)}, "do not sum to 1"),
        ({"base_rates": np.full(4, 0.25)}, "base rates"),
        ({"radius": 0.0}, "radius is 0.0, not above 0"),
        ({"cause_variance": float("nan")}, "cause_variance is nan"),
        ({"sound_weight": -1.0}, "sound_weight is -1.0, below 0"),
    ],
)
def test_prior_that_makes_no_sense_is_refused(prior, change, message):
    with pytest.raises(ModelError, match=message):
        replace(prior, **change)
