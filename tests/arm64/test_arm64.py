"""Cradlewatch on an emulated 64-bit ARM answers as it does here. Minutes: make test-arm64."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from packaging.utils import parse_wheel_filename

from monitor import __version__
from monitor.detect.loading import GOLDEN_TOLERANCE
from monitor.detect.odds import logit
from tests.arm64.emulated import BOOKWORM, PROCESSORS, TRIXIE, Emulated
from tests.arm64.wheels import ROOT, wanted
from tests.virtual_microphone import ABSENT, VirtualMicrophone

pytestmark = [pytest.mark.arm64, pytest.mark.timeout(900)]

RECORDING = ROOT / "monitor" / "demo" / "nursery.flac"
DEBIANS = pytest.mark.parametrize("emulated", [BOOKWORM, TRIXIE], ids=lambda e: e.target.suite)
LEAST_LOGIT = 1e-6
"""Scores nearer to 0 or 1 than that are equally sure."""


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """The demo's recording, at a path that is the same inside and outside."""
    return Path(shutil.copy(RECORDING, tmp_path))


@pytest.fixture(scope="module")
def expected() -> dict:
    """The answers of this machine."""
    program = [sys.executable, "-m", "tests.arm64.answers", RECORDING]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, timeout=100, check=True)
    return json.loads(done.stdout)


def score_logit(score: float) -> float:
    return logit(min(max(score, LEAST_LOGIT), 1 - LEAST_LOGIT))


@DEBIANS
def test_every_locked_library_is_there_as_a_wheel(emulated: Emulated):
    files = list((emulated.folder / "wheels").iterdir())
    assert {file.suffix for file in files} == {".whl"}
    parsed = [parse_wheel_filename(file.name) for file in files]
    assert sorted((name, str(version)) for name, version, _, _ in parsed) == [
        (entry.name, entry.version) for entry in wanted(emulated.target)
    ]
    machines = {tag.platform.rpartition("_")[2] for *_, tags in parsed for tag in tags}
    assert machines == {"any", "aarch64"}


@DEBIANS
def test_it_is_another_machine_and_the_command_knows_its_version(emulated: Emulated):
    told = emulated.python("-c", "import platform as p; print(p.machine(), p.python_version())").split()
    assert told[0] == "aarch64" != platform.machine()
    assert told[1].startswith(f"{emulated.target.python}.")
    assert emulated.cradlewatch("version") == f"cradlewatch {__version__}\n"


@pytest.mark.parametrize("processor", PROCESSORS)
def test_models_answer_as_released(processor: str):
    told = replace(BOOKWORM, processor=processor).cradlewatch("check", "--only", "models")
    assert told.startswith("OK    models")
    assert told.count("answers as released") == 4


@DEBIANS
def test_scan_prints_the_very_same_lines(emulated: Emulated, recording: Path):
    command = ["scan", "--format", "jsonl", str(recording)]
    here = subprocess.run(
        [sys.executable, "-m", "monitor", *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    assert len(here.stdout.splitlines()) == 2
    assert emulated.cradlewatch(*command) == here.stdout


@pytest.mark.parametrize("processor", ["cortex-a72", "cortex-a76"])
def test_every_hop_is_judged_alike(processor: str, recording: Path, expected: dict):
    program = Path(shutil.copy(Path(__file__).with_name("answers.py"), recording.parent))
    got = json.loads(replace(BOOKWORM, processor=processor).python(str(program), str(recording)))
    assert (got["machine"], len(got["hops"])) == ("aarch64", len(expected["hops"]))
    # To the sample: onset, where it was known, end.
    assert [episode[:4] for episode in got["episodes"]] == [e[:4] for e in expected["episodes"]]
    furthest = 0.0
    for mine, theirs in zip(got["hops"], expected["hops"], strict=True):
        start, stop, level_dbfs, active, score, crying = mine
        assert (start, stop, active, crying) == (*theirs[:2], theirs[3], theirs[5])
        assert level_dbfs == pytest.approx(theirs[2], abs=0.01)
        assert (score is None) == (theirs[4] is None)
        if score is not None:
            furthest = max(furthest, abs(score_logit(score) - score_logit(theirs[4])))
    assert furthest <= GOLDEN_TOLERANCE
    golden = ", ".join(f"{name} {difference:.1e}" for name, difference in got["golden"].items())
    print(f"{processor}: scores within {furthest:.1e} logits of {platform.machine()}; golden {golden}")


def test_two_emulated_processes_share_the_ring(tmp_path: Path):
    shutil.copy(ROOT / "tests" / "soak" / "test_ring_stress.py", tmp_path / "stress.py")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import stress;"
        "stress.test_an_overrun_ring_never_delivers_a_corrupt_block()"
    )
    TRIXIE.python("-c", code, children=True)
    BOOKWORM.python("-c", code, children=True)


@pytest.mark.skipif(bool(ABSENT), reason=ABSENT)
@DEBIANS
def test_the_capture_child_hears_a_microphone(emulated: Emulated, tmp_path: Path, recording: Path):
    with VirtualMicrophone(tmp_path) as microphone:
        player = subprocess.Popen(
            ["paplay", str(recording)], env={"PATH": "/usr/bin:/bin"} | microphone.environment
        )
        try:
            told = emulated.cradlewatch(
                "check", "--only", "microphone", children=True, **microphone.environment
            )
        finally:
            player.kill()
            player.wait(10)
    assert told.startswith("OK    microphone"), told


def test_a_cry_becomes_an_event_at_the_hub():
    told = TRIXIE.cradlewatch("demo", "--fast", "--plain", children=True)
    assert "Broker: embedded amqtt" in told
    assert "PASSED: all 2 cries reached the subscriber, and there was no false alarm." in told
