"""What a fuzzer has to say of the thing that it tries: how an input is made, and what may come of it."""

from __future__ import annotations

import random
import re
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

CANARY = "c4nary-hunter2"
"""Stands for every secret: wherever it shows up in a sentence or in the log, a secret has leaked."""
LONGEST_SENTENCE = 2000

_TRACEBACK = re.compile(r"Traceback|File \".*\", line \d+|\bobject at 0x")


class NotClearError(AssertionError):
    """A sentence that no parent could act on, or one that tells a secret."""


class Target(ABC):
    """Lives in a worker process of its own, in ``folder``. Inputs follow from their number alone.

    ``share`` is how many inputs it gets, as a part of the sum of all shares.
    """

    name = ""
    share = 0
    limit_s = 10.0
    """No input may take longer: a hang."""
    memory_mb = 512
    """No input may ask the system for more, above what the target has when it begins."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @abstractmethod
    def make(self, rng: random.Random) -> Any:
        """An input."""

    @abstractmethod
    def feed(self, given: Any) -> str:
        """Hand it over: the sentence with which it was rejected, or an empty text.

        Whatever is raised is a finding.
        """

    def close(self) -> None:  # noqa: B027 - most hold nothing
        """Release what lives as long as the target."""


def check_clear(sentence: str) -> str:
    """Hold a sentence for a person to the house's rules; the sentence."""
    if _TRACEBACK.search(sentence):
        raise NotClearError(f"it shows our insides: {sentence[:500]}")
    check_no_secret(sentence)
    for line in sentence.splitlines():
        if len(line) > LONGEST_SENTENCE:
            raise NotClearError(f"{len(line)} characters are no sentence: {line[:300]}…")
        if line.strip() and not line.rstrip().endswith((".", "?", "…")):
            raise NotClearError(f"it is no sentence: {line[:500]}")
    return sentence


def check_no_secret(text: str) -> None:
    if CANARY in text:
        at = text.index(CANARY)
        raise NotClearError(f"it tells a secret: {text[max(0, at - 200) : at + 60]}")
