"""The MQTT sink against a real Mosquitto."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from monitor.errors import PermanentSinkError
from monitor.sinks.mqtt import MqttSink
from tests.broker import DEADLINE_S, Subscriber, retained
from tests.patience import shared
from tests.sinks.messages import HUNGRY, episode, health, telemetry
from tests.sinks.mqtt_room import BASE, DISCOVERY, running_sink, settings_for, settle, work

pytestmark = pytest.mark.broker

CRYING, CRY, AVAILABILITY = f"{BASE}/crying", f"{BASE}/cry", f"{BASE}/availability"


def state_of(payload):
    return json.loads(payload)["state"]


def ids_on(hub, topic=CRY):
    return [json.loads(payload)["event_id"] for payload in hub.on(topic)]


def test_on_connecting_it_announces_itself_and_is_calm(mosquitto):
    with Subscriber(mosquitto.port) as hub, running_sink(mosquitto) as sink:
        settle(sink)
        hub.wait_for(lambda _: hub.last(DISCOVERY))
        order = [message.topic for message in hub.received]
        assert order == [CRYING, AVAILABILITY, DISCOVERY], "states first, valid only once all are said"
        assert {message.qos for message in hub.received} == {1}
        assert state_of(hub.last(CRYING)) == "OFF"
        assert sink.fault() == ""
        assert "cry" in json.loads(hub.last(DISCOVERY))["cmps"]


def test_an_episode_turns_the_state_on_and_off_and_fires_each_event_once(mosquitto):
    with Subscriber(mosquitto.port) as hub, running_sink(mosquitto) as sink:
        settle(sink)
        for message in (episode(), episode("escalated", cause=HUNGRY), episode("ended", duration_s=9)):
            sink.handle(message)
        settle(sink)
        hub.wait_for(lambda _: len(hub.on(CRY)) == 3)
        assert [state_of(payload) for payload in hub.on(CRYING)][-3:] == ["ON", "ON", "OFF"]
        assert [json.loads(payload)["event_type"] for payload in hub.on(CRY)] == [
            "started",
            "escalated",
            "ended",
        ]
        assert json.loads(hub.last(f"{BASE}/cause"))["cause"] == "hungry"
        events = [message for message in hub.received if message.topic == CRY]
        assert all(0 < event.expiry_s <= 300 for event in events)
        assert not any(event.retain for event in events)


def test_a_newcomer_finds_states_and_no_old_event(mosquitto):
    with running_sink(mosquitto) as sink:
        settle(sink)
        for message in (health(), telemetry(), episode(cause=HUNGRY)):
            sink.handle(message)
        work(sink, lambda: f"{BASE}/cause" in retained(mosquitto.port), "the states are kept")
        kept = retained(mosquitto.port)
    assert set(kept) == {
        DISCOVERY,
        AVAILABILITY,
        *(
            f"{BASE}/{name}"
            for name in ("crying", "cause", "confirmed_cause", "telemetry", "sound", "health")
        ),
    }
    assert state_of(kept[CRYING]) == "ON"
    assert kept[AVAILABILITY] == "online"


def test_closing_says_offline_and_keeps_the_entities(mosquitto):
    with running_sink(mosquitto) as sink:
        settle(sink)
        sink.handle(episode())
        sink.close(5)
        kept = retained(mosquitto.port)
        assert kept[AVAILABILITY] == "offline"
        assert DISCOVERY in kept
        sink.close(5)
    assert "disconnected" in mosquitto.log()


def test_offline_is_the_last_word_also_when_an_event_goes_out_with_it(mosquitto):
    for _ in range(5):
        with Subscriber(mosquitto.port, CRY) as hub, running_sink(mosquitto) as sink:
            settle(sink)
            sink.handle(episode())
            sink.close(5)
            hub.wait_for(lambda _, hub=hub: hub.on(CRY))
            assert retained(mosquitto.port)[AVAILABILITY] == "offline"


_CHILD = """
import sys, time
from monitor.sinks.mqtt import MqttSink
from tests.sinks.messages import episode
from tests.sinks.mqtt_room import settings_for
sink = MqttSink(settings_for(int(sys.argv[1])))
sink.open()
sink.handle(episode())
while True:
    sink.tick()
    time.sleep(0.05)
