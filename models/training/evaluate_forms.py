"""The gate's forms - torch, ONNX float, ONNX int8 - by step AUC on scenes and by one rule on nights.

Library for what compares forms: :func:`gate_night_scores` gives one form's hop logits over nights, and
:func:`score_at` judges them by a decision rule with the runtime's own state machine.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from models.training import night_curves, night_score, night_tables, resampling, scenes
from models.training.gate import load_gate
from models.training.kept_scores import Arrays, kept
from models.training.metrics import Episode, Interval
from models.training.nets.gate import GateNet
from models.training.night_curves import Point
from models.training.night_score import Hour, SystemHour, SystemScore
from models.training.resampling import Ranking
from models.training.streaming import awake_hops, tracked_episodes
from monitor.detect.activity import HOP
from monitor.detect.artifacts import GateDecision
from monitor.detect.episode import EpisodeRules
from monitor.detect.features import N_MELS, LogMel
from monitor.detect.gate import STEM_CONTEXT, ScoreSmoother
from monitor.detect.inference import Network
from monitor.detect.loading import episode_rules, gate_logits
from monitor.detect.settings import DetectorSettings
from monitor.errors import ConfigError

STEPS_PER_HOP = 3
CHUNK_HOPS = 250
"""A minute at once in torch: an hour's feature maps would fill the memory."""
TORCH_SUFFIX = ".pt"


@dataclass(frozen=True, slots=True)
class KeptScores:
    """Where logits are kept (None: nowhere) and how many processes make them."""

    folder: Path | None = None
    jobs: int = 1


@dataclass(frozen=True, slots=True)
class HourScores:
    """One hour as one form heard it: ``logits`` float32 (n_hops, 3), whether the cheap stage was awake."""

    hour: Hour
    logits: NDArray[np.float32]
    awake: NDArray[np.bool_]

    def smoothed(self, smoothing_s: float) -> list[float]:
        """The runtime's score behind every hop, as if the gate had heard them all."""
        smoother = ScoreSmoother(smoothing_s)
        return [smoother.process(logits) for logits in self.logits]


