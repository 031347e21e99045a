"""Measure the detector: whole nights and single clips through the streaming pipeline, forms of its gate.

    python -m models.training.evaluate nights nights/test nights/quiet --yamnet --mn04 --psds --plots plots
    python -m models.training.evaluate clips --split test
    python -m models.training.evaluate noise --split val
    python -m models.training.evaluate forms --run runs/gate --scenes scenes-val --nights nights/val

``nights``: whole nights through the pipeline as it runs, its rivals on the same audio. ``clips``: each clip
on its own. ``noise``: crying beside steady or cycling noise of any level, with and without the cheap stage.
``forms``: the gate alone in torch, ONNX float and ONNX int8, by the same rule.

Thresholds are the artefacts' own unless ``--set`` changes one, which is for val only.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from rich.console import Console

from models.training.corpus import SPLITS, data_root, load_rooms, pretrained_root
from models.training.evaluate_clips import evaluate_clips
from models.training.evaluate_nights import NightReport, evaluate_nights
from models.training.evaluate_noise import evaluate_noise
from models.training.night_hearing import Systems
from models.training.noise_scenes import CYCLING, STEADY
from monitor.detect.settings import DetectorSettings, ModelForm
from monitor.errors import ConfigError, MonitorError

WIDTH = 200
"""Columns of a table that is not shown on a terminal."""


def settings_with(assignments: Sequence[str]) -> DetectorSettings:
    """The detector's defaults with ``key=value`` changes. Raises ConfigError naming key and value."""
    kinds = {field.name: str(field.type) for field in dataclasses.fields(DetectorSettings)}
    changes: dict[str, Any] = {}
    for assignment in assignments:
        key, _, text = assignment.partition("=")
        if key not in kinds:
            raise ConfigError(f"--set {assignment}: no such setting.", f"There are {', '.join(kinds)}.")
        changes[key] = _parsed(key, text, kinds[key])
    return dataclasses.replace(DetectorSettings(), **changes)


def _parsed(key: str, text: str, kind: str) -> bool | int | float | str:
    if kind == "ModelForm":
        if text not in get_args(ModelForm):
            raise ConfigError(f"--set {key}={text}: no such form.", "Write auto, int8 or float.")
        return text
    if kind == "bool":
        if text not in ("true", "false"):
            raise ConfigError(f"--set {key}={text}: not a truth value.", "Write true or false.")
        return text == "true"
    try:
        return int(text) if kind.startswith("int") else float(text)
    except ValueError as error:
        raise ConfigError(f"--set {key}={text}: not a number.", f"{key} is of type {kind}.") from error


def main(argv: Sequence[str] | None = None) -> int:
    arguments = sys.argv[1:] if argv is None else list(argv)
    options = _parser().parse_args(arguments)
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    command = f"python -m models.training.evaluate {shlex.join(arguments)}"
    console.print(command, soft_wrap=True, markup=False, highlight=False)
    try:
        result = _evaluate(options, console) | {"command": command}
        if options.json is not None:
            options.json.write_text(json.dumps(_known(result), indent=1, allow_nan=False) + "\n")
    except MonitorError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


def _evaluate(options: argparse.Namespace, console: Console) -> dict[str, Any]:
    if options.what == "forms":
        # torch, only when its form is measured
        from models.training.evaluate_forms import KeptScores, evaluate_forms  # noqa: PLC0415

        kept_in = KeptScores(options.cache, options.jobs)
        return evaluate_forms(options.run, options.scenes, options.nights, options.decision, kept_in, console)
    if options.what == "noise":
        own = Systems(settings_with(options.set), options.artifacts)
        data, noises, hours = data_root(options.data), options.noises, options.hours
        return evaluate_noise(
            options.split, own, data, options.cache, options.jobs, console, noises=noises, hours=hours
        )
    rivals = options.yamnet or options.mn04
    systems = Systems(
        settings=None if options.only_rivals else settings_with(options.set),
        artifacts=options.artifacts,
        yamnet=options.yamnet,
        mn04=options.mn04,
        pretrained=pretrained_root(options.pretrained) if rivals else None,
        cache=options.cache,
    )
    if options.only_rivals and not rivals:
        raise ConfigError("--only-rivals leaves nothing to measure.", "Add --yamnet or --mn04.")
    if options.what == "clips":
        data = data_root(options.data)
        return evaluate_clips(options.split, systems, data, options.cache, options.jobs, console)
    report = NightReport(_rt60(options.data), options.psds, options.thresholds_from)
    result = evaluate_nights(options.folders, systems, report, options.jobs, console)
    if options.plots is not None:
        from models.training import plots  # noqa: PLC0415  # matplotlib, only when asked for

        for path in plots.draw_nights(_known(result), options.plots):
            console.print(f"drew {path}", soft_wrap=True, highlight=False)
    return result


