"""Write a folder that ships: model, manifest, golden outputs, card.

    python -m models.training.release gate --run runs/gate --figures runs/gate/test.json
    python -m models.training.release cause --run runs/cause

Refuses when int8 falls outside the agreed margin of float. The hand-written part of a card (intended
use, limits) stands in ``models/training/cards/``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from models.training import corpus, quantize
from models.training.cause import LABELS
from monitor.detect import artifacts
from monitor.detect.activity import HOP
from monitor.detect.classifier import SEGMENT_FRAMES
from monitor.detect.features import FRAME_HOP, fingerprint, log_mel
from monitor.detect.inference import Network
from monitor.detect.loading import gate_logits, verify_artifacts
from monitor.errors import ConfigError

REPOSITORY = Path(__file__).resolve().parents[2]
ARTIFACTS = REPOSITORY / "models" / "artifacts"
CARDS = Path(__file__).with_name("cards")
RECORDING = REPOSITORY / "monitor" / "demo" / "nursery.flac"
GOLDEN_S = 12
"""Seconds of the demonstration recording, its first cry among them, that a release is checked with."""

QUANTIZATION_MARGIN = {"gate": 0.08, "cause": 0.05}
"""Largest mean difference of probabilities, int8 to float, on the golden input."""


def golden_audio() -> NDArray[np.int16]:
    """The part of our own demonstration recording around its first cry, int16 (n * HOP,)."""
    samples, _ = soundfile.read(RECORDING, dtype="int16")
    truth = json.loads(RECORDING.with_suffix(".json").read_text())
    onset = min(event["onset_s"] for event in truth["happenings"] if event["kind"] == "cry")
    start = max(0, round((onset - GOLDEN_S / 3) * 16_000))
    return samples[start : start + GOLDEN_S * 16_000 // HOP * HOP]


def golden_outputs(kind: str, run: Path) -> dict[str, NDArray[Any]]:
    """Inputs with the outputs of float and int8."""
    audio = golden_audio()
    if kind == "gate":
        answers = {form: gate_logits(Network(run / f"gate.{form}.onnx"), audio) for form in ("float", "int8")}
        return {"audio": audio, "logits": answers["int8"], "float_logits": answers["float"]}
    segment = log_mel(audio[-SEGMENT_FRAMES * FRAME_HOP :])
    answers = {
        form: Network(run / f"cause.{form}.onnx").run({"segment": segment[None]})[0][0]
        for form in ("float", "int8")
    }
    return {"segment": segment, "logits": answers["int8"], "float_logits": answers["float"]}


def check_quantization(kind: str, golden: Mapping[str, NDArray[Any]]) -> float:
    """Mean difference in probability. Raises ConfigError beyond the margin."""
    squash = _sigmoid if kind == "gate" else _softmax
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


def release(kind: str, run: Path, figures: Path | None, recipe: Path, data: Path) -> Path:
    """Fill ``models/artifacts/<kind>`` from a run folder; returns the folder."""
    folder = ARTIFACTS / kind
    folder.mkdir(parents=True, exist_ok=True)
    source = run / f"{kind}.int8.onnx"
    model = folder / "model.int8.onnx"
    shutil.copyfile(source, model)
    # The gate runs all night, so it ships in float too, for processors on which that is faster.
    floating = {"float": _float_form(run, folder)} if kind == "gate" else {}
    golden = golden_outputs(kind, run)
    difference = check_quantization(kind, golden)
    np.savez_compressed(folder / artifacts.GOLDEN, **golden)
    manifest = {
        "schema": 1,
        "name": f"{kind}-{datetime.now(UTC):%Y.%m.%d}",
        "kind": kind,
        "file": model.name,
        "sha256": hashlib.sha256(model.read_bytes()).hexdigest(),
        **floating,
        "front_end": fingerprint(),
        "labels": ["cry"] if kind == "gate" else LABELS,
        "decision": json.loads((run / "decision.json").read_text()),
        "bytes": model.stat().st_size,
        "parameters": quantize.parameters_of(run / f"{kind}.float.onnx"),
        "int8_minus_float": round(difference, 5),
        "recipe": recipe.read_text(),
        "data_sha256": corpus.manifest_hash(data),
        "training_clips": "split train, train_ok == 1",
        "validation": json.loads((run / "scores.json").read_text()),
        "figures": json.loads(figures.read_text()) if figures is not None else {},
        "command": f"python -m models.training.release {kind} --run runs/{kind}",
    }
    (folder / artifacts.MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
    (folder / "MODEL_CARD.md").write_text(card(kind, manifest, data))
    return folder


def _float_form(run: Path, folder: Path) -> dict[str, Any]:
    """Copy the unquantized gate beside the quantized one and describe it for the manifest."""
    model = folder / "model.float.onnx"
    shutil.copyfile(run / "gate.float.onnx", model)
    return {"file": model.name, "sha256": hashlib.sha256(model.read_bytes()).hexdigest()}


def card(kind: str, manifest: Mapping[str, Any], data: Path) -> str:
    """The card: what a machine knows, then what people have to say."""
    licences: dict[str, int] = {}
    for clip in corpus.load_manifest(data):
        if clip.split == "train" and clip.train_ok and _taught_by(kind, clip):
            licences[clip.source] = licences.get(clip.source, 0) + 1
    lines = [
        f"# {manifest['name']}",
        "",
        "Written by `models.training.release`; only the last part is by hand.",
        "",
        "| | |",
        "|---|---|",
        f"| file | `{manifest['file']}`, {manifest['bytes']:,} bytes, static int8 |",
        f"| parameters | {manifest['parameters']:,} |",
        f"| SHA-256 | `{manifest['sha256']}` |",
        f"| int8 against float | {manifest['int8_minus_float']:.4f} mean difference in probability |",
        f"| data | manifest `{manifest['data_sha256'][:16]}`, {manifest['training_clips']} |",
        f"| clips by source | {', '.join(f'{source} {n}' for source, n in sorted(licences.items()))} |",
        "",
        "Decision rule (from validation):",
        "",
        "```json",
        json.dumps(manifest["decision"], indent=2),
        "```",
        "",
        "Validation (steps and segments):",
        "",
        "```json",
        json.dumps(manifest["validation"], indent=2),
        "```",
        "",
    ]
    if manifest["figures"]:
        lines += [
            "Measured on the test split:",
            "",
            "```json",
            json.dumps(manifest["figures"], indent=2),
            "```",
            "",
        ]
    return "\n".join(lines) + "\n" + (CARDS / f"{kind}.md").read_text()


def _taught_by(kind: str, clip: corpus.Clip) -> bool:
    return kind == "gate" or clip.source == "donateacry" or clip.label == "cry"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m models.training.release", description=__doc__)
    parser.add_argument("kind", choices=("gate", "cause"))
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--figures", type=Path, help="JSON written by models.training.evaluate")
    parser.add_argument("--data", type=Path)
    options = parser.parse_args()
    recipe = REPOSITORY / "models" / "recipes" / f"{options.kind}.toml"
    folder = release(options.kind, options.run, options.figures, recipe, corpus.data_root(options.data))
    print(f"released {folder.relative_to(REPOSITORY)}")
    if all((ARTIFACTS / kind / artifacts.MANIFEST).is_file() for kind in ("gate", "cause")):
        for result in verify_artifacts(ARTIFACTS):
            print(
                f"golden {result.name} ({result.form}): largest difference {result.difference:.3f} in logits"
            )


if __name__ == "__main__":
    main()
