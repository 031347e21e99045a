"""How the monitor is, judged at the data: a service that runs and does not listen is its worst failure.

Main calls it once a second. No clock and no thread in here: time comes in with the snapshot.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from monitor.capture.source import SourceState, SourceStats
from monitor.redaction import hide_credentials
from monitor.service.detector import DetectorStats
from monitor.service.host_health import HostLimits, host_troubles
from monitor.service.pace import ClockWatch, RateWatch
from monitor.service.shedding import Shed
from monitor.service.signal_judgement import SignalLimits, signal_troubles
from monitor.service.trouble import Concern, State, Trouble
from monitor.service.vitals import Vitals
from monitor.service.worker import WorkerStats

__all__ = ["Health", "HealthTracker", "Limits", "Snapshot", "State", "Trouble", "counters", "is_alive"]


@dataclass(frozen=True, slots=True)
class Limits:
    """From when on something is called a trouble. In seconds where nothing else is said."""

    lost_after_s: float = 1.5
    detector_stuck_after_s: float = 5.0
    lag_s: float = 2.0
    """Audio that waits for the detector; an alarm comes as much later."""
    queued_after_s: float = 10.0
    load_measured_over_s: float = 10.0
    loss_remembered_s: float = 60.0
    """A loss of audio is over at once; it is reported for this long, so that somebody sees it."""
    recovered_after_s: float = 2.0
    """A trouble has to stay away for this long: a loose plug must not flap in the hub."""
    paced: bool = False
    """The source delivers as time passes: a microphone, not a recording at full speed."""
    signal: SignalLimits = field(default_factory=SignalLimits)
    host: HostLimits = field(default_factory=HostLimits)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that is judged, at the time ``now_s`` of a monotonic clock."""

    now_s: float
    source: SourceStats
    detector: DetectorStats
    workers: tuple[WorkerStats, ...] = ()
    state_faults: tuple[str, ...] = ()
    """What cannot be kept on disk, and why."""
    vitals: Vitals | None = None
    utc_s: float | None = None
    """The wall clock at ``now_s``."""

    @property
    def lag_s(self) -> float:
        """Audio that was recorded and not processed: what nobody has read, and what is being processed."""
        return self.source.waiting_s + self.detector.behind_s


@dataclass(frozen=True, slots=True)
class Health:
    state: State = State.OK
    reasons: tuple[str, ...] = ()
    microphone_ok: bool = True
    signal_ok: bool = True


_STARTING: Final = "microphone.starting"
_PAUSED: Final = "listening.off"
_RATE: Final = (
    "The microphone delivers more or less audio than time passes, so crying sounds like something else: "
    "plug it in again, or set microphone.rate_hz."
)
_HIGH_LOAD: Final = 0.8
"""Share of the audio's own length that its processing may take; above 1 the detector falls behind."""
_SEVERITY: Final = list(State)


