"""Start, stop and failure of the whole, around a scripted source."""

import contextlib
import os
import signal
import socket
import threading
import time
from dataclasses import replace
from typing import Self

import pytest
from structlog.testing import capture_logs
from typing_extensions import override

from monitor.capture.source import SourceState
from monitor.commands import Request
from monitor.errors import ConfigError, DeviceNotFoundError, PermanentSinkError
from monitor.messages import AlertMessage, ControlsMessage, EpisodeMessage, HealthMessage, NightMessage
from monitor.service.health import Limits
from monitor.service.requests import RequestBox
from monitor.service.service import RESTART_EXIT_CODE, Timing
from monitor.service.signals import stop_on_signals
from monitor.service.state_folder import StateFolder, open_state_folder
from monitor.sinks.base import Role
from monitor.sinks.jsonl import JsonLinesSink
from monitor.sinks.memory import ListSink
from monitor.types import EndOfStream, Gap, GapReason, SampleIndex
from tests.patience import HANGS_S
from tests.service.scripted import FailingDetector, ScriptedSource, SilentDetector, noise, service


class InThread:
    """``service.run`` in a thread, as the demonstration uses it."""

    def __init__(self, subject) -> None:
        self.subject = subject
        self.code: int | None = None
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        self.code = self.subject.run()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.subject.request_stop()
        self._thread.join(20.0)
        assert not self._thread.is_alive()


def kinds(sink: ListSink) -> list[str]:
    return [message.event_type for message in sink.of(EpisodeMessage)]


def test_the_end_of_the_source_ends_the_service_cleanly_with_the_open_episode_delivered():
    sink = ListSink()
    source = ScriptedSource([noise(0), noise(3840), EndOfStream.END])
    assert service(source, [sink]).run() == 0
    assert kinds(sink) == ["started", "ended"]
    assert len(source.stopped_with) == 1


def test_a_requested_stop_delivers_the_end_of_an_open_episode():
    sink = ListSink()
    with InThread(service(ScriptedSource([noise(0)]), [sink])) as running:
        assert sink.wait_for(lambda messages: any(m.kind == "episode" for m in messages), HANGS_S)
    assert running.code == 0
    assert kinds(sink) == ["started", "ended"]


def test_the_detector_survives_a_gap():
    sink = ListSink()
    gap = Gap(SampleIndex(3840), 16_000, GapReason.DEVICE_LOST)
    source = ScriptedSource([noise(0), gap, noise(19_840), EndOfStream.END])
    subject = service(source, [sink])
    assert subject.run() == 0
    assert kinds(sink) == ["started", "ended", "started", "ended"]
    assert subject.snapshot().detector.gaps == 1


def test_a_failing_detector_ends_the_service_non_zero_and_releases_the_source():
    source = ScriptedSource([noise(0)])
    assert service(source, [ListSink()], detector=FailingDetector()).run() == 1
    assert len(source.stopped_with) == 1


def test_a_device_that_does_not_exist_is_raised_to_the_caller():
    source = ScriptedSource()
    source.start_error = DeviceNotFoundError("No input device is called Banana.")
    with pytest.raises(DeviceNotFoundError):
        service(source, [ListSink()]).run()


def test_a_sink_that_can_never_work_is_raised_to_the_caller():
    class Impossible(ListSink):
        @override
        def open(self) -> None:
            raise PermanentSinkError("No such folder.", "Make it.")

    with pytest.raises(ConfigError, match=r"^No such folder\. Make it\.$") as caught:
        service(ScriptedSource(), [ListSink("fine"), Impossible("impossible")]).run()
    assert caught.value.exit_code == 2


