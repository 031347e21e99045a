"""Brokers that take less than others: bytes in a packet, messages on their way, what MQTT can."""

import contextlib
import json
import select
import socket
import threading

import pytest

from monitor.messages import TestMessage
from monitor.sinks.mqtt_limits import ALARM_AGAIN_S, DROPS, STATE_AGAIN_S, BrokerLimits
from monitor.sinks.mqtt_refusals import Refusals
from monitor.sinks.mqtt_reports import Limits
from monitor.sinks.mqtt_settings import Publication
from tests.broker import DEADLINE_S, HOST, Mosquitto, Subscriber, retained
from tests.sinks.messages import HUNGRY, ONSET, episode, health
from tests.sinks.mqtt_room import BASE, DISCOVERY, running_sink, settings_for, settle, work

pytestmark = pytest.mark.broker


def limited(tmp_path, *lines):
    return Mosquitto(tmp_path / "mosquitto", extra_lines=lines)


def test_alarms_and_states_go_before_the_announcement(mosquitto):
    with Subscriber(mosquitto.port) as hub, running_sink(mosquitto) as sink:
        sink.handle(episode())
        sink.handle(health())
        settle(sink)
        work(sink, lambda: DISCOVERY in hub_topics(hub), "all has arrived")
        order = hub_topics(hub)
        assert order.index(f"{BASE}/crying") < order.index(DISCOVERY)
        assert order.index(f"{BASE}/availability") < order.index(DISCOVERY)
        assert order.index(f"{BASE}/cry") < order.index(DISCOVERY)


def hub_topics(hub):
    return [message.topic for message in hub.received]


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_a_broker_that_limits_packets_gets_the_alarm_and_one_sentence_says_what_is_left_out(
    tmp_path, protocol
):
    with (
        limited(tmp_path, "max_packet_size 8000") as broker,
        Subscriber(broker.port) as hub,
        running_sink(broker, protocol=protocol) as sink,
    ):
        work(sink, lambda: "bytes" in sink.fault(), "the fault is told")
        settle(sink)
        sink.handle(episode(cause=HUNGRY))
        settle(sink)
        hub.wait_for(lambda _: hub.on(f"{BASE}/cry"))
        kept = retained(broker.port)
        assert json.loads(kept[f"{BASE}/crying"])["state"] == "ON"
        assert kept[f"{BASE}/availability"] == "online"
        assert DISCOVERY not in kept
        size = len(sink_announcement(sink).payload.encode())
        numbers = ("8000", str(Limits().size(sink_announcement(sink)))) if protocol == "5" else (str(size),)
        assert all(number in sink.fault() for number in numbers), sink.fault()
        assert "32768" in sink.fault()
        assert sink.stats().connections == (1 if protocol == "5" else 1 + DROPS)


def sink_announcement(sink) -> Publication:
    return sink._announcement.publication


def test_a_broker_whose_limit_was_raised_gets_the_announcement(tmp_path):
    broker = limited(tmp_path, "max_packet_size 8000")
    with running_sink(broker.port, protocol="3.1.1", held_after_s=0.3) as sink:
        broker.start()
        work(sink, lambda: "announce" in sink.fault(), "the fault is told")
        work(sink, lambda: sink.stats().connected, "it is connected without the announcement")
        connected_s = sink.stats().connections
        work(sink, held_for(0.5), "the link has held")
        broker.stop()
        config = broker.folder / "mosquitto.conf"
        config.write_text(config.read_text().replace("max_packet_size 8000", ""))
        with broker:
            work(sink, lambda: sink.stats().connections > connected_s, "it is back")
            work(sink, lambda: DISCOVERY in retained(broker.port), "the announcement has arrived")
            work(sink, lambda: sink.fault() == "", "all is well")


def held_for(seconds):
    over = threading.Event()
    threading.Timer(seconds, over.set).start()
    return over.is_set


def test_a_limit_that_leaves_no_room_for_a_state_is_named_with_the_topic(tmp_path):
    with limited(tmp_path, "max_packet_size 200") as broker, running_sink(broker, protocol="5") as sink:
        sink.handle(health())
        work(sink, lambda: "at most 200 bytes" in sink.fault(), "the fault is told")
        assert sink.stats().connections == 1


