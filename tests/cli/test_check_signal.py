"""`cradlewatch check` and the service's health judge one signal alike."""

from collections.abc import Callable

import numpy as np
import pytest

from monitor.capture.source import SourceState, SourceStats
from monitor.cli.check import PATIENCE_S, listen
from monitor.detect.pipeline import PipelineStats
from monitor.service.detector import DetectorStats
from monitor.service.health import HealthTracker, Limits, Snapshot
from monitor.service.signal_judgement import SignalLimits
from monitor.service.signal_watch import SignalStats, SignalWatch
from monitor.types import Block, EndOfStream, SampleIndex

RATE = 16_000
Second = Callable[[np.random.Generator, int], np.ndarray]

RUNNING = SourceStats(
    state=SourceState.RUNNING, description="a microphone", samples=0, lost_samples=0, overflows=0,
    restarts=0, waiting_s=0.0, last_block_age_s=0.1, fault="",
)  # fmt: skip


def noise(dbfs: float, offset: float = 0.0) -> Second:
    scale = 32768 * 10.0 ** (dbfs / 20.0)
    return lambda rng, _: np.rint(rng.normal(32768 * offset, scale, RATE))


def constant(value: int) -> Second:
    return lambda _rng, _second: np.full(RATE, value)


def gated(rng: np.random.Generator, second: int) -> np.ndarray:
    return np.zeros(RATE) if second % 8 < 5 else noise(-30.0)(rng, second)


def silent_but_for_a_word(rng: np.random.Generator, second: int) -> np.ndarray:
    return noise(-30.0 if second == 4 else -88.0)(rng, second)


SIGNALS: dict[str, tuple[Second, str]] = {
    "a room": (noise(-55.0), ""),
    "a quiet room at a fair gain": (noise(-70.0), ""),
    "a silent room in which somebody speaks": (silent_but_for_a_word, ""),
    "bare converter noise": (noise(-92.0), "too quiet"),
    "a whisper": (noise(-75.0), "too quiet"),
    "an offset": (noise(-40.0, 0.3), "far off zero"),
    "an offset without a sound": (noise(-92.0, -0.5), "far off zero"),
    "a small offset": (noise(-40.0, 0.1), ""),
    "clipping": (noise(3.0), "clips"),
    "mute": (constant(0), "digital silence"),
    "stuck": (constant(-5), "one constant value"),
    "stuck at full scale": (constant(-32768), "one constant value"),
}


class Signal:
    """A source that delivers a signal, 100 ms at a time, as fast as it is read."""

    def __init__(self, make: Second, seconds: int) -> None:
        rng = np.random.default_rng(5)
        parts = [np.clip(make(rng, k), -32768, 32767).astype(np.int16) for k in range(seconds)]
        self._audio = np.concatenate(parts)
        self._at = 0

    def read(self, _timeout_s: float) -> Block | EndOfStream:
        if self._at >= len(self._audio):
            return EndOfStream.END
        block = Block(SampleIndex(self._at), self._audio[self._at : self._at + RATE // 10])
        self._at += len(block.samples)
        return block

    def stats(self) -> SourceStats:
        return RUNNING


def health_of(signal: SignalStats) -> tuple[bool, tuple[str, ...]]:
    detector = DetectorStats(
        turned_age_s=0.0, position_s=60.0, gaps=0, gap_s=0.0, last_gap_age_s=None, episodes=0, signal=signal,
        slowest_step_s=0.0, busy_s=0.0, pipeline=PipelineStats(), listening=True,
    )  # fmt: skip
    # The service waits for half an hour before it calls a signal quiet; here a minute has to do.
    limits = Limits(signal=SignalLimits(quiet_after_s=50.0))
    health = HealthTracker(limits).update(Snapshot(now_s=100.0, source=RUNNING, detector=detector))
    return health.signal_ok, health.reasons


@pytest.mark.parametrize("name", SIGNALS)
def test_check_says_what_the_service_says_of_the_same_signal(name):
    make, words = SIGNALS[name]
    outcome = listen(Signal(make, 20), SignalLimits(), first_audio_s=1.0)
    watch, source = SignalWatch(), Signal(make, 60)
    while isinstance(block := source.read(0.0), Block):
        watch.observe(block)
    signal_ok, reasons = health_of(watch.stats())
    assert outcome.ok is signal_ok is (words == "")
    assert words in outcome.text
    assert all(reason in outcome.text for reason in reasons)
    assert words in " ".join(reasons)


def test_a_short_recording_of_silence_is_silence_too():
    outcome = listen(Signal(constant(0), 3), SignalLimits(), first_audio_s=1.0)
    assert (outcome.ok, "digital silence" in outcome.text) == (False, True)


def test_a_source_that_is_still_at_first_gets_the_time_to_make_a_sound():
    outcome = listen(Signal(gated, int(PATIENCE_S)), SignalLimits(), first_audio_s=1.0)
    assert outcome.ok


def test_who_checks_in_a_silent_room_is_asked_to_speak():
    assert listen(Signal(noise(-88.0), 20), SignalLimits(), first_audio_s=1.0).text.endswith(
        "speak where the cot stands while you check again."
    )
