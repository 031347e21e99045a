"""Who is told what, and when: a state machine without threads, network or clock.

Time comes in with every call. What has to outlive a restart is a :class:`PolicyState`; whoever owns the
policy keeps it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final

from monitor.messages import (
    AlertMessage,
    AnyMessage,
    ControlsMessage,
    EpisodeMessage,
    HealthMessage,
    TestMessage,
)
from monitor.sinks import push_text as text
from monitor.sinks.push_chain import Chain
from monitor.sinks.push_faults import FaultWatch
from monitor.sinks.push_notes import Notification, Now, Orders, Recipient, Urgency
from monitor.sinks.push_quiet import QuietTimes
from monitor.sinks.push_settings import PushSettings
from monitor.sinks.push_state import HeldNote, OpenCry, PolicyState

CRY_LASTS_S: Final = 300.0
NOTE_LASTS_S: Final = 900.0
OUTCOME: Final = "outcome"
"""Tag of what became of a cry: "calm again" must not stand above the next alarm on a phone."""
TEST_LASTS_S: Final = 600.0
RESTART_NOTICE_WITHIN_S: Final = 7200.0
SETTLED_AFTER_S: Final = 10.0
"""What the parents have set is published at the start; this long nothing but alarms goes out without it."""


@dataclass(frozen=True, slots=True)
class OpenAlarm:
    """An alarm that goes on and that nobody has acknowledged."""

    tag: str
    raised_s: float
    urgency: Urgency


@dataclass(slots=True)
class _Cry:
    """The crying that goes on. ``latest`` is the newest message about it."""

    latest: EpisodeMessage
    chain: Chain
    acknowledged: bool = False

    @property
    def tag(self) -> str:
        return f"cry-{self.latest.episode_id}"

    @property
    def urgency(self) -> Urgency:
        return Urgency.URGENT if self.latest.escalation > 0 else Urgency.HIGH


@dataclass(slots=True)
class PushPolicy:
    """Messages and ticks in, :class:`Orders` out.

    ``unreachable``: the channels that fail; whoever knows sets it. When all of a step do, the next is asked.
    """

    settings: PushSettings
    state: PolicyState = field(default_factory=PolicyState)
    unreachable: frozenset[str] = frozenset()
    _recipients: tuple[Recipient, ...] = ()
    _quiet: QuietTimes = field(default_factory=QuietTimes)
    _cry: _Cry | None = None
    _faults: FaultWatch = field(init=False)
    _held: list[tuple[HeldNote, float]] = field(default_factory=list)
    _held_before: tuple[HeldNote, ...] = ()
    _restarted_from: OpenCry | None = None
    _acknowledged_by: dict[str, str] = field(default_factory=dict)
    _first_s: float | None = None
    _test_for: str = ""

    def __post_init__(self) -> None:
        self._recipients = tuple(Recipient(c.name, c.step, c.urgent_only) for c in self.settings.channels)
        self._faults = FaultWatch(self.settings, self._recipients)
        self.take_over(self.state)

    def take_over(self, earlier: PolicyState) -> None:
        """Go on from what an earlier process knew. It may be read late; what has happened since is newer."""
        self.state = self.state.with_daily_test(self.state.daily_test_on or earlier.daily_test_on)
        self._faults.take_over(earlier.faults)
        self._restarted_from = earlier.cry
        self._held_before = earlier.held

    def handle(self, message: AnyMessage, now: Now) -> Orders:
        """Take a message in; what it leads to at once comes back."""
        withdraw: list[str] = []
        match message:
            case EpisodeMessage(event_type="ended"):
                withdraw += self._end(message, now)
            case EpisodeMessage():
                self._follow(message)
            case AlertMessage():
                withdraw += self._on_alert(message, now)
            case HealthMessage():
                self._faults.on_health(message, now)
            case ControlsMessage():
                self._quiet.set(message, now)
            case TestMessage():
                # Asked for by a person who looks at the phone now: quiet hours are not meant.
                return Orders((self._test(message.event_id, message.source),))
        return self._orders(now, withdraw)

    def tick(self, now: Now, *, hub_reached: bool | None = None) -> Orders:
        """What is due by time alone. ``hub_reached`` None: there is no hub to reach."""
        if hub_reached is not None:
            self._faults.on_hub(now, reached=hub_reached)
        return self._orders(now, [])

    def acknowledging(self, episode_id: str, channel: str) -> None:
        """Remember through which channel the acknowledgement came that is about to be published."""
        self._acknowledged_by = {episode_id: channel}

    def open_alarms(self, now: Now) -> Iterator[OpenAlarm]:
        """What somebody has to hear of now; nothing that is muted or held back."""
        cry = self._cry
        waits = cry is not None and not cry.acknowledged and self._quiet.may_alarm(cry.urgency, now)
        if waits and cry is not None and cry.chain.raised_s is not None:
            yield OpenAlarm(cry.tag, cry.chain.raised_s, cry.urgency)
        for tag, raised_s, urgency in self._faults.open():
            if self._quiet.may_send(urgency, now):
                yield OpenAlarm(tag, raised_s, urgency)

    # --- crying -----------------------------------------------------------------------------------

    def _follow(self, message: EpisodeMessage) -> None:
        if self._cry is not None and self._cry.latest.episode_id == message.episode_id:
            self._cry.latest = message
            return
        # Also for one whose beginning we did not hear of: a queue may have been full.
        chain = Chain(self._recipients, self.settings.next_step_after_s, self.settings.repeat_every_s)
        self._cry = _Cry(message, chain)

    def _end(self, message: EpisodeMessage, now: Now) -> list[str]:
        cry = self._cry
        if cry is None or cry.latest.episode_id != message.episode_id:
            return []
        self._cry = None
        zone, name = now.local.tzinfo, self.settings.device_name
        told = tuple(cry.chain.told)
        if told and message.truncated:
            # Not calm: nobody knows. Whoever was alarmed must not take silence for peace.
            title, body = text.interrupted_title(name), text.interrupted_text(message, zone)
            self._note(f"{cry.tag}.cut", title, body, told, now, cry.urgency)
        elif told:
            title, body = text.calm_title(name), text.calm_text(message, zone)
            self._note(f"{cry.tag}.calm", title, body, told, now, tag=OUTCOME)
        return [cry.tag]

    def _on_alert(self, message: AlertMessage, now: Now) -> list[str]:
        cry = self._cry
        if cry is None or message.episode_id != cry.latest.episode_id:
            return []
        if message.state != "acknowledged":
            cry.acknowledged = False  # that of an earlier hour of this cry no longer holds
            return []
        if cry.acknowledged:
            return []
        cry.acknowledged = True
        channel = None
        if message.acknowledged_by == "phone":
            channel = self._acknowledged_by.get(cry.latest.episode_id)
        others = tuple(name for name in cry.chain.told if name != channel)
        body = text.acknowledged_text(channel, message.acknowledged_by)
        title = text.acknowledged_title(self.settings.device_name)
        self._note(f"{cry.tag}.heard", title, body, others, now, tag=OUTCOME)
        return [cry.tag]

    def _cry_due(self, now: Now) -> Iterator[Notification]:
        cry = self._cry
        if cry is None or cry.acknowledged or cry.latest.crying_s < self.settings.after_s:
            return
        if not self._quiet.may_alarm(cry.urgency, now):
            return
        names = cry.chain.due(now.monotonic_s, cry.urgency, self.unreachable)
        if names:
            urgent = cry.urgency is Urgency.URGENT
            yield Notification(
                key=f"{cry.tag}.{cry.chain.sent}",
                tag=cry.tag,
                title=text.cry_title(self.settings.device_name, urgent=urgent),
                text=text.cry_text(cry.latest, now.local.tzinfo),
                urgency=cry.urgency,
                recipients=names,
                # Who cannot be reached until then still has to be told before the next one.
                lasts_s=max(CRY_LASTS_S, self.settings.repeat_every_s),
                step=cry.chain.step,
                repeats_s=self.settings.repeat_every_s,
                episode_id=cry.latest.episode_id,
                outdates=OUTCOME,
            )

    def _restart_due(self, now: Now) -> Iterator[Notification]:
        was = self._restarted_from
        if was is None or not self._is_settled(now):
            return
        urgency = Urgency.URGENT if was.urgent else Urgency.HIGH
        age_s = (now.local - was.since).total_seconds()
        # Before "since" is a clock that a power cut set back: it must not keep this from being told.
        if age_s > RESTART_NOTICE_WITHIN_S:
            self._restarted_from = None
        elif self._quiet.may_alarm(urgency, now):
            self._restarted_from = None
            title = text.interrupted_title(self.settings.device_name)
            body = text.restarted_text(was.since, now.local.tzinfo)
            tag = f"cry-{was.episode_id}.restarted"
            known = {recipient.name for recipient in self._recipients}
            told = tuple(name for name in was.told if name in known)
            yield Notification(tag, tag, title, body, urgency, told, CRY_LASTS_S)

    # --- the rest ---------------------------------------------------------------------------------

    def _orders(self, now: Now, withdraw: list[str]) -> Orders:
        if self._first_s is None:
            self._first_s = now.monotonic_s
        send = [*self._restart_due(now), *self._cry_due(now), *self._daily_due(now)]
        for urgency in (Urgency.URGENT, Urgency.HIGH):
            if self._quiet.may_send(urgency, now):
                send += self._faults.due(now, urgency, self.unreachable)
        # Behind what is due: an alarm that is over is told of last.
        over, notes = self._faults.over(now)
        for note in notes:
            self._hold(note, now)
        send += self._released(now)
        self._remember()
        return Orders(tuple(n for n in send if n.recipients), (*withdraw, *over))

    def _daily_due(self, now: Now) -> Iterator[Notification]:
        # On the wall clock, once a date: an hour that the change of time leaves out or repeats does no harm.
        at, today = self.settings.daily_test, now.local.date().isoformat()
        if at is not None and now.local.time() >= at:
            self._test_for = today  # also when midnight has passed before quiet hours end
        date = self._test_for
        if not date or self.state.daily_test_on == date:
            return
        if self._is_settled(now) and self._quiet.may_send(Urgency.NORMAL, now):
            self.state = self.state.with_daily_test(date)
            yield self._test(f"daily-{date}", "daily")

    def _test(self, identity: str, source: str) -> Notification:
        names = tuple(recipient.name for recipient in self._recipients)
        title, body = text.test_title(self.settings.device_name), text.test_text(source)
        return Notification(f"test-{identity}", "test", title, body, Urgency.NORMAL, names, TEST_LASTS_S)

    def _note(
        self,
        key: str,
        title: str,
        body: str,
        names: tuple[str, ...],
        now: Now,
        urgency: Urgency = Urgency.QUIET,
        tag: str = "",
    ) -> None:
        self._hold(Notification(key, tag or key, title, body, urgency, names, NOTE_LASTS_S), now)

    def _hold(self, note: Notification, now: Now) -> None:
        until = now.local.astimezone(dt.UTC) + dt.timedelta(seconds=note.lasts_s)
        self._held.append((HeldNote(note, until), now.monotonic_s + note.lasts_s))

    def _hold_again(self, now: Now) -> None:
        """Take over what was held back before a restart."""
        known = {recipient.name for recipient in self._recipients}
        for held in self._held_before:
            # The clock may have been set back: a note must not wait for longer than it is news.
            left_s = min((held.until - now.local).total_seconds(), held.note.lasts_s)
            names = tuple(name for name in held.note.recipients if name in known)
            note = replace(held.note, recipients=names)
            self._held.append((replace(held, note=note), now.monotonic_s + left_s))
        self._held_before = ()

    def _released(self, now: Now) -> list[Notification]:
        """The notes that may be sent now; the others wait until they are no news any more."""
        if self._held_before and self._is_settled(now):
            self._hold_again(now)
        news = [(held, until_s) for held, until_s in self._held if until_s > now.monotonic_s]
        self._held = [one for one in news if not self._may_tell(one[0].note, now)]
        return [held.note for held, _ in news if self._may_tell(held.note, now)]

    def _may_tell(self, note: Notification, now: Now) -> bool:
        """Whether a note may go out: no peace of an earlier time is told while there is none."""
        cry = self._cry
        is_outdated = note.tag == OUTCOME and cry is not None and not note.key.startswith(f"{cry.tag}.")
        return (
            self._quiet.may_send(note.urgency, now)
            and not is_outdated
            and not self._faults.outdates(note.tag)
        )

    def _is_settled(self, now: Now) -> bool:
        first_s = now.monotonic_s if self._first_s is None else self._first_s
        return self._quiet.is_known or now.monotonic_s - first_s >= SETTLED_AFTER_S

    def _remember(self) -> None:
        cry = self._cry
        open_cry = self._restarted_from
        if cry is not None and cry.chain.told and not cry.acknowledged:
            urgent = cry.urgency is Urgency.URGENT
            told = tuple(cry.chain.told)
            open_cry = OpenCry(cry.latest.episode_id, cry.latest.began_at, urgent, told)
        held = (*self._held_before, *(held for held, _ in self._held))
        self.state = PolicyState(self.state.daily_test_on, open_cry, self._faults.told(), held)
