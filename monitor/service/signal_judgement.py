"""What is wrong with the microphone's signal: one judgement for the service and for `cradlewatch check`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from monitor.service.signal_watch import SignalStats
from monitor.service.trouble import Concern, State, Trouble

CONVERTER_DBFS: Final = -92.0
"""Noise of a bare 16-bit converter, about its last bit."""
HEADROOM_DB: Final = 20.0
"""Of the loudest sound over the converter's noise, below which a cry in the room may drown in it."""


@dataclass(frozen=True, slots=True)
class SignalLimits:
    """From when on the signal is called a trouble."""

    silent_after_s: float = 10.0
    still_after_s: float = 2 * 3600.0
    """The same where quiet may be silence: behind a noise gate, or where nothing but the last bit moves."""
    clipped_share: float = 0.02
    """Share of the samples of the last seconds that may lie at full scale."""
    offset: float = 0.2
    """Mean of the samples of the last seconds that is still none, as a share of full scale."""
    quiet_dbfs: float = CONVERTER_DBFS + HEADROOM_DB
    quiet_after_s: float = 1800.0
    """Audio in which nothing was louder than ``quiet_dbfs``. A room may be silent for hours; a home in which
    somebody puts a child to bed is not, and one sound that is loud enough counts for half a day."""


QUIET: Final = "microphone.quiet"
"""Kind of the trouble that says that the gain is too low."""

_CLIPPING: Final = "The microphone clips: turn its gain down, with `alsamixer` for example."
_OFFSET: Final = "The microphone's signal lies far off zero: the microphone or its cable is broken."
_ZEROS: Final = (
    "The microphone delivers digital silence: it is muted, unplugged at the card, or broken, or a "
    "noise gate in it is closed."
)
_STUCK: Final = "The microphone delivers one constant value: it is broken."
_CHANNEL: Final = (
    "The chosen channel is silent while channel {0} sounds: set microphone.channel = {0} "
    "(source.channel for a file or pipe)."
)
_GATED: Final = (
    "The microphone or camera cuts quiet sounds out, so faint crying does not arrive: "
    "switch off its noise suppression or noise gate."
)
_STILL: Final = (
    "The microphone has delivered nothing but silence for two hours: make a sound beside it, and if this "
    "stays, look whether it is muted, and whether its noise suppression is on."
)
_QUIET: Final = (
    "The microphone is too quiet: its loudest sounds hardly rise above the converter's own noise. "
    "Turn its gain up, with `alsamixer` for example."
)


def signal_troubles(
    signal: SignalStats, limits: SignalLimits, better_channel: int | None = None
) -> Iterator[Trouble]:
    """All that is wrong with ``signal``, the worst first.

    ``better_channel``: one that sounds while the chosen one never has.
    """
    still = _stillness(signal, limits, better_channel)
    if still is not None:
        yield still
    if signal.clipped_share > limits.clipped_share:
        yield Trouble("microphone.clipping", State.DEGRADED, _CLIPPING, Concern.SIGNAL)
    # A constant value is reported above; it has an offset as well.
    elif abs(signal.offset) > limits.offset and signal.constant_value is None:
        yield Trouble("microphone.offset", State.DEGRADED, _OFFSET, Concern.SIGNAL)
    elif still is None and _is_quiet(signal, limits):
        yield Trouble(QUIET, State.DEGRADED, _QUIET, Concern.SIGNAL)
    elif signal.gated:
        # Loud crying does arrive, all night: a hint, not a fault that wakes anybody.
        yield Trouble("microphone.gated", State.DEGRADED, _GATED)


def _stillness(signal: SignalStats, limits: SignalLimits, better_channel: int | None) -> Trouble | None:
    if signal.gated or signal.constant_s <= limits.silent_after_s:
        silent = signal.still_s > limits.still_after_s
        return Trouble("microphone.silent", State.FAULT, _STILL, Concern.SIGNAL) if silent else None
    if better_channel is not None:
        reason = _CHANNEL.format(better_channel)
    else:
        reason = _ZEROS if signal.constant_value == 0 else _STUCK
    return Trouble("microphone.silent", State.FAULT, reason, Concern.SIGNAL)


def _is_quiet(signal: SignalStats, limits: SignalLimits) -> bool:
    # Silence is another trouble, and is none yet while it is short.
    return (
        signal.heard_s > limits.quiet_after_s
        and signal.loudest_dbfs < limits.quiet_dbfs
        and signal.constant_value is None
    )