@dataclass(slots=True)
class HealthTracker:
    """Keeps troubles until they have stayed away for a while."""

    limits: Limits = field(default_factory=Limits)
    _seen: dict[str, tuple[Trouble, float]] = field(default_factory=dict)
    _overflows: int = 0
    _overflow_at_s: float | None = None
    _load: float = 0.0
    _load_from: Snapshot | None = None
    _rate: RateWatch = field(default_factory=RateWatch)
    _clock: ClockWatch = field(default_factory=ClockWatch)

    def update(self, snapshot: Snapshot) -> Health:
        """Judge ``snapshot``; snapshots come in order of time."""
        self._note_overflows(snapshot)
        self._note_load(snapshot)
        self._rate.observe(snapshot.now_s, snapshot.source)
        if snapshot.utc_s is not None:
            self._clock.observe(snapshot.now_s, snapshot.utc_s)
        for trouble in self._troubles(snapshot):
            self._seen[trouble.kind] = (trouble, snapshot.now_s)
        hold_s = self.limits.recovered_after_s
        self._seen = {
            kind: (trouble, at_s)
            for kind, (trouble, at_s) in self._seen.items()
            # Starting is no trouble to recover from: it is over with the first block. Nor is a switch.
            if at_s == snapshot.now_s or (snapshot.now_s - at_s < hold_s and kind not in {_STARTING, _PAUSED})
        }
        troubles = sorted((t for t, _ in self._seen.values()), key=lambda t: -_SEVERITY.index(t.state))
        return Health(
            state=troubles[0].state if troubles else State.OK,
            reasons=tuple(hide_credentials(trouble.reason) for trouble in troubles),
            microphone_ok=all(trouble.concern is not Concern.MICROPHONE for trouble in troubles),
            signal_ok=all(trouble.concern is not Concern.SIGNAL for trouble in troubles),
        )

    def _note_overflows(self, snapshot: Snapshot) -> None:
        if snapshot.source.overflows > self._overflows:
            self._overflow_at_s = snapshot.now_s
        self._overflows = snapshot.source.overflows

    def _note_load(self, snapshot: Snapshot) -> None:
        before = self._load_from
        if before is not None and snapshot.now_s - before.now_s < self.limits.load_measured_over_s:
            return
        if before is not None:
            heard_s = snapshot.detector.position_s - before.detector.position_s
            busy_s = snapshot.detector.busy_s - before.detector.busy_s
            self._load = busy_s / heard_s if heard_s > 0 else 0.0
        self._load_from = snapshot

    def _troubles(self, snapshot: Snapshot) -> Iterator[Trouble]:
        yield from self._of_source(snapshot.source)
        yield from self._of_detector(snapshot)
        if not snapshot.detector.listening:
            yield Trouble(_PAUSED, State.DEGRADED, "Listening is switched off: no crying is reported.")
        for worker in snapshot.workers:
            yield from self._of_worker(worker)
        for fault in snapshot.state_faults:
            yield Trouble(f"state.{fault}", State.DEGRADED, fault)
        if snapshot.vitals is not None:
            yield from host_troubles(snapshot.vitals, snapshot.now_s, self.limits.host)
        yield from self._of_clock(snapshot.now_s)

    def _of_clock(self, now_s: float) -> Iterator[Trouble]:
        jumped_at_s = self._clock.jumped_at_s
        if self._clock.unset:
            yield Trouble(
                "clock.unset",
                State.DEGRADED,
                "The clock has not been set yet: times are wrong until a time server answers.",
            )
        elif jumped_at_s is not None and now_s - jumped_at_s < self.limits.loss_remembered_s:
            way = "forward" if self._clock.jump_s > 0 else "back"
            yield Trouble(
                "clock.jumped",
                State.DEGRADED,
                f"The clock jumped {way} within the last minute: it was set, or the machine slept.",
            )

    def _of_source(self, source: SourceStats) -> Iterator[Trouble]:
        if source.state is SourceState.ENDED:
            return
        age_s = source.last_block_age_s
        awaited = source.state is SourceState.RUNNING and age_s is None
        if (source.state is SourceState.STARTING and not source.fault) or awaited:
            yield Trouble(_STARTING, State.DEGRADED, "The first audio is awaited.", Concern.MICROPHONE)
        elif source.state is SourceState.LOST or age_s is None or age_s > self.limits.lost_after_s:
            reason = source.fault or "it was there and stopped delivering."
            yield Trouble(
                "microphone.lost",
                State.FAULT,
                f"The microphone delivers no audio: {reason}",
                Concern.MICROPHONE,
            )
        elif self.limits.paced and self._rate.wrong:
            yield Trouble("microphone.rate", State.FAULT, _RATE, Concern.SIGNAL)

    def _of_detector(self, snapshot: Snapshot) -> Iterator[Trouble]:
        detector, limits = snapshot.detector, self.limits
        yield from signal_troubles(detector.signal, limits.signal, snapshot.source.better_channel)
        if detector.turned_age_s > limits.detector_stuck_after_s:
            yield Trouble("detector.stuck", State.FAULT, "The detector does not advance.")
        if snapshot.lag_s > limits.lag_s and self.limits.paced:
            yield Trouble("detector.lag", State.DEGRADED, "The detector is behind: alarms come late.")
        if detector.shed is not Shed.NOTHING:
            reason = f"The machine is too slow: to keep pace it goes without {detector.shed.words}."
            yield Trouble("detector.shed", State.DEGRADED, reason)
        if self._load > _HIGH_LOAD:
            yield Trouble("detector.load", State.DEGRADED, "The machine is too busy: detection may be late.")
        if _recent(detector.last_gap_age_s, limits.loss_remembered_s):
            yield Trouble("audio.gap", State.DEGRADED, "Audio was lost within the last minute.")
        if self._overflow_at_s is not None and _recent(
            snapshot.now_s - self._overflow_at_s, limits.loss_remembered_s
        ):
            yield Trouble(
                "audio.overflow", State.DEGRADED, "The microphone overflowed within the last minute."
            )

    def _of_worker(self, worker: WorkerStats) -> Iterator[Trouble]:
        if worker.fault:
            yield Trouble(f"sink.{worker.name}", State.DEGRADED, f"{worker.name}: {worker.fault}")
        elif worker.queue.oldest_age_s > self.limits.queued_after_s:
            reason = f"{worker.name}: messages wait for more than {self.limits.queued_after_s:.0f} s."
            yield Trouble(f"sink.{worker.name}", State.DEGRADED, reason)


