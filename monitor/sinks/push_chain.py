"""Who has been told of one alarm, who is next, and when it is repeated."""

from __future__ import annotations

from dataclasses import dataclass, field

from monitor.sinks.push_notes import Recipient, Urgency


@dataclass(slots=True)
class Chain:
    """One alarm on its way through the steps. Time comes in; nothing is sent in here.

    ``told`` holds whom it was sent to, in order. ``raised_s`` is None until it was first due.
    """

    recipients: tuple[Recipient, ...]
    next_step_after_s: float
    repeat_every_s: float
    told: list[str] = field(default_factory=list)
    step: int = 0
    sent: int = 0
    raised_s: float | None = None
    urgency: Urgency = Urgency.QUIET
    _step_s: float = 0.0
    _sent_s: float = 0.0

    def due(
        self, now_s: float, urgency: Urgency, unreachable: frozenset[str] = frozenset()
    ) -> tuple[str, ...]:
        """Who has to be told now, and is taken as told: newcomers of a step, or all when it is repeated."""
        everyone = self.raised_s is None or urgency > self.urgency or self._is_repeated(now_s)
        if self.raised_s is None:
            self.raised_s = now_s
            self._climb(now_s)
        elif now_s - self._step_s >= self.next_step_after_s:
            self._climb(now_s)
        self.urgency = urgency
        reached = self._reached()
        while unreachable.issuperset(reached) and self._climb(now_s):  # nobody there: ask the next at once
            reached = self._reached()
        names = tuple(name for name in reached if everyone or name not in self.told)
        if names:
            self.sent += 1
            self.told += [name for name in names if name not in self.told]
        if everyone:
            self._sent_s = now_s
        return names

    def _is_repeated(self, now_s: float) -> bool:
        return now_s - self._sent_s >= self.repeat_every_s

    def _climb(self, now_s: float) -> bool:
        above = [recipient.step for recipient in self.recipients if recipient.step > self.step]
        if not above:
            return False
        self.step, self._step_s = min(above), now_s
        return True

    def _reached(self) -> list[str]:
        urgent = self.urgency is Urgency.URGENT
        return [r.name for r in self.recipients if r.step <= self.step and (urgent or not r.urgent_only)]
