"""What the detector decides depends on ratios, not on the microphone's gain."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from monitor.demo import room, voice
from monitor.detect.activity import HOP, ActivityDetector
from monitor.detect.loading import load_pipeline
from monitor.detect.settings import DetectorSettings
from monitor.detect.vad import Vad
from monitor.types import Block, EpisodeStarted, SampleIndex, samples

NOISE_DBFS = -45.0
"""So that neither -30 dB drowns in 16 bits nor +10 dB clips."""
CRY_FROM_S = 10.0
NOISES = ("white", "pink", "surf")

Signal = NDArray[np.float64]


def made_noise(name: str, n: int) -> Signal:
    rng = np.random.default_rng(7)
    wave = room.noise(n, {"white": 0.0}.get(name, 1.0), (40.0, 7900.0), rng)
    if name == "surf":
        wave = wave * 10.0 ** (0.25 * np.sin(2.0 * np.pi * np.arange(n) / samples(7.0)))
    return wave / np.sqrt(np.mean(wave**2))


@cache
def scene(noise: str, snr_db: float) -> Signal:
    """Ten seconds of noise, then crying for nine with pauses for breath; full scale 1."""
    rng = np.random.default_rng(3)
    cries = np.concatenate(
        [np.r_[voice.cry(1.0, 450.0, 0.9, rng).samples, np.zeros(samples(0.5))] for _ in range(6)]
    )
    cries /= np.sqrt(np.mean(cries[np.abs(cries) > 0.05 * np.abs(cries).max()] ** 2))
    wave = made_noise(noise, samples(CRY_FROM_S) + len(cries) + samples(3.0))
    wave[samples(CRY_FROM_S) : samples(CRY_FROM_S) + len(cries)] += cries * 10.0 ** (snr_db / 20.0)
    return np.asarray(wave * 10.0 ** (NOISE_DBFS / 20.0))


def at_gain(wave: Signal, gain_db: float) -> NDArray[np.int16]:
    scaled = np.rint(wave * 32768.0 * 10.0 ** (gain_db / 20.0))
    assert np.abs(scaled).max() < 32768, "the test's own scene clips"
    return scaled.astype(np.int16)


def awake(audio: NDArray[np.int16]) -> NDArray[np.bool_]:
    stage = ActivityDetector(Vad(2), DetectorSettings().level_margin_db)
    return np.array([stage.process(audio[k : k + HOP]).active for k in range(0, len(audio) - HOP + 1, HOP)])


def onsets_s(audio: NDArray[np.int16], *, always_awake: bool = False) -> list[float]:
    pipeline = load_pipeline(DetectorSettings(always_awake=always_awake, classify=False))
    outputs = pipeline.process(Block(SampleIndex(0), audio)) + pipeline.flush()
    return [output.detected / 16_000 for output in outputs if isinstance(output, EpisodeStarted)]


@settings(max_examples=40, deadline=None)
@given(
    noise=st.sampled_from(NOISES),
    snr_db=st.sampled_from([0.0, 5.0, 15.0]),
    gain_db=st.floats(-30.0, 10.0),
)
@example(noise="white", snr_db=0.0, gain_db=-30.0)
@example(noise="white", snr_db=5.0, gain_db=10.0)
def test_the_gate_wakes_for_the_same_hops_at_any_gain(noise, snr_db, gain_db):
    wave = scene(noise, snr_db)
    reference, scaled = awake(at_gain(wave, 0.0)), awake(at_gain(wave, gain_db))
    # Rounding to 16 bits may move a hop that lies at the very threshold, and with it a hold of six.
    assert np.sum(reference != scaled) <= 7
    first, last = round(CRY_FROM_S / 0.24) + 1, round((CRY_FROM_S + 8.5) / 0.24)
    assert scaled[first:last].all()


@pytest.mark.parametrize("gain_db", [-30.0, -20.0, -10.0, 0.0, 10.0])
@pytest.mark.parametrize("noise", NOISES)
def test_the_same_crying_is_raised_at_any_gain(noise, gain_db):
    audio = at_gain(scene(noise, 5.0), gain_db)
    asleep, always = onsets_s(audio), onsets_s(audio, always_awake=True)
    assert len(asleep) == len(always) == 1
    # A gate that was woken remembers a second less than one that never slept; no more than a cry may pass.
    assert CRY_FROM_S < asleep[0] <= always[0] + 1.5
