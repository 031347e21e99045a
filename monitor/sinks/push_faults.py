"""Faults that parents are told of: no microphone, no sound in it, nobody who listens to it, no home hub.

And that they are over.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from monitor.messages import CLOCK_STEP, HealthMessage
from monitor.sinks import push_text as text
from monitor.sinks.push_chain import Chain
from monitor.sinks.push_notes import Notification, Now, Recipient, Urgency
from monitor.sinks.push_settings import PushSettings
from monitor.sinks.push_state import ToldFault

REPEAT_S: Final = 1800.0
"""Nobody acknowledges a fault; it comes again while it lasts, but it must not be switched off for that."""
LASTS_S: Final = 3600.0

_URGENCY: Final = {
    "microphone": Urgency.URGENT,
    "signal": Urgency.URGENT,
    "detector": Urgency.URGENT,
    "hub": Urgency.HIGH,
}


@dataclass(slots=True)
class _Fault:
    chain: Chain
    lost_s: float | None = None
    """When it began; later by the time for which all was well in between."""
    well_s: float | None = None
    """Since when all is well again; what is lost again soon has been lost all along."""
    since: datetime | None = None
    """When those who were told know it to have begun."""
    since_s: float | None = None
    """The same on the monotonic clock, which nobody sets; None if an earlier process has told it."""
    reason: str = ""
    is_over: bool = False


class FaultWatch:
    """Follows the faults. One thread; time comes in."""

    def __init__(self, settings: PushSettings, recipients: tuple[Recipient, ...]) -> None:
        self._settings = settings
        self._recipients = recipients
        self._faults = {kind: _Fault(self._chain()) for kind in _URGENCY}

    def take_over(self, told: Mapping[str, ToldFault]) -> None:
        """Go on from what an earlier process told, where nothing has been told since."""
        known = {recipient.name for recipient in self._recipients}
        for kind, before in told.items():
            if kind in self._faults and not self._faults[kind].chain.told:
                self._faults[kind].since = before.since
                self._faults[kind].chain.told = [name for name in before.told if name in known]
                # A receiver drops what has a key that it knows.
                self._faults[kind].chain.sent = before.sent

    def on_health(self, message: HealthMessage, now: Now) -> None:
        reason = message.reasons[0] if message.reasons else ""
        self._note("microphone", now, reason, ok=message.microphone_ok)
        self._note("signal", now, reason, ok=message.signal_ok)
        if message.state != "fault":
            self._note("detector", now, reason, ok=True)
        elif message.microphone_ok and message.signal_ok:  # else nobody can tell
            self._note("detector", now, reason, ok=False)

    def on_hub(self, now: Now, *, reached: bool) -> None:
        self._note("hub", now, "", ok=reached)

    def due(self, now: Now, urgency: Urgency, unreachable: frozenset[str]) -> Iterator[Notification]:
        """What has to be told now of the faults of one urgency."""
        for kind, fault in self._faults.items():
            if _URGENCY[kind] is not urgency or fault.lost_s is None or fault.well_s is not None:
                continue
            if now.monotonic_s - fault.lost_s >= self._settings.fault_after_s:
                names = fault.chain.due(now.monotonic_s, urgency, unreachable)
                if names:
                    yield self._alert(kind, fault, names, now)

    def over(self, now: Now) -> tuple[list[str], list[Notification]]:
        """Tags of faults that are over since the last call, and the all-clears to those who were told."""
        tags: list[str] = []
        notes: list[Notification] = []
        for kind, fault in self._faults.items():
            well_s = -1.0 if fault.well_s is None else now.monotonic_s - fault.well_s
            if fault.is_over or well_s >= self._settings.fault_after_s:
                tags.append(f"fault-{kind}")
                if fault.chain.told and fault.since is not None:
                    notes.append(self._all_clear(kind, fault, fault.since, now))
                self._faults[kind] = _Fault(self._chain())
        return tags, notes

    def open(self) -> Iterator[tuple[str, float, Urgency]]:
        """Tag, time of the alarm and urgency of what is lost and told of."""
        for kind, fault in self._faults.items():
            is_lost = fault.lost_s is not None and fault.well_s is None
            if is_lost and fault.chain.raised_s is not None:
                yield f"fault-{kind}", fault.chain.raised_s, _URGENCY[kind]

    def outdates(self, tag: str) -> bool:
        """Whether ``tag`` is that of an all-clear of which the opposite is true now."""
        return any(
            tag == _over_tag(kind) and fault.lost_s is not None and fault.well_s is None
            for kind, fault in self._faults.items()
        )

    def told(self) -> dict[str, ToldFault]:
        return {
            kind: ToldFault(fault.since, tuple(fault.chain.told), fault.chain.sent)
            for kind, fault in self._faults.items()
            if fault.chain.told and fault.since is not None
        }

    def _chain(self) -> Chain:
        return Chain(self._recipients, self._settings.next_step_after_s, REPEAT_S)

    def _note(self, kind: str, now: Now, reason: str, *, ok: bool) -> None:
        fault = self._faults[kind]
        if ok:
            self._recover(fault, now)
            return
        fault.is_over = False
        fault.reason = reason
        if fault.lost_s is None:
            fault.lost_s = now.monotonic_s
            if fault.since is None:
                fault.since, fault.since_s = now.local, now.monotonic_s
        elif fault.well_s is not None:
            # A loose plug: what counts is for how long it was lost in all.
            fault.lost_s += now.monotonic_s - fault.well_s
        fault.well_s = None

    def _recover(self, fault: _Fault, now: Now) -> None:
        fault.is_over = bool(fault.chain.told)  # to be told at once
        if fault.lost_s is not None and fault.well_s is None:
            fault.well_s = now.monotonic_s

    def _alert(self, kind: str, fault: _Fault, names: tuple[str, ...], now: Now) -> Notification:
        assert fault.since is not None, "it is lost"
        return Notification(
            key=f"fault-{kind}-{fault.since:%Y%m%dT%H%M%S}.{fault.chain.sent}",
            tag=f"fault-{kind}",
            title=text.fault_title(self._settings.device_name, kind),
            text=text.fault_text(kind, _since(fault, fault.since, now), now.local.tzinfo, fault.reason),
            urgency=_URGENCY[kind],
            recipients=names,
            lasts_s=LASTS_S,
            step=fault.chain.step,
            repeats_s=REPEAT_S,
            outdates=_over_tag(kind),
        )

    def _all_clear(self, kind: str, fault: _Fault, since: datetime, now: Now) -> Notification:
        key = f"fault-{kind}-{since:%Y%m%dT%H%M%S}.over"
        title = text.back_title(self._settings.device_name, kind)
        body = text.back_text(kind, _since(fault, since, now), now.local, now.local.tzinfo)
        names = tuple(fault.chain.told)
        # A parent who sits up because of it may go back to sleep: it is no quiet note.
        return Notification(key, _over_tag(kind), title, body, Urgency.NORMAL, names, LASTS_S)


def _since(fault: _Fault, since: datetime, now: Now) -> datetime:
    """``since`` by the clock as it stands now: a Raspberry Pi often boots with an old time and no network."""
    if fault.since_s is None:
        return since
    by_length = now.local - timedelta(seconds=now.monotonic_s - fault.since_s)
    return by_length if abs(by_length - since) > CLOCK_STEP else since


def _over_tag(kind: str) -> str:
    return f"fault-{kind}.over"
