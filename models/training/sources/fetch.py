"""Fetch public copies: git repositories at a commit, Debian packages by version.

A place is complete when its folder exists: work happens in a folder beside it, which is moved there in
one step and thrown away when a run was interrupted.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from models.training.sources.origins import Debian, Git
from monitor.errors import MonitorError

NO_QUESTIONS: Final = {"GIT_TERMINAL_PROMPT": "0", "GIT_LFS_SKIP_SMUDGE": "1"}
"""A repository that is gone makes git ask for a password."""


class SourceError(MonitorError):
    """A public copy cannot be had, or does not hold what the catalogue says."""


def fetch(place: Git | Debian, downloads: Path, host: str) -> Path:
    """The folder with the files of ``place``, downloaded when it is not there yet. Raises SourceError."""
    folder = downloads / place.folder
    if folder.is_dir():
        return folder
    unfinished = downloads / f"{place.folder}.part"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    if isinstance(place, Git):
        _clone(place, unfinished, host)
    else:
        _unpack(_deb_file(place, downloads), unfinished)
    unfinished.rename(folder)
    return folder


def _clone(place: Git, folder: Path, host: str) -> None:
    """Check out one commit.

    A clone without file contents rather than a shallow fetch: servers give single commits only by the
    full hash, and some are known here by their first digits. Contents follow for the commit alone.
    """
    url = f"{host.rstrip('/')}/{place.repository}"
    git = ["git", "-C", str(folder)]
    _run(
        ["git", "clone", "--quiet", "--filter=blob:none", "--no-checkout", url, str(folder)],
        f"{url} cannot be cloned",
        f"Check the network, or put its files into the downloads folder as {place.folder}/.",
    )
    _run(
        [*git, "rev-parse", "--quiet", "--verify", f"{place.commit}^{{commit}}"],
        f"{url} has no commit {place.commit}",
        "Its history was rewritten; look for another copy of the data set.",
    )
    if place.sparse:
        _run([*git, "sparse-checkout", "set", "--no-cone", *place.sparse], f"{url}: sparse checkout failed")
    _run(
        [*git, "checkout", "--quiet", "--detach", place.commit],
        f"{url} cannot be checked out at {place.commit}",
        "Run again: what is complete is not fetched twice.",
    )


def _deb_file(place: Debian, downloads: Path) -> Path:
    there = sorted(downloads.glob(f"{place.package}_*.deb"))
    if not there:
        _run(
            ["apt-get", "download", f"{place.package}={place.version}"],
            f"{place} cannot be downloaded",
            f"Put {place.package}_*.deb (Debian 12, or snapshot.debian.org) into the downloads folder.",
            cwd=downloads,
        )
        there = sorted(downloads.glob(f"{place.package}_*.deb"))
    if not there:
        raise SourceError(f"apt-get brought no {place.package}_*.deb.", "Put it into the downloads folder.")
    return there[-1]


def _unpack(deb: Path, folder: Path) -> None:
    _run(["dpkg-deb", "-x", str(deb), str(folder)], f"{deb} cannot be unpacked", "Delete it and run again.")


def _run(command: Sequence[str], what: str, remedy: str = "", *, cwd: Path | None = None) -> None:
    """Run a program; SourceError with its last line when it fails or is not installed."""
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            env=os.environ | NO_QUESTIONS,
        )
    except FileNotFoundError as error:
        package = "dpkg" if command[0].startswith("dpkg") else command[0]
        raise SourceError(
            f"{what}: {command[0]} is not installed.", f"Install {package}. {remedy}"
        ) from error
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()]
        raise SourceError(f"{what}: {said[-1].strip().rstrip('.') if said else 'no reason given'}.", remedy)
