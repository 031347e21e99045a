"""The sink that remembers: episodes, levels, troubles and alerts, bounded by age and size.

What cannot be written waits in memory, bounded as well; the file gets it when the disk takes it again.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import structlog
from typing_extensions import override

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
from monitor.sinks.base import Sink
from monitor.sinks.history_file import FILE_NAME, HistoryDamagedError, HistoryUnavailableError
from monitor.sinks.history_records import Alert, Batch, Episode
from monitor.sinks.history_store import KEPT_IN_MIND, HistoryStore
from monitor.sinks.history_tally import FaultTally, LevelTally, episode_record
from monitor.sinks.moment import Moment
from monitor.sinks.steady import SteadyClock

log = structlog.get_logger(__name__)

WRITE_EVERY_S: Final = 60.0
PRUNE_EVERY_S: Final = 3600.0
RETRY_DISK_S: Final = 5.0
TELL_DAMAGE_S: Final = 3600.0
"""A file that was damaged is a fault for this long; the log has it for ever."""
MINUTES_IN_MEMORY: Final = 24 * 60
OTHERS_IN_MEMORY: Final = 500
"""Of each kind; with the minutes below 1 MB, and more than a night has."""
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
    """Takes every message and never refuses one."""

    def __init__(self, settings: HistorySettings, *, now: Callable[[], Moment] = moment.now) -> None:
        self._settings = settings
        self._now = now
        self._store = HistoryStore(settings.file)
        self._batch = Batch()
        self._levels = LevelTally(settings.gap_s)
        self._faults = FaultTally()
        self._clock = SteadyClock()
        self._episodes: dict[str, Episode] = {}
        self._delivery: DeliveryMessage | None = None
        self._seen_s = 0.0
        self._written_at_s = self._retry_at_s = self._now().since_boot_s
        self._pruned_at_s: float | None = None
        self._damaged_at_s: float | None = None
        self._gave_way = 0
        self._disk_fault = self._damage = self._fault = ""

    @property
    @override
    def name(self) -> str:
        return "history"

    @override
    def open(self) -> None:
        """Nothing yet: to check a large file takes a card seconds, which the first ``tick`` has time for."""

    @override
    def handle(self, message: AnyMessage) -> None:
        self._seen_s = message.time.timestamp()
        if self._take(message):
            self._write()

    @override
    def tick(self) -> None:
        now = self._now()
        steady = self._clock.is_steady(now)
        if self._store.is_gone():
            self._begin_anew()
        if not self._store.is_open:
            if now.since_boot_s >= self._retry_at_s:
                self._write()
        elif now.since_boot_s - self._written_at_s >= WRITE_EVERY_S:
            self._faults.keep(self._seen_s, self._batch)
            self._write()
        due = self._pruned_at_s is None or now.since_boot_s - self._pruned_at_s >= PRUNE_EVERY_S
        if steady and due and self._store.is_open:
            self._pruned_at_s = now.since_boot_s
            self._on_disk(lambda: self._store.prune_older(now.utc_s - self._settings.keep_days * _DAY_S))
        self._tell()

    @override
    def fault(self) -> str:
        return self._fault

    @override
    def close(self, timeout_s: float) -> None:
        self._faults.end(self._seen_s, self._batch)
        self._write()
        if self._batch:
            log.error("history.lost_at_stop", fault=self._disk_fault)
        self._store.close()

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
        return message.event_type != "updated"

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

    def _begin_anew(self) -> None:
        """Somebody deleted the file: a new one gets what is still known."""
        log.warning("history.file_lost")
        self._store.close()
        for record in self._episodes.values():
            self._batch.put(record)
        self._write()

    # --- disk ---------------------------------------------------------------------------------------

    def _write(self) -> None:
        """Move all that waits to the file; what cannot be moved stays, the newest that matters first."""
        self._written_at_s = self._now().since_boot_s
        self._levels.move_to(self._batch)
        if self._store.is_open or self._written_at_s >= self._retry_at_s:
            self._on_disk(self._write_batch)
        went = self._batch.bound(MINUTES_IN_MEMORY, OTHERS_IN_MEMORY)
        if went and not self._gave_way:
            log.error("history.memory_full", fault=self._disk_fault)
        self._gave_way += went
        self._tell()

    def _write_batch(self) -> None:
        if not self._store.is_open:
            self._take_over(self._store.open())
        if self._batch:
            self._store.write(self._batch)
            self._batch = Batch()
        self._store.prune_to(self._settings.max_mb * _MEGABYTE)

    def _take_over(self, left: list[Episode]) -> None:
        """What the file knows and we do not; of what both know, ours is newer."""
        self._episodes = {episode.id: episode for episode in left} | self._episodes
        for id_, episode in self._episodes.items():
            if not episode.ended:
                # The store has just ended all that it took for left open; this one goes on.
                self._batch.episodes[id_] = episode

    def _on_disk(self, work: Callable[[], object]) -> None:
        try:
            work()
        except HistoryUnavailableError as error:
            self._on_unavailable(error)
        except HistoryDamagedError as error:
            self._on_damaged(error)
        else:
            if self._disk_fault:
                log.info("history.on_disk_again", gave_way=self._gave_way)
            self._disk_fault = ""
            self._gave_way = 0

    def _on_unavailable(self, error: HistoryUnavailableError) -> None:
        if not self._disk_fault:
            log.error("history.not_on_disk", error=str(error))
        self._disk_fault = (
            f"The night cannot be remembered on disk and would not survive a restart: {error.message} "
            "Make room, or let the service write there."
        )
        self._retry_at_s = self._now().since_boot_s + RETRY_DISK_S

    def _on_damaged(self, error: HistoryDamagedError) -> None:
        """Begin a new file with what memory holds."""
        try:
            aside = self._store.move_aside(datetime.now(UTC))
            self._write_batch()
        except HistoryUnavailableError as second:
            self._on_unavailable(second)
            return
        except HistoryDamagedError as second:  # the disk damages what we have only just written
            self._on_unavailable(HistoryUnavailableError(second.message))
            return
        self._disk_fault = ""
        self._damaged_at_s = self._now().since_boot_s
        self._damage = (
            f"The memory of earlier nights was damaged and a new one was begun ({error.message}) The damaged "
            f"file is kept as {aside.name}; check the disk or the SD card."
        )
        log.error("history.damaged", error=str(error), kept_as=str(aside))

    def _tell(self) -> None:
        damaged_at_s = self._damaged_at_s
        recent = damaged_at_s is not None and self._now().since_boot_s - damaged_at_s < TELL_DAMAGE_S
        gave_way = f" {self._gave_way} older records gave way." if self._gave_way else ""
        self._fault = self._disk_fault + gave_way if self._disk_fault else self._damage if recent else ""
