"""One hour of a night through every system: our pipeline as it runs, and its rivals on the same audio."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import soundfile
from numpy.typing import NDArray

from models.training import metrics, night_curves, night_score, window_rules, yamnet
from models.training.kept_scores import Arrays, kept
from models.training.metrics import EARLY_S, LATE_S, Episode
from models.training.night_curves import Counted
from models.training.night_score import Hour, SystemHour
from models.training.streaming import Heard, Listener, tracked_episodes
from models.training.tracks import Reliability, Track, reliability, share_covered
from models.training.window_rules import Rival, Rule, WindowScores
from monitor.detect import artifacts
from monitor.detect.artifacts import GateDecision
from monitor.detect.episode import EpisodeRules
from monitor.detect.loading import episode_rules, load_pipeline
from monitor.detect.settings import DetectorSettings
from monitor.errors import ManifestMismatchError

DETECTOR: Final = "cradlewatch"
NEVER: Final = 1_000_000
"""Hits that no recording here has hops for."""


@dataclass(frozen=True, slots=True)
class Systems:
    """What is measured.

    ``settings`` None: not the detector. ``pretrained``: folder of the rivals' weights. ``cache`` None:
    nothing that the rivals said is kept.
    """

    settings: DetectorSettings | None
    artifacts: Path | None = None
    yamnet: bool = False
    mn04: bool = False
    pretrained: Path | None = None
    cache: Path | None = None

    def rivals(self) -> list[Rival]:
        """Load those that were asked for. Raises ModelError."""
        loaded = []
        if self.pretrained is None:
            return []
        if self.yamnet:
            loaded.append(yamnet.rival(self.pretrained))
        if self.mn04:
            # torch, only when it is measured
            from models.training import mn04_rules  # noqa: PLC0415

            loaded.append(mn04_rules.rival(self.pretrained))
        return loaded

    def rules(self) -> EpisodeRules:
        """The detector's episode rules."""
        assert self.settings is not None
        gate = artifacts.find(self.artifacts, "gate")
        if not isinstance(gate.manifest.decision, GateDecision):
            raise ManifestMismatchError(f"{gate.folder}: the decision rule is not a gate's.")
        return episode_rules(self.settings, gate.manifest.decision)

    def never_raising(self, x: NDArray[np.int16]) -> Heard:
        """The detector's scores when it raises nothing.

        An open episode changes what is scored (it keeps the gate awake and is followed by the gate
        alone), so scores for a free threshold come from a detector that opens none.
        """
        assert self.settings is not None
        deaf = replace(
            self.settings,
            onset_threshold=1.0,
            onset_hits=NEVER,
            onset_window_hops=NEVER,
            patient=False,
            classify=False,
        )
        return Listener(load_pipeline(deaf, self.artifacts)).listen(x)


@dataclass(frozen=True, slots=True)
class GateLoss:
    """Crying that the cheap activity stage kept from the gate model."""

    audible_s: float = 0.0
    slept_s: float = 0.0
    segments: int = 0
    segments_slept: int = 0

    def __add__(self, other: GateLoss) -> GateLoss:
        return GateLoss(
            self.audible_s + other.audible_s,
            self.slept_s + other.slept_s,
            self.segments + other.segments,
            self.segments_slept + other.segments_slept,
        )

    def sentence(self) -> str:
        """For a person."""
        lost = metrics.wilson(self.segments_slept, self.segments)
        time = self.slept_s / self.audible_s if self.audible_s else 0.0
        return (
            f"gate loss: {time:.2%} of {self.audible_s / 60.0:.1f} min audible crying; cry segments slept "
            f"through {self.segments_slept} of {self.segments}, "
            f"{lost.value:.2%} [{lost.low:.2%}, {lost.high:.2%}]"
        )


def gate_loss(heard: Heard, runs: Iterable[Sequence[float]]) -> GateLoss:
    """The loss over audible runs, ``(start_s, stop_s)`` each."""
    total = GateLoss()
    for start, stop in runs:
        slept = heard.slept_through(start, stop)
        total += GateLoss(stop - start, heard.slept_s(start, stop), 1, int(slept))
    return total


