"""The running service: ordered start, supervision once a second, reverse stop within one deadline.

Main runs it. Threads: the detector, one worker per sink, and what source and sinks bring along.
"""

from __future__ import annotations

import gc
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import structlog

from monitor import __version__
from monitor.capture.source import AudioSource
from monitor.errors import MonitorError
from monitor.events.bus import MessageBus
from monitor.heap import HeapTrimmer
from monitor.messages import DeliveryMessage, EpisodeMessage, HealthMessage
from monitor.service.desk import Desk, Moment
from monitor.service.detector import DetectorThread
from monitor.service.health import Health, HealthTracker, Limits, Snapshot, State, counters, is_alive
from monitor.service.lifecycle import Deadline, Threads, join_all
from monitor.service.machine import Machine
from monitor.service.metrics import MetricsServer
from monitor.service.requests import RequestBox
from monitor.service.shedding import LoadShedder
from monitor.service.state_folder import StateFolder
from monitor.service.status_socket import NAME, StatusServer
from monitor.service.vitals import VitalsWatch
from monitor.service.watchdog import Watchdog
from monitor.service.worker import SinkWorker
from monitor.sinks.base import Role
from monitor.sinks.push_delivery import DeliveryStatus

log = structlog.get_logger(__name__)


RESTART_EXIT_CODE: Final = 75
"""EX_TEMPFAIL: not a success, so that whoever supervises us starts us again."""

STUCK_AFTER_S: Final = 10.0
READ_WITHIN_S: Final = 1.0
"""What a start waits for the first readings of machine and disk."""
REMEMBERED_WITHIN_S: Final = 3.0
"""What a stop waits for sinks that only remember, once all that alarm are done."""


@dataclass(frozen=True, slots=True)
class Timing:
    """All in seconds."""

    stop_timeout_s: float = 8.0
    heartbeat_s: float = 30.0
    look_every_s: float = 1.0
    source_stop_s: float = 2.0
    """The part of the stop that the device gets; the rest is for the messages."""
    heavy_for_s: float = 30.0
    """How long it may take too much memory before it restarts."""


