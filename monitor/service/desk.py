"""The front desk: takes what parents ask for, and says how things stand that outlive a message.

Main calls it whenever it wakes: requests and episodes in, orders for the detector and messages out.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

import structlog
from pydantic import BaseModel, ConfigDict, Field

from monitor.commands import CAUSE_OPTIONS, PRESS, Control, Request
from monitor.errors import RequestError
from monitor.events.alert import AlertTracker
from monitor.events.bus import MessageQueue
from monitor.events.night import Night, NightTally, evening_of, joined
from monitor.messages import (
    AlertMessage,
    AnyMessage,
    ConfirmedCauseMessage,
    ControlsMessage,
    EpisodeMessage,
    Message,
    NightMessage,
    TestMessage,
)
from monitor.service.controls import SETTABLE, MuteEnd, Settings, changed, payload_text
from monitor.service.detector import Orders
from monitor.service.kept import Kept
from monitor.service.requests import FairLimit, RateLimit, RequestBox
from monitor.service.restarts import RestartLimit
from monitor.service.state_writer import StateWriter

log = structlog.get_logger(__name__)

BURST: Final = 20
SUSTAINED_PER_S: Final = 1.0
"""Requests for one control: a parent who moves a slider gets through; a broken automation neither wears out
the card nor keeps anybody from acknowledging."""
FLOOD_TOLD_EVERY_S: Final = 10.0
TEST_BURST: Final = 5
TESTS_PER_S: Final = 1 / 60
"""A test alert makes every phone sound, on a silent one too: nobody tries it more often."""
REMEMBERED_CAUSES: Final = 1000
NIGHT_EVERY_S: Final = 120.0
"""While nothing begins or ends; each is a row in the hub's database for three entities."""
NIGHT_KEPT_EVERY_S: Final = 600.0
WRITTEN_AT_STOP_S: Final = 1.0


class ConfirmedCauses(BaseModel):
    """Why the baby cried, as parents said, by episode; the oldest are forgotten first."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    by_episode: dict[str, Literal["belly_pain", "burping", "discomfort", "hungry", "tired"]] = Field(
        default_factory=dict
    )

    def counts(self) -> dict[str, int]:
        said = list(self.by_episode.values())
        return {cause: said.count(cause) for cause in CAUSE_OPTIONS}


@dataclass(frozen=True, slots=True)
class Moment:
    """One instant on the clocks that matter."""

    monotonic_s: float
    utc: datetime

    @property
    def local(self) -> datetime:
        """The same in the system's time zone."""
        return self.utc.astimezone()


