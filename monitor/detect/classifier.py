"""The cause classifier: a hint about an episode, calibrated, and silent when it does not know."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from monitor.detect.artifacts import CauseDecision
from monitor.detect.features import N_MELS
from monitor.detect.inference import Network
from monitor.errors import ManifestMismatchError
from monitor.types import Cause, CauseEstimate

SEGMENT_FRAMES: Final = 300
"""6 s of log-mel frames: a segment's pre-roll, the cry and what follows."""


class CauseClassifier:
    """Segments in, estimates out."""

    def __init__(self, network: Network, labels: list[str], decision: CauseDecision) -> None:
        """Raises ManifestMismatchError if network and labels do not belong together."""
        expected = (1, SEGMENT_FRAMES, N_MELS)
        if network.input_shape("segment") != expected:
            raise ManifestMismatchError(
                f"the cause model takes {network.input_shape('segment')}, expected {expected}.",
                "Install a model made for this version.",
            )
        if not labels or len(set(labels)) < len(labels) or not {*labels} <= {*Cause} - {Cause.UNSURE}:
            raise ManifestMismatchError(
                f"the cause model's labels are not causes, each named once: {labels!r:.200}.",
                "Install a model made for this version.",
            )
        answers = network.run(network.blank_feed())[0]
        if answers.shape != (1, len(labels)):
            raise ManifestMismatchError(
                f"the cause model answers {answers.shape}, and its manifest names {len(labels)} causes.",
                "Install a model made for this version.",
            )
        if not all(decision.priors.get(label, 0.0) > 0 for label in labels):
            raise ManifestMismatchError(
                "the cause model's manifest has no base rate for one of its causes.",
                "Install a model made for this version.",
            )
        self._network = network
        self._causes = [Cause(label) for label in labels]
        self._decision = decision
        self._priors = {cause: decision.priors[cause] for cause in self._causes}
        self._log_priors = np.log(np.array(list(self._priors.values())))

    def log_posterior(self, segment: NDArray[np.float32]) -> NDArray[np.float64]:
        """Log-probabilities of one segment, float64 (n_causes,). ``segment``: (SEGMENT_FRAMES, N_MELS).

        The network is trained with logit adjustment (Menon et al. 2007.07314), so its logits are the
        evidence alone and the base rates are added here. A high temperature leaves just those.
        """
        logits = self._network.run({"segment": segment[None]})[0][0].astype(np.float64)
        return _log_softmax(logits / self._decision.temperature + self._log_priors)

    def estimate(self, log_posteriors: list[NDArray[np.float64]]) -> CauseEstimate:
        """Combine the segments of one episode: the mean of their log-probabilities, made to sum to 1.

        The mean, not the sum: segments of one baby in one episode are far from independent.
        """
        posterior = np.exp(_log_softmax(np.mean(log_posteriors, axis=0)))
        top = int(posterior.argmax())
        cause, probability = self._causes[top], float(posterior[top])
        sure = (
            probability >= self._decision.answer_probability
            and probability >= self._decision.answer_above * self._priors[cause]
        )
        return CauseEstimate(
            answer=cause if sure else Cause.UNSURE,
            probabilities={c: float(p) for c, p in zip(self._causes, posterior, strict=True)},
            priors=self._priors,
        )


def _log_softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    shifted = logits - logits.max()
    result: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum())
    return result
