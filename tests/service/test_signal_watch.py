import numpy as np
import pytest

from monitor.service import signal_watch
from monitor.service.signal_watch import SignalStats, SignalWatch
from monitor.types import Block, Gap, GapReason, SampleIndex, samples

RATE = 16_000
ROOM = np.random.default_rng(1).normal(0, 200, RATE).astype(np.int16)


class Stream:
    """Feeds a watch one run after the other."""

    def __init__(self) -> None:
        self.watch = SignalWatch()
        self.position = 0

    def feed(self, audio: np.ndarray, times: int = 1) -> SignalStats:
        for _ in range(times):
            self.watch.observe(Block(SampleIndex(self.position), audio.astype(np.int16)))
            self.position += len(audio)
        return self.watch.stats()

    def lose(self, reason: GapReason) -> SignalStats:
        self.watch.observe(Gap(SampleIndex(self.position), RATE, reason))
        self.position += RATE
        return self.watch.stats()


def constant(value: int, seconds: float = 1.0) -> np.ndarray:
    return np.full(samples(seconds), value)


def dither(seconds: float = 1.0) -> np.ndarray:
    return np.random.default_rng(2).integers(-1, 2, samples(seconds))


def noise(dbfs: float, seconds: float = 1.0) -> np.ndarray:
    scale = 32768 * 10.0 ** (dbfs / 20.0)
    return np.rint(np.random.default_rng(3).normal(0, scale, samples(seconds)))


def test_digital_silence_is_measured_over_blocks():
    stats = Stream().feed(constant(0), 3)
    assert (stats.constant_s, stats.constant_value) == (3.0, 0)


def test_one_moving_bit_is_a_signal():
    stream = Stream()
    stream.feed(constant(0))
    block = constant(0)
    block[-100] = 1
    stats = stream.feed(block)
    assert (stats.constant_s, stats.constant_value) == (0.0, None)
    assert stats.still_s == 2.0


def test_a_stuck_value_counts_from_its_own_start():
    stream = Stream()
    stream.feed(constant(0))
    stats = stream.feed(constant(-32_768))
    assert (stats.constant_s, stats.constant_value) == (1.0, -32_768)


def test_a_gap_starts_afresh_and_an_empty_block_changes_nothing():
    stream = Stream()
    stream.feed(constant(0))
    assert stream.feed(constant(0, 0.0)).constant_s == 1.0
    assert stream.lose(GapReason.OVERRUN).constant_s == 0.0


def test_clipping_is_a_share_of_the_last_seconds_and_passes():
    stream = Stream()
    loud = np.tile(np.array([32_767, -32_768, 100, -100]), 4_000)
    stats = stream.feed(loud, 30)
    assert stats.clipped_share == pytest.approx(0.5)
    assert abs(stats.offset) < 1e-3
    assert stream.feed(loud // 2, 60).clipped_share < 0.002


def test_one_bang_is_no_clipping_to_speak_of():
    stream = Stream()
    assert stream.feed(constant(32_767, 0.1)).clipped_share == 0.0
    stream.feed(ROOM, 20)
    assert stream.feed(constant(32_767, 0.1)).clipped_share < 0.02


@pytest.mark.parametrize("seconds", [2, 60])
def test_an_offset_is_measured_from_the_first_two_seconds_on(seconds):
    stats = Stream().feed(ROOM + 9_830, seconds)
    assert 0.29 < stats.offset < 0.31


@pytest.mark.parametrize("level_dbfs", [-92.0, -70.0, -40.0])
def test_the_loudest_is_a_level_without_the_offset(level_dbfs):
    stats = Stream().feed(noise(level_dbfs) + 3_000, 4)
    assert stats.loudest_dbfs == pytest.approx(level_dbfs, abs=0.7)


def test_the_loudest_is_remembered_over_the_night_but_not_for_ever(monkeypatch):
    monkeypatch.setattr(signal_watch, "LOUDEST_SLOT_S", 120.0)
    stream = Stream()
    stream.feed(noise(-40.0))
    assert stream.feed(noise(-90.0), 120).loudest_dbfs > -41.0
    assert stream.feed(noise(-90.0), 130).loudest_dbfs < -85.0


def test_another_device_is_another_level():
    stream = Stream()
    stream.feed(noise(-40.0), 3)
    assert stream.lose(GapReason.OVERRUN).loudest_dbfs > -41.0
    stats = stream.lose(GapReason.DEVICE_LOST)
    assert (stats.loudest_dbfs, stats.heard_s) == (-100.0, 0.0)


@pytest.mark.parametrize("pause", [constant(0), constant(-7), dither()], ids=["zeros", "a value", "dither"])
def test_stillness_and_sound_that_alternate_are_a_gate(pause):
    stream = Stream()
    gated = []
    for _ in range(6):
        stream.feed(pause, 20)
        gated.append(stream.feed(ROOM, 3).gated)
    assert gated == [False, False, False, False, True, True]
    assert stream.feed(pause, 200).gated
    assert stream.watch.stats().still_s == 200.0


def test_somebody_at_the_mute_switch_is_no_gate(monkeypatch):
    monkeypatch.setattr(signal_watch, "GATE_WITHIN_S", 120.0)
    stream = Stream()
    for _ in range(6):
        stream.feed(constant(0), 5)
        assert not stream.feed(ROOM, 80).gated


def test_a_device_that_goes_and_comes_back_silent_is_no_gate_and_a_gate_stays_one():
    stream = Stream()
    for _ in range(6):
        stream.lose(GapReason.DEVICE_LOST)
        stream.feed(constant(0), 3)
        assert not stream.feed(ROOM).gated
    for _ in range(5):
        stream.feed(constant(0), 3)
        stream.feed(ROOM)
    assert stream.lose(GapReason.DEVICE_LOST).gated


def test_a_gate_that_was_switched_off_is_forgotten(monkeypatch):
    monkeypatch.setattr(signal_watch, "GATE_WITHIN_S", 60.0)
    stream = Stream()
    for _ in range(5):
        stream.feed(constant(0), 5)
        stream.feed(ROOM)
    assert stream.watch.stats().gated
    assert not stream.feed(ROOM, 61).gated