class Desk:
    """Owns the settings, the acknowledgement and the tally of the night."""

    def __init__(
        self,
        *,
        device: str,
        box: RequestBox,
        episodes: MessageQueue,
        publish: Callable[[AnyMessage], None],
        order: Callable[[Orders], None],
        restart: Callable[[], None],
        folder: Path | None,
        hold_s: float,
        acknowledged_for: int = 20,
        now: Moment,
    ) -> None:
        """Open the books.

        ``hold_s`` is the hang-over that counts while nobody has set another, ``acknowledged_for`` the number
        of escalations after which an acknowledgement is asked for again.
        """
        self._device = device
        self._box = box
        self._episodes = episodes
        self._publish = publish
        self._latest: dict[str, Message] = {}
        self._order = order
        self._restart = restart
        self._hold_s = hold_s
        self._writer = StateWriter()
        self._settings = Kept(folder, "controls.json", Settings(), self._writer)
        tonight = Night(evening=evening_of(now.local))
        self._night_file = Kept(folder, "night.json", tonight, self._writer, join=joined)
        self._causes = Kept(folder, "causes.json", ConfirmedCauses(), self._writer)
        self._tally = NightTally(self._night_file.value)
        self._alert = AlertTracker(acknowledged_for)
        self._limit = FairLimit(
            Control, BURST, SUSTAINED_PER_S, {Control.TEST_ALERT: RateLimit(TEST_BURST, TESTS_PER_S)}
        )
        self._restarts = RestartLimit(folder, self._writer, now.monotonic_s)
        self._flood_told_at_s = -FLOOD_TOLD_EVERY_S
        self._mute_end = MuteEnd()
        self._night_told_at_s = self._night_kept_at_s = now.monotonic_s
        self._told_night: dict[str, Any] = {}
        self._last_rejected = ""

    @property
    def faults(self) -> tuple[str, ...]:
        """What will not outlive a restart, and why."""
        return tuple(kept.fault for kept in self._all_kept if kept.fault)

    @property
    def _all_kept(self) -> tuple[Kept[Any], ...]:
        return self._settings, self._night_file, self._causes, self._restarts.kept

    @property
    def latest(self) -> dict[str, Any]:
        """The newest controls, alert and night, as JSON has them. Any thread."""
        return {kind: message.model_dump(mode="json") for kind, message in tuple(self._latest.items())}

    @property
    def calm(self) -> bool:
        """Whether no cry is going on."""
        return self._alert.alert.state == "none"

    def open(self, now: Moment) -> None:
        """Put the kept settings into force and say how things stand."""
        self._writer.start()
        self._order(self._settings.value.orders)
        self._tell_controls(now)
        self._tell_alert(now)
        self._tally.look(now.local, now.monotonic_s, listening=False)
        self._tell_night(now)

    def turn(self, now: Moment, *, listening: bool) -> None:
        """Work off what has come; ``listening``: the monitor hears at this moment."""
        self._take_late(now)
        self._take_episodes(now)
        for request in self._box.take():
            self._take_request(request, now)
        if self._mute_end.is_reached(self._settings.value.muted_until, now.utc, now.monotonic_s):
            self._set(self._settings.value.model_copy(update={"muted_until": None}), now)
        self._tally.look(now.local, now.monotonic_s, listening=listening)
        if now.monotonic_s - self._night_told_at_s >= NIGHT_EVERY_S:
            self._tell_night(now)
        if now.monotonic_s - self._night_kept_at_s >= NIGHT_KEPT_EVERY_S:
            self._keep_night(now)

    def close(self, now: Moment) -> None:
        """Keep what is worth it."""
        self._take_episodes(now)
        self._keep_night(now)
        self._writer.close(WRITTEN_AT_STOP_S)

    def _take_late(self, now: Moment) -> None:
        """What a disk held that did not answer at the start and does now."""
        if self._settings.arrived():
            self._settings.keep_again()
            self._order(self._settings.value.orders)
            self._tell_controls(now)
        self._night_file.value = self._tally.night
        if self._night_file.arrived():
            self._tally.night = self._night_file.value
            self._tell_night(now)
            self._keep_night(now)
        for kept in (self._causes, self._restarts.kept):
            if kept.arrived():
                kept.keep_again()

    def keep_all_again(self) -> None:
        """The state folder was made again and is empty."""
        for kept in self._all_kept:
            kept.keep_again()

    # --- episodes -----------------------------------------------------------------------------------

    def _take_episodes(self, now: Moment) -> None:
        before = self._alert.alert
        rare = False
        while (message := self._episodes.get(0.0)) is not None:
            assert isinstance(message, EpisodeMessage), "the queue was subscribed to episodes"
            self._tally.observe(message)
            self._alert.observe(message)
            rare = rare or message.event_type in {"started", "ended"}
        if self._alert.alert != before:
            self._tell_alert(now)
        if rare:
            self._tell_night(now)
            self._keep_night(now)

    # --- requests -----------------------------------------------------------------------------------

    def _take_request(self, request: Request, now: Moment) -> None:
        if not self._limit.admits(request.control, now.monotonic_s):
            if now.monotonic_s - self._flood_told_at_s >= FLOOD_TOLD_EVERY_S:
                self._flood_told_at_s = now.monotonic_s
                log.warning("request.too_many", control=request.control, origin=request.origin)
                self._reject(f"{request.control}: too many requests. Wait a minute.", now)
            return
        try:
            self._follow(request, now)
        except RequestError as error:
            log.warning("request.rejected", origin=request.origin, reason=str(error))
            self._reject(str(error), now)
        else:
            log.info("request.followed", control=request.control, origin=request.origin)

    def _reject(self, why: str, now: Moment) -> None:
        self._last_rejected = why
        # The hub shows at once what it asked for; this puts its switches back.
        self._tell_controls(now)

    def _follow(self, request: Request, now: Moment) -> None:
        try:
            control = Control(request.control)
        except ValueError as error:
            known = ", ".join(Control)
            raise RequestError(f"There is no control {request.control!r}.", f"There are {known}.") from error
        text = payload_text(control.value, request.payload)
        if control in SETTABLE:
            self._set(changed(self._settings.value, control, text, now.utc), now)
        elif control is Control.ACKNOWLEDGE:
            self._acknowledge(text, request.origin, now)
        elif control is Control.CONFIRM_CAUSE:
            self._confirm(text, now)
        elif text != PRESS:
            raise RequestError(f"{control.value}: {text!r} is no press of a button.", f"Send {PRESS}.")
        elif control is Control.TEST_ALERT:
            source: Literal["hub", "command"] = "command" if request.origin == "command" else "hub"
            self._publish(TestMessage(**self._header(now), source=source))
        else:
            self._ask_for_restart(now)

    def _set(self, settings: Settings, now: Moment) -> None:
        self._last_rejected = ""
        if settings != self._settings.value:
            # On disk before anybody is told: what the hub shows must outlive a power cut.
            self._settings.keep(settings)
            self._order(settings.orders)
        self._tell_controls(now)

    def _acknowledge(self, text: str, by: str, now: Moment) -> None:
        before = self._alert.alert
        known = self._alert.acknowledge(None if text == PRESS else text, now.utc, by)
        if not known and text != PRESS:
            raise RequestError(
                f"acknowledge: the cry {text!r} is over, or never was.", f"Send {PRESS} for any."
            )
        if self._alert.alert != before:
            log.info("alert.acknowledged", episode_id=before.episode_id, by=by)
        self._tell_alert(now)

    def _confirm(self, text: str, now: Moment) -> None:
        if text not in CAUSE_OPTIONS:
            raise RequestError(
                f"confirm_cause: {text!r} is no cause.", f"Send one of {', '.join(CAUSE_OPTIONS)}."
            )
        episode_id = self._tally.night.last_episode_id
        if episode_id is None:
            raise RequestError("confirm_cause: no cry has been heard yet.", "Confirm a cause after a cry.")
        others = {k: v for k, v in self._causes.value.by_episode.items() if k != episode_id}
        kept = dict(list(others.items())[-REMEMBERED_CAUSES + 1 :]) | {episode_id: text}
        self._causes.keep(ConfirmedCauses.model_validate({"by_episode": kept}))
        self._publish(
            ConfirmedCauseMessage.model_validate(
                self._header(now)
                | {"episode_id": episode_id, "cause": text, "counts": self._causes.value.counts()}
            )
        )

    def _ask_for_restart(self, now: Moment) -> None:
        self._restarts.admit(now.monotonic_s, now.utc.timestamp())
        log.warning("restart.requested")
        self._restart()

    # --- what is told and kept ------------------------------------------------------------------------

    def _tell(self, message: ControlsMessage | AlertMessage | NightMessage) -> None:
        self._latest[message.kind] = message
        self._publish(message)

    def _header(self, now: Moment) -> dict[str, Any]:
        return {"event_id": str(uuid.uuid4()), "device": self._device, "time": now.utc.astimezone(UTC)}

    def _tell_controls(self, now: Moment) -> None:
        settings = self._settings.value
        until = settings.muted_until
        self._tell(
            ControlsMessage(
                **self._header(now),
                listening=settings.listening,
                sensitivity=settings.sensitivity,
                hold_s=self._hold_s if settings.hold_s is None else settings.hold_s,
                quiet_hours=settings.quiet_hours,
                muted_until=until if until is not None and until > now.utc else None,
                last_rejected=self._last_rejected,
            )
        )

    def _tell_alert(self, now: Moment) -> None:
        self._tell(AlertMessage(**self._header(now), **asdict(self._alert.alert)))

    def _tell_night(self, now: Moment) -> None:
        self._night_told_at_s = now.monotonic_s
        night = self._tally.night
        told: dict[str, Any] = {
            "night": night.evening.isoformat(),
            "episodes": night.episodes,
            "crying_s": round(self._tally.crying_s, 1),
            "longest_calm_s": round(night.longest_calm_s, 0),
            "last_cry_at": night.last_cry_at,
        }
        if told != self._told_night:
            self._told_night = told
            self._tell(NightMessage(**self._header(now), **told))

    def _keep_night(self, now: Moment) -> None:
        self._night_kept_at_s = now.monotonic_s
        self._night_file.keep(self._tally.night)