@dataclass(frozen=True, slots=True)
class Scored:
    """A system's scores in one hour, whatever rule reads them."""

    track: Track
    counted: list[Counted]
    """One entry for each of ``night_curves.THRESHOLDS``."""
    reliability: Reliability


@dataclass(frozen=True, slots=True)
class HourHeard:
    """What every system said in one hour, by rule, and the scores behind it, by network."""

    hour: Hour
    said: dict[str, SystemHour]
    scored: dict[str, Scored]
    loss: GateLoss
    awake_share: float


def hear_hour(systems: Systems, audio: Path) -> HourHeard:
    """Run every system over one hour."""
    hour = night_score.read_hour(audio.with_suffix(".jsonl"))
    x, _ = soundfile.read(audio, dtype="int16")
    said: dict[str, SystemHour] = {}
    scored: dict[str, Scored] = {}
    loss, awake_share = GateLoss(), 0.0
    if systems.settings is not None:
        heard = Listener(load_pipeline(systems.settings, systems.artifacts)).listen(x)
        said[DETECTOR] = SystemHour(heard.episodes, heard.crying_s, heard.cpu_s / hour.hours)
        scored[DETECTOR] = _scored_hops(hour, systems.never_raising(x).track(), systems.rules())
        clear = [run for bout in hour.bouts if not bout["doubtful"] for run in bout["audible"]]
        loss, awake_share = gate_loss(heard, clear), float(np.mean(heard.awake))
    for rival in systems.rivals():
        scores = rival_scores(rival, x, systems.cache, audio)
        for rule in rival.rules:
            episodes = window_rules.rule_episodes(scores, rule)
            cost = scores.cpu_s_per_hour(rule)
            said[f"{rival.name} {rule.name}"] = SystemHour(episodes, window_rules.crying_s(episodes), cost)
        scored[rival.name] = _scored_windows(hour, scores)
    return HourHeard(hour, said, scored, loss, awake_share)


def rival_scores(rival: Rival, x: NDArray[np.int16], cache: Path | None, audio: Path) -> WindowScores:
    """A rival's window scores of a recording, kept in ``cache``; its process time is kept with them."""

    def make() -> Arrays:
        scores = rival.score(x)
        return {
            "crying": scores.crying,
            "rms": scores.rms,
            "cpu_s": scores.cpu_s,
            "window_hop_s": np.array([scores.window_s, scores.hop_s]),
        }

    arrays = kept(cache, rival.version, [rival.weights, audio], make)
    window_s, hop_s = arrays.pop("window_hop_s").tolist()
    return WindowScores(arrays["crying"], arrays["rms"], arrays["cpu_s"], window_s, hop_s)


def _scored_hops(hour: Hour, track: Track, rules: EpisodeRules) -> Scored:
    """The quick tier's threshold is free and the patient tier off: what the scores alone are worth."""
    scores, awake = track.scores.tolist(), [True] * len(track.scores)

    def episodes_at(threshold: float) -> Sequence[Episode]:
        quick = replace(rules.quick, onset=threshold)
        own = replace(rules, quick=quick, offset=min(rules.offset, threshold), patient=None)
        return tracked_episodes(scores, awake, own)[0]

    return scored(hour, track, night_curves.sweep(hour, episodes_at))


def _scored_windows(hour: Hour, scores: WindowScores) -> Scored:
    counted = night_curves.sweep(hour, lambda t: window_rules.rule_episodes(scores, Rule("", t)))
    return scored(hour, scores.track(), counted)


def scored(hour: Hour, track: Track, counted: list[Counted]) -> Scored:
    """Join a track with its sweep and lay its scores beside the truth."""
    audible = [run for bout in hour.bouts for run in bout["audible"]]
    doubtful = [
        (bout["onset_s"] - EARLY_S, bout["offset_s"] + LATE_S) for bout in hour.bouts if bout["doubtful"]
    ]
    crying = share_covered(track.edges_s, audible) > 0.5
    counts = share_covered(track.edges_s, doubtful) == 0.0
    return Scored(track, counted, reliability(track, crying, counts))