"""


def test_a_killed_process_is_called_offline_by_the_broker_and_leaves_no_crying_behind(mosquitto):
    with Subscriber(mosquitto.port) as hub:
        child = subprocess.Popen(
            [sys.executable, "-c", _CHILD, str(mosquitto.port)], env={**os.environ, "PYTHONPATH": "."}
        )
        try:
            hub.wait_for(lambda _: hub.last(AVAILABILITY) == "online" and hub.on(CRY))
        finally:
            child.send_signal(signal.SIGKILL)
            child.wait(DEADLINE_S)
        hub.wait_for(lambda _: hub.last(AVAILABILITY) == "offline")
        assert retained(mosquitto.port)[AVAILABILITY] == "offline"
        assert state_of(retained(mosquitto.port)[CRYING]) == "ON"
        with running_sink(mosquitto) as sink:
            settle(sink)
            hub.wait_for(lambda _: hub.last(AVAILABILITY) == "online")
            assert state_of(hub.last(CRYING)) == "OFF"


def test_a_broker_that_forgot_all_is_told_all_again(mosquitto):
    with running_sink(mosquitto) as sink:
        with Subscriber(mosquitto.port):
            settle(sink)
            for message in (health(), episode()):
                sink.handle(message)
            settle(sink)
        mosquitto.kill()
        work(sink, sink.fault, "the loss is noticed")
        assert f"127.0.0.1:{mosquitto.port}" in sink.fault()
        mosquitto.start()
        work(sink, lambda: sink.stats().connections == 2 and sink.fault() == "", "it is back")
        with Subscriber(mosquitto.port) as hub:
            work(sink, lambda: hub.last(DISCOVERY), "it is announced again")
            assert state_of(hub.last(CRYING)) == "ON"
            assert {DISCOVERY, f"{BASE}/health"} <= {message.topic for message in hub.received}
            assert hub.on(CRY) == [], "an event that was acknowledged is not sent again"


def test_what_happens_while_the_broker_is_away_arrives_afterwards_in_order(mosquitto):
    mosquitto.stop()
    with running_sink(mosquitto) as sink:
        work(sink, lambda: "Nothing listens" in sink.fault(), "the fault is told")
        for number in range(30):
            sink.handle(episode("started", episode_id=f"e{number}"))
            sink.handle(episode("updated", 1, episode_id=f"e{number}"))
            sink.handle(episode("updated", 2, episode_id=f"e{number}"))
            sink.handle(episode("ended", episode_id=f"e{number}"))
            sink.handle(telemetry(number))
        assert sink.stats().waiting == 60, "updates are no events"
        mosquitto.start()
        with Subscriber(mosquitto.port) as hub:
            settle(sink)
            hub.wait_for(lambda _: len(hub.on(CRY)) == 60)
            assert ids_on(hub) == [
                f"e{number}-{kind}" for number in range(30) for kind in ("started-1", "ended-1")
            ]
            assert ids_on(hub, f"{BASE}/telemetry") == ["t29"], "of states only the newest"
            states = [message for message in hub.received if message.topic == CRYING]
            assert [state_of(message.payload) for message in states] == ["OFF"], "no crying from the past"


def test_events_without_an_answer_are_sent_again_after_a_power_cut_of_the_broker(mosquitto):
    with running_sink(mosquitto) as sink:
        settle(sink)
        mosquitto.freeze()
        for number in range(5):
            sink.handle(episode(episode_id=f"e{number}"))
        assert sink.stats().waiting == 5
        mosquitto.kill()
        mosquitto.start()
        with Subscriber(mosquitto.port) as hub:
            work(sink, lambda: sink.stats().connections == 2 and sink.stats().waiting == 0, "all delivered")
            hub.wait_for(lambda _: len(hub.on(CRY)) == 5)
            assert ids_on(hub) == [f"e{number}-started-1" for number in range(5)]
            assert [json.loads(payload)["episode_id"] for payload in hub.on(CRYING)] == ["e4"]


def test_a_frozen_broker_does_not_hold_up_the_end(mosquitto):
    with running_sink(mosquitto) as sink:
        settle(sink)
        mosquitto.freeze()
        sink.handle(episode())
        before = time.monotonic()
        sink.close(0.5)
        assert time.monotonic() - before < shared(5)
        mosquitto.thaw()


def test_a_home_assistant_that_starts_is_told_all_again(mosquitto):
    with Subscriber(mosquitto.port) as hub, running_sink(mosquitto) as sink:
        settle(sink)
        sink.handle(episode())
        settle(sink)
        hub.wait_for(lambda _: hub.on(CRY) and hub.on(DISCOVERY))
        hub.forget()
        hub.publish("homeassistant/status", "offline")
        hub.publish("homeassistant/status", "online")
        work(sink, lambda: hub.last(DISCOVERY), "it is announced again")
        order = [m.topic for m in hub.received if m.topic != "homeassistant/status"]
        assert order[0] == CRYING
        assert order[-2:] == [AVAILABILITY, DISCOVERY]
        assert state_of(hub.last(CRYING)) == "ON"


def test_the_answer_to_a_birth_waits_for_its_jitter(mosquitto):
    ahead_s = [0.0]
    sink = MqttSink(
        settings_for(mosquitto.port),
        jitter_s=lambda: 1000.0,
        monotonic_s=lambda: time.monotonic() + ahead_s[0],
    )
    sink.open()
    with Subscriber(mosquitto.port) as hub:
        settle(sink)
        hub.wait_for(lambda _: hub.last(DISCOVERY))
        hub.forget()
        hub.publish("homeassistant/status", "online")
        sink.handle(telemetry())
        work(sink, lambda: hub.on(f"{BASE}/telemetry"), "the telemetry is through")
        assert hub.on(DISCOVERY) == []
        ahead_s[0] = 1001.0
        work(sink, lambda: hub.on(DISCOVERY), "it is announced when the jitter is over")
    sink.close(2)


def test_a_retained_birth_message_does_not_make_it_say_all_twice(mosquitto):
    with Subscriber(mosquitto.port) as hub:
        hub.publish("homeassistant/status", "online", retain=True)
        with running_sink(mosquitto) as sink:
            settle(sink)
            sink.handle(episode())
            settle(sink)
            work(sink, lambda: hub.on(CRY), "the event is through")
            assert len(hub.on(DISCOVERY)) == 1


def test_without_discovery_it_only_speaks_on_its_own_topics(mosquitto):
    with Subscriber(mosquitto.port) as hub, running_sink(mosquitto, discovery=False) as sink:
        settle(sink)
        hub.wait_for(lambda _: hub.last(AVAILABILITY) == "online")
        assert all(message.topic.startswith("cradlewatch/") for message in hub.received)


def test_the_second_start_begins_with_an_empty_session(mosquitto):
    for _ in range(2):
        with running_sink(mosquitto) as sink:
            settle(sink)
    assert mosquitto.log().count("as cradlewatch-nursery (p5, c1, k15") == 2


def test_files_that_cannot_be_used_are_told_at_start(tmp_path):
    bad = tmp_path / "bad.pem"
    bad.write_text("no certificate")
    for more, said in [
        ({"ca_file": tmp_path / "none.crt"}, r"mqtt\.ca_file.*none\.crt.*No such file"),
        ({"ca_file": bad}, r"mqtt\.ca_file.*bad\.pem"),
        ({"cert_file": bad, "key_file": bad}, r"mqtt\.cert_file.*bad\.pem"),
        ({"cert_file": bad}, "belong together"),
        ({"host": "a" * 70 + ".lan"}, "is not a host name"),
        ({"host": ""}, "is no address"),
    ]:
        with pytest.raises(PermanentSinkError, match=said):
            MqttSink(settings_for(1883, **{"tls": True, **more})).open()


def test_a_broker_without_listeners_is_a_fault_and_no_error(mosquitto):
    mosquitto.stop()
    with running_sink(mosquitto) as sink:
        sink.handle(telemetry())
        work(sink, lambda: "Nothing listens at 127.0.0.1" in sink.fault(), "the fault is told")


def test_a_network_thread_that_an_error_ended_is_replaced(mosquitto, monkeypatch):
    ended = threading.Event()
    monkeypatch.setattr(threading, "excepthook", lambda _: ended.set())
    real = socket.create_connection
    broken = [ValueError("an error that paho does not expect")]

    def create_connection(*arguments, **options):
        if broken:
            raise broken.pop()
        return real(*arguments, **options)

    monkeypatch.setattr(socket, "create_connection", create_connection)
    with running_sink(mosquitto) as sink:
        assert ended.wait(DEADLINE_S)
        settle(sink)
        assert sink.fault() == ""