def _rt60(data: Path | None) -> dict[str, float | None] | None:
    """Reverberation time by room; None when no data folder is there and none was named."""
    try:
        root = data_root(data)
    except ConfigError:
        if data is not None:
            raise
        return None
    return {room.name: room.rt60_s for split in SPLITS for room in load_rooms(root, split)}


def _known(value: Any) -> Any:
    """JSON knows no nan and no infinity: what is not known becomes null."""
    if isinstance(value, dict):
        return {key: _known(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_known(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m models.training.evaluate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="what", required=True)
    nights = commands.add_parser("nights", help="synthetic nights with known truth")
    nights.add_argument("folders", type=Path, nargs="+", help="made by python -m models.training.nights")
    nights.add_argument("--psds", action="store_true", help="PSDS too, by sed_scores_eval")
    nights.add_argument("--plots", type=Path, help="draw the curves into this folder")
    nights.add_argument(
        "--thresholds-from", type=Path, metavar="JSON", help="read thresholds chosen on other nights"
    )
    nights.add_argument("--cache", type=Path, help="what the rivals said is kept here")
    clips = commands.add_parser("clips", help="every clip of a split on its own")
    noise = commands.add_parser("noise", help="crying beside steady or cycling noise")
    noise.add_argument("--noises", nargs="+", choices=(*STEADY, *CYCLING), default=STEADY)
    noise.add_argument("--hours", type=float, default=0.0, help="long nights of each noise instead of scenes")
    for command in (clips, noise):
        command.add_argument("--split", choices=SPLITS, required=True)
        command.add_argument(
            "--cache", type=Path, default=Path("runs/cache"), help="decoded audio is kept here"
        )
    for command in (nights, clips, noise):
        command.add_argument("--data", type=Path, help="audio data (default: $CRADLEWATCH_DATA)")
        command.add_argument("--artifacts", type=Path, help="models to measure (default: those that ship)")
        command.add_argument(
            "--set", action="append", default=[], metavar="KEY=VALUE", help="detector setting"
        )
    for command in (nights, clips):
        command.add_argument("--yamnet", action="store_true", help="measure YAMNet by Frigate's rules too")
        command.add_argument("--mn04", action="store_true", help="measure the AudioSet model mn04 too")
        command.add_argument("--only-rivals", action="store_true", help="leave our detector out")
        command.add_argument(
            "--pretrained", type=Path, help="the rivals' weights (default: $CRADLEWATCH_PRETRAINED)"
        )
    forms = commands.add_parser("forms", help="the gate's forms: torch, ONNX float, ONNX int8")
    forms.add_argument("--run", type=Path, required=True, help="folder with gate.pt and gate.*.onnx")
    forms.add_argument("--scenes", type=Path, help="validation scenes, for AUC and AP over steps")
    forms.add_argument("--nights", type=Path, nargs="*", default=[], help="nights, for the decision rule")
    forms.add_argument("--decision", type=Path, help="rule (default: decision.json of the run)")
    forms.add_argument("--cache", type=Path, help="what the forms said is kept here")
    for command in (nights, clips, noise, forms):
        command.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
        command.add_argument("--json", type=Path, help="write every figure there")
    return parser


if __name__ == "__main__":
    sys.exit(main())
