"""Write the bill of materials, CycloneDX 1.6 as JSON: `python deploy/sbom.py dist/cradlewatch.cdx.json`.

It lists what a package for users holds: the libraries of requirements-full.lock with the hashes of the
files that may be installed, their licences as their own metadata states them (so run it where they are
installed), who asks for whom, and the models. The same sources give the same file.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import uuid
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[1]
LOCK: Final = ROOT / "requirements-full.lock"
MODELS: Final = ROOT / "models" / "artifacts"
NAMESPACE: Final = uuid.UUID("6f8d4b53-2f0c-5b1e-9a53-6d0f1c3c8f11")
"""Ours, made once; the serial number is derived from it and the content."""

_ENTRY: Final = re.compile(
    r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;\\]+)(?:\s*;\s*(?P<marker>[^\\]*?))?\s*\\?$"
)
_EXPRESSION: Final = re.compile(r"[A-Za-z0-9.+-]+(?: (?:AND|OR|WITH) [A-Za-z0-9.+-]+)*")
SHORT: Final = 100
"""Some packages give the whole text of the licence where its name belongs."""


def locked(lock: Path) -> Iterator[dict[str, Any]]:
    """Each entry of the lock: name, version, marker, hashes, and the names of those who asked for it."""
    for block in re.split(r"\n(?=[A-Za-z0-9])", lock.read_text(encoding="utf-8").strip()):
        lines = block.splitlines()
        found = _ENTRY.match(lines[0])
        if found is None:
            raise SystemExit(f"{lock.name}: {lines[0]!r} is no pinned package: make the lock anew.")
        words = [line.split("# via", 1)[-1].strip("# ") for line in lines if line.strip().startswith("#")]
        yield {
            **found.groupdict(),
            "hashes": sorted(re.findall(r"--hash=sha256:([0-9a-f]{64})", block)),
            "via": {word.split()[0] for word in words if word},
        }


def licences(name: str) -> list[dict[str, Any]]:
    """What the installed package says of its licence; nothing for one that this system does not install."""
    try:
        about = metadata.metadata(name)
    except metadata.PackageNotFoundError:
        return []
    stated = about.get("License-Expression") or ""
    if _EXPRESSION.fullmatch(stated):
        return [{"expression": stated}]
    classifiers = [
        line.rsplit(" :: ", 1)[1]
        for line in about.get_all("Classifier") or ()
        if line.startswith("License :: ") and line != "License :: OSI Approved"
    ]
    named = stated or (about.get("License") or "").strip().split("\n")[0]
    names = classifiers or ([named[:SHORT]] if named else [])
    return [{"license": {"name": each}} for each in names]


def library(entry: dict[str, Any]) -> dict[str, Any]:
    component = {
        "type": "library",
        "bom-ref": reference(entry["name"], entry["version"]),
        "name": entry["name"],
        "version": entry["version"],
        "purl": reference(entry["name"], entry["version"]),
        "hashes": [{"alg": "SHA-256", "content": digest} for digest in entry["hashes"]],
        "licenses": licences(entry["name"]),
    }
    if entry["marker"]:
        component["properties"] = [{"name": "cradlewatch:only-where", "value": entry["marker"]}]
    return component


def reference(name: str, version: str) -> str:
    return f"pkg:pypi/{re.sub(r'[-_.]+', '-', name).lower()}@{version}"


def model(path: Path) -> dict[str, Any]:
    manifest = json.loads((path.parent / "manifest.json").read_text(encoding="utf-8"))
    name = f"{path.parent.name}/{path.name}"
    return {
        "type": "machine-learning-model",
        "bom-ref": f"model:{name}",
        "name": name,
        "version": manifest["name"].rpartition("-")[2],
        "hashes": [{"alg": "SHA-256", "content": hashlib.sha256(path.read_bytes()).hexdigest()}],
        "licenses": [{"expression": "Apache-2.0"}],
    }


def graph(entries: list[dict[str, Any]], models: list[dict[str, Any]], root: str) -> list[dict[str, Any]]:
    """Who depends on whom, as the lock remembers it."""
    # A name can be there twice, in one version for each Python.
    refs: dict[str, list[str]] = {"cradlewatch": [root]}
    for entry in entries:
        refs.setdefault(entry["name"], []).append(reference(entry["name"], entry["version"]))
    asked: dict[str, set[str]] = {root: {each["bom-ref"] for each in models}}
    for entry in entries:
        for parent in (ref for name in entry["via"] for ref in refs[name]):
            asked.setdefault(parent, set()).add(reference(entry["name"], entry["version"]))
    every = [*(ref for each in refs.values() for ref in each), *(each["bom-ref"] for each in models)]
    return [{"ref": ref, "dependsOn": sorted(asked.get(ref, ()))} for ref in every]


def bill(version: str, lock: Path = LOCK) -> dict[str, Any]:
    """The whole bill of materials."""
    entries = list(locked(lock))
    models = [model(path) for path in sorted(MODELS.glob("*/*.onnx"))]
    root = reference("cradlewatch", version)
    content = {
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": root,
                "name": "cradlewatch",
                "version": version,
                "purl": root,
                "licenses": [{"expression": "Apache-2.0"}],
            }
        },
        "components": [*map(library, entries), *models],
        "dependencies": graph(entries, models, root),
    }
    serial = uuid.uuid5(NAMESPACE, json.dumps(content, sort_keys=True))
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        **content,
    }


def main() -> None:
    source = (ROOT / "monitor" / "__init__.py").read_text(encoding="utf-8")
    version = re.search(r'^__version__ = "(.+)"$', source, re.MULTILINE)
    if version is None:
        raise SystemExit("monitor/__init__.py states no version.")
    target = Path(sys.argv[1])
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(bill(version[1]), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
