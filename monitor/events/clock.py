"""From positions in the stream to UTC. The one place where the two meet."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from monitor.types import SAMPLE_RATE_HZ, SampleIndex


class StreamClock:
    """Turns a sample index into UTC.

    The sample clock of a sound card runs some ten ppm beside UTC (a second in a day), so the clock
    is anchored anew whenever audio arrives and never extrapolates further than the latest block.
    A step of the system clock therefore moves the times reported after it, and nothing else:
    durations are differences of sample indices and never come from here.

    A recording that is read as fast as possible has no part in the time that passes meanwhile: its
    first sample is given a time once (``fix``), and all others follow from their position.

    >>> clock = StreamClock()
    >>> clock.observe(SampleIndex(32_000), datetime(2026, 11, 22, 3, 0, 2, tzinfo=UTC))
    >>> clock.utc_of(SampleIndex(8_000)).time().isoformat()
    '03:00:00.500000'
    """

    def __init__(self) -> None:
        self._anchor: tuple[SampleIndex, datetime] | None = None
        self._fixed = False

    def fix(self, began_at: datetime) -> None:
        """Give the stream's first sample the time ``began_at`` for good; what is observed later is ignored.

        Raises ValueError for a time without a zone.
        """
        self.observe(SampleIndex(0), began_at)
        self._fixed = True

    def observe(self, head: SampleIndex, utc: datetime) -> None:
        """Take note that the newest sample captured so far, ``head``, is as old as ``utc``.

        ``head`` is the writer's position, not the reader's: a reader that lags would otherwise
        shift the times by its lag. Raises ValueError for a time without a zone.
        """
        if utc.tzinfo is None:
            raise ValueError(f"The stream clock needs a time with a zone, not {utc!r}.")
        if not self._fixed:
            self._anchor = (head, utc.astimezone(UTC))

    def utc_of(self, index: SampleIndex) -> datetime:
        """When the sample at ``index`` was heard. Raises ValueError before the first audio."""
        if self._anchor is None:
            raise ValueError("The stream clock has not seen any audio yet.")
        head, utc = self._anchor
        # Integer microseconds: a float loses them after a few years of samples.
        return utc + timedelta(microseconds=(index - head) * 1_000_000 // SAMPLE_RATE_HZ)
