"""Sounds that are mistaken for a cry, synthesised: miaows, bleats, laughter, singing, horns, sirens.

Recordings of these whose licence lets them teach a released model are scarce (15 cats, no sheep, no
singing, no baby's laughter), and they are what a gate raises false alarms on. These have a cry's pitch
and harmonics but not its melody, its breath or its rhythm. Built from the voices of the demonstration.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from monitor.demo.voice import (
    ADULT_BANDWIDTHS_HZ,
    VOWELS_HZ,
    Signal,
    curve,
    turbulence,
    voiced,
    wander,
)
from monitor.types import SAMPLE_RATE_HZ, samples

SCALE = (0, 2, 4, 5, 7, 9, 11, 12)
"""Semitones of the major scale."""


def lookalike(rng: np.random.Generator) -> NDArray[np.float32]:
    """One to six seconds of one kind, float32 (n,), 16 kHz, near unit RMS while it sounds."""
    kind = KINDS[int(rng.integers(len(KINDS)))]
    return kind(rng).astype(np.float32)


def miaows(rng: np.random.Generator) -> Signal:
    """A cat: one to four calls whose vowel opens and closes."""
    base, size = rng.uniform(280.0, 750.0), rng.uniform(0.9, 1.3)
    calls = []
    for _ in range(int(rng.integers(1, 5))):
        n = samples(rng.uniform(0.35, 1.3))
        peak = rng.uniform(0.2, 0.6)
        pitch = curve(
            n, (0.0, rng.uniform(0.6, 0.95)), (peak, rng.uniform(1.0, 1.3)), (1.0, rng.uniform(0.5, 0.9))
        )
        mouth = curve(n, (0.0, 0.0), (peak, 1.0), (1.0, 0.1))
        formants = size * np.stack([600.0 + 500.0 * mouth, 1_100.0 + 1_100.0 * mouth, np.full(n, 3_200.0)])
        calls += [_voice(base * pitch, formants, rng) * _swell(n, rng), _pause(0.4, 2.5, rng)]
    return np.concatenate(calls[:-1])


def bleats(rng: np.random.Generator) -> Signal:
    """A sheep or a goat: a level pitch that trembles."""
    base = rng.uniform(180.0, 480.0)
    calls = []
    for _ in range(int(rng.integers(1, 4))):
        n = samples(rng.uniform(0.5, 1.6))
        tremble = np.sin(2.0 * np.pi * rng.uniform(5.0, 11.0) * np.arange(n) / SAMPLE_RATE_HZ)
        pitch = (
            base * curve(n, (0.0, 0.95), (0.2, 1.05), (1.0, rng.uniform(0.8, 1.0))) * (1.0 + 0.04 * tremble)
        )
        formants = np.stack([np.full(n, f * rng.uniform(0.9, 1.1)) for f in (700.0, 1_700.0, 2_700.0)])
        call = _voice(pitch, formants, rng) * (1.0 + rng.uniform(0.3, 0.7) * tremble)
        calls += [call * _swell(n, rng), _pause(0.4, 2.5, rng)]
    return np.concatenate(calls[:-1])


def laughter(rng: np.random.Generator) -> Signal:
    """Short breathy vowels, four to six a second, falling; from a man's voice to a baby's."""
    tract, base = rng.uniform(1.0, 1.7), rng.uniform(170.0, 600.0)
    vowel = np.array(VOWELS_HZ[int(rng.integers(len(VOWELS_HZ)))]) * tract
    parts = []
    for _ in range(int(rng.integers(1, 4))):
        n_syllables, rate = int(rng.integers(3, 13)), rng.uniform(4.0, 6.0)
        for k in range(n_syllables):
            n = samples(1.0 / rate)
            pitch = base * (1.15 - 0.4 * k / n_syllables) * curve(n, (0.0, 1.1), (1.0, rng.uniform(0.8, 1.0)))
            envelope = curve(n, (0.0, 0.0), (0.15, 0.2), (0.3, 1.0), (0.6, 0.6), (0.8, 0.0), (1.0, 0.0))
            breath = turbulence(n, vowel, (200.0, 300.0, 400.0), rng) * rng.uniform(0.05, 0.3)
            formants = np.repeat(vowel[:, None], n, axis=1)
            parts.append((_voice(pitch, formants, rng) + breath) * envelope * (1.0 - 0.6 * k / n_syllables))
        parts.append(_pause(0.2, 1.2, rng))
    return np.concatenate(parts[:-1])


def song(rng: np.random.Generator) -> Signal:
    """A voice on the notes of a scale, with or without vibrato."""
    tract, tonic = rng.uniform(1.0, 1.5), rng.uniform(130.0, 480.0)
    depth, rate = rng.uniform(0.0, 0.03), rng.uniform(4.5, 6.5)
    notes = []
    for _ in range(int(rng.integers(3, 12))):
        n = samples(rng.uniform(0.2, 1.1))
        vowel = np.array(VOWELS_HZ[int(rng.integers(len(VOWELS_HZ)))]) * tract
        vibrato = 1.0 + depth * np.sin(2.0 * np.pi * rate * np.arange(n) / SAMPLE_RATE_HZ)
        pitch = tonic * 2.0 ** (SCALE[int(rng.integers(len(SCALE)))] / 12.0) * vibrato
        notes.append(_voice(pitch, np.repeat(vowel[:, None], n, axis=1), rng) * _swell(n, rng))
    return np.concatenate(notes)


def horn(rng: np.random.Generator) -> Signal:
    """A car's horn, a flute, strings: steady tones of rich spectrum, one or a melody."""
    base = rng.uniform(200.0, 900.0)
    tones = []
    for _ in range(int(rng.integers(1, 7))):
        n = samples(rng.uniform(0.15, 1.5))
        step = SCALE[int(rng.integers(len(SCALE)))] if rng.random() < 0.5 else 0
        pitch = np.full(n, base * 2.0 ** (step / 12.0)) * (1.0 + rng.uniform(0.0, 0.01) * wander(n, 0.1, rng))
        formants = np.repeat(np.array([[rng.uniform(800.0, 3_000.0)]]), n, axis=1)
        tone = voiced(
            pitch, formants, (rng.uniform(800.0, 3_000.0),), tilt_db=np.full(n, rng.uniform(-9.0, -1.0)),
            shimmer=0.02, rng=rng,
        )  # fmt: skip
        tones += [tone * curve(n, (0.0, 0.0), (0.05, 1.0), (0.9, 0.9), (1.0, 0.0)), _pause(0.02, 0.6, rng)]
    return np.concatenate(tones[:-1])


