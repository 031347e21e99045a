"""The push sink with real receivers: what arrives, what is tried again, what survives a kill."""

import re
import signal
import sqlite3
import subprocess
import sys
import threading
import urllib.request
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from monitor.commands import Request
from monitor.errors import ConfigError
from monitor.messages import AlertMessage, ControlsMessage
from monitor.sinks.moment import Moment
from monitor.sinks.outbox import Outbox
from monitor.sinks.push import PushSink
from monitor.sinks.push_channels import Channel
from monitor.sinks.push_delivery import DeliveryLedger
from monitor.sinks.push_notes import Notification, Urgency
from monitor.sinks.push_queue import PushQueue
from monitor.sinks.push_settings import ChannelSettings, PushSettings
from monitor.sinks.push_state import PolicyState
from monitor.sinks.push_worker import ChannelWorker
from tests.broker import DEADLINE_S, wait_until
from tests.sinks.messages import episode, health
from tests.sinks.outboxes import opened
from tests.sinks.push_room import EVENING, HEAD, Clock
from tests.sinks.receivers import HttpReceiver, free_port

ROOT = Path(__file__).parents[2]


class ListInbox:
    def __init__(self) -> None:
        self.requests: list[Request] = []

    def put(self, request: Request) -> None:
        self.requests.append(request)


@pytest.fixture
def mum():
    with HttpReceiver() as receiver:
        yield receiver


@pytest.fixture
def dad():
    with HttpReceiver() as receiver:
        yield receiver


@contextmanager
def running(*channels, inbox=None, clock=None, hub_reached=None, **keys):
    settings = PushSettings("nursery", "Nursery", channels=channels, **keys)
    clock = Clock() if clock is None else clock
    sink = PushSink(settings, inbox=inbox or ListInbox(), hub_reached=hub_reached, now=clock.now)
    sink.open()
    try:
        yield sink
    finally:
        sink.close(5.0)


def on(receiver, name="Mum", kind="json", **keys):
    return ChannelSettings(name, f"{kind}://{receiver.address}/topic", **keys)


def controls():
    return ControlsMessage(**HEAD, time=EVENING, hold_s=8.0)


def alert(state, episode_id="e1", by=""):
    return AlertMessage(**HEAD, time=EVENING, state=state, episode_id=episode_id, acknowledged_by=by)


# --- one channel, step by step ------------------------------------------------------------------------


class Line:
    """One channel without its thread: every attempt is asked for, and time is ours."""

    def __init__(self, port, folder=None):
        self.now_s = 0.0
        self.outbox = Outbox(
            folder and folder / "push.sqlite",
            monotonic_s=lambda: self.now_s,
            now=self.moment,
            within_s=DEADLINE_S,
        )
        self.outbox.open(within_s=DEADLINE_S)
        self.queue = PushQueue(self.outbox, ["Mum"])
        self.queue.take_left()
        self.ledger = DeliveryLedger(["Mum"])
        channel = Channel(ChannelSettings("Mum", f"ntfy://127.0.0.1:{port}/topic"))
        self.worker = ChannelWorker(channel, self.queue, self.ledger, lambda *_: "")

    def moment(self):
        return Moment(1e9 + self.now_s, "boot", self.now_s)

    def put(self, key="cry-e1.1", tag="cry-e1", urgency=Urgency.HIGH, lasts_s=300.0, outdates=""):
        self.queue.put([Notification(key, tag, key, "text", urgency, ("Mum",), lasts_s, outdates=outdates)])

    def live(self, for_s):
        """The times at which there was an attempt."""
        until_s = self.now_s + for_s
        while self.now_s < until_s:
            self.worker.step()
            self.now_s += 1.0

    @property
    def status(self):
        return self.ledger.status(self.queue.waiting())


def test_a_failed_attempt_is_repeated_with_growing_pauses_until_it_succeeds(mum):
    line = Line(mum.port)
    line.put()
    mum.answers += [500] * 5
    times = []
    while len(mum.received) < 6:
        before = len(mum.received)
        line.worker.step()
        if len(mum.received) > before:
            times.append(line.now_s)
            if len(times) == 1:
                assert line.status.state == "retrying"
                assert "500" in line.status.channels["Mum"]
                assert "500" in line.ledger.fault()
        line.now_s += 1.0
    assert times == [0, 2, 6, 14, 30, 60]
    assert line.status.state == "delivered"
    assert (line.status.delivered, line.status.failed, line.status.waiting) == (1, 0, 0)
    assert line.ledger.fault() == ""


