"""What the MQTT sink has to know, and what it publishes."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from monitor.errors import PermanentSinkError

Protocol = Literal["auto", "5", "3.1.1"]


@dataclass(frozen=True, slots=True)
class Publication:
    """One MQTT message, QoS 1.

    A retained one is a state: only the newest of its topic matters. One that is not retained is an
    event: each matters, and ``key`` is its event id.
    """

    topic: str
    payload: str
    retain: bool
    expiry_s: int | None = None
    key: str = ""


@dataclass(frozen=True, slots=True)
class MqttSettings:
    """Where the broker is, how to get in, and under which names we speak.

    ``password`` is the password itself; whoever made the settings read it from its file. Without
    ``ca_file`` the system's certificates are trusted. Verification cannot be switched off.
    """

    host: str
    device: str
    port: int | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: bool = False
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    client_id: str | None = None
    protocol: Protocol = "auto"
    keepalive_s: int = 15
    session_expiry_s: int = 3600
    reconnect_min_s: float = 1.0
    """Pause before the first new attempt; doubled each time, up to ``reconnect_max_s``."""
    reconnect_max_s: float = 8.0
    """A broker that is back is found within 10 s; an alarm does not wait for it."""
    held_after_s: float = 20.0
    """A connection that stood for less was none."""
    connect_timeout_s: float = 5.0
    answer_timeout_s: float = 3.0
    """Time that the broker has to answer, before the other protocol version is tried."""
    max_waiting: int = 256
    """Messages that the client holds in memory without an acknowledgement; events wait in the outbox."""
    outbox_capacity: int = 1024
    """Events kept while the broker is away."""
    state_dir: Path | None = None
    """Folder of the outbox. None keeps events in memory: a process that is killed loses them."""
    event_expiry_s: int = 300
    """Age at which an event is delivered as a late one, so that no old alarm fires late."""
    base_topic: str = "cradlewatch"
    discovery: bool = True
    discovery_prefix: str = "homeassistant"
    birth_topic: str = "homeassistant/status"
    device_name: str = "Cradlewatch"
    suggested_area: str | None = None
    model: str | None = None
    """The machine that we run on, as it names itself; the hub shows it as the hardware of the device."""
    serial: str | None = None
    report_every_s: float = 10.0
    """Longest pause between two reports of level and score."""
    instance: str = ""
    """A key of this installation, which another one does not share; empty where there is none."""
    machine_name: str = "this machine"
    heartbeat_s: float = 30.0
    """Longest pause between two health messages; after three of them a hub takes the last for outdated."""

    @property
    def effective_port(self) -> int:
        if self.port is not None:
            return self.port
        return 8883 if self.tls else 1883

    @property
    def effective_client_id(self) -> str:
        """As configured, or of device and machine: two with one device.id must not push each other off."""
        machine = f"-{self.instance[:4]}" if self.instance else ""
        return f"cradlewatch-{self.device}{machine}" if self.client_id is None else self.client_id

    @property
    def address(self) -> str:
        """Host and port, for a person."""
        return f"{self.host}:{self.effective_port}"

    @property
    def outbox_file(self) -> Path | None:
        return None if self.state_dir is None else self.state_dir / "outbox-mqtt.sqlite"

    @property
    def telemetry_expiry_s(self) -> int:
        """Age at which a level is no longer the level; two reports may be missing."""
        return max(60, math.ceil(3 * self.report_every_s))

    def check(self) -> None:
        """Raise PermanentSinkError for what no broker could ever accept."""
        try:
            self.host.encode("idna")
        except UnicodeError as error:
            raise PermanentSinkError(
                f'mqtt.host = "{self.host}" is not a host name.', "Write the broker's name or address."
            ) from error
        if not self.host or not 1 <= self.effective_port <= 65535:
            raise PermanentSinkError(
                f'mqtt.host = "{self.host}", mqtt.port = {self.effective_port} is no address.',
                "Write the broker's name or address and a port between 1 and 65535.",
            )
        if (self.cert_file is None) != (self.key_file is None):
            raise PermanentSinkError(
                "mqtt.cert_file and mqtt.key_file belong together.", "Set both or neither."
            )
