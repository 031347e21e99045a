"""What the microphone's signal is like: a broken one delivers one value for ever, distorts, or whispers."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

import numpy as np

from monitor.types import SILENCE_DBFS, Block, Dbfs, Gap, GapReason, SampleIndex, seconds

AVERAGED_OVER_S: Final = 10.0
"""A slammed door clips for a moment; a gain that is too high clips with every cry."""
JUDGED_FROM_S: Final = 2.0
"""Audio that an average needs before it says anything."""
FULL_SCALE: Final = 32767

STILL_SPAN: Final = 2
"""Of the samples of a block whose last bit alone moves: a gate may fill its pauses with dither."""
GATE_RUN_S: Final = 2.0
"""Stillness this long that ends with a sound is a gate's work, or somebody's at the mute switch."""
GATE_RUNS: Final = 5
GATE_WITHIN_S: Final = 3600.0
"""So many such runs in this time are a gate. A source that goes without for as long has none any more."""

LOUDEST_SLOT_S: Final = 12 * 3600.0
"""What was loudest is remembered for one to two of these: a silent night says nothing about the gain."""
PIECE: Final = 3840
"""240 ms, in which the loudest is looked for."""


@dataclass(frozen=True, slots=True)
class SignalStats:
    """What is known of the signal, of the newest audio where nothing else is said."""

    heard_s: float = 0.0
    """Audio since the start, or since the device was away."""
    constant_s: float = 0.0
    """For how long the samples have had one value."""
    constant_value: int | None = None
    still_s: float = 0.0
    """For how long no more than the last bit has moved."""
    clipped_share: float = 0.0
    """Of the samples of the last seconds, those at full scale."""
    offset: float = 0.0
    """Mean of the last seconds, as a share of full scale."""
    gated: bool = False
    """Stillness and sound alternate: something between microphone and us cuts quiet sounds out."""
    loudest_dbfs: Dbfs = SILENCE_DBFS
    """RMS of the loudest 240 ms of the last half day and more, without the offset."""


class SignalWatch:
    """Follows the signal block by block. The detector's thread observes, any thread reads.

    A quiet room is never constant: the converter's own noise moves the last bit. Digital zeros are
    the usual constant (mute), any other one is a stuck converter.
    """

    def __init__(self) -> None:
        self._gate_runs: deque[float] = deque(maxlen=GATE_RUNS)
        self._gated = False
        self._heard = 0
        self._forget_levels()
        self._moves()

    def _forget_levels(self) -> None:
        self._from_s = self._slot_from_s = self._heard_s()
        self._clipped = self._offset = 0.0
        self._loudest = self._loudest_before = 0.0

    def _moves(self) -> None:
        self._value: int | None = None
        self._constant_from: SampleIndex | None = None
        self._still_from: SampleIndex | None = None
        self._newest = SampleIndex(0)

    def stats(self) -> SignalStats:
        """A snapshot."""
        heard_s = self._heard_s() - self._from_s
        judged = heard_s >= JUDGED_FROM_S
        # An average that began at zero is too small by this share.
        begun = -np.expm1(-heard_s / AVERAGED_OVER_S) if judged else 1.0
        loudest = max(self._loudest, self._loudest_before)
        return SignalStats(
            heard_s=heard_s,
            constant_s=self._since(self._constant_from),
            constant_value=self._value,
            still_s=self._since(self._still_from),
            clipped_share=float(self._clipped / begun) if judged else 0.0,
            offset=float(self._offset / begun) if judged else 0.0,
            gated=self._gated,
            loudest_dbfs=_dbfs(loudest / FULL_SCALE**2),
        )

    def observe(self, item: Block | Gap) -> None:
        """Take the next run of the stream."""
        if isinstance(item, Gap):
            self._moves()
            if item.reason is GapReason.DEVICE_LOST:  # what comes back may be another one, at another gain
                self._forget_levels()
                if not self._gated:
                    self._gate_runs.clear()
            return
        for first in range(0, len(item.samples), PIECE):
            piece = item.samples[first : first + PIECE]
            self._take(Block(SampleIndex(item.start + first), piece))

    def _take(self, piece: Block) -> None:
        lowest, highest = int(piece.samples.min()), int(piece.samples.max())
        self._heard += len(piece.samples)
        self._follow_stillness(piece, lowest, highest)
        wave = piece.samples.astype(np.float32)
        mean = float(wave.mean())
        wave -= mean
        clips = highest >= FULL_SCALE or lowest <= -FULL_SCALE
        clipped = float(np.mean(np.abs(piece.samples.astype(np.int32)) >= FULL_SCALE)) if clips else 0.0
        weight = -np.expm1(-seconds(len(wave)) / AVERAGED_OVER_S)
        self._clipped += weight * (clipped - self._clipped)
        self._offset += weight * (mean / FULL_SCALE - self._offset)
        self._note_loudest(float(wave @ wave) / len(wave))

    def _heard_s(self) -> float:
        return seconds(self._heard)

    def _since(self, start: SampleIndex | None) -> float:
        return 0.0 if start is None else seconds(self._newest - start)

    def _follow_stillness(self, piece: Block, lowest: int, highest: int) -> None:
        if highest - lowest > STILL_SPAN:
            if self._since(self._still_from) >= GATE_RUN_S:
                self._note_gate_run()
            elif self._gated and self._heard_s() - self._gate_runs[-1] > GATE_WITHIN_S:
                self._gated = False
            self._moves()
            return
        if self._still_from is None:
            self._still_from = piece.start
        if lowest != highest:
            self._value = self._constant_from = None
        elif lowest != self._value:
            self._value, self._constant_from = lowest, piece.start
        self._newest = piece.stop

    def _note_gate_run(self) -> None:
        self._gate_runs.append(self._heard_s())
        first = self._gate_runs[0]
        if len(self._gate_runs) == GATE_RUNS and self._heard_s() - first <= GATE_WITHIN_S:
            self._gated = True

    def _note_loudest(self, power: float) -> None:
        if self._heard_s() - self._slot_from_s > LOUDEST_SLOT_S:
            self._slot_from_s = self._heard_s()
            self._loudest_before, self._loudest = self._loudest, 0.0
        self._loudest = max(self._loudest, power)


def _dbfs(power: float) -> Dbfs:
    return Dbfs(max(SILENCE_DBFS, 10.0 * float(np.log10(power)))) if power > 0.0 else SILENCE_DBFS
