"""The wheel, alone: built, installed into an environment of its own outside the clone, and used there."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from monitor import __version__

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 100
MODELS_MB = 2.0
"""What the models that run, in int8, may weigh together."""
FLOAT_MB = 2.0
"""What a model in float may weigh."""


@dataclass(frozen=True)
class Installed:
    """An environment that has the wheel, and the third-party packages of the one that runs the tests."""

    wheel: Path
    environment: Path
    elsewhere: Path

    def run(self, program: str, *arguments: str) -> str:
        """What ``program`` of the environment prints, run outside the clone."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("CRADLEWATCH_", "PYTHON")) and name != "VIRTUAL_ENV"
        }
        done = _run([self.environment / "bin" / program, *arguments], cwd=self.elsewhere, env=kept)
        return done.stdout

    def python(self, code: str) -> str:
        return self.run("python", "-c", code)


def _run(command, **options):
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=TIMEOUT_S, check=False, **options
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Installed:
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    # Without isolation and dependencies nothing is asked of an index.
    build = ["wheel", "--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", folder]
    _run([*pip, *build, ROOT])
    [wheel] = folder.glob("*.whl")

    environment, elsewhere = folder / "environment", folder / "elsewhere"
    elsewhere.mkdir()
    venv.create(environment, symlinks=True, with_pip=False)
    python = environment / "bin" / "python"
    _run([*pip, "--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel])
    # A plain path in a .pth adds the packages there; their own .pth files, the clone's editable
    # install among them, are not read.
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = environment / "lib" / version / "site-packages"
    (packages / "third_party.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return Installed(wheel, environment, elsewhere)


def test_the_wheel_carries_models_and_recording_and_nothing_that_is_not_for_users(installed):
    names = set(zipfile.ZipFile(installed.wheel).namelist())
    for kind in ("gate", "cause"):
        folder = f"monitor/_artifacts/{kind}/"
        assert {f"{folder}manifest.json", f"{folder}golden.npz"} <= names
        assert any(name.startswith(folder) and name.endswith(".onnx") for name in names)
    assert {"monitor/demo/nursery.flac", "monitor/demo/nursery.json", "monitor/py.typed"} <= names
    roots = {name.split("/")[0] for name in names}
    assert roots == {"monitor", f"cradlewatch-{__version__}.dist-info"}
    assert not [name for name in names if name.endswith(".pyc")]


def test_the_models_in_the_wheel_are_small(installed):
    files = zipfile.ZipFile(installed.wheel).infolist()
    sizes = {file.filename: file.file_size for file in files if file.filename.endswith(".onnx")}
    int8 = [size for name, size in sizes.items() if name.endswith(".int8.onnx")]
    assert len(int8) == 3
    assert sum(int8) <= MODELS_MB * 1e6
    assert max(size for name, size in sizes.items() if name.endswith(".float.onnx")) <= FLOAT_MB * 1e6


def test_what_is_imported_is_the_installed_package_and_not_the_clone(installed):
    where = Path(installed.python("import monitor; print(monitor.__file__)").strip())
    assert where.is_relative_to(installed.environment)
    folder = installed.python("from monitor.detect import artifacts; print(artifacts.default_folder())")
    assert Path(folder.strip()) == where.parent / "_artifacts"


def test_the_command_knows_its_version(installed):
    assert installed.run("cradlewatch", "--version").strip() == f"cradlewatch {__version__}"


def test_the_installed_models_answer_as_released(installed):
    code = "from monitor.detect.loading import verify_artifacts as v; print(*(r.form for r in v()))"
    assert installed.python(code).split() == ["int8", "float", "int8", "int8"]


def test_the_demo_shows_the_cries_arriving(installed):
    record = installed.elsewhere / "record.jsonl"
    installed.run("cradlewatch", "demo", "--fast", "--plain", "--record", str(record))
    lines = record.read_text().splitlines()
    assert any('"event_type":"started"' in re.sub(r"\s", "", line).replace("\\", "") for line in lines)


def test_scan_finds_the_cries_of_the_bundled_recording(installed):
    code = "from pathlib import Path; import monitor; print(Path(monitor.__file__).parent)"
    recording = Path(installed.python(code).strip()) / "demo" / "nursery.flac"
    lines = installed.run("cradlewatch", "scan", str(recording), "--format", "jsonl").splitlines()
    truth = json.loads(recording.with_suffix(".json").read_text())["happenings"]
    bouts = [happening for happening in truth if happening["kind"] == "cry_bout"]
    episodes = [json.loads(line) for line in lines]
    assert len(episodes) == len(bouts)
    for episode, bout in zip(episodes, bouts, strict=True):
        assert bout["onset_s"] - 1 < episode["onset_s"] < episode["detected_s"] < bout["offset_s"]
