"""The smoke recipe: from real recordings to a release that the runtime loads, in a minute."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: make install-train")
pytest.importorskip("onnx", reason="onnx is not installed: make install-train")

from models.training import corpus, release  # noqa: E402
from monitor.detect.artifacts import Artifact  # noqa: E402
from monitor.detect.loading import load_pipeline, verify_artifacts  # noqa: E402
from monitor.detect.settings import DetectorSettings  # noqa: E402
from monitor.errors import ConfigError  # noqa: E402

pytestmark = [pytest.mark.train, pytest.mark.timeout(900)]

SMOKE = Path(release.REPOSITORY) / "models" / "recipes" / "smoke" / "release.toml"
FEW = {"cry": 40, "cry_unverified": 20}


@pytest.fixture(scope="module")
def little_data(tmp_path_factory) -> Path:
    """A few real clips of every label: all of them would take a minute to decode."""
    try:
        root = corpus.data_root()
        corpus.pretrained_root()
    except ConfigError as error:
        pytest.skip(f"no public data here: {error}")
    folder = tmp_path_factory.mktemp("data")
    for name in ("audio", "rir", "rir.csv"):
        (folder / name).symlink_to(root / name)
    with (root / "manifest.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    seen: Counter[tuple[str, str]] = Counter()
    chosen = []
    for row in rows:
        key = (row["split"], row["label"])
        if float(row["duration_s"]) < 30.0 and seen[key] < FEW.get(row["label"], 2):
            seen[key] += 1
            chosen.append(row)
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(chosen)
    return folder


@pytest.fixture(scope="module")
def released(little_data, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("run")
    release.main([
        "--recipe", str(SMOKE), "--data", str(little_data), "--cache", str(out / "cache"), "--out", str(out),
        "--artifacts", str(out / "artifacts"), "--jobs", "2",
    ])  # fmt: skip
    return out


def test_smoke_release_answers_as_it_was_released(released):
    results = verify_artifacts(released / "artifacts")
    assert {(r.name.split("-")[0], r.form) for r in results} == {
        ("gate", "int8"), ("gate", "float"), ("verifier", "int8"), ("cause", "int8"),
    }  # fmt: skip


def test_smoke_release_is_a_detector(released):
    pipeline = load_pipeline(DetectorSettings(), released / "artifacts")
    assert pipeline.flush() == []


def test_cards_name_recipe_data_and_limits(released):
    for kind in ("gate", "verifier", "cause"):
        artifact = Artifact(released / "artifacts" / kind, kind)
        card = (artifact.folder / "MODEL_CARD.md").read_text()
        assert artifact.manifest.name in card
        assert artifact.manifest.sha256 in card
        assert "## Limits" in card


def test_second_run_repeats_no_step(released, little_data, capsys):
    release.main([
        "--recipe", str(SMOKE), "--data", str(little_data), "--cache", str(released / "cache"),
        "--out", str(released), "--artifacts", str(released / "again"),
    ])  # fmt: skip
    said = capsys.readouterr().out
    assert said.count("is there") == 5
    assert "0 min of training" in said
    again = json.loads((released / "again" / "verifier" / "manifest.json").read_text())
    assert again["sha256"] == Artifact(released / "artifacts" / "verifier", "verifier").manifest.sha256
