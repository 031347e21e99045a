"""A broker that sends what no broker should; tests/fuzz sends much more of it."""

import socket

from monitor.service.requests import RequestBox
from monitor.sinks.mqtt import MqttSink
from monitor.sinks.mqtt_settings import MqttSettings
from tests.broker import HOST, wait_until

CONNACK = bytes([0x20, 3, 0, 0, 0])


def publish(topic: bytes, payload: bytes) -> bytes:
    body = len(topic).to_bytes(2, "big") + topic + b"\0" + payload
    return bytes([0x30, len(body)]) + body


def test_a_topic_that_is_no_text_does_not_end_the_connection():
    box = RequestBox()
    with socket.create_server((HOST, 0)) as broker:
        sink = MqttSink(MqttSettings(HOST, "nursery", port=broker.getsockname()[1]), inbox=box)
        sink.open()
        try:
            broker.settimeout(20.0)
            connection, _ = broker.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(CONNACK + publish(b"\xff\xfe", b"ON"))
                connection.sendall(publish(b"cradlewatch/nursery/set/listening", b"OFF"))
                found = []

                def heard():
                    sink.tick()
                    found.extend(box.take())
                    return found

                wait_until(heard, "the command behind it is heard")
                assert (found[0].control, found[0].payload) == ("listening", b"OFF")
                assert sink.stats().connections == 1
        finally:
            sink.close(1.0)
