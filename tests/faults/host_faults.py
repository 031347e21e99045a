"""The machine below: disk, power, heat, clock, descriptors, and what others do to our files."""

from __future__ import annotations

import json
import shutil
import sqlite3
import time
from contextlib import closing
from signal import SIGKILL

from tests.broker import wait_until
from tests.faults import tasks
from tests.faults.below import HOUR_S
from tests.faults.fault import Fault
from tests.faults.live import LiveHouse
from tests.faults.office import FIRMWARE, TEMPERATURE, VOLTAGE, OfficeHouse

SET = "cradlewatch/nursery/set/sensitivity"
WITHHELD_WHY = (
    "6.8 and 7.9 s were seen on a busy machine, presumably because the broker's confirmations are withheld "
    "until the speaker sounds and 20 unconfirmed messages hold back the next"
)
DISK_WHY = "the disk is looked at every 2 s, and what hangs is waited for 1 s"


def _intact(house: LiveHouse) -> None:
    """What is set now outlives a kill."""
    house.hub.publish(SET, "65")
    wait_until(lambda: _kept(house).get("sensitivity") == 65, "the new sensitivity is on disk")
    house.hub.publish(SET, "50")
    wait_until(lambda: _kept(house).get("sensitivity") == 50, "the old sensitivity is on disk again")


def _kept(house: LiveHouse) -> dict:
    path = house.state / "controls.json"
    return json.loads(path.read_text()) if path.exists() else {}


def _freeze(house: LiveHouse) -> None:
    """The disk answers nobody any more, and a parent sets something."""
    house.card.freeze()
    house.hub.publish(SET, "70")


def _thaw(house: LiveHouse) -> None:
    house.card.thaw()
    house.hub.publish(SET, "50")


def _lock(house: LiveHouse) -> None:
    """Another program holds all our databases as we start: what we have open, nobody else can lock."""
    house.end()
    house.lock_databases()
    house.start()
    wait_until(house.hears, "it listens", 40)


def _unlock(house: LiveHouse) -> None:
    house.unlock_databases()


def _no_threads(house: LiveHouse) -> None:
    """Before the first cry, at which one might be started that is not there yet."""
    house.restart()
    house.wait_until_well()
    house.limit_tasks()


def _starve(house: LiveHouse) -> None:
    house.limit_files(limited=True)


def _power_cuts(house: LiveHouse) -> None:
    """Kill it at any moment while it writes, and look at what is on disk."""
    for k in range(8):
        wait_until(lambda: house.watcher.report().get("counters"), "it answers")
        for number in range(30):
            house.hub.publish(SET, str(5 * (number % 20)))
            if number == 3 * k:
                break
        house.process.send_signal(SIGKILL)
        house.process.wait(20)
        _check_files(house)
        house.restart(how=SIGKILL)


def _check_files(house: LiveHouse) -> None:
    for path in house.state.glob("*.json"):
        json.loads(path.read_text())
    assert not list(house.state.glob("*.damaged*")), "a file was found damaged"
    for path in house.state.iterdir():
        if path.is_file() and path.read_bytes()[:15] == b"SQLite format 3":
            with closing(sqlite3.connect(path)) as database:
                assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",), path


def _check_after_end(house: LiveHouse) -> None:
    """As long as it runs nobody else can open its outboxes."""
    house.end()
    _check_files(house)
    house.start()


def _stick(house: OfficeHouse) -> None:
    house.each_look(house.hang)


def _let_main_go(house: OfficeHouse) -> None:
    pings = house.pings
    time.sleep(1.5)
    house.fed_while_stuck = house.pings != pings
    house.release()


def _was_not_fed(house: OfficeHouse) -> None:
    assert not house.fed_while_stuck, "the watchdog was fed while main was stuck"


