"""What still has to be delivered, on disk, so that neither a kill nor a power cut loses it.

The entries are few and live in memory as well; the file (``outbox_file``) is their copy that outlives us.
So a disk that is full or read-only costs the durability, which is a fault, and not the delivery: all is
written anew when the disk takes it again. Any thread may call; no call waits for anything but the disk.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import structlog

from monitor.errors import SinkError
from monitor.sinks import moment
from monitor.sinks.moment import Moment
from monitor.sinks.outbox_file import (
    Contents,
    Entry,
    Item,
    OutboxDamagedError,
    OutboxFile,
    OutboxUnavailableError,
)

__all__ = ["Entry", "Item", "Outbox", "OutboxStats"]

log = structlog.get_logger(__name__)

DEFAULT_CAPACITY: Final = 1024
RETRY_DISK_S: Final = 5.0
TELL_DAMAGE_S: Final = 3600.0
"""A file that was damaged is a fault for this long; the log has it for ever."""


@dataclass(frozen=True, slots=True)
class OutboxStats:
    waiting: int
    evicted: int
    """Entries that gave way to newer ones in a full outbox: lost."""
    oldest_age_s: float
    """0 when nothing waits."""
    on_disk: bool
    """Whether what waits would survive a power cut now."""


class Outbox:
    """Entries in the order in which they were put, and facts that have to outlive us beside them.

    ``path`` None keeps all in memory. ``now`` tells the time of an entry; ``monotonic_s`` times pauses.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        capacity: int = DEFAULT_CAPACITY,
        now: Callable[[], Moment] = moment.now,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        if capacity < 1:
            raise ValueError(f"An outbox needs room for an entry, not for {capacity}.")
        self._capacity = capacity
        self._now = now
        self._monotonic_s = monotonic_s
        self._lock = threading.Lock()
        self._entries: dict[tuple[str, str], Entry] = {}
        self._facts: dict[str, str] = {}
        self._next_number = 1
        self._due_s: dict[tuple[str, str], float] = {}
        self._closed = False
        self._evicted = 0
        self._overflowing = False
        self._file = None if path is None else OutboxFile(path)
        self._read = path is None
        self._disk_fault = ""
        self._retry_at_s: float | None = None
        self._damage = ""
        self._damaged_at_s = 0.0

    def open(self) -> None:
        """Read what an earlier process left. A disk that does not work is a fault and no error."""
        with self._lock:
            self._closed = False
            if self._file is not None and not self._file.is_open:
                self._open_file()

    def put(
        self, *items: Item, remember: Mapping[str, str] | None = None, forget: Collection[str] = ()
    ) -> int:
        """Keep ``items``, change the facts, all in one transaction and on disk on return.

        An item whose key waits in its channel already is left out. Returns how many were new.
        """
        remember = remember or {}
        with self._lock:
            new = self._new_entries(items)
            evicted = self._make_room(len(new))
            for entry in new:
                self._entries[_place(entry)] = entry
            self._facts.update(remember)
            for name in forget:
                self._facts.pop(name, None)
            if new or evicted or remember or forget:
                self._write([e for e in new if _place(e) in self._entries], evicted, remember, forget)
            return len(new)

    def pending(self, channel: str = "") -> list[Entry]:
        """What waits in ``channel`` and is not deferred, oldest first."""
        with self._lock:
            now_s = self._monotonic_s()
            return [
                entry
                for place, entry in self._entries.items()
                if place[0] == channel and self._due_s.get(place, now_s) <= now_s
            ]

    def waiting(self, channel: str | None = None) -> int:
        """How many entries there are, deferred ones as well; in one channel or in all. Never waits."""
        return sum(channel is None or place[0] == channel for place in tuple(self._entries))

    def done(self, *keys: str, channel: str = "") -> None:
        """Forget entries, delivered or given up. A key that is not there does no harm."""
        with self._lock:
            gone = [self._entries.pop((channel, key), None) for key in keys]
            numbers = [entry.number for entry in gone if entry is not None]
            for key in keys:
                self._due_s.pop((channel, key), None)
            if not self._entries:
                self._overflowing = False
            if numbers:
                self._write([], numbers, {}, ())

    def defer(self, key: str, for_s: float, *, channel: str = "") -> None:
        """Keep an entry out of ``pending`` for a while. A restart forgets it, and tries at once."""
        with self._lock:
            if (channel, key) in self._entries:
                self._due_s[channel, key] = self._monotonic_s() + for_s

    def facts(self) -> dict[str, str]:
        with self._lock:
            return dict(self._facts)

    def age_s(self, entry: Entry) -> float:
        """Time since the entry was put, whatever happened to the clock; see ``moment.age_s``."""
        return moment.age_s(entry.created, self._now())

    def is_expired(self, entry: Entry) -> bool:
        return entry.item.lasts_s is not None and self.age_s(entry) >= entry.item.lasts_s

    def tick(self) -> None:
        """Try the disk again when it is time. Call it about once a second."""
        with self._lock:
            if self._file is not None and self._file.is_open and self._file.is_gone():
                self._file.close()
                self._on_unavailable(OutboxUnavailableError(f"{self._file.path} was deleted."))
                self._retry_at_s = self._monotonic_s()
            if self._retry_at_s is not None and self._monotonic_s() >= self._retry_at_s:
                self._save_all()

    # Main asks for what follows once a second. The lock may be held by a thread that waits for a dead disk,
    # so none of it takes the lock: each reads single attributes, or a copy made in one step.

    def fault(self) -> str:
        """What is wrong with keeping things, with a remedy; empty while all is well. Never waits."""
        disk_fault, damage = self._disk_fault, self._damage
        if disk_fault:
            return disk_fault
        if self._overflowing:
            return (
                f"{self._evicted} events could not be kept: {self._capacity} waited for delivery "
                "already. See why they are not delivered."
            )
        if damage and self._monotonic_s() - self._damaged_at_s < TELL_DAMAGE_S:
            return damage
        return ""

    def stats(self) -> OutboxStats:
        """Never waits."""
        now, entries = self._now(), tuple(self._entries.values())
        return OutboxStats(
            waiting=len(entries),
            evicted=self._evicted,
            oldest_age_s=max((moment.age_s(entry.created, now) for entry in entries), default=0.0),
            on_disk=self._file is not None and not self._disk_fault,
        )

    def close(self) -> None:
        with self._lock:
            self._closed = True
            if self._disk_fault:
                self._save_all()  # the last chance
            if self._disk_fault and self._entries:
                log.error("outbox.lost_at_stop", events=len(self._entries), fault=self._disk_fault)
            if self._file is not None:
                self._file.close()

    # --- with the lock held -----------------------------------------------------------------------

    def _new_entries(self, items: Collection[Item]) -> list[Entry]:
        created = self._now()
        fresh = {(item.channel, item.key): item for item in items}
        new: list[Entry] = []
        for place, item in fresh.items():
            if place not in self._entries:
                new.append(Entry(self._next_number, item, created))
                self._next_number += 1
        return new

    def _make_room(self, wanted: int) -> list[int]:
        """Evict the oldest; the numbers of those that were."""
        n_evicted = max(0, min(len(self._entries), len(self._entries) + wanted - self._capacity))
        evicted = [self._entries[place] for place in list(self._entries)[:n_evicted]]
        for entry in evicted:
            del self._entries[_place(entry)]
            self._due_s.pop(_place(entry), None)
            self._evicted += 1
            self._overflowing = True
            log.error("outbox.evicted", key=entry.item.key, kind=entry.item.kind, channel=entry.item.channel)
        return [entry.number for entry in evicted]

    def _write(
        self,
        put: Collection[Entry],
        done: Collection[int],
        remember: Mapping[str, str],
        forget: Collection[str],
    ) -> None:
        if self._file is None or self._closed:
            return  # a thread that outlived the stop must not open the file again
        if self._file.is_open:
            try:
                self._file.write(put, done, remember, forget)
            except OutboxUnavailableError as error:
                self._on_unavailable(error)
            except OutboxDamagedError as error:
                self._on_damaged(error)
        elif self._retry_at_s is None or self._monotonic_s() >= self._retry_at_s:
            self._save_all()

    def _open_file(self) -> None:
        assert self._file is not None
        try:
            self._take_over(self._file.open())
        except OutboxUnavailableError as error:
            self._on_unavailable(error)
        except OutboxDamagedError as error:
            self._on_damaged(error)

    def _save_all(self) -> None:
        """Open the file where it is not and bring it to what memory holds."""
        assert self._file is not None
        try:
            if not self._file.is_open:
                self._take_over(self._file.open())
            self._file.rewrite(self._contents())
        except OutboxUnavailableError as error:
            self._on_unavailable(error)
        except OutboxDamagedError as error:
            self._on_damaged(error)
        else:
            self._on_available()

    def _contents(self) -> Contents:
        return Contents(list(self._entries.values()), self._facts)

    def _take_over(self, contents: Contents) -> None:
        """What an earlier process left is older than what we hold, and is read only once."""
        if self._read:
            return
        self._read = True
        ours = list(self._entries.values())
        self._entries = {_place(entry): entry for entry in contents.entries}
        self._next_number = max((entry.number for entry in contents.entries), default=0) + 1
        for entry in ours:
            if _place(entry) not in self._entries:
                self._entries[_place(entry)] = Entry(self._next_number, entry.item, entry.created)
                self._next_number += 1
        self._facts = contents.facts | self._facts
        if contents.unfit:
            self._damaged_at_s = self._monotonic_s()
            self._damage = (
                f"{contents.unfit} records of the outbox were damaged and are lost; the others are in order. "
                "Check the disk or the SD card."
            )
            log.error("outbox.records_damaged", records=contents.unfit)

    def _on_available(self) -> None:
        if self._disk_fault:
            log.info("outbox.on_disk_again")
        self._disk_fault = ""
        self._retry_at_s = None

    def _on_unavailable(self, error: SinkError) -> None:
        if not self._disk_fault:
            log.error("outbox.not_on_disk", error=str(error))
        self._disk_fault = (
            f"Events cannot be kept on disk and would not survive a restart: {error} "
            "Make room, or let the service write there."
        )
        self._retry_at_s = self._monotonic_s() + RETRY_DISK_S

    def _on_damaged(self, error: OutboxDamagedError) -> None:
        """Begin a new file with what memory holds."""
        assert self._file is not None
        try:
            aside = self._file.move_aside(datetime.now(UTC))
            self._read = True
            self._file.open()
            self._file.rewrite(self._contents())
        except (OutboxUnavailableError, OutboxDamagedError) as second:
            self._on_unavailable(second)
            return
        self._on_available()
        self._damaged_at_s = self._monotonic_s()
        self._damage = (
            f"The outbox was damaged and a new one was begun ({error.message}); events that waited may be "
            f"lost. The damaged file is kept as {aside.name}; check the disk or the SD card."
        )
        log.error("outbox.damaged", error=str(error), kept_as=str(aside))


def _place(entry: Entry) -> tuple[str, str]:
    return entry.item.channel, entry.item.key
