"""The gate model: streaming log-mel in, cry probabilities out, state carried from hop to hop."""

from __future__ import annotations

from math import exp
from typing import Final

import numpy as np
from numpy.typing import NDArray

from monitor.detect.features import N_MELS
from monitor.detect.inference import Network
from monitor.detect.odds import sigmoid
from monitor.errors import ManifestMismatchError

HOP_FRAMES: Final = 12
"""Log-mel frames of a hop."""

STEM_CONTEXT: Final = 2
"""Frames before the hop that the model's first layer looks at."""


class GateModel:
    """One stream through the gate model. ``reset`` starts it behind silence."""

    def __init__(self, network: Network) -> None:
        """Raises ManifestMismatchError if the network's interface is not the gate's."""
        expected = (1, STEM_CONTEXT + HOP_FRAMES, N_MELS)
        if network.input_shape("frames") != expected or network.outputs != ["logits", "next_state"]:
            raise ManifestMismatchError(
                f"the gate model takes {network.input_shape('frames')} and gives {network.outputs}; expected "
                f"{expected} and logits, next_state.",
                "Install a model made for this version.",
            )
        self._network = network
        self._state_shape = network.input_shape("state")
        self.reset()

    def reset(self) -> None:
        """Forget the stream."""
        self._state = np.zeros(self._state_shape, np.float32)
        self._frames = np.zeros((1, STEM_CONTEXT + HOP_FRAMES, N_MELS), np.float32)

    def process(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        """Cry logits of a hop's three 80 ms steps, float32 (3,). ``frames``: (HOP_FRAMES, N_MELS)."""
        self._frames[0, :STEM_CONTEXT] = self._frames[0, -STEM_CONTEXT:]
        self._frames[0, STEM_CONTEXT:] = frames
        logits, self._state = self._network.run({"frames": self._frames, "state": self._state})
        return np.asarray(logits[0])


class ScoreSmoother:
    """Exponential average of the steps' probabilities.

    ``smoothing_s`` is its time constant; 0 passes the probabilities through.
    """

    STEP_S: Final = 0.08

    def __init__(self, smoothing_s: float) -> None:
        self._keep = exp(-self.STEP_S / smoothing_s) if smoothing_s > 0.0 else 0.0
        self._score = 0.0

    def reset(self) -> None:
        """Start from certainty of calm."""
        self._score = 0.0

    def process(self, logits: NDArray[np.float32]) -> float:
        """The average behind these steps, 0-1."""
        for logit in logits.tolist():
            self._score += (1.0 - self._keep) * (sigmoid(logit) - self._score)
        return self._score
