import json

import numpy as np
import pytest
import soundfile

torch = pytest.importorskip("torch", reason="torch is not installed: make install-train")
pytest.importorskip("onnx", reason="onnx is not installed: make install-train")

from models.training import evaluate, evaluate_forms, export, scenes  # noqa: E402
from models.training.evaluate_forms import KeptScores  # noqa: E402
from models.training.nets.gate import GateNet  # noqa: E402
from monitor.detect.activity import HOP  # noqa: E402
from monitor.detect.artifacts import GateDecision  # noqa: E402
from monitor.errors import ConfigError  # noqa: E402
from tests.models.corpus_folder import RATE, noise, tone  # noqa: E402

pytestmark = pytest.mark.train
SHAPE = {"channels": [4, 8, 8, 8], "width": 16, "hints": 2}
RULE = {
    "onset_threshold": 0.6,
    "offset_threshold": 0.5,
    "onset_hits": 2,
    "onset_window_hops": 3,
    "hang_over_s": 2.0,
    "cool_down_s": 2.0,
    "smoothing_s": 0.0,
}


def _int16(x):
    return np.rint(x * 32767).astype(np.int16)


def _evening():
    quiet = noise(10.0, amplitude=0.0003)
    return _int16(np.concatenate([quiet, tone(3.0, 1000.0), quiet]))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    torch.manual_seed(0)
    net = GateNet(tuple(SHAPE["channels"]), SHAPE["width"], n_classes=1 + SHAPE["hints"]).eval()
    torch.save({"state": net.state_dict(), "shape": SHAPE}, folder / "gate.pt")
    export.export_gate(net, folder / "gate.float.onnx")
    (folder / "decision.json").write_text(json.dumps(RULE))
    return folder


@pytest.fixture(scope="module")
def nights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nights")
    x = _evening()
    soundfile.write(folder / "hour-000.flac", x, RATE)
    about = {"type": "hour", "duration_s": len(x) / RATE, "bandwidth_hz": None, "clipped_share": 0.0}
    bout = {"type": "bout", "onset_s": 10.0, "offset_s": 13.0, "crying_s": 3.0, "audible": [[10.0, 13.0]],
            "snr_db": 20.0, "room": "r", "doubtful": False}  # fmt: skip
    (folder / "hour-000.jsonl").write_text("".join(json.dumps(line) + "\n" for line in (about, bout)))
    (folder / "nights.json").write_text(json.dumps({"hours": ["hour-000"]}))
    return folder


@pytest.fixture(scope="module")
def scene_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenes")
    rng = np.random.default_rng(0)
    audio = rng.integers(-3000, 3000, (6, scenes.SCENE_S * RATE)).astype(np.int16)
    label = (rng.random((6, scenes.STEPS)) < 0.4).astype(np.float32)
    weight = np.where(rng.random((6, scenes.STEPS)) < 0.9, 1.0, 0.3).astype(np.float32)
    for name, array in (("audio", audio), ("label", label), ("weight", weight)):
        np.save(folder / f"{name}.npy", array)
    return folder


def _rule():
    return GateDecision.model_validate({"suspect_threshold": 1.0} | RULE)


def test_torch_and_float_onnx_hear_the_same_across_the_border_of_a_chunk(run, monkeypatch):
    monkeypatch.setattr(evaluate_forms, "CHUNK_HOPS", 7)
    x = _evening()
    both = [evaluate_forms.step_logits(run / name, x) for name in ("gate.pt", "gate.float.onnx")]
    assert both[0].shape == (len(x) // HOP * 3,)
    np.testing.assert_allclose(both[0], both[1], atol=1e-4)


def test_file_that_is_no_form_is_refused(run):
    with pytest.raises(ConfigError, match="no form of the gate"):
        evaluate_forms.step_logits(run / "decision.json", _evening())


def test_night_scores_are_kept_and_judged_by_the_rule(run, nights, tmp_path, monkeypatch):
    keep = KeptScores(tmp_path)
    first = evaluate_forms.gate_night_scores(run / "gate.float.onnx", nights, keep)
    monkeypatch.setattr(evaluate_forms, "step_logits", None)  # must not be asked again
    again = evaluate_forms.gate_night_scores(run / "gate.float.onnx", nights, keep)
    np.testing.assert_array_equal(first[0].logits, again[0].logits)
    assert first[0].logits.shape == (len(first[0].awake), 3)
    points = evaluate_forms.curve_of(_rule(), again)
    released = evaluate_forms.score_at(_rule(), again)
    nearest = min(points, key=lambda point: abs(point.threshold - RULE["onset_threshold"]))
    assert released.recall()[0].value == nearest.recall.value
    assert released.hours == pytest.approx(23.0 / 3600.0)


def test_scores_by_hand_find_the_bout_once_they_pass_the_threshold(nights):
    n = 95
    hops = np.arange(n)
    loud = (hops >= 42) & (hops < 54)
    logits = np.where(loud, 3.0, -3.0)[:, None].repeat(3, axis=1).astype(np.float32)
    hour = evaluate_forms.night_score.read_hour(nights / "hour-000.jsonl")
    heard = [evaluate_forms.HourScores(hour, logits, np.ones(n, bool))]
    score = evaluate_forms.score_at(_rule(), heard)
    assert score.recall()[0].value == 1.0
    assert score.delay_s(50.0) == pytest.approx(44 * 0.24 - 10.0)
    curve = evaluate_forms.curve_of(_rule(), heard)
    found = [point.threshold for point in curve if point.recall.value == 1.0]
    assert max(found) == max(point.threshold for point in curve if point.threshold <= 1 / (1 + np.exp(-3.0)))


def test_steps_of_doubt_are_left_out_of_the_ranking(run, scene_folder):
    ranking = evaluate_forms.scene_ranking(run / "gate.float.onnx", scene_folder, None)
    weight = np.load(scene_folder / "weight.npy")
    n_steps = scenes.SCENE_S * RATE // HOP * 3
    assert len(ranking.positive) == int((weight[:, :n_steps] == 1.0).sum())
    assert ranking.n_groups == 6


def test_command_measures_every_form_and_pairs_them(run, nights, scene_folder, tmp_path, capsys):
    argv = ["forms", "--run", str(run), "--scenes", str(scene_folder), "--nights", str(nights),
            "--cache", str(tmp_path / "c"), "--jobs", "1", "--json", str(tmp_path / "f.json")]  # fmt: skip
    assert evaluate.main(argv) == 0
    forms = json.loads((tmp_path / "f.json").read_text())["forms"]
    assert list(forms) == ["gate.pt", "gate.float.onnx"]
    assert forms["gate.pt"]["auc"]["value"] == pytest.approx(
        forms["gate.float.onnx"]["auc"]["value"], abs=1e-3
    )
    assert abs(forms["gate.float.onnx"]["auc_minus_first"]["high"]) < 1e-3
    assert forms["gate.pt"]["nights"]["recall"]["bouts"] == 1
    assert "gate.float.onnx" in capsys.readouterr().out


def test_run_without_forms_is_one_sentence(tmp_path, capsys):
    assert evaluate.main(["forms", "--run", str(tmp_path)]) == 2
    assert "holds no gate.pt" in capsys.readouterr().err
