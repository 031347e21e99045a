"""The hub is away, slow, deaf or hostile; other ways out are blocked."""

from __future__ import annotations

import time
import uuid
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import soundfile

from monitor.messages import EpisodeMessage
from tests.broker import Authority, wait_until
from tests.faults.below import HOUR_S
from tests.faults.fault import Fault
from tests.faults.live import ACL, DENYING, LiveHouse
from tests.faults.office import OfficeHouse

NURSERY = Path(__file__).parents[2] / "monitor" / "demo" / "nursery.flac"
HUB = frozenset({"hub"})
BASE = "cradlewatch/nursery"
BACK_S = 12.0
"""Back-off between connections, the hold of two seconds, and the look."""
SILENT_S = 16.0
"""The keep-alive of these houses is 5 s; the default of 15 s takes up to three times as long."""


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


def _away_for_hours(house: LiveHouse) -> None:
    """The broker is away, the baby cries, and two hours pass."""
    house.broker.kill()
    audio, _ = soundfile.read(NURSERY, dtype="int16", start=27 * 8000, stop=18 * 16_000)
    house.microphone.feed(audio)
    wait_until(lambda: house.watcher.report().get("counters", {}).get("episodes"), "a cry is heard")
    house.below.shift(2 * HOUR_S, since_boot_s=2 * HOUR_S)


def _late_and_no_alarm(house: LiveHouse) -> None:
    wait_until(lambda: house.hub.on(f"{BASE}/late"), "the late event is told as late")
    assert not house.hub.on(f"{BASE}/cry"), "a cry of two hours ago raised an alarm"


def _press_test_alert(house: OfficeHouse) -> None:
    house.phone.refuse()
    house.hub.publish("cradlewatch/office/set/test_alert", "PRESS")


def _nobody_reads(house: OfficeHouse) -> None:
    """The reader of the event log hangs: fill its pipe."""
    assert house.fifo.is_fifo()
    house.read_events(read=False)
    message = _cry("updated")
    until_s = time.monotonic() + 5
    while time.monotonic() < until_s and not house.event_log_is_stuck():
        for _ in range(50):
            house.service._bus.publish(message.model_copy(update={"episode_id": uuid.uuid4().hex}))
        time.sleep(0.02)


def _too_many_cries(house: OfficeHouse) -> None:
    _nobody_reads(house)
    for _ in range(300):
        house.service._bus.publish(_cry("ended"))


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
        costs=HUB,
        quick=True,
    ),
    Fault(
        "broker frozen",
        "live",
        lambda house: house.broker.freeze(),
        "mqtt: ",
        lambda house: house.broker.thaw(),
        noticed_within_s=SILENT_S,
        back_within_s=BACK_S,
        costs=HUB,
    ),
    Fault(
        "password changed at the broker",
        "live",
        _wrong_password,
        r"mqtt: .*refused us: Not authorized \(reason code 135\)",
        _right_password,
        noticed_within_s=6.0,
        back_within_s=BACK_S,
        costs=HUB,
    ),
    Fault(
        "access list forbids topics",
        "live",
        lambda house: house.allow(DENYING),
        r"mqtt: .*does not let us publish to .*\(reason code 135\)",
        lambda house: house.allow(ACL),
        noticed_within_s=12.0,
        back_within_s=14.0,
    ),
    Fault(
        "broker's certificate expired",
        "live",
        lambda house: house.serve(days=-1),
        "mqtt: .*certificate that is not trusted: certificate has expired",
        lambda house: house.serve(),
        noticed_within_s=6.0,
        back_within_s=BACK_S,
        costs=HUB,
    ),
    Fault(
        "broker's certificate from somebody else",
        "live",
        _foreign_certificate,
        "mqtt: .*certificate that is not trusted",
        lambda house: house.serve(),
        noticed_within_s=6.0,
        back_within_s=BACK_S,
        costs=HUB,
    ),
    Fault(
        "network cut",
        "live",
        lambda house: house.proxy.cut(),
        "mqtt: ",
        lambda house: house.proxy.mend(),
        back_within_s=BACK_S,
        costs=HUB,
    ),
    Fault(
        "connection half open",
        "live",
        lambda house: house.proxy.blackhole(),
        "mqtt: ",
        lambda house: house.proxy.mend(),
        noticed_within_s=SILENT_S,
        back_within_s=BACK_S,
        costs=HUB,
    ),
    Fault(
        "network slow: 4 s a packet",
        "live",
        _delay,
        "mqtt: ",
        lambda house: house.proxy.mend(),
        noticed_within_s=SILENT_S,
        back_within_s=25.0,
        costs=HUB,
    ),
    Fault(
        "network narrow: 20 bytes a second",
        "live",
        _narrow,
        "mqtt: ",
        lambda house: house.proxy.mend(),
        noticed_within_s=SILENT_S,
        back_within_s=40.0,
        costs=HUB,
    ),
    Fault(
        "broker away for two hours with a cry",
        "live",
        _away_for_hours,
        "mqtt: ",
        lambda house: house.broker.start(),
        noticed_within_s=40.0,
        back_within_s=35.0,
        costs=HUB,
        then=_late_and_no_alarm,
    ),
    Fault(
        "push service down",
        "office",
        _press_test_alert,
        "push: .*phone",
        lambda house: house.phone.accept(),
        noticed_within_s=5.0,
        back_within_s=35.0,
    ),
    Fault(
        "reader of the event log hangs",
        "office",
        _nobody_reads,
        "jsonl: messages wait",
        lambda house: house.read_events(read=True),
        noticed_within_s=18.0,
    ),
    Fault(
        "queue of a sink full of cries",
        "office",
        _too_many_cries,
        "jsonl: .*could not be kept",
        lambda house: house.read_events(read=True),
        noticed_within_s=8.0,
        back_within_s=10.0,
    ),
)
