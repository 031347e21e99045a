"""The subscriber, at real brokers."""

from __future__ import annotations

import socket

import pytest

from monitor.demo.broker import EmbeddedBroker
from monitor.demo.hub import Door, Hub, HubError
from tests.broker import Mosquitto
from tests.demo.story import message

TOPICS = ["cradlewatch/#"]


def door(address, **more):
    return Door(address.host, address.port, address.protocol, **more)


@pytest.mark.parametrize("kind", [pytest.param("mosquitto", marks=pytest.mark.broker), "amqtt"])
def test_hub_receives_in_order_and_reads_episodes(kind):
    seen = []
    with EmbeddedBroker(kind) as address:
        hub, sender = Hub(door(address), TOPICS), Hub(door(address), TOPICS)
        hub.on_message = seen.append
        hub.start()
        sender.start()
        sent = message("started", 1)
        for payload in (b"online", sent.to_json().encode()):
            sender._client.publish("cradlewatch/demo/cry", payload, qos=1)
        assert hub.wait_for_events({sent.event_id}, 10)
        assert not hub.wait_for_events({"another"}, 0.0)
        hub.stop()
        sender.stop()
    assert [one.episode() for one in hub.received] == [None, sent]
    assert seen == hub.received


@pytest.mark.broker
def test_hub_deletes_what_the_demonstration_retained():
    with EmbeddedBroker("mosquitto") as address:
        hub = Hub(door(address), TOPICS)
        hub.start()
        hub._client.publish("cradlewatch/demo/crying", b"ON", qos=1, retain=True)
        hub._client.publish("cradlewatch/other/crying", b"ON", qos=1, retain=True)
        assert hub.wait_for(lambda received: len(received) == 2, 10)
        hub.forget({"cradlewatch/demo/crying"})
        hub.stop()
        later = Hub(door(address), TOPICS)
        later.start()
        assert later.wait_for(len, 10)
        later.stop()
    assert [one.topic for one in later.received] == ["cradlewatch/other/crying"]


@pytest.mark.broker
def test_hub_leaves_alone_what_does_not_concern_it():
    with EmbeddedBroker("mosquitto") as address:
        hub = Hub(door(address), TOPICS, lambda topic: topic.startswith("cradlewatch/demo/"))
        hub.start()
        hub._client.publish("cradlewatch/nursery/crying", b"ON", qos=1)
        hub._client.publish("cradlewatch/demo/crying", b"OFF", qos=1)
        assert hub.wait_for(len, 10)
        hub.stop()
    assert [one.payload for one in hub.received] == [b"OFF"]


def test_no_broker_at_the_address_is_one_sentence():
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    with pytest.raises(HubError, match=rf"No broker answers at 127\.0\.0\.1:{port}"):
        Hub(Door("127.0.0.1", port, "5"), TOPICS).start()


@pytest.mark.broker
def test_refused_password_is_one_sentence(tmp_path):
    with Mosquitto(tmp_path, users={"parent": "right"}) as mosquitto:
        wrong = Door("127.0.0.1", mosquitto.port, "5", "parent", "wrong")
        with pytest.raises(HubError, match="does not let the demonstration subscribe: Not authorized"):
            Hub(wrong, TOPICS).start()
