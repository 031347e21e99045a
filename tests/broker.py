"""A real Mosquitto for tests: own port, own folder, own process group; and a subscriber beside it.

Use the fixture ``mosquitto`` for a plain broker, or :class:`Mosquitto` for one with passwords, ACL,
TLS or persistence. Where Mosquitto is not installed the tests are skipped with that reason.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

DEADLINE_S = 60.0
HOST = "127.0.0.1"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


def wait_until(condition: Callable[[], object], what: str, timeout_s: float = DEADLINE_S) -> None:
    """Wait for a condition that has nothing to wait on; fail with ``what`` after ``timeout_s``."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        time.sleep(0.01)


def accepts_connections(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=1):
        return True
    return False


def _program(name: str) -> str:
    # Debian puts the broker into sbin, which is not on every user's PATH.
    path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if path is None:
        pytest.skip(f"{name} is not installed; deploy/system-packages.sh test installs it")
    return path


@dataclass(frozen=True)
class Authority:
    """A certificate authority of our own, made with the openssl command."""

    folder: Path

    @property
    def ca_file(self) -> Path:
        return self.folder / "ca.crt"

    @staticmethod
    def create(folder: Path) -> Authority:
        folder.mkdir(parents=True, exist_ok=True)
        _openssl(
            *("req", "-x509", "-nodes", "-days", "2", "-subj", f"/CN=test CA {folder.name}"),
            # Without it, Python 3.13 trusts nothing that it signed.
            *("-addext", "keyUsage=critical,keyCertSign,cRLSign"),
            *("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
            *("-keyout", str(folder / "ca.key"), "-out", str(folder / "ca.crt")),
        )
        return Authority(folder)

    def issue(
        self,
        name: str,
        alternative_names: str = "DNS:localhost,IP:127.0.0.1",
        *,
        days: int = 2,
        valid: tuple[str, str] | None = None,
    ) -> tuple[Path, Path]:
        """Certificate and key files signed by this authority; ``days`` below 0 have expired.

        ``valid``: instead the days on which its validity begins and ends, such as "20200101".
        """
        key, request, certificate = (self.folder / f"{name}.{end}" for end in ("key", "csr", "crt"))
        extensions = self.folder / f"{name}.ext"
        extensions.write_text(f"subjectAltName={alternative_names}\nauthorityKeyIdentifier=keyid\n")
        _openssl(
            *("req", "-nodes", "-subj", f"/CN={name}", "-newkey", "ec"),
            *("-pkeyopt", "ec_paramgen_curve:prime256v1", "-keyout", str(key), "-out", str(request)),
        )
        signing = ("-in", str(request), "-extfile", str(extensions), "-out", str(certificate))
        if valid is None:
            _openssl(
                *("x509", "-req", "-days", str(days), *signing),
                *("-CA", str(self.ca_file), "-CAkey", str(self.folder / "ca.key"), "-CAcreateserial"),
            )
        else:
            self._sign_for(valid, signing)
        return certificate, key

    def _sign_for(self, valid: tuple[str, str], signing: tuple[str, ...]) -> None:
        """With OpenSSL's little certificate authority, which alone lets both dates be chosen."""
        database = self.folder / "database"
        database.touch()
        settings = self.folder / "ca.cnf"
        settings.write_text(
            f"[ca]\ndefault_ca=it\n[it]\ndatabase={database}\nnew_certs_dir={self.folder}\nrand_serial=yes\n"
            "unique_subject=no\ndefault_md=sha256\npolicy=any\n[any]\ncommonName=supplied\n"
        )
        begin, end = (f"{day}000000Z" for day in valid)
        _openssl(
            *("ca", "-batch", "-notext", "-config", str(settings), "-startdate", begin, "-enddate", end),
            *("-cert", str(self.ca_file), "-keyfile", str(self.folder / "ca.key"), *signing),
        )


def _openssl(*arguments: str) -> None:
    subprocess.run([_program("openssl"), *arguments], check=True, capture_output=True, timeout=60)


class Mosquitto:
    """A broker on a free loopback port. ``start`` again keeps port, folder and kept messages."""

    def __init__(
        self,
        folder: Path,
        *,
        users: Mapping[str, str] | None = None,
        acl: str | None = None,
        authority: Authority | None = None,
        client_certificates: bool = False,
        persistence: bool = False,
        extra_lines: tuple[str, ...] = (),
    ) -> None:
        self._program = _program("mosquitto")
        self.folder = folder
        self.host = HOST
        self.port = free_port()
        self.authority = authority
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        lines = [f"listener {self.port} {HOST}", f"allow_anonymous {'false' if users else 'true'}"]
        if os.geteuid() == 0:
            lines.append("user root")  # else it gives up root and cannot read the test's folder
        if users:
            lines.append(f"password_file {self._password_file(users)}")
        if acl is not None:
            (folder / "acl").write_text(acl)
            (folder / "acl").chmod(0o600)
            lines.append(f"acl_file {folder / 'acl'}")
        if authority is not None:
            certificate, key = authority.issue("server")
            lines += [f"cafile {authority.ca_file}", f"certfile {certificate}", f"keyfile {key}"]
            lines.append(f"require_certificate {'true' if client_certificates else 'false'}")
        if persistence:
            (folder / "db").mkdir(exist_ok=True)
            lines += ["persistence true", f"persistence_location {folder / 'db'}/"]
            lines += ["autosave_interval 1", "autosave_on_changes true"]
        (folder / "mosquitto.conf").write_text("\n".join([*lines, *extra_lines]) + "\n")

    def _password_file(self, users: Mapping[str, str]) -> Path:
        file = self.folder / "passwords"
        file.touch(mode=0o600)
        for user, password in users.items():
            command = [_program("mosquitto_passwd"), "-b", str(file), user, password]
            subprocess.run(command, check=True, capture_output=True, timeout=60)
        return file

    def start(self) -> Self:
        assert self._process is None, "the broker runs already"
        # Appending: a log that is cut while the broker writes would fill with NULs.
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._program, "-v", "-c", str(self.folder / "mosquitto.conf")],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        process = self._process
        wait_until(lambda: process.poll() is not None or accepts_connections(self.port), "Mosquitto is ready")
        assert process.poll() is None, f"Mosquitto ended at once:\n{self.log()}"
        return self

    def change_password(self, user: str, password: str) -> None:
        """It counts when the broker reads its list again."""
        self._password_file({user: password})

    def stop(self) -> None:
        """End it as systemd would."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a power cut would."""
        self._end(signal.SIGKILL)

    def reload(self) -> None:
        """Let it read passwords and access list again; connections stay."""
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)

    def freeze(self) -> None:
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGCONT)

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        process, self._process = self._process, None
        if how is not signal.SIGKILL:  # which also ends a frozen one, before it can answer anybody
            os.killpg(process.pid, signal.SIGCONT)

        def ended() -> bool:
            # Again and again: Mosquitto forgets a SIGTERM that comes just before its main loop.
            os.killpg(process.pid, how)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.5)
            return process.poll() is not None

        wait_until(ended, "Mosquitto has ended")

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.kill()


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    """A running broker without passwords."""
    with Mosquitto(tmp_path / "mosquitto") as broker:
        yield broker


