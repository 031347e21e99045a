"""What models and detector answer, number by number: ``python answers.py RECORDING`` prints JSON.

The same file runs here and, by its text alone, under emulation: it needs nothing of the tests.
"""

from __future__ import annotations

import json
import platform
import sys
from pathlib import Path
from typing import Any

from monitor.capture.recording import Recording
from monitor.detect.loading import load_pipeline, verify_artifacts
from monitor.detect.settings import DetectorSettings
from monitor.types import DetectorOutput, EndOfStream, EpisodeEnded, EpisodeStarted, HopReport


def answers(path: Path) -> dict[str, Any]:
    """Golden differences of each model; every hop and episode of the recording at ``path``."""
    return {
        "machine": platform.machine(),
        "python": platform.python_version(),
        "golden": {f"{r.name} {r.form}": r.difference for r in verify_artifacts()},
        **_heard(path),
    }


def _heard(path: Path) -> dict[str, Any]:
    pipeline, source = load_pipeline(DetectorSettings(model_form="int8")), Recording(path)
    hops: list[list[Any]] = []
    episodes: list[list[Any]] = []
    source.start()
    try:
        while not isinstance(item := source.read(1.0), EndOfStream):
            if item is not None:
                _note(pipeline.process(item), hops, episodes)
        _note(pipeline.flush(), hops, episodes)
    finally:
        source.stop(0.0)
    return {"hops": hops, "episodes": episodes}


def _note(outputs: list[DetectorOutput], hops: list[list[Any]], episodes: list[list[Any]]) -> None:
    for output in outputs:
        if isinstance(output, HopReport):
            score = None if output.score is None else float(output.score)
            hops.append([output.start, output.stop, output.level_dbfs, output.active, score, output.crying])
        elif isinstance(output, EpisodeStarted):
            episodes.append(["started", output.onset, output.detected])
        elif isinstance(output, EpisodeEnded):
            episodes.append(["ended", output.onset, output.detected, output.offset, float(output.score)])


if __name__ == "__main__":
    print(json.dumps(answers(Path(sys.argv[1]))))
