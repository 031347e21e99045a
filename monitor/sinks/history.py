"""The sink that remembers: episodes, levels, troubles and alerts, bounded by age and size.

Its thread turns messages into records; another one writes them (:mod:`~monitor.sinks.history_keeper`).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import structlog
from typing_extensions import override

from monitor.keeper import ANSWERS_WITHIN_S
from monitor.messages import (
    AlertMessage,
    AnyMessage,
    ConfirmedCauseMessage,
    ControlsMessage,
    DeliveryMessage,
    EpisodeMessage,
    HealthMessage,
    TelemetryMessage,
    TestMessage,
)
from monitor.sinks import moment
from monitor.sinks.base import Role, Sink
from monitor.sinks.history_file import FILE_NAME
from monitor.sinks.history_keeper import HistoryKeeper
from monitor.sinks.history_records import Alert, Batch, Episode
from monitor.sinks.history_store import KEPT_IN_MIND, HistoryStore
from monitor.sinks.history_tally import FaultTally, LevelTally, episode_record
from monitor.sinks.moment import Moment
from monitor.sinks.steady import SteadyClock

log = structlog.get_logger(__name__)

WRITE_EVERY_S: Final = 120.0
"""Levels alone; each write costs a card three blocks and three syncs."""
CRYING_EVERY_S: Final = 3.0
_CRYING_SHARE: Final = 0.2
"""While the baby cries: a kill costs three seconds of what is known, or a fifth of it; a card is spared. The
levels are not written with it."""
PRUNE_EVERY_S: Final = 3600.0
_MEGABYTE: Final = 1_000_000
_DAY_S: Final = 86_400


@dataclass(frozen=True, slots=True)
class HistorySettings:
    """``gap_s``: without a telemetry report for so long, the monitor did not listen."""

    state_dir: Path
    keep_days: int = 90
    max_mb: int = 64
    gap_s: float = 25.0

    @property
    def file(self) -> Path:
        return self.state_dir / FILE_NAME


class HistorySink(Sink):
    """Takes every message and never refuses one. ``within_s``: see :class:`~monitor.keeper.Keeper`."""

    def __init__(
        self,
        settings: HistorySettings,
        *,
        now: Callable[[], Moment] = moment.now,
        within_s: float = ANSWERS_WITHIN_S,
    ) -> None:
        self._settings = settings
        self._now = now
        self._disk = HistoryKeeper(
            HistoryStore(settings.file), settings.max_mb * _MEGABYTE, now=now, within_s=within_s
        )
        self._batch = Batch()
        self._levels = LevelTally(settings.gap_s)
        self._faults = FaultTally()
        self._clock = SteadyClock()
        self._episodes: dict[str, Episode] = {}
        self._delivery: DeliveryMessage | None = None
        self._seen_s = 0.0
        self._written_at_s = self._levels_at_s = self._now().since_boot_s
        self._pruned_at_s: float | None = None

    @property
    @override
    def name(self) -> str:
        return "history"

    @property
    @override
    def role(self) -> Role:
        return Role.REMEMBERS

    @override
    def open(self) -> None:
        self._disk.start()

    @override
    def handle(self, message: AnyMessage) -> None:
        self._seen_s = message.time.timestamp()
        if self._take(message):
            goes_on = isinstance(message, EpisodeMessage) and message.event_type == "updated"
            self._write(levels=not goes_on)

    @override
    def tick(self) -> None:
        now = self._now()
        steady = self._clock.is_steady(now)
        self._disk.look()
        self._take_over()
        if now.since_boot_s - self._levels_at_s >= WRITE_EVERY_S:
            self._faults.keep(self._seen_s, self._batch)
            self._write()
        due = self._pruned_at_s is None or now.since_boot_s - self._pruned_at_s >= PRUNE_EVERY_S
        if steady and due:
            self._pruned_at_s = now.since_boot_s
            self._disk.prune_older(now.utc_s - self._settings.keep_days * _DAY_S)

    @override
    def fault(self) -> str:
        return self._disk.fault()

    @override
    def close(self, timeout_s: float) -> None:
        self._take_over()
        self._faults.end(self._seen_s, self._batch)
        self._write()
        self._disk.close(timeout_s)

    # --- messages -----------------------------------------------------------------------------------

    def _take(self, message: AnyMessage) -> bool:
        """Note what ``message`` says; whether it is worth a write of its own."""
        worth_it = False
        match message:
            case EpisodeMessage():
                worth_it = self._take_episode(message)
            case TelemetryMessage():
                self._levels.observe(message)
            case HealthMessage():
                worth_it = self._faults.observe(message, self._batch)
            case ControlsMessage(listening=False):
                self._levels.pause()
            case AlertMessage(state="acknowledged", episode_id=str(episode_id)):
                worth_it = self._change(
                    episode_id,
                    acknowledged_s=None if (at := message.acknowledged_at) is None else at.timestamp(),
                    acknowledged_by=message.acknowledged_by,
                )
            case ConfirmedCauseMessage():
                worth_it = self._change(message.episode_id, confirmed_cause=message.cause)
            case TestMessage():
                worth_it = self._take_alert(message, {"source": message.source})
            case DeliveryMessage():
                worth_it = self._take_delivery(message)
        return worth_it

    def _take_episode(self, message: EpisodeMessage) -> bool:
        before = self._episodes.pop(message.episode_id, None)
        record = episode_record(message, before)
        self._episodes[record.id] = record
        while len(self._episodes) > KEPT_IN_MIND:
            del self._episodes[next(iter(self._episodes))]
        self._batch.put(record)
        more_s = record.crying_s - (0.0 if before is None else before.crying_s)
        if more_s > 0:
            self._levels.add_crying(message, record.until_s, more_s)
        written_s_ago = self._now().since_boot_s - self._written_at_s
        every_s = max(CRYING_EVERY_S, _CRYING_SHARE * record.duration_s)
        return message.event_type != "updated" or written_s_ago >= every_s

    def _change(self, episode_id: str, **said: object) -> bool:
        """Add what a parent said of an episode."""
        record = self._episodes.get(episode_id)
        if record is None:
            log.warning("history.episode_unknown", episode_id=episode_id)
            return False
        changed: Episode = replace(record, **said)  # type: ignore[arg-type]  # the fields' types, see the callers
        if changed == record:
            return False
        self._episodes[episode_id] = changed
        self._batch.put(changed)
        return True

    def _take_delivery(self, message: DeliveryMessage) -> bool:
        before, self._delivery = self._delivery, message
        # It is said again and again; only a new outcome is remembered.
        outcome = (message.state, message.channels, message.delivered, message.failed)
        if before is not None and outcome == (before.state, before.channels, before.delivered, before.failed):
            return False
        if before is None and message.state == "none":
            return False
        delivered_at = message.last_delivered_at
        return self._take_alert(
            message,
            {
                "state": message.state,
                "channels": message.channels,
                "delivered": message.delivered - (0 if before is None else before.delivered),
                "failed": message.failed - (0 if before is None else before.failed),
                "last_delivered_s": None if delivered_at is None else delivered_at.timestamp(),
            },
        )

    def _take_alert(self, message: TestMessage | DeliveryMessage, detail: dict[str, object]) -> bool:
        at_s = message.time.timestamp()
        self._batch.put(Alert(message.event_id, at_s, message.kind, json.dumps(detail)))
        return True

    # --- disk ---------------------------------------------------------------------------------------

    def _write(self, *, levels: bool = True) -> None:
        """Hand over all that there is to remember; without ``levels``, what costs a card the least."""
        self._written_at_s = self._now().since_boot_s
        if levels:
            self._levels_at_s = self._written_at_s
            self._levels.move_to(self._batch)
        batch, self._batch = self._batch, Batch()
        self._disk.write(batch)

    def _take_over(self) -> None:
        """What a file that was opened knows and we do not; of what both know, ours is newer."""
        opened = self._disk.take_opened()
        if opened is None:
            return
        ours = [episode for episode in self._episodes.values() if opened.anew or not episode.ended]
        self._episodes = {episode.id: episode for episode in opened.episodes} | self._episodes
        for episode in ours:
            # The file has just ended all that it took for left open, and this one goes on; or it is new.
            self._batch.put(episode)
        if ours:
            self._write()
