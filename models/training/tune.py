"""Choose the gate's decision rule on validation nights.

    python -m models.training.tune --gate runs/gate --verifier runs/verifier --nights nights/val

Logits are computed once; the verifier's share and both tiers are then searched with the runtime's own state
machine: within ``--false-alarms`` an hour the highest recall, and at equal recall the shortest delay.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from models.training.metrics import Bout, Episode, match_episodes, percentile
from monitor.detect.activity import HOP, ActivityDetector
from monitor.detect.artifacts import GateDecision, PatientTier
from monitor.detect.episode import EpisodeTracker, Hop
from monitor.detect.gate import ScoreSmoother
from monitor.detect.inference import Network
from monitor.detect.loading import episode_rules, gate_logits
from monitor.detect.segment_mel import SEGMENT_SAMPLES
from monitor.detect.settings import DetectorSettings
from monitor.detect.vad import Vad
from monitor.detect.verifier import Verifier, weighed
from monitor.types import Dbfs, EpisodeEnded, SampleIndex, seconds

SUSPICION = 0.2
"""Gate score from which the verifier is asked. On validation nights no clear bout stays below it."""
SHARES = (0.4, 0.5, 0.6)
HITS = ((2, 4), (3, 5), (3, 8))
ONSETS = (0.84, 0.88, 0.9, 0.92, 0.94, 0.96)
PATIENT_HITS = ((6, 20), (8, 24), (10, 24), (12, 32), (10, 40), (14, 40))
PATIENT_ONSETS = (0.6, 0.65, 0.7, 0.75, 0.8, 0.84)
OFFSET = 0.4
"""Of the gate's score: an open episode is the gate's to follow."""
NEAR = 0.01
"""Recalls this close are one: less than two bouts of 32 validation hours."""
HANG_OVER_S = 5.0
COOL_DOWN_S = 2.0


@dataclass(frozen=True)
class Hour:
    """One hour: the gate's score of each hop, the verifier's logit (nan where it is never asked).

    Then the awake hops, the bouts, and which of these are clear.
    """

    scores: NDArray[np.float64]
    verdicts: NDArray[np.float64]
    awake: NDArray[np.bool_]
    bouts: Sequence[Bout]
    clear: Sequence[bool]


@dataclass(frozen=True)
class Outcome:
    """What a rule does on the nights."""

    decision: GateDecision
    recall: float
    false_alarms_per_hour: float
    delay_p50_s: float
    delay_p95_s: float


def hear(path: Path, *, gate: Path, verifier: Path) -> Hour:
    """Scores and activity of one hour, from two run folders.

    The gate hears all of it; sleeping hops are masked afterwards.
    """
    temperature = json.loads((verifier / "decision.json").read_text())["temperature"]
    judge = Verifier(Network(verifier / "verifier.int8.onnx"), temperature)
    audio = soundfile.read(path, dtype="int16")[0]
    audio = audio[: len(audio) // HOP * HOP]
    stage = ActivityDetector(Vad(DetectorSettings().vad_mode), DetectorSettings().level_margin_db)
    awake = np.array([stage.process(audio[k : k + HOP]).active for k in range(0, len(audio), HOP)])
    smoother = ScoreSmoother(0.0)
    logits = gate_logits(Network(gate / "gate.int8.onnx"), audio).reshape(-1, 3)
    scores = np.array([smoother.process(own) for own in logits])
    events = (json.loads(line) for line in path.with_suffix(".jsonl").read_text().splitlines())
    truth = [e for e in events if e["type"] == "bout"]
    return Hour(
        scores,
        verdicts(judge, audio, awake & (scores >= SUSPICION)),
        awake,
        [Bout(e["onset_s"], e["offset_s"]) for e in truth],
        [not e["doubtful"] for e in truth],
    )


def verdicts(verifier: Verifier, audio: NDArray[np.int16], asked: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The verifier's logit for the segment that ends with each hop that is ``asked``, else nan."""
    answers = np.full(len(asked), np.nan)
    padded = np.concatenate([np.zeros(SEGMENT_SAMPLES, np.int16), audio])
    for hop in np.flatnonzero(asked):
        stop = SEGMENT_SAMPLES + (int(hop) + 1) * HOP
        answers[hop] = verifier.judge(padded[stop - SEGMENT_SAMPLES : stop]).logit
    return answers


