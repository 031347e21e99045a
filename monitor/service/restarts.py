"""How often the monitor may be restarted from outside: each time it is deaf for some seconds.

An automation that presses the button every minute made it deaf for a tenth of the time. A process does not
remember the one before it, so the times are kept on disk.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict

from monitor.errors import RequestError
from monitor.service.kept import Kept
from monitor.service.state_writer import StateWriter

NOT_BEFORE_S: Final = 60.0
"""After a start."""
AT_MOST: Final = 3
WITHIN_S: Final = 3600.0
FORGETFUL_NOT_BEFORE_S: Final = WITHIN_S / AT_MOST
"""After a start, where nothing can be kept that would count."""


class Restarts(BaseModel):
    """When it was restarted on request, in seconds since 1970."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    at: tuple[float, ...] = ()


class RestartLimit:
    """Lets :data:`AT_MOST` restarts through within :data:`WITHIN_S`."""

    def __init__(self, folder: Path | None, writer: StateWriter, opened_at_s: float) -> None:
        self._not_before_s = opened_at_s + (FORGETFUL_NOT_BEFORE_S if folder is None else NOT_BEFORE_S)
        self._kept = Kept(folder, "restarts.json", Restarts(), writer)

    @property
    def kept(self) -> Kept[Restarts]:
        return self._kept

    def admit(self, now_s: float, utc_s: float) -> None:
        """Count a restart at ``now_s`` (monotonic) and ``utc_s``. Raises RequestError when it is too soon."""
        if now_s < self._not_before_s:
            raise RequestError(
                "restart: the monitor has only just started.", _wait(self._not_before_s - now_s)
            )
        # A time to come was told by a clock that was wrong.
        recent = [at for at in self._kept.value.at if 0 <= utc_s - at < WITHIN_S]
        if len(recent) >= AT_MOST:
            raise RequestError(
                f"restart: {AT_MOST} were asked for within the hour, and each makes the monitor deaf.",
                _wait(recent[-AT_MOST] + WITHIN_S - utc_s),
            )
        self._kept.keep(Restarts(at=(*recent, utc_s)))


def _wait(seconds: float) -> str:
    if seconds <= NOT_BEFORE_S:
        return f"Wait for {math.ceil(seconds)} s."
    return f"Wait for {math.ceil(seconds / 60)} min."
