"""The competitor: YAMNet's scores read with the rules of Frigate's audio events.

Frigate cuts the stream into windows of 0.975 s without overlap, drops those under a volume limit, and
counts a window as crying when one of three AudioSet classes passes a threshold; the event ends after 30 s
without such a window. The network is the TFLite file itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.training.window_rules import Rival, Rule, WindowScores
from monitor.errors import ModelError
from monitor.types import SAMPLE_RATE_HZ

WINDOW_SAMPLES: Final = 15_600
WINDOW_S: Final = WINDOW_SAMPLES / SAMPLE_RATE_HZ
N_CLASSES: Final = 521
CRYING_CLASSES: Final = slice(19, 22)
"""Crying, sobbing; Baby cry, infant cry; Whimper: Frigate merges them into its label ``crying``."""
MODEL_FILE: Final = "yamnet/yamnet_wave_dynint8.tflite"

Scorer = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""From 15,600 samples in [-1, 1] to 521 scores."""


RULES: Final = (
    Rule("Frigate's default: > 0.8, RMS >= 500", 0.8, 500.0),
    Rule("> 0.5, no volume limit", 0.5),
    Rule("> 0.3, no volume limit", 0.3),
    Rule("> 0.1, no volume limit", 0.1),
)


class Yamnet:
    """The TFLite network on one thread. Raises ModelError when it cannot be loaded."""

    def __init__(self, path: Path) -> None:
        try:
            from ai_edge_litert.interpreter import Interpreter  # noqa: PLC0415  # measuring extra only
        except ImportError as error:
            raise ModelError("YAMNet needs ai-edge-litert.", "Install the extra 'train'.") from error
        try:
            self._interpreter = Interpreter(model_path=str(path), num_threads=1)
        except (OSError, ValueError) as error:
            raise ModelError(f"{path} is no TFLite model: {error}.", "See --pretrained.") from error
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._output = self._interpreter.get_output_details()[0]["index"]
        self._interpreter.allocate_tensors()

    def __call__(self, window: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scores, shape (521,), of one window, shape (15600,)."""
        self._interpreter.set_tensor(self._input, window)
        self._interpreter.invoke()
        scores: NDArray[np.float32] = self._interpreter.get_tensor(self._output)
        return scores.reshape(-1, N_CLASSES).max(axis=0)


def score_windows(x: NDArray[np.int16], scorer: Scorer) -> WindowScores:
    """Score each whole window of a recording; what is left at its end is not heard, as in Frigate."""
    windows = x[: len(x) // WINDOW_SAMPLES * WINDOW_SAMPLES].reshape(-1, WINDOW_SAMPLES)
    crying, rms, cpu = np.zeros((3, len(windows)))
    for i, window in enumerate(windows):
        begun = time.process_time()
        as_float = window.astype(np.float32)
        rms[i] = np.sqrt(np.mean(np.square(as_float)))
        crying[i] = scorer(as_float / np.float32(32768.0))[CRYING_CLASSES].max()
        cpu[i] = time.process_time() - begun
    return WindowScores(crying, rms, cpu, WINDOW_S, WINDOW_S)


def rival(pretrained: Path) -> Rival:
    """YAMNet, ready to be measured."""
    path = pretrained / MODEL_FILE
    network = Yamnet(path)
    version = f"yamnet {WINDOW_SAMPLES} {CRYING_CLASSES.start}:{CRYING_CLASSES.stop}"
    return Rival("YAMNet", path, RULES, lambda x: score_windows(x, network), version)
