"""Levels, rooms and microphones: what lies between a clip and the audio that a monitor hears.

Pure functions on float32 mono audio of shape (n,) at 16 kHz, full scale 1. Chance comes in as a
``numpy.random.Generator``.
"""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np
import soxr
from numpy.typing import NDArray

from monitor.types import SAMPLE_RATE_HZ, SILENCE_DBFS

Audio = NDArray[np.float32]

FRAME_SAMPLES: Final = 320
"""20 ms, the grid of :func:`active_mask`."""
LOUD_PERCENTILE: Final = 95.0
FLOOR_PERCENTILE: Final = 10.0
FLOOR_MARGIN_DB: Final = 6.0
MIN_RANGE_DB: Final = 10.0
"""Frames this close to the loud parts are active whatever the floor is: a steady sound is all active."""
_BLOCK: Final = 1 << 15
_FIR_TAPS: Final = 255
_DIRECT_PATH: Final = 0.5
"""The direct path is the first sample of a response that reaches this share of its peak."""


def level_dbfs(x: Audio) -> float:
    """RMS level; a full-scale square is 0, silence and an empty array are SILENCE_DBFS."""
    power = float(np.mean(np.square(x, dtype=np.float64))) if len(x) else 0.0
    return max(float(SILENCE_DBFS), 10.0 * float(np.log10(power))) if power > 0.0 else float(SILENCE_DBFS)


