"""Pauses before the next try, and links that are accepted and then dropped."""

import contextlib
import itertools
import socket
import threading
import time
from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from monitor.sinks.mqtt_back_off import BackOff
from tests.broker import HOST, Mosquitto, Subscriber, free_port, wait_until
from tests.patience import shared
from tests.sinks.messages import episode
from tests.sinks.mqtt_room import BASE, running_sink, work
from tests.sinks.test_mqtt_strange_broker import CONNACK


def pauses(back_off: BackOff, count: int) -> list[float]:
    return [back_off.pause_s() for _ in range(count)]


def test_a_broker_that_is_away_is_tried_at_least_every_eight_seconds():
    assert pauses(BackOff(1.0, 8.0, jitter=lambda: 1.0), 6) == [1, 2, 4, 8, 8, 8]


def test_many_monitors_do_not_come_back_at_the_same_time():
    back_off = BackOff(8.0, 8.0)
    drawn = pauses(back_off, 200)
    assert 6.0 <= min(drawn) < 6.5
    assert 7.5 < max(drawn) <= 8.0


def test_links_that_do_not_hold_are_tried_less_and_less():
    back_off = BackOff(1.0, 8.0, jitter=lambda: 1.0)
    seen = []
    for _ in range(8):
        back_off.dropped(held=False)
        seen.append(back_off.pause_s())
    assert seen == [1, 2, 4, 8, 16, 32, 60, 60]
    back_off.dropped(held=True)
    assert back_off.pause_s() == 1


def test_a_broker_that_stays_away_after_drops_is_found_soon():
    back_off = BackOff(1.0, 8.0, jitter=lambda: 1.0)
    for _ in range(8):
        back_off.dropped(held=False)
        back_off.pause_s()
    assert back_off.pause_s() == 8  # it could not be reached this time


@contextlib.contextmanager
def dropping_broker(answer: bytes) -> Iterator[tuple[int, list[float]]]:
    """Takes each connection, gives ``answer`` and hangs up; its port and when connections came."""
    came: list[float] = []
    with socket.create_server((HOST, 0)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    with connection:
                        came.append(time.monotonic())
                        connection.recv(4096)
                        connection.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        try:
            yield server.getsockname()[1], came
        finally:
            server.shutdown(socket.SHUT_RDWR)


ACCEPTED_3 = bytes([0x20, 2, 0, 0])
DISCONNECT_5 = bytes([0xE0, 2, 0x97, 0])  # quota exceeded


@pytest.mark.parametrize(
    ("protocol", "answer"), [("5", CONNACK), ("5", CONNACK + DISCONNECT_5), ("3.1.1", ACCEPTED_3)]
)
def test_links_that_are_accepted_and_dropped_are_one_standing_fault_told_once(protocol, answer):
    with (
        capture_logs() as logs,
        dropping_broker(answer) as (port, came),
        running_sink(port, protocol=protocol, reconnect_min_s=0.02) as sink,
    ):
        work(sink, lambda: len(came) >= 4, "it has been dropped four times")
        first = sink.fault()
        assert "accepts the connection and drops it, again and again" in first
        for _ in range(2):  # it stands, whether the link is up at the moment or not
            before = len(came)
            while len(came) == before:
                sink.tick()
                assert sink.fault() == first
                time.sleep(0.002)
    told = [line["event"] for line in logs if line["event"].startswith("mqtt.")]
    assert told.count("mqtt.unsteady") == 1
    assert len(told) <= 7, told  # at most two connections and losses before


def test_the_pauses_between_dropped_links_grow():
    with (
        dropping_broker(CONNACK) as (port, came),
        running_sink(port, protocol="5", reconnect_min_s=0.05, reconnect_max_s=0.1) as sink,
    ):
        work(sink, lambda: len(came) >= 6, "it has been dropped six times")
    gaps = [after - before for before, after in itertools.pairwise(came)]
    assert gaps[4] > 0.6  # 0.75 of 0.8, and twice the longest pause where nobody answers


@pytest.mark.broker
def test_a_link_that_holds_ends_the_standing_fault(tmp_path):
    broker = Mosquitto(tmp_path / "mosquitto")
    with running_sink(broker.port, reconnect_min_s=0.02, held_after_s=0.3) as sink:
        for _ in range(3):
            broker.start()
            work(sink, lambda: sink.stats().connected, "the link is up")
            broker.kill()
            work(sink, lambda: not sink.stats().connected, "the link is lost")
        assert "again and again" in sink.fault()
        with broker:
            work(sink, lambda: sink.fault() == "", "the link has held")


@pytest.mark.broker
def test_an_alarm_does_not_wait_for_the_next_try(tmp_path):
    broker = Mosquitto(tmp_path / "mosquitto")
    with running_sink(broker.port, reconnect_min_s=3600.0, reconnect_max_s=3600.0) as sink:
        work(sink, lambda: "Nothing listens" in sink.fault(), "the first try has failed")
        with broker, Subscriber(broker.port, f"{BASE}/cry") as hub:
            sink.handle(episode())
            work(sink, lambda: hub.received, "the alarm has arrived")


def test_closing_does_not_wait_for_the_pause():
    with running_sink(free_port(), reconnect_min_s=3600.0, reconnect_max_s=3600.0) as sink:
        wait_until(lambda: "Nothing listens" in sink.fault() or sink.tick(), "the first try has failed")
        before_s = time.monotonic()
        sink.close(8.0)
        assert time.monotonic() - before_s < shared(4)


def test_a_broker_that_hangs_up_at_once_does_not_fill_the_log():
    with (
        capture_logs() as logs,
        dropping_broker(b"") as (port, came),
        running_sink(port, reconnect_min_s=0.01, reconnect_max_s=0.02) as sink,
    ):
        work(sink, lambda: len(came) >= 16, "it has hung up often")
        assert "closes the connection without a word" in sink.fault()
    assert len([line for line in logs if line["event"].startswith("mqtt.")]) <= 4
