"""Measure the detector as it runs: whole nights or single clips through the streaming pipeline.

    python -m models.training.evaluate nights nights/test --yamnet --json nights.json
    python -m models.training.evaluate clips --split test

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
from typing import Any

from rich.console import Console

from models.training import yamnet
from models.training.corpus import data_root, pretrained_root
from models.training.evaluate_clips import evaluate_clips
from models.training.evaluate_nights import Systems, evaluate_nights
from monitor.detect.settings import DetectorSettings
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


def _parsed(key: str, text: str, kind: str) -> bool | int | float:
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
    systems = Systems(
        settings=None if options.only_yamnet else settings_with(options.set),
        artifacts=options.artifacts,
        yamnet=_yamnet(options),
    )
    if options.what == "nights":
        return evaluate_nights(options.folder, systems, options.jobs, console)
    data = data_root(options.data)
    return evaluate_clips(options.split, systems, data, options.cache, options.jobs, console)


def _known(value: Any) -> Any:
    """JSON knows no nan and no infinity: what is not known becomes null."""
    if isinstance(value, dict):
        return {key: _known(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_known(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _yamnet(options: argparse.Namespace) -> Path | None:
    wanted = options.yamnet or options.only_yamnet
    return pretrained_root(options.pretrained) / yamnet.MODEL_FILE if wanted else None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m models.training.evaluate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="what", required=True)
    nights = commands.add_parser("nights", help="synthetic nights with known truth")
    nights.add_argument("folder", type=Path, help="made by python -m models.training.nights")
    clips = commands.add_parser("clips", help="every clip of a split on its own")
    clips.add_argument("--split", choices=("train", "val", "test"), required=True)
    clips.add_argument("--data", type=Path, help="audio data (default: $CRADLEWATCH_DATA)")
    clips.add_argument("--cache", type=Path, default=Path("runs/cache"), help="decoded audio is kept here")
    for command in (nights, clips):
        command.add_argument("--artifacts", type=Path, help="models to measure (default: those that ship)")
        command.add_argument(
            "--set", action="append", default=[], metavar="KEY=VALUE", help="detector setting"
        )
        command.add_argument("--yamnet", action="store_true", help="measure YAMNet by Frigate's rules too")
        command.add_argument("--only-yamnet", action="store_true", help="measure nothing else")
        command.add_argument(
            "--pretrained", type=Path, help="folder with yamnet/ (default: $CRADLEWATCH_PRETRAINED)"
        )
        command.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
        command.add_argument("--json", type=Path, help="write every figure there")
    return parser


if __name__ == "__main__":
    sys.exit(main())
