"""Two monitors with one device.id, at a real Mosquitto and on paper."""

import contextlib
import json
import select
import socket
import threading

import pytest

from monitor.commands import Request
from monitor.service.requests import RequestBox
from monitor.sinks.hub_topics import Topics
from monitor.sinks.mqtt_client import LONGEST_HEARD
from monitor.sinks.mqtt_twin import (
    ALARM_WAITS_S,
    ANSWER_WITHIN_S,
    GONE_AFTER_S,
    NO_CLAIM_WITHIN_S,
    SEEN_FOR_S,
    Role,
    Sign,
    TwinWatch,
)
from tests.broker import HOST, Mosquitto, Subscriber, retained
from tests.sinks.messages import episode, health
from tests.sinks.mqtt_room import BASE, Clock, running_sink, settings_for, settle, work

ATTIC = {"instance": "aaaa00000001", "machine_name": "attic (aaaa)"}
CELLAR = {"instance": "bbbb00000002", "machine_name": "cellar (bbbb)"}


def both(first, second, condition, what):
    """Work both sinks until ``condition`` holds."""

    def met():
        first.tick()
        return condition()

    work(second, met, what)


@pytest.mark.broker
@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_the_second_stands_by_and_both_say_so(mosquitto, protocol):
    common = {"protocol": protocol}
    with (
        Subscriber(mosquitto.port) as hub,
        running_sink(mosquitto, **ATTIC, **common) as first,
    ):
        settle(first)
        first.handle(episode())
        settle(first)
        hub.wait_for(lambda _: hub.on(f"{BASE}/cry"))
        hub.forget()
        with running_sink(mosquitto, **CELLAR, **common) as second:
            second.handle(episode(episode_id="e2"))
            both(first, second, lambda: "alarms by push" in second.fault(), "the second has noticed")
            both(first, second, first.fault, "the first has noticed")
            for sink in (first, second):
                assert 'device.id = "nursery"' in sink.fault()
                assert "attic (aaaa)" in sink.fault()
                assert "cellar (bbbb)" in sink.fault()
            assert not second.reached(), "push and speaker must not rely on the hub"
            second.handle(health())
            second.handle(episode("ended", episode_id="e2"))
        # The second has left in order, and nothing of it has reached the topics of the first.
        states = [
            m.topic for m in hub.received if m.topic not in {f"{BASE}/instance", f"{BASE}/availability"}
        ]
        assert states == []
        assert {m.payload for m in hub.received if m.topic == f"{BASE}/availability"} <= {"online"}
        assert json.loads(retained(mosquitto.port)[f"{BASE}/crying"])["state"] == "ON"
        assert first.stats().connections == 1, "nobody was pushed off"


@pytest.mark.broker
def test_a_command_is_followed_by_the_one_that_reports(mosquitto):
    boxes = RequestBox(), RequestBox()
    with (
        Subscriber(mosquitto.port) as hub,
        running_sink(mosquitto, inbox=boxes[0], **ATTIC) as first,
    ):
        settle(first)
        with running_sink(mosquitto, inbox=boxes[1], **CELLAR) as second:
            both(first, second, lambda: "alarms by push" in second.fault(), "the second has noticed")
            hub.publish(f"{BASE}/set/listening", "OFF")
            heard = []
            both(first, second, lambda: heard.extend(boxes[0].take()) or heard, "the first hears it")
            hub.publish(f"{BASE}/set/mute", "off")
            both(first, second, boxes[0].take, "the first hears the next")
            assert heard == [Request("listening", b"OFF", "hub")]
            assert boxes[1].take() == []


@pytest.mark.broker
def test_a_card_that_was_moved_to_a_new_machine_takes_over(mosquitto):
    with running_sink(mosquitto, **ATTIC) as old:
        settle(old)
    clock = Clock()
    with running_sink(mosquitto, monotonic_s=clock.monotonic_s, **CELLAR) as new:
        work(new, lambda: "asked whether it still does" in new.fault(), "the claim was found")
        assert not new.stats().connected
        clock.ahead_s = ANSWER_WITHIN_S
        settle(new)
        assert new.fault() == ""
        assert json.loads(retained(mosquitto.port)[f"{BASE}/instance"])["name"] == "cellar (bbbb)"


@pytest.mark.broker
def test_the_one_that_stands_by_takes_over_when_the_other_is_gone(mosquitto):
    clock = Clock()
    with contextlib.ExitStack() as stack:
        with running_sink(mosquitto, **ATTIC) as first:
            settle(first)
            second = stack.enter_context(running_sink(mosquitto, monotonic_s=clock.monotonic_s, **CELLAR))
            both(first, second, lambda: "alarms by push" in second.fault(), "the second has noticed")
        clock.ahead_s = GONE_AFTER_S
        settle(second)
        assert second.fault() == ""


