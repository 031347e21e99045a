"""Events of the MQTT sink that are kept until a real Mosquitto has them, over kills, refusals and time."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from monitor.messages import EpisodeMessage, TestMessage
from monitor.sinks.episode_ledger import REMEMBER_EVERY_S
from monitor.sinks.mqtt_events import FIRST_PAUSE_S, RETRY_UNHEARD_S
from tests.broker import DEADLINE_S, Mosquitto, Subscriber, retained
from tests.patience import shared
from tests.sinks.messages import HUNGRY, ONSET, episode, health
from tests.sinks.mqtt_room import BASE, Clock, running_sink, settle, work
from tests.sinks.outboxes import opened

pytestmark = pytest.mark.broker

CRYING, CRY, LATE = f"{BASE}/crying", f"{BASE}/cry", f"{BASE}/late"


def ids_on(hub, topic=CRY):
    return [json.loads(payload)["event_id"] for payload in hub.on(topic)]


def with_clock(clock, **more):
    return {"now": clock.now, "monotonic_s": clock.monotonic_s, **more}


# --- restarts and kills -----------------------------------------------------------------------------


def test_what_could_not_be_delivered_is_delivered_by_the_next_process(mosquitto, tmp_path):
    mosquitto.stop()
    with running_sink(mosquitto, state_dir=tmp_path) as sink:
        for kind in ("started", "escalated", "updated", "ended"):
            sink.handle(episode(kind, cause=HUNGRY))
        sink.handle(TestMessage(event_id="t", device="nursery", time=ONSET, source="daily"))
        assert sink.stats().waiting == 4
    mosquitto.start()
    with Subscriber(mosquitto.port) as hub:
        with running_sink(mosquitto, state_dir=tmp_path) as sink:
            settle(sink)
            hub.wait_for(lambda _: len(hub.on(CRY)) == 4)
            assert ids_on(hub) == ["e1-started-1", "e1-escalated-1", "e1-ended-1", "t"]
            assert [json.loads(p)["event_type"] for p in hub.on(CRY)][-1] == "test"
        with running_sink(mosquitto, state_dir=tmp_path) as sink:
            settle(sink)
            assert sink.stats().connections == 1
            assert len(hub.on(CRY)) == 4, "what was acknowledged is not sent again"


_KILLED = """
import os, signal, sys
from pathlib import Path
from monitor.sinks.mqtt import MqttSink
from tests.sinks.messages import HUNGRY, episode
from tests.sinks.mqtt_room import settings_for
sink = MqttSink(settings_for(int(sys.argv[1]), state_dir=Path(sys.argv[2])))
sink.open()
if sys.argv[3] == "cry":
    sink.handle(episode())
    sink.handle(episode("escalated", duration_s=61, cause=HUNGRY))
