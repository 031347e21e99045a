"""Why the broker does not take our messages, in words for a person, with a remedy."""

from __future__ import annotations

import errno
import socket
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum

from typing_extensions import override

from monitor.sinks.hub_topics import Topics
from monitor.sinks.mqtt_reports import Limits
from monitor.sinks.mqtt_settings import MqttSettings, Publication


class VerifyCode(IntEnum):
    """Of OpenSSL (x509_vfy.h), those with a remedy of their own."""

    NOT_YET_VALID = 9
    EXPIRED = 10
    OTHER_NAME = 62
    OTHER_ADDRESS = 64


@dataclass(frozen=True, slots=True)
class Fault:
    """One sentence that says what is wrong and one that says what to do."""

    problem: str
    remedy: str

    @override
    def __str__(self) -> str:
        return f"{self.problem} {self.remedy}"


def not_yet(settings: MqttSettings) -> Fault:
    return Fault(f"The MQTT broker at {settings.address} has not answered yet.", "Wait a few seconds.")


def unreachable(settings: MqttSettings, error: BaseException | None) -> Fault:
    """The connection was never made: no name, no listener, no route, or no trust."""
    broker = f"The MQTT broker at {settings.address}"
    match error:
        case ssl.SSLError():
            return _no_trust(broker, error)
        case socket.gaierror():
            return _no_name(settings, error)
        case ConnectionRefusedError():
            return Fault(
                f"Nothing listens at {settings.address}, where the MQTT broker should be.",
                "Start the broker, or check mqtt.host and mqtt.port.",
            )
        case TimeoutError() | OSError(errno=errno.EHOSTUNREACH | errno.ENETUNREACH):
            return Fault(
                f"{broker} does not answer.", "Check mqtt.host, mqtt.port, the network and any firewall."
            )
        case ConnectionResetError():
            return closed_silently(settings)
        case _:
            return Fault(f"{broker} cannot be reached: {error}.", "Check mqtt.host, mqtt.port and mqtt.tls.")


def _no_name(settings: MqttSettings, error: socket.gaierror) -> Fault:
    name = f'The name "{settings.host}" of the MQTT broker'
    if settings.host.rstrip(".").lower().endswith(".local"):
        return Fault(
            f"{name} is unknown.",
            "Names in .local need multicast DNS: install avahi-daemon and libnss-mdns, or set mqtt.host to "
            "the broker's IP address.",
        )
    if error.errno == socket.EAI_AGAIN:
        return Fault(
            f"{name} is unknown: no name server answers.",
            "Check the network, or set mqtt.host to the broker's IP address.",
        )
    return Fault(f"{name} is unknown.", "Check mqtt.host, or set it to the broker's IP address.")


def _no_trust(broker: str, error: ssl.SSLError) -> Fault:
    if isinstance(error, ssl.SSLCertVerificationError):
        return _bad_certificate(broker, error)
    if "ALERT" in (error.reason or "") and "CERTIFICATE" in (error.reason or ""):
        return Fault(
            f"{broker} does not accept our certificate: {error.reason}.",
            "Check mqtt.cert_file: whether it has expired, and whether the broker trusts who signed it.",
        )
    return Fault(
        f"{broker} does not agree on encryption: {error.reason or error}.",
        "Check that mqtt.port is the broker's TLS port, or set mqtt.tls = false if it has none.",
    )


def _bad_certificate(broker: str, error: ssl.SSLCertVerificationError) -> Fault:
    clock = f"this machine's clock, which shows {datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    match error.verify_code:
        case VerifyCode.NOT_YET_VALID:
            return Fault(
                f"{broker} shows a certificate that is not valid yet by {clock}.",
                "Set the clock (`timedatectl`): a Raspberry Pi has an old time until it finds a time server.",
            )
        case VerifyCode.EXPIRED:
            return Fault(
                f"{broker} shows a certificate that has expired by {clock}.",
                "Renew the broker's certificate, or set the clock if it is wrong (`timedatectl`).",
            )
        case VerifyCode.OTHER_NAME | VerifyCode.OTHER_ADDRESS:
            return Fault(
                f"{broker} shows a certificate that is not trusted: {error.verify_message}.",
                "Set mqtt.host to a name in the certificate, or issue one for this name.",
            )
        case _:
            return Fault(
                f"{broker} shows a certificate that is not trusted: {error.verify_message}.",
                "Set mqtt.ca_file to the certificate of the authority that signed it.",
            )


def closed_silently(settings: MqttSettings) -> Fault:
    """The broker took the connection and closed it without an answer."""
    remedy = (
        "Check that mqtt.port is a TLS port and whether the broker asks for a client certificate "
        "(mqtt.cert_file)."
        if settings.tls
        else "If that is its TLS port, set mqtt.tls = true."
    )
    return Fault(f"The MQTT broker at {settings.address} closes the connection without a word.", remedy)


def silent(settings: MqttSettings) -> Fault:
    """The broker took the connection and says nothing."""
    return Fault(
        f"The MQTT broker at {settings.address} takes the connection and does not answer.",
        'See whether it is overloaded; if it is a very old one, set mqtt.protocol = "3.1.1".',
    )


def slow(settings: MqttSettings, limit_s: float) -> Fault:
    """Connected, and what we send is not acknowledged."""
    return Fault(
        f"The MQTT broker at {settings.address} needs more than {limit_s:.0f} s to acknowledge a message.",
        "See whether the network or the broker is overloaded.",
    )


def lost(settings: MqttSettings, reason: str) -> Fault:
    return Fault(
        f"The connection to the MQTT broker at {settings.address} was lost: {reason}.",
        "It is being made again; if this lasts, see whether the broker runs.",
    )


