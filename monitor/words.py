"""Words that more than one package prints: lengths, counts, and what somebody else wrote."""

from __future__ import annotations

from typing import Final

LONGEST: Final = 300


def plain(text: str, longest: int | None = LONGEST) -> str:
    r"""What somebody else wrote, fit for a sentence: on one line, harmless to a terminal, not endless.

    >>> print(plain("night\x1b[2J\n.wav"))
    night\x1b[2J\n.wav
    """
    harmless = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return harmless if longest is None or len(harmless) <= longest else f"{harmless[:longest]}…"


def length(seconds: float) -> str:
    """A length of time, in its two largest units.

    >>> [length(s) for s in (0.4, 4.2, 95, 3600, 12_345)]
    ['0 s', '4 s', '1 min 35 s', '1 h 00 min', '3 h 26 min']
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02} min"


def rough_length(seconds: float) -> str:
    """A length of time at a glance, for a notification.

    >>> [rough_length(s) for s in (4.2, 59.7, 95, 3600)]
    ['4 s', '1 min', '2 min', '1 h 00 min']
    """
    if round(seconds) < 60:
        return length(seconds)
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else length(60 * minutes)


def count(number: int, noun: str) -> str:
    """A number of things.

    >>> [count(number, "episode") for number in (0, 1, 2)]
    ['0 episodes', '1 episode', '2 episodes']
    """
    return f"{number} {noun}{'' if number == 1 else 's'}"
