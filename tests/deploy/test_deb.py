"""The Debian package: in a clean system, under a real systemd, heard through a real PortAudio device."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from monitor import __version__
from tests.deploy.machine import Machine, clean_root, lacking
from tests.virtual_microphone import ABSENT, VirtualMicrophone

pytestmark = [pytest.mark.install, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
PACKAGES = "usr/lib/cradlewatch/lib"
LINTIAN_ACCEPTED = {
    # A ready environment: compiled code of others, as they built it, with Python's caches beside.
    "embedded-library",
    "executable-not-elf-or-script",
    "library-not-linked-against-libc",
    "package-installs-python-pycache-dir",
    "shared-library-is-executable",
    "shared-library-lacks-prerequisites",
    "unstripped-binary-or-object",
    "unusual-interpreter",
}
SHOW = "systemctl show --property={} --value cradlewatch.service"


@pytest.fixture(scope="module")
def package() -> Path:
    found = sorted((ROOT / "dist").glob(f"cradlewatch_{__version__}_*.deb"))
    if not found:
        pytest.skip("no package in dist (make deb)")
    return found[-1]


@pytest.fixture(scope="module")
def root(package, tmp_path_factory) -> Path:
    """A clean system in which the package was installed as a user does it."""
    if why := lacking():
        pytest.skip(why)
    folder = tmp_path_factory.mktemp("debian") / "root"
    clean_root(folder)
    shutil.copy(package, folder / "srv")
    # libasound2-plugins only leads to the microphone of this test.
    inside(folder, "apt-get update")
    wanted = f"/srv/{package.name} libasound2-plugins"
    said = inside(folder, f"apt-get install --yes --no-install-recommends {wanted}")
    assert "does not listen yet" in said
    return folder


def inside(root: Path, command: str) -> str:
    done = subprocess.run(
        ["chroot", root, "sh", "-c", command],
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive", "HOME": "/root"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_lintian_finds_only_what_a_bundled_environment_brings(package):
    if shutil.which("lintian") is None:
        pytest.skip("lintian is missing (make test-install installs it)")
    done = subprocess.run(
        ["lintian", "--allow-root", "--no-tag-display-limit", "--fail-on=none", package],
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    tags = {line.split()[2] for line in done.stdout.splitlines() if line[:2] in {"E:", "W:"}}
    assert tags - LINTIAN_ACCEPTED == set(), done.stdout[-3000:]


def test_nothing_lacks_a_library(root):
    libraries = f"find /{PACKAGES} -name '*.so*' -exec ldd {{}} + 2>/dev/null"
    needed = inside(root, f"{libraries} | grep 'not found' | sort -u || true")
    # Libraries beside each other within a wheel find one another by their run path only when loaded there.
    assert needed == ""


def test_the_models_answer_in_a_clean_system(root):
    assert inside(root, "cradlewatch check --only models").startswith("OK")


def test_scan_finds_the_cries_of_the_demo(root):
    recording = f"/{PACKAGES}/python*/site-packages/monitor/demo/nursery.flac"
    lines = inside(root, f"cradlewatch scan {recording} --format jsonl").splitlines()
    assert len([json.loads(line) for line in lines]) == 2


def test_dpkg_finds_every_file_as_it_was_packed(root):
    assert inside(root, "dpkg --verify cradlewatch") == ""


# --- under systemd ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def microphone(tmp_path_factory):
    if ABSENT:
        pytest.skip(ABSENT)
    with VirtualMicrophone(tmp_path_factory.mktemp("microphone"), kind="pipe") as device:
        folder = Path(device.environment["HOME"])
        subprocess.run(
            [
                "pactl",
                "load-module",
                "module-native-protocol-unix",
                f"socket={folder}/open",
                "auth-anonymous=1",
            ],
            env=os.environ | device.environment,
            check=True,
            capture_output=True,
            timeout=30,
        )
        folder.chmod(0o755)
        yield device, folder


@pytest.fixture(scope="module")
def machine(root, microphone):
    """The system with its service started as it stands, told of the microphone by a drop-in."""
    _, folder = microphone
    drop_in = root / "etc/systemd/system/cradlewatch.service.d/microphone.conf"
    drop_in.parent.mkdir(parents=True, exist_ok=True)
    names = {"PULSE_SERVER": "unix:/mnt/open", "ALSA_CONFIG_PATH": "/mnt/asound.conf"}
    lines = (f"Environment={key}={value}\n" for key, value in names.items())
    drop_in.write_text("[Service]\n" + "".join(lines))
    secret = root / "etc/credstore/cradlewatch.mqtt-password"
    secret.write_text("of the broker\n")
    secret.chmod(0o600)
    (root / "etc/cradlewatch/cradlewatch.toml").write_text(
        '[jsonl]\npath = "/var/lib/cradlewatch/messages.jsonl"\n'
        '[mqtt]\nhost = "127.0.0.1"\nusername = "nursery"\npassword_file = "mqtt-password"\n'
    )
    with Machine(root, folder) as booted:
        print(booted.run("systemctl --version | head -1"))
        said = booted.run("systemctl start cradlewatch.service; echo $?")
        assert said == "0", said + booted.run("journalctl --unit cradlewatch --no-pager")
        yield booted


def test_the_hardened_service_hears_the_microphone(machine):
    assert machine.run(SHOW.format("ActiveState")) == "active"
    machine.wait_for(
        "grep -c '\"microphone_ok\":true' /var/lib/cradlewatch/messages.jsonl | grep -c -v '^0'", "1"
    )
    assert "microphone" not in machine.run(SHOW.format("StatusText")).lower()


def test_the_capture_child_is_confined_like_its_parent(machine):
    pids = machine.run("systemd-cgls --no-pager --unit cradlewatch.service | grep -c 'capture.child'")
    assert pids == "1"
    child = "$(grep -l 'capture[.]child' /proc/[0-9]*/cmdline | head -1 | cut -d/ -f3)"
    status = machine.run(f"cat /proc/{child}/status")
    values = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert int(values["CapEff"], 16) == int(values["CapBnd"], 16) == 0
    assert (values["NoNewPrivs"], values["Seccomp"]) == ("1", "2")
    assert int(values["Uid"].split()[0]) >= 61184  # the range of dynamic users


def test_the_service_was_given_its_password_and_nobody_else_can_read_it(machine):
    log = machine.run("journalctl --unit cradlewatch --no-pager")
    assert "cannot be read" not in log
    assert "of the broker" not in log
    assert machine.run("stat -c %a /run/credentials/cradlewatch.service") == "500"
    assert machine.run("stat -c %a /var/lib/private/cradlewatch") == "700"


def test_nothing_reports_home(machine):
    assert "telemetry" not in machine.run("journalctl --unit cradlewatch --no-pager").lower()
    assert machine.run("find / -xdev -name deviceid 2>/dev/null") == ""


def test_a_killed_service_comes_back_by_itself(machine):
    before = machine.run(SHOW.format("MainPID"))
    machine.run(f"kill -KILL {before}")
    machine.wait_for(SHOW.format("NRestarts"), "1")
    machine.wait_for(SHOW.format("ActiveState"), "active")
    assert machine.run(SHOW.format("MainPID")) not in {before, "0"}


def test_a_service_that_hangs_is_killed_by_the_watchdog_and_comes_back(machine):
    before = machine.run(SHOW.format("MainPID"))
    machine.run(f"kill -STOP {before}")
    machine.wait_for(SHOW.format("NRestarts"), "2", timeout_s=60.0)
    machine.wait_for(SHOW.format("ActiveState"), "active")
    assert "Watchdog timeout" in machine.run("journalctl --unit cradlewatch --no-pager")


def test_a_missing_secret_is_said_in_one_sentence_and_the_service_tries_on(machine):
    machine.run(
        "mv /etc/credstore/cradlewatch.mqtt-password /srv/kept; systemctl restart cradlewatch.service"
    )
    log = machine.run("journalctl --unit cradlewatch --no-pager --output cat")
    assert 'mqtt.password_file = "mqtt-password"' in log
    assert "CREDENTIALS" not in log  # the unit itself starts without it
    machine.run(
        "mv /srv/kept /etc/credstore/cradlewatch.mqtt-password; systemctl restart cradlewatch.service"
    )
    machine.wait_for(SHOW.format("ActiveState"), "active")


def test_purging_leaves_nothing(machine, root):
    said = machine.run("DEBIAN_FRONTEND=noninteractive dpkg --purge cradlewatch; echo $?")
    assert said.endswith("\n0"), said
    assert machine.run("systemctl is-active cradlewatch.service") == "inactive"
    left = (
        "find /etc /usr /var /opt -ipath '*cradlewatch*' -not -path '/var/log/*' -not -path '/var/lib/dpkg/*'"
    )
    assert machine.run(left) == ""
