"""What a fault is, and how one is measured: injected for real, found in what the service says, lifted."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

SETTLED_WITHIN_S: Final = 180.0
"""A loss of audio is told for a minute, and what was shed is taken back in steps of half a minute."""
POLL_S: Final = 0.02


class House(Protocol):
    """A running service with its microphone, its broker and its disk."""

    def ways(self) -> dict[str, list[str]]:
        """What the service says, by the way on which it says so: "status", "hub", "log", "exit"."""

    def is_well(self) -> bool:
        """The microphone delivers, and the hub has been told."""

    def losses(self) -> list[str]:
        """What went down that must not: the process, its status, its session with the hub."""

    def forget_losses(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault. Limits are in seconds; ``back_within_s`` None: nothing to lift, or nothing that lasts."""

    name: str
    house: str
    inject: Callable[[Any], None]
    reason: str
    """A regular expression for what the service has to say, to the hub, by its status or as it ends."""
    lift: Callable[[Any], None] | None = None
    noticed_within_s: float = 3.0
    back_within_s: float | None = 5.0
    quick: bool = False
    """Runs with every `make test`."""
    costs: frozenset[str] = frozenset()
    """What goes down for it by its nature: "hub" when the broker or the way to it is at fault."""
    in_log: bool = False
    """It is said in the log alone, where nothing is taken back."""
    then: Callable[[Any], None] | None = None
    """What else has to hold at the end."""


@dataclass(frozen=True, slots=True)
class Result:
    fault: Fault
    said: str = ""
    ways: tuple[str, ...] = ()
    noticed_s: float | None = None
    back_s: float | None = None
    failure: str = ""

    @property
    def ok(self) -> bool:
        return not self.failure


def measure(fault: Fault, house: House) -> Result:
    """Inject, wait until it is told, lift, wait until it is over. The house has to be well before."""
    # What is in the log stays there; it is cleared below.
    if not _until(lambda: house.is_well() and (fault.in_log or not _said(fault, house)), SETTLED_WITHIN_S):
        return Result(fault, failure=f"not well before: {house.ways()}")
    house.forget_losses()
    began_s = time.monotonic()
    fault.inject(house)
    # Twice the limit: a fault that is told late is another finding than one that is never told.
    told = _until(lambda: _said(fault, house), max(2 * fault.noticed_within_s, fault.noticed_within_s + 10))
    noticed_s = time.monotonic() - began_s
    said, ways = _said(fault, house), tuple(_sentences(fault, house))
    failure = ""
    if not told:
        failure = f"unnoticed; it says {house.ways()}"
    elif noticed_s > fault.noticed_within_s:
        failure = f"noticed after {noticed_s:.1f} s, not within {fault.noticed_within_s:g} s"
    back_s = None
    if fault.lift is not None:
        fault.lift(house)
        began_s = time.monotonic()
        limit_s = fault.back_within_s or 0.0
        over = _until(
            lambda: house.is_well() and (fault.in_log or not _said(fault, house)),
            max(3 * limit_s, limit_s + 15),
        )
        back_s = time.monotonic() - began_s if fault.back_within_s is not None else None
        if not over:
            failure = failure or f"not over; it says {house.ways()}"
        elif back_s is not None and back_s > limit_s:
            failure = failure or f"over after {back_s:.1f} s, not within {limit_s:g} s"
    if fault.then is not None:
        try:
            fault.then(house)
        except AssertionError as error:
            failure = failure or f"{error}"
    lost = [loss for loss in house.losses() if loss not in fault.costs]
    if lost:
        failure = failure or f"went down: {', '.join(lost)}"
    return Result(fault, said, ways, noticed_s if told else None, back_s, failure)


def _said(fault: Fault, house: House) -> str:
    return next(iter(_sentences(fault, house).values()), "")


def _sentences(fault: Fault, house: House) -> dict[str, str]:
    """By way, what is said of the fault."""
    found: dict[str, str] = {}
    for way, sentences in house.ways().items():
        if (way == "log") is fault.in_log:
            said = next((sentence for sentence in sentences if re.search(fault.reason, sentence)), None)
            if said is not None:
                found[way] = said
    return found


def _until(condition: Callable[[], object], timeout_s: float) -> bool:
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline_s:
            return False
        time.sleep(POLL_S)
    return True
