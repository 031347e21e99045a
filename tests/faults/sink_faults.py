"""The hub is away, slow, deaf or hostile; other ways out are blocked."""

from __future__ import annotations

import contextlib
import json
import socket
import uuid
from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np

from monitor.messages import EpisodeMessage
from tests.broker import HOST, Authority, wait_until
from tests.faults.below import HOUR_S
from tests.faults.fault import Fault
from tests.faults.household import KEEPALIVE_S
from tests.faults.live import ACL, DENYING, LiveHouse
from tests.faults.office import OfficeHouse

HUB = frozenset({"hub"})
IDLE = 500
STUCK_S = 22.0
BASE = "cradlewatch/nursery"
BACK_S = 12.0
BACK_WHY = "the pauses between tries at the broker, 2 s for which a trouble has to stay away, and a look"
SILENT_S = 2 * KEEPALIVE_S + 6.0
SILENT_WHY = (
    f"a keep-alive of {KEEPALIVE_S} s until a sign of life is asked for, and another one to wait for it"
)
CUT_OFF = {"mqtt": "the way to the broker is the fault"}


def _wrong_password(house: LiveHouse) -> None:
    house.broker.kill()
    house.broker.change_password("monitor", "another")
    house.broker.start()


def _right_password(house: LiveHouse) -> None:
    house.broker.kill()
    house.broker.change_password("monitor", "sesame")
    house.broker.start()


def _foreign_certificate(house: LiveHouse) -> None:
    house.serve(authority=Authority.create(house.folder / f"foreign-{uuid.uuid4().hex}"))


def _narrow(house: LiveHouse) -> None:
    house.proxy.bytes_per_s = 20.0


def _delay(house: LiveHouse) -> None:
    house.proxy.delay_s = 4.0


def _hours_pass(house: LiveHouse) -> None:
    house.hush()
    house.below.shift(2 * HOUR_S, since_boot_s=2 * HOUR_S)


def _return_after_hours(house: LiveHouse) -> None:
    house.broker.start()


def _late_and_no_alarm(house: LiveHouse) -> None:
    wait_until(lambda: house.hub.on(f"{BASE}/late"), "the late event is told as late")
    kinds = [json.loads(event)["event_type"] for event in house.hub.on(f"{BASE}/cry")]
    assert not {"started", "escalated"} & set(kinds), "a cry of two hours ago raised an alarm"


def _press_test_alert(house: LiveHouse) -> None:
    house.hub.publish(f"{BASE}/set/test_alert", "PRESS")


def _refuse(house: LiveHouse) -> None:
    house.refuse_alerts()
    _press_test_alert(house)


def _swallow(house: LiveHouse) -> None:
    """The push server takes the connection and never says a word."""
    house.phone_line.blackhole()
    _press_test_alert(house)


def _hang_names(house: LiveHouse) -> None:
    house.below.hang_resolver()
    _press_test_alert(house)


def _hang_names_and_cut(house: LiveHouse) -> None:
    house.below.hang_resolver()
    house.proxy.cut()
    house.proxy.mend()


def _clone(house: LiveHouse) -> None:
    """A cloned card, and both know of each other."""
    house.start_twin()
    wait_until(lambda: any("device.id" in said for said in house.ways()["status"]), "it sees the other", 40)


def _shown_once(house: LiveHouse) -> None:
    """The hub shows one cry, and its end."""
    house.wait_until_calm()
    shown = [json.loads(payload)["state"] for payload in house.hub.on(f"{BASE}/crying")]
    changes = [state for state, before in zip(shown[1:], shown, strict=False) if state != before]
    assert changes == ["ON", "OFF"], f"the hub showed {shown}"


def _idle(port: Callable[[LiveHouse], int]) -> Callable[[LiveHouse], None]:
    """Connect 500 times and say nothing."""

    def connect(house: LiveHouse) -> None:
        for _ in range(IDLE):
            with contextlib.suppress(OSError):  # a door that is shut is an answer too
                house.callers.append(socket.create_connection((HOST, port(house)), timeout=1))

    return connect


