from __future__ import annotations

import numpy as np
import pytest

from monitor.detect.activity import HOLD_HOPS, HOP, ActivityDetector
from monitor.detect.vad import Vad
from monitor.types import samples
from tests.signals import full_scale_square, noise, silence, tone


class ScriptedVad:
    """Says what it is told; counts how often it is asked."""

    def __init__(self, voiced: int) -> None:
        self.voiced = voiced
        self.asked = 0

    def reset(self) -> None:
        pass

    def voiced_frames(self, samples: np.ndarray) -> int:
        self.asked += 1
        return self.voiced


def hops(audio: np.ndarray) -> list[np.ndarray]:
    return [audio[k : k + HOP] for k in range(0, len(audio) - HOP + 1, HOP)]


def active_hops(detector: ActivityDetector, audio: np.ndarray) -> list[bool]:
    return [detector.process(hop).active for hop in hops(audio)]


def settled(room: np.ndarray) -> ActivityDetector:
    """A detector that has learnt the room and sleeps."""
    detector = ActivityDetector(ScriptedVad(0), 5.0)
    assert not active_hops(detector, room)[-1]
    return detector


def test_steady_quiet_room_sleeps_and_hardly_asks_the_vad():
    vad = ScriptedVad(0)
    assert not any(active_hops(ActivityDetector(vad, 5.0), noise(60.0, -70.0))[HOLD_HOPS:])
    assert vad.asked <= 0.04 * 250


def test_begins_open_because_what_it_hears_first_may_be_crying():
    detector = ActivityDetector(ScriptedVad(0), 5.0)
    assert active_hops(detector, noise(5.0, -70.0))[: HOLD_HOPS + 1] == [True] * HOLD_HOPS + [False]
    detector.reset()
    assert detector.process(noise(0.24, -70.0)).active


def test_rise_above_the_margin_wakes_without_the_vad():
    detector = settled(noise(5.0, -70.0))
    assert active_hops(detector, noise(0.24, -60.0)) == [True]


@pytest.mark.parametrize(("voiced", "active"), [(1, False), (2, True)])
def test_small_rise_wakes_only_when_the_vad_agrees(voiced, active):
    # A tone that rises by 4.5 dB over its own floor, in one band.
    def room(level_dbfs: float) -> np.ndarray:
        return tone(5.04, 1000.0, level_dbfs)

    vad = ScriptedVad(voiced)
    detector = ActivityDetector(vad, 5.0)
    active_hops(detector, room(-60.0))
    assert active_hops(detector, room(-55.5)[:HOP]) == [active]
    assert vad.asked == 1


def test_stays_open_through_a_breath():
    detector = settled(noise(5.0, -70.0))
    active_hops(detector, noise(0.24, -50.0))
    after = active_hops(detector, noise(3.0, -70.0))
    assert after == [True] * (HOLD_HOPS - 1) + [False] * (len(after) - HOLD_HOPS + 1)


@pytest.mark.parametrize("level_dbfs", [-75.0, -60.0, -45.0, -30.0])
def test_a_voice_no_louder_than_steady_noise_wakes_at_any_gain(level_dbfs):
    room = noise(5.76, level_dbfs)
    detector = settled(room)
    voice = sum(tone(0.24, 420.0 * k, level_dbfs - 7.0).astype(int) for k in range(1, 6))
    assert active_hops(detector, (room[:HOP] + voice).astype(np.int16)) == [True]


@pytest.mark.parametrize("level_dbfs", [-80.0, -60.0, -40.0, -20.0])
def test_steady_noise_sleeps_at_any_level(level_dbfs):
    active = active_hops(ActivityDetector(ScriptedVad(0), 5.0), noise(120.0, level_dbfs))
    assert np.mean(active[HOLD_HOPS:]) < 0.02


def test_the_last_bit_of_a_converter_is_no_rise():
    flips = np.random.default_rng(0).integers(-1, 1, samples(5.0), endpoint=True)
    active = active_hops(ActivityDetector(ScriptedVad(0), 5.0), np.r_[silence(5.0), flips.astype(np.int16)])
    assert not any(active[HOLD_HOPS:])


def test_new_fan_is_learnt_within_a_quarter_of_a_minute():
    detector = settled(noise(5.0, -75.0))
    fan = active_hops(detector, noise(30.0, -62.0))
    assert fan[0]
    assert not any(fan[round(17.0 / 0.24) :])


def test_noise_that_comes_and_goes_keeps_it_open():
    t = np.arange(samples(30.0)) / 16_000
    surf = noise(30.0, -60.0) * 10.0 ** (np.sin(2.0 * np.pi * t / 9.0) / 2.0)
    active = active_hops(ActivityDetector(ScriptedVad(0), 5.0), surf.astype(np.int16))
    assert np.mean(active) > 0.5


def test_floor_falls_at_once():
    detector = ActivityDetector(ScriptedVad(0), 5.0)
    active_hops(detector, noise(5.0, -60.0))
    quiet = detector.process(noise(0.24, -80.0))
    assert quiet.floor_dbfs < -75.0


def test_mains_hum_does_not_hide_a_voice():
    hum = tone(10.0, 50.0, -40.0) + noise(10.0, -80.0)
    detector = ActivityDetector(ScriptedVad(0), 5.0)
    assert not any(active_hops(detector, hum)[HOLD_HOPS:])
    voice = tone(0.24, 800.0, -48.0) + hum[HOP * 30 : HOP * 31]
    assert detector.process(voice).active


def test_levels_of_a_known_tone():
    activity = ActivityDetector(ScriptedVad(0), 5.0).process(tone(0.24, 1000.0, -20.0))
    assert activity.level_dbfs == pytest.approx(-20.0, abs=0.05)
    assert activity.peak_dbfs == pytest.approx(-17.0, abs=0.05)


def test_dc_has_no_level():
    offset = (noise(0.24, -50.0) + 5000).astype(np.int16)
    assert ActivityDetector(ScriptedVad(0), 5.0).process(offset).level_dbfs == pytest.approx(-50.0, abs=0.3)


def test_digital_silence_is_the_floor_and_full_scale_square_is_zero():
    detector = ActivityDetector(ScriptedVad(0), 5.0)
    nothing = detector.process(silence(0.24))
    assert (nothing.level_dbfs, nothing.peak_dbfs, nothing.active) == (-100.0, -100.0, True)
    everything = detector.process(full_scale_square(0.24))
    assert everything.level_dbfs == pytest.approx(0.0, abs=0.01)
    assert everything.active


def test_most_negative_sample_does_not_overflow():
    assert ActivityDetector(ScriptedVad(0), 5.0).process(np.full(HOP, -32768, np.int16)).peak_dbfs == 0.0


def test_real_vad_hears_a_voice_and_not_silence():
    vad = Vad(2)
    assert vad.voiced_frames(silence(0.24)) == 0
    # A buzz with the harmonics and the rise of a voice.
    t = np.arange(HOP * 4) / 16000
    buzz = sum(np.sin(2 * np.pi * 150 * k * t) / k for k in range(1, 25))
    voice = (6000 * buzz * (0.6 + 0.4 * np.sin(2 * np.pi * 4 * t))).clip(-32768, 32767).astype(np.int16)
    assert vad.voiced_frames(voice) > len(voice) // 480 // 2