def step_logits(network: Path, audio: NDArray[np.int16]) -> NDArray[np.float32]:
    """Cry logits of every 80 ms of whole hops, from silence: int16 (n,) -> float32 (n_hops * 3,).

    ``network``: ``gate.pt`` or any ONNX of the gate. Raises ConfigError for another kind of file.
    """
    whole = audio[: len(audio) // HOP * HOP]
    if network.suffix == ".onnx":
        return gate_logits(Network(network), whole)
    if network.suffix != TORCH_SUFFIX:
        raise ConfigError(f"{str(network)!r} is no form of the gate.", "Give gate.pt or an ONNX file.")
    return torch_logits(load_gate(network), whole)


@torch.no_grad()
def torch_logits(net: GateNet, audio: NDArray[np.int16]) -> NDArray[np.float32]:
    """Cry logits of whole hops, state and front end carried from one minute to the next."""
    front_end, state = LogMel(), net.initial_state()
    past = torch.zeros(1, STEM_CONTEXT, N_MELS)
    parts = [np.empty(0, np.float32)]
    for start in range(0, len(audio), CHUNK_HOPS * HOP):
        frames = torch.from_numpy(front_end.process(audio[start : start + CHUNK_HOPS * HOP]))[None]
        window = torch.cat([past, frames.float()], dim=1)
        logits, state = net.step(window, state)
        past = window[:, -STEM_CONTEXT:]
        parts.append(logits[0, 0].numpy())
    return np.concatenate(parts)


def gate_night_scores(network: Path, nights: Path, keep: KeptScores | None = None) -> list[HourScores]:
    """Every hour of a set of nights through one form of the gate; kept under the hash of both."""
    keep = keep or KeptScores()
    files = night_score.hour_files(nights)
    work = partial(_hour_scores, network, keep.folder)
    if keep.jobs == 1:
        return [work(file) for file in files]
    with ProcessPoolExecutor(keep.jobs, mp_context=get_context("spawn")) as pool:
        return list(track(pool.map(work, files), network.name, total=len(files), transient=True))


def _hour_scores(network: Path, cache: Path | None, file: Path) -> HourScores:
    torch.set_num_threads(1)

    def logits() -> Arrays:
        return {"logits": step_logits(network, soundfile.read(file, dtype="int16")[0])}

    def awake() -> Arrays:
        return {"awake": awake_hops(soundfile.read(file, dtype="int16")[0])}

    heard = kept(cache, "gate logits 1", [network, file], logits)["logits"]
    hour = night_score.read_hour(file.with_suffix(".jsonl"))
    return HourScores(
        hour, heard.reshape(-1, STEPS_PER_HOP), kept(cache, "awake hops 1", [file], awake)["awake"]
    )


def score_at(rule: GateDecision, heard: Sequence[HourScores], name: str = "gate") -> SystemScore:
    """Recall, false alarms and delays of one form by one decision rule."""
    rules = episode_rules(DetectorSettings(), rule)
    said = [
        SystemHour(*_episodes(one, one.smoothed(rule.smoothing_s), rules), cpu_s_per_hour=0.0)
        for one in heard
    ]
    return night_score.score_system(name, [one.hour for one in heard], said)


def _episodes(heard: HourScores, scores: Sequence[float], rules: EpisodeRules) -> tuple[list[Episode], float]:
    return tracked_episodes(scores, heard.awake.tolist(), rules)


def curve_of(rule: GateDecision, heard: Sequence[HourScores]) -> list[Point]:
    """Recall over false alarms an hour: the quick tier's threshold free, the patient tier off."""
    counted = []
    for one in heard:
        scores = one.smoothed(rule.smoothing_s)

        def at(
            threshold: float, one: HourScores = one, scores: Sequence[float] = scores
        ) -> Sequence[Episode]:
            free = episode_rules(DetectorSettings(onset_threshold=threshold, patient=False), rule)
            return _episodes(one, scores, free)[0]

        counted.append(night_curves.sweep(one.hour, at))
    return night_curves.curve(counted, sum(one.hour.hours for one in heard))


def scene_ranking(network: Path, folder: Path, cache: Path | None) -> Ranking:
    """Step scores of one form on scenes, for AUC and AP; a scene is drawn as a whole.

    Steps whose label is a matter of taste (weight under 1) are left out.
    """
    made = scenes.load(folder)
    n_steps = made.audio.shape[1] // HOP * STEPS_PER_HOP

    def make() -> Arrays:
        torch.set_num_threads(1)
        rows = track(made.audio, f"{network.name} on scenes", transient=True)
        return {"logits": np.stack([step_logits(network, np.asarray(audio)) for audio in rows])}

    logits = kept(cache, "gate scenes 1", [network, folder / "audio.npy"], make)["logits"]
    sure = made.weight[:, :n_steps] == 1.0
    scene = np.broadcast_to(np.arange(len(logits))[:, None], sure.shape)
    labels = made.label[:, :n_steps] > 0.5
    return Ranking.of(logits[sure].astype(np.float64), labels[sure], scene[sure])


def evaluate_forms(
    run: Path,
    scene_folder: Path | None,
    nights: Sequence[Path],
    decision: Path | None,
    keep: KeptScores,
    console: Console,
) -> dict[str, Any]:
    """Measure every form in a run, print the table, and return everything for ``--json``."""
    forms = [*sorted(run.glob("gate*.pt")), *sorted(run.glob("gate*.onnx"))]
    if not forms:
        raise ConfigError(f"{str(run)!r} holds no gate.pt and no gate.*.onnx.", "Give a run of the gate.")
    result: dict[str, Any] = {form.name: {"bytes": form.stat().st_size} for form in forms}
    if scene_folder is not None:
        _add_rankings(forms, scene_folder, keep.folder, result)
    if nights:
        rule = _rule(decision or run / "decision.json")
        for form in forms:
            heard = [one for folder in nights for one in gate_night_scores(form, folder, keep)]
            own = night_tables.as_json(score_at(rule, heard, form.name), None)
            result[form.name]["nights"] = {
                key: own[key] for key in ("recall", "false_alarms_per_hour", "delay_s", "collar_f1")
            } | night_tables.curve_json(curve_of(rule, heard))
    console.print(_table(result))
    return {"run": str(run), "forms": result}


def _add_rankings(forms: Sequence[Path], folder: Path, cache: Path | None, result: dict[str, Any]) -> None:
    first = scene_ranking(forms[0], folder, cache)
    for form in forms:
        own = scene_ranking(form, folder, cache)
        n = own.n_groups

        def lost(weights: resampling.Weights, own: Ranking = own) -> float:
            return own.auc(weights) - first.auc(weights)

        result[form.name] |= {
            "auc": asdict(resampling.interval(own.auc, n)),
            "ap": asdict(resampling.interval(own.ap, n)),
            "auc_minus_first": asdict(resampling.interval(lost, n)),
        }


def _rule(path: Path) -> GateDecision:
    try:
        # The gate is judged alone here, so from which score a verifier is asked does not matter.
        return GateDecision.model_validate({"suspect_threshold": 1.0} | json.loads(path.read_text()))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{str(path)!r} holds no decision rule: {error}.", "Write it with models.training.tune."
        ) from error


def _table(result: dict[str, Any]) -> Table:
    limit = f"{night_curves.LIMITS_PER_HOUR[0]:g}"
    table = Table(title="forms of the gate; differences are paired with the first, 95 % intervals")
    for column in ("form", "kB", "step AUC", "difference", "step AP", "bouts found", "false alarms/h",
                   f"found at {limit}/h"):  # fmt: skip
        table.add_column(column)
    for name, own in result.items():
        cells = ["-" if key not in own else _fine(own[key]) for key in ("auc", "auc_minus_first", "ap")]
        nights = own.get("nights")
        if nights is None:
            cells += ["-"] * 3
        else:
            best = nights["at"][limit]
            cells += [
                night_tables.share(_interval(nights["recall"])),
                night_tables.share(_interval(nights["false_alarms_per_hour"])),
                "none" if best is None else night_tables.share(_interval(best["recall"])),
            ]
        table.add_row(name, f"{own['bytes'] / 1000.0:.0f}", *cells)
    return table


def _interval(stored: dict[str, Any]) -> Interval:
    return Interval(stored["value"], stored["low"], stored["high"])


def _fine(stored: dict[str, Any]) -> str:
    return f"{stored['value']:.4f} [{stored['low']:.4f}, {stored['high']:.4f}]"
