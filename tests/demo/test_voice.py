"""The synthetic voices are where their sources put them."""

from __future__ import annotations

import numpy as np
import pytest

from monitor.demo import voice
from monitor.types import SAMPLE_RATE_HZ

FORMANTS = np.array(voice.INFANT_FORMANTS_HZ)


def pitch_hz(frame, low_hz, high_hz):
    """The strongest autocorrelation lag within the range: a measure that knows nothing of the source."""
    frame = frame - frame.mean()
    size = 2 * len(frame)
    correlation = np.fft.irfft(np.abs(np.fft.rfft(frame * np.hanning(len(frame)), size)) ** 2)
    lags = np.arange(int(SAMPLE_RATE_HZ / high_hz), int(SAMPLE_RATE_HZ / low_hz) + 1)
    return SAMPLE_RATE_HZ / lags[np.argmax(correlation[lags])]


def band_share(sound, low_hz, high_hz):
    power = np.abs(np.fft.rfft(sound)) ** 2
    frequency = np.fft.rfftfreq(len(sound), 1 / SAMPLE_RATE_HZ)
    return power[(frequency >= low_hz) & (frequency < high_hz)].sum() / power.sum()


@pytest.mark.parametrize("seed", range(6))
def test_cry_sounds_at_the_pitch_that_it_reports(seed):
    cry = voice.cry(1.0, 450.0, 0.3, np.random.default_rng(seed))
    errors = []
    for start in range(2_400, 13_000, 1_600):
        reported = cry.f0_hz[start : start + 800].mean()
        measured = pitch_hz(cry.samples[start : start + 800], 300.0, 650.0)
        errors.append(abs(measured / reported - 1.0))
    assert np.median(errors) < 0.04


def test_melody_rises_and_falls_within_the_range_of_basic_cries():
    for seed in range(10):
        f0 = voice.cry(1.0, 450.0, 0.0, np.random.default_rng(100 + seed)).f0_hz
        start, middle, end = (np.median(part) for part in (f0[:800], f0[5_000:9_000], f0[-800:]))
        assert start < middle
        assert end < middle
        assert 350.0 < np.median(f0) < 600.0


def test_some_cries_break_to_hyperphonation_and_most_do_not():
    broken = [
        voice.cry(0.6, 450.0, 1.0, np.random.default_rng(seed)).f0_hz.max() > 900.0 for seed in range(24)
    ]
    assert 2 <= sum(broken) <= 12


def test_no_two_cries_are_alike():
    rng = np.random.default_rng(0)
    first, second = (voice.cry(0.8, 450.0, 0.5, rng) for _ in range(2))
    assert np.abs(np.corrcoef(first.samples, second.samples)[0, 1]) < 0.3


def test_cry_has_its_energy_at_the_formants_of_an_infant():
    sound = voice.cry(1.2, 450.0, 1.0, np.random.default_rng(3)).samples
    assert band_share(sound, 300.0, 2_000.0) > 0.5
    assert band_share(sound, 2_600.0, 4_000.0) > 4.0 * band_share(sound, 4_200.0, 5_000.0)
    assert band_share(sound, 0.0, 250.0) < 0.02


def test_effort_makes_a_cry_brighter():
    faint, full = (_brightness(effort) for effort in (0.0, 1.0))
    assert full > 1.5 * faint


def _brightness(effort):
    cries = [voice.cry(0.8, 450.0, effort, np.random.default_rng(seed)).samples for seed in range(6)]
    return np.mean([band_share(sound, 2_000.0, 8_000.0) for sound in cries])


def test_tract_amplifies_at_its_formants_and_passes_zero_hertz():
    gain = voice.tract_gain(np.array([0.0, 1_100.0, 2_200.0]), FORMANTS, voice.INFANT_BANDWIDTHS_HZ)
    # One resonance alone has the gain centre/width at its centre: 1100/160 = 6.9; the others lift it.
    assert gain[0] == pytest.approx(1.0)
    assert 6.9 < gain[1] < 9.0
    assert gain[2] < 1.0


def test_nothing_folds_back_at_the_nyquist_frequency():
    n = 8_000
    f0 = np.linspace(1_000.0, 3_000.0, n)
    formants = np.repeat(FORMANTS[:, None], n, axis=1)
    sound = voice.voiced(
        f0,
        formants,
        voice.INFANT_BANDWIDTHS_HZ,
        tilt_db=np.zeros(n),
        shimmer=0.0,
        rng=np.random.default_rng(0),
    )
    sound *= np.hanning(n)  # so that the edges spread nothing
    assert band_share(sound, 7_700.0, 8_001.0) < 1e-4
    assert band_share(sound, 0.0, 800.0) < 1e-4


def test_breath_is_noise_without_a_pitch():
    breath = voice.inhalation(0.3, np.random.default_rng(0))
    spectrum = np.abs(np.fft.rfft(breath)) ** 2
    assert spectrum.max() / spectrum.mean() < 60.0  # a harmonic would stand out by hundreds
    assert band_share(breath, 800.0, 8_000.0) > 0.8


@pytest.mark.parametrize(("f0_hz", "tract"), [(118.0, 1.0), (195.0, 1.15)])
def test_adult_syllable_has_an_adults_pitch(f0_hz, tract):
    spoken = voice.syllable(f0_hz, (0, 3), 0.3, tract, np.random.default_rng(1))
    assert pitch_hz(spoken[2_000:3_600], 80.0, 300.0) == pytest.approx(f0_hz, rel=0.1)


def test_curve_goes_through_its_points():
    line = voice.curve(1_001, (0.0, 1.0), (0.5, 3.0), (1.0, 2.0))
    assert (line[0], line[1_000]) == pytest.approx((1.0, 2.0), abs=0.06)
    assert line[500] == pytest.approx(3.0, abs=0.06)
    assert len(line) == 1_001
