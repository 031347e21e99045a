"""Whether the microphone delivers a signal: a muted or broken one goes on delivering one value."""

from __future__ import annotations

from monitor.types import Block, Gap, SampleIndex, seconds


class SignalWatch:
    """Measures for how long the samples have not moved at all.

    A quiet room is never constant: the converter's own noise moves the last bit. Digital zeros are
    the usual constant (mute), any other one is a stuck converter. The detector's thread observes,
    any thread reads.
    """

    def __init__(self) -> None:
        self._value: int | None = None
        self._since: SampleIndex | None = None
        self.constant_s = 0.0
        """For how long the newest samples have had one value."""

    @property
    def value(self) -> int | None:
        """The constant value; None while the signal moves."""
        return self._value

    def observe(self, item: Block | Gap) -> None:
        if isinstance(item, Gap):
            self._reset()
            return
        if len(item.samples) == 0:
            return
        first = int(item.samples[0])
        # Two samples nearly always tell that the signal moves; all are compared only when those are equal.
        if first != item.samples[-1] or not (item.samples == first).all():
            self._reset()
            return
        if self._since is None or first != self._value:
            self._value, self._since = first, item.start
        self.constant_s = seconds(item.stop - self._since)

    def _reset(self) -> None:
        self._value = self._since = None
        self.constant_s = 0.0
