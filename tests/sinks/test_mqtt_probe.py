"""``check`` tries what the service does: a large message, another machine with our id, less able brokers."""

import threading

import pytest

from monitor.sinks.mqtt_probe import probe
from tests.broker import Mosquitto, retained
from tests.sinks.mqtt_room import BASE, running_sink, settings_for, settle
from tests.sinks.test_mqtt_back_off import ACCEPTED_3, dropping_broker
from tests.sinks.test_mqtt_twin import ATTIC, CELLAR

TRY_S = 20.0


@pytest.mark.broker
@pytest.mark.parametrize(
    ("lines", "protocol", "words"),
    [
        (("max_packet_size 8000",), "5", "at most 8000 bytes"),
        (("max_packet_size 8000",), "3.1.1", "announce the entities"),
        (("max_qos 0",), "5", "QoS 0 alone"),
        (("retain_available false",), "5", "keeps no retained messages"),
    ],
)
def test_a_broker_that_takes_less_than_the_service_sends_is_named(tmp_path, lines, protocol, words):
    with Mosquitto(tmp_path / "mosquitto", extra_lines=lines) as broker:
        settings = settings_for(broker.port, protocol=protocol)
        result = probe(settings, TRY_S)
        assert not result.ok
        assert words in result.problem
        if "announce" not in words and "bytes" not in words:
            return
        assert probe(settings_for(broker.port, protocol=protocol, discovery=False), TRY_S).ok


@pytest.mark.parametrize(("protocol", "answer"), [("5", bytes([0x20, 3, 0, 0, 0])), ("3.1.1", ACCEPTED_3)])
def test_a_broker_that_accepts_and_drops_is_not_all_right(protocol, answer):
    with dropping_broker(answer) as (port, _):
        result = probe(settings_for(port, protocol=protocol, reconnect_min_s=0.02), 2.0)
        assert not result.ok
        assert "again and again" in result.problem


@pytest.mark.broker
@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_another_machine_that_reports_under_our_id_is_named(mosquitto, protocol):
    with running_sink(mosquitto, **ATTIC) as sink:
        settle(sink)
        done = threading.Event()

        def go_on():
            while not done.wait(0.02):
                sink.tick()

        working = threading.Thread(target=go_on)
        working.start()
        try:
            result = probe(settings_for(mosquitto.port, protocol=protocol, **CELLAR), TRY_S)
            own = probe(settings_for(mosquitto.port, protocol=protocol, **ATTIC), TRY_S)
        finally:
            done.set()
            working.join()
        assert not result.ok
        assert "attic (aaaa)" in result.problem
        assert own.ok, own
    gone = probe(settings_for(mosquitto.port, protocol=protocol, **CELLAR), TRY_S)
    assert gone.ok
    assert "attic (aaaa) has reported" in gone.note


@pytest.mark.broker
def test_the_check_leaves_nothing_at_the_broker(mosquitto):
    assert probe(settings_for(mosquitto.port, **ATTIC), TRY_S).ok
    assert [topic for topic in retained(mosquitto.port) if topic.startswith((BASE, "homeassistant"))] == []