def scores_when_calm(hour: Hour, suspicion: float, share: float) -> NDArray[np.float64]:
    """The score of each hop as long as no episode is open."""
    asked = hour.awake & (hour.scores >= suspicion)
    calm = np.where(hour.awake, hour.scores, 0.0)
    for hop in np.flatnonzero(asked):
        calm[hop] = weighed(float(hour.scores[hop]), float(hour.verdicts[hop]), share)
    return calm


def episodes(hour: Hour, calm: NDArray[np.float64], decision: GateDecision) -> list[Episode]:
    """What the runtime's state machine makes of an hour's scores.

    While it is calm only hops near a hit can change it, so the others are passed over.
    """
    rules = episode_rules(DetectorSettings(), decision)
    tracker = EpisodeTracker(rules)
    hits = np.flatnonzero(calm >= min(tier.onset for tier in rules.tiers))
    longest = max(tier.window_hops for tier in rules.tiers)
    calm_scores, gate_scores = calm.tolist(), hour.scores.tolist()
    events, k, n = [], 0, len(calm_scores)
    while k < n:
        if not tracker.crying:
            following = int(np.searchsorted(hits, k))
            if following == len(hits):
                break
            k = max(k, int(hits[following]) - longest)
        heard = gate_scores[k] if tracker.crying else calm_scores[k]
        events += tracker.process(Hop(SampleIndex(k * HOP), SampleIndex((k + 1) * HOP), heard, Dbfs(0.0)))
        k += 1
    events += tracker.finish(SampleIndex(n * HOP))
    return [
        Episode(seconds(e.onset), seconds(e.detected), seconds(e.offset))
        for e in events
        if isinstance(e, EpisodeEnded)
    ]


def outcomes_of(rule: tuple[float, tuple[int, int], float], hours: Sequence[Hour]) -> list[Outcome]:
    """Score all rules with one share of the verifier and one quick tier."""
    calm = [scores_when_calm(hour, SUSPICION, rule[0]) for hour in hours]
    return [outcome(decision, hours, calm) for decision in candidates(*rule)]


def outcome(decision: GateDecision, hours: Sequence[Hour], calm: Sequence[NDArray[np.float64]]) -> Outcome:
    """Score one rule."""
    matchings = [
        match_episodes(hour.bouts, episodes(hour, own, decision))
        for hour, own in zip(hours, calm, strict=True)
    ]
    sure = [(m, k) for m, hour in zip(matchings, hours, strict=True) for k, c in enumerate(hour.clear) if c]
    length_h = sum(len(hour.scores) for hour in hours) * HOP / 16_000 / 3600
    return Outcome(
        decision,
        recall=float(np.mean([m.found[k] for m, k in sure])),
        false_alarms_per_hour=sum(len(m.false_alarms) for m in matchings) / length_h,
        delay_p50_s=percentile([m.delays_s[k] for m, k in sure], 50.0),
        delay_p95_s=percentile([m.delays_s[k] for m, k in sure], 95.0),
    )


def candidates(share: float, quick: tuple[int, int], onset: float) -> Iterator[GateDecision]:
    """One quick tier alone, and with each patient one beside it."""
    tiers: list[PatientTier | None] = [None]
    tiers += [
        PatientTier(onset_threshold=threshold, onset_hits=hits, onset_window_hops=window)
        for (hits, window), threshold in itertools.product(PATIENT_HITS, PATIENT_ONSETS)
    ]
    for patient in tiers:
        yield GateDecision(
            onset_threshold=onset,
            offset_threshold=OFFSET,
            onset_hits=quick[0],
            onset_window_hops=quick[1],
            hang_over_s=HANG_OVER_S,
            cool_down_s=COOL_DOWN_S,
            smoothing_s=0.0,
            suspect_threshold=SUSPICION,
            verifier_share=share,
            patient=patient,
        )


