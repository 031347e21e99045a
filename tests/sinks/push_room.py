"""A night for the push policy: messages and a clock that only moves when it is told to."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

from monitor.messages import (
    AlertMessage,
    CauseHint,
    ControlsMessage,
    EpisodeMessage,
    HealthMessage,
    TestMessage,
)
from monitor.sinks.push_notes import Notification, Now
from monitor.sinks.push_policy import PushPolicy
from monitor.sinks.push_settings import ChannelSettings, PushSettings
from monitor.sinks.push_state import PolicyState

BERLIN = ZoneInfo("Europe/Berlin")
EVENING = dt.datetime(2026, 11, 22, 20, 0, tzinfo=BERLIN)
MUM = ChannelSettings("Mum", "json://127.0.0.1")
DAD = ChannelSettings("Dad", "json://127.0.0.1", step=2)
GRAN = ChannelSettings("Gran", "json://127.0.0.1", step=3)
SIREN = ChannelSettings("Siren", "json://127.0.0.1", urgent_only=True)

HEAD = {"event_id": "x", "device": "nursery"}


class Clock:
    def __init__(self, local: dt.datetime = EVENING) -> None:
        self.monotonic_s = 1000.0
        self.local = local

    def now(self) -> Now:
        return Now(self.monotonic_s, self.local)

    def advance(self, by_s: float) -> None:
        self.monotonic_s += by_s
        # Through UTC: wall time of a zone does not simply add up.
        self.local = (self.local.astimezone(dt.UTC) + dt.timedelta(seconds=by_s)).astimezone(BERLIN)


class Night:
    """Plays a night to a policy. ``sent`` gathers every notification, ``withdrawn`` every tag."""

    def __init__(
        self, *channels: ChannelSettings, clock: Clock | None = None, state: PolicyState | None = None, **keys
    ) -> None:
        settings = PushSettings("nursery", "Nursery", channels=channels or (MUM,), **keys)
        self.clock = Clock() if clock is None else clock
        self.policy = PushPolicy(settings, PolicyState() if state is None else state)
        self.sent: list[Notification] = []
        self.withdrawn: list[str] = []
        self.hub: bool | None = None

    def say(self, message) -> list[Notification]:
        return self._take(self.policy.handle(message, self.clock.now()))

    def tick(self) -> list[Notification]:
        return self._take(self.policy.tick(self.clock.now(), hub_reached=self.hub))

    def live(self, for_s: float, every_s: float = 1.0) -> list[Notification]:
        """Tick for a while; what was sent meanwhile."""
        before = len(self.sent)
        for _ in range(round(for_s / every_s)):
            self.clock.advance(every_s)
            self.tick()
        return self.sent[before:]

    def _take(self, orders) -> list[Notification]:
        self.sent += orders.send
        self.withdrawn += orders.withdraw
        return list(orders.send)

    # --- messages ---------------------------------------------------------------------------------

    def cry(
        self, event_type="started", *, episode_id="e1", crying_s=1.0, escalation=0, cause=None, cut=False
    ):
        return self.say(
            EpisodeMessage(
                **HEAD,
                time=self.clock.local,
                event_type=event_type,
                episode_id=episode_id,
                escalation=escalation,
                onset_at=EVENING,
                detected_at=EVENING,
                ended_at=self.clock.local if event_type == "ended" else None,
                duration_s=crying_s,
                crying_s=crying_s,
                score=0.9,
                level_dbfs=-30.0,
                cause=cause,
                truncated=cut,
            )
        )

    def acknowledge(self, by="hub", *, episode_id="e1", state="acknowledged"):
        return self.say(
            AlertMessage(
                **HEAD, time=self.clock.local, state=state, episode_id=episode_id, acknowledged_by=by
            )
        )

    def health(self, *, microphone_ok=True, signal_ok=True, state="ok", reasons=()):
        return self.say(
            HealthMessage(
                **HEAD,
                time=self.clock.local,
                state=state,
                reasons=list(reasons),
                microphone_ok=microphone_ok,
                signal_ok=signal_ok,
                uptime_s=1.0,
                version="0",
                counters={},
            )
        )

    def controls(self, *, quiet_hours="off", muted_until=None):
        return self.say(
            ControlsMessage(
                **HEAD,
                time=self.clock.local,
                hold_s=8.0,
                quiet_hours=quiet_hours,
                muted_until=muted_until,
            )
        )

    def test(self, source="hub"):
        return self.say(TestMessage(**HEAD, time=self.clock.local, source=source))


HUNGRY = CauseHint(answer="hungry", probability=0.62, base_rate=0.4, probabilities={"hungry": 0.62})
