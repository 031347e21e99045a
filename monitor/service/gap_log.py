"""Log lines about lost audio: one when it begins, one an hour while it lasts, one when it is over."""

from __future__ import annotations

from typing import Final

import structlog

from monitor.types import Block, Gap, seconds

log = structlog.get_logger(__name__)

AGAIN_AFTER_S: Final = 3600.0
LONG_S: Final = 10.0
"""A loss that lasted longer is worth a line when it is over."""


class GapLog:
    """A source that is away sends a gap a second, all night. One thread; time is counted in audio."""

    def __init__(self) -> None:
        self._lost_s = 0.0
        """Of the loss that lasts."""
        self._told_s = 0.0

    def note(self, item: Block | Gap) -> None:
        """Write what is to be said about ``item``; items come in order."""
        if isinstance(item, Block):
            if self._lost_s > LONG_S:
                log.info("detector.audio_back", lost_s=round(self._lost_s, 1))
            self._lost_s = 0.0
            return
        first = self._lost_s == 0.0
        self._lost_s += seconds(item.length)
        if first or self._lost_s - self._told_s >= AGAIN_AFTER_S:
            self._told_s = self._lost_s
            log.warning("detector.gap", reason=item.reason.value, length_s=round(self._lost_s, 3))
