"""Positions join without holes, and an outage is as long as the clock says."""

import numpy as np
import pytest

from monitor.capture.timeline import Outage, Timeline
from monitor.types import GapReason


def test_runs_join_without_holes() -> None:
    timeline = Timeline()
    first = timeline.block(np.zeros(100, np.int16))
    gap = timeline.gap(50, GapReason.OVERRUN)
    second = timeline.block(np.zeros(7, np.int16))
    assert (first.start, first.stop, gap.start, gap.stop, second.start) == (0, 100, 100, 150, 150)
    assert (timeline.position, timeline.delivered, timeline.lost) == (157, 107, 50)


def test_a_block_is_read_only() -> None:
    block = Timeline().block(np.zeros(4, np.int16))
    with pytest.raises(ValueError, match="read-only"):
        block.samples[0] = 1


def test_an_outage_is_announced_about_every_second_and_adds_up() -> None:
    outage = Outage(since_s=100.0)
    assert outage.begin(101.5) == 16_000  # half a second stays back
    assert outage.due(102.0) == 0
    assert outage.due(102.5) == 16_000
    assert outage.due(105.0) == 40_000
    assert outage.close(104.75) == 16_000 * 4.75 - 72_000


def test_audio_older_than_what_was_announced_leaves_no_gap() -> None:
    outage = Outage(since_s=0.0)
    outage.begin(3.0)
    assert outage.close(2.0) == 0


def test_roundings_do_not_add_up() -> None:
    outage = Outage(since_s=0.0)
    total = sum(outage.due(0.5 + 1.00003 * i) for i in range(1, 5_000))
    assert abs(total - 16_000 * 1.00003 * 4_999) <= 16_000 * 1.00004