@pytest.mark.broker
def test_a_restart_finds_its_own_claim_and_reports_at_once(mosquitto):
    with running_sink(mosquitto, **ATTIC) as sink:
        settle(sink)
    with running_sink(mosquitto, **ATTIC) as sink:
        settle(sink)
        assert sink.fault() == ""


@pytest.mark.broker
def test_the_last_will_of_a_twin_does_not_make_the_first_unavailable(mosquitto):
    with running_sink(mosquitto, **ATTIC) as first, Subscriber(mosquitto.port) as hub:
        settle(first)
        hub.publish(f"{BASE}/availability", "offline", retain=True)
        work(first, lambda: hub.last(f"{BASE}/availability") == "online", "it says that it is there")


@pytest.mark.broker
def test_one_client_id_for_two_machines_is_made_two(mosquitto):
    same = {"client_id": "monitor", "protocol": "5", "reconnect_min_s": 0.02}
    with running_sink(mosquitto, **ATTIC, **same) as first:
        settle(first)
        with running_sink(mosquitto, **CELLAR, **same) as second:
            both(first, second, lambda: "alarms by push" in second.fault(), "one stands by")
            both(first, second, lambda: "device.id" in first.fault(), "the other reports, and says so")
            assert first.stats().connected


@pytest.mark.broker
def test_an_access_list_of_the_last_release_is_no_fault(tmp_path):
    acl = (
        "topic write cradlewatch/nursery/+\ntopic read cradlewatch/nursery/set/+\n"
        "topic read cradlewatch/nursery/availability\n"
        "topic write homeassistant/device/cradlewatch_nursery/config\ntopic read homeassistant/status\n"
    )
    with Mosquitto(tmp_path / "mosquitto", acl=acl) as broker, running_sink(broker, **ATTIC) as sink:
        settle(sink)
        sink.handle(episode())
        settle(sink)
        assert sink.fault() == ""


@pytest.mark.broker
def test_a_broker_that_hangs_up_at_a_forbidden_topic_gets_the_alarm_all_the_same(mosquitto):
    with (
        gate(mosquitto.port, closes_at=b"nursery/instance") as port,
        Subscriber(mosquitto.port) as hub,
        running_sink(port, **ATTIC) as sink,
    ):
        sink.handle(episode())
        work(sink, lambda: hub.on(f"{BASE}/cry"), "the alarm has arrived")
        settle(sink)
        assert json.loads(retained(mosquitto.port)[f"{BASE}/crying"])["state"] == "ON"


@pytest.mark.broker
def test_a_claim_that_was_made_while_we_were_away_is_not_heard_as_one_of_now(mosquitto):
    cut = threading.Event()
    with (
        gate(mosquitto.port, cut=cut) as port,
        Subscriber(mosquitto.port) as other,
        running_sink(port, protocol="5", **CELLAR) as sink,
    ):
        settle(sink)
        cut.set()
        work(sink, lambda: not sink.stats().connected, "the link is lost")
        other.publish(f"{BASE}/instance", CLAIM.publication(Topics.of(settings_for(1))).payload)
        cut.clear()
        settle(sink)
        assert sink.fault() == ""


@contextlib.contextmanager
def gate(target_port, *, closes_at=None, cut=None):
    """A way to the broker: closed while ``cut`` is set, and to a client that says ``closes_at``."""
    cut = cut or threading.Event()
    with socket.create_server((HOST, 0)) as server:

        def serve():
            with contextlib.suppress(OSError):  # the server socket is closed at the end
                while True:
                    client = server.accept()[0]
                    with client, socket.create_connection((HOST, target_port)) as target:
                        pump(client, target, closes_at, cut)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            cut.set()
            thread.join()


def pump(client, target, closes_at, cut):
    to = {client: target, target: client}
    while not cut.is_set():
        for ready in select.select(list(to), [], [], 0.05)[0]:
            data = ready.recv(65536)
            if not data or (closes_at is not None and ready is client and closes_at in data):
                return
            to[ready].sendall(data)


# --- on paper -------------------------------------------------------------------------------------


def watch(machine=CELLAR):
    settings = settings_for(1, **machine)
    twin = TwinWatch(settings, Topics.of(settings))
    twin.connected(0.0)
    return twin


CLAIM = Sign(ATTIC["instance"], ATTIC["machine_name"], asks=False)
QUESTION = Sign(ATTIC["instance"], ATTIC["machine_name"], asks=True)


def passes(twin, now_s, *, alarm_waits=False):
    return [json.loads(p.payload)["asks"] for p in twin.due(now_s, alarm_waits=alarm_waits)]


def test_without_any_claim_it_reports_as_soon_as_the_broker_has_answered():
    twin = watch()
    assert passes(twin, 0.0) == [True]
    twin.nothing_claimed()
    assert (twin.role, passes(twin, 0.1)) == (Role.REPORTS, [False])


def test_a_broker_that_answers_nothing_does_not_keep_it_from_reporting():
    twin = watch()
    passes(twin, NO_CLAIM_WITHIN_S)
    assert twin.role is Role.REPORTS