def test_a_server_that_is_not_there_yet_gets_it_when_it_is():
    port = free_port()
    line = Line(port)
    line.put()
    line.live(10)
    assert line.status.channels == {"Mum": "retrying: The connection was refused."}
    with HttpReceiver(port) as receiver:
        line.live(30)
        assert len(receiver.received) == 1
    assert line.status.state == "delivered"


def test_what_is_no_news_any_more_is_given_up_and_never_sent(mum):
    line = Line(mum.port)
    line.put(lasts_s=100.0)
    mum.answers += [500] * 50
    line.live(99)
    tried = len(mum.received)
    mum.answers.clear()
    line.now_s = 100.0
    line.live(200)
    assert len(mum.received) == tried
    assert line.status.state == "failed"
    assert (line.status.delivered, line.status.failed, line.status.waiting) == (0, 1, 0)
    assert "500" in line.status.channels["Mum"]


def test_the_most_urgent_goes_first_and_a_newer_one_takes_an_older_ones_place(mum):
    line = Line(mum.port)
    line.put("note", "note", Urgency.QUIET)
    line.put("cry-e1.1")
    line.put("cry-e1.2")
    line.put("fault", "fault", Urgency.URGENT)
    assert line.queue.waiting() == 3
    line.worker.step()
    assert [r.json["title"] for r in mum.received] == ["fault", "cry-e1.2", "note"]


def test_what_was_withdrawn_is_not_sent(mum):
    line = Line(mum.port)
    mum.answers.append(500)
    line.put()
    line.worker.step()
    assert line.queue.withdraw("cry-e1") == ["Mum"]
    line.live(60)
    assert len(mum.received) == 1
    assert line.queue.waiting() == 0


def test_what_is_withdrawn_while_another_one_is_tried_is_not_sent(mum):
    line = Line(mum.port)
    line.put("fault", "fault", Urgency.URGENT)
    line.put()
    mum.hold.clear()
    trying = threading.Thread(target=line.worker.step)
    trying.start()
    mum.wait_for(1)
    line.queue.withdraw("cry-e1")
    line.put("cry-e2.1", "cry-e2")
    mum.hold.set()
    trying.join(DEADLINE_S)
    assert [r.json["title"] for r in mum.received] == ["fault", "cry-e2.1"]


def test_the_next_alarm_takes_back_what_became_of_the_one_before(mum):
    line = Line(mum.port)
    line.put("cry-e1.calm", "outcome", Urgency.QUIET)
    line.put("cry-e2.1", "cry-e2", outdates="outcome")
    line.live(5)
    assert [r.json["title"] for r in mum.received] == ["cry-e2.1"]


def test_what_is_withdrawn_while_it_fails_is_not_said_to_be_retried(mum):
    line = Line(mum.port)
    line.put()
    mum.answers.append(500)
    mum.hold.clear()
    trying = threading.Thread(target=line.worker.step)
    trying.start()
    mum.wait_for(1)
    line.queue.withdraw("cry-e1")
    mum.hold.set()
    trying.join(DEADLINE_S)
    assert line.status.state == "failed"
    assert "500" in line.status.channels["Mum"]


def test_what_waits_for_a_channel_that_is_gone_is_dropped(tmp_path, mum):
    line = Line(mum.port, tmp_path)
    line.put()
    line.queue.close(DEADLINE_S)
    with opened(tmp_path / "push.sqlite") as other:
        queue = PushQueue(other, ["Dad"])
        assert queue.take_left() == PolicyState()
        assert queue.waiting() == 0


# --- the sink -----------------------------------------------------------------------------------------


def test_a_cry_arrives_and_is_known_to_have_arrived(mum):
    with running(on(mum)) as sink:
        assert sink.delivery().state == "none"
        sink.handle(episode())
        (got,) = mum.wait_for(1)
        assert got.json["title"] == "Nursery: crying"
        assert got.json["urgency"] == "high"
        assert sink._ledger.wait_for(lambda: sink.delivery().state == "delivered", DEADLINE_S)
        status = sink.delivery()
        assert status.channels == {"Mum": "delivered"}
        assert (status.delivered, status.waiting) == (1, 0)
        assert status.last_delivered_at is not None
        assert sink.fault() == ""


