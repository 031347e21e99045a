"""Channels through Apprise: one attempt to deliver one notification, with what came of it.

Each service has its own idea of urgency, and a priority written into a URL fits one kind of notification
only (Apprise silently ignores those it does not know). So the URL is taken apart and each notification gets
the priority that its service understands. Apprise reports failure as a falsy value and logs why; the log
records of the sending thread become the reason. Nothing in here shows a URL.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from typing_extensions import override

from monitor.errors import ConfigError
from monitor.sinks import push_reasons, push_urls
from monitor.sinks.push_library import LOGGER, library, library_for
from monitor.sinks.push_notes import Notification, Urgency
from monitor.sinks.push_settings import ChannelSettings
from monitor.words import plain

if TYPE_CHECKING:
    from types import ModuleType

_NTFY: Final = {Urgency.QUIET: "low", Urgency.NORMAL: "default", Urgency.HIGH: "high", Urgency.URGENT: "max"}
"""2, 3, 4 and 5 of https://docs.ntfy.sh/publish/#message-priority by the names that ntfy has for them."""
_PUSHOVER: Final = {Urgency.QUIET: -1, Urgency.NORMAL: 0, Urgency.HIGH: 1, Urgency.URGENT: 2}
"""https://pushover.net/api#priority; 2 sounds every ``retry`` seconds until it is acknowledged or expires."""
_PUSHOVER_RETRY_S: Final = 30
_PUSHOVER_EXPIRE_S: Final = (30, 10_800)
_GOTIFY: Final = {
    Urgency.QUIET: "moderate",
    Urgency.NORMAL: "normal",
    Urgency.HIGH: "high",
    Urgency.URGENT: "emergency",
}
"""3 without a sound, 5 with one, 8 and 10 as an alarm, in Gotify's app."""
_MAIL: Final = {
    Urgency.QUIET: {"X-Priority": "5", "Importance": "low", "Priority": "non-urgent"},
    Urgency.NORMAL: {"X-Priority": "3", "Importance": "normal", "Priority": "normal"},
    Urgency.HIGH: {"X-Priority": "2", "Importance": "high", "Priority": "urgent"},
    Urgency.URGENT: {"X-Priority": "1", "Importance": "high", "Priority": "urgent"},
}
"""RFC 2156 and what mail programs made of it; there is no header that rings through a silent phone."""
_WEBHOOKS: Final = ("json", "jsons", "form", "forms", "xml", "xmls")


@dataclass(frozen=True, slots=True)
class Attempt:
    """``reason`` and ``remedy`` are sentences for a person, empty when it arrived."""

    ok: bool
    elapsed_s: float
    reason: str = ""
    remedy: str = ""


class Channel:
    """One channel. Only :meth:`send` touches the network; one thread at a time."""

    def __init__(self, settings: ChannelSettings) -> None:
        self._settings = settings
        # Until the service has taken it apart, each part may be one.
        self._secrets = push_reasons.secrets(settings.url, {"url": settings.url.partition("://")[2]})

    @property
    def name(self) -> str:
        return self._settings.name

    def check(self) -> None:
        """Raise ConfigError where no attempt could ever succeed: no Apprise, or a URL that it cannot use."""
        parts = self._parts()
        with _heard() as records:
            plugin = _tried(lambda: library().Apprise.instantiate(dict(parts)), records)
        if plugin is None:
            raise self._unusable(records)

    def send(self, notification: Notification, *, left_s: float, acknowledge_url: str = "") -> Attempt:
        """Try once. ``left_s``: how long it will still be news."""
        began_s = time.monotonic()
        with _heard() as records:
            try:
                ok = self._send(notification, left_s, acknowledge_url)
            except Exception as error:  # noqa: BLE001 - 130 services: whatever one of them raises, it failed
                records.append(f"{type(error).__name__}: {error}")
                ok = False
        elapsed_s = time.monotonic() - began_s
        if ok:
            return Attempt(ok=True, elapsed_s=elapsed_s)
        reason, remedy = push_reasons.explain(records, self._secrets)
        return Attempt(ok=False, elapsed_s=elapsed_s, reason=reason, remedy=remedy)

    def _send(self, notification: Notification, left_s: float, acknowledge_url: str) -> bool:
        apprise = library()
        parts = self._parts()
        shown = _with_urgency(parts, notification, left_s, acknowledge_url)
        asset = apprise.AppriseAsset(app_id="Cradlewatch", app_desc="Cradlewatch", app_url="")
        plugin = apprise.Apprise.instantiate(parts, asset=asset)
        if plugin is None:
            return False
        text = notification.text
        if acknowledge_url and not shown:
            text += f"\nAcknowledge: {acknowledge_url}"
        return bool(
            plugin.notify(
                title=notification.title,
                body=text,
                notify_type=_type(apprise, notification.urgency),
                body_format=apprise.NotifyFormat.TEXT,
            )
        )

    def _parts(self) -> dict[str, Any]:
        """The URL, taken apart by the service that it is for."""
        apprise = library_for(self._settings.url)
        self._refuse_misread()
        with _heard() as records:
            parts: dict[str, Any] | None = _tried(
                lambda: apprise.plugins.url_to_dict(self._settings.url), records
            )
        if parts is None:
            raise self._unusable(records)
        self._secrets = push_reasons.secrets(self._settings.url, parts)
        self._refuse_topics(parts)
        # A POST that is forwarded becomes a GET of some page, which answers well: nothing arrived.
        parts["redirect"] = False
        return parts

    def _refuse_misread(self) -> None:
        character = push_urls.misread(self._settings.url)
        if character:
            raise ConfigError(
                f"The url of channel {self.name!r} in push.channels_file holds a "
                f'"{character}" in user name or password, which ends them there.',
                f"Write it as {push_urls.encoded(character)}.",
            )

    def _refuse_topics(self, parts: dict[str, Any]) -> None:
        """Where ntfy would drop all of them and alert nobody."""
        topics = parts.get("targets", ())
        odd = [plain(push_urls.odd_in_topic(topic)) for topic in topics]
        if parts["schema"] in {"ntfy", "ntfys"} and topics and all(odd):
            raise ConfigError(
                f"The topic of channel {self.name!r} in push.channels_file holds "
                f'"{odd[0]}", which ntfy refuses.',
                "Choose a topic of a-z, A-Z, 0-9, - and _.",
            )

    def _unusable(self, records: list[str]) -> ConfigError:
        reason, _ = push_reasons.explain(records, self._secrets)
        raw = push_urls.raw(self._settings.url)
        encode = f' Write its "{plain(raw)}" as {push_urls.encoded(raw)}.' if raw else ""
        return ConfigError(
            f"The url of channel {self.name!r} in push.channels_file cannot be used: {reason}",
            f"Write it as Apprise's page about that service shows.{encode}",
        )


