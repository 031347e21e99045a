from __future__ import annotations

import hashlib
import json
import shutil

import numpy as np
import pytest

from monitor.detect import artifacts
from monitor.detect.artifacts import GateDecision, PatientTier
from monitor.detect.episode import Tier
from monitor.detect.loading import episode_rules, load_pipeline, verify_artifacts
from monitor.detect.settings import DetectorSettings
from monitor.errors import ConfigError, ManifestMismatchError, ModelError

RELEASED = GateDecision(
    onset_threshold=0.7, offset_threshold=0.35, onset_hits=2, onset_window_hops=3,
    hang_over_s=5.0, cool_down_s=2.0, smoothing_s=0.3,
)  # fmt: skip


@pytest.fixture
def copied(tmp_path):
    shutil.copytree(artifacts.default_folder(), tmp_path / "artifacts")
    return tmp_path / "artifacts"


def change_manifest(folder, **changes):
    path = folder / artifacts.MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_released_models_answer_as_released():
    results = verify_artifacts()
    named = [(r.name.split("-")[0], r.form) for r in results]
    assert named == [("gate", "int8"), ("gate", "float"), ("verifier", "int8"), ("cause", "int8")]
    assert all(r.difference < 0.15 for r in results)


def test_models_stay_small():
    assert sum(p.stat().st_size for p in artifacts.default_folder().rglob("*.int8.onnx")) <= 2_000_000


def test_each_file_is_small_enough_for_git():
    assert max(p.stat().st_size for p in artifacts.default_folder().rglob("*.onnx")) <= 2_000_000


def test_missing_folder_is_named(tmp_path):
    with pytest.raises(ModelError, match=r"manifest.json' cannot be read: No such file.*detect.artifacts"):
        load_pipeline(DetectorSettings(), tmp_path)


def test_swapped_model_file_is_refused(copied):
    (copied / "gate" / "model.int8.onnx").write_bytes(b"not a model")
    with pytest.raises(ManifestMismatchError, match="SHA-256"):
        load_pipeline(DetectorSettings(), copied)


def test_unreadable_model_is_one_sentence(copied):
    data = b"not a model"
    (copied / "gate" / "model.int8.onnx").write_bytes(data)
    change_manifest(copied / "gate", sha256=hashlib.sha256(data).hexdigest())
    with pytest.raises(ModelError, match="cannot be loaded") as caught:
        load_pipeline(DetectorSettings(), copied)
    assert "\n" not in str(caught.value)


def test_model_for_another_front_end_is_refused(copied):
    change_manifest(copied / "gate", front_end="0" * 64)
    with pytest.raises(ManifestMismatchError, match="another log-mel front end"):
        load_pipeline(DetectorSettings(), copied)


def test_model_of_the_other_kind_is_refused(copied):
    shutil.rmtree(copied / "gate")
    shutil.copytree(copied / "cause", copied / "gate")
    with pytest.raises(ManifestMismatchError, match="holds a cause model, not a gate model"):
        load_pipeline(DetectorSettings(), copied)


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"schema": 2}', "\x00"])
def test_broken_manifest_is_refused(copied, text):
    (copied / "gate" / artifacts.MANIFEST).write_text(text)
    with pytest.raises(ManifestMismatchError, match=r"manifest.json"):
        load_pipeline(DetectorSettings(), copied)


@pytest.mark.parametrize(("key", "form"), [("logits", "int8"), ("float_logits", "float")])
def test_other_answers_to_the_golden_input_are_noticed(copied, key, form):
    path = copied / "gate" / artifacts.GOLDEN
    with np.load(path) as stored:
        golden = dict(stored)
    golden[key] = golden[key] + 1.0
    np.savez(path, **golden)
    with pytest.raises(ManifestMismatchError, match=rf"\({form}\) is 1\.00 off"):
        verify_artifacts(copied)


def test_truncated_golden_file_is_named(copied):
    path = copied / "gate" / artifacts.GOLDEN
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ModelError, match="golden file"):
        verify_artifacts(copied)


