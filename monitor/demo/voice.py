"""Voices by the source-filter model: an infant's cry, its breath, and an adult who talks.

A voice is a harmonic glottal source, evaluated harmonic by harmonic, times the magnitude of the vocal
tract at each harmonic (Fant 1960). Summing harmonics instead of filtering pulses keeps everything
below the Nyquist frequency without aliasing, and lets formants and pitch move freely.

What is known of cries and used here:

- An infant's vocal tract is about 7-8 cm long. As a tube closed at the glottis it resonates at
  c/4L, 3c/4L, 5c/4L, ... = about 1.1, 3.3, 5.5 and 7.7 kHz; measured first and second formants agree
  (Golub & Corwin 1982; LaGasse, Neal & Lester 2005).
- Basic cries of healthy newborns have f0 of 350-600 Hz with a rising-falling melody and last about
  0.6-1.5 s, followed by an audible inhalation (Wasz-Hoeckert, Lind, Vuorenkoski, Partanen & Valanne
  1968; LaGasse et al. 2005).
- Three kinds of sound occur: phonation, hyperphonation (a sudden break to about 1-2 kHz) and
  dysphonation (turbulent, noisy voice with period doubling) (Golub & Corwin 1982).

All samples here are float64, shape (n,), mono, 16 kHz, and near unit RMS while voiced.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from monitor.types import SAMPLE_RATE_HZ, samples

Signal = NDArray[np.float64]

TOP_HZ: Final = 7_600.0
"""Harmonics fade out below this, as in front of any 16 kHz converter."""

INFANT_FORMANTS_HZ: Final = (1_100.0, 3_300.0, 5_500.0, 7_700.0)
INFANT_BANDWIDTHS_HZ: Final = (160.0, 260.0, 420.0, 600.0)

ADULT_BANDWIDTHS_HZ: Final = (80.0, 100.0, 140.0, 250.0)
VOWELS_HZ: Final = (
    (730.0, 1_090.0, 2_440.0),
    (270.0, 2_290.0, 3_010.0),
    (570.0, 840.0, 2_410.0),
    (530.0, 1_840.0, 2_480.0),
    (300.0, 870.0, 2_240.0),
    (660.0, 1_720.0, 2_410.0),
)
"""First three formants of /a i o e u ae/, men's means of Peterson & Barney 1952."""


@dataclass(frozen=True, slots=True)
class Cry:
    """One expiration: its samples and the pitch that it was given, one value a sample."""

    samples: Signal
    f0_hz: Signal


