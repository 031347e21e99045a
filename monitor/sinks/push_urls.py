"""Characters that mean something else in a URL than the user meant. No other part of a URL is ever shown."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote

_OF_A_TOPIC: Final = re.compile(r"[A-Za-z0-9_-]*")
_PORT: Final = re.compile(r"\d*")


def misread(url: str) -> str:
    """The character in user name or password that cuts the URL short there; empty where none does.

    Services take what follows as host or topic, so that an alert goes to somebody else, or to nobody. Where a
    service means it (Slack's ``/#channel``, Telegram's ``/@channel``) the character follows a slash.
    """
    rest = url.partition("://")[2]
    host = re.split(r"[/?#]", rest, maxsplit=1)[0]
    after = rest[len(host) :]
    if host.count("@") > 1:
        return "@"
    _, colon, port = host.partition(":")
    may_be_password = "@" not in host and (after[:1] == "#" or (colon and not _PORT.fullmatch(port)))
    goes_on = re.search(r"(?<![/=,&])@", after.partition("?to=")[0])
    return after[0] if may_be_password and goes_on else ""


def odd_in_topic(topic: str) -> str:
    """The first character that no topic of ntfy may hold; empty where there is none."""
    return topic[_OF_A_TOPIC.match(topic).end() :][:1]  # type: ignore[union-attr]  # it matches nothing as well


def encoded(character: str) -> str:
    """How ``character`` is written where it shall mean nothing.

    >>> encoded("#"), encoded("ö")
    ('%23', '%C3%B6')
    """
    return quote(character, safe="")


def raw(url: str) -> str:
    """The first character in ``url`` that does not belong in one unencoded; empty where there is none."""
    rest = url.partition("://")[2]
    return next(
        (character for character in rest if not (character.isascii() and character.isprintable())), ""
    )
