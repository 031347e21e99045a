"""Whether a cry waits for somebody to say that they have heard of it. One thread calls it, main."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from monitor.messages import EpisodeMessage


@dataclass(frozen=True, slots=True)
class Alert:
    """The fields of :class:`monitor.messages.AlertMessage`."""

    state: Literal["none", "unacknowledged", "acknowledged"] = "none"
    episode_id: str | None = None
    since: datetime | None = None
    escalation: int = 0
    acknowledged_at: datetime | None = None
    acknowledged_by: str = ""


class AlertTracker:
    """Follows the open episode and its acknowledgement.

    An acknowledgement holds until the episode has escalated ``holds_for`` times more: a button pressed in a
    pocket, or by somebody who fell asleep again, must not silence the whole night.
    """

    def __init__(self, holds_for: int = 20) -> None:
        self._holds_for = holds_for
        self._acknowledged_escalation = 0
        self.alert = Alert()

    def observe(self, message: EpisodeMessage) -> None:
        """Take note of an episode's message; messages come in order."""
        if message.event_type == "ended":
            if message.episode_id == self.alert.episode_id:
                self.alert = Alert()
        elif message.episode_id == self.alert.episode_id:
            self.alert = replace(self.alert, escalation=message.escalation, since=message.known_at)
            if (
                self.alert.state == "acknowledged"
                and message.escalation - self._acknowledged_escalation >= self._holds_for
            ):
                self.alert = replace(
                    self.alert, state="unacknowledged", acknowledged_at=None, acknowledged_by=""
                )
        else:
            self.alert = Alert("unacknowledged", message.episode_id, message.known_at, message.escalation)

    def acknowledge(self, episode_id: str | None, at: datetime, by: str) -> bool:
        """Somebody knows; None means whichever cries now. False when there is nothing to acknowledge.

        The answer to a cry that is over must not silence the next one.
        """
        if self.alert.state == "none" or episode_id not in {None, self.alert.episode_id}:
            return False
        if self.alert.state == "unacknowledged":
            self._acknowledged_escalation = self.alert.escalation
            self.alert = replace(self.alert, state="acknowledged", acknowledged_at=at, acknowledged_by=by)
        return True
