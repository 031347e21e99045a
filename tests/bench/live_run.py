"""Cries played to the running service, one after the other, and what becomes of each."""

from __future__ import annotations

import statistics
import threading
import time
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import numpy as np
from numpy.typing import NDArray

from monitor.detect import artifacts
from monitor.detect.activity import HOP
from monitor.detect.artifacts import GateDecision
from monitor.detect.loading import load_pipeline
from monitor.detect.settings import DetectorSettings
from monitor.types import Block, EpisodeStarted, SampleIndex, samples, seconds
from tests.bench.live_cries import LiveCry
from tests.bench.live_room import Hub, payload
from tests.broker import Received
from tests.virtual_microphone import FEED_S, VirtualMicrophone

GRACE_S: Final = 4.0
"""A message that comes later than this after the end of its cry counts as missed."""
END_S: Final = 60.0
PHASES: Final = range(0, HOP, samples(FEED_S))
"""Where on the detector's grid of hops a cry may begin."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """One cry that was heard. All in seconds."""

    name: str
    delay_s: float
    """From the first sound at the microphone to the message at the subscriber."""
    deciding_s: float
    """By the message itself: from the onset it states to its detection, in stream time."""
    sending_s: float
    """From the detecting hop's arrival in the service to the message at the subscriber."""


@dataclass(slots=True)
class Entry:
    """When a cry entered the microphone, told by the thread that feeds it."""

    at_s: float = 0.0
    known: threading.Event = field(default_factory=threading.Event)

    def note(self, at_s: float) -> None:
        self.at_s = at_s
        self.known.set()


def calm_s() -> float:
    """How long the room must be calm behind an episode before the next one can be raised."""
    decision = artifacts.find(None, "gate").manifest.decision
    assert isinstance(decision, GateDecision)
    return decision.cool_down_s + 1.0


class LiveRun:
    """Plays cries to the running service and keeps what becomes of them."""

    def __init__(
        self, microphone: VirtualMicrophone, hub: Hub, background: NDArray[np.int16], seed: int
    ) -> None:
        self._microphone = microphone
        self._hub = hub
        self._background = background
        self._rng = np.random.default_rng(seed)
        self._calm_s = calm_s()
        self.alarms: list[Alarm] = []
        self.missed: list[str] = []

    @property
    def false_alarms(self) -> int:
        return len(self._hub.started()) - len(self.alarms)

    def play(self, cry: LiveCry) -> None:
        """Feed one cry, wait for its message, for its end, and for a calm room."""
        entry = Entry()
        self._microphone.feed(cry.samples, wait=False, on_entered=entry.note)
        assert entry.known.wait(END_S), "the virtual microphone takes no audio"
        until_s = entry.at_s + seconds(len(cry.samples)) + GRACE_S
        started = self._hub.wait_for_start(entry.at_s, until_s)
        if started is None:
            self.missed.append(cry.name)
        else:
            self.alarms.append(_alarm(cry, entry.at_s, started))
            self._hub.wait_for_end(started, END_S)
        # The next one shall begin anywhere between two of the service's hops.
        self.calm(self._calm_s + float(self._rng.uniform(0.0, seconds(HOP))))

    def calm(self, duration_s: float) -> None:
        """Feed nothing but the room for so long."""
        n_samples = samples(FEED_S) * round(duration_s / FEED_S)
        self._microphone.feed(np.resize(self._background, n_samples))


def _alarm(cry: LiveCry, entered_s: float, started: Received) -> Alarm:
    message = payload(started)
    onset, detected = (datetime.fromisoformat(message[key]) for key in ("onset_at", "detected_at"))
    # Both clocks are read now; UTC does not step while they are.
    arrived_utc_s = time.time() - (time.monotonic() - started.arrived_s)
    return Alarm(
        name=cry.name,
        delay_s=started.arrived_s - entered_s,
        deciding_s=(detected - onset).total_seconds(),
        sending_s=arrived_utc_s - detected.timestamp(),
    )


def listening_s(cry: LiveCry, background: NDArray[np.int16]) -> float | None:
    """How much of the cry the detector has to hear before it is sure, without any sound system.

    Mean over the places on the grid of hops where the cry can begin; None when it is never heard.
    """
    pipeline = load_pipeline(DetectorSettings(classify=False))
    position, heard = SampleIndex(0), []
    for phase in PHASES:
        lead = samples(14.0) // HOP * HOP + phase - position % HOP
        audio = np.concatenate([np.resize(background, lead), cry.samples])
        onset = position + lead
        outputs = pipeline.process(Block(position, audio))
        position = SampleIndex(position + len(audio))
        heard += [seconds(o.detected - onset) for o in outputs if isinstance(o, EpisodeStarted)][:1]
    return statistics.fmean(heard) if heard else None
