"""Measure the way of an alert: from a cry's first sound at the microphone to the phone.

    python -m tests.hub.alert_delay [--cries 24] [--json FILE]

Everything is real but the phone, which is an HTTP server on this machine: a virtual microphone that
is fed in real time, the service, Mosquitto, Home Assistant with our cry alert (after 0 s of crying).
What the notification service of a phone's maker takes comes on top. About 25 s a cry; make test-hub
sets up what it needs.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import numpy as np

from monitor.detect.activity import HOP
from monitor.errors import MonitorError
from monitor.types import samples, seconds
from tests.bench.live_cries import BACKGROUND_S, LiveCry, live_cries, room_noise, to_int16
from tests.bench.live_delay import machine
from tests.bench.live_report import say, spread
from tests.bench.live_run import GRACE_S, Entry, calm_s
from tests.broker import Subscriber
from tests.hub import home_assistant
from tests.hub.blueprints import cry_alert
from tests.hub.house import CRYING, House
from tests.virtual_microphone import ABSENT, FEED_S

AUTOMATION: Final = "automation.cry_alert"
MESSAGES: Final = "cradlewatch/nursery/crying"


@dataclass(frozen=True, slots=True)
class Alert:
    """One cry that arrived. All in seconds."""

    name: str
    to_message_s: float
    """From the first sound at the microphone to the MQTT message at a subscriber."""
    to_automation_s: float
    """From there until Home Assistant ran the automation."""
    to_phone_s: float
    """From there to the request at the phone."""

    @property
    def delay_s(self) -> float:
        return self.to_message_s + self.to_automation_s + self.to_phone_s


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    rng = np.random.default_rng(options.seed)
    background = to_int16(room_noise(BACKGROUND_S, rng))
    origin, cries = live_cries(options.cries, options.data, options.seed)
    alerts, missed = [], []
    with House(folder, [cry_alert(after=0)], background=background) as house:
        with Subscriber(house.broker.port, MESSAGES) as subscriber:
            for number, cry in enumerate(cries, start=1):
                # Anywhere between two of the service's hops.
                pause = samples(FEED_S) * round((calm_s() + rng.uniform(0, seconds(HOP))) / FEED_S)
                house.microphone.feed(np.resize(background, pause))
                alert = play(house, subscriber, cry)
                (missed if alert is None else alerts).append(cry.name if alert is None else alert)
                if sys.stdout.isatty():
                    say(f"\r{number} of {len(cries)} cries", end="\r")
        posts = len(house.phone.of("crying"))
    return {
        "machine": machine(),
        "cries_from": origin,
        "cries": len(cries),
        "missed": missed,
        "false_alarms": posts - len(alerts),
        "alerts": [asdict(alert) for alert in alerts],
        "delay_s": [alert.delay_s for alert in alerts],
    }


def play(house: House, subscriber: Subscriber, cry: LiveCry) -> Alert | None:
    """Feed one cry and wait for its alert and its end; None if no alert comes."""
    entry, before = Entry(), len(house.phone.posts)
    subscriber.forget()
    house.microphone.feed(cry.samples, wait=False, on_entered=entry.note)
    assert entry.known.wait(60), "the virtual microphone takes no audio"
    try:
        post = house.phone.wait_for(
            "alert",
            lambda post: post.step == "crying" and post.arrived_s > entry.at_s,
            skip=before,
            timeout_s=seconds(len(cry.samples)) + GRACE_S,
        )
    except AssertionError:
        return None
    ran = house.hub.state(AUTOMATION)["attributes"]["last_triggered"]
    message = next(
        m for m in subscriber.received if json.loads(m.payload).get("episode_id") == post.episode_id
    )
    house.hub.wait_for(CRYING, "off", 60)
    # Both clocks are read now; UTC does not step while they are.
    ran_s = time.monotonic() - (time.time() - datetime.fromisoformat(ran).timestamp())
    return Alert(cry.name, message.arrived_s - entry.at_s, ran_s - message.arrived_s, post.arrived_s - ran_s)


def report(result: dict[str, Any]) -> None:
    say(f"{result['machine']}; cries: {result['cries_from']}")
    say(f"cries {result['cries']}, missed {len(result['missed'])}, false alarms {result['false_alarms']}")
    if result["alerts"]:
        say(f"onset at the microphone to the phone   {spread(result['delay_s'])}")
        say(f"  onset to MQTT message                {spread(_of(result, 'to_message_s'))}")
        say(f"  message to automation, in ms         {_in_ms(_of(result, 'to_automation_s'))}")
        say(f"  automation to phone, in ms           {_in_ms(_of(result, 'to_phone_s'))}")


def _of(result: dict[str, Any], stage: str) -> list[float]:
    return [alert[stage] for alert in result["alerts"]]


def _in_ms(values: Sequence[float]) -> str:
    p50, p95 = (1000 * value for value in np.percentile(values, [50, 95]))
    return f"p50 {p50:.0f}, p95 {p95:.0f} ({1000 * min(values):.0f} to {1000 * max(values):.0f})"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.hub.alert_delay",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--cries", type=int, default=24, help="at least 20 say something (24)")
    parser.add_argument("--data", type=Path, help="public audio data (default: $CRADLEWATCH_DATA)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write every figure there")
    options = parser.parse_args(argv)
    if absent := ABSENT or home_assistant.MISSING:
        say(absent)
        return 2
    try:
        with tempfile.TemporaryDirectory(prefix="house-") as folder:
            result = measure(options, Path(folder))
    except MonitorError as error:
        say(str(error))
        return error.exit_code
    report(result)
    if options.json is not None:
        options.json.write_text(json.dumps(result, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
