"""What a hub asks for on our topics, handed to the service as it came."""

from __future__ import annotations

import math
from typing import Final

import structlog

from monitor.commands import MAX_PAYLOAD, Inbox, Request
from monitor.sinks.mqtt_reports import Incoming

log = structlog.get_logger(__name__)

IGNORED_TOLD_EVERY_S: Final = 10.0
"""A flood of messages that are not commands must not flood the journal."""


class Commands:
    """Puts into ``inbox`` what may be a command. One thread."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox
        self._told_at_s = -math.inf
        self.ignored = 0
        """Commands that were retained or too long."""

    def heard(self, control: str, message: Incoming, now_s: float) -> None:
        too_long = len(message.payload) > MAX_PAYLOAD or len(control) > MAX_PAYLOAD
        if not (message.retain or too_long):
            self._inbox.put(Request(control, message.payload, "hub"))
            return
        self.ignored += 1
        if now_s - self._told_at_s >= IGNORED_TOLD_EVERY_S:
            self._told_at_s = now_s
            why = "too long" if too_long else "retained: it may be years old"
            log.warning("mqtt.command_ignored", control=control[:MAX_PAYLOAD], why=why)