def _tried(what: Callable[[], Any], records: list[str]) -> Any:
    """What Apprise makes of a URL; None where one of its services stumbles over it."""
    try:
        return what()
    except Exception as error:  # noqa: BLE001 - whatever it raises, the URL cannot be used
        records.append(f"Exception: the service cannot read it ({type(error).__name__})")
        return None


def require_apprise() -> None:
    """Raise ConfigError, with the remedy, where Apprise is not installed."""
    library()


def _with_urgency(
    parts: dict[str, Any], notification: Notification, left_s: float, acknowledge_url: str
) -> bool:
    """Put urgency and acknowledgement into ``parts``; True when the service shows the latter by itself."""
    urgency = notification.urgency
    match parts["schema"]:
        case "ntfy" | "ntfys":
            # Without image: a phone would load Apprise's logo from the internet for every cry.
            parts |= {
                "priority": _NTFY[urgency],
                "include_image": False,
                "xtags": [*parts.get("xtags", ()), _emoji(urgency)],
            }
            if acknowledge_url:
                parts["actions"] = f"http, Acknowledge, {acknowledge_url}, method=POST, clear=true"
            return True
        case "pover":
            low, high = _PUSHOVER_EXPIRE_S
            parts |= {"priority": _PUSHOVER[urgency], "interval": _PUSHOVER_RETRY_S}
            # Not beyond our own next one: two that ring on side by side are a nuisance and no help.
            rings_s = min(left_s, notification.repeats_s) if notification.repeats_s else left_s
            parts["expire"] = round(min(max(rings_s, low), high))
            if acknowledge_url:
                parts |= {"supplemental_url": acknowledge_url, "supplemental_url_title": "Acknowledge"}
            return True
        case "tgram":
            parts["silent"] = urgency is Urgency.QUIET
        case "gotify" | "gotifys":
            parts["priority"] = _GOTIFY[urgency]
        case "mailto" | "mailtos":
            parts["headers"] = {**(parts.get("headers") or {}), **_MAIL[urgency]}
        case schema if schema in _WEBHOOKS:
            parts["payload"] = {**(parts.get("payload") or {}), **_fields(notification, acknowledge_url)}
            return True
    return False


def _fields(notification: Notification, acknowledge_url: str) -> dict[str, str]:
    """What a webhook gets beside title, message and type."""
    return {
        "urgency": notification.urgency.name.lower(),
        "priority": str(notification.urgency + 2),  # 2 to 5, as ntfy counts
        "key": notification.key,
        "tag": notification.tag,
        "step": str(notification.step),
        "episode_id": notification.episode_id or "",
        "acknowledge_url": acknowledge_url,
    }


def _emoji(urgency: Urgency) -> str:
    return {Urgency.URGENT: "rotating_light", Urgency.HIGH: "baby"}.get(urgency, "information_source")


def _type(apprise: ModuleType, urgency: Urgency) -> Any:
    """What services without priorities show as a colour or a sign."""
    types = apprise.NotifyType
    return {Urgency.URGENT: types.FAILURE, Urgency.HIGH: types.WARNING}.get(urgency, types.INFO)


@contextmanager
def _heard() -> Iterator[list[str]]:
    """What Apprise logs on this thread meanwhile."""
    handler = _Records(threading.get_ident())
    logger = logging.getLogger(LOGGER)
    logger.addHandler(handler)
    try:
        yield handler.lines
    finally:
        logger.removeHandler(handler)


class _Records(logging.Handler):
    def __init__(self, thread: int) -> None:
        super().__init__(logging.DEBUG)
        self._thread = thread
        self.lines: list[str] = []

    @override
    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self._thread:
            self.lines.append(record.getMessage())
