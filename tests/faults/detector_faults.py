"""The detector stalls, crashes, falls behind or grows; its models are damaged or exchanged."""

from __future__ import annotations

import mmap
import shutil
import time
from dataclasses import replace

from monitor.service.host_health import HostLimits
from monitor.service.shedding import LATE_S, NEXT_AFTER_S, Shed
from tests.faults.fault import Fault
from tests.faults.live import LiveHouse
from tests.faults.office import OfficeHouse

BEHIND_S = 0.4
"""That long a hop of 0.24 s takes on a machine that is too slow."""
HOP_S = 0.24
SLOW_CRY_S = 2.0
SLOW_CRY_WHY = "3 s of it take 5 s to process"
PILED_UP_S = LATE_S / (1 - HOP_S / BEHIND_S)
SHED_WHY = (
    f"with {BEHIND_S:g} s a hop {LATE_S:g} s have piled up after {PILED_UP_S:.1f} s, sooner where there is "
    f"other work; steps follow {NEXT_AFTER_S:g} s and a look later, and 2 s are for the hub"
)


def _shed_within_s(shed: Shed) -> float:
    return PILED_UP_S + 1.0 + (shed - Shed.CAUSE) * (NEXT_AFTER_S + 1.0) + 2.0


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
    part = b"\1" * 1_000_000
    while house.ballast.tell() < BALLAST:  # in parts, or nothing else in this process would run meanwhile
        house.ballast.write(part)


def _damage(house: LiveHouse) -> None:
    data = bytearray((house.artifacts / GATE).read_bytes())
    data[len(data) // 2] ^= 0xFF
    (house.artifacts / GATE).write_bytes(data)


def _repair(house: LiveHouse) -> None:
    shutil.copyfile(house.models / GATE, house.artifacts / GATE)


def _exchange(house: LiveHouse) -> None:
    shutil.copyfile(house.models / "cause" / "model.int8.onnx", house.artifacts / GATE)


CHANGED = "model file gate/model.int8.onnx was changed or removed"

# What is given up is taken back after half a minute without lag, and a machine with other work has none:
# tests/service/test_shedding.py has that in a time of its own. Here the service is started anew.
DETECTOR = (
    Fault(
        "detector stands still",
        "office",
        _stall,
        "The detector does not advance",
        _let_go,
        noticed_within_s=7.0,
        why="5 s in which the detector does not move, a look, and the hop to the hub",
        then=_was_not_fed,
        deaf="nothing listens",
        renews=True,
    ),
    Fault(
        "inference too slow",
        "office",
        _slow_down,
        "The machine is too slow: to keep pace it goes without the likely cause",
        noticed_within_s=_shed_within_s(Shed.CAUSE),
        why=SHED_WHY,
        later_s=SLOW_CRY_S,
        later_why=SLOW_CRY_WHY,
        renews=True,
    ),
    Fault(
        "inference much too slow",
        "office",
        _slow_down,
        "goes without the likely cause, level reports and the second opinion",
        noticed_within_s=_shed_within_s(Shed.VERIFIER),
        why=SHED_WHY,
        later_s=SLOW_CRY_S,
        later_why=SLOW_CRY_WHY,
        renews=True,
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
        why="the service stops in order within 3 s; a new one starts",
        costs=frozenset({"process", "status", "hub"}),
        deaf="the process has ended, and its manager starts a new one",
        alert_within_s=6.0,
        cuts={"push": "the process has ended"},
    ),
    Fault("model damaged on disk", "live", _damage, CHANGED, _repair),
    Fault("model exchanged on disk", "live", _exchange, CHANGED, _repair),
    Fault("model removed", "live", lambda house: (house.artifacts / GATE).unlink(), CHANGED, _repair),
)
