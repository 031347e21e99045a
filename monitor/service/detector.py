"""The detector's thread: source → pipeline → messages → bus. Never waits for network or disk."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, Protocol

import structlog

from monitor.capture.source import AudioSource
from monitor.detect.pipeline import PipelineStats
from monitor.detect.settings import Tuning
from monitor.events.assembler import MessageAssembler
from monitor.events.bus import MessageBus
from monitor.events.clock import StreamClock
from monitor.messages import EpisodeMessage
from monitor.service.gap_log import GapLog
from monitor.service.shedding import Shed
from monitor.service.signal_watch import SignalStats, SignalWatch
from monitor.types import (
    Block,
    DetectorOutput,
    EndOfStream,
    EpisodeEnded,
    EpisodeStarted,
    Gap,
    GapReason,
    HopReport,
    SampleIndex,
    samples,
    seconds,
)

log = structlog.get_logger(__name__)

READ_TIMEOUT_S: Final = 0.25
PIECE: Final = samples(0.48)
"""After so much orders are looked at again: a source that was not read for a while gives all at once."""


class Detector(Protocol):
    """What this thread needs of :class:`monitor.detect.pipeline.Pipeline`."""

    def process(self, item: Block | Gap) -> list[DetectorOutput]: ...

    def tune(self, tuning: Tuning) -> None: ...

    def spare(self, *, cause: bool, verifier: bool) -> None: ...

    def flush(self) -> list[DetectorOutput]: ...

    def stats(self) -> PipelineStats: ...


class AudioTap(Protocol):
    """Sees all audio that is listened to and all episodes, on the detector's thread: it must not wait."""

    def on_block(self, item: Block | Gap) -> None: ...

    def on_episode(self, output: DetectorOutput, message: EpisodeMessage) -> None: ...


@dataclass(frozen=True, slots=True)
class Orders:
    """What the parents want of the detector."""

    listening: bool = True
    """False: audio is taken from the device and thrown away unheard; only a dead microphone is noticed."""
    tuning: Tuning = field(default_factory=Tuning)


@dataclass(frozen=True, slots=True)
class DetectorStats:
    turned_age_s: float
    """Since the thread last came round, with audio or without."""
    position_s: float
    gaps: int
    gap_s: float
    last_gap_age_s: float | None
    episodes: int
    signal: SignalStats
    slowest_step_s: float
    """Longest time that one piece of audio took to process."""
    busy_s: float
    """Time spent in the pipeline in all."""
    listening: bool
    """False while listening is switched off."""
    pipeline: PipelineStats
    behind_s: float = 0.0
    """Audio that was read and has not been processed yet."""
    shed: Shed = Shed.NOTHING
    """What it goes without to keep pace."""


