"""Fill a folder that ships: model, manifest, golden outputs.

Refuses when int8 falls outside the agreed margin of float.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import soundfile
from numpy.typing import NDArray

from models.training import quantize
from models.training.cause import LABELS
from monitor.detect import artifacts, features, segment_mel
from monitor.detect.activity import HOP
from monitor.detect.artifacts import Kind
from monitor.detect.classifier import SEGMENT_FRAMES
from monitor.detect.features import FRAME_HOP, log_mel
from monitor.detect.inference import Network
from monitor.detect.loading import gate_logits
from monitor.detect.segment_mel import SEGMENT_SAMPLES
from monitor.detect.verifier import Verifier
from monitor.errors import ConfigError
from monitor.types import SAMPLE_RATE_HZ

RECORDING: Final = Path(__file__).resolve().parents[2] / "monitor" / "demo" / "nursery.flac"
GOLDEN_S: Final = 12
"""Seconds of the demonstration recording, its first cry among them, that a release is checked with."""

QUANTIZATION_MARGIN: Final[Mapping[Kind, float]] = {"gate": 0.08, "verifier": 0.08, "cause": 0.05}
"""Largest mean difference of probabilities, int8 to float, on the golden input."""

FLOAT_TOO: Final[frozenset[Kind]] = frozenset({"gate"})
"""What runs all night ships in float as well, for processors on which that is faster."""


@dataclass(frozen=True)
class Run:
    """What training left of one network: both forms, decision, scores, and the recipe as text."""

    kind: Kind
    folder: Path
    recipe: str
    data_sha256: str

    def form(self, form: str) -> Path:
        """The ONNX file of one form."""
        return self.folder / f"{self.kind}.{form}.onnx"


def golden_audio() -> NDArray[np.int16]:
    """The part of our own demonstration recording around its first cry, int16 (n * HOP,)."""
    samples, _ = soundfile.read(RECORDING, dtype="int16")
    truth = json.loads(RECORDING.with_suffix(".json").read_text())
    onset = min(event["onset_s"] for event in truth["happenings"] if event["kind"] == "cry")
    start = max(0, round((onset - GOLDEN_S / 3) * SAMPLE_RATE_HZ))
    return samples[start : start + GOLDEN_S * SAMPLE_RATE_HZ // HOP * HOP]


def golden_outputs(run: Run) -> dict[str, NDArray[Any]]:
    """Inputs with the outputs of float and int8."""
    audio, answers = golden_audio(), {}
    segment = log_mel(audio[-SEGMENT_FRAMES * FRAME_HOP :])
    segments = np.stack(
        [audio[k : k + SEGMENT_SAMPLES] for k in range(0, len(audio) - SEGMENT_SAMPLES, HOP * 8)]
    )
    for form in ("float", "int8"):
        network = Network(run.form(form))
        if run.kind == "gate":
            answers[form] = gate_logits(network, audio)
        elif run.kind == "verifier":
            answers[form] = np.array([Verifier(network).judge(own).logit for own in segments], np.float32)
        else:
            answers[form] = network.run({"segment": segment[None]})[0][0]
    inputs = {"gate": {"audio": audio}, "verifier": {"segments": segments}, "cause": {"segment": segment}}
    return inputs[run.kind] | {"logits": answers["int8"], "float_logits": answers["float"]}


def check_quantization(kind: Kind, golden: Mapping[str, NDArray[Any]]) -> float:
    """Mean difference in probability. Raises ConfigError beyond the margin."""
    squash = _softmax if kind == "cause" else _sigmoid
    difference = float(np.abs(squash(golden["logits"]) - squash(golden["float_logits"])).mean())
    if difference > QUANTIZATION_MARGIN[kind]:
        raise ConfigError(
            f"{kind}: int8 differs from float by {difference:.3f} in the mean, more than"
            f" {QUANTIZATION_MARGIN[kind]}.",
            "Calibrate on more sequences, or leave the worst layer in float.",
        )
    return difference


def _sigmoid(x: NDArray[Any]) -> NDArray[Any]:
    return 1.0 / (1.0 + np.exp(-x))


def _softmax(x: NDArray[Any]) -> NDArray[Any]:
    e = np.exp(x - x.max())
    return e / e.sum()


def fill(target: Path, run: Run, figures: Mapping[str, Any]) -> dict[str, Any]:
    """Write model, manifest and golden outputs into ``target / kind``; returns the manifest."""
    folder = target / run.kind
    folder.mkdir(parents=True, exist_ok=True)
    golden = golden_outputs(run)
    difference = check_quantization(run.kind, golden)
    np.savez_compressed(folder / artifacts.GOLDEN, **golden)
    files = {"int8": _copied(run, folder, "int8")}
    if run.kind in FLOAT_TOO:
        files["float"] = _copied(run, folder, "float")
    verifier = run.kind == "verifier"
    manifest = {
        "schema": 1,
        "name": f"{run.kind}-{datetime.now(UTC):%Y.%m.%d}",
        "kind": run.kind,
        **files.pop("int8"),
        **files,
        "front_end": segment_mel.fingerprint() if verifier else features.fingerprint(),
        "labels": LABELS if run.kind == "cause" else ["cry"],
        "decision": json.loads((run.folder / "decision.json").read_text()),
        "bytes": run.form("int8").stat().st_size,
        "parameters": quantize.parameters_of(run.form("float")),
        "int8_minus_float": round(difference, 5),
        "recipe": run.recipe,
        "data_sha256": run.data_sha256,
        "training_clips": "split train, train_ok == 1",
        "validation": json.loads((run.folder / "scores.json").read_text()),
        "figures": dict(figures),
    }
    (folder / artifacts.MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
    return manifest


def _copied(run: Run, folder: Path, form: str) -> dict[str, str]:
    """Copy one form into the release and describe it for the manifest."""
    model = folder / f"model.{form}.onnx"
    shutil.copyfile(run.form(form), model)
    return {"file": model.name, "sha256": hashlib.sha256(model.read_bytes()).hexdigest()}
