"""One hour of a synthetic night: background, bouts, distractors, microphone, and the truth about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from models.training import mixing
from models.training.backgrounds import Background, background_textures, is_background
from models.training.corpus import SPLITS, AudioStore, Clip, Room, Split, assert_splits_disjoint
from models.training.mixing import FRAME_SAMPLES, Audio
from monitor.errors import ConfigError
from monitor.types import samples, seconds

NOT_DISTRACTORS: Final = frozenset({"cry", "cry_unverified"})
UNUSABLE_CRY_SOURCES: Final = frozenset({"cry_in_noise"})
"""Already mixed with noise or music: where the cry begins in them is not known."""
MIN_CRY_S: Final = 2.0
"""Shorter uploads (3 %) are a knock or a breath that was sent by accident."""
COMMON_LABELS: Final = {"speech": 6.0, "cat": 3.0, "laugh": 3.0, "music": 3.0, "singing": 2.0, "sneeze": 2.0}
"""How much more often than the others (1.0) a home hears these."""
MAX_DISTRACTOR_S: Final = 15.0
BOUT_CLEARANCE_S: Final = 60.0
"""Between bouts; longer than any hang-over, so that bouts are found or missed one by one."""
DISTRACTOR_CLEARANCE_S: Final = 2.0
OVERLAPPING_SHARE: Final = 0.1
"""Distractors that are placed on top of a bout."""
AUDIBLE_BELOW_BACKGROUND_DB: Final = 5.0
"""A cry frame this far under the background is still heard: its harmonics stand out."""
QUIETEST_DBFS: Final = (-52.0, -40.0)
"""A quiet room makes neither baby nor cat quieter: below a level drawn from here the SNR is raised."""
DOUBTFUL_BELOW: Final = 0.05
"""``mn04_cry`` of a verified clip in which the AudioSet model hears no cry: faint, short or mislabelled.

They make bouts only where a baby has nothing else, and such a bout says so (``doubtful``)."""
BANDWIDTHS_HZ: Final = (None, None, 7000.0, 4000.0)
"""Of every four hours, in random order."""
GAINS_DB: Final = ((0.0, 0.0), (0.0, 10.0), (0.0, 10.0), (-10.0, 0.0), None)
"""Of every five hours, in random order: the range of the microphone's gain; None is turned up too far."""
OVERDRIVEN_DBFS: Final = (-8.0, -2.0)
"""Level of the loudest bout of an hour that is turned up too far; its peaks clip."""
EDGE_S: Final = 0.01


@dataclass(frozen=True, slots=True)
class NightRecipe:
    """What the set is made from; ``nights.json`` holds it."""

    split: Split
    hours: int
    seed: int = 1
    hour_s: float = 3600.0
    bouts_per_hour: int = 6
    distractors_per_hour: int = 60
    bout_s: tuple[float, float] = (8.0, 60.0)
    pause_s: tuple[float, float] = (0.3, 2.0)
    cry_snr_db: tuple[float, float] = (0.0, 25.0)
    distractor_snr_db: tuple[float, float] = (-5.0, 25.0)


@dataclass(frozen=True, slots=True)
class Sound:
    """Something to lay over the background, at its place in the hour."""

    start: int
    audio: Audio

    @property
    def stop(self) -> int:
        return self.start + len(self.audio)


