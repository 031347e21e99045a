"""The other end of the line: an MQTT subscriber such as a home hub is, and nothing else.

It shares no code with the sink that sends. paho's network thread delivers; any thread may read.
"""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from pydantic import ValidationError

from monitor.errors import MonitorError
from monitor.messages import EpisodeMessage

CONNECT_TIMEOUT_S: Final = 10.0


class HubError(MonitorError):
    """The subscriber cannot listen."""


@dataclass(frozen=True, slots=True)
class Door:
    """How to reach a broker."""

    host: str
    port: int
    protocol: Literal["5", "3.1.1"]
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: ssl.SSLContext | None = None


@dataclass(frozen=True, slots=True)
class Received:
    """A message as it came off the wire; ``at_s`` is time.monotonic() on arrival."""

    at_s: float
    topic: str
    payload: bytes
    retained: bool

    def episode(self) -> EpisodeMessage | None:
        """What it says of an episode; None if it speaks of something else."""
        try:
            return EpisodeMessage.model_validate_json(self.payload)
        except ValidationError:
            return None


class Hub:
    """Subscribes to ``topics`` and keeps, in order, what comes on those that ``concerns`` accepts.

    On a home's broker there is more under Home Assistant's prefix than one monitor's messages.
    ``on_message`` is told of each message kept, on paho's thread.
    """

    def __init__(
        self, door: Door, topics: list[str], concerns: Callable[[str], bool] = lambda _topic: True
    ) -> None:
        self.on_message: Callable[[Received], None] = lambda _message: None
        self._door = door
        self._topics = topics
        self._concerns = concerns
        self._received: list[Received] = []
        self._changed = threading.Condition()
        self._answered = threading.Event()
        self._refusal = ""
        self._client = self._make_client()

    def start(self, timeout_s: float = CONNECT_TIMEOUT_S) -> None:
        """Connect and subscribe. Raises HubError when the broker does not let us within the time."""
        door = self._door
        try:
            self._client.connect(door.host, door.port, keepalive=15)
        except OSError as error:
            raise HubError(
                f"No broker answers at {door.host}:{door.port}: {error}.",
                "Check the address, or leave --broker out to use an embedded broker.",
            ) from error
        self._client.loop_start()
        answered = self._answered.wait(timeout_s)
        refusal = self._refusal if answered else f"no answer within {timeout_s:g} s"
        if refusal:
            self.stop()
            raise HubError(
                f"The broker at {door.host}:{door.port} does not let the demonstration subscribe: {refusal}.",
                "Check mqtt.username and mqtt.password and what the broker permits.",
            )

    def stop(self) -> None:
        """Leave the broker. Calling it twice does no harm."""
        self._client.disconnect()
        self._client.loop_stop()

    @property
    def received(self) -> list[Received]:
        """A copy of all messages so far."""
        with self._changed:
            return list(self._received)

    def wait_for(self, condition: Callable[[list[Received]], object], timeout_s: float) -> bool:
        """Wait until ``condition`` holds for the messages; False when it does not in time."""
        with self._changed:
            return bool(self._changed.wait_for(lambda: condition(list(self._received)), timeout_s))

    def wait_for_events(self, event_ids: set[str], timeout_s: float) -> bool:
        """Wait until every one of ``event_ids`` has come; False when it has not in time."""

        def complete(received: list[Received]) -> bool:
            found = (message.episode() for message in received)
            return event_ids <= {episode.event_id for episode in found if episode is not None}

        return self.wait_for(complete, timeout_s)

    def forget(self, topics: set[str], timeout_s: float = 5.0) -> None:
        """Delete the retained messages of ``topics`` at the broker: a demonstration leaves no traces."""
        waiting = [self._client.publish(topic, b"", qos=1, retain=True) for topic in sorted(topics)]
        deadline = time.monotonic() + timeout_s
        for info in waiting:
            info.wait_for_publish(max(0.0, deadline - time.monotonic()))

    def _make_client(self) -> mqtt.Client:
        door = self._door
        version = mqtt.MQTTv5 if door.protocol == "5" else mqtt.MQTTv311
        client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=version)
        if door.username is not None:
            client.username_pw_set(door.username, door.password)
        if door.tls is not None:
            client.tls_set_context(door.tls)
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._take
        return client

    # paho's callbacks, on its network thread.

    def _on_connect(
        self, client: mqtt.Client, _data: Any, _flags: Any, code: ReasonCode, _properties: Properties | None
    ) -> None:
        if code.is_failure:
            self._refusal = str(code)
            self._answered.set()
        else:
            client.subscribe([(topic, 1) for topic in self._topics])

    def _on_subscribe(
        self,
        _client: mqtt.Client,
        _data: Any,
        _mid: int,
        codes: list[ReasonCode],
        _properties: Properties | None,
    ) -> None:
        refused = [str(code) for code in codes if code.is_failure]
        self._refusal = refused[0] if refused else ""
        self._answered.set()

    def _take(self, _client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        if not self._concerns(message.topic):
            return
        received = Received(time.monotonic(), message.topic, bytes(message.payload), message.retain)
        with self._changed:
            self._received.append(received)
            self._changed.notify_all()
        self.on_message(received)
