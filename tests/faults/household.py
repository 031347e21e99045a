"""What every house has: a microphone, a broker with a hub, a phone, a speaker, and a baby.

The speaker is the last resort and sounds only when neither hub nor phone confirms that it has the alarm. So
both get it, and as long as one waits for the speaker their confirmations are withheld on the way back.
"""

from __future__ import annotations

import json
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from monitor.config import DeviceConfig
from monitor.sinks import push_text
from tests.broker import Authority, Mosquitto, Received, Subscriber, wait_until
from tests.faults.cry import cry
from tests.faults.proxy import Proxy
from tests.faults.speaker import Speaker
from tests.faults.watcher import Watcher
from tests.signals import noise
from tests.sinks.receivers import HttpReceiver
from tests.sinks.receivers import Received as Alert
from tests.virtual_microphone import VirtualMicrophone

FAULT_AFTER_S = 5.0
"""``push.fault_after_s``, the shortest that may be set."""
SOUNDER_AFTER_S = 5.0
"""``sounder.after_s``, the shortest that may be set."""
HANG_OVER_S = 2.0
"""``detect.hang_over_s``: the next fault waits until the cry is over."""
KEEPALIVE_S = 10
"""``mqtt.keepalive_s``: paho hangs up when no answer came for that long, and while the speaker is waited for
none comes for 7 s."""
ALERTS = ("Monitor hears nothing", "Monitor may hear nothing")


class Household:
    """The base of houses. ``device``: the id in topics and on the phone."""

    def __init__(self, folder: Path, device: str) -> None:
        self.folder = folder
        self.device = device
        self.name = DeviceConfig().name
        self.watcher: Watcher
        self._entered_s = 0.0
        self._distort = _plain

    def furnish(self, stack: ExitStack, broker: Mosquitto, *, authority: Authority | None = None) -> None:
        """Everything around the service, which is started by who calls this."""
        self.speaker = stack.enter_context(Speaker(self.folder / "speaker"))
        self.microphone = VirtualMicrophone(self.folder, "pipe", background=noise(10.0, -55.0))
        self.microphone.beside = self.speaker.alsa
        stack.enter_context(self.microphone)
        self.broker = stack.enter_context(broker)
        self.proxy = Proxy(self.broker.port)
        stack.callback(self.proxy.close)
        user = None if authority is None else ("hub", "hub")
        ca_file = None if authority is None else authority.ca_file
        self.hub = stack.enter_context(Subscriber(self.broker.port, user=user, ca_file=ca_file))
        self.phone = stack.enter_context(HttpReceiver())
        self.phone.holds = self._is_cry  # no other note may hold up the next alarm
        self.phone_line = Proxy(self.phone.port)
        stack.callback(self.phone_line.close)
        self.channels = self.folder / "channels.toml"
        url = f"json://localhost:{self.phone_line.port}"
        self.channels.write_text(f'[[channel]]\nname = "phone"\nurl = "{url}"\n')
        self.channels.chmod(0o600)

    # --- the phone ----------------------------------------------------------------------------------

    def refuse_alerts(self) -> None:
        self.phone.answers.extend([503] * 1000)

    def accept_alerts(self) -> None:
        self.phone.answers.clear()

    # --- the baby -----------------------------------------------------------------------------------

    def cry(self) -> None:
        """Let the baby begin to cry. Times count from the first sample that enters the microphone."""
        entered = threading.Event()

        def note(at_s: float) -> None:
            self._entered_s = at_s
            entered.set()

        self._entered_s = time.monotonic()  # for a microphone that takes nothing
        self.microphone.feed(self._distort(cry()), wait=False, on_entered=note)
        entered.wait(1.0)

    def distort(self, how) -> None:
        """From now on the microphone makes something else of what is fed; None: no longer."""
        self._distort = _plain if how is None else how

    def hush(self) -> None:
        """Let the baby be calm, and hub and phone confirm what they got."""
        self.microphone.hush()
        self.answer()

    def withhold(self, *, hub: bool, phone: bool) -> None:
        """Let the alarm arrive, and no confirmation come back."""
        if hub:
            self.proxy.withhold()
        if phone:
            self.phone.hold.clear()

    def answer(self) -> None:
        self.proxy.answer()
        self.phone.hold.set()

    def _is_cry(self, alert: Alert) -> bool:
        return bool(alert.json["title"] == push_text.cry_title(self.name, urgent=False))

    # --- who has heard of it ------------------------------------------------------------------------

    @property
    def crying_s(self) -> float:
        return time.monotonic() - self._entered_s

    def delivered(self) -> dict[str, float]:
        """By way, after how many seconds of crying the alarm was there."""
        found = {
            "mqtt": self._told_by_mqtt(),
            "push": self._told_by_push(push_text.cry_title(self.name, urgent=False)),
            "speaker": self.speaker.first_sound_s(self._entered_s),
        }
        return {way: at_s - self._entered_s for way, at_s in found.items() if at_s is not None}

    def alerted(self, since_s: float) -> dict[str, float]:
        """By way, how many seconds after ``since_s`` it was told that nobody listens to the baby."""
        hub = next((m.arrived_s for m in self._news(since_s) if _says_deaf(m)), None)
        title = next(
            (f"{self.name}: {alert}" for alert in ALERTS if self._pushed(f"{self.name}: {alert}")), ""
        )
        found = {"mqtt": hub, "push": self._told_by_push(title, since_s)}
        return {way: at_s - since_s for way, at_s in found.items() if at_s is not None}

    def _told_by_mqtt(self) -> float | None:
        """When the hub had both the event, for automations, and the state, for whoever looks."""
        base, news = f"cradlewatch/{self.device}", self._news(self._entered_s)
        event = _first(news, f"{base}/cry", "event_type", "started")
        state = _first(news, f"{base}/crying", "state", "ON")
        return None if event is None or state is None else max(event, state)

    def _news(self, since_s: float) -> list[Received]:
        return [message for message in self.hub.received if message.arrived_s >= since_s]

    def _pushed(self, title: str) -> bool:
        return self._told_by_push(title) is not None

    def _told_by_push(self, title: str, since_s: float | None = None) -> float | None:
        since_s = self._entered_s if since_s is None else since_s
        with self.phone.arrived:
            alerts = list(self.phone.received)
        times = (one.arrived_s for one in alerts if one.arrived_s >= since_s and one.json["title"] == title)
        return next(times, None)

    def is_calm(self) -> bool:
        """The hub sees no cry, and nothing is on its way."""
        return self.watcher.is_calm()

    def wait_until_calm(self) -> None:
        wait_until(self.is_calm, "the hub sees no cry", 40)

    def forget_deliveries(self) -> None:
        self.speaker.forget()
        with self.phone.arrived:
            self.phone.received.clear()


def _plain(samples: NDArray[np.int16]) -> NDArray[np.int16]:
    return samples


def _first(news: list[Received], topic: str, key: str, value: str) -> float | None:
    found = (
        m.arrived_s
        for m in news
        if m.topic == topic and m.payload and json.loads(m.payload).get(key) == value
    )
    return next(found, None)


def _says_deaf(message: Received) -> bool:
    if message.topic.endswith("/availability"):
        return message.payload == "offline"
    if not message.topic.endswith("/health") or not message.payload:
        return False
    health = json.loads(message.payload)
    return not (health["microphone_ok"] and health["signal_ok"]) or health["state"] == "fault"
