"""Which form of a network runs on this machine: int8 or float, decided once, at the start.

int8 is the smaller and on most processors the quicker one. A Cortex-A72 (Raspberry Pi 4) has no dot
product over bytes, though, and its float kernels may win; so where both were shipped, both are timed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Final, Literal

import numpy as np
import structlog

from monitor.detect.artifacts import Artifact
from monitor.detect.inference import Network
from monitor.detect.settings import ModelForm
from monitor.errors import ManifestMismatchError

log = structlog.get_logger(__name__)

Form = Literal["int8", "float"]

WARM_UP_RUNS: Final = 3
"""Runs before the first that counts: ONNX Runtime allocates and packs on them."""
RUNS: Final = 21
MIN_RUNS: Final = 7
BUDGET_S: Final = 0.5
"""After so much measured time MIN_RUNS are enough: a slow machine must not wait long for its monitor."""
SWEEP_BYTES: Final = 2 << 20
"""Written between two runs: live, a hop comes every 240 ms and finds the caches of a Pi (1 MB) cold, where
the larger float weights cost most."""
WORTH_IT: Final = 0.9
"""float has to take less than this share of int8's time; a tie goes to int8, which was tuned and measured."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The network that runs, and the median times of a run where both were measured, in milliseconds."""

    network: Network
    form: Form
    int8_ms: float | None = None
    float_ms: float | None = None


def load_network(
    artifact: Artifact, wanted: ModelForm = "auto", *, clock: Callable[[], float] = time.thread_time
) -> Choice:
    """Load an artefact's network in the wanted form; "auto" takes the faster one of those that it has.

    ``clock`` gives seconds; the default counts this thread's work only, because at the start of a Pi
    other programs are busy too.

    Raises ModelError when a file is no readable model, ManifestMismatchError when float is wanted of
    an artefact that has none.
    """
    if wanted == "int8" or (wanted == "auto" and artifact.float_model is None):
        return Choice(Network(artifact.model), "int8")
    if artifact.float_model is None:
        raise ManifestMismatchError(
            f"{artifact.folder}: the {artifact.manifest.kind} model comes in int8 only.",
            'Set detect.model_form to "int8" or "auto".',
        )
    if wanted == "float":
        return Choice(Network(artifact.float_model), "float")
    return _faster(artifact, Network(artifact.model), Network(artifact.float_model), clock)


def _faster(artifact: Artifact, int8: Network, floating: Network, clock: Callable[[], float]) -> Choice:
    """The quicker one; the other is freed with the last reference to it, when this returns."""
    int8_s, float_s = _median_times(int8, floating, clock)
    form: Form = "float" if float_s < WORTH_IT * int8_s else "int8"
    choice = Choice(floating if form == "float" else int8, form, 1e3 * int8_s, 1e3 * float_s)
    log.info(
        "detect.model_form",
        model=artifact.manifest.name,
        form=form,
        int8_ms=round(1e3 * int8_s, 3),
        float_ms=round(1e3 * float_s, 3),
    )
    return choice


def _median_times(first: Network, second: Network, clock: Callable[[], float]) -> tuple[float, float]:
    """Median seconds of a run, turn by turn, so that a busy moment hits both."""
    networks = (first, second)
    feeds = [network.blank_feed() for network in networks]
    for network, feed in zip(networks, feeds, strict=True):
        for _ in range(WARM_UP_RUNS):
            network.run(feed)
    elsewhere = np.zeros(SWEEP_BYTES, np.uint8)
    taken: tuple[list[float], list[float]] = ([], [])
    while len(taken[0]) < RUNS:
        for network, feed, times in zip(networks, feeds, taken, strict=True):
            elsewhere += 1
            begun = clock()
            network.run(feed)
            times.append(clock() - begun)
        if len(taken[0]) >= MIN_RUNS and sum(taken[0]) + sum(taken[1]) > BUDGET_S:
            break
    return median(taken[0]), median(taken[1])
