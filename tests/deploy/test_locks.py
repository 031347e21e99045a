"""The locks: complete, pinned, hashed, and free of addresses, so that they serve behind any index."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
RUN = [Requirement(line) for line in PROJECT["dependencies"]]
DEV = [*RUN, *map(Requirement, PROJECT["optional-dependencies"]["dev"])]
EXTRAS = PROJECT["optional-dependencies"]
# What a package for users carries: the extras that need no choice of theirs.
FULL = [*RUN, *(Requirement(line) for name in ("push", "metrics") for line in EXTRAS.get(name, ()))]
LOCKS = {"requirements.lock": RUN, "requirements-full.lock": FULL, "requirements-dev.lock": DEV}


def entries(name: str) -> list[tuple[Requirement, str]]:
    """Each locked requirement with the lines that belong to it."""
    text = (ROOT / name).read_text()
    found = []
    for entry in re.split(r"\n(?=\S)", text.strip()):
        first = entry.splitlines()[0]
        if not first.startswith("#"):
            found.append((Requirement(first.rstrip("\\ ")), entry))
    return found


def versions(name: str) -> dict[str, set[str]]:
    """The locked versions of each package; there can be one for each Python."""
    found: dict[str, set[str]] = {}
    for requirement, _ in entries(name):
        [pin] = requirement.specifier
        found.setdefault(canonicalize_name(requirement.name), set()).add(pin.version)
    return found


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_holds_no_address(name):
    text = (ROOT / name).read_text()
    assert not re.search(r"://|--(extra-)?index-url|--find-links|--trusted-host|@", text)


@pytest.mark.parametrize("name", LOCKS)
def test_every_entry_is_pinned_and_hashed(name):
    assert entries(name)
    for requirement, entry in entries(name):
        assert [specifier.operator for specifier in requirement.specifier] == ["=="], requirement
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), requirement


@pytest.mark.parametrize(("name", "wanted"), LOCKS.items(), ids=list(LOCKS))
def test_a_lock_satisfies_every_dependency_of_the_project(name, wanted):
    locked = versions(name)
    for requirement in wanted:
        pins = locked.get(canonicalize_name(requirement.name), set())
        assert pins, f"{requirement.name} is not in {name}"
        assert all(requirement.specifier.contains(Version(pin)) for pin in pins), (requirement, pins)


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-full.lock"])
def test_tests_run_with_what_users_get(name):
    users, dev = versions(name), versions("requirements-dev.lock")
    assert {package: dev.get(package) for package in users} == users
