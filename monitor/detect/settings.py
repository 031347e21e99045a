"""What a user may tune about detection; None means: as the model's manifest says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from monitor.types import samples

ModelForm = Literal["auto", "int8", "float"]

NEUTRAL_SENSITIVITY: Final = 50
SENSITIVITY_LOGITS: Final = 1.5
"""How far the ends of the range, 0 and 100, move the thresholds. 0.94 becomes 0.99 and 0.78, 0.8 becomes 0.95
and 0.47: nothing that hears no cry at all, nothing that cries wolf at every sound."""


@dataclass(frozen=True, slots=True)
class Tuning:
    """What may change while the detector runs, on top of the settings."""

    sensitivity: int = NEUTRAL_SENSITIVITY
    """0-100; above 50 an episode starts at lower scores, below at higher ones."""
    hang_over_s: float | None = None
    """Calm that ends an episode; None: as the settings say."""

    @property
    def hang_over(self) -> int | None:
        """The same in samples."""
        return None if self.hang_over_s is None else samples(self.hang_over_s)


@dataclass(frozen=True, slots=True)
class DetectorSettings:
    """Thresholds in probability, times in seconds, levels in dB.

    The manifest's values were chosen on the validation split together with the weights, so None is
    the measured setting and anything else the user's own.
    """

    onset_threshold: float | None = None
    """Smoothed score that counts as a hit, 0-1."""
    offset_threshold: float | None = None
    """Smoothed score below which a hop of an open episode counts as calm, 0-1, at most the onset's."""
    onset_hits: int | None = None
    """Hits within ``onset_window_hops`` that start an episode (N of N-of-M)."""
    onset_window_hops: int | None = None
    """Hops of 240 ms that are looked at (M of N-of-M)."""
    hang_over_s: float | None = None
    """Calm that ends an episode."""
    cool_down_s: float | None = None
    """Time after an episode's end before another may start."""
    patient: bool = True
    """Let longer, less certain crying start an episode too, where the model's rule has such a tier."""
    update_every_s: float = 5.0
    """Between updates of an open episode."""
    vad_mode: int = 2
    """WebRTC VAD aggressiveness, 0-3."""
    level_margin_db: float = 5.0
    """Rise above the room's noise floor, in any of the narrow bands, that wakes the gate model by itself."""
    always_awake: bool = False
    """Run the gate model on every hop, whatever level and VAD say."""
    classify: bool = True
    """Estimate a cause for each episode."""
    model_form: ModelForm = "int8"
    """The gate model's arithmetic. "auto" takes what is faster on this machine, which suits a service;
    the default answers the same on every run."""