def test_a_golden_file_that_unpacks_to_nonsense_is_named(copied):
    path = copied / "gate" / artifacts.GOLDEN
    whole = bytearray(path.read_bytes())
    whole[60:2000] = bytes(1940)  # inside of the compressed arrays
    path.write_bytes(whole)
    with pytest.raises(ModelError, match="golden file"):
        verify_artifacts(copied)


@pytest.mark.parametrize(
    "changes",
    [
        {"audio": np.zeros(100, np.float32)},
        {"audio": np.zeros((2, 100), np.int16)},
        {"audio": np.zeros(0, np.int16)},
        {"logits": np.zeros(3, np.float32)},
    ],
)
def test_golden_arrays_of_another_form_are_named(copied, changes):
    path = copied / "gate" / artifacts.GOLDEN
    with np.load(path) as stored:
        golden = dict(stored)
    np.savez(path, **golden | changes)
    with pytest.raises(ModelError, match="golden"):
        verify_artifacts(copied)


@pytest.mark.parametrize(
    "change",
    [
        {"hang_over_s": 1e308},
        {"hang_over_s": float("inf")},
        {"onset_window_hops": 10**30},
        {"smoothing_s": float("nan")},
    ],
)
def test_a_rule_that_nobody_would_release_is_refused(copied, change):
    path = copied / "gate" / artifacts.MANIFEST
    decision = json.loads(path.read_text())["decision"]
    change_manifest(copied / "gate", decision=decision | change)
    with pytest.raises(ManifestMismatchError, match=r"manifest.json: decision"):
        load_pipeline(DetectorSettings(), copied)


def test_a_key_of_a_manifest_that_is_no_word_is_named_on_one_line(copied):
    path = copied / "gate" / artifacts.MANIFEST
    decision = json.loads(path.read_text())["decision"]
    change_manifest(copied / "gate", decision=decision | {"#\n\x1b": 1})
    with pytest.raises(ManifestMismatchError) as caught:
        load_pipeline(DetectorSettings(), copied)
    assert "#\\n\\x1b" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_settings_left_out_are_the_models_own():
    rules = episode_rules(DetectorSettings(), RELEASED)
    assert (rules.quick, rules.offset, rules.patient) == (Tier(0.7, 2, 3), 0.35, None)
    assert (rules.hang_over, rules.cool_down) == (80_000, 32_000)


def test_zero_is_a_setting():
    assert episode_rules(DetectorSettings(cool_down_s=0.0), RELEASED).cool_down == 0


def test_lower_onset_takes_the_offset_along():
    rules = episode_rules(DetectorSettings(onset_threshold=0.2), RELEASED)
    assert (rules.quick.onset, rules.offset) == (0.2, 0.2)


def test_contradiction_is_a_configuration_error():
    with pytest.raises(ConfigError, match=r"offset 0\.9 and onset 0\.7"):
        episode_rules(DetectorSettings(offset_threshold=0.9), RELEASED)


WITH_PATIENCE = RELEASED.model_copy(
    update={"patient": PatientTier(onset_threshold=0.5, onset_hits=10, onset_window_hops=40)}
)


def test_patient_tier_is_as_released_until_the_user_moves_the_threshold():
    tier = episode_rules(DetectorSettings(), WITH_PATIENCE).patient
    assert (tier.hits, tier.window_hops) == (10, 40)
    assert tier.onset == pytest.approx(0.5)


@pytest.mark.parametrize(("onset", "patient"), [(0.9, 0.794), (0.4, 0.222)])
def test_patient_tier_moves_with_the_users_threshold(onset, patient):
    # By the same distance in logits: 0.7 -> 0.9 is 1.35, 0.7 -> 0.4 is -1.25.
    tier = episode_rules(DetectorSettings(onset_threshold=onset), WITH_PATIENCE).patient
    assert tier.onset == pytest.approx(patient, abs=0.001)


def test_patient_tier_can_be_switched_off():
    assert episode_rules(DetectorSettings(patient=False), WITH_PATIENCE).patient is None


@pytest.mark.parametrize("form", ["int8", "float", "auto"])
def test_pipeline_loads_in_every_form_that_a_user_may_ask_for(form):
    assert load_pipeline(DetectorSettings(model_form=form)).flush() == []
