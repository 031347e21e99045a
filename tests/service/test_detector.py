"""Orders that reach the detector's thread while it runs."""

from datetime import datetime

import pytest

from monitor.detect.settings import Tuning
from monitor.events.assembler import MessageAssembler
from monitor.events.bus import MessageBus
from monitor.events.clock import StreamClock
from monitor.messages import EpisodeMessage
from monitor.service.detector import DetectorThread, Orders
from monitor.service.shedding import Shed
from monitor.types import Block, Dbfs, EndOfStream, Gap, GapReason, HopReport, Probability, SampleIndex
from tests.service.scripted import CryOnFirstBlock, ScriptedSource, SilentDetector, noise


class Ear(SilentDetector):
    """Remembers what it was given to hear."""

    def __init__(self):
        self.heard, self.flushed = [], 0

    def process(self, item):
        self.heard.append(item)
        return []

    def flush(self):
        self.flushed += 1
        return []


class OrderingSource(ScriptedSource):
    """Delivers blocks; before the one of an index the given orders reach the thread."""

    def __init__(self, n_blocks, orders):
        super().__init__([*(noise(k * 3840) for k in range(n_blocks)), EndOfStream.END])
        self.orders, self.thread, self.count = orders, None, 0

    def read(self, timeout_s):
        if self.count in self.orders:
            self.thread.order(self.orders[self.count])
        self.count += 1
        return super().read(timeout_s)


def hear(detector, n_blocks, orders):
    source, bus, clock = OrderingSource(n_blocks, orders), MessageBus(), StreamClock()
    queue = bus.subscribe("test", only=EpisodeMessage)
    thread = DetectorThread(
        source, detector, MessageAssembler("test", clock), clock, bus, on_end=lambda: None
    )
    source.thread = thread
    thread.run()
    messages = []
    while (message := queue.get(0)) is not None:
        messages.append(message)
    return messages, thread.stats()


PAUSED = Orders(listening=False)


def test_what_is_said_while_listening_is_off_is_not_heard_and_the_stream_goes_on_behind_it():
    ear = Ear()
    _, stats = hear(ear, 6, {2: PAUSED, 5: Orders()})
    assert [type(item) for item in ear.heard] == [Block, Block, Gap, Block]
    assert ear.heard[2] == Gap(SampleIndex(2 * 3840), 3 * 3840, GapReason.PAUSED)
    assert ear.flushed == 2  # when it was switched off, and at the end
    assert stats.listening
    assert stats.gaps == 0  # nothing was lost against anybody's will
    assert stats.position_s == pytest.approx(6 * 0.24)


def test_switching_off_ends_an_open_episode():
    messages, stats = hear(CryOnFirstBlock(), 4, {2: PAUSED})
    assert [message.event_type for message in messages] == ["started", "ended"]
    assert messages[-1].truncated
    assert not stats.listening
    assert isinstance(messages[-1].time, datetime)


def test_switching_off_and_on_again_between_two_blocks_loses_nothing():
    ear = Ear()
    hear(ear, 4, {2: Orders()})
    assert [type(item) for item in ear.heard] == [Block] * 4


def test_a_monitor_that_starts_switched_off_hears_nothing_from_the_first_block_on():
    ear = Ear()
    hear(ear, 3, {0: PAUSED})
    assert ear.heard == []


def test_tuning_reaches_the_pipeline():
    ear = Ear()
    hear(ear, 3, {1: Orders(tuning=Tuning(70, 8.0))})
    assert ear.tuned == Tuning(70, 8.0)


class Reporting(SilentDetector):
    def process(self, item):
        return [
            HopReport(
                item.start, item.stop, Dbfs(-50.0), Dbfs(-40.0), Dbfs(-60.0), True, Probability(0.1), False
            )
        ]


def test_level_reports_are_spared_in_the_second_step_and_the_models_are_told():
    for shed, told, spared in (
        (Shed.NOTHING, True, None),
        (Shed.CAUSE, True, (True, False)),
        (Shed.LEVELS, False, (True, False)),
        (Shed.VERIFIER, False, (True, True)),
    ):
        detector, bus, clock = Reporting(), MessageBus(), StreamClock()
        queue = bus.subscribe("test")
        source = ScriptedSource([noise(0), EndOfStream.END])
        thread = DetectorThread(
            source, detector, MessageAssembler("test", clock), clock, bus, on_end=lambda: None
        )
        thread.shed(shed)
        thread.run()
        assert (queue.get(0.0) is not None) is told
        assert getattr(detector, "spared", None) == spared
        assert thread.stats().shed is shed


def test_a_gap_is_told_at_once():
    told = []
    source = ScriptedSource([Gap(SampleIndex(0), 1600, GapReason.DEVICE_LOST), EndOfStream.END])
    clock, bus = StreamClock(), MessageBus()
    thread = DetectorThread(
        source, SilentDetector(), MessageAssembler("test", clock), clock, bus, on_end=lambda: None
    )
    thread.tell_gaps(lambda: told.append(1))
    thread.run()
    assert told == [1]


class SlowEar(Ear):
    """Asks at each piece how far behind the thread is, and gives an order by the way."""

    thread: DetectorThread

    def __init__(self):
        super().__init__()
        self.behind_s, self.spared = [], []

    def process(self, item):
        self.behind_s.append(self.thread.stats().behind_s)
        self.thread.shed(Shed.CAUSE)
        return super().process(item)

    def spare(self, *, cause, verifier):
        self.spared.append((len(self.heard), cause, verifier))


def test_audio_that_piled_up_counts_as_lag_until_it_is_processed_and_orders_are_followed_meanwhile():
    """A source that was not read for 3 s gives all at once; the lag must not vanish with the read."""
    source = ScriptedSource([noise(0, 48_000), EndOfStream.END])
    ear, bus, clock = SlowEar(), MessageBus(), StreamClock()
    thread = ear.thread = DetectorThread(
        source, ear, MessageAssembler("test", clock), clock, bus, on_end=lambda: None
    )
    thread.run()
    assert ear.behind_s == pytest.approx([3.0, 2.52, 2.04, 1.56, 1.08, 0.6, 0.12])
    assert thread.stats().behind_s == 0
    assert ear.spared == [(1, True, False)]
    assert [item.start for item in ear.heard] == [7680 * k for k in range(7)]
    assert ear.heard[-1].stop == 48_000
