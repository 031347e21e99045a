"""What this machine is, how warm it is and how its power is, as far as Linux tells."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

THERMAL_ZONE: Final = Path("sys/class/thermal/thermal_zone0/temp")
MODEL: Final = Path("proc/device-tree/model")
SERIAL: Final = Path("proc/device-tree/serial-number")
NETWORK: Final = "sys/class/net/*"
MACHINE_ID: Final = Path("etc/machine-id")
THROTTLED: Final = (
    "sys/devices/platform/*/*firmware*/get_throttled",
    "sys/devices/platform/*firmware*/get_throttled",
)
"""The flags of a Raspberry Pi's firmware, in hexadecimal digits; its own kernels have the file."""
VOLTAGE_ALARM: Final = "sys/class/hwmon/hwmon*/in0_lcrit_alarm"
"""The same for under-voltage alone, in all kernels (driver raspberrypi-hwmon, its name is rpi_volt)."""

_UNDER_VOLTAGE: Final = 1 << 0
_SLOWED: Final = 1 << 1 | 1 << 2 | 1 << 3
"""Frequency capped, throttled, soft temperature limit: now. The bits from 16 on tell the past."""


@dataclass(frozen=True, slots=True)
class Power:
    under_voltage: bool = False
    throttled: bool = False
    """The processor runs slower than it could, for weak power or for heat."""


class Machine:
    """``root`` is where /proc and /sys stand."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self.model = _text(root / MODEL)
        """ "Raspberry Pi 4 Model B Rev 1.4"; None on other machines."""
        self.key = _disguised_if_any(
            _text(root / SERIAL) or _lowest_address(root) or _text(root / MACHINE_ID)
        )
        """What tells this machine from another, disguised; a cloned card shares its machine-id."""
        self.serial = _text(root / SERIAL) or _disguised_if_any(_text(root / MACHINE_ID))

    def cpu_temperature_c(self) -> float | None:
        """Of the processor; None where there is no sensor."""
        text = _text(self._root / THERMAL_ZONE)
        return int(text) / 1000 if text is not None and text.lstrip("-").isdecimal() else None

    def power(self) -> Power:
        """At this moment; all is well where nothing is said about it."""
        flags = 0
        for path in (path for pattern in THROTTLED for path in self._root.glob(pattern)):
            flags |= _hexadecimal(_text(path))
        alarmed = any(
            _text(path) == "1"
            for path in self._root.glob(VOLTAGE_ALARM)
            if _text(path.with_name("name")) == "rpi_volt"
        )
        return Power(alarmed or bool(flags & _UNDER_VOLTAGE), bool(flags & _SLOWED))


def _hexadecimal(text: str | None) -> int:
    try:
        return int(text or "0", 16)
    except ValueError:
        return 0


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip("\0\n ") or None
    except OSError:
        return None


def _lowest_address(root: Path) -> str | None:
    """The lowest of the addresses that were built into network devices; none of a container or a bridge."""
    found = []
    for device in root.glob(NETWORK):
        built_in = _text(device / "addr_assign_type") == "0" and (device / "device").exists()
        address = _text(device / "address")
        if built_in and address is not None and address.strip("0:"):
            found.append(address)
    return min(found, default=None)


def _disguised_if_any(fact: str | None) -> str | None:
    return None if fact is None else disguised(fact)


def disguised(fact: str) -> str:
    """A short key made of ``fact``; machine-id(5) asks not to show the id itself to a network."""
    return hashlib.sha256(f"cradlewatch {fact}".encode()).hexdigest()[:12]
