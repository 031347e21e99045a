import numpy as np

from monitor.service.signal_watch import SignalWatch
from monitor.types import Block, Gap, GapReason, SampleIndex


def constant(value: int, start: int, n: int = 16_000) -> Block:
    return Block(SampleIndex(start), np.full(n, value, np.int16))


def test_digital_silence_is_measured_over_blocks():
    watch = SignalWatch()
    for second in range(3):
        watch.observe(constant(0, 16_000 * second))
    assert (watch.constant_s, watch.value) == (3.0, 0)


def test_one_moving_bit_is_a_signal():
    watch = SignalWatch()
    watch.observe(constant(0, 0))
    block = constant(0, 16_000)
    block.samples[8_000] = 1
    watch.observe(block)
    assert (watch.constant_s, watch.value) == (0.0, None)


def test_a_stuck_value_counts_from_its_own_start():
    watch = SignalWatch()
    watch.observe(constant(0, 0))
    watch.observe(constant(-32_768, 16_000))
    assert (watch.constant_s, watch.value) == (1.0, -32_768)


def test_a_gap_starts_afresh_and_an_empty_block_changes_nothing():
    watch = SignalWatch()
    watch.observe(constant(0, 0))
    watch.observe(constant(0, 16_000, n=0))
    assert watch.constant_s == 1.0
    watch.observe(Gap(SampleIndex(16_000), 16_000, GapReason.DEVICE_LOST))
    assert watch.constant_s == 0.0


def test_clipping_is_a_share_of_the_last_seconds_and_passes():
    watch = SignalWatch()
    loud = np.tile(np.array([32_767, -32_768, 100, -100], np.int16), 4_000)
    for second in range(30):
        watch.observe(Block(SampleIndex(16_000 * second), loud))
    assert 0.45 < watch.clipped_share < 0.5
    assert abs(watch.offset) < 1e-3
    for second in range(30, 90):
        watch.observe(Block(SampleIndex(16_000 * second), loud // 2))
    assert watch.clipped_share < 0.002


def test_one_bang_is_no_clipping_to_speak_of():
    watch = SignalWatch()
    watch.observe(Block(SampleIndex(0), np.full(1_600, 32_767, np.int16)))
    assert watch.clipped_share < 0.02


def test_an_offset_is_measured():
    watch = SignalWatch()
    rng = np.random.default_rng(1)
    for second in range(60):
        noise = (rng.normal(0, 200, 16_000) + 9_830).astype(np.int16)
        watch.observe(Block(SampleIndex(16_000 * second), noise))
    assert 0.29 < watch.offset < 0.31
