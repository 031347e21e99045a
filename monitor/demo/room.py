"""A room and the things in it that are not the baby: noise, echoes, a door, a kettle, a toy.

Samples are float64, shape (n,), mono, 16 kHz; the things peak near 1.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from monitor.demo.voice import Signal, curve, syllable, unit_peak, unit_rms, wander
from monitor.types import SAMPLE_RATE_HZ, samples

EARLY_REFLECTIONS: Final = 7
REVERBERATION_S: Final = 0.32
"""Time to fall by 60 dB, that of a furnished bedroom."""


def noise(n: int, slope: float, band_hz: tuple[float, float], rng: np.random.Generator) -> Signal:
    """Noise of unit RMS whose power falls as f**-slope between soft band edges."""
    spectrum = np.fft.rfft(rng.standard_normal(n))
    frequency = np.maximum(np.fft.rfftfreq(n, 1.0 / SAMPLE_RATE_HZ), 1.0)
    low, high = band_hz
    spectrum *= frequency ** (-slope / 2.0)
    spectrum /= np.sqrt((1.0 + (low / frequency) ** 4) * (1.0 + (frequency / high) ** 4))
    sound = np.fft.irfft(spectrum, n)
    return unit_rms(sound)


def room_tone(n: int, rng: np.random.Generator) -> Signal:
    """Quiet room of unit RMS: nearly pink air, and a fan's blades and motor hum below."""
    air = noise(n, 1.3, (60.0, 2_500.0), rng) * (1.0 + 0.08 * wander(n, 1.5, rng))
    time = np.arange(n) / SAMPLE_RATE_HZ
    hum = sum(
        share * np.sin(2.0 * np.pi * hertz * time + rng.uniform(0.0, 2.0 * np.pi))
        for hertz, share in ((100.0, 0.30), (137.0, 0.22), (274.0, 0.10), (411.0, 0.05))
    )
    tone = air + hum
    return unit_rms(tone)


def impulse_response(distance_gain: float, rng: np.random.Generator) -> Signal:
    """Direct sound, a handful of early reflections and an exponentially decaying diffuse tail.

    ``distance_gain`` is the direct sound against the tail; 1 stands beside the microphone.
    """
    n = samples(REVERBERATION_S * 1.2)
    time = np.arange(n) / SAMPLE_RATE_HZ
    decay = 10.0 ** (-3.0 * time / REVERBERATION_S)
    # Air and fabric take the highs first, so the tail is darker than the direct sound.
    tail = noise(n, 0.8, (120.0, 3_500.0), rng) * decay * (time > 0.004)
    response = 0.018 * tail
    for delay_s in rng.uniform(0.003, 0.028, EARLY_REFLECTIONS):
        response[samples(delay_s)] += (
            rng.choice((-1.0, 1.0)) * rng.uniform(0.08, 0.22) * (1.0 - delay_s / 0.05)
        )
    response[0] = distance_gain
    return response


def reverberate(sound: Signal, response: Signal) -> Signal:
    """``sound`` as heard in the room, at its own length: the scene leaves space for the tail."""
    n = len(sound) + len(response) - 1
    size = 1 << (n - 1).bit_length()
    heard: Signal = np.fft.irfft(np.fft.rfft(sound, size) * np.fft.rfft(response, size), size)
    return heard[: len(sound)]


def talk(duration_s: float, f0_hz: float, tract: float, rng: np.random.Generator) -> Signal:
    """Speech-like babble: phrases of syllables at about four a second, with pauses."""
    n = samples(duration_s)
    sound = np.zeros(n)
    at, left_in_phrase, pitch = 0, 0, f0_hz
    while True:
        if left_in_phrase == 0:
            at += samples(rng.uniform(0.25, 0.6)) if at else 0
            left_in_phrase, pitch = int(rng.integers(4, 9)), f0_hz * rng.uniform(1.05, 1.25)
        length_s = float(rng.uniform(0.17, 0.3))
        if at + samples(length_s) > n:
            return unit_peak(sound)
        first, second = (int(vowel) for vowel in rng.integers(0, 6, 2))
        spoken = syllable(pitch, (first, second), length_s, tract, rng)
        sound[at : at + len(spoken)] += spoken * rng.uniform(0.6, 1.0)
        # Pitch drifts down through a phrase (declination).
        at, left_in_phrase, pitch = at + int(0.94 * len(spoken)), left_in_phrase - 1, pitch * 0.965


