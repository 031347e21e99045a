"""The teacher as it comes: mn04's AudioSet score for a baby's cry on windows of 2 s, hop 1 s.

Nothing is trained; the class is AudioSet's "Baby cry, infant cry". A live detector could run it so.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from models.training import teach
from models.training.nets import mn04
from models.training.window_rules import Rival, Rule, WindowScores
from monitor.types import samples

WEIGHTS: Final = "efficientat-mn04/mn04_as_mAP_432.pt"
WINDOW_S: Final = 2.0
HOP_S: Final = 1.0
BABY_CRY: Final = 23
"""Index in AudioSet's 527 classes; 22 is "Crying, sobbing", of grown-ups too."""
BATCH: Final = 8
"""Windows at once: on one core faster than one and than thirty-two."""
RULES: Final = tuple(Rule(f"> {threshold}", threshold) for threshold in (0.05, 0.1, 0.2, 0.4))


class Mn04Windows:
    """Scores windows with the pre-trained network, on one thread."""

    def __init__(self, pretrained: Path) -> None:
        torch.set_num_threads(1)
        self._net = mn04.load(pretrained / WEIGHTS)
        self._front_end = mn04.MelFrontEnd()

    @torch.no_grad()
    def __call__(self, x: NDArray[np.int16]) -> WindowScores:
        """Score each whole window of a recording; what is left at its end is not heard."""
        if len(x) < samples(WINDOW_S):
            windows = np.empty((0, samples(WINDOW_S)), np.int16)
        else:
            windows = np.lib.stride_tricks.sliding_window_view(x, samples(WINDOW_S))[:: samples(HOP_S)]
        crying, rms, cpu = np.zeros((3, len(windows)))
        for start in range(0, len(windows), BATCH):
            begun = time.process_time()
            part = windows[start : start + BATCH].astype(np.float32)
            waves = teach.at_teacher_rate(torch.from_numpy(part / np.float32(32768.0)))
            scores = torch.sigmoid(self._net(self._front_end(waves))[:, BABY_CRY])
            crying[start : start + BATCH] = scores.numpy()
            rms[start : start + BATCH] = np.sqrt(np.mean(np.square(part), axis=1))
            cpu[start : start + BATCH] = (time.process_time() - begun) / len(part)
        return WindowScores(crying, rms, cpu, WINDOW_S, HOP_S)


def rival(pretrained: Path) -> Rival:
    """mn04 zero-shot, ready to be measured."""
    version = f"mn04 {WINDOW_S} {HOP_S} {BABY_CRY}"
    return Rival("mn04 zero-shot", pretrained / WEIGHTS, RULES, Mn04Windows(pretrained), version)
