"""Noise, echoes and things that are not the baby."""

from __future__ import annotations

import numpy as np
import pytest

from monitor.demo import room
from monitor.types import SAMPLE_RATE_HZ
from tests.demo.test_voice import band_share


def rng(seed=0):
    return np.random.default_rng(seed)


def test_response_decays_by_sixty_decibels_in_the_stated_time():
    energy = np.cumsum(np.mean([room.impulse_response(0.0, rng(s)) ** 2 for s in range(8)], axis=0)[::-1])[
        ::-1
    ]
    decay_db = 10 * np.log10(energy / energy[0] + 1e-12)
    time = np.arange(len(energy)) / SAMPLE_RATE_HZ
    late = (time > 0.04) & (time < 0.16)  # behind the early reflections
    slope = np.polyfit(time[late], decay_db[late], 1)[0]
    assert -60.0 / slope == pytest.approx(room.REVERBERATION_S, rel=0.2)


def test_reverberation_is_a_convolution():
    response = np.array([1.0, 0.0, 0.5])
    heard = room.reverberate(np.array([1.0, 2.0, 0.0, 0.0]), response)
    assert heard == pytest.approx([1.0, 2.0, 0.5, 1.0])


def test_pink_noise_has_equal_power_in_every_octave():
    sound = room.noise(160_000, 1.0, (1.0, 1e9), rng())
    octaves = [band_share(sound, low, 2 * low) for low in (250.0, 500.0, 1_000.0, 2_000.0)]
    assert max(octaves) / min(octaves) < 1.15


def test_fan_hums_in_the_room_tone():
    tone = room.room_tone(160_000, rng())
    assert band_share(tone, 99.0, 101.0) > 8.0 * band_share(tone, 110.0, 112.0)
    assert np.sqrt(np.mean(tone**2)) == pytest.approx(1.0)


def test_speech_has_syllables_at_about_four_a_second_and_pauses():
    sound = room.talk(12.0, 195.0, 1.15, rng())
    envelope = np.sqrt(np.convolve(sound**2, np.ones(800) / 800, mode="same"))[::160]
    spectrum = np.abs(np.fft.rfft(envelope - envelope.mean()))
    rate_hz = np.fft.rfftfreq(len(envelope), 0.01)
    rhythm = (rate_hz > 2.5) & (rate_hz < 12.0)
    assert 3.2 < rate_hz[rhythm][np.argmax(spectrum[rhythm])] < 6.0
    assert np.mean(envelope < 0.1 * envelope.max()) > 0.05


def test_door_thumps_low():
    sound = room.door(rng())
    assert band_share(sound, 0.0, 400.0) > 0.8
    assert np.abs(sound[-1_600:]).max() < 0.05


def test_kettle_ends_in_one_steady_tone():
    sound = room.kettle(3.0, rng())
    for start in (32_000, 36_000):
        spectrum = np.abs(np.fft.rfft(sound[start : start + 4_000] * np.hanning(4_000)))
        assert np.argmax(spectrum) * SAMPLE_RATE_HZ / 4_000 == pytest.approx(2_150.0, rel=0.03)


def test_clatter_is_hits_that_come_faster():
    sound = room.clatter(2.0, rng())
    envelope = np.convolve(np.abs(sound), np.ones(160) / 160, mode="same")
    local = 0.2 * np.maximum.reduce([np.roll(envelope, shift) for shift in (-3_200, 0, 3_200)])
    hits = np.flatnonzero((envelope[1:] > local[1:]) & (envelope[:-1] <= local[:-1]))
    assert len(hits) > 8
    assert np.median(np.diff(hits)[:3]) > 1.5 * np.median(np.diff(hits)[-3:])


@pytest.mark.parametrize(
    "make",
    [room.door, lambda r: room.rustle(1.0, r), lambda r: room.kettle(2.0, r), lambda r: room.clatter(1.0, r)],
)
def test_things_peak_at_one(make):
    assert np.abs(make(rng())).max() == pytest.approx(1.0)
