"""The rule of the house: data flows one way, rooms never import each other, each library has its place."""

import sys

import pytest

from tests.architecture.imports import imports, is_within

GROUND = [
    "monitor",
    "monitor.types",
    "monitor.errors",
    "monitor.messages",
    "monitor.commands",
    "monitor.files",
    "monitor.bounded_server",
    "monitor.http_answer",
    "monitor.helper_process",
    "monitor.words",
    "monitor.outputs",
    "monitor.keeper",
    "monitor.sqlite_file",
    "monitor.redaction",
    "monitor.heap",
]

# What a part of the house may import of ours, besides itself.
MAY_IMPORT = {
    "monitor.types": [],
    "monitor.errors": [],
    "monitor.messages": [],
    "monitor.commands": [],
    "monitor.files": [],
    "monitor.bounded_server": [],
    "monitor.helper_process": [],
    "monitor.redaction": [],
    "monitor.heap": [],
    "monitor.http_answer": ["monitor.bounded_server"],
    "monitor.words": [],
    "monitor.outputs": ["monitor.errors", "monitor.files", "monitor.words"],
    "monitor.config": ["monitor.errors", "monitor.files", "monitor.redaction", "monitor.words"],
    "monitor.log": ["monitor.log_file", "monitor.redaction", "monitor.words"],
    "monitor.log_file": [],
    "monitor.keeper": [],
    "monitor.sqlite_file": ["monitor.errors", "monitor.files"],
    "monitor.capture": GROUND,
    "monitor.detect": GROUND,
    "monitor.events": GROUND,
    "monitor.sinks": GROUND,
    "monitor.service": [
        *GROUND,
        "monitor.config",
        "monitor.capture",
        "monitor.detect",
        "monitor.events",
        "monitor.sinks",
    ],
    "monitor.cli": [
        *GROUND,
        "monitor.config",
        "monitor.log",
        "monitor.capture",
        "monitor.detect",
        "monitor.events",
        "monitor.sinks",
        "monitor.service",
    ],
    "monitor.demo": [],
    "monitor.bench": [],
    "monitor.__main__": ["monitor.cli"],
}

# The only places of each library. Everything else behind it talks our own language.
PLACES = {
    "sounddevice": ["monitor.capture.child", "monitor.sinks.sounder_child"],
    "soundfile": ["monitor.capture.sound_file", "monitor.demo", "monitor.sinks.clip_file"],
    "soxr": ["monitor.capture.resample"],
    "webrtcvad": ["monitor.detect.vad"],
    "onnxruntime": ["monitor.detect.inference"],
    "paho": ["monitor.sinks.mqtt_client", "monitor.demo"],
    "amqtt": ["monitor.demo"],
    "apprise": ["monitor.sinks.push_library"],
    "PIL": ["monitor.cli.night_canvas"],
    "rich": ["monitor.cli.drawn", "monitor.demo", "monitor.bench"],
    # At the edges: what comes from a user, a file or the network, and what leaves.
    "pydantic": [
        "monitor.config",
        "monitor.messages",
        "monitor.detect.artifacts",
        "monitor.demo",
        "monitor.events.night",
        "monitor.service.controls",
        "monitor.service.desk",
        "monitor.service.kept",
        "monitor.service.restarts",
        "monitor.sinks.episode_ledger",
        "monitor.sinks.push_notes",
        "monitor.sinks.push_state",
        "monitor.cli.status",
    ],
    "prometheus_client": ["monitor.service.metrics"],
    "annotated_types": ["monitor.config"],
    "structlog": ["monitor"],
    "numpy": ["monitor"],
    "typing_extensions": ["monitor"],
}


def part_of(module: str) -> str | None:
    return max((part for part in MAY_IMPORT if is_within(module, part)), key=len, default=None)


OPEN = {"monitor.demo", "monitor.bench"}
"""They show and measure the whole, so they may import all of it."""


def is_allowed(part: str, imported: str) -> bool:
    if part in OPEN:
        return True
    # "monitor" itself is the version only, not all that is below it
    return any(
        imported == place if place == "monitor" else is_within(imported, place) for place in MAY_IMPORT[part]
    )


@pytest.mark.parametrize("module", sorted(imports()))
def test_a_module_imports_only_what_stands_below_it(module):
    ours = {imported for imported in imports()[module] if is_within(imported, "monitor")}
    if module == "monitor":
        assert ours == set(), "import monitor is the version and nothing else"
        return
    part = part_of(module)
    assert part is not None, f"{module} has no place in the table of the house"
    strangers = {name for name in ours if not is_within(name, part) and not is_allowed(part, name)}
    assert strangers == set()


def test_the_table_forbids_what_it_should():
    assert not is_allowed("monitor.capture", "monitor.detect.vad")
    assert not is_allowed("monitor.detect", "monitor.config")
    assert not is_allowed("monitor.service", "monitor.cli.run")
    assert not is_allowed("monitor.cli", "monitor.demo.command")
    assert is_allowed("monitor.service", "monitor.capture.microphone")
    assert is_allowed("monitor.sinks", "monitor.messages")


@pytest.mark.parametrize("module", sorted(imports()))
def test_a_library_is_imported_only_in_its_place(module):
    for imported in imports()[module]:
        library = imported.partition(".")[0]
        if library == "monitor" or library in sys.stdlib_module_names:
            continue
        assert library in PLACES, f"{module} imports {library}, which has no place in the house"
        places = PLACES[library]
        assert any(is_within(module, place) for place in places), f"{module} imports {library}"


@pytest.mark.parametrize("library", ["sounddevice", "onnxruntime", "webrtcvad", "soxr", "apprise"])
def test_a_library_that_touches_the_world_has_exactly_its_places(library):
    users = [module for module, used in imports().items() if any(is_within(name, library) for name in used)]
    assert users == PLACES[library]


def test_the_sounder_child_stays_small():
    """It waits all night: without numpy, and without anything of ours but its tone."""
    ours = {name for name in imports()["monitor.sinks.sounder_child"] if is_within(name, "monitor")}
    assert ours == {"monitor.sinks.sounder_tone"}
    assert not any(is_within(name, "numpy") for module in ours for name in imports()[module])


def test_the_capture_child_stays_small():
    """It holds no numpy and nothing of ours but the ring and its watch: 30 MB have to do."""
    ours = {name for name in imports()["monitor.capture.child"] if is_within(name, "monitor")}
    assert ours <= {"monitor.capture.ring", "monitor.capture.channels"}
    for module in ["monitor.capture.child", *ours]:
        assert not any(is_within(name, "numpy") for name in imports()[module])


def test_the_runtime_knows_nothing_of_training():
    for module, used in imports().items():
        assert not any(is_within(name, "models") or is_within(name, "torch") for name in used), module
