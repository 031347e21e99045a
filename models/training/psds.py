"""Polyphonic sound detection score of one class, by sed_scores_eval.

Threshold-free: the area under recall over false alarms an hour, where a detection counts as true when a
tenth of it lies in a bout and a bout as found when a tenth of it is detected (PSDS2's dtc = gtc = 0.1;
cross triggers need a second class). Up to 100 false alarms an hour, as DESED scores it, and up to 1.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.training.metrics import EARLY_S, LATE_S
from models.training.night_score import Event, Hour
from models.training.tracks import Track
from monitor.errors import ConfigError

TOLERANCE: Final = 0.1
LIMITS_PER_HOUR: Final = (100.0, 1.0)
LABEL: Final = "cry"


def psds(hours: Sequence[Hour], tracks: Sequence[Track]) -> dict[str, float]:
    """PSDS for each limit of false alarms an hour. Raises ConfigError without sed_scores_eval.

    Doubtful bouts are no truth, and scores within them are no detections.
    """
    evaluate, table = _library()
    scores, truth, durations = {}, {}, {}
    for hour, track in zip(hours, tracks, strict=True):
        clear = [bout for bout in hour.bouts if not bout["doubtful"]]
        doubtful = [bout for bout in hour.bouts if bout["doubtful"]]
        edges = np.round(track.edges_s, 6)
        frame = table(_without(track, doubtful)[:, None], edges, [LABEL])
        # The library's loops ask for memory that they may write to; pandas 3 lends its own read-only.
        # Single precision, which the scores have anyway, makes the library take a copy.
        scores[hour.name] = frame.astype({LABEL: np.float32})
        truth[hour.name] = [(bout["onset_s"], bout["offset_s"], LABEL) for bout in clear]
        durations[hour.name] = float(hour.about["duration_s"])
    if not any(truth.values()):
        raise ConfigError("PSDS needs nights with clear bouts.", "Add a set that was made with cries.")
    return {
        f"at most {limit:.0f}/h": float(
            evaluate(
                scores,
                truth,
                durations,
                dtc_threshold=TOLERANCE,
                gtc_threshold=TOLERANCE,
                max_efpr=limit,
            )[0]
        )
        for limit in LIMITS_PER_HOUR
    }


def _without(track: Track, doubtful: Sequence[Event]) -> NDArray[np.float64]:
    scores = track.scores.copy()
    for bout in doubtful:
        inside = (track.edges_s[1:] > bout["onset_s"] - EARLY_S) & (
            track.edges_s[:-1] < bout["offset_s"] + LATE_S
        )
        scores[inside] = 0.0
    return scores


def _library() -> tuple[Any, Any]:
    try:
        with warnings.catch_warnings():
            # sed_scores_eval loads dcase_util, which still asks setuptools for pkg_resources.
            warnings.filterwarnings("ignore", "pkg_resources is deprecated", UserWarning)
            from sed_scores_eval.base_modules.scores import create_score_dataframe  # noqa: PLC0415
            from sed_scores_eval.intersection_based import psds as evaluate  # noqa: PLC0415
    except ImportError as error:
        raise ConfigError(
            f"PSDS needs sed_scores_eval ({error}).", "Run make install-train, or leave out --psds."
        ) from error
    return evaluate, create_score_dataframe
