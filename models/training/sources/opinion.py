"""The teacher's opinion of a clip: mn04's score for a baby's cry and its top AudioSet class."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from models.training.nets import mn04
from models.training.teach import at_teacher_rate, load_teacher
from monitor.types import SAMPLE_RATE_HZ

CRY_CLASS: Final = "Baby cry, infant cry"
HEARD_S: Final = 10
CLASSES: Final = Path("efficientat-mn04") / "class_labels_indices.csv"


class Listener:
    """mn04 with the names of its classes, from the folder of pre-trained models."""

    def __init__(self, pretrained: Path) -> None:
        self._net = load_teacher(pretrained)
        self._front_end = mn04.MelFrontEnd()
        with (pretrained / CLASSES).open(newline="", encoding="utf-8") as file:
            self._names = [row["display_name"] for row in csv.DictReader(file)]

    @torch.no_grad()
    def columns(self, samples: NDArray[np.float32]) -> dict[str, str]:
        """``mn04_cry, mn04_top`` of the first 10 s of float32 (n,), 16 kHz."""
        heard = samples[: HEARD_S * SAMPLE_RATE_HZ]
        # Silence up to 10 s, what the net was trained on; without it the scores are others (0.76 for 0.86).
        heard = np.pad(heard, (0, HEARD_S * SAMPLE_RATE_HZ - len(heard)))
        logits = self._net(self._front_end(at_teacher_rate(torch.from_numpy(heard)[None])))[0]
        scores = torch.sigmoid(logits).numpy()
        return {
            "mn04_cry": f"{round(float(scores[self._names.index(CRY_CLASS)]), 4)}",
            "mn04_top": self._names[int(scores.argmax())],
        }
