"""What an hour sounds like when nothing happens: floors of quiet rooms, noise machines, recordings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, Literal

import numpy as np

from models.training import mixing
from models.training.corpus import AudioStore, Clip
from models.training.mixing import FRAME_SAMPLES, Audio
from monitor.types import samples, seconds

BACKGROUND_LABELS: Final = frozenset(
    {"airplane", "ambient", "brown_noise", "clock", "dryer", "fan", "pink_noise", "rain", "sea_waves"}
    | {"traffic", "train", "vacuum", "washing_machine", "water", "white_noise", "wind"}
)
"""Sounds that go on for long in a home."""

QUIET_DBFS: Final = (-72.0, -55.0)
LOUD_DBFS: Final = (-62.0, -40.0)
SELF_NOISE_DBFS: Final = -80.0
"""White noise of the microphone itself, always there: no track is digitally silent."""
KINDS: Final = (("quiet", 0.35), ("noise_machine", 0.15), ("recording", 0.5))
"""What a stretch of background is, with its probability."""
STRETCHES: Final = (1, 4)
CROSSFADE_S: Final = 2.0
JOINT_S: Final = 0.5
COLOURS: Final = (0.0, 1.0, 2.0)
"""Noise machines: power falls with the frequency to this exponent (white, pink, brown)."""
FLOOR_COLOURS: Final = (0.5, 1.5)
NOISE_LOW_HZ: Final = 40.0
NOISE_LOOP_S: Final = 120.0
REPEATS: Final = 3
"""A short recording comes up to so many times before the next one of its label."""


@dataclass(frozen=True, slots=True)
class Texture:
    """All recordings of one background label, without their silent padding."""

    label: str
    clips: Sequence[Audio]
    names: Sequence[str]


def is_background(clip: Clip) -> bool:
    """Whether a clip may be looped as a background."""
    return clip.label in BACKGROUND_LABELS


def background_textures(clips: Sequence[Clip], store: AudioStore) -> list[Texture]:
    """The clips by label, in label order."""
    textures = []
    for label in sorted({clip.label for clip in clips}):
        own = [clip for clip in clips if clip.label == label]
        heard = [(without_silent_edges(store.samples(clip)), clip.path) for clip in own]
        kept = [(x, name) for x, name in heard if len(x) >= samples(1.0)]
        if kept:
            textures.append(Texture(label, [x for x, _ in kept], [name for _, name in kept]))
    return textures


def without_silent_edges(x: Audio) -> Audio:
    """Cut digital padding off: looped, it would be a rhythm that no home has."""
    audible = np.flatnonzero(mixing.frame_levels_dbfs(x) > -85.0)
    return x[audible[0] * FRAME_SAMPLES : (audible[-1] + 1) * FRAME_SAMPLES] if len(audible) else x[:0]


def coloured_noise(n: int, exponent: float, rng: np.random.Generator) -> Audio:
    """Noise whose power falls with frequency to the ``exponent``; seamless when repeated."""
    spectrum = rng.standard_normal(n // 2 + 1) + 1j * rng.standard_normal(n // 2 + 1)
    frequency = np.fft.rfftfreq(n, 1.0 / 16_000)
    shape = np.where(frequency < NOISE_LOW_HZ, 0.0, np.maximum(frequency, 1.0) ** (-exponent / 2.0))
    return np.fft.irfft(spectrum * shape, n).astype(np.float32)


class Background:
    """Draws one background after the other from a split's textures."""

    def __init__(self, textures: Sequence[Texture], rng: np.random.Generator) -> None:
        self._textures = textures
        self._rng = rng

    def make(self, n: int) -> tuple[Audio, list[dict[str, Any]]]:
        """``n`` samples of background and a truth line for each of its stretches."""
        rng = self._rng
        fade = min(samples(CROSSFADE_S), n // 4)
        cuts = self._cuts(n, fade)
        track = np.zeros(n, dtype=np.float32)
        lines: list[dict[str, Any]] = []
        for start, stop in pairwise(cuts):
            # Each stretch reaches into the next one; both are faded there with equal power.
            last = min(n, stop + fade)
            x, line = self._stretch(last - start)
            phase = np.linspace(0.0, np.pi / 2.0, fade, dtype=np.float32)
            if start > 0:
                x[:fade] *= np.sin(phase)
            if last > stop:
                x[stop - start :] *= np.cos(phase[: last - stop])
            track[start:last] += x
            lines.append({"type": "background", "onset_s": seconds(start), "offset_s": seconds(stop)} | line)
        hiss = mixing.at_level(coloured_noise(samples(NOISE_LOOP_S), 0.0, rng), SELF_NOISE_DBFS)
        track += mixing.loop_to_length(hiss, n, 0)
        return track, lines

    def _cuts(self, n: int, shortest: int) -> list[int]:
        """Where one stretch gives way to the next, 0 and ``n`` included."""
        count = int(self._rng.integers(STRETCHES[0], STRETCHES[1] + 1))
        cuts = [0]
        for cut in sorted(int(at) for at in self._rng.integers(0, n, count - 1)):
            if cuts[-1] + shortest < cut < n - shortest:
                cuts.append(cut)
        return [*cuts, n]

    def _stretch(self, n: int) -> tuple[Audio, dict[str, Any]]:
        kinds: list[Literal["quiet", "noise_machine", "recording"]] = ["quiet", "noise_machine", "recording"]
        kind = kinds[int(self._rng.choice(len(KINDS), p=[share for _, share in KINDS]))]
        if kind == "recording" and not self._textures:
            kind = "quiet"
        level = float(self._rng.uniform(*(QUIET_DBFS if kind == "quiet" else LOUD_DBFS)))
        if kind == "recording":
            texture = self._textures[int(self._rng.integers(len(self._textures)))]
            x, label = self._looped(texture, n), texture.label
        else:
            exponent = (
                float(self._rng.uniform(*FLOOR_COLOURS))
                if kind == "quiet"
                else float(self._rng.choice(COLOURS))
            )
            noise = coloured_noise(samples(NOISE_LOOP_S), exponent, self._rng)
            x, label = mixing.loop_to_length(noise, n, 0, self._rng), f"{kind} 1/f^{exponent:.1f}"
        return mixing.at_level(x, level), {"label": label, "level_dbfs": round(level, 2)}

    def _looped(self, texture: Texture, n: int) -> Audio:
        """Recordings of one label, each repeated a few times, joined by crossfades."""
        joint = samples(JOINT_S)
        track = np.zeros(n, dtype=np.float32)
        position = 0
        while position < n:
            clip = texture.clips[int(self._rng.integers(len(texture.clips)))]
            length = len(clip) * int(self._rng.integers(1, REPEATS + 1)) + joint
            x = mixing.loop_to_length(mixing.at_level(clip, -20.0), length, joint, self._rng)
            fade = np.sin(np.linspace(0.0, np.pi / 2.0, joint, dtype=np.float32))
            if position > 0:
                x[:joint] *= fade
            x[-joint:] *= fade[::-1]
            mixing.add_at(track, position, x)
            position += length - joint
        return track