def test_nobody_answers_so_dad_is_asked_and_his_button_stops_it_and_tells_mum(mum, dad):
    """The whole way: two phones, two steps, a button that is an HTTP request, and the quiet note."""
    inbox, clock = ListInbox(), Clock()
    with running(
        on(mum, kind="ntfy"),
        on(dad, "Dad", kind="ntfy", step=2),
        inbox=inbox,
        clock=clock,
        next_step_after_s=120.0,
        repeat_every_s=600.0,
        callback_listen="127.0.0.1:0",
        callback_url="http://127.0.0.1:1",
    ) as sink:
        sink.handle(episode())
        mum.wait_for(1)
        clock.advance(120)
        sink.tick()
        (got,) = dad.wait_for(1)
        path = re.search(r"http://127\.0\.0\.1:1(/acknowledge/[^,]+), method=POST", got.headers["x-actions"])[
            1
        ]
        urllib.request.urlopen(f"http://127.0.0.1:{sink.callback_port}{path}", data=b"", timeout=10).close()
        assert inbox.requests == [Request("acknowledge", b"e1", "phone")]
        sink.handle(alert("acknowledged", by="phone"))
        note = mum.wait_for(2)[1]
        assert note.json["message"] == "Acknowledged by Dad."
        assert note.headers["x-priority"] == "low"
        assert "x-actions" not in note.headers
        clock.advance(3600)
        sink.tick()
        sink.handle(health())
    assert (len(mum.received), len(dad.received)) == (2, 1)


def test_a_channel_that_hangs_does_not_hold_up_another(mum, dad):
    mum.hold.clear()
    with running(on(mum), on(dad, "Dad")) as sink:
        sink.handle(episode())
        mum.wait_for(1)
        assert dad.wait_for(1)
        mum.hold.set()


def test_when_mums_phone_cannot_be_reached_dad_is_asked_before_his_turn(dad):
    clock = Clock()
    mum = ChannelSettings("Mum", f"json://127.0.0.1:{free_port()}/x")
    with running(mum, on(dad, "Dad", step=2), clock=clock, next_step_after_s=600.0) as sink:
        sink.handle(episode())
        assert sink._ledger.wait_for(lambda: sink.delivery().state == "retrying", DEADLINE_S)
        clock.advance(14)
        sink.tick()
        assert dad.received == []
        clock.advance(1)
        sink.tick()
        assert dad.wait_for(1)[0].json["step"] == "2"


def test_an_acknowledged_cry_is_not_delivered_late():
    port = free_port()
    mum = ChannelSettings("Mum", f"json://127.0.0.1:{port}/x")
    with running(mum) as sink:
        sink.handle(episode())
        assert sink._ledger.wait_for(lambda: sink.delivery().state == "retrying", DEADLINE_S)
        sink.handle(alert("acknowledged", by="hub"))
        tags = [one.notification.tag for one in sink._queue.pending("Mum")]
        assert "cry-e1" not in tags
        assert sink.delivery().state != "delivered"


def test_what_waits_is_handed_over_when_it_stops(mum, tmp_path):
    with running(on(mum), state_dir=tmp_path) as sink:
        sink.handle(episode())
        sink.handle(episode("ended", 9, duration_s=40.0))
    titles = [r.json["title"] for r in mum.received]
    assert titles[-1] == "Nursery: calm again"


KILLED = """
import os
import sys
from pathlib import Path
from monitor.sinks.push import PushSink
from monitor.sinks.push_settings import ChannelSettings, PushSettings
from tests.sinks.messages import episode
from tests.sinks.outboxes import opened
from tests.sinks.push_room import Clock
from tests.sinks.test_push import ListInbox
channel = ChannelSettings("Mum", f"json://127.0.0.1:{sys.argv[1]}/x")
sink = PushSink(
    PushSettings("nursery", "Nursery", channels=(channel,), state_dir=Path(sys.argv[2])),
    inbox=ListInbox(), now=Clock().now,
)
sink.open()
sink.handle(episode())
os.write(1, b"\\nkept\\n")  # in one piece: the channel's thread logs to the same place
sys.stdin.read()
"""