def is_alive(snapshot: Snapshot, limits: Limits) -> bool:
    """Whether the watchdog may be fed: detector and capture both do their work.

    A microphone that is known to be lost does not count against it: the capture supervision is at
    work, and a restart of the service would take away the very link that reports the fault. Audio
    that stays away unnoticed does.
    """
    if snapshot.detector.turned_age_s > limits.detector_stuck_after_s:
        return False
    source = snapshot.source
    if source.state is not SourceState.RUNNING:
        return True
    age_s = source.last_block_age_s
    return age_s is None or age_s <= limits.lost_after_s + limits.detector_stuck_after_s


def counters(snapshot: Snapshot, before: Snapshot | None = None) -> dict[str, float]:
    """The figures behind the judgement, for diagnosis. Rates are those since ``before``."""
    source, detector = snapshot.source, snapshot.detector
    figures = {
        "audio_s": detector.position_s,
        "audio_lost_s": detector.gap_s,
        "gaps": detector.gaps,
        "overflows": source.overflows,
        "capture_restarts": source.restarts,
        "last_block_age_s": -1.0 if source.last_block_age_s is None else source.last_block_age_s,
        "constant_signal_s": detector.signal.constant_s,
        "episodes": detector.episodes,
        "slowest_step_ms": 1000 * detector.slowest_step_s,
        "busy_s": detector.busy_s,
        "hops": detector.pipeline.hops,
        "awake_hops": detector.pipeline.awake_hops,
        "wakings": detector.pipeline.wakings,
        "detector_lag_s": snapshot.lag_s,
        "queue_depth": sum(worker.queue.depth for worker in snapshot.workers),
        **_rates(detector, None if before is None else before.detector),
    }
    if snapshot.vitals is not None:
        figures |= _of_host(snapshot.vitals)
    for worker in snapshot.workers:
        figures[f"{worker.name}_delivered"] = worker.delivered
        figures[f"{worker.name}_retries"] = worker.retries
        figures[f"{worker.name}_dropped"] = worker.dropped + worker.queue.dropped + worker.queue.lost_alerts
        figures[f"{worker.name}_queued"] = worker.queue.depth
    return {name: round(float(figure), 3) for name, figure in figures.items()}


def _of_host(vitals: Vitals) -> dict[str, float]:
    figures = {"memory_mb": vitals.memory_mb, "open_files_share": vitals.open_files}
    if vitals.cpu_temperature_c is not None:
        figures["cpu_temperature_c"] = vitals.cpu_temperature_c
    if vitals.folder is not None:
        figures["disk_free_mb"] = vitals.folder.free_mb
    return figures


def _rates(now: DetectorStats, before: DetectorStats | None) -> dict[str, float]:
    """Shares of the hops, and the time that a hop took; absent while there was none."""
    hops = now.pipeline.hops - (0 if before is None else before.pipeline.hops)
    if hops <= 0:
        return {}
    awake = now.pipeline.awake_hops - (0 if before is None else before.pipeline.awake_hops)
    asked = now.pipeline.vad_calls - (0 if before is None else before.pipeline.vad_calls)
    busy_s = now.busy_s - (0.0 if before is None else before.busy_s)
    return {"gate_rate": awake / hops, "vad_rate": asked / hops, "inference_ms": 1000 * busy_s / hops}


def _recent(age_s: float | None, limit_s: float) -> bool:
    return age_s is not None and age_s < limit_s
