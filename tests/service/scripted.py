"""A source and a detector whose behaviour a test writes down, for supervision tests."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np
from typing_extensions import override

from monitor.capture.source import AudioSource, SourceState, SourceStats
from monitor.detect.pipeline import PipelineStats
from monitor.detect.settings import Tuning
from monitor.events.assembler import MessageAssembler
from monitor.events.bus import MessageBus
from monitor.events.clock import StreamClock
from monitor.service.detector import Detector, DetectorThread
from monitor.service.health import Limits
from monitor.service.requests import RequestBox
from monitor.service.service import Service, Timing
from monitor.service.state_folder import StateFolder
from monitor.service.watchdog import Watchdog
from monitor.service.worker import SinkWorker
from monitor.sinks.base import Sink
from monitor.types import (
    Block,
    Dbfs,
    DetectorOutput,
    EndOfStream,
    EpisodeEnded,
    EpisodeStarted,
    Gap,
    Probability,
    SampleIndex,
)

RUNNING = SourceStats(
    state=SourceState.RUNNING,
    description="scripted",
    samples=0,
    lost_samples=0,
    overflows=0,
    restarts=0,
    waiting_s=0.0,
    last_block_age_s=0.0,
    fault="",
)


def noise(start: int, n: int = 3840) -> Block:
    rng = np.random.default_rng(start)
    return Block(SampleIndex(start), rng.integers(-50, 50, n, dtype=np.int16))


class ScriptedSource(AudioSource):
    """Delivers ``items``, then nothing until it is stopped."""

    def __init__(self, items: Iterable[Block | Gap | EndOfStream] = ()) -> None:
        self._items = iter(list(items))
        self._stopped = threading.Event()
        self.now = RUNNING
        self.stopped_with: list[float] = []
        self.start_error: Exception | None = None

    @override
    def start(self) -> None:
        if self.start_error is not None:
            raise self.start_error

    @override
    def read(self, timeout_s: float) -> Block | Gap | EndOfStream | None:
        item = next(self._items, None)
        if item is None:
            self._stopped.wait(0.01)
        return item

    @override
    def stop(self, timeout_s: float) -> None:
        self.stopped_with.append(timeout_s)
        self._stopped.set()

    @override
    def stats(self) -> SourceStats:
        return replace(self.now)


class SilentDetector(Detector):
    """Hears nothing at all."""

    @override
    def process(self, item: Block | Gap) -> list[DetectorOutput]:
        return []

    @override
    def tune(self, tuning: Tuning) -> None:
        self.tuned = tuning

    @override
    def spare(self, *, cause: bool, verifier: bool) -> None:
        self.spared = (cause, verifier)

    @override
    def flush(self) -> list[DetectorOutput]:
        return []

    @override
    def stats(self) -> PipelineStats:
        return PipelineStats()


class CryOnFirstBlock(SilentDetector):
    """Starts an episode with the first block and ends it at a gap or at the end."""

    def __init__(self) -> None:
        self._open = False
        self._position = SampleIndex(0)
        self._number = 0

    @override
    def process(self, item: Block | Gap) -> list[DetectorOutput]:
        self._position = item.stop
        if isinstance(item, Gap):
            return self.flush()
        if self._open:
            return []
        self._open, self._number = True, self._number + 1
        return [EpisodeStarted(self._number, item.start, item.stop, Probability(0.9), Dbfs(-20.0))]

    @override
    def flush(self) -> list[DetectorOutput]:
        if not self._open:
            return []
        self._open = False
        at = self._position
        return [
            EpisodeEnded(
                self._number,
                SampleIndex(0),
                at,
                at,
                at,
                Probability(0.9),
                Dbfs(-20.0),
                1.0,
                None,
                truncated=True,
            )
        ]


class FailingDetector(SilentDetector):
    @override
    def process(self, item: Block | Gap) -> list[DetectorOutput]:
        raise ZeroDivisionError("a bug in the detector")


def service(
    source: AudioSource,
    sinks: Iterable[Sink],
    *,
    detector: Detector | None = None,
    environ: dict[str, str] | None = None,
    timing: Timing | None = None,
    limits: Limits | None = None,
    requests: RequestBox | None = None,
    state: StateFolder | None = None,
    **more: Any,
) -> Service:
    """A service of real parts around a scripted source and detector."""
    bus = MessageBus()
    clock = StreamClock()
    pipeline = CryOnFirstBlock() if detector is None else detector

    def detector_thread(on_end: Callable[[], None]) -> DetectorThread:
        return DetectorThread(source, pipeline, MessageAssembler("test", clock), clock, bus, on_end=on_end)

    return Service(
        device="test",
        source=source,
        bus=bus,
        workers=[SinkWorker(sink, bus.subscribe(sink.name)) for sink in sinks],
        detector=detector_thread,
        limits=limits or Limits(),
        timing=timing or Timing(stop_timeout_s=5.0, look_every_s=0.05),
        watchdog=Watchdog(environ or {}),
        requests=requests,
        state=state,
        **more,
    )
