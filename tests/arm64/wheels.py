"""The wheels that a 64-bit Raspberry Pi OS would take, fetched and unpacked from any other machine.

    python -m tests.arm64.wheels fetch --suite bookworm --to FOLDER requirements.lock ...
    python -m tests.arm64.wheels install --suite bookworm --to FOLDER WHEEL ...

pip can choose for another platform and another Python, but judges the conditions of a lock ("numpy==2.4.6 ;
python_full_version < '3.12'") by its own. So they are judged here, and pip gets a lock without any.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

ROOT: Final = Path(__file__).parents[2]
LOCKS: Final = (ROOT / "requirements.lock", ROOT / "requirements-full.lock")
OLDEST_GLIBC: Final = 17
"""Wheels for aarch64 begin with glibc 2.17, known as manylinux2014 too."""


@dataclass(frozen=True, slots=True)
class Target:
    """A Debian for arm64. ``glibc`` is the second number of its C library's version."""

    suite: str
    python: str
    glibc: int

    def environment(self) -> dict[str, str]:
        """What the conditions of a lock are judged by."""
        own = {name: str(value) for name, value in default_environment().items()}
        return own | {
            "implementation_name": "cpython",
            "implementation_version": f"{self.python}.0",
            "os_name": "posix",
            "platform_machine": "aarch64",
            "platform_python_implementation": "CPython",
            "platform_system": "Linux",
            "python_full_version": f"{self.python}.0",
            "python_version": self.python,
            "sys_platform": "linux",
            "extra": "",
        }

    def options(self) -> list[str]:
        """What makes pip choose as the pip over there would, and refuse whatever needs a compiler."""
        tags = [f"manylinux_2_{minor}_aarch64" for minor in range(self.glibc, OLDEST_GLIBC - 1, -1)]
        options = ["--only-binary=:all:", "--implementation=cp", f"--python-version={self.python}"]
        return [*options, *(f"--platform={tag}" for tag in (*tags, "manylinux2014_aarch64", "linux_aarch64"))]


TARGETS: Final = {
    target.suite: target
    for target in (Target("bookworm", "3.11", glibc=36), Target("trixie", "3.13", glibc=41))
}


@dataclass(frozen=True, slots=True)
class Locked:
    """One entry of a lock that holds for a target."""

    name: str
    version: str
    hashes: tuple[str, ...]

    def line(self) -> str:
        return " ".join([f"{self.name}=={self.version}", *(f"--hash={value}" for value in self.hashes)])


def locked(text: str, target: Target) -> list[Locked]:
    """What a lock asks for on ``target``."""
    found = []
    for entry in re.split(r"\n(?=\S)", text.strip()):
        requirement = Requirement(entry.splitlines()[0].rstrip("\\ "))
        if requirement.marker and not requirement.marker.evaluate(target.environment()):
            continue
        [pin] = requirement.specifier
        hashes = tuple(re.findall(r"--hash=(sha256:[0-9a-f]{64})", entry))
        found.append(Locked(canonicalize_name(requirement.name), pin.version, hashes))
    return found


def wanted(target: Target, locks: Iterable[Path] = LOCKS) -> list[Locked]:
    """What all ``locks`` ask for together. Raises ValueError where two disagree."""
    found: dict[str, Locked] = {}
    for entry in (entry for lock in locks for entry in locked(lock.read_text(), target)):
        if found.setdefault(entry.name, entry) != entry:
            raise ValueError(
                f"{entry.name}: the locks disagree ({found[entry.name].version}, {entry.version})"
            )
    return sorted(found.values(), key=lambda entry: entry.name)


def fetch(target: Target, folder: Path, locks: Iterable[Path] = LOCKS) -> None:
    """Fill ``folder`` with the wheels of ``locks`` and nothing else. What lies there whole is kept."""
    entries = wanted(target, locks)
    folder.mkdir(parents=True, exist_ok=True)
    hashes = {(entry.name, entry.version): entry.hashes for entry in entries}
    for file in folder.iterdir():
        if file.suffix != ".whl" or _hash(file) not in hashes.get(_pin(file), ()):
            file.unlink()
    missing = hashes.keys() - {_pin(file) for file in folder.iterdir()}
    if not missing:
        return
    with tempfile.NamedTemporaryFile("w", suffix=".lock") as lock:
        lock.write(
            "".join(f"{entry.line()}\n" for entry in entries if (entry.name, entry.version) in missing)
        )
        lock.flush()
        asked = ["--no-deps", "--require-hashes", *target.options(), "--dest", str(folder), "-r", lock.name]
        _pip("download", *asked)


def install(target: Target, folder: Path, wheels: Sequence[Path]) -> None:
    """Unpack ``wheels`` into ``folder`` as the pip of ``target`` would. Nothing is asked of an index."""
    files = [str(wheel) for wheel in wheels]
    # That a wheel is for this Python was judged by download; install would ask the Python that runs pip.
    alone = ["--no-index", "--no-deps", "--no-compile", "--ignore-requires-python"]
    _pip("install", *alone, *target.options(), "--target", str(folder), *files)


def _pin(wheel: Path) -> tuple[str, str]:
    name, version, _, _ = parse_wheel_filename(wheel.name)
    return name, str(version)


def _hash(file: Path) -> str:
    with file.open("rb") as stream:
        return f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"


def _pip(command: str, *options: str) -> None:
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", command]
    subprocess.run([*pip, *options], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.arm64.wheels", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("command", choices=["fetch", "install"])
    parser.add_argument("--suite", choices=TARGETS, required=True)
    parser.add_argument("--to", type=Path, metavar="FOLDER", required=True)
    parser.add_argument(
        "files", nargs="+", type=Path, metavar="FILE", help="locks to fetch, wheels to install"
    )
    arguments = parser.parse_args()
    act = fetch if arguments.command == "fetch" else install
    act(TARGETS[arguments.suite], arguments.to, arguments.files)


if __name__ == "__main__":
    main()
