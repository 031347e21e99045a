"""Resampling to 16 kHz: exact counts, the same whatever the chunks, and the tone survives."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.capture.resample import Resampler, saturated

RATES_HZ = [8_000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000]


def resampled(audio: np.ndarray, rate_hz: int, chunk: int) -> np.ndarray:
    resampler = Resampler(rate_hz)
    parts = [resampler.push(audio[i : i + chunk]) for i in range(0, len(audio), chunk)]
    output = np.concatenate([*parts, resampler.flush()])
    assert len(output) == resampler.given
    return output


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_a_tone_keeps_its_pitch_level_and_length(rate_hz: int) -> None:
    tone = (8_000 * np.sin(2 * np.pi * 440 * np.arange(rate_hz) / rate_hz)).astype(np.int16)
    output = resampled(tone, rate_hz, 4_096)
    expected = 8_000 * np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)
    assert abs(len(output) - 16_000) <= 1
    middle = slice(1_000, 15_000)  # the filter rings at a tone's sudden start and end
    assert np.abs(output[middle] - expected[middle]).max() < 8


@pytest.mark.parametrize("rate_hz", [22_050, 44_100, 48_000])
def test_what_16_khz_cannot_carry_is_gone_and_does_not_fold_back(rate_hz: int) -> None:
    hiss = (8_000 * np.sin(2 * np.pi * 10_000 * np.arange(rate_hz) / rate_hz)).astype(np.int16)
    assert np.abs(resampled(hiss, rate_hz, 4_096)[1_000:-1_000]).max() <= 2


@settings(max_examples=15, deadline=None)
@given(rate_hz=st.sampled_from(RATES_HZ), chunk=st.integers(1, 9_000), n_samples=st.integers(1, 12_000))
def test_chunks_do_not_change_the_output(rate_hz: int, chunk: int, n_samples: int) -> None:
    audio = np.random.default_rng(n_samples).normal(0, 9_000, n_samples)
    audio = audio.clip(-32_768, 32_767).astype(np.int16)
    output = resampled(audio, rate_hz, chunk)
    assert np.array_equal(output, resampled(audio, rate_hz, n_samples))
    assert abs(len(output) - n_samples * 16_000 / rate_hz) <= 1


def test_digital_silence_stays_digital_silence() -> None:
    assert not resampled(np.zeros(48_000, np.int16), 48_000, 4_800).any()


def test_16_khz_passes_untouched() -> None:
    audio = np.arange(-500, 500, dtype=np.int16)
    assert np.array_equal(resampled(audio, 16_000, 7), audio)


def test_needed_input_brings_the_output_to_the_mark() -> None:
    resampler = Resampler(48_000)
    for _ in range(20):
        needed = resampler.still_needed(3_840)
        if needed == 0:
            break
        resampler.push(np.zeros(needed, np.int16))
    assert resampler.given >= 3_840


def test_a_full_scale_square_saturates_instead_of_wrapping() -> None:
    square = np.where(np.arange(48_000) // 240 % 2, 32_767, -32_768).astype(np.int16)
    plateaus = resampled(square, 48_000, 4_800).reshape(-1, 80)[:, 40]
    # The steps ring beyond full scale; a sample that wrapped would have the wrong sign.
    assert (np.sign(plateaus) == np.where(np.arange(200) % 2, 1, -1)).all()


def test_rounding_and_clipping_to_int16() -> None:
    levels = np.array([0.4, 0.6, -0.6, 40_000, -40_000, 32_767.4], np.float32)
    assert saturated(levels).tolist() == [0, 1, -1, 32_767, -32_768, 32_767]