@dataclass(frozen=True)
class Received:
    topic: str
    payload: str
    retain: bool
    qos: int
    expiry_s: int | None
    """What is left of the message's life, when the broker speaks MQTT 5 and a limit was set."""
    arrived_s: float
    """Monotonic."""


class Subscriber:
    """Subscribes as a hub would and keeps what arrives. Ready when the constructor returns."""

    def __init__(
        self,
        port: int,
        topics: str = "#",
        *,
        user: tuple[str, str] | None = None,
        ca_file: Path | None = None,
        protocol: MQTTProtocolVersion = MQTTProtocolVersion.MQTTv5,
    ) -> None:
        self._arrived = threading.Condition()
        self._received: list[Received] = []
        self._subscribed = threading.Event()
        self._topics = topics
        self._client = paho.Client(CallbackAPIVersion.VERSION2, protocol=protocol)
        if user is not None:
            self._client.username_pw_set(*user)
        if ca_file is not None:
            self._client.tls_set(str(ca_file))
        self._client.on_connect = lambda client, *_: client.subscribe(topics, qos=1)
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = self._keep
        self._client.reconnect_delay_set(1, 1)
        self._client.connect_async(HOST, port, keepalive=30)
        self._client.loop_start()
        assert self._subscribed.wait(DEADLINE_S), f"no subscription at port {port}"

    def _keep(self, _client: paho.Client, _userdata: object, message: paho.MQTTMessage) -> None:
        arrived_s = time.monotonic()
        expiry_s = getattr(message.properties, "MessageExpiryInterval", None)
        with self._arrived:
            self._received.append(
                Received(
                    message.topic, message.payload.decode(), message.retain, message.qos, expiry_s, arrived_s
                )
            )
            self._arrived.notify_all()

    @property
    def received(self) -> list[Received]:
        with self._arrived:
            return list(self._received)

    def on(self, topic: str) -> list[str]:
        """Payloads received on one topic, in order."""
        return [message.payload for message in self.received if message.topic == topic]

    def last(self, topic: str) -> str | None:
        payloads = self.on(topic)
        return payloads[-1] if payloads else None

    def forget(self) -> None:
        with self._arrived:
            self._received.clear()

    def keep(self, topic: str, payload: str) -> None:
        """Count a message as received once more, after :meth:`forget`."""
        with self._arrived:
            self._received.append(Received(topic, payload, True, 1, None, time.monotonic()))

    def wait_for(
        self, condition: Callable[[list[Received]], object], timeout_s: float = DEADLINE_S
    ) -> list[Received]:
        """Wait until ``condition`` holds for what has arrived; fails and shows it otherwise."""
        with self._arrived:
            held = self._arrived.wait_for(lambda: condition(self._received), timeout_s)
            assert held, f"not within {timeout_s} s; received: {self._received}"
            return list(self._received)

    def publish(self, topic: str, payload: str, *, retain: bool = False) -> None:
        self._client.publish(topic, payload, qos=1, retain=retain).wait_for_publish(DEADLINE_S)

    def send(self, topic: str, payload: str) -> None:
        """Publish with QoS 0, as a hub sends commands, and do not wait."""
        self._client.publish(topic, payload, qos=0)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def retained(port: int) -> dict[str, str]:
    """All retained messages the broker holds, as one that subscribes now gets them."""
    end = "cradlewatch-test/end"
    with Subscriber(port) as newcomer:
        newcomer.publish(end, "")
        newcomer.wait_for(lambda seen: any(message.topic == end for message in seen))
        return {message.topic: message.payload for message in newcomer.received if message.retain}