def frame_levels_dbfs(x: Audio) -> NDArray[np.float64]:
    """RMS level of each 20 ms frame, shape (ceil(n / 320),); the last one may be shorter."""
    n_frames = -(-len(x) // FRAME_SAMPLES)
    power = np.zeros(n_frames * FRAME_SAMPLES)
    power[: len(x)] = np.square(x, dtype=np.float64)
    counts = np.full(n_frames, FRAME_SAMPLES)
    if n_frames:
        counts[-1] = len(x) - (n_frames - 1) * FRAME_SAMPLES
    means = power.reshape(n_frames, FRAME_SAMPLES).sum(axis=1) / counts
    return 10.0 * np.log10(np.maximum(means, 10.0 ** (SILENCE_DBFS / 10.0)))


def active_mask(
    x: Audio, *, range_db: float = 20.0, bridge_s: float = 0.3, min_run_s: float = 0.06
) -> NDArray[np.bool_]:
    """Which 20 ms frames of a clean clip hold its sound, shape (ceil(n / 320),).

    A frame is active within ``range_db`` of the clip's own loud parts and clear of its own floor. Runs
    shorter than ``min_run_s`` (clicks) are dropped first, unless nothing longer exists; then gaps shorter
    than ``bridge_s`` are filled, so that a breath does not end a cry. Digital silence is never active.
    """
    levels = frame_levels_dbfs(x)
    audible = levels > SILENCE_DBFS + 10.0
    if not audible.any():
        return np.zeros(len(levels), dtype=np.bool_)
    loud = np.percentile(levels[audible], LOUD_PERCENTILE)
    floor = np.percentile(levels[audible], FLOOR_PERCENTILE)
    threshold = max(loud - range_db, min(floor + FLOOR_MARGIN_DB, loud - MIN_RANGE_DB))
    mask: NDArray[np.bool_] = audible & (levels >= threshold)
    kept = _without_short_runs(mask, value=True, shorter_than=_frames(min_run_s))
    if kept.any():
        mask = kept
    return _bridged(mask, _frames(bridge_s))


def runs(mask: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Half-open ``(start, stop)`` of each run of True.

    >>> runs(np.array([True, False, True, True]))
    [(0, 1), (2, 4)]
    """
    edges = np.flatnonzero(np.diff(np.concatenate(([False], mask, [False])).astype(np.int8)))
    return [(int(start), int(stop)) for start, stop in edges.reshape(-1, 2)]


def active_level_dbfs(x: Audio, mask: NDArray[np.bool_] | None = None) -> float:
    """RMS level over the active frames only, so that pauses do not make a cry quieter."""
    frames = active_mask(x) if mask is None else mask
    chosen = np.repeat(frames, FRAME_SAMPLES)[: len(x)]
    return level_dbfs(x[chosen])


def at_level(x: Audio, dbfs: float, *, active: bool = False) -> Audio:
    """Scale to a level, of the whole clip or of its active frames. Silence stays silence."""
    now = active_level_dbfs(x) if active else level_dbfs(x)
    return x.copy() if now <= SILENCE_DBFS else gain(x, dbfs - now)


def gain(x: Audio, gain_db: float) -> Audio:
    """Make louder by ``gain_db``."""
    return x * np.float32(10.0 ** (gain_db / 20.0))


def convolve_rir(x: Audio, rir: Audio, *, tail: bool = False) -> Audio:
    """Put a clip into a room.

    The response is scaled to unit energy, which keeps the level about, and shifted so that its direct
    path lies at zero: onsets stay where they were. Length (n,), or with ``tail`` the room's decay after it.
    """
    peak = float(np.max(np.abs(rir)))
    direct = int(np.argmax(np.abs(rir) >= _DIRECT_PATH * peak))
    scaled = rir / np.float32(np.sqrt(np.sum(np.square(rir, dtype=np.float64))))
    wet = fft_convolve(x, scaled.astype(np.float32))[direct:]
    return wet if tail else wet[: len(x)]


def band_limit(x: Audio, cutoff_hz: float) -> Audio:
    """Low-pass with a linear-phase FIR, delay removed: a narrow-band phone (3.4-4 kHz) or a cheap microphone.

    Transition band about 350 Hz wide below ``cutoff_hz``; above it less than -70 dB is left.
    """
    half = _FIR_TAPS // 2
    return fft_convolve(x, _low_pass(cutoff_hz))[half : half + len(x)]


@cache
def _low_pass(cutoff_hz: float) -> Audio:
    # Blackman: the transition is 5.5 / taps of the rate wide, all of it below the cut-off.
    edge = cutoff_hz - 2.75 / _FIR_TAPS * SAMPLE_RATE_HZ
    n = np.arange(_FIR_TAPS) - _FIR_TAPS // 2
    taps = np.sinc(2.0 * edge / SAMPLE_RATE_HZ * n) * np.blackman(_FIR_TAPS)
    return (taps / taps.sum()).astype(np.float32)


def fft_convolve(x: Audio, h: Audio) -> Audio:
    """Full linear convolution, shape (n + m - 1,), by overlap-add; hours of audio need no huge FFT."""
    if len(x) == 0 or len(h) == 0:
        return np.zeros(max(0, len(x) + len(h) - 1), dtype=np.float32)
    step = max(_BLOCK, 1 << (len(h) - 1).bit_length())
    step = min(step, len(x))
    size = 1 << (step + len(h) - 2).bit_length()
    response = np.fft.rfft(h, size)
    y = np.zeros(len(x) + len(h) - 1, dtype=np.float32)
    for start in range(0, len(x), step):
        block = np.fft.irfft(np.fft.rfft(x[start : start + step], size) * response, size)
        stop = min(len(y), start + size)
        y[start:stop] += block[: stop - start].astype(np.float32)
    return y


def loop_to_length(x: Audio, n: int, crossfade: int, rng: np.random.Generator | None = None) -> Audio:
    """Repeat a background until it is ``n`` samples long, joints hidden by a crossfade of equal power.

    With ``rng`` it begins anywhere in the clip, else at its start.
    """
    if len(x) == 0:
        raise ValueError("an empty clip cannot be looped")
    fade = min(crossfade, len(x) // 2)
    start = int(rng.integers(len(x))) if rng is not None else 0
    loop = x.copy()
    if fade:
        # The loop's own end is folded into its beginning; it is then seamless at any phase.
        phase = np.linspace(0.0, np.pi / 2.0, fade, endpoint=False, dtype=np.float32)
        loop[:fade] = x[:fade] * np.sin(phase) + x[-fade:] * np.cos(phase)
        loop = loop[:-fade]
        if rng is None and n <= len(x) - fade:
            return x[:n].copy()
    positions = (start + np.arange(n)) % len(loop)
    return loop[positions]


def change_speed(x: Audio, factor: float) -> Audio:
    """Play ``factor`` times as fast: shorter and higher by it."""
    return np.asarray(soxr.resample(x, SAMPLE_RATE_HZ * factor, SAMPLE_RATE_HZ), dtype=np.float32)


def clip_hard(x: Audio, ceiling: float = 1.0) -> Audio:
    """Limit to ``±ceiling``, as an overdriven microphone input does."""
    return np.clip(x, -ceiling, ceiling)


def add_at(track: Audio, start: int, x: Audio) -> None:
    """Add ``x`` into ``track`` in place from ``start`` on; what lies outside the track is cut off."""
    first, last = max(0, start), min(len(track), start + len(x))
    if first < last:
        track[first:last] += x[first - start : last - start]


def _frames(duration_s: float) -> int:
    return round(duration_s * SAMPLE_RATE_HZ / FRAME_SAMPLES)


def _without_short_runs(mask: NDArray[np.bool_], *, value: bool, shorter_than: int) -> NDArray[np.bool_]:
    out = mask.copy()
    for start, stop in runs(mask == value):
        if stop - start < shorter_than:
            out[start:stop] = not value
    return out


def _bridged(mask: NDArray[np.bool_], shorter_than: int) -> NDArray[np.bool_]:
    """Fill gaps between two active runs; silence at either end of the clip is no gap."""
    active = np.flatnonzero(mask)
    if len(active) == 0:
        return mask
    first, last = active[0], active[-1] + 1
    out = mask.copy()
    out[first:last] = _without_short_runs(mask[first:last], value=False, shorter_than=shorter_than)
    return out
