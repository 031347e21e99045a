"""What still has to be delivered, on disk, so that neither a kill nor a power cut loses it.

The entries are few and live in memory as well; the file is their copy that outlives us, and a keeper writes
it (:mod:`~monitor.sinks.outbox_mirror`). So a disk that is full, read-only or dead costs the durability,
which is a fault, and not the delivery: all is written again when the disk takes it.

Any thread may call. A change waits half a second at most for the disk, and a question takes no lock at all.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from monitor.keeper import ANSWERS_WITHIN_S
from monitor.sinks import moment
from monitor.sinks.moment import Moment
from monitor.sinks.outbox_file import Contents, Entry, Item, OutboxFile
from monitor.sinks.outbox_mirror import RETRY_DISK_S, TELL_DAMAGE_S, OutboxMirror
from monitor.words import count

__all__ = ["RETRY_DISK_S", "TELL_DAMAGE_S", "Entry", "Item", "Outbox", "OutboxStats"]

log = structlog.get_logger(__name__)

DEFAULT_CAPACITY: Final = 1024
READ_WITHIN_S: Final = 1.0
"""How long a start waits for what an earlier process left; it is taken over later where it comes later."""

_FIRST_UNREAD: Final = 1 << 40
"""The first number while nobody knows what the file holds: there is room for that before it."""

_Place = tuple[str, str]
"""Channel and key."""


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
    ``within_s`` is the longest wait for the disk; ``file`` makes what works with it.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        capacity: int = DEFAULT_CAPACITY,
        now: Callable[[], Moment] = moment.now,
        monotonic_s: Callable[[], float] = time.monotonic,
        within_s: float = ANSWERS_WITHIN_S,
        file: Callable[[Path], OutboxFile] = OutboxFile,
    ) -> None:
        if capacity < 1:
            raise ValueError(f"An outbox needs room for an entry, not for {capacity}.")
        self._capacity = capacity
        self._now = now
        self._monotonic_s = monotonic_s
        self._lock = threading.Lock()
        # Replaced, never changed: readers need no lock.
        self._entries: dict[_Place, Entry] = {}
        self._facts: dict[str, str] = {}
        self._next_number = _FIRST_UNREAD
        self._due_s: dict[_Place, float] = {}
        self._evicted = 0
        self._overflowing = False
        self._left: dict[str, str] | None = {} if path is None else None
        self._done_unread: dict[_Place, None] | None = None if path is None else {}
        """What was done while nobody knew yet what the file holds."""
        self._mirror: OutboxMirror | None = None
        if path is not None:
            self._mirror = OutboxMirror(
                file(path),
                self._lock,
                contents=self._contents,
                take_over=self._take_over,
                monotonic_s=monotonic_s,
                within_s=within_s,
            )

    def open(self, *, within_s: float = READ_WITHIN_S) -> None:
        """Read what an earlier process left. A disk that does not work is a fault and no error."""
        if self._mirror is not None:
            self._mirror.start(within_s)

    def take_left(self) -> dict[str, str] | None:
        """The facts that an earlier process left, once, as soon as they have been read; None else."""
        with self._lock:
            left, self._left = self._left, None
        return left

    def put(
        self, *items: Item, remember: Mapping[str, str] | None = None, forget: Collection[str] = ()
    ) -> int:
        """Keep ``items``, change the facts, all in one transaction and on disk on return if the disk answers.

        An item whose key waits in its channel already is left out. Returns how many were new.
        """
        remember = remember or {}
        with self._lock:
            new = self._new_entries(items)
            self._entries = self._entries | {_place(entry): entry for entry in new}
            evicted = self._make_room()
            numbers = [entry.number for entry in evicted]
            self._facts = {
                name: value for name, value in {**self._facts, **remember}.items() if name not in forget
            }
            if not (new or evicted or remember or forget):
                return 0
            self._note(new, numbers, remember, forget)
        for entry in evicted:
            log.error("outbox.evicted", key=entry.item.key, kind=entry.item.kind, channel=entry.item.channel)
        self._settle()
        return len(new)

    def done(self, *keys: str, channel: str = "") -> None:
        """Forget entries, delivered or given up. A key that is not there does no harm."""
        places = [(channel, key) for key in keys]
        with self._lock:
            numbers = [self._entries[place].number for place in places if place in self._entries]
            self._entries = {place: entry for place, entry in self._entries.items() if place not in places}
            for place in places:
                self._due_s.pop(place, None)
            if self._done_unread is not None:
                self._done_unread |= dict.fromkeys(places)
            if not self._entries:
                self._overflowing = False
            if not numbers:
                return
            self._note((), numbers, {}, ())
        self._settle()

    def defer(self, key: str, for_s: float, *, channel: str = "") -> None:
        """Keep an entry out of ``pending`` for a while. A restart forgets it, and tries at once."""
        with self._lock:
            if (channel, key) in self._entries:
                self._due_s[channel, key] = self._monotonic_s() + for_s

    def age_s(self, entry: Entry) -> float:
        """Time since the entry was put, whatever happened to the clock; see ``moment.age_s``."""
        return moment.age_s(entry.created, self._now())

    def is_expired(self, entry: Entry) -> bool:
        return entry.item.lasts_s is not None and self.age_s(entry) >= entry.item.lasts_s

    def tick(self) -> None:
        """Look after the file, and try the disk again when it is time. Call it about once a second."""
        self._settle()

    def close(self, timeout_s: float = 1.0) -> None:
        """Write what is not on disk yet, within ``timeout_s``, and give the file up."""
        if self._mirror is None:
            return
        closed = self._mirror.close(timeout_s)
        if self._entries and not (closed and self._mirror.is_on_disk):
            log.error("outbox.lost_at_stop", events=len(self._entries), fault=self._mirror.fault())

    # --- questions, from any thread; none of them takes a lock ----------------------------------------

    def pending(self, channel: str = "") -> list[Entry]:
        """What waits in ``channel`` and is not deferred, oldest first."""
        now_s = self._monotonic_s()
        return [
            entry
            for place, entry in self._entries.items()
            if place[0] == channel and self._due_s.get(place, now_s) <= now_s
        ]

    def waiting(self, channel: str | None = None) -> int:
        """How many entries there are, deferred ones as well; in one channel or in all."""
        return sum(channel is None or place[0] == channel for place in self._entries)

    def facts(self) -> dict[str, str]:
        return dict(self._facts)

    def fault(self) -> str:
        """What is wrong with keeping things, with a remedy; empty while all is well."""
        fault = "" if self._mirror is None else self._mirror.fault()
        if self._overflowing and not fault:
            return (
                f"{count(self._evicted, 'event')} could not be kept: {self._capacity} waited for delivery "
                "already. See why they are not delivered."
            )
        return fault

    def stats(self) -> OutboxStats:
        now, entries = self._now(), self._entries.values()
        return OutboxStats(
            waiting=len(entries),
            evicted=self._evicted,
            oldest_age_s=max((moment.age_s(entry.created, now) for entry in entries), default=0.0),
            on_disk=self._mirror is not None and self._mirror.is_on_disk,
        )

    # --- with the lock held ---------------------------------------------------------------------------

    def _new_entries(self, items: Collection[Item]) -> list[Entry]:
        created = self._now()
        fresh = {(item.channel, item.key): item for item in items}
        new: list[Entry] = []
        for place, item in fresh.items():
            if place not in self._entries:
                new.append(Entry(self._next_number, item, created))
                self._next_number += 1
        return new

    def _make_room(self) -> list[Entry]:
        """Evict the oldest of too many; those that went."""
        n_evicted = max(0, len(self._entries) - self._capacity)
        places = list(self._entries)[:n_evicted]
        evicted = [self._entries[place] for place in places]
        self._entries = {place: e for place, e in self._entries.items() if place not in places}
        for entry in evicted:
            self._due_s.pop(_place(entry), None)
            self._evicted += 1
            self._overflowing = True
        return evicted

    def _note(
        self,
        put: Collection[Entry],
        done: Collection[int],
        remember: Mapping[str, str],
        forget: Collection[str],
    ) -> None:
        if self._mirror is not None:
            self._mirror.note(put, done, remember, forget)

    def _contents(self) -> Contents:
        return Contents(list(self._entries.values()), self._facts)

    def _take_over(self, contents: Contents) -> bool:
        """Put what an earlier process left before what we have; whether the file is not as memory is now.

        What was done or put meanwhile is not taken again. Our entries keep their numbers, by which their
        owners know them.
        """
        done, self._done_unread = self._done_unread or {}, None
        left = {_place(entry): entry for entry in contents.entries if _place(entry) not in done}
        self._left = dict(contents.facts)
        untouched = self._next_number == _FIRST_UNREAD and not self._facts and not done
        ours, self._facts = self._entries, contents.facts | self._facts
        if untouched:
            self._entries = left
            self._next_number = max((entry.number for entry in contents.entries), default=0) + 1
            return bool(self._make_room())
        older = {
            place: Entry(number, entry.item, entry.created)
            for number, (place, entry) in enumerate(left.items(), start=1)
        }
        self._entries = older | ours
        self._make_room()
        return True

    # --- without the lock -----------------------------------------------------------------------------

    def _settle(self) -> None:
        if self._mirror is not None:
            self._mirror.settle()


def _place(entry: Entry) -> _Place:
    return entry.item.channel, entry.item.key
