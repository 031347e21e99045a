"""The README's two commands in clean Debians, as one who has just cloned the repository: make test-fresh.

    python -m tests.fresh                       # trixie as an ordinary user, bookworm as root
    python -m tests.fresh --all                 # each Debian as each user
    python -m tests.fresh trixie:su             # root with the environment of the ordinary user kept
    python -m tests.fresh --why-not             # prints why it cannot be done here; nothing where it can

Each cell is a root of its own: debootstrap's smallest Debian with git, make, sudo and certificates, and a
clone of HEAD, uncommitted changes left out. Two run at a time. There is no audio data in it, no torch and no
sound card, so what needs those skips there, as it does for the person. The output of each is in
build/fresh/CELL.log; where a command failed its last lines are printed too, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.fresh import debian

BUILD: Final = debian.ROOT / "build" / "fresh"
SUITES: Final = ("bookworm", "trixie")
USERS: Final = (debian.USER, "root", "su")
DEFAULT: Final = (f"trixie:{debian.USER}", "bookworm:root")
"""The newest as most people come to it, the oldest as the other kind of user."""
AT_A_TIME: Final = 2
COMMAND_S: Final = 1500
"""When a command counts as hanging."""
LAST_LINES: Final = 60
VERDICT: Final = re.compile(
    r"^(?:=+ )?(\d+ (?:passed|failed|skipped|errors?)\b.*?|PASSED: .*?)(?: =+)?$", re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class Ran:
    """A command, and what came of it. ``verdict`` is its own last word on that."""

    command: str
    status: int
    seconds: float
    verdict: str


def commands(readme: str) -> list[str]:
    """The commands under the README's heading "Two commands", as they are copied and pasted."""
    _, _, rest = readme.partition("\n## Two commands\n")
    section = rest.partition("\n## ")[0]
    found = re.findall(r"^ {4}(make .*?)\s*(?:#.*)?$", section, re.MULTILINE)
    assert len(found) == 2, f"the README has {len(found)} commands under 'Two commands'"
    return found


def cell(name: str) -> tuple[str, str]:
    """``trixie:root`` is Debian trixie as root."""
    suite, _, user = name.partition(":")
    if user not in USERS or not suite.isalpha():
        raise argparse.ArgumentTypeError(f"{name}: write a Debian and one of {', '.join(USERS)}: trixie:root")
    return suite, user


def tried(suite: str, user: str, readme: str) -> list[Ran]:
    """Run each command in a root of its own until one fails."""
    root = BUILD / f"{suite}-{user}"
    log = BUILD / f"{suite}-{user}.log"
    log.unlink(missing_ok=True)
    debian.person_in(debian.base(suite, BUILD / "base"), root)
    try:
        ran: list[Ran] = []
        for command in commands(readme):
            ran.append(_run(root, user, command, log))
            if ran[-1].status:
                break
        return ran
    finally:
        shutil.rmtree(root)


def _run(root: Path, user: str, command: str, log: Path) -> Ran:
    began = time.monotonic()
    with log.open("a", encoding="utf-8") as output:
        output.write(f"$ {command}\n")
        output.flush()
        before = output.tell()
        try:
            done = subprocess.run(
                debian.enter(root, user, command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=COMMAND_S,
                check=False,
            )
            status = done.returncode
        except subprocess.TimeoutExpired:
            output.write(f"Not done within {COMMAND_S} s.\n")
            status = 124
    said = log.read_bytes()[before:].decode("utf-8", "replace")
    verdicts = VERDICT.findall(said)
    return Ran(command, status, time.monotonic() - began, verdicts[-1] if verdicts else "")


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fresh", description=__doc__.splitlines()[0])
    known = f"default: {' '.join(DEFAULT)}"
    parser.add_argument("cells", nargs="*", type=cell, metavar="DEBIAN:USER", help=known)
    parser.add_argument("--all", action="store_true", help="each Debian as each user")
    parser.add_argument("--why-not", action="store_true", help="say why this cannot be done here, and end")
    arguments = parser.parse_args(words)
    reason = debian.lacking()
    if arguments.why_not or reason:
        print(reason)
        return int(bool(reason) and not arguments.why_not)
    cells = arguments.cells or [cell(name) for name in DEFAULT]
    if arguments.all:
        cells = [(suite, user) for suite in SUITES for user in USERS]
    readme = (debian.ROOT / "README.md").read_text(encoding="utf-8")
    for suite in dict.fromkeys(suite for suite, _ in cells):
        debian.base(suite, BUILD / "base")  # not by two at once
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        results = list(pool.map(lambda one: tried(*one, readme), cells))
    for (suite, user), ran in zip(cells, results, strict=True):
        for one in ran:
            word = "failed" if one.status else "ok"
            print(f"{suite} as {user}: {one.command}: {word} in {one.seconds:.0f} s. {one.verdict}")
        if ran[-1].status:
            log = (BUILD / f"{suite}-{user}.log").read_text(encoding="utf-8", errors="replace")
            print(*log.splitlines()[-LAST_LINES:], sep="\n")
    return int(any(ran[-1].status for ran in results))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except debian.FreshError as error:
        sys.exit(str(error))