class Service:
    """Everything between the microphone and the last sink, started and stopped as one.

    ``request_stop`` may be called from any thread and from a signal handler.
    """

    def __init__(
        self,
        *,
        device: str,
        source: AudioSource,
        bus: MessageBus,
        workers: Sequence[SinkWorker],
        detector: Callable[[Callable[[], None]], DetectorThread],
        limits: Limits,
        timing: Timing,
        watchdog: Watchdog,
        state: StateFolder | None = None,
        requests: RequestBox | None = None,
        delivery: Callable[[], DeliveryStatus] | None = None,
        metrics_listen: str | None = None,
        hold_s: float = 5.0,
        acknowledged_for: int = 20,
        machine: Machine | None = None,
        model_files: Iterable[Path] = (),
        faults: Iterable[Callable[[], str]] = (),
    ) -> None:
        """Wire the parts.

        ``detector`` makes the detector's thread, given what it calls at the end of the stream. Without
        ``state`` nothing outlives a restart. ``requests`` is where sinks put what parents ask for.
        ``delivery`` says how direct push fares, ``metrics_listen`` is where Prometheus may ask, ``hold_s`` is
        the detector's own hang-over. ``model_files`` are watched for changes. ``faults`` say what else is
        wrong, in a sentence or not at all; main asks them, and they must not wait.
        """
        self._device = device
        self._source = source
        self._bus = bus
        self._workers = tuple(workers)
        self._limits = limits
        self._timing = timing
        self._watchdog = watchdog
        self._threads = Threads()
        self._listening: threading.Thread | None = None
        self._remembering: list[threading.Thread] = []
        self._reading: threading.Thread | None = None
        self._stop_requested = False
        self._detector = detector(self.request_stop)
        self._detector.tell_gaps(self._look_soon)
        self._tracker = HealthTracker(limits)
        self._health: Health | None = None
        self._published_at_s = 0.0
        self._started_at_s = time.monotonic()
        self._looked_at_s = self._started_at_s
        self._look_at_s = self._started_at_s + timing.look_every_s
        self._state = StateFolder(None) if state is None else state
        folder = self._state.path
        self._generation = self._state.generation
        self._faults = tuple(faults)
        self._shedder = LoadShedder()
        self._heavy_since_s: float | None = None
        self._status = None if folder is None else StatusServer(folder / NAME, self.report)
        self._metrics = None if metrics_listen is None else MetricsServer(metrics_listen, self.report)
        self._vitals = VitalsWatch(
            Machine() if machine is None else machine,
            self._state,
            files=model_files,
            guards=(HeapTrimmer(), *(() if self._status is None else (self._status.check_path,))),
        )
        self._delivery = delivery
        self._told_delivery: DeliveryStatus | None = None
        self._shown_delivery: dict[str, Any] = {}
        self._reported: Snapshot | None = None
        self._restart_requested = False
        box = RequestBox() if requests is None else requests
        box.serve(self._threads.wake)
        self._desk = Desk(
            device=device,
            box=box,
            episodes=bus.subscribe("desk", only=EpisodeMessage, told=self._threads.wake),
            publish=bus.publish,
            order=self._detector.order,
            restart=self._request_restart,
            folder=folder,
            hold_s=hold_s,
            acknowledged_for=acknowledged_for,
            now=_now(),
        )

    def run(self) -> int:
        """Run until stopped, until the source ends, or until a thread fails; the exit code.

        It also ends, as a failure, when no sink is left that anybody takes messages from.
        Raises DeviceNotFoundError, AudioFileError or ConfigError when it cannot start.
        """
        unheard = False
        try:
            self._start()
            while not (unheard or self._is_over()):
                unheard = self._watch()
        finally:
            self._vitals.stop()
            alive = self._stop()
            self._desk.close(_now())
            if self._reading is not None:
                self._reading.join(0.5)
            for server in self._servers():
                server.stop()
            self._state.close()
            self._watchdog.close()
        failure = self._threads.failure
        if failure is not None:
            log.error("service.failed", thread=failure.thread, error=str(failure.error))
            return failure.error.exit_code if isinstance(failure.error, MonitorError) else 1
        if alive or unheard:
            return 1
        return RESTART_EXIT_CODE if self._restart_requested else 0

    def request_stop(self) -> None:
        """End ``run`` soon."""
        self._stop_requested = True
        self._threads.wake()

    @property
    def health(self) -> Health | None:
        """The latest judgement; None before the first. Any thread."""
        return self._health

    def report(self) -> dict[str, Any]:
        """How it is at this moment, for `cradlewatch status` and for metrics. Any thread."""
        snapshot, health = (
            self.snapshot(),
            self._health or Health(state=State.DEGRADED, reasons=("Starting.",)),
        )
        stuck_s = snapshot.now_s - self._looked_at_s
        reasons = list(health.reasons)
        if stuck_s > STUCK_AFTER_S:
            reasons.insert(0, f"Supervision has not come round for {stuck_s:.0f} s.")
        return {
            "device": self._device,
            "version": __version__,
            "pid": os.getpid(),
            "uptime_s": round(snapshot.now_s - self._started_at_s, 1),
            "state": State.FAULT.value if stuck_s > STUCK_AFTER_S else health.state.value,
            "reasons": reasons,
            "alive": stuck_s <= STUCK_AFTER_S and is_alive(snapshot, self._limits),
            "microphone_ok": health.microphone_ok,
            "signal_ok": health.signal_ok,
            "source": snapshot.source.description,
            "counters": counters(snapshot, self._reported),
            "sinks": {worker.name: worker.fault for worker in snapshot.workers},
            **self._shown_delivery,
            **self._desk.latest,
        }

    def snapshot(self) -> Snapshot:
        """All counters now. Any thread."""
        # Both clocks at once: what is asked below may take its time.
        now_s, utc_s = time.monotonic(), time.time()
        return Snapshot(
            now_s=now_s,
            source=self._source.stats(),
            detector=self._detector.stats(),
            workers=tuple(worker.stats() for worker in self._workers),
            state_faults=tuple(filter(None, self._other_faults())),
            vitals=self._vitals.latest,
            utc_s=utc_s,
        )

    def _other_faults(self) -> Iterator[str]:
        yield self._state.fault
        for server in self._servers():
            yield server.fault
        yield from self._desk.faults
        for fault in self._faults:
            yield fault()

    # --- start: sinks, then audio, so that nothing is heard that cannot be reported -----------------

    def _start(self) -> None:
        for worker in self._workers:
            worker.open()
            alarms = worker.role is Role.ALARMS
            thread = self._threads.start(f"sink-{worker.name}", worker.run, awaited=alarms)
            if not alarms:
                self._remembering.append(thread)
        self._desk.open(_now())
        for server in self._servers():
            server.start()
        # A thread that main does not wait for at the stop: it may wait for a dead disk.
        self._reading = self._threads.start("vitals", self._vitals.run, awaited=False)
        self._vitals.wait(READ_WITHIN_S)
        self._source.start()
        self._listening = self._threads.start("detector", self._detector.run)
        # What exists now lives as long as the process: the collector need not look at it again.
        gc.collect()
        gc.freeze()
        self._watchdog.ready("Listening")
        log.info(
            "service.ready",
            version=__version__,
            source=self._source.stats().description,
            sinks=" ".join(worker.name for worker in self._workers),
            start_s=round(time.monotonic() - self._started_at_s, 2),
        )

    def _servers(self) -> Iterator[StatusServer | MetricsServer]:
        """Those who tell on request how it is."""
        if self._status is not None:
            yield self._status
        if self._metrics is not None:
            yield self._metrics

    # --- supervision --------------------------------------------------------------------------------

    def _is_over(self) -> bool:
        return self._stop_requested or self._restart_requested or self._threads.failure is not None

    def _watch(self) -> bool:
        """Sleep until something has come or a look is due, and see to it; whether nobody is left to hear."""
        self._threads.wait(max(0.0, self._look_at_s - time.monotonic()))
        self._desk.turn(_now(), listening=self._hears())
        if self._is_over() or time.monotonic() < self._look_at_s:
            return False
        self._looked_at_s = time.monotonic()
        self._look_at_s = self._looked_at_s + self._timing.look_every_s
        self._look()
        return self._is_unheard()

    def _look_soon(self) -> None:
        """A lost microphone is not left unsaid until the next look. Any thread."""
        self._look_at_s = 0.0
        self._threads.wake()

    def _hears(self) -> bool:
        health = self._health
        heard = health is not None and health.microphone_ok and health.state is not State.FAULT
        return heard and self._detector.stats().listening

    def _request_restart(self) -> None:
        self._restart_requested = True

    def _look(self) -> None:
        """Judge, publish what changed, and feed the watchdog if audio and detector advance."""
        snapshot = self.snapshot()
        if self._limits.paced:
            self._detector.shed(self._shedder.observe(snapshot.now_s, snapshot.lag_s))
        self._heal(snapshot)
        health = self._tracker.update(snapshot)
        changed = health != self._health
        if changed:
            self._tell(health)
        if changed or snapshot.now_s - self._published_at_s >= self._timing.heartbeat_s:
            self._published_at_s = snapshot.now_s
            self._bus.publish(self._message(health, snapshot))
            self._reported = snapshot
        self._health = health
        self._tell_delivery()
        if is_alive(snapshot, self._limits):
            self._watchdog.alive()

    def _heal(self, snapshot: Snapshot) -> None:
        """What nobody else can: keep anew what was deleted, give back memory by a restart."""
        if self._generation != self._state.generation:
            self._generation = self._state.generation
            self._desk.keep_all_again()
        vitals = self._vitals.latest
        if vitals.memory_mb <= self._limits.host.memory_mb:
            self._heavy_since_s = None
        elif self._heavy_since_s is None:
            self._heavy_since_s = snapshot.now_s
        # Only where somebody starts us again, and in a quiet moment, for it takes some seconds.
        elif (
            self._watchdog.supervised
            and self._desk.calm
            and snapshot.now_s - self._heavy_since_s >= self._timing.heavy_for_s
        ):
            log.error("service.too_heavy", memory_mb=round(vitals.memory_mb))
            self._request_restart()

    def _is_unheard(self) -> bool:
        """Whether every sink is gone that tells somebody: to listen on would look well and warn nobody."""
        workers = [worker.stats() for worker in self._workers if worker.role is Role.ALARMS]
        if not workers or not all(worker.gone for worker in workers):
            return False
        reasons = "; ".join(f"{worker.name}: {worker.fault}" for worker in workers)
        log.error("service.unheard", reason=f"Nobody is left who would hear of a cry. {reasons}")
        return True

    def _tell(self, health: Health) -> None:
        write = {State.OK: log.info, State.DEGRADED: log.warning, State.FAULT: log.error}[health.state]
        write("health.changed", state=health.state.value, reasons="; ".join(health.reasons))
        self._watchdog.status("; ".join(health.reasons) or "Listening")

    def _tell_delivery(self) -> None:
        status = None if self._delivery is None else self._delivery()
        if status is None or status == self._told_delivery:
            return
        self._told_delivery = status
        header = {"event_id": str(uuid.uuid4()), "device": self._device, "time": datetime.now(UTC)}
        message = DeliveryMessage.model_validate(header | asdict(status))
        self._shown_delivery = {"delivery": message.model_dump(mode="json")}
        self._bus.publish(message)

    def _message(self, health: Health, snapshot: Snapshot) -> HealthMessage:
        return HealthMessage(
            event_id=str(uuid.uuid4()),
            device=self._device,
            time=datetime.now(UTC),
            state=health.state.value,
            reasons=list(health.reasons),
            microphone_ok=health.microphone_ok,
            signal_ok=health.signal_ok,
            uptime_s=round(time.monotonic() - self._started_at_s, 1),
            version=__version__,
            counters=counters(snapshot, self._reported),
        )

    # --- stop: in reverse ---------------------------------------------------------------------------

    def _stop(self) -> list[str]:
        """Stop capture, end the open episode, drain the sinks; the threads that outlived the deadline."""
        deadline = Deadline(self._timing.stop_timeout_s)
        self._watchdog.stopping(self._timing.stop_timeout_s)
        log.info("service.stopping", requested=self._stop_requested)
        self._detector.request_stop(self._timing.source_stop_s)
        # Sinks are told only now: the end of an open episode has to be in their queues first.
        if self._listening is None:
            self._source.stop(self._timing.source_stop_s)
        else:
            join_all([self._listening], Deadline(self._timing.stop_timeout_s / 2))
        for worker in self._workers:
            worker.request_stop(deadline)
        alive = self._threads.join(deadline)
        join_all(self._remembering, Deadline(min(REMEMBERED_WITHIN_S, deadline.left_s())))
        log.info("service.stopped", in_s=round(deadline.length_s - deadline.left_s(), 2))
        return alive


def _now() -> Moment:
    return Moment(time.monotonic(), datetime.now(UTC))
