import argparse

import numpy as np
import pytest

from monitor import bench
from monitor.detect.activity import HOP, ActivityDetector
from monitor.detect.vad import Vad
from monitor.errors import ConfigError
from monitor.types import SAMPLE_RATE_HZ


def _awake_share(audio):
    detector = ActivityDetector(Vad(2), 5.0)
    hops = [audio[k : k + HOP] for k in range(0, len(audio) - HOP + 1, HOP)]
    return np.mean([detector.process(hop).active for hop in hops])


def test_quiet_room_lets_the_gate_model_sleep():
    assert _awake_share(bench.quiet_room(60.0)) < 0.05


def test_activity_keeps_it_awake():
    assert _awake_share(bench.activity(30.0)) > 0.95


@pytest.mark.parametrize("make", [bench.quiet_room, bench.activity])
def test_audio_is_int16_of_the_asked_length_without_clipping(make):
    audio = make(12.0)
    assert audio.dtype == np.int16
    assert len(audio) == 12 * SAMPLE_RATE_HZ
    assert 0 < np.abs(audio.astype(int)).max() < 32000


def test_cost_is_scaled_to_an_hour_and_the_first_pass_is_not_counted(monkeypatch):
    # A clock that only the work moves: one second at first, then 2, 4 and 3.
    now, steps = [0.0], iter([1.0, 2.0, 4.0, 3.0])
    monkeypatch.setattr(bench.time, "process_time", lambda: now[0])

    def work():
        now[0] += next(steps)

    cost = bench.measure(work, audio_s=36.0, passes=3)
    assert (cost.median, cost.fastest, cost.slowest) == pytest.approx((300.0, 200.0, 400.0))
    assert cost.times_real_time == pytest.approx(12.0)


def test_cost_below_the_clock_is_not_a_division_by_zero():
    assert bench.Cost(0.0, 0.0, 0.0).times_real_time == float("inf")


def _arguments(*argv):
    parser = argparse.ArgumentParser()
    bench.add_arguments(parser)
    return parser.parse_args(argv)


@pytest.mark.parametrize("argv", [("--seconds", "1"), ("--passes", "0"), ("--seconds", "nan")])
def test_too_little_to_measure_is_refused(argv):
    with pytest.raises(ConfigError, match=argv[0]):
        bench.run(_arguments(*argv))


def test_memory_is_that_of_a_python_with_numpy():
    assert 20.0 < bench.resident_mib() < 4000.0