def door(rng: np.random.Generator) -> Signal:
    """A door that falls shut: the latch clicks, the leaf thumps, the wall rings briefly."""
    n = samples(0.9)
    time = np.arange(n) / SAMPLE_RATE_HZ
    latch = _knocks(n, (0.05, 0.11), (1_400.0, 2_300.0, 3_700.0), 0.012, rng)
    thump = sum(
        share * np.sin(2.0 * np.pi * hertz * time) * np.exp(-time / decay_s)
        for hertz, share, decay_s in ((58.0, 1.0, 0.12), (91.0, 0.7, 0.08), (163.0, 0.45, 0.05))
    )
    slap = noise(n, 1.0, (90.0, 1_800.0), rng) * np.exp(-time / 0.03)
    hit = samples(0.13)
    sound = 0.25 * latch
    sound[hit:] += (thump + 0.5 * slap)[: n - hit]
    return unit_peak(sound)


def clatter(duration_s: float, rng: np.random.Generator) -> Signal:
    """A wooden toy that falls and rolls: hits that come faster and softer."""
    n = samples(duration_s)
    times, at, wait = [], 0.02, 0.32
    while at < duration_s - 0.1:
        times.append(at)
        at, wait = at + wait * rng.uniform(0.85, 1.15), max(0.07, wait * 0.86)
    sound = _knocks(n, tuple(times), (820.0, 1_450.0, 2_310.0, 3_640.0), 0.018, rng)
    sound *= curve(n, (0.0, 1.0), (0.5, 0.5), (1.0, 0.15))
    return unit_peak(sound)


def rustle(duration_s: float, rng: np.random.Generator) -> Signal:
    """Sheets and clothes: high noise in irregular strokes."""
    n = samples(duration_s)
    strokes = np.maximum(0.0, wander(n, 0.09, rng)) * curve(n, (0.0, 0.0), (0.1, 1.0), (0.9, 1.0), (1.0, 0.0))
    sound = noise(n, 0.0, (1_500.0, 6_000.0), rng) * strokes
    return unit_peak(sound)


def kettle(duration_s: float, rng: np.random.Generator) -> Signal:
    """A whistling kettle: steam, then one steady tone that climbs and stays."""
    n = samples(duration_s)
    f0 = 2_150.0 * curve(n, (0.0, 0.72), (0.35, 0.98), (0.6, 1.0), (1.0, 1.0))
    phase = 2.0 * np.pi * np.cumsum(f0 * (1.0 + 0.002 * wander(n, 0.02, rng))) / SAMPLE_RATE_HZ
    tone = np.sin(phase) + 0.12 * np.sin(2.0 * phase) + 0.05 * np.sin(3.0 * phase)
    steam = noise(n, 0.0, (1_000.0, 7_000.0), rng)
    swell = curve(n, (0.0, 0.0), (0.3, 0.6), (0.85, 1.0), (1.0, 0.0))
    sound = (tone * swell + 0.12 * steam) * curve(n, (0.0, 0.0), (0.1, 1.0), (0.9, 1.0), (1.0, 0.0))
    return unit_peak(sound)


def _knocks(
    n: int, times_s: tuple[float, ...], modes_hz: tuple[float, ...], decay_s: float, rng: np.random.Generator
) -> Signal:
    time = np.arange(samples(0.15)) / SAMPLE_RATE_HZ
    sound = np.zeros(n + len(time))
    for at in times_s:
        for mode in modes_hz:
            hertz, strength = mode * rng.uniform(0.93, 1.07), rng.uniform(0.2, 1.0)
            knock = (
                strength
                * np.sin(2.0 * np.pi * hertz * time)
                * np.exp(-time / (decay_s * rng.uniform(0.5, 1.5)))
            )
            sound[samples(at) : samples(at) + len(time)] += knock
    return sound[:n]
