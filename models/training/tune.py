"""Choose the gate's decision rule on validation nights.

    python -m models.training.tune --gate runs/gate/gate.int8.onnx --nights nights/val --out decision.json

Logits are computed once; smoothing, thresholds and N-of-M are then searched with the runtime's own state
machine. The rule: among those with at most ``--false-alarms`` an hour and the delays of a usable monitor,
the highest recall; then the fewest false alarms, then the shortest median delay.
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
from monitor.detect.artifacts import GateDecision
from monitor.detect.episode import EpisodeTracker, Hop
from monitor.detect.gate import ScoreSmoother
from monitor.detect.inference import Network
from monitor.detect.loading import episode_rules, gate_logits
from monitor.detect.settings import DetectorSettings
from monitor.detect.vad import Vad
from monitor.types import Dbfs, EpisodeEnded, SampleIndex, seconds

SMOOTHINGS_S = (0.0, 0.15, 0.3, 0.5)
HITS = ((1, 1), (2, 2), (2, 3), (3, 4), (3, 5), (4, 6))
ONSETS = (0.3, 0.4, 0.5, 0.6, 0.65, 0.7, 0.75, 0.8, 0.84, 0.88, 0.91, 0.94, 0.96, 0.98)
OFFSET_SHARE = 0.5
"""Offset over onset threshold."""
HANG_OVER_S = 5.0
COOL_DOWN_S = 2.0
USABLE_DELAYS_S = (1.0, 3.0)
"""Largest median and 95th percentile of the onset delay."""


@dataclass(frozen=True)
class Hour:
    """One hour's ``logits`` float32 (n_hops, 3), which hops were awake, and its true bouts."""

    logits: NDArray[np.float32]
    awake: NDArray[np.bool_]
    bouts: Sequence[Bout]


@dataclass(frozen=True)
class Outcome:
    """What a rule does on the nights."""

    decision: GateDecision
    recall: float
    false_alarms_per_hour: float
    delay_p50_s: float
    delay_p95_s: float


def hear(path: Path, *, gate: Path) -> Hour:
    """Logits and activity of one hour. The gate hears all of it; sleeping hops are masked afterwards."""
    audio = soundfile.read(path, dtype="int16")[0]
    audio = audio[: len(audio) // HOP * HOP]
    stage = ActivityDetector(Vad(DetectorSettings().vad_mode), DetectorSettings().level_margin_db)
    awake = [stage.process(audio[k : k + HOP]).active for k in range(0, len(audio), HOP)]
    events = (json.loads(line) for line in path.with_suffix(".jsonl").read_text().splitlines())
    bouts = [Bout(e["onset_s"], e["offset_s"]) for e in events if e["type"] == "bout"]
    return Hour(gate_logits(Network(gate), audio).reshape(-1, 3), np.array(awake), bouts)


def episodes(hour: Hour, decision: GateDecision) -> list[Episode]:
    """What the runtime's state machine makes of an hour's logits."""
    smoother = ScoreSmoother(decision.smoothing_s)
    tracker = EpisodeTracker(episode_rules(DetectorSettings(), decision))
    ended = []
    for k, logits in enumerate(hour.logits):
        score = smoother.process(logits) if hour.awake[k] or tracker.crying else 0.0
        hop = Hop(SampleIndex(k * HOP), SampleIndex((k + 1) * HOP), score, Dbfs(0.0))
        ended += tracker.process(hop)
    ended += tracker.finish(SampleIndex(len(hour.logits) * HOP))
    return [
        Episode(seconds(e.onset), seconds(e.detected), seconds(e.offset))
        for e in ended
        if isinstance(e, EpisodeEnded)
    ]


def outcome(decision: GateDecision, hours: Sequence[Hour]) -> Outcome:
    """Score one rule."""
    matchings = [match_episodes(hour.bouts, episodes(hour, decision)) for hour in hours]
    found = [f for m in matchings for f in m.found]
    delays = [d for m in matchings for d in m.delays_s]
    length_h = sum(len(hour.logits) for hour in hours) * HOP / 16_000 / 3600
    return Outcome(
        decision,
        recall=float(np.mean(found)),
        false_alarms_per_hour=sum(len(m.false_alarms) for m in matchings) / length_h,
        delay_p50_s=percentile(delays, 50.0),
        delay_p95_s=percentile(delays, 95.0),
    )


def candidates() -> Iterator[GateDecision]:
    for smoothing, (hits, window), onset in itertools.product(SMOOTHINGS_S, HITS, ONSETS):
        yield GateDecision(
            onset_threshold=onset,
            offset_threshold=round(onset * OFFSET_SHARE, 4),
            onset_hits=hits,
            onset_window_hops=window,
            hang_over_s=HANG_OVER_S,
            cool_down_s=COOL_DOWN_S,
            smoothing_s=smoothing,
        )


def best(outcomes: Sequence[Outcome], limit: float) -> Outcome:
    """The rule to ship; if none keeps to the limit, the one with the fewest false alarms above 0.9 recall."""
    median, tail = USABLE_DELAYS_S
    quick = [o for o in outcomes if o.delay_p50_s <= median and o.delay_p95_s <= tail]
    fit = [o for o in quick or outcomes if o.false_alarms_per_hour <= limit]
    if fit:
        return max(fit, key=lambda o: (o.recall, -o.false_alarms_per_hour, -o.delay_p50_s))
    return min(outcomes, key=lambda o: (o.recall < 0.9, o.false_alarms_per_hour, -o.recall))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m models.training.tune", description=__doc__)
    parser.add_argument("--gate", type=Path, required=True)
    parser.add_argument("--nights", type=Path, nargs="+", required=True)
    parser.add_argument("--false-alarms", type=float, default=0.1, help="at most so many an hour")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    paths = sorted(path for folder in options.nights for path in folder.glob("hour-*.flac"))
    with ProcessPoolExecutor(options.jobs) as workers:
        hours = list(workers.map(partial(hear, gate=options.gate), paths))
        outcomes = list(workers.map(partial(outcome, hours=hours), candidates(), chunksize=42))
    chosen = best(outcomes, options.false_alarms)
    for o in sorted(outcomes, key=lambda o: (-o.recall, o.false_alarms_per_hour))[:12]:
        print(_line(o))
    print("chosen", _line(chosen))
    options.out.write_text(chosen.decision.model_dump_json(indent=2) + "\n")


def _line(o: Outcome) -> str:
    d = o.decision
    return (
        f"recall {o.recall:.3f}  false alarms {o.false_alarms_per_hour:.2f}/h  delay {o.delay_p50_s:.2f} s"
        f" (p95 {o.delay_p95_s:.2f})  smoothing {d.smoothing_s}  {d.onset_hits} of {d.onset_window_hops}"
        f" at {d.onset_threshold}"
    )


if __name__ == "__main__":
    main()
