"""Folders of models: manifests of another release, files that do not belong to them, damaged ones."""

from __future__ import annotations

import json
import random
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from typing_extensions import override

from monitor.detect import artifacts
from monitor.detect.loading import load_classifier, load_pipeline, verify_artifacts
from monitor.detect.settings import DetectorSettings
from monitor.errors import ConfigError, ModelError
from monitor.types import SAMPLE_RATE_HZ, Block, SampleIndex
from tests.fuzz.mutate import spoiled, spoiled_json
from tests.fuzz.target import Target

_KINDS = ("gate", "verifier", "cause")
_SETTINGS = DetectorSettings(model_form="int8")


@dataclass(frozen=True)
class Given:
    file: str
    content: bytes


class ManifestTarget(Target):
    """What is said of a model, not the model."""

    name = "model manifests"
    share = 1_000
    limit_s = 30.0
    memory_mb = 1024

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._folder = folder / "artifacts"
        self._released = artifacts.default_folder()
        for kind in _KINDS:
            shutil.copytree(
                self._released / kind, self._folder / kind, ignore=shutil.ignore_patterns("*.png", "*.md")
            )
        rng = np.random.default_rng(1)
        self._noise = rng.integers(-9000, 9000, 2 * SAMPLE_RATE_HZ).astype(np.int16)

    @override
    def make(self, rng: random.Random) -> Given:
        kind = rng.choice(_KINDS)
        tree = json.loads((self._released / kind / artifacts.MANIFEST).read_text())
        # The rest is for people.
        told = {
            name: value for name, value in tree.items() if name not in {"recipe", "validation", "figures"}
        }
        if rng.random() < 0.6:
            told["decision"] = json.loads(spoiled_json_of(told["decision"], rng))
            return Given(f"{kind}/{artifacts.MANIFEST}", json.dumps(told).encode())
        return Given(f"{kind}/{artifacts.MANIFEST}", spoiled_json(told, rng))

    @override
    def feed(self, given: Given) -> str:
        path = self._folder / given.file
        path.write_bytes(given.content)
        try:
            self._use(given)
        except (ModelError, ConfigError) as error:
            return str(error)
        finally:
            shutil.copyfile(self._released / given.file, path)
        return ""

    def _use(self, given: Given) -> None:
        if given.file.startswith("cause/"):
            classifier = load_classifier(self._folder)
            classifier.estimate([classifier.log_posterior(np.zeros((300, 64), np.float32))])
            return
        pipeline = load_pipeline(_SETTINGS, self._folder)
        for output in pipeline.process(Block(SampleIndex(0), self._noise)):
            repr(output)
        pipeline.flush()


def spoiled_json_of(tree: object, rng: random.Random) -> bytes:
    """As ``spoiled_json``, but JSON all the same."""
    while True:
        data = spoiled_json(tree, rng)
        try:
            json.loads(data)
        except (ValueError, RecursionError):
            continue
        return data


class ModelFileTarget(ManifestTarget):
    """Damaged models and golden answers; the hash stands before the library that might crash on them."""

    name = "model files"
    share = 250

    @override
    def make(self, rng: random.Random) -> Given:
        kind = rng.choice(_KINDS)
        name = rng.choice((artifacts.GOLDEN, artifacts.GOLDEN, "model.int8.onnx"))
        data = (self._released / kind / name).read_bytes()
        # Headers and directories of the archive, where spoiling does most.
        head, rest = data[:400], data[400:]
        if rng.random() < 0.5:
            return Given(f"{kind}/{name}", spoiled(head, rng, 3) + rest)
        if rng.random() < 0.5:
            return Given(f"{kind}/{name}", data[:-300] + spoiled(data[-300:], rng, 3))
        return Given(f"{kind}/{name}", spoiled(data, rng, 6))

    @override
    def _use(self, given: Given) -> None:
        verify_artifacts(self._folder)