def test_a_silent_limit_below_a_state_keeps_no_alarm_and_no_smaller_state_from_the_hub(tmp_path):
    with (
        limited(tmp_path, "max_packet_size 1000") as broker,
        Subscriber(broker.port) as hub,
        running_sink(broker, protocol="3.1.1", held_after_s=1.0) as sink,
    ):
        sink.handle(health().model_copy(update={"reasons": ["x" * 1500]}))
        sink.handle(episode())
        work(sink, lambda: hub.on(f"{BASE}/cry"), "the alarm has arrived")
        work(sink, lambda: f"{BASE}/health" in sink.fault(), "what is left out is named")
        settle(sink)
        sink.handle(episode("ended"))
        settle(sink)
        kept = retained(broker.port)
        assert json.loads(kept[f"{BASE}/crying"])["state"] == "OFF"
        assert kept[f"{BASE}/availability"] == "online"
        assert f"{BASE}/health" not in kept


def test_an_alarm_over_a_silent_limit_is_known_as_undelivered_and_keeps_no_other_back(tmp_path):
    long = episode().model_copy(update={"device": "x" * 1000})
    with (
        limited(tmp_path, "max_packet_size 1000") as broker,
        Subscriber(broker.port) as hub,
        running_sink(broker, protocol="3.1.1") as sink,
    ):
        sink.handle(long)
        sink.handle(TestMessage(event_id="t", device="nursery", time=ONSET, source="hub"))
        work(sink, lambda: hub.on(f"{BASE}/cry"), "the small one has arrived")
        assert [json.loads(event)["event_type"] for event in hub.on(f"{BASE}/cry")] == ["test"]
        assert not sink.reached(), "push and speaker must not rely on the hub"


# --- on paper -------------------------------------------------------------------------------------


STATE = Publication("t", "x" * 2000, retain=True)
EVENT = Publication("t", "x" * 2000, retain=False)


def paper():
    refusals = Refusals(settings_for(1))
    limits = BrokerLimits(settings_for(1), refusals)
    limits.connected(Limits())
    return limits, refusals


def drop(limits, publication, now_s=0.0, *, held=False):
    limits.sent((1, 1), publication)
    limits.link_lost(held=held)
    limits.dropped([(1, 1)], now_s)


def test_a_link_that_is_lost_for_another_reason_is_not_laid_to_a_publication():
    limits, refusals = paper()
    for _ in range(2 * DROPS):
        limits.sent((1, 1), STATE)
        limits.answered((1, 1))
        limits.link_lost(held=False)
        limits.dropped([(1, 1)], 0.0)
        drop(limits, STATE)
        assert limits.fits(STATE, 0.0)
        limits.sent((1, 2), STATE)
        limits.answered((1, 2))
    assert refusals.first is None


@pytest.mark.parametrize(("publication", "first_s"), [(STATE, STATE_AGAIN_S), (EVENT, ALARM_AGAIN_S)])
def test_what_costs_the_connection_is_tried_again_after_a_pause_that_doubles(publication, first_s):
    limits, refusals = paper()
    for _ in range(DROPS):
        assert limits.fits(publication, 0.0)
        drop(limits, publication)
    assert "2000 bytes for t" in str(refusals.first)
    assert not limits.fits(publication, first_s - 0.1)
    assert limits.fits(publication, first_s)
    drop(limits, publication, first_s, held=True)
    assert not limits.fits(publication, 3 * first_s - 0.1)
    assert limits.fits(publication, 3 * first_s)
    limits.sent((2, 1), publication)
    limits.answered((2, 1))
    assert refusals.first is None


def test_what_is_smaller_than_what_the_broker_has_taken_is_not_blamed():
    limits, _ = paper()
    small = Publication("t", "x" * 1900, retain=True)
    limits.sent((1, 1), STATE)
    limits.answered((1, 1))
    for _ in range(2 * DROPS):
        drop(limits, small)
        assert limits.fits(small, 0.0)