def best(outcomes: Sequence[Outcome], limit: float) -> Outcome:
    """The rule to ship: within the limit the highest recall; of those within NEAR of it, the quickest.

    If none keeps to the limit, the one with the fewest false alarms.
    """
    fit = [o for o in outcomes if o.false_alarms_per_hour <= limit]
    if not fit:
        return min(outcomes, key=lambda o: (o.false_alarms_per_hour, -o.recall))
    highest = max(o.recall for o in fit)
    near = [o for o in fit if o.recall >= highest - NEAR]
    return min(near, key=lambda o: (o.delay_p50_s, o.delay_p95_s, o.false_alarms_per_hour))


def choose(
    gate: Path, verifier: Path, nights: Sequence[Path], *, false_alarms: float, jobs: int
) -> tuple[Outcome, list[Outcome]]:
    """The rule to ship, and all that were tried."""
    paths = sorted(path for folder in nights for path in folder.glob("hour-*.flac"))
    rules = list(itertools.product(SHARES, HITS, ONSETS))
    with ProcessPoolExecutor(jobs) as workers:
        hours = list(workers.map(partial(hear, gate=gate, verifier=verifier), paths))
        outcomes = list(itertools.chain(*workers.map(partial(outcomes_of, hours=hours), rules)))
    return best(outcomes, false_alarms), outcomes


def write(chosen: Outcome, out: Path) -> None:
    """The decision for the manifest, and beside it what the rule did on these nights."""
    out.write_text(chosen.decision.model_dump_json(indent=2) + "\n")
    did = {
        "recall": chosen.recall,
        "false_alarms_per_hour": chosen.false_alarms_per_hour,
        "delay_p50_s": chosen.delay_p50_s,
        "delay_p95_s": chosen.delay_p95_s,
    }
    out.with_name("tuned.json").write_text(json.dumps(did, indent=2) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m models.training.tune", description=__doc__)
    parser.add_argument("--gate", type=Path, required=True, help="run folder")
    parser.add_argument("--verifier", type=Path, required=True, help="run folder")
    parser.add_argument("--nights", type=Path, nargs="+", required=True)
    parser.add_argument("--false-alarms", type=float, default=0.1, help="at most so many an hour")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path, help="default: decision.json in the gate's folder")
    options = parser.parse_args()
    chosen, outcomes = choose(
        options.gate, options.verifier, options.nights, false_alarms=options.false_alarms, jobs=options.jobs
    )
    for o in _frontier(outcomes):
        print(_line(o))
    print("chosen", _line(chosen))
    write(chosen, options.out or options.gate / "decision.json")


def _frontier(outcomes: Sequence[Outcome]) -> Iterator[Outcome]:
    """The quickest rule at each recall that no rule with fewer false alarms reaches."""
    best_recall = -1.0
    for o in sorted(outcomes, key=lambda o: (o.false_alarms_per_hour, -o.recall, o.delay_p50_s)):
        if o.recall > best_recall:
            best_recall = o.recall
            yield o


def _line(o: Outcome) -> str:
    d, p = o.decision, o.decision.patient
    slower = "" if p is None else f" or {p.onset_hits} of {p.onset_window_hops} at {p.onset_threshold}"
    return (
        f"recall {o.recall:.3f}  false alarms {o.false_alarms_per_hour:.2f}/h  delay {o.delay_p50_s:.2f} s"
        f" (p95 {o.delay_p95_s:.2f})  share {d.verifier_share}"
        f"  {d.onset_hits} of {d.onset_window_hops} at {d.onset_threshold}{slower}"
    )


if __name__ == "__main__":
    main()