def siren(rng: np.random.Generator) -> Signal:
    """A pitch that goes up and down, slowly or in two notes."""
    n = samples(rng.uniform(2.0, 6.0))
    turn = np.sin(2.0 * np.pi * rng.uniform(0.2, 3.0) * np.arange(n) / SAMPLE_RATE_HZ)
    turn = np.sign(turn) if rng.random() < 0.4 else turn
    pitch = rng.uniform(450.0, 1_000.0) * 2.0 ** (rng.uniform(0.15, 0.7) * turn)
    formants = np.repeat(np.array([[rng.uniform(1_000.0, 3_000.0)]]), n, axis=1)
    tilt = np.full(n, rng.uniform(-12.0, -3.0))
    return voiced(pitch, formants, (1_500.0,), tilt_db=tilt, shimmer=0.01, rng=rng)


KINDS: tuple[Callable[[np.random.Generator], Signal], ...] = (miaows, bleats, laughter, song, horn, siren)


def _voice(pitch: Signal, formants: Signal, rng: np.random.Generator) -> Signal:
    n = len(pitch)
    pitch = pitch * (1.0 + 0.006 * wander(n, 0.008, rng))
    tilt = np.full(n, rng.uniform(-9.0, -2.0))
    widths = ADULT_BANDWIDTHS_HZ[: len(formants)]
    return voiced(pitch, formants, widths, tilt_db=tilt, shimmer=0.06, rng=rng)


def _swell(n: int, rng: np.random.Generator) -> Signal:
    return curve(n, (0.0, 0.0), (rng.uniform(0.05, 0.3), 1.0), (rng.uniform(0.5, 0.9), 0.8), (1.0, 0.0))


def _pause(shortest_s: float, longest_s: float, rng: np.random.Generator) -> Signal:
    return np.zeros(samples(rng.uniform(shortest_s, longest_s)))
