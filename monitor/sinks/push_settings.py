"""What direct push and the sounder have to know, and the file that names the channels.

The file holds the addresses of phones with all their secrets, so nothing in here ever repeats a URL.
"""

from __future__ import annotations

import datetime as dt
import os
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import structlog

from monitor.errors import ConfigError
from monitor.files import OPEN_TO_OTHERS, read_text, secret_remedy

log = structlog.get_logger(__name__)

LAST_STEP: Final = 9
LONGEST_QUOTED: Final = 100
_KEYS: Final = ("name", "url", "step", "urgent_only")


@dataclass(frozen=True, slots=True)
class ChannelSettings:
    """One way to somebody. ``url`` is Apprise's, secrets and all."""

    name: str
    url: str = field(repr=False)
    step: int = 1
    """Who is asked first has 1; a channel of step 2 is used when nobody of step 1 acknowledged."""
    urgent_only: bool = False


@dataclass(frozen=True, slots=True)
class SounderSettings:
    """The attached speaker. ``device``: name, part of a name or index; None is the system's default."""

    device: str | None = None
    after_s: float = 30.0
    volume: float = 0.8
    """Peak amplitude, 1 is full scale."""
    tone_hz: float = 880.0


@dataclass(frozen=True, slots=True)
class PushSettings:
    """Who is told, when, and how somebody says that he has heard of it."""

    device: str
    device_name: str = "Cradlewatch"
    channels: tuple[ChannelSettings, ...] = ()
    after_s: float = 0.0
    next_step_after_s: float = 120.0
    repeat_every_s: float = 60.0
    fault_after_s: float = 30.0
    daily_test: dt.time | None = None
    callback_listen: str | None = None
    """Where the acknowledgement of a phone is heard, "host:port"; None: nowhere."""
    callback_url: str | None = None
    """How a phone reaches that place, "http://pi.local:8099"."""
    sounder: SounderSettings | None = None
    state_dir: Path | None = None
    """None: what is not yet delivered lives in memory only."""


def read_channels(file: Path) -> tuple[ChannelSettings, ...]:
    """The channels that ``file`` names.

    Raises ConfigError with one sentence for every mistake. A file that others may read is used, but
    the log says so.
    """
    try:
        text = read_text(file)
        mode = file.stat().st_mode
    except OSError as error:
        raise ConfigError(
            f"push.channels_file cannot be read as {file}: {error.strerror}.",
            secret_remedy(error, "push.channels_file", "push-channels", os.environ),
        ) from error
    except ValueError as error:
        raise ConfigError(
            f"push.channels_file cannot be read as {file}: it {error}.", "Save it as UTF-8."
        ) from error
    try:
        table = tomllib.loads(text)
    except RecursionError as error:
        raise ConfigError(
            f"push.channels_file {file} is not valid TOML: brackets within brackets.", "Correct it."
        ) from error
    except tomllib.TOMLDecodeError as error:
        # The library's sentence gives line and column, and quotes keys at most.
        raise ConfigError(
            f"push.channels_file {file} is not valid TOML: {_plain(str(error))}.", "Correct it."
        ) from error
    except ValueError as error:  # Python's, for a number of thousands of digits
        raise ConfigError(f"push.channels_file {file} holds an impossible number.", "Correct it.") from error
    if mode & OPEN_TO_OTHERS:
        log.warning("push.channels_open_to_others", file=str(file), remedy=f"chmod 600 {file}")
    problems: list[str] = []
    channels = tuple(_channels(table, file, problems))
    if problems:
        raise ConfigError("\n".join(problems))
    if all(channel.urgent_only for channel in channels):
        remedy = "leave urgent_only out where a cry shall be told at once"
        log.warning("push.cries_told_late", file=str(file), remedy=remedy)
    return channels


def _channels(table: dict[str, Any], file: Path, problems: list[str]) -> Iterator[ChannelSettings]:
    strangers = sorted(set(table) - {"channel"})
    entries = table.get("channel")
    if strangers:
        stranger = _plain(strangers[0])
        problems.append(f"{stranger} in {file} means nothing: a channel stands below [[channel]].")
    if not isinstance(entries, list) or not entries or not all(isinstance(item, dict) for item in entries):
        problems.append(f"{file} names no channel: write [[channel]] and below it its name and url.")
        return
    names: set[str] = set()
    for number, entry in enumerate(entries, start=1):
        found = list(_mistakes(entry, names))
        where = f"Channel {number} in {file}"
        problems += [f"{where}: {mistake}" for mistake in found]
        if not found:
            names.add(entry["name"])
            yield ChannelSettings(**entry)


def _mistakes(entry: dict[str, Any], taken: set[str]) -> Iterator[str]:
    name, url = entry.get("name"), entry.get("url")
    step, urgent_only = entry.get("step", 1), entry.get("urgent_only", False)
    called = f"({_plain(name)}) " if isinstance(name, str) and name else ""
    for key in sorted(set(entry) - set(_KEYS)):
        yield f"{called}{_plain(key)} is no key of a channel: there are {', '.join(_KEYS)}."
    if not isinstance(name, str) or not 0 < len(name.strip()) <= 40 or not name.isprintable():
        yield 'name has to be a text of 1 to 40 characters: write name = "Mum".'
    elif name in taken:
        yield f"name = {name!r} is taken: give each channel its own."
    if not isinstance(url, str) or "://" not in url:
        yield f'{called}url has to be an address such as "ntfys://host/topic": see the services of Apprise.'
    shown = f"{called}step = {_plain(repr(step))}"
    if not isinstance(step, int) or isinstance(step, bool) or not 1 <= step <= LAST_STEP:
        yield f"{shown} is not a whole number from 1 to {LAST_STEP}: leave it out for 1."
    shown = f"{called}urgent_only = {_plain(repr(urgent_only))}"
    if not isinstance(urgent_only, bool):
        yield f"{shown} is not true or false: leave it out for false."


def _plain(text: str) -> str:
    """What somebody wrote, fit to stand in a sentence: on one line and not endless."""
    harmless = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return harmless if len(harmless) <= LONGEST_QUOTED else f"{harmless[:LONGEST_QUOTED]}…"