def test_a_broker_that_drops_everybody_makes_us_leave_out_no_availability():
    limits, _ = paper()
    online = Publication("t", "online", retain=True)
    for _ in range(2 * DROPS):
        drop(limits, online)
        assert limits.fits(online, 0.0)


def test_several_lost_at_once_are_sent_one_by_one_until_a_link_holds():
    limits, refusals = paper()
    for _ in range(DROPS):
        assert not limits.careful, "one loss is nothing special"
        limits.sent((1, 1), STATE)
        limits.sent((1, 2), EVENT)
        limits.dropped([(1, 1), (1, 2)], 0.0)
    assert limits.careful
    assert refusals.first is None
    limits.steady()
    assert not limits.careful


def test_a_broker_without_qos_1_gets_everything_and_the_fault_says_that_nothing_is_confirmed(tmp_path):
    with (
        limited(tmp_path, "max_qos 0") as broker,
        Subscriber(broker.port) as hub,
        running_sink(broker, protocol="5") as sink,
    ):
        work(sink, lambda: sink.stats().connected, "it is connected")
        sink.handle(episode())
        settle(sink)
        work(sink, lambda: hub.on(f"{BASE}/cry") and hub.on(DISCOVERY), "all has arrived")
        assert "QoS 0 alone" in sink.fault()


def test_a_broker_that_retains_nothing_gets_everything_and_the_fault_says_so(tmp_path):
    with (
        limited(tmp_path, "retain_available false") as broker,
        Subscriber(broker.port) as hub,
        running_sink(broker, protocol="5") as sink,
    ):
        work(sink, lambda: sink.stats().connected, "it is connected")
        sink.handle(episode())
        settle(sink)
        work(sink, lambda: hub.on(f"{BASE}/cry") and hub.on(DISCOVERY), "all has arrived")
        assert "keeps no retained messages" in sink.fault()


CONNACK_WITHOUT_PROPERTIES = bytes([0x20, 3, 0, 0, 0])


def test_an_alarm_does_not_wait_out_the_pause_of_a_broker_that_drops_us():
    """It lets us in and hangs up at the alarm; the next try would be a minute later."""
    with socket.create_server((HOST, 0)) as broker:
        broker.settimeout(DEADLINE_S)
        port = broker.getsockname()[1]
        with running_sink(port, protocol="5", reconnect_min_s=60.0, reconnect_max_s=0.2) as sink:
            with accepted(broker, CONNACK_WITHOUT_PROPERTIES):
                work(sink, lambda: sink.stats().connected, "it is connected")
                sink.handle(episode())
            work(sink, lambda: select.select([broker], [], [], 0)[0], "it comes again", timeout_s=30.0)


CONNACK_RECEIVE_MAXIMUM_1 = bytes([0x20, 6, 0, 0, 3, 0x21, 0, 1])


def test_no_more_is_on_its_way_than_the_broker_asked_for():
    """It acknowledges nothing, and counts what comes."""
    with socket.create_server((HOST, 0)) as broker:
        broker.settimeout(20.0)
        with running_sink(broker.getsockname()[1], protocol="5") as sink:
            first = accepted(broker)
            work(sink, lambda: select.select([broker], [], [], 0)[0], "it comes again")
            with first, accepted(broker) as connection:  # with fewer on their way
                work(sink, lambda: sink.stats().connected, "it is connected")
                sink.handle(episode())
                connection.settimeout(1.0)
                seen = b""
                with contextlib.suppress(TimeoutError):
                    while data := connection.recv(65536):
                        seen += data
    assert packets(seen).count(3) == 1, "one PUBLISH without an answer"


def accepted(broker, connack=CONNACK_RECEIVE_MAXIMUM_1):
    connection, _ = broker.accept()
    connection.recv(4096)
    connection.sendall(connack)
    return connection


def packets(stream: bytes) -> list[int]:
    """The kinds of the packets in a stream."""
    kinds, at = [], 0
    while at < len(stream):
        kinds.append(stream[at] >> 4)
        at += 1
        length, shift = 0, 0
        while True:
            byte = stream[at]
            at += 1
            length |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                break
        at += length
    return kinds
