"""Try what nobody means to send: ``python -m tests.fuzz --inputs 100000 --seed 1``.

Each input follows from the seed, its target and its number, so ``--only configuration --index 4711 --seed 1``
is that one again, in this process, with its traceback. Findings stay in ``--folder``. Exit code 1 when there
is one. Most of the time is spent on waiting for the disk: with $TMPDIR in memory it takes a third.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz.campaign import Outcome, run
from tests.fuzz.target import Target, check_clear
from tests.fuzz.targets import TARGETS

HEAD = ("target", "inputs", "rejected", "accepted", "crashes", "hangs", "slowest ms", "inputs/s")
FORMAT = "{:<20} {:>8} {:>9} {:>9} {:>8} {:>6} {:>11} {:>9}"


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--inputs", type=int, default=100_000, help="in all (100000)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2, help="worker processes at a time (2)")
    parser.add_argument(
        "--only", action="append", metavar="TARGET", help="these targets alone get all inputs"
    )
    parser.add_argument("--index", type=int, help="this input alone, of one --only")
    parser.add_argument("--folder", type=Path, help="where findings stay; not set: a new one")
    given = parser.parse_args()
    kinds = [kind for kind in TARGETS if not given.only or kind.name in given.only]
    if not kinds:
        parser.error(f"there are the targets {', '.join(kind.name for kind in TARGETS)}")
    folder = given.folder or Path(tempfile.mkdtemp(prefix="fuzz-"))
    if given.index is not None:
        return _once(kinds[0], given.seed, given.index, folder)
    began_s = time.monotonic()
    outcomes = run(kinds, spread(kinds, given.inputs), given.seed, folder, given.jobs)
    print_table(outcomes, time.monotonic() - began_s, folder)
    return 1 if any(outcome.kinds for outcome in outcomes) else 0


def spread(kinds: list[type[Target]], inputs: int) -> dict[str, int]:
    """How many inputs each target gets: at least one, by its share."""
    whole = sum(kind.share for kind in kinds)
    return {kind.name: max(1, -(-inputs * kind.share // whole)) for kind in kinds}


def print_table(outcomes: list[Outcome], took_s: float, folder: Path) -> None:
    print(FORMAT.format(*HEAD))
    for outcome in outcomes:
        print(FORMAT.format(*_cells(outcome)))
    whole = Outcome("in all")
    for outcome in outcomes:
        for name in ("inputs", "rejected", "accepted", "crashes", "hangs", "busy_s"):
            setattr(whole, name, getattr(whole, name) + getattr(outcome, name))
        whole.slowest_s = max(whole.slowest_s, outcome.slowest_s)
    print(FORMAT.format(*_cells(whole)))
    print(f"{took_s:.0f} s")
    for outcome in outcomes:
        for kind, indices in sorted(outcome.kinds.items(), key=lambda item: -len(item[1])):
            print(f"FOUND {outcome.name}: {len(indices)} x {kind}; the first is input {indices[0]}")
    if any(outcome.kinds for outcome in outcomes):
        print(f"The inputs are kept in {folder / 'findings'}.")


def _cells(outcome: Outcome) -> tuple[object, ...]:
    rate = f"{outcome.inputs / outcome.busy_s:.0f}" if outcome.busy_s else "-"
    return (
        outcome.name,
        outcome.inputs,
        outcome.rejected,
        outcome.accepted,
        outcome.crashes,
        outcome.hangs,
        f"{1000 * outcome.slowest_s:.0f}",
        rate,
    )


def _once(kind: type[Target], seed: int, index: int, folder: Path) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    target = kind(folder)
    given = target.make(random.Random(f"{seed} {kind.name} {index}"))
    print(repr(given)[:2000])
    print(check_clear(target.feed(given)) or "accepted")
    target.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