def curve(n: int, *points: tuple[float, float]) -> Signal:
    """A smooth line through ``(share of the length, value)`` points, as ``n`` values."""
    at, values = zip(*points, strict=True)
    line = np.interp(np.linspace(0.0, 1.0, n), at, values)
    width = max(3, n // 25)
    padded = np.pad(line, width, mode="edge")
    kernel = np.hanning(width)
    return np.convolve(padded, kernel / kernel.sum(), mode="same")[width:-width]


def wander(n: int, step_s: float, rng: np.random.Generator) -> Signal:
    """Unit-variance noise that takes a new value every ``step_s`` and runs straight in between."""
    step = max(1, samples(step_s))
    knots = rng.standard_normal(n // step + 2)
    return np.interp(np.arange(n) / step, np.arange(len(knots)), knots)


def tract_gain(frequency_hz: Signal, formants_hz: Signal, bandwidths_hz: tuple[float, ...]) -> Signal:
    """Magnitude of a cascade of resonances, 1 at 0 Hz.

    ``formants_hz``: shape (n_formants,) or (n_formants, n) for formants that move.
    """
    attenuation = np.ones_like(frequency_hz)  # in power: one root at the end instead of one each
    for centre, width in zip(formants_hz, bandwidths_hz, strict=True):
        squared = np.square(frequency_hz / centre)
        attenuation = attenuation * (np.square(1.0 - squared) + squared * np.square(width / centre))
    return np.asarray(1.0 / np.sqrt(attenuation))


def voiced(
    f0_hz: Signal,
    formants_hz: Signal,
    bandwidths_hz: tuple[float, ...],
    *,
    tilt_db: Signal,
    shimmer: float,
    rng: np.random.Generator,
) -> Signal:
    """Harmonics of ``f0_hz`` through a vocal tract.

    ``formants_hz``: shape (n_formants, n). ``tilt_db``: dB an octave of source and lips together,
    shape (n,). ``shimmer``: relative standard deviation of each harmonic's amplitude.
    """
    n = len(f0_hz)
    phase = np.cumsum(f0_hz) * (2.0 * np.pi / SAMPLE_RATE_HZ)
    sound = np.zeros(n)
    for harmonic in range(1, int(TOP_HZ / f0_hz.min()) + 1):
        frequency = harmonic * f0_hz
        audible = np.clip((TOP_HZ - frequency) / 400.0, 0.0, 1.0)
        source = 10.0 ** (tilt_db * np.log2(harmonic) / 20.0)
        waver = 1.0 + shimmer * wander(n, 0.012, rng)
        gain = tract_gain(frequency, formants_hz, bandwidths_hz)
        sound += audible * source * waver * gain * np.sin(harmonic * phase + rng.uniform(0.0, 0.6))
    return unit_rms(sound)


def turbulence(
    n: int, formants_hz: Signal, bandwidths_hz: tuple[float, ...], rng: np.random.Generator
) -> Signal:
    """Breath noise through the same tract; ``formants_hz``: shape (n_formants,)."""
    spectrum = np.fft.rfft(rng.standard_normal(n))
    frequency: Signal = np.fft.rfftfreq(n, 1.0 / SAMPLE_RATE_HZ).astype(np.float64)
    # A jet of air is poor in lows: its pressure rises with frequency up to about 2 kHz.
    spectrum *= tract_gain(frequency, formants_hz, bandwidths_hz) * frequency / (frequency + 2_000.0)
    return unit_rms(np.fft.irfft(spectrum, n))


def unit_rms(sound: Signal) -> Signal:
    rms = float(np.sqrt(np.mean(sound**2)))
    return sound / rms


def unit_peak(sound: Signal) -> Signal:
    peak = float(np.abs(sound).max())
    return sound / peak


def cry(duration_s: float, f0_hz: float, effort: float, rng: np.random.Generator) -> Cry:
    """One expiration.

    ``f0_hz``: the plateau of the melody. ``effort`` in [0, 1]: from fussing to full cry; it raises
    the brightness and the odds of breaks and turbulence.
    """
    n = samples(duration_s)
    rough = _passage(n, rng) if rng.random() < 0.15 + 0.35 * effort else np.zeros(n)
    high = _passage(n, rng) if rng.random() < 0.08 + 0.12 * effort else np.zeros(n)
    f0 = _melody(n, f0_hz, rng)
    f0 *= 1.0 + 0.006 * wander(n, 0.004, rng) + 0.015 * wander(n, 0.05, rng)
    f0 *= 1.0 + 0.04 * rough * wander(n, 0.003, rng)
    f0 *= 1.0 + high * (rng.uniform(1_000.0, 1_500.0) / f0_hz - 1.0)

    opening = curve(n, (0.0, 0.62), (0.12, 1.0), (0.8, 1.0 + 0.1 * effort), (1.0, 0.7))
    tract = np.array(INFANT_FORMANTS_HZ) * rng.uniform(0.94, 1.06, 4)
    formants = tract[:, None] * np.stack([opening, 0.6 + 0.4 * opening, np.ones(n), np.ones(n)])
    # The source falls by 12 dB an octave when soft and 6 dB when pressed; the lips add 6 dB.
    tilt = np.full(n, -7.0 + 7.0 * effort) + 1.5 * wander(n, 0.08, rng)
    voice = voiced(f0, formants, INFANT_BANDWIDTHS_HZ, tilt_db=tilt, shimmer=0.08, rng=rng)
    halves = 1.0 + 0.5 * rough * np.sin(np.cumsum(f0) * (np.pi / SAMPLE_RATE_HZ))
    breath = turbulence(n, tract, INFANT_BANDWIDTHS_HZ, rng)
    sound = voice * halves * (1.0 - 0.45 * rough) + breath * (0.05 + 0.6 * rough)
    return Cry(sound * _breath_pressure(n, effort, rng), f0)


def inhalation(duration_s: float, rng: np.random.Generator) -> Signal:
    """The audible breath between two cries."""
    n = samples(duration_s)
    tract = np.array(INFANT_FORMANTS_HZ) * rng.uniform(0.9, 1.1, 4)
    envelope = curve(n, (0.0, 0.0), (0.55, 1.0), (0.8, 0.7), (1.0, 0.0))
    return turbulence(n, tract, (400.0, 500.0, 700.0, 900.0), rng) * envelope


def syllable(
    f0_hz: float, vowels: tuple[int, int], duration_s: float, tract: float, rng: np.random.Generator
) -> Signal:
    """A consonant of noise and a gliding vowel of an adult; ``tract`` scales the formants (men 1)."""
    n = samples(duration_s)
    start, stop = (np.array([*VOWELS_HZ[vowel], 3_500.0]) * tract for vowel in vowels)
    glide = curve(n, (0.0, 0.0), (0.25, 0.2), (0.8, 1.0), (1.0, 1.0))
    formants = start[:, None] + (stop - start)[:, None] * glide
    f0 = f0_hz * curve(n, (0.0, 0.97), (0.3, 1.04), (1.0, 0.92)) * (1.0 + 0.008 * wander(n, 0.008, rng))
    voice = voiced(f0, formants, ADULT_BANDWIDTHS_HZ, tilt_db=np.full(n, -7.0), shimmer=0.05, rng=rng)
    voice *= curve(n, (0.0, 0.0), (0.22, 0.15), (0.4, 1.0), (0.8, 0.8), (1.0, 0.0))
    hiss = turbulence(n, np.array([rng.uniform(2_500.0, 6_000.0)]), (1_800.0,), rng)
    return voice + hiss * 0.25 * curve(n, (0.0, 0.0), (0.1, 1.0), (0.25, 0.1), (0.35, 0.0), (1.0, 0.0))


def _melody(n: int, f0_hz: float, rng: np.random.Generator) -> Signal:
    rise, peak, fall = rng.uniform(0.08, 0.2), rng.uniform(0.3, 0.5), rng.uniform(0.75, 0.88)
    return f0_hz * curve(
        n,
        (0.0, rng.uniform(0.7, 0.85)),
        (rise, rng.uniform(0.95, 1.0)),
        (peak, rng.uniform(1.02, 1.12)),
        (fall, rng.uniform(0.9, 1.0)),
        (1.0, rng.uniform(0.6, 0.8)),
    )


def _breath_pressure(n: int, effort: float, rng: np.random.Generator) -> Signal:
    attack = 0.03 + 0.05 * (1.0 - effort)
    envelope = curve(n, (0.0, 0.0), (attack, 0.8), (0.35, 1.0), (0.8, 0.75), (1.0, 0.0))
    return envelope * np.maximum(0.2, 1.0 + 0.12 * wander(n, 0.06, rng))


def _passage(n: int, rng: np.random.Generator) -> Signal:
    """A smooth bump of 80-280 ms somewhere inside: 0 outside, 1 within."""
    width = min(samples(rng.uniform(0.08, 0.28)), n // 2)
    start = int(rng.integers(n // 8, max(n // 8 + 1, n - width - n // 8)))
    bump = np.zeros(n)
    bump[start : start + width] = np.minimum(1.0, 4.0 * np.hanning(width))
    return bump
