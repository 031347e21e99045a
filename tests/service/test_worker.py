"""The worker against sinks that fail in each of the ways that sinks may fail."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Self

import pytest
from typing_extensions import override

from monitor.errors import PermanentSinkError, RetryableSinkError
from monitor.events.bus import MessageQueue
from monitor.messages import AnyMessage, EpisodeMessage, TelemetryMessage
from monitor.service.lifecycle import Deadline, Threads
from monitor.service.worker import SinkWorker
from monitor.sinks.base import Role
from monitor.sinks.memory import ListSink
from tests.broker import wait_until
from tests.patience import HANGS_S

NOW = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)


def episode(name: str) -> EpisodeMessage:
    return EpisodeMessage(
        event_id=name,
        device="test",
        time=NOW,
        event_type="started",
        episode_id=name,
        onset_at=NOW,
        detected_at=NOW,
        duration_s=1.0,
        crying_s=1.0,
        score=0.9,
        level_dbfs=-20.0,
    )


TELEMETRY = TelemetryMessage(
    event_id="t",
    device="test",
    time=NOW,
    level_dbfs=-50.0,
    peak_dbfs=-40.0,
    noise_floor_dbfs=-60.0,
    score=0.0,
    active=False,
    crying=False,
)


class FailingSink(ListSink):
    """Raises the next of ``errors`` for each message, then delivers; None delivers at once."""

    def __init__(self, *errors: Exception | None) -> None:
        super().__init__("failing")
        self.errors = list(errors)
        self.offered: list[str] = []
        self.ticks = threading.Semaphore(0)
        self.closed_with: float | None = None

    @override
    def handle(self, message: AnyMessage) -> None:
        self.offered.append(message.event_id)
        error = self.errors.pop(0) if self.errors else None
        if error is not None:
            raise error
        super().handle(message)

    @override
    def tick(self) -> None:
        self.ticks.release()

    @override
    def close(self, timeout_s: float) -> None:
        self.closed_with = timeout_s


class AwaySink(FailingSink):
    @override
    def handle(self, message: AnyMessage) -> None:
        self.offered.append(message.event_id)
        raise RetryableSinkError("The broker is away.")


class Running:
    """A worker in its thread, stopped at the end of the block."""

    def __init__(self, sink: ListSink, stop_s: float = 5.0, **options) -> None:
        self.queue = MessageQueue(sink.name)
        options = {"first_back_off_s": 0.01, "tick_every_s": 0.02} | options
        self.worker = SinkWorker(sink, self.queue, **options)
        self.threads = Threads()
        self.stop_s = stop_s

    def __enter__(self) -> Self:
        self.worker.open()
        self.threads.start("sink", self.worker.run)
        return self

    def __exit__(self, *_: object) -> None:
        self.worker.request_stop(Deadline(self.stop_s))
        assert self.threads.join(Deadline(self.stop_s + 5.0)) == []


def test_messages_arrive_in_order():
    sink = ListSink()
    with Running(sink) as running:
        for name in "abc":
            running.queue.put(episode(name))
    assert [message.event_id for message in sink.messages] == ["a", "b", "c"]
    assert running.worker.stats().delivered == 3


def test_a_message_is_offered_again_until_it_is_taken_and_nothing_overtakes_it():
    sink = FailingSink(RetryableSinkError("away"), RetryableSinkError("away"), None)
    with Running(sink) as running:
        running.queue.put(episode("a"))
        running.queue.put(episode("b"))
        assert sink.wait_for(lambda messages: len(messages) == 2, HANGS_S)
    assert sink.offered == ["a", "a", "a", "b"]
    assert running.worker.stats().retries == 2


def test_a_refused_message_is_dropped_and_the_next_goes_on():
    sink = FailingSink(PermanentSinkError("denied"))
    with Running(sink) as running:
        running.queue.put(episode("a"))
        running.queue.put(episode("b"))
        assert sink.wait_for(lambda messages: len(messages) == 1, HANGS_S)
    assert sink.offered == ["a", "b"]
    assert running.worker.stats().dropped == 1


def test_telemetry_that_fails_is_not_offered_again():
    sink = FailingSink(RetryableSinkError("away"))
    with Running(sink) as running:
        running.queue.put(TELEMETRY)
        running.queue.put(episode("a"))
        assert sink.wait_for(lambda messages: len(messages) == 1, HANGS_S)
    assert sink.offered == ["t", "a"]


def test_the_sink_is_ticked_between_messages_and_during_back_off():
    quiet, away = FailingSink(), AwaySink()
    with Running(quiet):
        assert all(quiet.ticks.acquire(timeout=HANGS_S) for _ in range(3))
    with Running(away, stop_s=0.2, first_back_off_s=60.0, last_back_off_s=60.0) as running:
        running.queue.put(episode("a"))
        assert all(away.ticks.acquire(timeout=HANGS_S) for _ in range(3))


def test_stopping_delivers_what_still_waits():
    sink = FailingSink(RetryableSinkError("away"))
    running = Running(sink, first_back_off_s=0.05)
    for name in "abc":
        running.queue.put(episode(name))
    with running:
        pass
    assert [message.event_id for message in sink.messages] == ["a", "b", "c"]
    assert sink.closed_with is not None


def test_stopping_gives_up_in_time_and_leaves_time_to_close():
    sink = AwaySink()
    with Running(sink, stop_s=0.5, first_back_off_s=60.0) as running:
        for name in "abc":
            running.queue.put(episode(name))
    assert running.worker.stats().dropped == 3
    assert sink.messages == []
    assert sink.closed_with is not None
    assert sink.closed_with > 0


class Remembering(FailingSink):
    """Fails as it is told to, in each of the places in which it may."""

    def __init__(self, *errors: Exception | None, **places: Exception) -> None:
        super().__init__(*errors)
        self.places = places
        self.opened = 0

    @property
    @override
    def role(self) -> Role:
        return Role.REMEMBERS

    @override
    def open(self) -> None:
        self.opened += 1
        self._fail("open")

    @override
    def tick(self) -> None:
        self._fail("tick")
        super().tick()

    @override
    def close(self, timeout_s: float) -> None:
        self._fail("close")
        super().close(timeout_s)

    def _fail(self, place: str) -> None:
        error = self.places.pop(place, None)
        if error is not None:
            raise error


@pytest.mark.parametrize("place", ["open", "tick", "handle", "handle and close"])
def test_a_sink_that_only_remembers_may_fail_and_is_opened_again(place):
    errors = [TypeError("a bug")] if place.startswith("handle") else []
    places = {} if place.startswith("handle") else {place: SystemExit(3)}
    if place.endswith("close"):
        places["close"] = TypeError("another")
    sink = Remembering(*errors, **places)
    faults: list[str] = []
    with Running(sink, first_pause_s=0.3) as running:
        running.queue.put(episode("a"))
        wait_until(lambda: faults.append(running.worker.stats().fault) or faults[-1], "it is told")
        running.queue.put(episode("b"))
        assert sink.wait_for(lambda messages: "b" in [m.event_id for m in messages], HANGS_S)
        assert running.worker.stats().fault == ""
    assert "It has failed and will be tried again (" in faults[-1]
    assert running.threads.failure is None
    assert sink.opened == 2
    assert sink.closed_with is not None


def test_an_unknown_error_ends_the_thread_as_a_failure_and_closes_the_sink():
    sink = FailingSink(ZeroDivisionError("a bug"))
    running = Running(sink)
    with running:
        running.queue.put(episode("a"))
        assert running.threads.wait(HANGS_S)
    assert running.threads.failure is not None
    assert isinstance(running.threads.failure.error, ZeroDivisionError)
    assert sink.closed_with is not None


class WakingSink(ListSink):
    """Hears of something between messages, and says so; it is ticked once for the asking."""

    def __init__(self) -> None:
        super().__init__("waking")
        self.wake: Callable[[], None] = lambda: None
        self.ticked = threading.Semaphore(0)

    @override
    def wakes(self, wake: Callable[[], None]) -> None:
        self.wake = wake

    @override
    def tick(self) -> None:
        self.ticked.release()


def test_a_sink_that_hears_something_is_ticked_at_once():
    sink = WakingSink()
    worker = SinkWorker(sink, MessageQueue("waking"), tick_every_s=3600.0)
    worker.open()
    threads = Threads()
    threads.start("sink", worker.run)
    for _ in range(3):
        sink.wake()
        assert sink.ticked.acquire(timeout=HANGS_S)
    worker.request_stop(Deadline(5.0))
    assert threads.join(Deadline(20.0)) == []


def test_a_wake_while_the_worker_is_busy_is_not_lost():
    queue = MessageQueue("busy")
    queue.wake()
    assert queue.get(3600.0) is None
    queue.wake()
    queue.put(episode("first"))
    assert (taken := queue.get(3600.0)) is not None
    assert taken.event_id == "first"
    assert queue.get(3600.0) is None
