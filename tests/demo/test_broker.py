"""Both embedded brokers, for real."""

from __future__ import annotations

import os
import queue
import socket
import subprocess
import sys
import time
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from monitor.demo import broker as room
from monitor.demo.broker import BrokerAddress, BrokerError, EmbeddedBroker, accepts_mqtt

BOTH = pytest.mark.parametrize("kind", [pytest.param("mosquitto", marks=pytest.mark.broker), "amqtt"])


def client(address: BrokerAddress, name: str) -> mqtt.Client:
    version = mqtt.MQTTv5 if address.protocol == "5" else mqtt.MQTTv311
    made = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=name, protocol=version)
    made.connect(address.host, address.port)
    made.loop_start()
    return made


def is_gone(pid: int, timeout_s: float = 10.0) -> bool:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":  # dead, and nobody there to reap it
            return True
        time.sleep(0.02)
    return False


@BOTH
def test_broker_carries_a_retained_qos_1_message_to_a_late_subscriber(kind):
    got: queue.Queue[tuple[str, bytes, bool]] = queue.Queue()
    with EmbeddedBroker(kind) as address:
        assert address.host == "127.0.0.1"
        sender = client(address, "sender")
        sender.publish("cradlewatch/x/state", b"crying", qos=1, retain=True).wait_for_publish(10)
        hub = client(address, "hub")
        hub.on_message = lambda _client, _data, m: got.put((m.topic, m.payload, m.retain))
        hub.subscribe("cradlewatch/#", qos=1)
        assert got.get(timeout=10) == ("cradlewatch/x/state", b"crying", True)
        for each in (hub, sender):
            each.disconnect()
            each.loop_stop()


@BOTH
def test_broker_is_gone_after_the_block(kind):
    embedded = EmbeddedBroker(kind)
    with embedded as address:
        pid = embedded.pid
        assert accepts_mqtt(address.host, address.port)
    assert is_gone(pid)
    assert not accepts_mqtt(address.host, address.port)


@pytest.mark.broker
def test_broker_listens_on_loopback_only():
    with EmbeddedBroker("mosquitto") as address:
        listening = {
            line.split()[1]
            for table in ("/proc/net/tcp", "/proc/net/tcp6")
            for line in Path(table).read_text().splitlines()[1:]
            if line.split()[3] == "0A" and line.split()[1].endswith(f":{address.port:04X}")
        }
    assert listening == {f"0100007F:{address.port:04X}"}


def test_broker_dies_with_a_killed_parent(tmp_path):
    program = (
        "from monitor.demo.broker import EmbeddedBroker\n"
        "import time\n"
        "broker = EmbeddedBroker('amqtt')\n"
        "with broker:\n"
        "    print(broker.pid, flush=True)\n"
        "    time.sleep(60)\n"
    )
    # A killed parent cannot remove its folder; pytest removes this one.
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", program]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert is_gone(pid)


def test_amqtt_serves_where_mosquitto_is_missing(monkeypatch):
    monkeypatch.setattr(room, "find_mosquitto", lambda: None)
    with EmbeddedBroker() as address:
        assert (address.software, address.protocol) == ("amqtt", "3.1.1")


@pytest.mark.broker
def test_mosquitto_is_found_off_the_path_of_a_user(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert room.find_mosquitto().endswith("sbin/mosquitto")


def test_broker_that_never_answers_is_named_in_one_sentence(monkeypatch):
    with socket.socket() as busy:
        busy.bind((room.HOST, 0))
        busy.listen()
        monkeypatch.setattr(room, "_free_port", lambda: busy.getsockname()[1])
        monkeypatch.setattr(room, "ATTEMPTS", 1)
        with pytest.raises(BrokerError, match=r"embedded broker .* does not answer .*--broker HOST:PORT"):
            EmbeddedBroker("amqtt", timeout_s=8.0).__enter__()


def test_a_port_without_mqtt_is_not_taken_for_a_broker():
    with socket.socket() as deaf:
        deaf.bind((room.HOST, 0))
        deaf.listen()
        assert not accepts_mqtt(room.HOST, deaf.getsockname()[1], timeout_s=0.2)