os.kill(os.getpid(), signal.SIGKILL)
"""


def run_and_kill(port, folder, what):
    done = subprocess.run(
        [sys.executable, "-c", _KILLED, str(port), str(folder), what],
        env={**os.environ, "PYTHONPATH": "."},
        check=False,
        timeout=DEADLINE_S,
    )
    assert done.returncode == -signal.SIGKILL


def test_an_episode_that_a_kill_cut_short_is_ended_once_however_often_we_are_killed(mosquitto, tmp_path):
    mosquitto.freeze()  # nothing is acknowledged before the kills
    run_and_kill(mosquitto.port, tmp_path, "cry")
    run_and_kill(mosquitto.port, tmp_path, "only open")
    mosquitto.thaw()
    with Subscriber(mosquitto.port, f"{BASE}/+") as hub:
        for _ in range(2):
            with running_sink(mosquitto, state_dir=tmp_path) as sink:
                settle(sink)
                assert sink.stats().waiting == 0
        hub.wait_for(lambda _: len(hub.on(CRY)) >= 3)
        events = {}
        for payload in hub.on(CRY):
            events[json.loads(payload)["event_id"]] = EpisodeMessage.model_validate_json(payload)
        started, escalated, ended = events.values()
    assert (started.event_type, escalated.event_type, ended.event_type) == ("started", "escalated", "ended")
    assert ended.truncated
    assert ended.episode_id == started.episode_id
    assert ended.ended_at == escalated.time
    assert (ended.duration_s, ended.crying_s, ended.cause) == (61, 61, HUNGRY)
    assert ended.time >= ended.ended_at
    assert json.loads(hub.on(CRYING)[0])["state"] == "OFF"
    assert json.loads(hub.on(CRYING)[0])["truncated"], "the state tells which cry it was"


def test_an_event_is_sent_again_when_the_broker_dies_just_after_it_has_acknowledged_it(mosquitto, tmp_path):
    with running_sink(mosquitto, state_dir=tmp_path) as sink:
        with Subscriber(mosquitto.port, CRY) as hub:
            settle(sink)
            sink.handle(episode())
            work(sink, lambda: sink.stats().settling, "it is acknowledged")
            assert sink.reached()
            hub.wait_for(lambda _: hub.on(CRY))
        mosquitto.kill()  # without having saved anything
        mosquitto.start()
        with Subscriber(mosquitto.port) as hub:
            work(sink, lambda: sink.stats().connections == 2 and sink.stats().waiting == 0, "it is back")
            hub.wait_for(lambda _: hub.on(CRY))
            assert ids_on(hub) == ["e1-started-1"]


def test_a_ledger_that_cannot_be_read_is_told_and_left(mosquitto, tmp_path):
    with opened(tmp_path / "outbox-mqtt.sqlite") as outbox:
        outbox.put(remember={"episode e1": "{}", "last episode": "no JSON"})
    with running_sink(mosquitto, state_dir=tmp_path) as sink:
        settle(sink)
        assert sink.stats().waiting == 0
    with opened(tmp_path / "outbox-mqtt.sqlite") as after:
        assert after.facts() == {}


def test_the_ledger_follows_an_episode_without_wearing_out_the_card(mosquitto, tmp_path):
    clock = Clock()
    mosquitto.stop()
    for crying_s, wait_s in ((5.0, 0.0), (10.0, 0.0), (20.0, REMEMBER_EVERY_S)):
        with running_sink(mosquitto, state_dir=tmp_path, **with_clock(clock)) as sink:
            sink.handle(episode(episode_id=f"e{crying_s}"))
            clock.ahead_s += wait_s
            sink.handle(episode("updated", episode_id=f"e{crying_s}", duration_s=crying_s))
    mosquitto.start()
    with Subscriber(mosquitto.port) as hub, running_sink(mosquitto, state_dir=tmp_path) as sink:
        settle(sink)
        hub.wait_for(lambda _: len(hub.on(CRY)) == 6)
        ended = [m for p in hub.on(CRY) if (m := EpisodeMessage.model_validate_json(p)).truncated]
        assert [m.duration_s for m in ended] == [0.72, 0.72, 20.0]


def test_an_outbox_that_cannot_be_written_is_a_fault_and_delivery_goes_on(mosquitto, tmp_path):
    with (
        Subscriber(mosquitto.port) as hub,
        running_sink(mosquitto, state_dir=tmp_path / "missing") as sink,
    ):
        settle(sink)
        sink.handle(episode())
        settle(sink)
        hub.wait_for(lambda _: hub.on(CRY))
        assert "cannot be kept on disk" in sink.fault()


def test_a_full_outbox_gives_up_the_oldest_event_as_a_fault(mosquitto):
    mosquitto.freeze()
    with running_sink(mosquitto, outbox_capacity=4) as sink:
        for number in range(6):
            sink.handle(episode(episode_id=f"e{number}"))
        assert (sink.stats().waiting, sink.stats().evicted) == (4, 2)
        mosquitto.thaw()
        with Subscriber(mosquitto.port) as hub:
            settle(sink)
            hub.wait_for(lambda _: len(hub.on(CRY)) == 4)
            assert ids_on(hub) == [f"e{number}-started-1" for number in range(2, 6)]


# --- too late to be news ----------------------------------------------------------------------------


def test_an_event_that_is_no_news_any_more_comes_as_a_late_one(mosquitto):
    clock = Clock()
    mosquitto.stop()
    with running_sink(mosquitto, **with_clock(clock)) as sink:
        sink.handle(episode(episode_id="old"))
        sink.handle(episode("escalated", episode_id="old"))
        sink.handle(episode("ended", episode_id="old"))
        clock.ahead_s = 200.0
        sink.handle(episode(episode_id="young"))
        clock.ahead_s = 350.0
        mosquitto.start()
        with Subscriber(mosquitto.port) as hub:
            settle(sink)
            hub.wait_for(lambda _: hub.on(CRY) and len(hub.on(LATE)) == 2)
            assert ids_on(hub) == ["young-started-1"]
            assert ids_on(hub, LATE) == ["old-started-1", "old-ended-1"], "the end tells how far it escalated"
            assert json.loads(hub.on(LATE)[0])["event_type"] == "started"
            (event,) = [message for message in hub.received if message.topic == CRY]
            assert 100 < event.expiry_s <= 150, "its age is counted in"
            late = [message for message in hub.received if message.topic == LATE]
            assert [(m.retain, m.expiry_s, m.qos) for m in late] == [(False, None, 1)] * 2
        assert sink.stats().late == 2


def test_a_clock_that_is_set_makes_no_event_late_and_no_late_event_news(mosquitto):
    clock = Clock()
    steps_s = [0.0]

    def now():
        at = clock.now()
        return type(at)(at.utc_s + steps_s[0], at.boot, at.since_boot_s)

    mosquitto.stop()
    with running_sink(mosquitto, now=now) as sink:
        sink.handle(episode(episode_id="old"))
        clock.ahead_s = 301.0
        sink.handle(episode(episode_id="young"))
        steps_s[0] = -3600.0
        sink.handle(episode(episode_id="younger"))
        steps_s[0] = 86400.0
        mosquitto.start()
        with Subscriber(mosquitto.port) as hub:
            settle(sink)
            hub.wait_for(lambda _: len(hub.on(CRY)) == 2 and hub.on(LATE))
            assert ids_on(hub) == ["young-started-1", "younger-started-1"]
            assert ids_on(hub, LATE) == ["old-started-1"]


# --- refusals ---------------------------------------------------------------------------------------

USERS = {"monitor": "sleep-well", "hub": "hub-password"}
GRANTED = f"user monitor\ntopic readwrite {BASE}/#\ntopic write homeassistant/#\ntopic read homeassistant/#\n"
HUB = "user hub\ntopic readwrite #\n"


def test_an_event_that_the_broker_refuses_is_kept_and_tried_again_until_it_is_granted(tmp_path):
    clock = Clock()
    denied = GRANTED.replace("topic readwrite", f"topic deny {CRY}\ntopic readwrite")
    account = {"username": "monitor", "password": "sleep-well"}
    with (
        Mosquitto(tmp_path / "strict", users=USERS, acl=denied + HUB) as broker,
        running_sink(broker, **account, **with_clock(clock)) as sink,
    ):
        sink.handle(episode())
        work(sink, lambda: sink.stats().refused, "the refusal is counted")
        assert CRY in sink.fault()
        assert "reason code 135" in sink.fault()
        sink.handle(episode("ended"))
        sink.handle(health())
        work(sink, lambda: f"{BASE}/health" in seen(broker), "states go on")
        assert (sink.stats().waiting, sink.stats().refused) == (2, 1), "not tried before its pause is over"
        clock.ahead_s = FIRST_PAUSE_S + 1
        work(sink, lambda: sink.stats().refused == 2, "tried again, with one event")
        assert sink.stats().waiting == 2
        (broker.folder / "acl").write_text(GRANTED + HUB)
        broker.reload()
        clock.ahead_s += 3 * FIRST_PAUSE_S
        with Subscriber(broker.port, user=("hub", "hub-password")) as hub:
            work(sink, lambda: sink.stats().waiting == 0, "granted")
            hub.wait_for(lambda _: len(hub.on(CRY)) == 2)
            assert ids_on(hub) == ["e1-started-1", "e1-ended-1"], "in their order"
        assert sink.fault() == ""


def test_a_new_alarm_does_not_wait_for_the_next_try_at_a_topic_that_was_refused(tmp_path):
    clock = Clock()
    denied = GRANTED.replace("topic readwrite", f"topic deny {CRY}\ntopic readwrite")
    account = {"username": "monitor", "password": "sleep-well"}
    with (
        Mosquitto(tmp_path / "strict", users=USERS, acl=denied + HUB) as broker,
        running_sink(broker, **account, **with_clock(clock)) as sink,
    ):
        sink.handle(episode())
        work(sink, lambda: sink.stats().refused, "the refusal is counted")
        (broker.folder / "acl").write_text(GRANTED + HUB)
        broker.reload()
        with Subscriber(broker.port, user=("hub", "hub-password")) as hub:
            sink.handle(episode(episode_id="e2"))
            work(sink, lambda: len(hub.on(CRY)) == 2, "both arrive")
            assert ids_on(hub) == ["e1-started-1", "e2-started-1"], "in their order"


def test_an_event_that_is_news_for_a_short_time_is_tried_again_within_it(mosquitto):
    clock = Clock()
    with running_sink(mosquitto, event_expiry_s=9, **with_clock(clock)) as sink:
        settle(sink)
        sink.handle(episode())
        work(sink, lambda: sink.stats().unheard == 1, "nobody listens")
        with Subscriber(mosquitto.port, CRY) as hub:
            clock.ahead_s = 4.0
            work(sink, lambda: hub.on(CRY), "tried again while it is news")


def seen(broker):
    with Subscriber(broker.port, user=("hub", "hub-password")) as hub:
        hub.publish("end", "")
        hub.wait_for(lambda _: hub.on("end"))
        return {message.topic for message in hub.received}


# --- whether the hub knows --------------------------------------------------------------------------


def test_reached_says_whether_the_broker_has_every_alarm_that_is_news(mosquitto):
    with Subscriber(mosquitto.port, CRY), running_sink(mosquitto) as sink:
        settle(sink)
        assert sink.reached()
        mosquitto.freeze()
        sink.handle(episode())
        assert not sink.reached(), "not before it is acknowledged"
        mosquitto.thaw()
        settle(sink)
        assert sink.reached()
        mosquitto.kill()
        work(sink, lambda: not sink.reached(), "the broker is gone")
    with running_sink(mosquitto) as sink:
        assert not sink.reached(), "never connected"


def test_what_nobody_heard_is_said_again_in_order_when_the_hub_comes(mosquitto):
    with running_sink(mosquitto) as sink:
        settle(sink)
        sink.handle(episode())
        work(sink, lambda: sink.stats().unheard == 1, "nobody listens")
        assert not sink.reached()
        sink.handle(episode("ended"))
        work(sink, lambda: sink.stats().unheard == 2, "still nobody")
        with Subscriber(mosquitto.port) as hub:
            hub.publish("homeassistant/status", "online")
            work(sink, lambda: len(hub.on(CRY)) == 2, "the hub is told")
            assert ids_on(hub) == ["e1-started-1", "e1-ended-1"]
            work(sink, sink.reached, "all is told")
            assert sink.stats().unheard == 0


def test_what_nobody_heard_is_tried_now_and_then_and_takes_its_turn_before_a_new_event(mosquitto):
    clock = Clock()
    with running_sink(mosquitto, **with_clock(clock)) as sink:
        settle(sink)
        sink.handle(episode())
        work(sink, lambda: sink.stats().unheard == 1, "nobody listens")
        with Subscriber(mosquitto.port, CRY) as hub:
            sink.tick()
            assert sink.stats().unheard == 1
            sink.handle(episode("ended"))
            work(sink, lambda: len(hub.on(CRY)) == 2, "both are heard")
            assert ids_on(hub) == ["e1-started-1", "e1-ended-1"]
        settle(sink)
        sink.handle(episode(episode_id="e2"))
        work(sink, lambda: sink.stats().unheard == 1, "nobody listens")
        with Subscriber(mosquitto.port, CRY) as hub:
            clock.ahead_s = RETRY_UNHEARD_S
            work(sink, lambda: hub.on(CRY), "tried again")
            assert ids_on(hub) == ["e2-started-1"]


def test_what_nobody_heard_for_too_long_is_late_whoever_listens(mosquitto):
    clock = Clock()
    with running_sink(mosquitto, **with_clock(clock)) as sink:
        settle(sink)
        sink.handle(episode())
        work(sink, lambda: sink.stats().unheard == 1, "nobody listens")
        clock.ahead_s = 301.0
        work(sink, lambda: sink.stats().late == 1, "it is a late one")
        assert sink.stats().waiting == sink.stats().unheard == 0


def test_an_event_is_on_its_way_at_once(mosquitto, tmp_path):
    with Subscriber(mosquitto.port, CRY) as hub, running_sink(mosquitto, state_dir=tmp_path) as sink:
        settle(sink)
        delays_ms = []
        for number in range(20):
            before_s = time.monotonic()
            sink.handle(episode(episode_id=f"e{number}"))
            hub.wait_for(lambda _, n=number: len(hub.on(CRY)) > n)
            delays_ms.append((hub.received[-1].arrived_s - before_s) * 1000)
            sink.tick()
        assert sorted(delays_ms)[len(delays_ms) // 2] < shared(50)


def test_a_process_that_was_killed_leaves_the_right_state_with_the_broker(mosquitto, tmp_path):
    run_and_kill(mosquitto.port, tmp_path, "cry")
    with running_sink(mosquitto, state_dir=tmp_path) as sink:
        settle(sink)
        work(sink, lambda: '"OFF"' in retained(mosquitto.port).get(CRYING, ""), "nothing cries for ever")
        kept = json.loads(retained(mosquitto.port)[CRYING])
        assert (kept["episode_id"], kept["event_type"]) == ("e1", "ended")
