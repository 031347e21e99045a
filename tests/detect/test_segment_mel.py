from __future__ import annotations

import numpy as np
import pytest

from monitor.detect.segment_mel import (
    FRAME_HOP,
    N_BANDS,
    N_FFT,
    N_FRAMES,
    SEGMENT_SAMPLES,
    fingerprint,
    mel_bands,
    segment_mel,
)
from monitor.types import SAMPLE_RATE_HZ

FLOOR = (np.log(1e-5) + 4.5) / 5.0


def tone(hz: float, amplitude: float = 8000.0) -> np.ndarray:
    time = np.arange(SEGMENT_SAMPLES) / SAMPLE_RATE_HZ
    return np.rint(amplitude * np.sin(2 * np.pi * hz * time)).astype(np.int16)


def plainly(samples: np.ndarray, frame: int) -> np.ndarray:
    """One frame at 32 kHz by the published recipe, sample by sample: upsampled, emphasised, windowed."""
    spectrum = np.fft.rfft(samples / 32768.0)
    padded = np.concatenate([spectrum, np.zeros(len(samples) // 2)])
    doubled = np.fft.irfft(padded, 2 * len(samples)) * 2.0
    emphasised = doubled[1:] - 0.97 * doubled[:-1]
    start = 2 * (frame * FRAME_HOP + (N_FFT - 400) // 2)
    window = 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(800) / 799)
    power = np.abs(np.fft.rfft(emphasised[start : start + 800] * window, 1024)) ** 2
    bins = 1127.0 * np.log1p(np.arange(513) * 31.25 / 700.0)
    edges = np.linspace(0.0, 1127.0 * np.log1p(15_000.0 / 700.0), 130)
    bands = np.zeros(128)
    for band in range(128):
        left, centre, right = edges[band : band + 3]
        for k in range(512):
            height = min((bins[k] - left) / (centre - left), (right - bins[k]) / (right - centre))
            bands[band] += max(0.0, height) * power[k]
    return (np.log(bands + 1e-5) + 4.5) / 5.0


@pytest.mark.parametrize("hz", [440.0, 3000.0, 6500.0])
def test_bands_are_those_of_the_trunk_at_32_khz(hz):
    samples = tone(hz) + np.random.default_rng(0).normal(0, 300, SEGMENT_SAMPLES).astype(np.int16)
    ours, theirs = segment_mel(samples)[:, 100], plainly(samples, 100)
    # The interpolation's edge lies at 8 kHz, in band 104; the windows' skirts differ by half a sample.
    difference = np.abs(ours[:102] - theirs[:102])
    assert np.median(difference) < 0.005
    assert difference.max() < 0.2
    assert ours[:102].argmax() == theirs[:102].argmax()


def test_shape_and_silence():
    mel = segment_mel(np.zeros(SEGMENT_SAMPLES, np.int16))
    assert mel.shape == (N_BANDS, N_FRAMES)
    assert mel.dtype == np.float32
    np.testing.assert_allclose(mel, FLOOR, atol=1e-5)


def test_bands_above_the_microphone_stay_at_the_floor():
    loud = np.random.default_rng(1).integers(-30000, 30000, SEGMENT_SAMPLES).astype(np.int16)
    mel = segment_mel(loud)
    empty = mel_bands().sum(axis=0) == 0.0
    assert empty[105:].all()
    np.testing.assert_allclose(mel[empty], FLOOR, atol=1e-5)
    assert np.median(mel[~empty]) > FLOOR + 1.0


def test_another_length_is_no_segment():
    with pytest.raises(ValueError, match="38399 are no segment of 38400"):
        segment_mel(np.zeros(SEGMENT_SAMPLES - 1, np.int16))


def test_fingerprint_names_this_front_end():
    assert fingerprint() == fingerprint()
    assert len(fingerprint()) == 64