def test_an_alarm_does_not_wait_for_a_machine_that_gives_no_answer():
    twin = watch()
    twin.heard(CLAIM, 0.0, retained=True)
    passes(twin, ALARM_WAITS_S - 0.1, alarm_waits=True)
    assert twin.role is Role.ASKS
    passes(twin, ALARM_WAITS_S, alarm_waits=True)
    assert twin.role is Role.REPORTS


def test_an_alarm_is_no_reason_to_push_aside_a_machine_that_answers():
    twin = watch()
    twin.heard(CLAIM, 0.0, retained=True)
    for second in range(600):
        if any(passes(twin, float(second), alarm_waits=True)):
            twin.heard(CLAIM, second + 0.1, retained=False)
    assert twin.role is Role.STANDS_BY
    passes(twin, 600.0 + GONE_AFTER_S)
    assert twin.role is Role.REPORTS


def test_of_two_that_took_over_at_the_same_time_one_stays():
    low, high = watch(ATTIC), watch(CELLAR)
    for twin in (low, high):
        twin.nothing_claimed()
    low.heard(Sign(CELLAR["instance"], "cellar", asks=False), 1.0, retained=False)
    high.heard(CLAIM, 1.0, retained=False)
    assert (low.role, high.role) == (Role.REPORTS, Role.STANDS_BY)


def test_a_late_retained_claim_makes_it_ask_again():
    twin = watch()
    twin.nothing_claimed()
    passes(twin, 0.1)
    twin.heard(CLAIM, 1.0, retained=True)
    assert (twin.role, passes(twin, 1.0)) == (Role.ASKS, [True])


def test_a_twin_that_asks_is_spoken_of_for_a_while():
    twin = watch()
    twin.nothing_claimed()
    twin.heard(QUESTION, 5.0, retained=False)
    assert "attic" in str(twin.fault(5.0))
    assert passes(twin, 5.0) == [False]
    assert twin.fault(5.0 + SEEN_FOR_S) is None


@pytest.mark.parametrize(
    "payload",
    [b"", b"\xff", b"{", b"[]", b"{}", b'{"instance": "", "name": "", "asks": false}', b'{"instance": 1}'],
)
def test_what_is_no_sign_is_ignored(payload):
    assert Sign.read(payload) is None


def test_a_check_is_answered_and_is_no_twin():
    twin = watch()
    twin.nothing_claimed()
    passes(twin, 0.0)
    twin.heard(Sign("cccc", "check", asks=True, checks=True), 5.0, retained=False)
    assert passes(twin, 5.0) == [False]
    assert twin.fault(5.0) is None


def test_a_sign_survives_its_way():
    sign = Sign("cccc", "ü" * 64, asks=True, checks=True)
    payload = sign.publication(Topics.of(settings_for(1))).payload.encode()
    assert Sign.read(payload) == sign
    assert len(payload) < LONGEST_HEARD


def test_a_machine_without_a_key_watches_for_nobody():
    twin = watch({})
    assert twin.role is Role.REPORTS
    assert passes(twin, 100.0) == []


# --- ids that Home Assistant cannot tell apart -------------------------------------------------------


@pytest.mark.broker
@pytest.mark.parametrize(("first_id", "second_id"), [("nursery-1", "nursery_1"), ("nursery_1", "nursery-1")])
def test_an_id_that_differs_in_a_dash_does_not_make_the_first_room_vanish(mosquitto, first_id, second_id):
    topic = "homeassistant/device/cradlewatch_nursery_1/config"
    with running_sink(mosquitto, device=first_id) as first:
        settle(first)
        with running_sink(mosquitto, device=second_id) as second:
            work(second, lambda: f'"{first_id}"' in second.fault(), "the fault is told")
            settle(second)
            second.handle(episode())
            settle(second)
            assert f"cradlewatch/{first_id}/crying" in retained(mosquitto.port)[topic]
            assert json.loads(retained(mosquitto.port)[f"cradlewatch/{second_id}/crying"])["state"] == "ON"
            assert first.fault() == ""
            with Subscriber(mosquitto.port) as hub:
                hub.publish(topic, "", retain=True)  # the first is removed from the hub
            work(
                second,
                lambda: f"cradlewatch/{second_id}/crying" in retained(mosquitto.port).get(topic, ""),
                "",
            )
            assert second.fault() == ""


@pytest.mark.broker
def test_an_id_with_a_dash_of_the_last_release_keeps_its_entities(mosquitto):
    with running_sink(mosquitto, device="nursery-1") as sink:
        settle(sink)
    with running_sink(mosquitto, device="nursery-1", base_topic="home/cradlewatch") as sink:
        settle(sink)
        assert sink.fault() == ""
        told = json.loads(retained(mosquitto.port)["homeassistant/device/cradlewatch_nursery_1/config"])
        assert told["cmps"]["crying"]["unique_id"] == "cradlewatch_nursery_1_crying"