@contextlib.contextmanager
def unread_stdout():
    """Standard output is a pipe whose reader has left; gives the log, which else might go there."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stdout, contextlib.redirect_stdout(stdout), capture_logs() as logs:
        yield logs


def test_without_a_reader_of_its_only_sink_the_service_ends_non_zero():
    source = ScriptedSource([noise(0)])
    subject = service(source, [JsonLinesSink(None)])
    deadline = threading.Timer(15.0, subject.request_stop)
    deadline.start()
    with unread_stdout() as logs:
        assert subject.run() == 1
    deadline.cancel()
    (told,) = (entry for entry in logs if entry["event"] == "service.unheard")
    assert "jsonl: Nobody reads standard output any more." in told["reason"]
    assert len(source.stopped_with) == 1


def test_with_another_sink_a_lost_reader_is_a_reason_and_no_end():
    sink = ListSink()
    timing = Timing(stop_timeout_s=5.0, look_every_s=0.02, heartbeat_s=0.1)
    subject = service(ScriptedSource([noise(0)]), [JsonLinesSink(None), sink], timing=timing)
    with unread_stdout(), InThread(subject) as running:
        assert sink.wait_for(lambda seen: sum(degraded(m) for m in seen) >= 3, HANGS_S)
        assert running.code is None
    assert running.code == 0


def degraded(message) -> bool:
    return message.kind == "health" and message.state == "degraded" and "Nobody reads" in message.reasons[0]


def test_a_sink_that_hangs_does_not_hold_up_the_stop_beyond_the_deadline():
    release = threading.Event()

    class Hanging(ListSink):
        @override
        def handle(self, message) -> None:
            release.wait(30.0)

    started = time.monotonic()
    source = ScriptedSource([noise(0), EndOfStream.END])
    code = service(source, [Hanging()], timing=Timing(stop_timeout_s=1.0)).run()
    release.set()
    assert code == 1
    assert time.monotonic() - started < 15.0


class HangingMemory(ListSink):
    """Remembers, and never comes back from where it is told to hang."""

    def __init__(self, place: str, release: threading.Event) -> None:
        super().__init__("memory")
        self._place = place
        self._release = release

    @property
    @override
    def role(self) -> Role:
        return Role.REMEMBERS

    def _hang(self, place: str) -> None:
        if place == self._place:
            self._release.wait(60.0)

    @override
    def open(self) -> None:
        self._hang("open")

    @override
    def handle(self, message) -> None:
        self._hang("handle")

    @override
    def tick(self) -> None:
        self._hang("tick")

    @override
    def close(self, timeout_s: float) -> None:
        self._hang("close")


@pytest.mark.parametrize("place", ["open", "handle", "tick", "close"])
def test_a_memory_that_hangs_neither_delays_an_alarm_nor_uses_up_the_time_of_the_stop(place):
    release, alarms = threading.Event(), ListSink("alarms")
    source = ScriptedSource([noise(0)])
    subject = service(source, [HangingMemory(place, release), alarms], timing=Timing(stop_timeout_s=20.0))
    with InThread(subject):
        assert alarms.wait_for(lambda seen: any(m.kind == "episode" for m in seen), HANGS_S)
        began_s = time.monotonic()
    assert time.monotonic() - began_s < 15.0
    release.set()
    assert any(m.kind == "episode" and m.event_type == "ended" for m in alarms.messages)


def test_health_is_published_at_start_and_on_change():
    sink, source = ListSink(), ScriptedSource([noise(0)])
    with InThread(service(source, [sink], timing=Timing(look_every_s=0.02))):
        assert sink.wait_for(lambda messages: any(m.kind == "health" for m in messages), HANGS_S)
        source.now = replace(source.now, state=SourceState.LOST, fault="it was unplugged.")
        assert sink.wait_for(
            lambda messages: any(m.kind == "health" and m.state == "fault" for m in messages), 10.0
        )
    first, *_, last = sink.of(HealthMessage)
    assert first.state == "ok"
    assert not last.microphone_ok
    assert last.reasons == ["The microphone delivers no audio: it was unplugged."]


def test_health_is_repeated_at_the_heartbeat_only_while_nothing_changes():
    sink = ListSink()
    timing = Timing(look_every_s=0.02, heartbeat_s=0.4)
    with InThread(service(ScriptedSource([noise(0)]), [sink], timing=timing)):
        assert sink.wait_for(lambda messages: sum(m.kind == "health" for m in messages) == 3, HANGS_S)
    first, second, third = (message.uptime_s for message in sink.of(HealthMessage)[:3])
    assert second - first >= 0.3  # uptime is rounded to a tenth
    assert third - second >= 0.3


def test_the_service_manager_hears_ready_alive_and_stopping(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(HANGS_S)
        subject = service(
            ScriptedSource([noise(0)]), [ListSink()], environ={"NOTIFY_SOCKET": str(tmp_path / "notify")}
        )
        heard = []
        with InThread(subject):
            while not heard or heard[-1] != "WATCHDOG=1":
                heard.append(manager.recv(500).decode())
        while not heard[-1].startswith("STOPPING=1"):
            heard.append(manager.recv(500).decode())
    assert heard[0] == "READY=1\nSTATUS=Listening"


def test_a_detector_that_hangs_is_reported_and_the_watchdog_starves(tmp_path):
    release = threading.Event()

    class Hanging(SilentDetector):
        @override
        def process(self, item):
            release.wait(30.0)
            return []

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(HANGS_S)
        subject = service(
            ScriptedSource([noise(0)]),
            [ListSink()],
            detector=Hanging(),
            environ={"NOTIFY_SOCKET": str(tmp_path / "notify")},
            limits=Limits(detector_stuck_after_s=0.3),
        )
        with InThread(subject):
            while manager.recv(500) != b"STATUS=The detector does not advance.":
                pass
            manager.settimeout(0.5)  # ten looks
            with pytest.raises(TimeoutError):
                manager.recv(500)
            release.set()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_service(number):
    sink = ListSink()
    subject = service(ScriptedSource([noise(0)]), [sink])
    sender = threading.Thread(
        target=lambda: (
            sink.wait_for(lambda messages: any(m.kind == "episode" for m in messages), HANGS_S),
            os.kill(os.getpid(), number),
        )
    )
    before = signal.getsignal(number)
    with stop_on_signals(subject.request_stop):
        sender.start()
        assert subject.run() == 0
    sender.join(5.0)
    assert kinds(sink) == ["started", "ended"]
    assert signal.getsignal(number) is before


def ask(box, control, text="PRESS"):
    box.put(Request(control, text.encode(), "hub"))


def told(sink, kind, **values):
    """Wait until the newest message of ``kind`` says ``values``."""

    def says(_):
        found = sink.of(kind)
        return found and all(getattr(found[-1], name) == value for name, value in values.items())

    assert sink.wait_for(says, HANGS_S), sink.of(kind)


def test_a_request_is_followed_at_once_and_not_at_the_next_look():
    sink, box = ListSink(), RequestBox()
    slow = Timing(stop_timeout_s=5.0, look_every_s=60.0)
    with InThread(service(ScriptedSource([noise(0)]), [sink], timing=slow, requests=box)):
        ask(box, "sensitivity", "70")
        told(sink, ControlsMessage, sensitivity=70)


def test_a_cry_waits_for_acknowledgement_and_gets_it():
    sink, box = ListSink(), RequestBox()
    slow = Timing(stop_timeout_s=5.0, look_every_s=60.0)
    with InThread(service(ScriptedSource([noise(0)]), [sink], timing=slow, requests=box)):
        told(sink, AlertMessage, state="unacknowledged")
        ask(box, "acknowledge")
        told(sink, AlertMessage, state="acknowledged", acknowledged_by="hub")


def test_a_monitor_that_does_not_listen_says_so_and_stays_well():
    sink, box = ListSink(), RequestBox()
    subject = service(ScriptedSource([noise(0)]), [sink], requests=box)
    with InThread(subject):
        told(sink, AlertMessage, state="unacknowledged")
        ask(box, "listening", "OFF")
        told(sink, ControlsMessage, listening=False)


def test_a_restart_that_was_asked_for_ends_the_service_so_that_it_is_started_again(monkeypatch):
    monkeypatch.setattr("monitor.service.restarts.FORGETFUL_NOT_BEFORE_S", 0.0)
    sink, box = ListSink(), RequestBox()
    subject = service(ScriptedSource([noise(0)]), [sink], requests=box)
    ask(box, "restart")
    assert subject.run() == RESTART_EXIT_CODE
    assert kinds(sink) == ["started", "ended"] or kinds(sink) == []


def test_settings_and_the_night_are_there_after_a_restart(tmp_path):
    for sensitivity, episodes in (("70", 1), (None, 2)):
        sink, box = ListSink(), RequestBox()
        state = open_state_folder(tmp_path / "nursery")
        with InThread(service(ScriptedSource([noise(0)]), [sink], requests=box, state=state)):
            if sensitivity is not None:
                ask(box, "sensitivity", sensitivity)
            told(sink, ControlsMessage, sensitivity=70)
            told(sink, NightMessage, episodes=episodes)


def test_a_state_folder_that_cannot_be_used_is_said():
    sink = ListSink()
    state = StateFolder(None, "The state folder cannot be used.")
    with InThread(service(ScriptedSource([noise(0)]), [sink], state=state)):
        told(sink, HealthMessage, state="degraded", reasons=["The state folder cannot be used."])
