"""Faults below the program: a clock that jumps, a microphone that another program holds, names of hosts that
nobody knows. Needs gcc.

The library ``preload.c`` comes before the C library in the program and is steered by files while it runs.
"""

from __future__ import annotations

import fcntl
import shutil
import struct
import subprocess
from pathlib import Path

MISSING = "" if shutil.which("gcc") else "no gcc for tests/faults/preload.c"
HOUR_S = 3600.0


class Below:
    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self._library = folder / "faults.so"
        self._clock = folder / "clock"
        self._device = folder / "device"
        self._device.touch()
        self._resolver = folder / "resolver-hangs"
        self._holder: subprocess.Popen[bytes] | None = None
        self.shift(0.0)
        source = Path(__file__).with_name("preload.c")
        command = [
            "gcc",
            "-shared",
            "-fPIC",
            "-O1",
            "-Wall",
            "-Werror",
            "-o",
            str(self._library),
            str(source),
        ]
        subprocess.run([*command, "-ldl"], check=True, capture_output=True, timeout=60)

    @property
    def environment(self) -> dict[str, str]:
        return {"LD_PRELOAD": str(self._library), "FAULTS_DIR": str(self._folder)}

    def shift(self, wall_s: float, *, since_boot_s: float = 0.0) -> None:
        """Let the wall clock be off by ``wall_s``; with ``since_boot_s`` time has really passed."""
        self._shifted_s = wall_s, since_boot_s
        data = struct.pack("=qq", round(wall_s * 1e9), round(since_boot_s * 1e9))
        if not self._clock.exists():
            self._clock.write_bytes(data)
        with self._clock.open("r+b") as file:  # in place: the program has it mapped
            file.write(data)

    def jump(self, by_s: float) -> None:
        """Let the wall clock jump from where it stands, whatever an earlier fault has left."""
        wall_s, since_boot_s = self._shifted_s
        self.shift(wall_s + by_s, since_boot_s=since_boot_s)

    def hang_resolver(self) -> None:
        """From now on whoever asks for the address of a host waits."""
        self._resolver.touch()

    def answer_names(self) -> None:
        self._resolver.unlink(missing_ok=True)

    def hold_device(self) -> None:
        """Another program takes the microphone for itself."""
        self._holder = subprocess.Popen(
            ["flock", "--exclusive", str(self._device), "cat"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
        )
        while not self._is_held():
            pass

    def _is_held(self) -> bool:
        with self._device.open("r+b") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    def release(self) -> None:
        """Lift all."""
        self.release_device()
        self.answer_names()

    def release_device(self) -> None:
        if self._holder is not None:
            assert self._holder.stdin is not None
            self._holder.stdin.close()
            self._holder.wait(20)
            self._holder = None
