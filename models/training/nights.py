"""Synthetic nights: hours of audio from one split of which the truth is known to the frame.

    python -m models.training.nights --split test --hours 24 --seed 1 --out nights/test
    python -m models.training.nights --split test --hours 8 --seed 101 --no-cries --out nights/quiet

An hour is a background (a quiet room's floor, a noise machine, or recordings looped) that changes now and
then, bouts of crying of one baby each, and distractors of every other label, each in a room of the same
split, heard through one microphone. Hour ``i`` depends on the seed, the split and ``i`` alone, so a longer
set begins with the shorter one. ``--no-cries`` leaves the crying out: whatever is raised in such hours is a
false alarm. Beside each ``hour-000.flac`` stands ``hour-000.jsonl`` with the truth.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Final

import soundfile

from models.training.corpus import AudioStore, data_root, load_manifest, load_rooms, manifest_hash
from models.training.night_maker import NightMaker, NightRecipe
from monitor.errors import MonitorError
from monitor.types import SAMPLE_RATE_HZ

RECIPE_VERSION: Final = 1
"""Raise it when the same seed gives other audio."""


def write_nights(recipe: NightRecipe, data: Path, cache: Path, out: Path) -> None:
    """Write all hours, their truth and ``nights.json``."""
    out.mkdir(parents=True, exist_ok=True)
    maker = NightMaker(recipe, load_manifest(data), AudioStore(data, cache), load_rooms(data, recipe.split))
    files = []
    for index in range(recipe.hours):
        track, truth = maker.hour(index)
        name = f"hour-{index:03d}"
        soundfile.write(out / f"{name}.flac", track, SAMPLE_RATE_HZ, subtype="PCM_16")
        (out / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in truth))
        files.append(name)
        print(f"{name}: {sum(line['type'] == 'bout' for line in truth)} bouts", flush=True)
    # Last: a folder with nights.json is whole.
    (out / "nights.json").write_text(
        json.dumps(
            {
                "recipe_version": RECIPE_VERSION,
                "recipe": asdict(recipe),
                "data_sha256": manifest_hash(data),
                "hours": files,
            },
            indent=2,
        )
        + "\n"
    )


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m models.training.nights",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--split", choices=("val", "test"), required=True)
    parser.add_argument("--hours", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--distractors-per-hour", type=int, default=60)
    parser.add_argument("--no-cries", action="store_true", help="distractors only, to count false alarms")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", type=Path, help="audio data (default: $CRADLEWATCH_DATA)")
    parser.add_argument("--cache", type=Path, default=Path("runs/cache"), help="decoded audio is kept here")
    options = parser.parse_args(argv)
    arguments = sys.argv[1:] if argv is None else argv
    print(f"python -m models.training.nights {shlex.join(arguments)}")
    recipe = NightRecipe(
        options.split, options.hours, options.seed, distractors_per_hour=options.distractors_per_hour
    )
    if options.no_cries:
        recipe = replace(recipe, bouts_per_hour=0)
    try:
        write_nights(recipe, data_root(options.data), options.cache, options.out)
    except MonitorError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
