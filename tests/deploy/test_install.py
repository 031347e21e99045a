"""install.sh for real, below a scratch root: a true wheel of ours, and the libraries of the test run."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from monitor import __version__
from tests.programs import shellcheck

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "deploy" / "raspberrypi" / "install.sh"
SHELL_SCRIPTS = [
    SCRIPT,
    *(ROOT / "deploy" / "debian" / name for name in ("build.sh", "postinst", "prerm", "postrm")),
]
TIMEOUT_S = 100


def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(SCRIPT), *map(str, arguments)],
        env=os.environ | {"PYTHON": sys.executable} | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


def test_shellcheck_finds_nothing():
    assert shellcheck(*SHELL_SCRIPTS) == ""


# --- refusals -------------------------------------------------------------------------------------------


@pytest.fixture
def machine(tmp_path):
    """Programs on the PATH that tell of another machine."""
    folder = tmp_path / "programs"
    folder.mkdir()

    def pretend(
        *, kernel: str = "aarch64", bits: str = "64", glibc: str = "glibc 2.36", python: str = "3.11.2"
    ):
        programs = {
            "uname": f"echo {kernel}",
            "getconf": f'case "$1" in LONG_BIT) echo {bits} ;; *) [ -n "{glibc}" ] && echo {glibc} ;; esac',
            "python3": f"echo {python}",
        }
        for name, body in programs.items():
            (folder / name).write_text(f"#!/bin/sh\n{body}\n")
            (folder / name).chmod(0o755)
        return {"PATH": f"{folder}:/usr/bin:/bin", "PYTHON": "python3"}

    return pretend


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"kernel": "armv7l", "bits": "32"}, "armv7l with 32-bit programs"),
        ({"kernel": "aarch64", "bits": "32"}, "aarch64 with 32-bit programs"),  # Pi OS 32-bit on a Pi 4
        ({"kernel": "riscv64"}, "riscv64 with 64-bit programs"),
        ({"glibc": "glibc 2.27"}, "glibc 2.27 is too old, 2.28 is needed"),
        ({"glibc": ""}, "not glibc"),
        ({"python": "3.9.2"}, "Python 3.9.2 is too old, 3.11 is needed"),
    ],
    ids=["32-bit", "32-bit under a 64-bit kernel", "RISC-V", "old glibc", "musl", "old Python"],
)
def test_a_system_that_cannot_run_it_is_refused_in_one_sentence(machine, tmp_path, wrong, words):
    done = run("--root", tmp_path / "root", **machine(**wrong))
    assert done.returncode == 1
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "root").exists()


@pytest.mark.parametrize("arguments", [("--colour",), ("--wheel",)])
def test_a_mistyped_call_is_refused(arguments):
    done = run(*arguments)
    assert done.returncode == 1
    assert arguments[0] in done.stderr


# --- the real thing -------------------------------------------------------------------------------------


def changed_wheel(wheel: Path, version: str, damage: str = "") -> Path:
    """The same wheel under another version; ``damage`` names a file whose content is spoilt."""
    target = wheel.with_name(wheel.name.replace(__version__, version))
    with zipfile.ZipFile(wheel) as source, zipfile.ZipFile(target, "w") as copy:
        for name in source.namelist():
            data = b"no model" if damage and name.endswith(damage) else source.read(name)
            if name.endswith((".dist-info/METADATA", "monitor/__init__.py", ".dist-info/RECORD")):
                data = data.replace(__version__.encode(), version.encode())
            copy.writestr(name.replace(f"cradlewatch-{__version__}.", f"cradlewatch-{version}."), data)
    return target


def link_wheel(folder: Path) -> Path:
    """A wheel of one line that lets an environment see the libraries of the test run, and its lock."""
    wheel = folder / "third_party-1.0-py3-none-any.whl"
    info = "third_party-1.0.dist-info"
    files = {
        "third_party.pth": sysconfig.get_path("purelib") + "\n",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: third-party\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in {**files, f"{info}/RECORD": record}.items():
            archive.writestr(name, text)
    lock = folder / "requirements.lock"
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    lock.write_text(f"third-party==1.0 --hash=sha256:{digest}\n")
    return lock


@dataclass(frozen=True)
class House:
    root: Path
    folder: Path
    wheel: Path
    lock: Path

    def install(self, wheel: Path | None = None) -> subprocess.CompletedProcess[str]:
        options = ("--root", self.root, "--lock", self.lock, "--wheels", self.folder)
        return run(*options, "--wheel", wheel or self.wheel)

    def program(self, *arguments: str) -> str:
        done = subprocess.run(
            [str(self.root / "usr/local/bin/cradlewatch"), *arguments],
            env={"PATH": os.environ["PATH"], "HOME": str(self.root), "CRADLEWATCH_CONFIG": os.devnull},
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=True,
        )
        return done.stdout.strip()

    @property
    def versions(self) -> list[str]:
        return sorted(path.name.split("-")[0] for path in (self.root / "opt/cradlewatch/versions").iterdir())

    @property
    def config(self) -> Path:
        return self.root / "etc/cradlewatch/cradlewatch.toml"


@pytest.fixture(scope="module")
def house(tmp_path_factory) -> House:
    """A root in which the first version is installed."""
    folder = tmp_path_factory.mktemp("install")
    build = ["wheel", "--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", folder]
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    subprocess.run([*map(str, [*pip, *build, ROOT])], check=True, timeout=TIMEOUT_S)
    [wheel] = folder.glob("cradlewatch-*.whl")
    house = House(folder / "root", folder, wheel, link_wheel(folder))
    done = house.install()
    assert done.returncode == 0, done.stdout + done.stderr
    return house


@pytest.mark.install
def test_an_installation_runs_and_finds_the_cries_of_the_demo(house):
    assert house.program("--version") == f"cradlewatch {__version__}"
    recording = next((house.root / "opt/cradlewatch/current").glob("lib/*/site-packages/monitor/demo/*.flac"))
    assert len(house.program("scan", str(recording), "--format", "jsonl").splitlines()) == 2
    assert house.config.read_text() == house.program("config", "--example") + "\n"


@pytest.mark.install
def test_the_unit_is_installed_and_the_place_for_secrets_is_closed(house):
    unit = house.root / "etc/systemd/system/cradlewatch.service"
    assert unit.read_text() == (ROOT / "systemd/cradlewatch.service").read_text()
    assert (house.root / "etc/credstore").stat().st_mode & 0o777 == 0o700


@pytest.mark.install
def test_an_installation_over_itself_changes_nothing(house):
    house.config.write_text("[device]\nid = 'nursery'\n")
    before = (house.root / "opt/cradlewatch/current").resolve().stat().st_mtime_ns
    done = house.install()
    assert done.returncode == 0, done.stderr
    assert "installed already" in done.stdout
    assert (house.root / "opt/cradlewatch/current").resolve().stat().st_mtime_ns == before
    assert house.config.read_text() == "[device]\nid = 'nursery'\n"


@pytest.mark.install
def test_a_new_version_with_broken_models_is_refused_and_the_old_one_stays(house):
    done = house.install(changed_wheel(house.wheel, "7.0.0", damage="gate/model.int8.onnx"))
    assert done.returncode == 1
    assert re.search("FAIL +models", done.stdout)
    assert "What was installed before stays" in done.stderr
    assert house.program("--version") == f"cradlewatch {__version__}"
    assert house.versions == [__version__]


@pytest.mark.install
def test_an_upgrade_keeps_configuration_state_and_the_version_before(house):
    state = house.root / "var/lib/private/cradlewatch/controls.json"
    state.parent.mkdir(parents=True)
    state.write_text("{}")
    house.config.write_text("[device]\nid = 'nursery'\n")
    done = house.install(changed_wheel(house.wheel, "8.0.0"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert house.program("--version") == "cradlewatch 8.0.0"
    assert house.versions == sorted([__version__, "8.0.0"])
    assert house.config.read_text() == "[device]\nid = 'nursery'\n"
    assert state.exists()


@pytest.mark.install
def test_removal_keeps_what_is_the_users_until_purged(house, tmp_path):
    root = tmp_path / "root"
    shutil.copytree(house.root, root, symlinks=True)
    secret = root / "etc/credstore/cradlewatch.mqtt-password"
    state = root / "var/lib/private/cradlewatch/night.json"
    for path in (secret, state):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("kept")
    assert run("--root", root, "--uninstall").returncode == 0
    assert not (root / "opt/cradlewatch").exists()
    assert not list((root / "etc/systemd/system").glob("cradlewatch*"))
    kept = [root / "etc/cradlewatch/cradlewatch.toml", secret, state]
    assert all(path.exists() for path in kept)

    asked = run("--root", root, "--purge")
    assert asked.returncode == 1
    assert "Nothing was deleted" in asked.stderr
    assert all(path.exists() for path in kept)

    assert run("--root", root, "--purge", "--yes").returncode == 0
    assert not any(path.exists() for path in kept)
