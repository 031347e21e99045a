"""One paho client with its callbacks; the only place that knows paho.

paho runs a network thread of its own. The callbacks put reports into a queue and do nothing else.
"""

from __future__ import annotations

import ssl
import sys
import threading
import time
from typing import Any, Final, Literal

import paho.mqtt.client as paho
import structlog
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from monitor.errors import PermanentSinkError
from monitor.sinks.mqtt_back_off import BackOff
from monitor.sinks.mqtt_reports import (
    IN_FLIGHT,
    Accepted,
    Acknowledged,
    Closed,
    Dropped,
    Incoming,
    Limits,
    Refused,
    ReportQueue,
    SessionReport,
    Subscribed,
    Ticket,
    Unreachable,
)
from monitor.sinks.mqtt_settings import MqttSettings, Publication

log = structlog.get_logger(__name__)

Version = Literal["5", "3.1.1"]

LONGEST_HEARD: Final = 1024
"""Bytes of an incoming message that are looked at; no command is as long as this."""

LONGEST_ANNOUNCEMENT: Final = 4096
"""Whose it is stands in the beginning."""


class MqttSession:
    """Connects with one protocol version, for as long as it is not ended.

    ``number`` marks the session's reports and tickets. Raises PermanentSinkError for files that
    cannot be used.
    """

    def __init__(
        self,
        settings: MqttSettings,
        version: Version,
        will: Publication | None,
        number: int,
        reports: ReportQueue,
        back_off: BackOff,
        limits: Limits,
    ) -> None:
        self.number = number
        self._limits = limits
        self._unconfirmed: set[int] = set()
        self._discovery_prefix = f"{settings.discovery_prefix}/device/"
        self._held_after_s = settings.held_after_s
        self._back_off = back_off
        self._tries = 0
        self._go_on = threading.Event()
        self._ended = False
        self._version = version
        self._reports = reports
        self._answered = False
        self._asked_at_s: float | None = None
        self._thread: threading.Thread | None = None
        self._up = threading.Event()
        self._up_at_s = 0.0
        self._client = _client(settings, version, will, limits)
        self._set_callbacks()
        self._client.connect_async(
            settings.host, settings.effective_port, **_connect_options(settings, version)
        )
        self._started = self._begin()

    def _begin(self) -> bool:
        try:
            self._client.loop_start()
        except RuntimeError as error:  # the system has no thread left; the link tries again
            self._report(Unreachable(OSError(str(error))))
            return False
        return True

    @property
    def connected(self) -> bool:
        return self._up.is_set()

    def is_overdue(self, limit_s: float) -> bool:
        """Whether the broker took the connection and has not answered; True once a connection."""
        asked_at_s = self._asked_at_s
        if asked_at_s is None or time.monotonic() - asked_at_s < limit_s:
            return False
        self._asked_at_s = None
        return True

    def publish(self, publication: Publication) -> Ticket | None:
        """Hand over to paho; None when it holds as many messages as it may."""
        properties = None
        if publication.expiry_s is not None and self._version == "5":
            properties = _properties(PacketTypes.PUBLISH, MessageExpiryInterval=publication.expiry_s)
        info = self._client.publish(
            publication.topic,
            publication.payload.encode(),
            qos=self._limits.qos,
            retain=publication.retain and self._limits.retain,
            properties=properties,
        )
        if info.rc == MQTTErrorCode.MQTT_ERR_QUEUE_SIZE:
            return None
        if self._limits.qos == 0:
            if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
                return None
            self._unconfirmed.add(info.mid)  # paho does not say which of them a lost connection took along
        # MQTT_ERR_NO_CONN as well means that paho has it: the next attempt to connect drops it and
        # tells us so. To take it for a failure would send it twice.
        return self.number, info.mid

    def subscribe(self, topic: str, qos: int) -> int | None:
        """Ask for ``topic``; the message id comes back in :class:`Subscribed`. None when offline."""
        return self._client.subscribe(topic, qos=qos)[1]

    def hurry(self) -> None:
        """Let the pause before the next try be over. Any thread."""
        self._go_on.set()

    @property
    def alive(self) -> bool:
        """False when an error that paho does not expect has ended its thread, or there was none to be had."""
        return self._started and (self._thread is None or self._thread.is_alive())

    def end(self, timeout_s: float) -> None:
        """Disconnect and end paho's thread, but wait no longer than ``timeout_s``."""
        self._ended = True
        self._drop()
        self._client.disconnect()
        self.hurry()
        started_s = time.monotonic()
        ending = self._ending()
        if ending is not None:
            ending.join(timeout_s)
            if ending.is_alive():
                waited_s = round(time.monotonic() - started_s, 1)
                log.warning("mqtt.network_thread_outlived_stop", waited_s=waited_s)
        self._clear_callbacks()

    def _ending(self) -> threading.Thread | None:
        """A thread that ends when paho's does."""
        # loop_stop() joins without a limit, and paho's thread may stand in a name look-up.
        if not self._started:
            return None
        thread = threading.Thread(target=self._client.loop_stop, name="mqtt-stop", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # none to be had: paho's own ends by itself, for we have disconnected
            return self._thread
        return thread

    def _clear_callbacks(self) -> None:
        # Without the circle of references paho's sockets are closed now and not at some collection.
        self._client.on_pre_connect = None
        self._client.on_socket_open = None
        self._client.on_connect = None
        self._client.on_connect_fail = None
        self._client.on_disconnect = None
        self._client.on_publish = None
        self._client.on_subscribe = None
        self._client.on_message = None

    # --- callbacks, in paho's thread --------------------------------------------------------------

    def _set_callbacks(self) -> None:
        self._client.on_pre_connect = self._on_pre_connect
        self._client.on_socket_open = self._on_socket_open
        self._client.on_connect = self._on_connect
        self._client.on_connect_fail = self._on_connect_fail
        self._client.on_disconnect = self._on_disconnect
        self._client.on_publish = self._on_publish
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message

    def _report(self, report: SessionReport) -> None:
        self._reports.put(self.number, report)

    def _drop(self) -> None:
        """Take back what is unacknowledged.

        Left to itself paho sends it again after the next CONNACK, which may be after a newer state
        of ours: the broker would then keep the older one.
        """
        unsent, self._unconfirmed = self._unconfirmed, set()
        mids = (*(message.mid for message in self._client.drop_out_messages()), *unsent)
        tickets = tuple((self.number, mid) for mid in mids)
        if tickets:
            self._report(Dropped(tickets))

    def _on_pre_connect(self, _client: paho.Client, _userdata: Any) -> None:
        self._thread = threading.current_thread()
        self._pause()
        self._answered = False
        self._asked_at_s = None
        self._drop()

    def _pause(self) -> None:
        """Wait before each try but the first; paho's own pause cannot be cut short and forgets drops."""
        self._tries += 1
        self._go_on.clear()  # who was in a hurry before this has been served by the try that failed
        if self._tries > 1 and not self._ended:
            self._go_on.wait(self._back_off.pause_s())
        if self._ended:
            raise ConnectionAbortedError  # the way to tell paho; nobody hears of it

    def _on_socket_open(self, _client: paho.Client, _userdata: Any, _socket: Any) -> None:
        self._asked_at_s = time.monotonic()

    def _on_connect(
        self,
        _client: paho.Client,
        _userdata: Any,
        _flags: Any,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        self._answered = True
        self._asked_at_s = None
        if reason.is_failure:
            self._report(Refused(reason.value, str(reason)))
        else:
            self._limits = _limits_of(properties)
            self._up_at_s = time.monotonic()
            self._up.set()
            self._report(Accepted(self._limits))

    def _on_connect_fail(self, _client: paho.Client, _userdata: Any) -> None:
        # paho calls this from its except block and passes no error: it is the one being handled. Its
        # traceback would keep the socket open for as long as the report is kept.
        if self._ended:
            return
        error = sys.exc_info()[1] or OSError("no reason given")
        error.__traceback__ = None
        self._report(Unreachable(error))

    def _on_disconnect(
        self, _client: paho.Client, _userdata: Any, _flags: Any, reason: ReasonCode, _properties: Any
    ) -> None:
        stood = self._up.is_set()
        self._up.clear()
        self._asked_at_s = None
        stood_s = time.monotonic() - self._up_at_s if stood else 0.0
        if stood:
            self._back_off.dropped(held=stood_s >= self._held_after_s)
        if stood or not self._answered:  # a refusal has been reported already
            self._report(Closed(stood, str(reason), reason.value, stood_s))

    def _on_publish(
        self, _client: paho.Client, _userdata: Any, mid: int, reason: ReasonCode, _properties: Any
    ) -> None:
        self._unconfirmed.discard(mid)
        self._report(Acknowledged((self.number, mid), reason.is_failure, reason.value, str(reason)))

    def _on_subscribe(
        self, _client: paho.Client, _userdata: Any, mid: int, reasons: list[ReasonCode], _properties: Any
    ) -> None:
        for reason in reasons:
            self._report(Subscribed(mid, reason.is_failure, reason.value, str(reason)))

    def _on_message(self, _client: paho.Client, _userdata: Any, message: paho.MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            # Only a broker out of its mind sends it; raised from here it would end paho's thread.
            log.warning("mqtt.topic_unreadable")
            return
        # Nothing that we act on is longer; who may write to our topics shall not fill our memory.
        longest = LONGEST_ANNOUNCEMENT if topic.startswith(self._discovery_prefix) else LONGEST_HEARD
        self._report(Incoming(topic, bytes(message.payload[:longest]), message.retain))


def _limits_of(connack: Properties | None) -> Limits:
    return Limits(
        packet_bytes=getattr(connack, "MaximumPacketSize", None),
        qos=min(1, getattr(connack, "MaximumQoS", 1)),
        retain=bool(getattr(connack, "RetainAvailable", 1)),
        in_flight=min(IN_FLIGHT, getattr(connack, "ReceiveMaximum", IN_FLIGHT)),
    )


_PROTOCOLS: Final[dict[Version, MQTTProtocolVersion]] = {
    "5": MQTTProtocolVersion.MQTTv5,
    "3.1.1": MQTTProtocolVersion.MQTTv311,
}


def _client(
    settings: MqttSettings, version: Version, will: Publication | None, limits: Limits
) -> paho.Client:
    client = paho.Client(
        CallbackAPIVersion.VERSION2, client_id=settings.effective_client_id, protocol=_PROTOCOLS[version]
    )
    client.connect_timeout = settings.connect_timeout_s
    client.max_inflight_messages_set(limits.in_flight)
    client.max_queued_messages_set(settings.max_waiting)
    client.reconnect_delay_set(0, 0)  # the pause is ours
    if settings.username is not None:
        client.username_pw_set(settings.username, settings.password)
    if settings.tls:
        client.tls_set_context(tls_context(settings))
    if will is not None:
        client.will_set(will.topic, will.payload, qos=limits.qos, retain=will.retain and limits.retain)
    return client


def _connect_options(settings: MqttSettings, version: Version) -> dict[str, Any]:
    options: dict[str, Any] = {"keepalive": settings.keepalive_s}
    if version == "5":
        options["clean_start"] = paho.MQTT_CLEAN_START_FIRST_ONLY
        options["properties"] = _properties(
            PacketTypes.CONNECT, SessionExpiryInterval=settings.session_expiry_s
        )
    return options


def _properties(packet: int, **values: int) -> Properties:
    properties = Properties(packet)  # type: ignore[no-untyped-call]  # paho leaves it untyped
    for name, value in values.items():
        setattr(properties, name, value)
    return properties


def tls_context(settings: MqttSettings) -> ssl.SSLContext:
    """Whom to trust and how to identify. Raises PermanentSinkError for files that cannot be used."""
    try:
        context = ssl.create_default_context(
            cafile=None if settings.ca_file is None else str(settings.ca_file)
        )
    except (OSError, ssl.SSLError) as error:
        raise PermanentSinkError(
            f'mqtt.ca_file = "{settings.ca_file}" cannot be used: {error}.',
            "Name a readable file of certificates in PEM form.",
        ) from error
    # Python 3.13 asks a home-made authority for extensions that the usual recipes leave out. The
    # chain and the name are verified all the same.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if settings.cert_file is not None:
        try:
            context.load_cert_chain(settings.cert_file, settings.key_file)
        except (OSError, ssl.SSLError) as error:
            raise PermanentSinkError(
                f'mqtt.cert_file = "{settings.cert_file}" with mqtt.key_file = "{settings.key_file}" '
                f"cannot be used: {error}.",
                "Name a certificate and its key, both readable and in PEM form.",
            ) from error
    return context