class NightMaker:
    """Makes the hours of one recipe."""

    def __init__(
        self, recipe: NightRecipe, clips: Sequence[Clip], store: AudioStore, rooms: list[Room]
    ) -> None:
        assert_splits_disjoint(clips)
        self._recipe = recipe
        self._store = store
        self._rooms = rooms
        own = [clip for clip in clips if clip.split == recipe.split]
        self._cries: dict[str, list[Clip]] = {}
        for clip in own:
            if usable_cry(clip):
                self._cries.setdefault(clip.group, []).append(clip)
        self._cries = {group: _clear_or_all(cries) for group, cries in self._cries.items()}
        self._distractors: dict[str, list[Clip]] = {}
        for clip in own:
            if clip.label not in NOT_DISTRACTORS:
                self._distractors.setdefault(clip.label, []).append(clip)
        self._textures = background_textures([clip for clip in own if is_background(clip)], store)
        if not (self._cries and self._distractors and rooms):
            raise ConfigError(
                f"split {recipe.split!r} lacks verified cries, other sounds or rooms.",
                "Nights need all three; prepare the whole data.",
            )

    def hour(self, index: int) -> tuple[Audio, list[dict[str, Any]]]:
        """The audio of one hour and its truth, one dictionary a line."""
        recipe = self._recipe
        rng = self._rng(index)
        n = samples(recipe.hour_s)
        background, stretches = Background(self._textures, rng).make(n)
        levels = mixing.frame_levels_dbfs(background)
        track = background
        truth: list[dict[str, Any]] = []
        taken: list[tuple[int, int]] = []
        for group in self._groups_of(index):
            bout = self._place_bout(group, levels, taken, rng)
            mixing.add_at(track, bout[0].start, bout[0].audio)
            truth.append(bout[1])
        clear = list(taken)
        played: list[float] = []
        for _ in range(recipe.distractors_per_hour):
            placed = self._place_distractor(levels, taken, clear, rng)
            if placed is not None:
                mixing.add_at(track, placed[0].start, placed[0].audio)
                truth.append(placed[1])
                played.append(mixing.active_level_dbfs(placed[0].audio))
        loudest = max((line["level_dbfs"] for line in truth if line["type"] == "bout"), default=None)
        if loudest is None:  # hours without crying: the loudest distractor overdrives the microphone
            loudest = max(played, default=0.0)
        track, microphone = self._microphone(track, index, loudest, rng)
        truth.sort(key=lambda event: event["onset_s"])
        header = {"type": "hour", "index": index, "duration_s": recipe.hour_s} | microphone
        return track, [header, *stretches, *truth]

    # --- bouts ----------------------------------------------------------------------------------

    def _place_bout(
        self, group: str, levels: np.ndarray, taken: list[tuple[int, int]], rng: np.random.Generator
    ) -> tuple[Sound, dict[str, Any]]:
        dry, used = self._chain(self._cries[group], rng)
        room = self._room(rng)
        wet = mixing.convolve_rir(dry, room.response)
        start = _free_start(len(wet), len(levels) * FRAME_SAMPLES, taken, samples(BOUT_CLEARANCE_S), rng)
        if start is None:
            raise ConfigError(
                f"bouts_per_hour = {self._recipe.bouts_per_hour} do not fit into an hour.", "Ask for fewer."
            )
        around = levels[start // FRAME_SAMPLES : (start + len(wet)) // FRAME_SAMPLES + 1]
        floor = _mean_level(around)
        snr_db = max(float(rng.uniform(*self._recipe.cry_snr_db)), float(rng.uniform(*QUIETEST_DBFS)) - floor)
        mask = mixing.active_mask(dry)
        cry = mixing.gain(wet, floor + snr_db - mixing.active_level_dbfs(wet, mask))
        audible = _audible(cry, mask, floor)
        first, last = audible[0][0], audible[-1][1]
        onset, offset = start + first * FRAME_SAMPLES, start + last * FRAME_SAMPLES
        taken.append((start, start + len(wet)))
        crying_s = seconds(sum(stop - begin for begin, stop in audible) * FRAME_SAMPLES)
        return Sound(start, cry), {
            "type": "bout",
            "onset_s": round(seconds(onset), 3),
            "offset_s": round(seconds(offset), 3),
            "crying_s": round(crying_s, 3),
            "audible": [[round(seconds(start + edge * FRAME_SAMPLES), 2) for edge in run] for run in audible],
            "active_fraction": round(crying_s / seconds(offset - onset), 3),
            "group": group,
            "clips": [clip.path for clip in used],
            "doubtful": all(map(is_doubtful, used)),
            "snr_db": round(snr_db, 2),
            "level_dbfs": round(floor + snr_db, 2),
            "room": room.name,
        }

    def _chain(self, clips: Sequence[Clip], rng: np.random.Generator) -> tuple[Audio, list[Clip]]:
        """Cries of one baby, one after the other with pauses, until the bout is long enough."""
        wanted = samples(float(rng.uniform(*self._recipe.bout_s)))
        pieces: list[Audio] = []
        used: list[Clip] = []
        length = 0
        while length < wanted:
            for number in rng.permutation(len(clips)):
                clip = clips[int(number)]
                cry = mixing.at_level(self._trimmed(clip), float(rng.uniform(-2.0, 2.0)) - 20.0, active=True)
                pause = np.zeros(samples(float(rng.uniform(*self._recipe.pause_s))), dtype=np.float32)
                cry = cry[: max(wanted - length, samples(MIN_CRY_S))]
                pieces += [_with_soft_edges(cry), pause]
                length += len(cry) + len(pause)
                if clip not in used:
                    used.append(clip)
                if length >= wanted:
                    break
        return np.concatenate(pieces[:-1]), used

    def _trimmed(self, clip: Clip) -> Audio:
        x = self._store.samples(clip)
        heard = mixing.runs(mixing.active_mask(x))
        return x[heard[0][0] * FRAME_SAMPLES : heard[-1][1] * FRAME_SAMPLES] if heard else x

    def _groups_of(self, index: int) -> list[str]:
        """Every baby once before any comes twice, over all hours."""
        groups = sorted(self._cries)
        first = index * self._recipe.bouts_per_hour
        return [
            groups[self._shuffled(position // len(groups), len(groups), "groups")[position % len(groups)]]
            for position in range(first, first + self._recipe.bouts_per_hour)
        ]

    # --- distractors ----------------------------------------------------------------------------

    def _place_distractor(
        self,
        levels: np.ndarray,
        taken: list[tuple[int, int]],
        bouts: list[tuple[int, int]],
        rng: np.random.Generator,
    ) -> tuple[Sound, dict[str, Any]] | None:
        labels = sorted(self._distractors)
        weights = np.array([COMMON_LABELS.get(label, 1.0) for label in labels])
        label = labels[int(rng.choice(len(labels), p=weights / weights.sum()))]
        clip = self._distractors[label][int(rng.integers(len(self._distractors[label])))]
        room = self._room(rng)
        excerpt = _excerpt(self._trimmed(clip), samples(MAX_DISTRACTOR_S), rng)
        wet = mixing.convolve_rir(_with_soft_edges(excerpt), room.response, tail=True)
        overlapping = bool(bouts) and bool(rng.random() < OVERLAPPING_SHARE)
        if overlapping:
            begin, end = bouts[int(rng.integers(len(bouts)))]
            start: int | None = int(rng.integers(begin, end))
        else:
            size = len(levels) * FRAME_SAMPLES
            start = _free_start(len(wet), size, taken, samples(DISTRACTOR_CLEARANCE_S), rng)
        level_now = mixing.active_level_dbfs(wet)
        snr_db = float(rng.uniform(*self._recipe.distractor_snr_db))
        quietest = float(rng.uniform(*QUIETEST_DBFS)) + self._recipe.distractor_snr_db[0]
        if start is None or level_now < -90.0:
            return None
        floor = _mean_level(levels[start // FRAME_SAMPLES : (start + len(wet)) // FRAME_SAMPLES + 1])
        # The rule of the cries, or the level alone would tell them apart in a quiet room.
        snr_db = max(snr_db, quietest - floor)
        taken.append((start, start + len(wet)))
        return Sound(start, mixing.gain(wet, floor + snr_db - level_now)), {
            "type": "distractor",
            "label": label,
            "source": clip.source,
            "clip": clip.path,
            "onset_s": round(seconds(start), 3),
            "offset_s": round(seconds(start + len(wet)), 3),
            "snr_db": round(snr_db, 2),
            "room": room.name,
            "overlaps_bout": overlapping,
        }

    # --- microphone -----------------------------------------------------------------------------

    def _microphone(
        self, track: Audio, index: int, loudest_dbfs: float, rng: np.random.Generator
    ) -> tuple[Audio, dict[str, Any]]:
        bandwidth = BANDWIDTHS_HZ[self._in_turn(index, len(BANDWIDTHS_HZ), "bandwidth")]
        gains = GAINS_DB[self._in_turn(index, len(GAINS_DB), "gain")]
        gain_db = float(rng.uniform(*(OVERDRIVEN_DBFS if gains is None else gains)))
        if gains is None:
            gain_db -= loudest_dbfs
        if bandwidth is not None:
            track = mixing.band_limit(track, bandwidth)
        loud = mixing.gain(track, gain_db)
        clipped = float(np.mean(np.abs(loud) > 1.0))
        return mixing.clip_hard(loud), {
            "bandwidth_hz": bandwidth,
            "gain_db": round(gain_db, 2),
            "clipped_share": clipped,
        }

    # --- chance ---------------------------------------------------------------------------------

    def _rng(self, *key: int) -> np.random.Generator:
        return np.random.default_rng([self._recipe.seed, SPLITS.index(self._recipe.split), *key])

    def _shuffled(self, turn: int, n: int, what: str) -> list[int]:
        return [int(i) for i in self._rng(turn, *what.encode()).permutation(n)]

    def _in_turn(self, index: int, n: int, what: str) -> int:
        return self._shuffled(index // n, n, what)[index % n]

    def _room(self, rng: np.random.Generator) -> Room:
        return self._rooms[int(rng.integers(len(self._rooms)))]


def usable_cry(clip: Clip) -> bool:
    """Whether bouts may be built from it: verified, long enough and not mixed already."""
    return (
        clip.label == "cry"
        and clip.verified
        and clip.duration_s >= MIN_CRY_S
        and clip.source not in UNUSABLE_CRY_SOURCES
    )


def is_doubtful(clip: Clip) -> bool:
    """Whether nobody but the person who sent it says that this is a cry."""
    return clip.mn04_cry is not None and clip.mn04_cry < DOUBTFUL_BELOW


def _clear_or_all(cries: list[Clip]) -> list[Clip]:
    return [clip for clip in cries if not is_doubtful(clip)] or cries


def _audible(cry: Audio, mask: np.ndarray, floor_dbfs: float) -> list[tuple[int, int]]:
    """Runs of frames in which the cry is heard over the background; all of its frames if in none."""
    heard = mask & (mixing.frame_levels_dbfs(cry) >= floor_dbfs - AUDIBLE_BELOW_BACKGROUND_DB)
    first_last = np.flatnonzero(heard)
    if len(first_last) == 0:
        return mixing.runs(mask)
    # Between the first and the last audible frame the clip's own mask counts: it bridges breaths.
    audible = mask.copy()
    audible[: first_last[0]] = False
    audible[first_last[-1] + 1 :] = False
    return mixing.runs(audible)


def _free_start(
    length: int, n: int, taken: Sequence[tuple[int, int]], clearance: int, rng: np.random.Generator
) -> int | None:
    """A random start that keeps ``clearance`` to everything taken; None after many tries."""
    if length >= n:
        return None
    for _ in range(200):
        start = int(rng.integers(n - length))
        if all(start + length + clearance <= begin or start >= end + clearance for begin, end in taken):
            return start
    return None


def _excerpt(x: Audio, longest: int, rng: np.random.Generator) -> Audio:
    if len(x) <= longest:
        return x
    start = int(rng.integers(len(x) - longest))
    return x[start : start + longest]


def _with_soft_edges(x: Audio) -> Audio:
    n = min(samples(EDGE_S), len(x) // 2)
    ramp = np.linspace(0.0, 1.0, n, endpoint=False, dtype=np.float32)
    y = x.copy()
    y[:n] *= ramp
    y[len(y) - n :] *= ramp[::-1]
    return y


def _mean_level(levels: np.ndarray) -> float:
    return float(10.0 * np.log10(np.mean(10.0 ** (levels / 10.0))))
