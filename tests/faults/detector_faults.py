"""The detector stalls, crashes, falls behind or grows; its models are damaged or exchanged."""

from __future__ import annotations

import mmap
import shutil
import time
from dataclasses import replace

from monitor.service.host_health import HostLimits
from tests.faults.fault import Fault
from tests.faults.live import LiveHouse
from tests.faults.office import OfficeHouse

BEHIND_S = 0.4
"""That long a hop of 0.24 s takes on a machine that is too slow."""
BALLAST = 200_000_000
GATE = "gate/model.int8.onnx"


def _stall(house: OfficeHouse) -> None:
    house.each_hop(house.hang)


def _was_not_fed(house: OfficeHouse) -> None:
    # At most the pings of the 5 s before it counts as standing, and of those behind the release.
    assert not house.fed_while_stuck, "the watchdog was fed while the service was stuck"
    pings, until_s = house.pings, time.monotonic() + 5.0
    while house.pings == pings:
        assert time.monotonic() < until_s, "the watchdog is not fed again"
        time.sleep(0.05)


def _let_go(house: OfficeHouse) -> None:
    """After three seconds in which nobody may feed the watchdog."""
    pings = house.pings
    time.sleep(3.0)
    house.fed_while_stuck = house.pings != pings
    house.release()


def _crash(house: OfficeHouse) -> None:
    def fail() -> None:
        raise ZeroDivisionError("a bug in the detector")

    house.each_hop(fail)


def _slow_down(house: OfficeHouse) -> None:
    house.each_hop(lambda: time.sleep(BEHIND_S))


def _grow(house: OfficeHouse) -> None:
    tracker = house.service._tracker
    used_mb = house.service._vitals.latest.memory_mb
    tracker.limits = replace(tracker.limits, host=HostLimits(memory_mb=used_mb + BALLAST / 2e6))
    house.ballast = mmap.mmap(-1, BALLAST)
    house.ballast.write(b"\1" * BALLAST)


def _damage(house: LiveHouse) -> None:
    data = bytearray((house.artifacts / GATE).read_bytes())
    data[len(data) // 2] ^= 0xFF
    (house.artifacts / GATE).write_bytes(data)


def _repair(house: LiveHouse) -> None:
    shutil.copyfile(house.models / GATE, house.artifacts / GATE)


def _exchange(house: LiveHouse) -> None:
    shutil.copyfile(house.models / "cause" / "model.int8.onnx", house.artifacts / GATE)


CHANGED = "model file gate/model.int8.onnx was changed or removed"

DETECTOR = (
    Fault(
        "detector stands still",
        "office",
        _stall,
        "The detector does not advance",
        _let_go,
        noticed_within_s=7.0,
        then=_was_not_fed,
    ),
    Fault(
        "inference too slow",
        "office",
        _slow_down,
        "The machine is too slow: to keep pace it goes without the likely cause",
        lambda house: house.release(),
        noticed_within_s=12.0,
        # One step is taken back each half minute without lag.
        back_within_s=120.0,
    ),
    Fault(
        "inference much too slow",
        "office",
        _slow_down,
        "goes without the likely cause, level reports and the second opinion",
        lambda house: house.release(),
        noticed_within_s=15.0,
        back_within_s=150.0,
    ),
    Fault(
        "memory grows",
        "office",
        _grow,
        "takes more than .* MB of memory",
        lambda house: house.ballast.close(),
    ),
    Fault(
        "detector crashes",
        "office",
        _crash,
        "ended with exit code 1",
        lambda house: house.restart(),
        noticed_within_s=6.0,
        back_within_s=8.0,
        costs=frozenset({"process", "status", "hub"}),
    ),
    Fault("model damaged on disk", "live", _damage, CHANGED, _repair),
    Fault("model exchanged on disk", "live", _exchange, CHANGED, _repair),
    Fault("model removed", "live", lambda house: (house.artifacts / GATE).unlink(), CHANGED, _repair),
)
