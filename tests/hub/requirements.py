"""What the named integrations of the installed Home Assistant need: run with its Python.

Home Assistant installs these while it runs, from the ``manifest.json`` of each integration. Printed
one a line, those of all integrations that the named ones depend on included, and of those it always loads.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

from homeassistant import bootstrap


def requirements(integrations: list[str]) -> set[str]:
    specification = importlib.util.find_spec("homeassistant")
    assert specification is not None
    assert specification.origin is not None
    components = Path(specification.origin).parent / "components"
    always = bootstrap.CORE_INTEGRATIONS | bootstrap.DEFAULT_INTEGRATIONS
    wanted, seen, found = [*integrations, *always], set(), set()
    while wanted:
        name = wanted.pop()
        if name in seen:
            continue
        seen.add(name)
        manifest = json.loads((components / name / "manifest.json").read_text())
        found.update(manifest.get("requirements", ()))
        wanted.extend(manifest.get("dependencies", ()))
    return found


if __name__ == "__main__":
    print(*sorted(requirements(sys.argv[1:])), sep="\n")