HOST = (
    Fault(
        "disk full",
        "live",
        lambda house: house.card.fill(),
        "The disk with the state folder is full",
        lambda house: house.card.clear(),
        noticed_within_s=4.0,
        back_within_s=8.0,
        why=DISK_WHY,
    ),
    *(
        Fault(
            f"disk full, {kind}",
            kind,
            lambda house: house.card.fill(),
            "The disk with the state folder is full",
            lambda house: house.card.clear(),
            noticed_within_s=4.0,
            back_within_s=8.0,
            why=DISK_WHY,
        )
        for kind in ("ext4-4k", "btrfs", "tmpfs", "vfat")
    ),
    *(
        Fault(
            name,
            house,
            _freeze,
            "controls.json cannot be written: the disk does not answer",
            _thaw,
            noticed_within_s=10.0,
            back_within_s=8.0,
            why=f"{DISK_WHY}; {WITHHELD_WHY}",
            quick=house == "live",
            costs=frozenset() if house == "live" else frozenset({"status"}),
            first=lambda house: house.card.flush(),
        )
        for name, house in (("disk hangs", "live"), ("disk over the network hangs", "fuse"))
    ),
    Fault(
        "disk answers with errors",
        "live",
        lambda house: house.card.die(),
        "cannot be|read-only|error",
        lambda house: house.card.replace(),
        noticed_within_s=4.0,
        back_within_s=10.0,
        why=DISK_WHY,
        costs=frozenset({"status"}),
        then=_intact,
    ),
    Fault(
        "databases locked by another program",
        "live",
        _lock,
        "locked",
        _unlock,
        noticed_within_s=15.0,
        back_within_s=15.0,
        why="the time of a start; a file that cannot be had is tried again",
        quick=True,
        costs=frozenset({"status", "hub"}),
    ),
    Fault(
        "no thread can be started any more",
        "live",
        _no_threads,
        "",
        lambda house: house.unlimit_tasks(),
        quick=True,
        costs=frozenset({"status", "hub"}),
        missing=tasks.missing,
        cuts={"speaker": "PortAudio makes a thread for each sound, and so does the sound system's library"},
    ),
    Fault(
        "disk has become read-only",
        "live",
        lambda house: house.card.break_down(),
        "has become read-only",
        lambda house: house.card.replace(),
        noticed_within_s=4.0,
        back_within_s=10.0,
        why=DISK_WHY,
        costs=frozenset({"status"}),
        then=_intact,
    ),
    Fault(
        "state folder deleted",
        "live",
        lambda house: shutil.rmtree(house.state),
        "was deleted or replaced",
        lambda house: None,
        noticed_within_s=5.0,
        back_within_s=75.0,
        why="the machine is looked at every 2 s; that settings were lost is told for a minute",
        costs=frozenset({"status"}),
        then=_intact,
    ),
    Fault(
        "status socket deleted",
        "live",
        lambda house: (house.state / "status.sock").unlink(),
        "status.socket_lost",
        lambda house: None,
        in_log=True,
        costs=frozenset({"status"}),
    ),
    Fault(
        "no file can be opened any more",
        "live",
        _starve,
        "Nearly no file can be opened",
        lambda house: house.limit_files(limited=False),
        noticed_within_s=8.0,
        back_within_s=8.0,
        why="the hub hears of it within 2 s; who asks for the status gives up after 5 s",
        costs=frozenset({"status"}),
        cuts={
            "push": "a new connection is a new file",
            "speaker": "its sound goes through a new file",
        },
    ),
    Fault(
        "clock jumps an hour forward",
        "live",
        lambda house: house.below.jump(HOUR_S),
        "The clock jumped forward",
        renews=True,
    ),
    Fault(
        "clock jumps an hour back",
        "live",
        lambda house: house.below.jump(-HOUR_S),
        "The clock jumped back",
        renews=True,
    ),
    Fault(
        "clock was never set",
        "live",
        lambda house: house.below.shift(-time.time()),
        "The clock has not been set",
        lambda house: house.below.shift(0.0),
        renews=True,
    ),
    Fault(
        "nobody reads the log, its pipe is full",
        "live",
        lambda house: house.block_log(),
        "Nobody takes the log lines",
        lambda house: house.read_log(read=True),
        noticed_within_s=10.0,
        back_within_s=15.0,
        why="100 lines have to be written, and a line may wait for a while",
    ),
    Fault(
        "power cut, eight times",
        "live",
        _power_cuts,
        "service.ready",
        lambda house: None,
        noticed_within_s=240.0,
        back_within_s=20.0,
        why="the time of eight starts",
        later_s=15.0,
        later_why="the power comes back with the cry, and the service starts",
        cuts={"speaker": "it rests: to connect, the service needs the broker's answers, so none is withheld"},
        in_log=True,
        costs=frozenset({"status", "hub"}),
        then=_check_after_end,
    ),
    Fault(
        "processor too hot",
        "office",
        lambda house: house.lay(TEMPERATURE, "84000"),
        "hotter than 80 degrees",
        lambda house: house.lay(TEMPERATURE, "51540"),
    ),
    Fault(
        "under-voltage, firmware's flags",
        "office",
        lambda house: house.lay(FIRMWARE, "50005"),
        "under-voltage",
        lambda house: house.lay(FIRMWARE, "50000"),
    ),
    Fault(
        "under-voltage, kernel's alarm",
        "office",
        lambda house: house.lay(VOLTAGE / "in0_lcrit_alarm", "1"),
        "under-voltage",
        lambda house: house.lay(VOLTAGE / "in0_lcrit_alarm", "0"),
    ),
    Fault(
        "processor throttled",
        "office",
        lambda house: house.lay(FIRMWARE, "80008"),
        "slowed down by heat or weak power",
        lambda house: house.lay(FIRMWARE, "80000"),
    ),
    Fault(
        "main is stuck",
        "office",
        _stick,
        "Supervision has not come round",
        _let_main_go,
        noticed_within_s=12.5,
        why="10 s in which main has not come round, and the answer",
        then=_was_not_fed,
    ),
)