def test_an_alert_survives_a_kill_and_the_new_process_says_that_it_started_anew(tmp_path):
    port = free_port()
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(port), str(tmp_path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert any(line == "kept\n" for line in child.stdout)
        child.send_signal(signal.SIGKILL)
        child.wait(DEADLINE_S)
    mum = ChannelSettings("Mum", f"json://127.0.0.1:{port}/x")
    # The message's own onset: the restart notice is about crying of the last two hours only.
    clock = Clock(episode().onset_at)
    clock.advance(60)
    with HttpReceiver(port) as receiver, running(mum, state_dir=tmp_path, clock=clock) as sink:
        (got,) = receiver.wait_for(1)
        assert got.json["key"] == "cry-e1.1"
        sink.handle(controls())
        assert "started anew" in receiver.wait_for(2)[1].json["message"]
        assert sink._ledger.wait_for(lambda: sink.delivery().waiting == 0, DEADLINE_S)
    with HttpReceiver(port) as receiver, running(mum, state_dir=tmp_path, clock=clock) as sink:
        sink.handle(controls())
        sink.tick()
        assert sink.delivery().waiting == 0
    assert receiver.received == []


def test_a_button_works_after_a_restart(mum, tmp_path):
    keys = {"callback_listen": "127.0.0.1:0", "callback_url": "http://pi", "state_dir": tmp_path}
    with running(on(mum), **keys) as sink:
        sink.handle(episode())
        url = mum.wait_for(1)[0].json["acknowledge_url"]
    inbox = ListInbox()
    with running(on(mum), inbox=inbox, **keys) as sink:
        path = url.removeprefix("http://pi")
        urllib.request.urlopen(f"http://127.0.0.1:{sink.callback_port}{path}", data=b"", timeout=10).close()
    assert inbox.requests == [Request("acknowledge", b"e1", "phone")]


def test_the_loss_of_the_hub_and_its_return_are_told(mum):
    clock, reached = Clock(), [False]
    with running(on(mum), clock=clock, hub_reached=lambda: reached[0], fault_after_s=30.0) as sink:
        sink.handle(controls())
        for _ in range(3):
            sink.tick()
            clock.advance(15)
        assert "home hub is lost" in mum.wait_for(1)[0].json["message"]
        reached[0] = True
        sink.tick()
        assert "reached again" in mum.wait_for(2)[1].json["title"]


def test_a_taken_port_is_a_fault_and_is_had_when_it_is_free():
    clock = Clock()
    with HttpReceiver() as taken:
        port = taken.port
        with running(callback_listen=f"127.0.0.1:{port}", callback_url="http://pi", clock=clock) as sink:
            assert f"127.0.0.1:{port}" in sink.fault()
            assert sink.callback_port == 0
            taken.close()
            wait_until(lambda: sink.callback_port == port, "the port is free")
            assert sink.fault() == ""


def test_a_channel_that_could_never_work_stops_the_start():
    sink = PushSink(
        PushSettings("nursery", channels=(ChannelSettings("Dad", "nonsense://secret/x"),)), inbox=ListInbox()
    )
    with pytest.raises(ConfigError, match="'Dad'"):
        sink.open()


def test_a_state_that_cannot_be_read_is_begun_anew(tmp_path, mum):
    with opened(tmp_path / "push.sqlite") as outbox:
        outbox.put(remember={"push.policy": "[]"})
    with running(on(mum), state_dir=tmp_path) as sink:
        sink.handle(episode())
        mum.wait_for(1)


def test_a_file_locked_at_the_start_delays_no_alarm_and_what_it_holds_is_taken_over_later(tmp_path, mum):
    path = tmp_path / "push.sqlite"
    with opened(path) as outbox:
        outbox.put(remember={"push.policy": PolicyState(daily_test_on="2026-11-21").to_json()})
    other = sqlite3.connect(path, isolation_level=None)
    with closing(other):
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        with running(on(mum), state_dir=tmp_path) as sink:
            sink.handle(episode())
            mum.wait_for(1)
            assert "database is locked" in sink.fault()
            other.execute("COMMIT")
            other.close()
            wait_until(lambda: (sink.tick(), sink.fault())[1] == "", "it is on disk")
            sink.tick()
    with opened(path) as outbox:
        state = PolicyState.from_json(outbox.facts()["push.policy"])
    assert state.daily_test_on == "2026-11-21"
    assert state.cry is not None, "what has happened since"


def test_nothing_in_the_state_folder_or_in_a_representation_shows_a_url(tmp_path, mum):
    channel = ChannelSettings("Mum", f"json://user:hunter22@{mum.address}/x")
    assert "hunter22" not in repr(PushSettings("nursery", channels=(channel,)))
    with running(channel, state_dir=tmp_path) as sink:
        sink.handle(episode())
        mum.wait_for(1)
        assert all(b"hunter22" not in file.read_bytes() for file in tmp_path.iterdir())


def test_a_channel_whose_thread_failed_is_told_to_the_service(mum, monkeypatch):
    with running(on(mum)) as sink:
        worker = sink._workers[0]
        monkeypatch.setattr(worker, "step", lambda: 1 / 0)
        worker.wake()
        worker._thread.join(DEADLINE_S)
        with pytest.raises(ZeroDivisionError):
            sink.tick()


def test_a_service_that_answers_without_end_is_a_fault_and_the_next_are_asked(mum, dad, monkeypatch):
    monkeypatch.setattr("monitor.sinks.push_worker.STUCK_AFTER_S", 0.0)
    mum.hold.clear()
    with running(on(mum), on(dad, "Dad", step=2)) as sink:
        assert sink.fault() == ""
        sink.handle(episode())
        mum.wait_for(1)
        assert sink.fault() == "Mum has not answered for more than 0 s"
        sink.tick()
        dad.wait_for(1)
        mum.hold.set()
