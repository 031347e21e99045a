"""Requests from the hub, over a real Mosquitto into an inbox."""

import contextlib

import pytest
from structlog.testing import capture_logs

from monitor.commands import MAX_PAYLOAD, Request
from tests.broker import Mosquitto, Subscriber, wait_until
from tests.sinks.mqtt_room import BASE, running_sink, settle, work

pytestmark = pytest.mark.broker

MUTE = f"{BASE}/set/mute"


class Asked:
    """An inbox that keeps what comes."""

    def __init__(self):
        self.requests = []

    def put(self, request):
        self.requests.append(request)


@contextlib.contextmanager
def listening(broker, **more):
    inbox = Asked()
    with running_sink(broker, inbox=inbox, **more) as sink:
        settle(sink)
        wait_until(lambda: f"{BASE}/set/+" in broker.log(), "it has subscribed")
        yield sink, inbox.requests


def test_a_command_becomes_a_request_as_it_came(mosquitto):
    with Subscriber(mosquitto.port) as hub, listening(mosquitto) as (sink, requests):
        for topic, payload in (
            (MUTE, "15 min"),
            (f"{BASE}/set/no_such_control", "é"),
            (f"{BASE}/set/deeper/down", "x"),
            ("cradlewatch/kitchen/set/mute", "8 h"),
            (f"{BASE}/set/acknowledge", "PRESS"),
        ):
            hub.publish(topic, payload)
        work(sink, lambda: len(requests) >= 3, "the requests are in")
        assert requests == [
            Request("mute", b"15 min", "hub"),
            Request("no_such_control", "é".encode(), "hub"),
            Request("acknowledge", b"PRESS", "hub"),
        ]
        assert sink.stats().ignored_commands == 0


def test_a_retained_command_is_ignored_on_every_connection(mosquitto):
    with Subscriber(mosquitto.port) as hub:
        hub.publish(MUTE, "8 h", retain=True)
        with listening(mosquitto) as (sink, requests):
            work(sink, lambda: sink.stats().ignored_commands == 1, "it is counted")
            hub.publish(MUTE, "off")
            work(sink, lambda: requests, "what is said now is heard")
            assert requests == [Request("mute", b"off", "hub")]


def test_a_command_that_is_too_long_is_dropped(mosquitto):
    with Subscriber(mosquitto.port) as hub, listening(mosquitto) as (sink, requests):
        hub.publish(MUTE, "x" * (MAX_PAYLOAD + 1))
        hub.publish(f"{BASE}/set/{'y' * (MAX_PAYLOAD + 1)}", "ON")
        hub.publish(MUTE, "x" * MAX_PAYLOAD)
        work(sink, lambda: requests, "the third is in")
        assert [len(request.payload) for request in requests] == [MAX_PAYLOAD]
        assert sink.stats().ignored_commands == 2


def test_a_flood_of_commands_that_are_too_long_is_one_line_in_the_log(mosquitto):
    with Subscriber(mosquitto.port) as hub, listening(mosquitto) as (sink, _), capture_logs() as lines:
        for _ in range(20):
            hub.publish(MUTE, "x" * (MAX_PAYLOAD + 1))
        work(sink, lambda: sink.stats().ignored_commands == 20, "all are counted")
        assert [line["event"] for line in lines].count("mqtt.command_ignored") == 1


def test_what_was_asked_while_we_were_away_is_not_done_when_we_are_back(tmp_path):
    with (
        Mosquitto(tmp_path / "b", persistence=True) as broker,
        listening(broker, reconnect_min_s=2.0, reconnect_max_s=2.0) as (sink, requests),
    ):
        broker.kill()
        broker.start()
        with Subscriber(broker.port) as hub:
            hub.publish(MUTE, "8 h")
            work(sink, lambda: sink.stats().connections == 2, "we are back")
            wait_until(lambda: broker.log().count(f"{BASE}/set/+ (QoS 0)") >= 2, "it has subscribed again")
            hub.publish(MUTE, "30 min")
            work(sink, lambda: requests, "the request is in")
            assert requests == [Request("mute", b"30 min", "hub")]


def test_without_an_inbox_it_takes_no_commands(mosquitto):
    with Subscriber(mosquitto.port) as hub, running_sink(mosquitto) as sink:
        settle(sink)
        hub.publish(MUTE, "off")
        hub.wait_for(lambda _: hub.on(MUTE))
        sink.tick()
        assert f"{BASE}/set/+" not in mosquitto.log()
