"""int8 or float: which one runs, why, and that the other is gone. The clock is passed in."""

from __future__ import annotations

import gc
import itertools
import json
import shutil
import weakref

import numpy as np
import pytest
import structlog

from monitor.detect import artifacts, forms
from monitor.detect.artifacts import Artifact
from monitor.detect.forms import load_network
from monitor.detect.inference import Network
from monitor.detect.loading import gate_logits, load_pipeline
from monitor.detect.settings import DetectorSettings
from monitor.errors import ManifestMismatchError


@pytest.fixture
def gate():
    return artifacts.find(None, "gate")


@pytest.fixture
def copied(tmp_path):
    shutil.copytree(artifacts.default_folder(), tmp_path / "artifacts")
    return tmp_path / "artifacts"


def clock(int8_ms, float_ms):
    """Seconds that pass only during a run: turn by turn in int8 and in float."""
    now = 0.0
    for k in itertools.count():
        yield now
        now += (int8_ms, float_ms)[k // 2 % 2] / 1000.0 if k % 2 == 0 else 0.0


def choose(artifact, int8_ms, float_ms, wanted="auto"):
    return load_network(artifact, wanted, clock=clock(int8_ms, float_ms).__next__)


def change_manifest(folder, **changes):
    path = folder / "gate" / artifacts.MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("int8_ms", "float_ms", "form"),
    [(2.0, 1.0, "float"), (1.0, 2.0, "int8"), (1.0, 1.0, "int8"), (1.0, 0.92, "int8"), (1.0, 0.88, "float")],
    ids=["float is faster", "int8 is faster", "tie", "within a tenth", "beyond a tenth"],
)
def test_the_faster_form_runs_and_a_tie_goes_to_int8(gate, int8_ms, float_ms, form):
    choice = choose(gate, int8_ms, float_ms)
    assert choice.form == form
    assert (choice.int8_ms, choice.float_ms) == pytest.approx((int8_ms, float_ms))


@pytest.mark.parametrize(
    ("int8_ms", "form", "key"), [(2.0, "float", "float_logits"), (0.5, "int8", "logits")]
)
def test_the_network_that_runs_is_the_one_that_was_named(gate, int8_ms, form, key):
    choice = choose(gate, int8_ms, 1.0)
    with np.load(gate.folder / artifacts.GOLDEN) as golden:
        got, released = gate_logits(choice.network, golden["audio"]), golden[key]
    assert choice.form == form
    assert np.abs(got - released).max() < 0.01


def test_the_choice_is_logged_with_both_medians(gate):
    with structlog.testing.capture_logs() as lines:
        choose(gate, 2.0, 1.5)
    assert lines == [
        {
            "event": "detect.model_form",
            "log_level": "info",
            "model": gate.manifest.name,
            "form": "float",
            "int8_ms": 2.0,
            "float_ms": 1.5,
        }
    ]


@pytest.mark.parametrize("int8_ms", [0.5, 2.0])
def test_the_loser_is_freed(gate, monkeypatch, int8_ms):
    loaded = []

    def watched(path):
        network = Network(path)
        loaded.append((weakref.ref(network), weakref.ref(network._session)))
        return network

    monkeypatch.setattr(forms, "Network", watched)
    choice = choose(gate, int8_ms, 1.0)
    gc.collect()
    kept = [network() is choice.network for network, _ in loaded]
    assert kept == [int8_ms < 1.0, int8_ms > 1.0]
    assert [session() is not None for _, session in loaded] == kept


def test_a_slow_machine_measures_less(gate, monkeypatch):
    runs = []
    run = Network.run
    monkeypatch.setattr(Network, "run", lambda self, feed: runs.append(1) or run(self, feed))
    choose(gate, 200.0, 300.0)
    assert len(runs) == 2 * (forms.WARM_UP_RUNS + forms.MIN_RUNS)


@pytest.mark.parametrize("wanted", ["int8", "float"])
def test_a_wanted_form_is_not_argued_with(gate, wanted):
    choice = load_network(gate, wanted, clock=lambda: pytest.fail("it was timed"))
    assert (choice.form, choice.int8_ms, choice.float_ms) == (wanted, None, None)


def test_an_artefact_from_before_runs_in_int8(copied):
    change_manifest(copied, float=None)
    assert load_network(Artifact(copied / "gate", "gate")).form == "int8"
    with pytest.raises(ManifestMismatchError, match=r"int8 only.*detect\.model_form"):
        load_pipeline(DetectorSettings(model_form="float"), copied)


def test_a_swapped_float_file_is_refused_whatever_form_is_wanted(copied):
    (copied / "gate" / "model.float.onnx").write_bytes(b"not a model")
    with pytest.raises(ManifestMismatchError, match=r"model\.float\.onnx has SHA-256"):
        load_pipeline(DetectorSettings(model_form="int8"), copied)


def test_a_float_entry_without_its_hash_is_refused(copied):
    change_manifest(copied, float={"file": "model.float.onnx"})
    with pytest.raises(ManifestMismatchError, match=r"float\.sha256: Field required"):
        load_pipeline(DetectorSettings(), copied)


def test_both_forms_agree_on_the_golden_input(gate):
    with np.load(gate.folder / artifacts.GOLDEN) as golden:
        int8, floating = (1.0 / (1.0 + np.exp(-golden[key])) for key in ("logits", "float_logits"))
    # The margin that a release is held to, models.training.release.QUANTIZATION_MARGIN.
    assert np.abs(int8 - floating).mean() < 0.08
