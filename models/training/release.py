"""From public data to released artefacts, in one command.

    python -m models.training.release --recipe models/recipes/release.toml --out runs/release

Each step leaves its result in ``--out`` and is passed over when that is there: delete a folder to repeat a
step. ``--figures`` takes a JSON of results on the test split into the cards.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from models.training import artefact, card, cause, corpus, gate, nights, tune, verifier
from models.training.gate import Preparation, common_options, preparation
from models.training.night_maker import NightRecipe
from monitor.detect.artifacts import Kind
from monitor.detect.loading import verify_artifacts

REPOSITORY = Path(__file__).resolve().parents[2]
ARTIFACTS = REPOSITORY / "models" / "artifacts"


@dataclass
class Steps:
    """Runs steps once, and says how long each took."""

    console: Console
    taken: dict[str, float] = field(default_factory=dict)

    def once(self, name: str, result: Path, make: Callable[[], object]) -> None:
        """Call ``make`` unless ``result`` is there already."""
        if result.exists():
            self.console.print(f"{name}: {result} is there", soft_wrap=True)
            return
        begun = time.monotonic()
        make()
        self.taken[name] = time.monotonic() - begun
        self.console.print(f"{name}: {self.taken[name] / 60.0:.1f} min")


@dataclass(frozen=True)
class Plan:
    """A release recipe: the recipes it names, as they are and as text, and its own numbers."""

    recipes: dict[str, dict[str, Any]]
    texts: dict[str, str]
    nights: tuple[NightRecipe, ...]
    false_alarms: float

    @classmethod
    def read(cls, path: Path) -> Plan:
        """Read a recipe; those that it names lie beside it."""
        plan = tomllib.loads(path.read_text())
        texts = {kind: (path.parent / plan[kind]).read_text() for kind in ("gate", "verifier", "cause")}
        recipes = {kind: tomllib.loads(text) for kind, text in texts.items()}
        night_recipes = tuple(NightRecipe("val", **own) for own in plan["nights"])
        return cls(recipes, texts, night_recipes, plan["tune"]["false_alarms"])


def train(plan: Plan, prepare: Preparation, out: Path, steps: Steps) -> None:
    """All three networks and the decision rule."""
    runs = {kind: out / kind for kind in plan.recipes}
    folders = [out / f"nights-{own.hours}-{own.seed}" for own in plan.nights]

    def choose() -> None:
        chosen, _ = tune.choose(
            runs["gate"], runs["verifier"], folders, false_alarms=plan.false_alarms, jobs=prepare.jobs
        )
        tune.write(chosen, runs["gate"] / "decision.json")

    steps.once(
        "gate",
        runs["gate"] / "gate.int8.onnx",
        lambda: gate.run(plan.recipes["gate"], prepare, runs["gate"]),
    )
    steps.once(
        "verifier",
        runs["verifier"] / "decision.json",
        lambda: verifier.run(plan.recipes["verifier"], prepare, runs["gate"], runs["verifier"]),
    )
    for own, folder in zip(plan.nights, folders, strict=True):
        steps.once(
            folder.name,
            folder / "nights.json",
            partial(nights.write_nights, own, prepare.data, prepare.cache, folder),
        )
    steps.once("decision rule", runs["gate"] / "decision.json", choose)
    steps.once(
        "cause",
        runs["cause"] / "cause.int8.onnx",
        lambda: cause.run(plan.recipes["cause"], prepare, runs["cause"]),
    )


def fill(plan: Plan, prepare: Preparation, out: Path, target: Path, figures: Mapping[str, Any]) -> None:
    """Write the artefacts and their cards."""
    clips, data_sha256 = corpus.load_manifest(prepare.data), corpus.manifest_hash(prepare.data)
    kinds: tuple[Kind, ...] = ("gate", "verifier", "cause")
    for kind in kinds:
        run = artefact.Run(kind, out / kind, plan.texts[kind], data_sha256)
        manifest = artefact.fill(target, run, figures.get(kind, {}))
        for picture in (out / "plots" / kind).glob("*.png"):
            shutil.copyfile(picture, target / kind / picture.name)
        card.write(target / kind, manifest, clips)


def main(arguments: list[str] | None = None) -> None:
    parser: argparse.ArgumentParser = common_options(__doc__, "python -m models.training.release")
    parser.add_argument("--artifacts", type=Path, default=ARTIFACTS, help="where the release goes")
    parser.add_argument("--figures", type=Path, help="test figures for the cards, by kind of model")
    options = parser.parse_args(arguments)
    console, prepare, plan = Console(), preparation(options), Plan.read(options.recipe)
    steps = Steps(console)
    train(plan, prepare, options.out, steps)
    figures = {} if options.figures is None else json.loads(options.figures.read_text())
    fill(plan, prepare, options.out, options.artifacts, figures)
    for result in verify_artifacts(options.artifacts):
        console.print(f"golden {result.name} ({result.form}): {result.difference:.3f} off in logits at most")
    console.print(f"released {options.artifacts}; {sum(steps.taken.values()) / 60.0:.0f} min of training")


if __name__ == "__main__":
    main()
