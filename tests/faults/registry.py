"""All faults, and the houses in which they are injected."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from tests.faults import live, office
from tests.faults.card import Kind
from tests.faults.detector_faults import DETECTOR
from tests.faults.fault import Fault
from tests.faults.host_faults import HOST
from tests.faults.live import LiveHouse
from tests.faults.microphone_faults import MICROPHONE
from tests.faults.office import OfficeHouse
from tests.faults.sink_faults import SINKS

DISKS: Final[tuple[Kind, ...]] = ("ext4-4k", "btrfs", "tmpfs", "vfat", "fuse")
"""Each a live house with its state folder on such a disk; that of "live" is ext4 with blocks of 1 kB."""

HOUSES: Final[dict[str, Callable[[Path], Any]]] = {
    "live": LiveHouse,
    **{kind: functools.partial(LiveHouse, kind=kind) for kind in DISKS},
    "office": OfficeHouse,
}


FAULTS: Final[tuple[Fault, ...]] = tuple(
    sorted((*MICROPHONE, *DETECTOR, *SINKS, *HOST), key=lambda fault: list(HOUSES).index(fault.house))
)


def family(house: str) -> str:
    """Houses in which a cry takes as long without a fault: the same program in the same surroundings."""
    return "live" if house in DISKS else house


def undisturbed(house: str) -> Fault:
    """No fault in a house of this kind; three times, for a baby does not begin at the edge of a hop."""
    return Fault("no fault", house, lambda _: None, "")


def missing(house: str) -> str:
    """Why there can be no such house here; empty where there can."""
    if house in DISKS:
        return live.missing(house)
    return live.missing() if house == "live" else office.missing()
