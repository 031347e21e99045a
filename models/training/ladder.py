"""A ladder of students: sizes, and what the teacher and more clips are worth.

    python -m models.training.ladder --recipe models/recipes/ladder.toml --nights runs/nights/val --out DIR

Every rung has the same scenes, schedule and seed; it is measured in int8 on the validation scenes and, as
the gate alone, on validation nights. A rung that is there already is not trained again.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np
from rich.console import Console
from rich.table import Table

from models.training import cost, evaluate_forms, gate, night_curves, quantize
from models.training.evaluate_forms import KeptScores
from models.training.gate import Material, Preparation, common_options, preparation
from models.training.teach import Lesson
from monitor.detect.activity import HOP
from monitor.detect.artifacts import GateDecision
from monitor.types import seconds

ALARMS_PER_HOUR: Final = (0.1, 0.5, 1.0)
RULE: Final = GateDecision(
    onset_threshold=0.8, offset_threshold=0.4, onset_hits=4, onset_window_hops=6,
    hang_over_s=5.0, cool_down_s=2.0, smoothing_s=0.0,
)  # fmt: skip
"""The rule whose onset threshold is left free."""
DRAWS: Final = 500


class Ladder:
    """Trains the students of a recipe; those with the same clips share scenes and teacher."""

    def __init__(self, recipe: Mapping[str, Any], prepare: Preparation, out: Path) -> None:
        self._recipe = recipe
        self._prepare = prepare
        self._out = out
        self._taught: dict[bool, tuple[dict[str, Material], dict[str, Lesson]]] = {}

    def rung(self, name: str) -> Path:
        """Train one student unless it is there; returns its run folder."""
        run = self._out / name.replace(", ", "-").replace(" ", "-")
        if not (run / "gate.int8.onnx").is_file():
            run.mkdir(parents=True, exist_ok=True)
            shape = dict(self._recipe["students"][name])
            recipe = {**self._recipe, "student": shape}
            gate.train(recipe, *self._lessons(recipe, every_clip=shape.pop("all_clips", False)), run)
        return run

    def _lessons(
        self, recipe: Mapping[str, Any], *, every_clip: bool
    ) -> tuple[dict[str, Material], dict[str, Lesson]]:
        if every_clip not in self._taught:
            own = recipe["scenes"]
            material = {
                "train": self._prepare.material("train", **own["train"], every_clip=every_clip),
                "val": self._prepare.material("val", **own["val"]),
            }
            self._taught[every_clip] = (material, gate.lessons_of(recipe, material, self._out))
        return self._taught[every_clip]


def measured(
    run: Path, recipe: Mapping[str, Any], prepare: Preparation, nights: list[Path]
) -> dict[str, Any]:
    """What one rung is and does."""
    model = run / "gate.int8.onnx"
    ranking = evaluate_forms.scene_ranking(
        model, prepare.folder("val", **recipe["scenes"]["val"]), prepare.cache / "kept"
    )
    draws = np.random.default_rng(0).multinomial(
        ranking.n_groups, np.full(ranking.n_groups, 1.0 / ranking.n_groups), size=DRAWS
    )
    once = np.ones(ranking.n_groups)
    keep = KeptScores(prepare.cache / "kept", prepare.jobs)
    heard = [one for folder in nights for one in evaluate_forms.gate_night_scores(model, folder, keep)]
    points = evaluate_forms.curve_of(RULE, heard)
    best = {limit: night_curves.best_within(points, limit) for limit in ALARMS_PER_HOUR}
    return {
        "parameters": quantize.parameters_of(run / "gate.float.onnx"),
        "bytes_int8": model.stat().st_size,
        "bytes_float": (run / "gate.float.onnx").stat().st_size,
        "multiply_adds_per_s": round(cost.multiply_adds(run / "gate.float.onnx") / seconds(HOP)),
        "auc": [ranking.auc(once), *np.percentile([ranking.auc(w) for w in draws], (2.5, 97.5))],
        "ap": [ranking.ap(once), *np.percentile([ranking.ap(w) for w in draws], (2.5, 97.5))],
        "at_alarms_per_hour": {
            str(limit): None if point is None else asdict(point) for limit, point in best.items()
        },
    }


def show(rungs: Mapping[str, Mapping[str, Any]], console: Console) -> None:
    """One line a rung."""
    table = Table(title="students, int8, on validation scenes and nights (gate alone, 4 of 6 hops)")
    heads = ("student", "weights", "int8 kB", "M mult-adds/s", "step AUC", "step AP")
    for head in (*heads, *(f"bouts at {limit:g}/h" for limit in ALARMS_PER_HOUR)):
        table.add_column(head)
    for name, one in rungs.items():
        table.add_row(
            name,
            f"{one['parameters']:,}",
            f"{one['bytes_int8'] / 1e3:.0f}",
            f"{one['multiply_adds_per_s'] / 1e6:.2f}",
            *(f"{one[key][0]:.3f} [{one[key][1]:.3f}, {one[key][2]:.3f}]" for key in ("auc", "ap")),
            *(
                "-" if point is None else f"{point['recall']['value']:.2f}"
                for point in one["at_alarms_per_hour"].values()
            ),
        )
    console.print(table)


def main() -> None:
    parser = common_options(__doc__, "python -m models.training.ladder")
    parser.add_argument("--nights", type=Path, nargs="+", required=True)
    options = parser.parse_args()
    recipe, prepare = tomllib.loads(options.recipe.read_text()), preparation(options)
    ladder, rungs = Ladder(recipe, prepare, options.out), dict[str, Any]()
    for name in recipe["students"]:
        rungs[name] = measured(ladder.rung(name), recipe, prepare, options.nights)
        (options.out / "ladder.json").write_text(json.dumps(rungs, indent=2) + "\n")
        show(rungs, Console())


if __name__ == "__main__":
    main()
