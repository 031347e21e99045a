"""Notifications that wait for their channels, on disk by way of the outbox. Any thread may call."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from monitor.sinks.outbox import Entry, Item, Outbox
from monitor.sinks.push_notes import Notification
from monitor.sinks.push_state import PolicyState

log = structlog.get_logger(__name__)

_POLICY: Final = "push.policy"
_CHANNELS: Final = "push.channels"
_KEY: Final = "push.key"


@dataclass(frozen=True, slots=True)
class Waiting:
    """A notification on its way to one channel. ``left_s``: how long it is still news."""

    key: str
    notification: Notification
    age_s: float
    left_s: float


class PushQueue:
    """One entry for each notification and channel; a newer one of a tag takes an older one's place."""

    def __init__(self, outbox: Outbox, channels: Sequence[str]) -> None:
        self._outbox = outbox
        self._channels = tuple(channels)
        self._lock = threading.Lock()
        self._by_tag: dict[tuple[str, str], set[str]] = {}
        """Keys that may wait, by channel and tag."""

    def open(self) -> None:
        self._outbox.open()

    def take_left(self) -> PolicyState | None:
        """Take over what an earlier process left, once, as soon as the disk has said it; its policy's state.

        What was meant for a channel that is gone is dropped, as is what a newer notification has replaced.
        """
        left = self._outbox.take_left()
        if left is None:
            return None
        for name in _channels_before(left) - set(self._channels):
            self._outbox.done(*(entry.item.key for entry in self._outbox.pending(name)), channel=name)
        for name in self._channels:
            self._take_over(name)
        self._outbox.put(remember={_CHANNELS: json.dumps(self._channels)})
        return _state(left)

    def _take_over(self, name: str) -> None:
        outdated: list[str] = []
        with self._lock:
            for entry in self._outbox.pending(name):
                keys = self._by_tag.setdefault((name, entry.item.kind), set())
                if keys and entry.item.key not in keys:
                    outdated.append(entry.item.key)
                else:
                    keys.add(entry.item.key)
        self._outbox.done(*outdated, channel=name)

    def signing_key(self, fresh: str) -> str:
        """The secret that acknowledgements are signed with; ``fresh`` becomes it when there is none."""
        stored = self._outbox.facts().get(_KEY)
        if stored is None:
            self._outbox.put(remember={_KEY: fresh})
        return fresh if stored is None else stored

    def renew_signing_key(self, fresh: str) -> str:
        """Let ``fresh`` be the secret from now on."""
        self._outbox.put(remember={_KEY: fresh})
        return fresh

    def put(self, notifications: Iterable[Notification], state: PolicyState | None = None) -> None:
        """Keep ``notifications``, and ``state`` with them, in one transaction."""
        remember = {} if state is None else {_POLICY: state.to_json()}
        items: list[Item] = []
        older: list[tuple[str, list[str]]] = []
        with self._lock:
            for notification in notifications:
                for name in notification.recipients:
                    keys = self._by_tag.setdefault((name, notification.tag), set())
                    outdated = self._by_tag.pop((name, notification.outdates), set())
                    older.append((name, sorted((keys | outdated) - {notification.key})))
                    keys.clear()
                    keys.add(notification.key)
                    items.append(_item(notification, name))
        if items or remember:
            self._outbox.put(*items, remember=remember)
        for name, keys_before in older:
            if keys_before:
                self._outbox.done(*keys_before, channel=name)

    def withdraw(self, tag: str) -> list[str]:
        """Let nothing about ``tag`` be sent any more; the channels for which something waited."""
        with self._lock:
            places = {name: self._by_tag.pop((name, tag), set()) for name in self._channels}
        for name, keys in places.items():
            if keys:
                self._outbox.done(*keys, channel=name)
        return [name for name, keys in places.items() if keys]

    def pending(self, channel: str) -> list[Waiting]:
        """What may be tried now, the most urgent first."""
        waiting = []
        for entry in self._outbox.pending(channel):
            notification = self._read(entry)
            if notification is not None:
                age_s = self._outbox.age_s(entry)
                waiting.append(Waiting(entry.item.key, notification, age_s, notification.lasts_s - age_s))
        return sorted(waiting, key=lambda one: -one.notification.urgency)

    def done(self, channel: str, one: Waiting) -> None:
        place = channel, one.notification.tag
        with self._lock:
            keys = self._by_tag.get(place, set())
            keys.discard(one.key)
            if not keys:
                self._by_tag.pop(place, None)
        self._outbox.done(one.key, channel=channel)

    def defer(self, channel: str, one: Waiting, for_s: float) -> None:
        self._outbox.defer(one.key, for_s, channel=channel)

    def waiting(self, channel: str | None = None) -> int:
        """How many wait for ``channel``, or for all."""
        return self._outbox.waiting(channel)

    def tick(self) -> None:
        self._outbox.tick()

    def fault(self) -> str:
        return self._outbox.fault()

    def close(self, timeout_s: float) -> None:
        self._outbox.close(timeout_s)

    def _read(self, entry: Entry) -> Notification | None:
        try:
            return Notification.from_json(entry.item.payload)
        except ValueError as error:
            log.warning("push.entry_unreadable", key=entry.item.key, error=type(error).__name__)
            self._outbox.done(entry.item.key, channel=entry.item.channel)
            return None


def _channels_before(left: Mapping[str, str]) -> set[str]:
    try:
        before = json.loads(left.get(_CHANNELS, "[]"))
    except (ValueError, RecursionError):
        before = None
    if not isinstance(before, list) or not all(isinstance(name, str) for name in before):
        log.warning("push.channels_unreadable")
        return set()
    return set(before)


def _state(left: Mapping[str, str]) -> PolicyState:
    """What the policy knew when it was last stored."""
    written = left.get(_POLICY)
    if written is None:
        return PolicyState()
    try:
        return PolicyState.from_json(written)
    except ValueError as error:
        log.warning("push.state_unreadable", error=type(error).__name__)
        return PolicyState()


def _item(notification: Notification, channel: str) -> Item:
    return Item(
        key=notification.key,
        kind=notification.tag,
        payload=notification.to_json(),
        channel=channel,
        lasts_s=notification.lasts_s,
    )
