"""One table of all faults: how soon each was noticed and over, and how soon a cry meanwhile reached somebody.

``python -m tests.faults.table [--markdown FILE] [--json FILE] [--shuffle SEED] [PART OF A NAME ...]``; exit
code 1 when a cell missed its limit. What cannot be injected here is named, with the reason.
"""

from __future__ import annotations

import argparse
import json
import logging
import platform
import random
import re
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import structlog

from tests.faults.cry import WAYS
from tests.faults.fault import BACK_WITHIN_S, LATER_S, NOTICED_WITHIN_S, Fault, Result
from tests.faults.household import SOUNDER_AFTER_S
from tests.faults.registry import FAULTS, HOUSES, missing
from tests.faults.street import Street

EXPLAINED: Final = f"""\
# Faults, and whether a cry still arrives

Made by `make faults FAULTS='--markdown docs/faults.md'`; do not edit. Each fault was injected for real into
the running program, and while it was there the baby cried.

- *noticed*, *over*: seconds from the fault until hub or status said so, and from its end until all was well.
  Without a note below, the limits are {NOTICED_WITHIN_S:g} s and {BACK_WITHIN_S:g} s.
- *mqtt*, *push*, *speaker*: seconds from the first sound of the cry until the hub, the phone and the speaker
  of last resort had it. The limit is the row *no fault* plus {LATER_S:g} s. The speaker is set to sound when
  neither hub nor phone has confirmed for {SOUNDER_AFTER_S:g} s; here both are kept from it until then.
- *cut*: this very fault cuts that way, and another one delivered.
- *deaf*: this very fault keeps the cry from being heard; the seconds are those from the fault until somebody
  was told that nobody listens.
- *harmless*: nothing has to be said.
"""
HEAD: Final = ("fault", "noticed", "over", *WAYS, "what was said, or missed")

LONGEST_CELL: Final = 140


def cells(result: Result) -> tuple[str, ...]:
    fault = result.fault
    said = result.failure or result.said or result.absent
    if result.absent:
        return (fault.name, *("-" for _ in range(2 + len(WAYS))), f"not injected: {result.absent}")
    return (
        fault.name,
        _seconds(result.noticed_s) if fault.reason else "harmless",
        _seconds(result.back_s),
        *(_delivery(result, way) for way in WAYS),
        said if result.ok else f"MISSED: {said}",
    )


def _delivery(result: Result, way: str) -> str:
    fault, took_s = result.fault, result.delivered.get(way)
    if fault.deaf:
        return "deaf" if took_s is None else f"deaf {took_s:.1f}"
    if way in fault.cuts:
        return "cut"  # what arrives and is refused is not delivered
    return _seconds(took_s)


def _seconds(value_s: float | None) -> str:
    return "-" if value_s is None else f"{value_s:.1f}"


def line(row: tuple[str, ...]) -> str:
    name, noticed, over, mqtt, push, speaker, said = row
    return f"{name:50.50} {noticed:>8} {over:>6} {mqtt:>9} {push:>9} {speaker:>9}  {said[:90]}"


def run(faults: list[Fault]) -> Iterator[Result]:
    """Each fault in a house that was well before; before the first in a kind of house, no fault."""
    street = Street()
    try:
        for fault in faults:
            if (absent := missing(fault.house) or fault.missing()) != "":
                yield Result(fault, absent=absent)
                continue
            known = set(street.undisturbed)
            result = street.measure(fault, Path(tempfile.mkdtemp()))
            yield from (street.undisturbed[kind] for kind in street.undisturbed.keys() - known)
            yield result
    finally:
        street.leave()


def markdown(results: list[Result], took_s: float) -> str:
    missed = sum(not result.ok for result in results)
    rows = ["| " + " | ".join(_plain(cell) for cell in cells(result)) + " |" for result in results]
    notes = [
        f"- **{_plain(result.fault.name)}**: {note}." for result in results for note in _notes(result.fault)
    ]
    return "\n".join(
        [
            EXPLAINED,
            "| " + " | ".join(HEAD) + " |",
            "|---|--:|--:|--:|--:|--:|---|",
            *rows,
            "",
            f"{len(results)} rows in {took_s:.0f} s, {missed} missed a limit.",
            "",
            "## Why limits are what they are, and why ways are cut",
            "",
            *notes,
            "",
        ]
    )


def _notes(fault: Fault) -> Iterator[str]:
    if fault.why:
        within = f"noticed within {fault.noticed_within_s:g} s"
        over = (
            ""
            if fault.back_within_s is None or fault.lift is None
            else f", over within {fault.back_within_s:g} s"
        )
        yield f"{within}{over}, because {fault.why}"
    if fault.deaf:
        yield f"no cry is heard, because {fault.deaf}"
    if fault.later_s:
        yield f"the cry may be {fault.later_s:g} s later, because {fault.later_why}"
    for way, why in fault.cuts.items():
        yield f"{way} is cut, because {why}"


def _plain(cell: str) -> str:
    """On one line of a table, not endless, and without what is this machine's alone."""
    ours = re.sub(rf"{re.escape(tempfile.gettempdir())}/[^\s:]*/", "", cell)
    words = " ".join(ours.replace(f"{platform.node()} ", "host ").split())
    short = words if len(words) <= LONGEST_CELL else f"{words[:LONGEST_CELL]}…"
    return short.replace("|", "\\|")


def record(result: Result) -> Mapping[str, Any]:
    fault = result.fault
    return {
        "fault": fault.name,
        "house": fault.house,
        "ok": result.ok,
        "absent": result.absent,
        "noticed_s": result.noticed_s,
        "noticed_within_s": fault.noticed_within_s,
        "over_s": result.back_s,
        "over_within_s": fault.back_within_s,
        "delivered_s": dict(result.delivered),
        "deaf": fault.deaf,
        "cuts": dict(fault.cuts),
        "why": list(_notes(fault)),
        "told_by": list(result.ways),
        "said": result.said,
        "missed": list(result.failures),
    }


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.table", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help="of the names of faults; without, all")
    parser.add_argument("--markdown", type=Path, metavar="FILE")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--shuffle", type=int, metavar="SEED", help="another order of faults in each house")
    options = parser.parse_args(arguments)
    parts = options.parts
    chosen = [fault for fault in FAULTS if not parts or any(part in fault.name for part in parts)]
    if options.shuffle is not None:
        random.Random(options.shuffle).shuffle(chosen)
        chosen.sort(key=lambda fault: list(HOUSES).index(fault.house))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # or the houses would be left standing
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    print(line(HEAD))
    began_s = time.monotonic()
    results = []
    for result in run(chosen):
        results.append(result)
        print(line(cells(result)), flush=True)
    took_s = time.monotonic() - began_s
    failed = [result for result in results if not result.ok]
    print(f"{len(results)} rows in {took_s:.0f} s, {len(failed)} missed a limit")
    for result in results:
        if result.absent:
            print(f"NOT INJECTED {result.fault.name}: {result.absent}")
    for result in failed:
        print(f"MISSED {result.fault.name}: {result.failure[-1500:]}")
    if options.markdown is not None:
        options.markdown.parent.mkdir(parents=True, exist_ok=True)
        options.markdown.write_text(markdown(results, took_s), encoding="utf-8")
    if options.json is not None:
        options.json.write_text(
            json.dumps([record(result) for result in results], indent=1) + "\n", encoding="utf-8"
        )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
