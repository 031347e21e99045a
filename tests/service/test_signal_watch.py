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
