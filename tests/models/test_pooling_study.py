"""The study's segments, folds and figures on cases that can be checked by hand."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: make install-train")

from models.training import pooling_report, pooling_tasks, scenes  # noqa: E402
from models.training.cause import LABELS  # noqa: E402
from models.training.nets import mn04  # noqa: E402
from models.training.nets.pooling import POOLINGS  # noqa: E402
from models.training.pooling_inputs import SEGMENT_STEPS, Cries, SceneSegments, cut_scenes  # noqa: E402
from models.training.pooling_scores import CauseScores, Cell, DetectionScores  # noqa: E402
from models.training.pooling_study import CONTROL, TUNED, Study, cells_of  # noqa: E402

pytestmark = pytest.mark.train

RECIPE = {
    "seeds": [1],
    "hidden": 8,
    "heads": 4,
    "dropout": 0.0,
    "detection": {
        "tuned_poolings": ["mean"],
        "tuned_seeds": [1],
        "frozen": {"epochs": 20, "batch": 16, "rate": 1e-2},
        "tuned": {"epochs": 1, "batch": 16, "rate": 1e-3},
    },
}


def _scene_set(n=3):
    audio = np.repeat(np.arange(n * scenes.STEPS, dtype=np.int16), scenes.STEP_SAMPLES)
    label = np.zeros((n, scenes.STEPS), np.float32)
    weight = np.ones((n, scenes.STEPS), np.float32)
    label[1, :8] = 1.0
    weight[1, 8:16] = 0.0
    label[2, -SEGMENT_STEPS:] = 1.0
    weight[2, -SEGMENT_STEPS:] = 0.3
    return scenes.SceneSet(audio.reshape(n, -1), label, weight)


def test_segments_are_cut_with_their_own_audio_and_labels():
    cut = cut_scenes(_scene_set(), used=3, segments=2)
    assert cut.audio.shape == (6, SEGMENT_STEPS * scenes.STEP_SAMPLES)
    last = scenes.STEPS - SEGMENT_STEPS
    first_steps = [0, last, scenes.STEPS, scenes.STEPS + last, 2 * scenes.STEPS, 2 * scenes.STEPS + last]
    assert cut.audio[:, 0].tolist() == first_steps
    assert cut.scene.tolist() == [0, 0, 1, 1, 2, 2]
    # 8 of the 24 steps that count in the third segment, and all of the doubtful sixth.
    np.testing.assert_allclose(cut.share, [0.0, 0.0, 8 / 24, 0.0, 0.0, 1.0])
    np.testing.assert_allclose(cut.weight, [1.0, 1.0, 0.75, 1.0, 1.0, 0.3])
    assert cut.clear.tolist() == [True, True, True, True, True, False]
    assert cut.one_sided.all()


def test_segments_that_would_overlap_are_refused():
    with pytest.raises(ValueError, match="4 segments of 32 steps overlap"):
        cut_scenes(_scene_set(), used=3, segments=4)


def _cries(n=120):
    cause = np.array([k % 5 if k % 4 == 0 else 3 for k in range(n)])
    return Cries(np.zeros((n, 4), np.int16), cause, np.array([f"phone-{k // 3}" for k in range(n)]))


def test_cause_folds_share_no_phone_and_hold_out_every_cry_once():
    cries = _cries()
    task = pooling_tasks.cause_task(cries, {}, 4)
    splits = task.splits(1)
    for rows, held_out in splits:
        assert not set(cries.groups[rows]) & set(cries.groups[held_out])
    assert sorted(np.concatenate([held_out for _, held_out in splits])) == list(range(len(cries.cause)))
    assert any(not np.array_equal(a[1], b[1]) for a, b in zip(splits, task.splits(2), strict=True))


def test_base_rates_are_those_of_the_rows_learned_from():
    task = pooling_tasks.cause_task(_cries(5), {}, 4)
    rates = np.exp(task.log_rates(np.array([0, 1, 2, 3])))  # causes 0, 3, 3, 3, and one of each for all
    np.testing.assert_allclose(rates, np.array([2, 1, 1, 4, 1]) / 9)


def _cause_scores(cries):
    folds = np.tile(np.arange(len(cries.cause)) // 3 % 4, (2, 1))
    rates = np.bincount(cries.cause, minlength=len(LABELS)) / len(cries.cause)
    return CauseScores(cries, folds, np.tile(np.log(rates), (2, len(cries.cause), 1)), draws=20)


def test_evidence_that_says_nothing_is_chance_and_as_good_as_the_prior():
    cries = _cries()
    evidence = np.zeros((2, len(cries.cause), 5))
    evidence[:, :, 3] = 1e-6  # always the same answer
    figures = _cause_scores(cries).figures(evidence)
    assert figures["balanced accuracy"].mean == pytest.approx(0.2)
    assert figures["balanced accuracy"].spread == pytest.approx(0.0)
    assert figures["log-loss - prior"].mean == pytest.approx(0.0, abs=1e-4)


def test_evidence_that_knows_beats_the_prior_and_noise_is_tempered_away():
    cries = _cries()
    scores, rng = _cause_scores(cries), np.random.default_rng(0)
    knows = np.tile(4.0 * np.eye(5)[cries.cause], (2, 1, 1))
    noise = 8.0 * rng.standard_normal((2, len(cries.cause), 5))
    assert scores.figures(knows)["balanced accuracy"].mean == 1.0
    assert scores.figures(knows)["macro-F1"].mean == 1.0
    assert scores.figures(knows)["log-loss - prior"].high < -0.3
    assert scores.figures(noise)["log-loss - prior"].mean < 0.05
    assert scores.further(noise)["log-loss - prior, no temperature"] > 3.0
    assert scores.gain(knows, noise).low > 0.5
    assert scores.gain(noise[:1], noise).value == 0.0


def _lesson(n):
    """Segments whose first column tells, for a trunk of each width."""
    rng = np.random.default_rng(0)
    share = (np.arange(n) % 2).astype(np.float32)
    heard = {}
    for trunk, shape in (("mn04 frozen", (384, 2)), ("YAMNet frozen", (1024, 2)), (TUNED, (48, 8, 4))):
        heard[trunk] = rng.normal(0.0, 0.3, (n, *shape)).astype(np.float16)
        heard[trunk][:, 0] += share.reshape(n, *[1] * (len(shape) - 1))
    segments = SceneSegments(np.zeros((n, 1), np.int16), share, np.ones(n, np.float32), np.arange(n))
    return segments, heard


@pytest.fixture(scope="module")
def cells():
    segments, heard = _lesson(48)
    twice = {trunk: np.concatenate([maps, maps]) for trunk, maps in heard.items()}
    torch.manual_seed(0)
    task = pooling_tasks.detection_task(segments, segments, twice)
    study = Study(RECIPE, mn04.MN04().eval())
    return cells_of(study, task, lambda e: e[:, 48:, 0], DetectionScores(segments, draws=20))


def test_every_trunk_meets_every_pooling_and_the_control(cells):
    wanted = [(t, p) for t in ("mn04 frozen", "YAMNet frozen") for p in (*POOLINGS, CONTROL)]
    assert [(c.trunk, c.head) for c in cells] == [*wanted, (TUNED, "mean")]
    assert all(math.isfinite(c.figures["AP"].mean) for c in cells)


def test_heads_learn_what_can_be_heard(cells):
    # The easy lesson: on frozen columns all of it is in one channel's mean.
    assert cells[0].figures["AUC"].mean > 0.95


def test_weights_are_counted_by_hand(cells):
    # Mean over 384 channels: normalisation 2 x 384, hidden layer 385 x 8, output 9.
    assert cells[0].head_parameters == 2 * 384 + 385 * 8 + 9
    assert cells[0].trunk_parameters == 0
    assert cells[-1].head_parameters == cells[0].head_parameters
    assert cells[-1].trunk_parameters > 300_000
    # The control has about as many weights as statistic + attention, three times as wide a vector.
    assert cells[5].head_parameters == pytest.approx(cells[4].head_parameters, rel=0.2)


def test_gains_are_told_where_there_is_something_to_compare(cells):
    assert math.isnan(cells[0].over_mean.value)
    assert math.isnan(cells[0].over_frozen.value)
    assert cells[6].trunk == "YAMNet frozen"
    assert math.isfinite(cells[6].over_frozen.value)
    assert math.isfinite(cells[1].over_mean.value)
    assert cells[-1].n_seeds == 1


def test_report_is_written_as_markdown_and_json(cells: list[Cell], tmp_path):
    pooling_report.write(tmp_path, cells, ["a note"], {"seeds": [1, 2]})
    lines = (tmp_path / "pooling.md").read_text().splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert len(table) == 2 + len(cells)
    assert {line.count("|") for line in table} == {table[0].count("|")}
    told = json.loads((tmp_path / "pooling.json").read_text())
    assert told["cells"][0]["over_mean"]["value"] is None
    assert told["notes"] == ["a note"]
