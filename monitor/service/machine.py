"""What this machine is and how warm it is, as far as Linux tells."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

THERMAL_ZONE: Final = Path("sys/class/thermal/thermal_zone0/temp")
MODEL: Final = Path("proc/device-tree/model")
SERIAL: Final = Path("proc/device-tree/serial-number")
MACHINE_ID: Final = Path("etc/machine-id")


class Machine:
    """``root`` is where /proc and /sys stand."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self.model = _text(root / MODEL)
        """ "Raspberry Pi 4 Model B Rev 1.4"; None on other machines."""
        self.serial = _text(root / SERIAL) or _disguised(_text(root / MACHINE_ID))

    def cpu_temperature_c(self) -> float | None:
        """Of the processor; None where there is no sensor."""
        text = _text(self._root / THERMAL_ZONE)
        return int(text) / 1000 if text is not None and text.lstrip("-").isdecimal() else None


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip("\0\n ") or None
    except OSError:
        return None


def _disguised(machine_id: str | None) -> str | None:
    # machine-id(5) asks not to show the id itself to a network.
    if machine_id is None:
        return None
    return hashlib.sha256(f"cradlewatch {machine_id}".encode()).hexdigest()[:12]
