"""How often lost audio is written down."""

import numpy as np
from structlog.testing import capture_logs

from monitor.service.gap_log import GapLog
from monitor.types import Block, Gap, GapReason, SampleIndex

SECOND = 16_000


def gap(at_s: int) -> Gap:
    return Gap(SampleIndex(at_s * SECOND), SECOND, GapReason.DEVICE_LOST)


def block(at_s: int) -> Block:
    return Block(SampleIndex(at_s * SECOND), np.zeros(SECOND, np.int16))


def test_a_night_without_microphone_is_a_line_an_hour():
    log = GapLog()
    with capture_logs() as lines:
        for second in range(8 * 3600):
            log.note(gap(second))
    assert [line["event"] for line in lines] == ["detector.gap"] * 8
    assert [line["length_s"] for line in lines[:2]] == [1.0, 3601.0]


def test_each_loss_is_written_and_the_end_of_a_long_one():
    log = GapLog()
    with capture_logs() as lines:
        for item in (gap(0), block(1), gap(2), block(3), *map(gap, range(4, 24)), block(24), gap(25)):
            log.note(item)
    told = [(line["event"], line.get("length_s", line.get("lost_s"))) for line in lines]
    assert told == [
        ("detector.gap", 1.0),
        ("detector.gap", 1.0),
        ("detector.gap", 1.0),
        ("detector.audio_back", 20.0),
        ("detector.gap", 1.0),
    ]