def _hang_up(house: LiveHouse) -> None:
    while house.callers:
        house.callers.pop().close()


def _nobody_reads(house: OfficeHouse) -> None:
    """The reader of the event log hangs, and its pipe is full."""
    house.fill_event_log()


def _too_many_cries(house: OfficeHouse) -> None:
    house.fill_event_log()
    queue = house.event_log_queue()
    for _ in range(300):
        queue.put(_cry("ended"))


def _cry(event_type: str) -> EpisodeMessage:
    now = datetime.now(UTC)
    return EpisodeMessage(
        event_id=uuid.uuid4().hex,
        device="office",
        time=now,
        event_type=event_type,
        episode_id=uuid.uuid4().hex,
        onset_at=now,
        detected_at=now,
        duration_s=1.0,
        crying_s=1.0,
        score=0.9,
        level_dbfs=float(np.float32(-30.0)),
    )


SINKS = (
    Fault(
        "broker killed",
        "live",
        lambda house: house.broker.kill(),
        "mqtt: ",
        lambda house: house.broker.start(),
        back_within_s=BACK_S,
        why=BACK_WHY,
        costs=HUB,
        quick=True,
        cuts=CUT_OFF,
    ),
    Fault(
        "broker frozen",
        "live",
        lambda house: house.broker.freeze(),
        "mqtt: ",
        lambda house: house.broker.thaw(),
        noticed_within_s=SILENT_S,
        back_within_s=BACK_S,
        why=f"{SILENT_WHY}; {BACK_WHY}",
        costs=HUB,
        cuts=CUT_OFF,
    ),
    Fault(
        "password changed at the broker",
        "live",
        _wrong_password,
        r"mqtt: .*refused us: Not authorized \(reason code 135\)",
        _right_password,
        noticed_within_s=6.0,
        back_within_s=BACK_S,
        why=f"the broker starts again and is tried again; {BACK_WHY}",
        costs=HUB,
        cuts=CUT_OFF,
    ),
    Fault(
        "access list forbids topics",
        "live",
        lambda house: house.allow(DENYING),
        r"mqtt: .*does not let us publish to .*\(reason code 135\)",
        lambda house: house.allow(ACL),
        noticed_within_s=12.0,
        back_within_s=14.0,
        why="a calm room reports its level every 10 s",
        cuts={"mqtt": "the broker takes no cry from us"},
    ),
    Fault(
        "broker's certificate expired",
        "live",
        lambda house: house.serve(days=-1),
        "mqtt: .*certificate",
        lambda house: house.serve(),
        noticed_within_s=6.0,
        back_within_s=BACK_S,
        why=f"the broker starts again and is tried again; {BACK_WHY}",
        costs=HUB,
        cuts=CUT_OFF,
    ),
    Fault(
        "broker's certificate from somebody else",
        "live",
        _foreign_certificate,
        "mqtt: .*certificate",
        lambda house: house.serve(),
        noticed_within_s=6.0,
        back_within_s=BACK_S,
        why=f"the broker starts again and is tried again; {BACK_WHY}",
        costs=HUB,
        cuts=CUT_OFF,
    ),
    Fault(
        "network cut",
        "live",
        lambda house: house.proxy.cut(),
        "mqtt: ",
        lambda house: house.proxy.mend(),
        back_within_s=BACK_S,
        why=BACK_WHY,
        costs=HUB,
        cuts=CUT_OFF,
    ),
    Fault(
        "connection half open",
        "live",
        lambda house: house.proxy.blackhole(),
        "mqtt: ",
        lambda house: house.proxy.mend(),
        noticed_within_s=SILENT_S,
        back_within_s=BACK_S,
        why=f"{SILENT_WHY}; {BACK_WHY}",
        costs=HUB,
        cuts=CUT_OFF,
    ),
    Fault(
        "network slow: 4 s a packet",
        "live",
        _delay,
        "mqtt: ",
        lambda house: house.proxy.mend(),
        noticed_within_s=SILENT_S,
        back_within_s=25.0,
        why=f"{SILENT_WHY}; what was sent meanwhile comes through first",
        costs=HUB,
        cuts={"mqtt": "each packet takes 4 s, and there is more than one"},
    ),
    Fault(
        "network narrow: 20 bytes a second",
        "live",
        _narrow,
        "mqtt: ",
        lambda house: house.proxy.mend(),
        noticed_within_s=SILENT_S,
        back_within_s=40.0,
        why=f"{SILENT_WHY}; what was sent meanwhile comes through first",
        costs=HUB,
        cuts={"mqtt": "a cry has more than 500 bytes"},
    ),
    Fault(
        "broker away for two hours with a cry",
        "live",
        lambda house: house.broker.kill(),
        "mqtt: ",
        _return_after_hours,
        back_within_s=35.0,
        why=f"{BACK_WHY}; the clock jumped as well",
        costs=HUB,
        cuts=CUT_OFF,
        meanwhile=_hours_pass,
        then=_late_and_no_alarm,
        renews=True,
    ),
    Fault(
        "push service down",
        "live",
        _refuse,
        "push: .*phone",
        lambda house: house.accept_alerts(),
        noticed_within_s=5.0,
        back_within_s=35.0,
        why="an alert is tried again after 2, 4, 8, 16 and then every 30 s",
        cuts={"push": "the service refuses every alert"},
    ),
    Fault(
        "push service hangs",
        "live",
        _swallow,
        "push: .*phone",
        lambda house: house.phone_line.mend(),
        noticed_within_s=12.0,
        back_within_s=45.0,
        why="an attempt is given up after 4 s, and tried again after 2, 4, 8, 16 and then every 30 s",
        quick=True,
        cuts={"push": "the service takes the connection and never answers"},
    ),
    Fault(
        "names of hosts cannot be looked up: DNS hangs",
        "live",
        _hang_names,
        "push: .*phone",
        lambda house: house.below.answer_names(),
        noticed_within_s=STUCK_S,
        why="a channel that has not answered for 20 s is called stuck",
        cuts={"push": "each alert asks for the address of its service"},
    ),
    Fault(
        "DNS hangs and the link to the broker is lost",
        "live",
        _hang_names_and_cut,
        "mqtt: ",
        lambda house: house.below.answer_names(),
        back_within_s=BACK_S,
        why=BACK_WHY,
        costs=HUB,
        cuts={
            "mqtt": "the address of the broker is asked for in vain",
            "push": "each alert asks for the address of its service",
        },
    ),
    Fault(
        "two monitors with one device.id",
        "live",
        _clone,
        r"mqtt: .*device\.id .*two monitors",
        noticed_within_s=40.0,
        why="the second one has to start",
        cuts={
            "speaker": "nothing is withheld, for by the broker's answers the two know of each other; it rests"
        },
        then=_shown_once,
        renews=True,
    ),
    Fault(
        f"{IDLE} idle connections to /metrics",
        "live",
        _idle(lambda house: house.metrics_port),
        "",
        _hang_up,
    ),
    Fault(
        f"{IDLE} idle connections to the port of acknowledgements",
        "live",
        _idle(lambda house: house.callback_port),
        "",
        _hang_up,
    ),
    Fault(
        "reader of the event log hangs",
        "office",
        _nobody_reads,
        "jsonl: messages wait",
        lambda house: house.read_events(read=True),
        noticed_within_s=18.0,
        why="a message may wait for 10 s, and one comes every few seconds",
    ),
    Fault(
        "queue of a sink full of cries",
        "office",
        _too_many_cries,
        "jsonl: .*could not be kept",
        lambda house: house.read_events(read=True),
        noticed_within_s=8.0,
        back_within_s=10.0,
        why="300 cries that could be kept are written first",
    ),
)
