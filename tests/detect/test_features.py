from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.detect import features
from monitor.detect.features import FRAME_HOP, N_FFT, N_MELS, OVERLAP, LogMel, log_mel, mel_filters
from tests.signals import full_scale_square, noise, silence, tone


def plain_log_mel(samples: np.ndarray) -> np.ndarray:
    """The definition, frame by frame and bin by bin, in double precision."""
    padded = np.concatenate([np.zeros(OVERLAP), samples.astype(float)])
    n = np.arange(N_FFT)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * n / N_FFT)
    scale = 2.0 / window.sum() / 32768.0
    filters = mel_filters()
    rows = []
    for k in range(len(samples) // FRAME_HOP):
        frame = padded[k * FRAME_HOP : k * FRAME_HOP + N_FFT] * window * scale
        power = [abs(np.sum(frame * np.exp(-2j * np.pi * b * n / N_FFT))) ** 2 for b in range(N_FFT // 2 + 1)]
        rows.append([np.log(np.dot(power, filters[:, m]) + 1e-8) for m in range(N_MELS)])
    return (np.array(rows) + 11.0) / 5.0


def test_frames_equal_the_plain_definition():
    samples = noise(0.2, -30.0)
    assert np.abs(log_mel(samples) - plain_log_mel(samples)).max() < 1e-3


def test_full_scale_tone_reaches_power_one_in_its_own_band():
    # 1 kHz is bin 32 exactly; its band spreads the power over the filter's bins.
    frames = log_mel(tone(1.0, 1000.0, -3.01))[5:]
    band = frames.mean(axis=0).argmax()
    weight = mel_filters()[31:34, band] @ np.array([0.25, 1.0, 0.25])
    assert frames[:, band].mean() == pytest.approx((np.log(weight) + 11.0) / 5.0, abs=0.01)


def test_every_band_hears_something():
    filters = mel_filters()
    assert filters.shape == (N_FFT // 2 + 1, N_MELS)
    assert np.allclose(filters.sum(axis=0), 1.0)
    # White noise: equal density everywhere, so no band is deaf or deafening.
    assert np.ptp(log_mel(noise(20.0, -30.0)).mean(axis=0)) < 0.15


@settings(max_examples=25)
@given(cuts=st.lists(st.integers(0, 40), max_size=6))
def test_portions_do_not_matter(cuts):
    samples = noise(0.8, -40.0)
    whole = log_mel(samples)
    stream, parts, position = LogMel(), [], 0
    for cut in [*cuts, 10**6]:
        stop = min(position + cut * FRAME_HOP, len(samples))
        parts.append(stream.process(samples[position:stop]))
        position = stop
    # The matrix product's order of summation depends on the number of rows: equal but for rounding.
    assert np.allclose(np.concatenate(parts), whole, atol=1e-5)


def test_reset_takes_the_past_along():
    samples = noise(0.8, -40.0)
    late = LogMel()
    late.reset(samples[: 10 * FRAME_HOP])
    assert np.allclose(late.process(samples[10 * FRAME_HOP :]), log_mel(samples)[10:], atol=1e-5)


def test_dc_offset_is_not_heard():
    hum_free = log_mel(noise(1.0, -50.0))
    shifted = log_mel((noise(1.0, -50.0) + 8000).astype(np.int16))
    assert np.abs(hum_free[2:] - shifted[2:]).max() < 0.05


@pytest.mark.parametrize("samples", [silence(1.0), full_scale_square(1.0), np.full(16000, -32768, np.int16)])
def test_degenerate_audio_stays_finite(samples):
    frames = log_mel(samples)
    assert np.isfinite(frames).all()
    assert -1.6 < frames.min() <= frames.max() < 2.5


def test_ragged_run_is_refused():
    with pytest.raises(ValueError, match="321 is not a multiple of 320"):
        LogMel().process(np.zeros(321, np.int16))


def test_fingerprint_is_the_same_on_every_processor():
    """No rounded value lies so near a rounding edge that another processor's last digit tips it."""
    position = np.arange(8000)
    chirp = 8000.0 * np.sin(2e-4 * position**1.9) + 200.0 * np.sign(np.sin(0.37 * position))
    means = (
        log_mel(np.rint(chirp).astype(np.int16)).mean(axis=0, dtype=np.float64) * features.FINGERPRINT_SCALE
    )
    assert np.abs(means - np.floor(means) - 0.5).min() > 1e-3


def test_fingerprint_changes_with_the_front_end(monkeypatch):
    before = features.fingerprint()
    monkeypatch.setattr(features, "MEL_HIGH_HZ", 7500.0)
    assert features.fingerprint() != before
