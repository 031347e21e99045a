"""The second opinion: where the gate suspects a cry, a bigger network hears the last 2.4 s as one segment.

The gate is small because it runs all night, and so it takes some cats and songs for cries. The verifier
knows thousands of hours of other sounds from its pre-training; it runs only on the gate's suspicion.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitor.detect.inference import Network
from monitor.detect.odds import logit, sigmoid
from monitor.detect.segment_mel import N_BANDS, N_FRAMES, segment_mel
from monitor.errors import ManifestMismatchError


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the verifier makes of a segment.

    ``logit`` of "a baby cries in it", calibrated; ``embedding`` float32 (d,): what kind of sound it is.
    """

    logit: float
    embedding: NDArray[np.float32]


def weighed(score: float, verdict_logit: float, share: float) -> float:
    """Gate and verifier as one probability: the mean of their logits, ``share`` being the verifier's weight.

    They err in different places, since one hears time and the other has heard the world.
    """
    return sigmoid((1.0 - share) * logit(score) + share * verdict_logit)


class Verifier:
    """Segments in, verdicts out; keeps nothing between them."""

    def __init__(self, network: Network, temperature: float = 1.0) -> None:
        """``temperature`` divides the logits.

        Raises ManifestMismatchError if the network's interface is not a verifier's.
        """
        expected = (1, N_BANDS, N_FRAMES)
        if network.input_shape("segment") != expected or network.outputs != ["logit", "embedding"]:
            raise ManifestMismatchError(
                f"the verifier takes {network.input_shape('segment')} and gives {network.outputs}; expected "
                f"{expected} and logit, embedding.",
                "Install a model made for this version.",
            )
        self._network = network
        self._temperature = temperature

    def judge(self, samples: NDArray[np.int16]) -> Verdict:
        """Judge one segment, int16 (SEGMENT_SAMPLES,). Raises ValueError for another length."""
        answer, embedding = self._network.run({"segment": segment_mel(samples)[None]})
        return Verdict(float(answer[0]) / self._temperature, embedding[0])
