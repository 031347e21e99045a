"""The bill of materials: complete, linked, repeatable."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from monitor import __version__

ROOT = Path(__file__).parents[2]
PURL = re.compile(r"pkg:pypi/[a-z0-9-]+@[\w.]+")


def write(target: Path) -> bytes:
    subprocess.run([sys.executable, ROOT / "deploy" / "sbom.py", target], check=True, timeout=60)
    return target.read_bytes()


@pytest.fixture(scope="module")
def text(tmp_path_factory) -> bytes:
    return write(tmp_path_factory.mktemp("sbom") / "new" / "cradlewatch.cdx.json")


@pytest.fixture(scope="module")
def bill(text) -> dict:
    return json.loads(text)


def test_it_is_a_cyclonedx_of_our_version(bill):
    assert (bill["bomFormat"], bill["specVersion"], bill["version"]) == ("CycloneDX", "1.6", 1)
    assert re.fullmatch(r"urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", bill["serialNumber"])
    assert bill["metadata"]["component"]["version"] == __version__


def test_every_locked_package_is_in_it_with_its_hashes(bill):
    libraries = [part for part in bill["components"] if part["type"] == "library"]
    lock = (ROOT / "requirements-full.lock").read_text()
    pins = re.findall(r"^([\w.-]+)==([\w.]+)", lock, re.MULTILINE)
    assert [(part["name"], part["version"]) for part in libraries] == pins
    assert all(PURL.fullmatch(part["purl"]) for part in libraries)
    hashes = {entry["content"] for part in libraries for entry in part["hashes"]}
    assert hashes == set(re.findall(r"sha256:([0-9a-f]{64})", lock))


def test_the_licence_of_every_installed_library_is_stated(bill):
    unstated = [
        part["name"] for part in bill["components"] if not part["licenses"] and "properties" not in part
    ]
    assert unstated == []


def test_the_models_are_in_it_with_the_hashes_that_they_have(bill):
    models = {part["name"]: part for part in bill["components"] if part["type"] == "machine-learning-model"}
    files = list((ROOT / "models" / "artifacts").glob("*/*.onnx"))
    assert len(files) == len(models) >= 4
    for file in files:
        [entry] = models[f"{file.parent.name}/{file.name}"]["hashes"]
        assert entry["content"] == hashlib.sha256(file.read_bytes()).hexdigest()


def test_whatever_is_listed_is_reached_from_the_application(bill):
    wanted = {part["bom-ref"] for part in bill["components"]}
    children = {entry["ref"]: entry["dependsOn"] for entry in bill["dependencies"]}
    reached, waiting = set(), [bill["metadata"]["component"]["bom-ref"]]
    while waiting:
        here = waiting.pop()
        fresh = set(children[here]) - reached
        reached |= fresh
        waiting += fresh
    assert reached == wanted


def test_the_same_sources_give_the_same_file(text, tmp_path):
    assert write(tmp_path / "again.json") == text
