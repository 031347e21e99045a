"""Which folder, and which night: words and dates become paths and spans of time."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from monitor.config import Config
from monitor.errors import ConfigError, MonitorError
from monitor.events.night import evening_of, span_of
from monitor.service.state_folder import SYSTEM_STATE, state_path


def state_folder(
    config: Config, environ: Mapping[str, str] = os.environ, system: Path = SYSTEM_STATE
) -> Path:
    """The folder of the configured monitor: that of this user, or else of the system's service.

    Raises ConfigError when there is none, when there are two, or when it is out of reach.
    """
    own = state_path(config.service.state_dir, config.device.id, environ)
    is_given = config.service.state_dir is not None or bool(environ.get("STATE_DIRECTORY"))
    places = [own] if is_given else [own, system / config.device.id]
    try:
        found = [place for place in dict.fromkeys(places) if place.is_dir()]
        for place in found:
            os.scandir(place).close()
    except PermissionError as error:
        raise ConfigError(
            f"The state folder {error.filename} is closed to this user.",
            "Run the command as root or as the service's user.",
        ) from error
    if not found:
        raise ConfigError(
            f"No monitor {config.device.id!r} has kept anything: there is no folder "
            f"{' or '.join(map(str, places))}.",
            "Name the monitor with --set device.id=… or its folder's parent with --set service.state_dir=….",
        )
    if len(found) > 1:
        raise ConfigError(
            f"There are two state folders, {found[0]} and {found[1]}.",
            f"Say which: --set service.state_dir={found[0].parent} or {found[1].parent}.",
        )
    return found[0]


def chosen_evening(text: str, remembered: Iterable[date], now: datetime) -> date:
    """The evening of the night that ``text`` names: a date, "last" or "yesterday". Raises ConfigError."""
    nights = sorted(remembered)
    if text == "last":
        if not nights:
            raise MonitorError("No night is remembered yet.", "The first appears a minute after the start.")
        return nights[-1]
    if text == "yesterday":
        return now.date() - timedelta(days=1)
    evening = parsed_date("--night", text)
    if evening > evening_of(now) and evening not in nights:
        raise ConfigError(
            f"The night of {evening} has not begun: it begins at noon of that day.",
            "The latest is --night last.",
        )
    return evening


def parsed_date(flag: str, text: str) -> date:
    """Raises ConfigError for what is no day that the system's clock knows."""
    words = "the date of its evening, such as 2026-11-22"
    if flag == "--night":
        words += ", or last or yesterday"
    try:
        # Not fromisoformat alone, which also takes weeks and 20261122.
        evening = datetime.strptime(text, "%Y-%m-%d").date()  # noqa: DTZ007 - a date has no zone
        span_of(evening)
    except (ValueError, OverflowError) as error:
        raise ConfigError(f"{flag} {text} names no night.", f"Write {words}.") from error
    return evening


def span_s(evening: date) -> tuple[float, float]:
    """Begin and end of a night, in seconds since 1970."""
    begin, end = span_of(evening)
    return begin.timestamp(), end.timestamp()


def evenings(quarters: Iterable[int]) -> list[date]:
    """The nights of quarters of an hour since 1970, in order; those that no calendar holds are left out."""
    found = set()
    for quarter in quarters:
        try:
            found.add(evening_of(datetime.fromtimestamp(quarter * 900, UTC).astimezone()))
        except (ValueError, OverflowError, OSError):
            continue  # a clock that was quite wrong
    return sorted(found)