class DetectorThread:
    """Reads the source to its end or until stopped. The source must have been started."""

    def __init__(
        self,
        source: AudioSource,
        pipeline: Detector,
        assembler: MessageAssembler,
        clock: StreamClock,
        bus: MessageBus,
        *,
        on_end: Callable[[], None],
        on_output: Callable[[DetectorOutput], None] | None = None,
        tap: AudioTap | None = None,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """``on_output`` sees all that the pipeline says, on this thread: it must not wait."""
        self._source = source
        self._pipeline = pipeline
        self._assembler = assembler
        self._clock = clock
        self._bus = bus
        self._on_end = on_end
        self._on_output = on_output
        self._tap = tap
        self._on_gap: Callable[[], None] | None = None
        self._monotonic_s = monotonic_s
        self._stopping = threading.Event()
        self._stop_timeout_s = 0.0
        self._wanted = self._followed = Orders()
        self._to_shed = self._shed = Shed.NOTHING
        self._paused_at: SampleIndex | None = None
        self._signal = SignalWatch()
        self._gap_log = GapLog()
        self._turned_at = monotonic_s()
        self._position = self._read_until = SampleIndex(0)
        self._gaps = self._gap_samples = self._episodes = 0
        self._gap_at: float | None = None
        self._slowest_step_s = self._busy_s = 0.0

    def run(self) -> None:
        """The thread. An open episode is ended and published however the stream ends."""
        try:
            self._read_on()
        finally:
            self._source.stop(self._stop_timeout_s)
        self._publish(self._pipeline.flush())
        self._on_end()

    def order(self, orders: Orders) -> None:
        """Do as ``orders`` say from the next audio on. Any thread."""
        self._wanted = orders

    def tell_gaps(self, on_gap: Callable[[], None]) -> None:
        """From now on ``on_gap`` is called, on this thread, when audio is lost."""
        self._on_gap = on_gap

    def shed(self, what: Shed) -> None:
        """Go without ``what`` from the next audio on. Any thread."""
        self._to_shed = what

    def request_stop(self, timeout_s: float) -> None:
        """Stop the source within ``timeout_s``, end an open episode, end the thread. Any thread."""
        self._stop_timeout_s = timeout_s
        self._stopping.set()

    def stats(self) -> DetectorStats:
        """A snapshot; any thread may call it."""
        now = self._monotonic_s()
        return DetectorStats(
            turned_age_s=now - self._turned_at,
            position_s=seconds(self._position),
            gaps=self._gaps,
            gap_s=seconds(self._gap_samples),
            last_gap_age_s=None if self._gap_at is None else now - self._gap_at,
            episodes=self._episodes,
            signal=self._signal.stats(),
            slowest_step_s=self._slowest_step_s,
            busy_s=self._busy_s,
            listening=self._followed.listening,
            pipeline=self._pipeline.stats(),
            behind_s=seconds(max(0, self._read_until - self._position)),
            shed=self._shed,
        )

    def _read_on(self) -> None:
        while not self._stopping.is_set():
            item = self._source.read(READ_TIMEOUT_S)
            self._turned_at = self._monotonic_s()
            if isinstance(item, EndOfStream):
                log.info("source.ended", position_s=seconds(self._position))
                return
            if item is not None:
                self._take(item)

    def _take(self, item: Block | Gap) -> None:
        self._date(item)
        self._signal.observe(item)
        self._gap_log.note(item)
        if isinstance(item, Gap):
            self._gaps += 1
            self._gap_samples += item.length
            self._gap_at = self._monotonic_s()
            if self._on_gap is not None:
                self._on_gap()
        self._read_until = item.stop
        for piece in _pieces(item):
            self._turned_at = self._monotonic_s()
            self._process(piece)
            took_s = self._monotonic_s() - self._turned_at
            self._busy_s += took_s
            self._slowest_step_s = max(self._slowest_step_s, took_s)

    def _process(self, item: Block | Gap) -> None:
        self._follow_orders()
        if self._paused_at is None:
            if self._tap is not None:
                self._tap.on_block(item)  # an episode must not be there before its audio
            self._publish(self._pipeline.process(item))
        self._position = item.stop

    def _date(self, item: Block | Gap) -> None:
        now = datetime.now(UTC)
        if self._position == 0 and (began_at := self._source.began_at(now)) is not None:
            self._clock.fix(began_at)
        self._clock.observe(item.stop, now)

    def _follow_orders(self) -> None:
        """Between two runs of audio: nothing in the pipeline has to be locked."""
        if self._to_shed is not self._shed:
            self._shed = shed = self._to_shed
            self._pipeline.spare(cause=shed >= Shed.CAUSE, verifier=shed >= Shed.VERIFIER)
            log.warning("detector.shed", without=shed.words or "nothing")
        wanted = self._wanted
        if wanted == self._followed:
            return
        self._followed = wanted
        self._pipeline.tune(wanted.tuning)
        if not wanted.listening and self._paused_at is None:
            self._publish(self._pipeline.flush())
            self._paused_at = self._position
            log.info("detector.paused")
        elif wanted.listening and self._paused_at is not None:
            length, start, self._paused_at = self._position - self._paused_at, self._paused_at, None
            if length:
                self._publish(self._pipeline.process(Gap(start, length, GapReason.PAUSED)))
            log.info("detector.resumed", paused_s=round(seconds(length), 1))

    def _publish(self, outputs: Iterable[DetectorOutput]) -> None:
        for output in outputs:
            if self._on_output is not None:
                self._on_output(output)
            if self._shed >= Shed.LEVELS and isinstance(output, HopReport):
                continue
            message = self._assembler.assemble(output)
            if message is not None:
                self._bus.publish(message)
            if self._tap is not None and isinstance(message, EpisodeMessage):
                self._tap.on_episode(output, message)
            if isinstance(output, EpisodeStarted):
                self._episodes += 1
                log.info("episode.started", number=output.number, score=round(output.score, 3))
            elif isinstance(output, EpisodeEnded):
                log.info(
                    "episode.ended",
                    number=output.number,
                    crying_s=round(output.crying_s, 1),
                    truncated=output.truncated,
                )


def _pieces(item: Block | Gap) -> Iterator[Block | Gap]:
    if isinstance(item, Gap):
        yield item
        return
    for begin in range(0, len(item.samples), PIECE):
        yield Block(SampleIndex(item.start + begin), item.samples[begin : begin + PIECE])
