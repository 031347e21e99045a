"""All faults, and the houses in which they are injected."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from tests.faults import live, office
from tests.faults.detector_faults import DETECTOR
from tests.faults.fault import Fault
from tests.faults.host_faults import HOST
from tests.faults.live import LiveHouse
from tests.faults.microphone_faults import MICROPHONE
from tests.faults.office import OfficeHouse
from tests.faults.sink_faults import SINKS

FAULTS: Final[tuple[Fault, ...]] = tuple(
    sorted((*MICROPHONE, *DETECTOR, *SINKS, *HOST), key=lambda fault: fault.house)
)

HOUSES: Final[dict[str, Callable[[Path], Any]]] = {"live": LiveHouse, "office": OfficeHouse}


def missing(house: str) -> str:
    """Why there can be no such house here; empty where there can."""
    return {"live": live.missing, "office": office.missing}[house]()
