"""The demonstration's clock: when did the first sample sound?"""

from __future__ import annotations

import numpy as np

from monitor.capture.recording import Recording
from monitor.demo.playback import Playback
from monitor.types import Block, EndOfStream, SampleIndex, samples
from tests.demo.test_synth import BUNDLED


class Paced:
    """A source whose blocks come as listed: (time of arrival, end of the block in the stream)."""

    def __init__(self, arrivals, clock):
        self._arrivals = iter(arrivals)
        self._clock = clock

    def read(self, timeout_s):
        arrival = next(self._arrivals, None)
        if arrival is None:
            return EndOfStream.END
        self._clock[0], stop_s = arrival
        return Block(SampleIndex(samples(stop_s) - 1_600), np.zeros(1_600, np.int16))


def test_beginning_is_that_of_the_most_punctual_block():
    clock = [0.0]
    playback = Playback(Paced([(100.35, 0.1), (100.30, 0.2), (100.80, 0.3)], clock), lambda: clock[0])
    while playback.read(0.1) is not EndOfStream.END:
        pass
    assert playback.origin_s == 100.1


def test_nothing_read_has_no_beginning():
    assert Playback(Paced([], [0.0])).origin_s == 0.0


def test_playback_hands_on_every_sample_and_the_stats():
    playback = Playback(Recording(BUNDLED))
    playback.start()
    heard = 0
    while isinstance(item := playback.read(1.0), Block):
        heard += len(item.samples)
    playback.stop(1.0)
    assert heard == samples(70.0)
    assert playback.stats().samples == heard


def test_the_end_waits_until_what_was_sent_has_arrived():
    clock, answers = [0.0], [False, False, True]
    asked = []

    def may_end(wait_s):
        asked.append(wait_s)
        return answers.pop(0)

    playback = Playback(Paced([], clock), lambda: clock[0], may_end=may_end, patience_s=30.0)
    assert [playback.read(0.1) for _ in range(3)] == [None, None, EndOfStream.END]
    assert asked == [0.1, 0.1, 0.1]


def test_the_end_does_not_wait_for_ever():
    clock = [0.0]
    playback = Playback(Paced([], clock), lambda: clock[0], may_end=lambda _wait_s: False, patience_s=30.0)
    assert playback.read(0.1) is None
    clock[0] = 30.0
    assert playback.read(0.1) is EndOfStream.END
