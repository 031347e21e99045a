"""One table of all faults: how soon each was noticed, how it was reported, how soon it was over.

``python -m tests.faults.table [PART OF A NAME ...]``; exit code 1 when one missed its limits.
"""

from __future__ import annotations

import logging
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import structlog

from tests.faults.fault import Fault, Result, measure
from tests.faults.registry import FAULTS, HOUSES, missing


def row(result: Result) -> str:
    fault = result.fault
    noticed = "-" if result.noticed_s is None else f"{result.noticed_s:6.1f}"
    back = "-" if result.back_s is None else f"{result.back_s:6.1f}"
    said = result.failure or result.said
    return f"{fault.name:44} {noticed:>7} {back:>7}  {','.join(result.ways):16} {said[:96]}"


def run(faults: list[Fault]) -> list[Result]:
    """Each fault in a house that was well before; houses are kept from one fault to the next."""
    results = []
    with ExitStack() as stack:
        houses: dict[str, Any] = {}
        for fault in faults:
            if (absent := missing(fault.house)) != "":
                results.append(Result(fault, failure=f"not injected: {absent}"))
                continue
            if fault.house not in houses:
                # One house at a time: the others would share two cores with it.
                stack.close()
                houses = {fault.house: stack.enter_context(HOUSES[fault.house](Path(tempfile.mkdtemp())))}
            results.append(measure(fault, houses[fault.house]))
            print(row(results[-1]), flush=True)
            if not results[-1].ok:
                stack.close()
                houses = {}
    return results


def main(arguments: list[str]) -> int:
    chosen = [fault for fault in FAULTS if not arguments or any(part in fault.name for part in arguments)]
    print(f"{'fault':44} {'noticed':>7} {'over':>7}  {'told by':16} what was said")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    began_s = time.monotonic()
    results = run(chosen)
    failed = [result for result in results if not result.ok]
    print(f"{len(results)} faults in {time.monotonic() - began_s:.0f} s, {len(failed)} missed their limits")
    for result in failed:
        print(f"MISSED {result.fault.name}: {result.failure[-1500:]}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