def unsteady(settings: MqttSettings, reason: str) -> Fault:
    """The broker lets us in and drops us soon after, several times in a row."""
    return Fault(
        f"The MQTT broker at {settings.address} accepts the connection and drops it, again and again: "
        f"{reason}.",
        "See the broker's log for the reason: a limit, its access list, or another client with the name "
        f'"{settings.effective_client_id}".',
    )


def same_entities(settings: MqttSettings, other: str) -> Fault:
    """Home Assistant knows no "-" in our ids, and another device has come first."""
    return Fault(
        f'device.id = "{settings.device}" and device.id = "{other}" are one device to Home Assistant: it '
        f'keeps "{other}", and this monitor has no entities.',
        'Give one of them another device.id, one that differs in more than "-" and "_".',
    )


def _names(settings: MqttSettings, other: str) -> str:
    return f'device.id = "{settings.device}" is that of two monitors, {settings.machine_name} and {other}'


def stands_by(settings: MqttSettings, other: str) -> Fault:
    """We came second."""
    return Fault(
        f"{_names(settings, other)}: {other} reports to the broker at {settings.address}, and this one only "
        "alarms by push and speaker.",
        "Give one of them another device.id.",
    )


def has_twin(settings: MqttSettings, other: str) -> Fault:
    """Another came second."""
    return Fault(
        f"{_names(settings, other)}: this one reports to the broker at {settings.address}, {other} does not.",
        "Give one of them another device.id.",
    )


def asks_twin(settings: MqttSettings, other: str) -> Fault:
    return Fault(
        f'{other} has reported as device.id = "{settings.device}" to the broker at {settings.address}; it is '
        "being asked whether it still does.",
        "Wait half a minute.",
    )


def too_large(settings: MqttSettings, topic: str, size: int, limit: int) -> Fault:
    """The broker takes no packet of that size; both in bytes."""
    return Fault(
        f"The MQTT broker at {settings.address} takes packets of at most {limit} bytes, and the message for "
        f"{topic} has {size}: it is left out.",
        f"Raise that limit at the broker (Mosquitto: max_packet_size) to {_round_up(size)}.",
    )


def drops_announcement(settings: MqttSettings, size: int) -> Fault:
    """It does not say that it has a limit, and hangs up at our largest message; ``size`` in bytes."""
    return Fault(
        f"The MQTT broker at {settings.address} drops the connection at the {size} bytes that "
        "announce the entities to Home Assistant: they are left out, alarms and states arrive.",
        f"Let the broker take packets of {_round_up(size)} bytes, or set mqtt.discovery = false.",
    )


def drops_message(settings: MqttSettings, publication: Publication) -> Fault:
    """It hangs up at this publication and does not say why."""
    size = len(publication.payload.encode())
    if publication.topic == Topics.of(settings).discovery:
        return drops_announcement(settings, size)
    return Fault(
        f"The MQTT broker at {settings.address} drops the connection at the {size} bytes for "
        f"{publication.topic}: they are left out for now.",
        f"Let the broker take packets of {_round_up(size)} bytes; if it does, see its log for the reason.",
    )


def _round_up(size: int) -> int:
    """To the next power of two that leaves room for what a later release adds."""
    return 1 << (size + size // 4).bit_length()


def of_limits(settings: MqttSettings, limits: Limits) -> Fault | None:
    """What the broker cannot do at all."""
    if limits.qos == 0:
        return no_confirmation(settings)
    return None if limits.retain else no_retaining(settings)


def no_confirmation(settings: MqttSettings) -> Fault:
    return Fault(
        f"The MQTT broker at {settings.address} takes QoS 0 alone: it cannot confirm that it has an alarm.",
        "Allow QoS 1 at the broker (Mosquitto: max_qos 1).",
    )


def no_retaining(settings: MqttSettings) -> Fault:
    return Fault(
        f"The MQTT broker at {settings.address} keeps no retained messages: a hub that restarts sees no "
        "state until the next one is sent.",
        "Allow retained messages at the broker (Mosquitto: retain_available true).",
    )


def taken_over(settings: MqttSettings) -> Fault:
    return Fault(
        f'Another client uses the name "{settings.effective_client_id}" at the MQTT broker at '
        f"{settings.address}: the two push each other off.",
        "Give one of the two another device.id, or another mqtt.client_id where you set one.",
    )


def refused(settings: MqttSettings, code: int, reason: str) -> Fault:
    """The broker answered and said no.

    ``code`` is a reason code of MQTT 5 (OASIS standard, section 2.4); paho gives the answers of
    3.1.1 the same numbers.
    """
    said = f"The MQTT broker at {settings.address} refused us: {reason} (reason code {code})."
    match code:
        case 134 | 135 if settings.username is None:
            return Fault(said, "Set mqtt.username and mqtt.password_file: it takes no unknown guests.")
        case 134 | 135:
            return Fault(
                said,
                f'Check the user "{settings.username}" and the password in mqtt.password_file '
                "against the broker's list.",
            )
        case 133:
            return Fault(said, f'Choose another mqtt.client_id than "{settings.effective_client_id}".')
        case 132:
            return Fault(said, 'Set mqtt.protocol = "auto".')
        case 138:
            return Fault(said, "Lift the ban of this client at the broker.")
        case _:
            return Fault(said, "See the broker's log.")


def not_permitted(settings: MqttSettings, topic: str, code: int, reason: str, verb: str) -> Fault:
    """The broker let us in but not at this topic. ``verb`` is "publish" or "subscribe"."""
    user = "anonymous clients" if settings.username is None else f'user "{settings.username}"'
    right = "write" if verb == "publish" else "read"
    return Fault(
        f"The MQTT broker at {settings.address} does not let us {verb} to {topic}: {reason} "
        f"(reason code {code}).",
        f"Allow {user} to {right} that topic in the broker's access list.",
    )
