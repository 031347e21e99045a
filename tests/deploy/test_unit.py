"""The systemd unit: understood, tight enough, and not so tight that nothing is heard."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.cli.programs import DEADLINE_S, ROOT, Program

UNITS = ROOT / "systemd"
UNIT = UNITS / "cradlewatch.service"
EXPOSURE_TENTHS = 20
MODEL_S = 60

analyzer = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is missing")


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", *arguments], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture
def unit(tmp_path) -> Path:
    """The unit with a program that exists here in the place of ours, which an installation brings."""
    text = UNIT.read_text()
    assert "\nExecStart=cradlewatch run\n" in text
    changed = tmp_path / UNIT.name
    changed.write_text(text.replace("ExecStart=cradlewatch", "ExecStart=/bin/true"))
    return changed


@analyzer
def test_systemd_finds_nothing_to_say_about_the_unit(unit):
    done = analyze("verify", str(unit))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@analyzer
def test_systemd_would_speak_of_a_mistake(unit):
    unit.write_text(unit.read_text().replace("ProtectClock=", "ProtectClocks="))
    assert "ProtectClocks" in analyze("verify", str(unit)).stderr


@analyzer
def test_the_exposure_is_low(unit):
    done = analyze("security", "--offline=true", f"--threshold={EXPOSURE_TENTHS}", str(unit))
    print(done.stdout.strip().splitlines()[-1])
    assert done.returncode == 0, done.stdout


def test_every_setting_has_its_reason():
    reason = ""
    for line in UNIT.read_text().splitlines():
        if not line or line.startswith(("[", "# ---")):
            reason = ""
        elif line.startswith("#"):
            reason = line
        elif not line.startswith(("Description=", "Documentation=", "WantedBy=")):
            assert reason, f"{line} stands without a reason"


def test_what_only_newer_versions_know_is_not_in_the_unit():
    newer = {"RestartSteps", "RestartMaxDelaySec", "ImportCredential", "MemoryZSwapMax", "PrivatePIDs"}
    keys = set(re.findall(r"^(\w+)=", UNIT.read_text(), re.MULTILINE))
    assert not keys & newer
    assert {"RestartSteps", "RestartMaxDelaySec"} <= set(
        re.findall(r"^(\w+)=", (UNITS / "restart-steps.conf").read_text(), re.MULTILINE)
    )


def test_a_missing_secret_does_not_keep_the_service_from_starting():
    # An absolute path would: systemd calls it an error when nothing is there.
    loaded = re.findall(r"^LoadCredential=([\w-]+):(.+)$", UNIT.read_text(), re.MULTILINE)
    assert {name for name, _ in loaded} == {"mqtt-password", "push-channels"}
    assert not [source for _, source in loaded if source.startswith("/")]


# --- MemoryDenyWriteExecute ---------------------------------------------------------------------------

FORBIDDEN = """
import ctypes
PR_SET_MDWE, REFUSE_EXEC_GAIN = 65, 1
if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_MDWE, REFUSE_EXEC_GAIN, 0, 0, 0) != 0:
    raise SystemExit(77)
"""
CALLBACK = """
import cffi
ffi = cffi.FFI()
try:
    ffi.callback("int(int)", abs)
except MemoryError:
    raise SystemExit(12)
"""
MODELS = "from monitor.detect.loading import verify_artifacts\nassert len(verify_artifacts()) == 4\n"


def under_prohibition(program: str) -> int:
    """Exit code of ``program`` where no memory may be both writable and executable."""
    done = subprocess.run([sys.executable, "-c", FORBIDDEN + program], cwd=ROOT, timeout=MODEL_S, check=False)
    if done.returncode == 77:
        pytest.skip("this kernel has no PR_SET_MDWE (Linux 6.3)")
    return done.returncode


def test_writable_executable_memory_has_to_stay_allowed_for_the_callback():
    # When this fails, cffi has learned to do without: then the unit can forbid it.
    assert under_prohibition(CALLBACK) == 12
    assert "\nMemoryDenyWriteExecute=no\n" in UNIT.read_text()


def test_the_models_would_do_without_it():
    assert under_prohibition(MODELS) == 0


# --- notification ---------------------------------------------------------------------------------------


class Manager:
    """The service manager's end of the socket."""

    def __init__(self, path: Path) -> None:
        self._end = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._end.bind(str(path))
        self.path = path

    def hear(self, timeout_s: float) -> str | None:
        self._end.settimeout(timeout_s)
        try:
            return self._end.recv(4096).decode()
        except TimeoutError:
            return None

    def wait_for(self, word: str) -> None:
        """Until ``word`` comes; each message restarts the clock."""
        while (heard := self.hear(DEADLINE_S)) is not None:
            if word in heard:
                return
        raise AssertionError(f"{word} was not heard")

    def close(self) -> None:
        self._end.close()


@pytest.fixture
def manager(tmp_path):
    end = Manager(tmp_path / "notify")
    yield end
    end.close()


def test_the_program_tells_systemd_that_it_is_ready_lives_has_lost_its_audio_and_stops(manager, tmp_path):
    reading, writing = os.pipe()
    feeding, pace = threading.Event(), threading.Event()
    feeding.set()

    def feed() -> None:
        while feeding.is_set():
            os.write(writing, bytes(3200))  # 0.1 s
            pace.wait(0.1)

    feeder = threading.Thread(target=feed)
    settings = ("--stdin", "--jsonl", str(tmp_path / "messages.jsonl"))
    with Program("run", *settings, stdin=reading, NOTIFY_SOCKET=str(manager.path)) as program:
        os.close(reading)
        try:
            feeder.start()
            manager.wait_for("READY=1")
            manager.wait_for("WATCHDOG=1")
            manager.wait_for("WATCHDOG=1")
            feeding.clear()
            feeder.join()
            # Fed on: a restart would not bring the audio back, but cut the link that reports the fault.
            manager.wait_for("STATUS=The microphone")
            manager.wait_for("WATCHDOG=1")
        finally:
            feeding.clear()
            feeder.join()
            os.close(writing)
        manager.wait_for("STOPPING=1")  # so it lived until its input ended
        assert program.ended() == 0
