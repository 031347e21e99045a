"""What a fault is, and how one is measured: injected for real, found in what the service says, lifted.

While it is there the baby cries, and every way out has to deliver that within :data:`LATER_S` of what it
takes without a fault. Where the fault itself cuts a way, another one has to deliver. Where it makes the
monitor deaf, somebody has to be told so.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from tests.faults.cry import WAYS
from tests.faults.household import FAULT_AFTER_S

SETTLED_WITHIN_S: Final = 180.0
"""A loss of audio is told for a minute, and what was shed is taken back in steps of half a minute."""
POLL_S: Final = 0.05
LATER_S: Final = 2.0
"""How much later than without a fault the cry may arrive."""
NOTICED_WITHIN_S: Final = 3.0
"""1.5 s without what should come, a look a second, and the hop to the hub."""
BACK_WITHIN_S: Final = 5.0
"""Two tries a second apart, two seconds for which a trouble has to stay away, and a look a second."""
NEVER_AFTER_S: Final = 8.0
"""Beyond a limit; late is another finding than never."""
TOLD_BESIDE_S: Final = 2.0
"""From what health says to the phone: a look a second and a round of its thread."""


class House(Protocol):
    """A running service with its microphone, its broker, its phone, its speaker and its disk."""

    def ways(self) -> dict[str, list[str]]:
        """What the service says, by the way on which it says so: "status", "hub", "log", "exit"."""

    def is_well(self) -> bool:
        """The microphone delivers, and the hub has been told."""

    def is_calm(self) -> bool:
        """No cry goes on."""

    def losses(self) -> list[str]:
        """What went down that must not: the process, its status, its session with the hub."""

    def forget_losses(self) -> None: ...
    def forget_deliveries(self) -> None: ...

    def cry(self) -> None:
        """Let the baby begin to cry."""

    def hush(self) -> None:
        """Let it be calm, and the confirmations come back."""

    def withhold(self, *, hub: bool, phone: bool) -> None:
        """Let the alarm arrive and no confirmation come back, so that the speaker has to sound as well."""

    @property
    def crying_s(self) -> float: ...

    def delivered(self) -> dict[str, float]:
        """By way, after how many seconds of crying the alarm was there."""

    def alerted(self, since_s: float) -> dict[str, float]:
        """By way, how many seconds after ``since_s`` it was told that nobody listens to the baby."""

    def restart(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault. Limits are in seconds; ``back_within_s`` None: nothing to lift, or nothing that lasts."""

    name: str
    house: str
    inject: Callable[[Any], None]
    reason: str
    """A regular expression for what the service has to say, to the hub, by its status or as it ends; empty:
    it is harmless, and nothing has to be said."""
    lift: Callable[[Any], None] | None = None
    noticed_within_s: float = NOTICED_WITHIN_S
    back_within_s: float | None = BACK_WITHIN_S
    why: str = ""
    """Why the limits are others than those of most."""
    quick: bool = False
    """Runs with every `make test`."""
    costs: frozenset[str] = frozenset()
    """What goes down for it by its nature: "hub" when the broker or the way to it is at fault."""
    in_log: bool = False
    """It is said in the log alone, where nothing is taken back."""
    cuts: Mapping[str, str] = field(default_factory=dict)
    """The ways that this very fault cuts, and why."""
    deaf: str = ""
    """Why no cry can be heard."""
    alert_within_s: float = 0.0
    """When deaf: the time from the fault to the health that tells parents; 0: ``noticed_within_s``."""
    later_s: float = 0.0
    """By how much more the cry is late by the nature of the fault, and ``later_why`` that is."""
    later_why: str = ""
    first: Callable[[Any], None] | None = None
    """What is made ready before the fault begins, and takes time that is not the service's."""
    meanwhile: Callable[[Any], None] | None = None
    """What happens when the cry has been delivered and the fault is still there."""
    then: Callable[[Any], None] | None = None
    """What else has to hold at the end."""
    missing: Callable[[], str] = str
    """Why it cannot be injected here, beside what its house lacks."""
    renews: bool = False
    """Its traces stay in the service, which is restarted when all has been measured."""


@dataclass(frozen=True, slots=True)
class Result:
    fault: Fault
    said: str = ""
    ways: tuple[str, ...] = ()
    noticed_s: float | None = None
    back_s: float | None = None
    delivered: Mapping[str, float] = field(default_factory=dict)
    """Seconds of crying until it was there, by way; when deaf, seconds of the fault until that was told."""
    failures: tuple[str, ...] = ()
    absent: str = ""
    """Why it was not injected."""

    @property
    def ok(self) -> bool:
        return not self.failures

    @property
    def failure(self) -> str:
        return "; ".join(self.failures)


def measure(fault: Fault, house: House, undisturbed: Mapping[str, float]) -> Result:
    """Inject, let the baby cry, wait until all is told, lift, wait until it is over.

    The house has to be well before. ``undisturbed``: the delays of the cry without a fault.
    """
    # What is in the log stays there; it is cleared below.
    ready = _until(
        lambda: house.is_well() and house.is_calm() and (fault.in_log or not _said(fault, house)),
        SETTLED_WITHIN_S,
    )
    if not ready:
        return Result(fault, failures=(f"not well before: {house.ways()}",))
    house.forget_losses()
    house.forget_deliveries()
    one = _Measured(fault, house, undisturbed)
    try:
        one.disturb()
        one.lift()
    finally:
        house.hush()
    one.look_back()
    # Links to the hub that break one soon after the other are one standing fault, with longer pauses.
    if fault.renews or "hub" in fault.costs:
        _until(house.is_calm, SETTLED_WITHIN_S)  # or the next start tells of a cry that was cut short
        house.restart()
    return Result(
        fault,
        one.said,
        one.ways,
        one.noticed_s,
        one.back_s,
        one.delivered,
        tuple(one.failures),
    )


class _Measured:
    """One fault on its way."""

    def __init__(self, fault: Fault, house: House, undisturbed: Mapping[str, float]) -> None:
        self._fault = fault
        self._house = house
        self._undisturbed = undisturbed
        self.said = ""
        self.ways: tuple[str, ...] = ()
        self.noticed_s: float | None = None
        self.back_s: float | None = None
        self.delivered: dict[str, float] = {}
        self.failures: list[str] = []

    def disturb(self) -> None:
        """Inject; the baby cries at once; wait for what is said and for who hears of the cry."""
        fault, house = self._fault, self._house
        if fault.first is not None:
            fault.first(house)
        began_s = time.monotonic()
        fault.inject(house)
        if not fault.deaf:
            if "speaker" not in fault.cuts:
                house.withhold(hub="mqtt" not in fault.cuts, phone="push" not in fault.cuts)
            house.cry()
        limits = self._limits()
        told = not fault.reason
        told_by_s = began_s + max(2 * fault.noticed_within_s, fault.noticed_within_s + 10)
        done = False
        while not (told and done):
            now_s = time.monotonic()
            if not told and _said(fault, house):
                told = True
                self.noticed_s = now_s - began_s
            elif not told and now_s > told_by_s:
                self.failures.append(f"unnoticed; it says {house.ways()}")
                told = True
            if not done:
                self.delivered = house.alerted(began_s) if fault.deaf else house.delivered()
                passed_s = now_s - began_s if fault.deaf else house.crying_s
                done = limits.keys() <= self.delivered.keys()
                done = done or passed_s > max(limits.values(), default=0.0) + NEVER_AFTER_S
                if done:
                    house.hush()
            time.sleep(POLL_S)
        self._judge_deliveries(limits)
        self.said, self.ways = _said(fault, house), tuple(_sentences(fault, house))
        if self.noticed_s is not None and self.noticed_s > fault.noticed_within_s:
            self.failures.append(
                f"noticed after {self.noticed_s:.1f} s, not within {fault.noticed_within_s:g} s"
            )
        if fault.meanwhile is not None:
            fault.meanwhile(house)

    def _limits(self) -> dict[str, float]:
        """By way that has to deliver, within how many seconds."""
        fault = self._fault
        open_ways = [way for way in WAYS if way not in fault.cuts]
        if not fault.deaf:
            return {
                way: self._undisturbed.get(way, SETTLED_WITHIN_S) + LATER_S + fault.later_s
                for way in open_ways
            }
        told_s = fault.alert_within_s or fault.noticed_within_s
        within = {"mqtt": told_s, "push": told_s + FAULT_AFTER_S + TOLD_BESIDE_S}
        return {way: within_s for way, within_s in within.items() if way in open_ways}

    def _judge_deliveries(self, limits: Mapping[str, float]) -> None:
        for way, limit_s in limits.items():
            took_s = self.delivered.get(way)
            if took_s is None:
                self.failures.append(f"{way} delivered nothing")
            elif took_s > limit_s:
                self.failures.append(f"{way} delivered after {took_s:.1f} s, not within {limit_s:.1f} s")
        if not limits and not self.delivered:
            self.failures.append("nobody was told of the cry")

    def lift(self) -> None:
        fault, house = self._fault, self._house
        if fault.lift is None:
            return
        fault.lift(house)
        began_s = time.monotonic()
        limit_s = fault.back_within_s or 0.0
        over = _until(
            lambda: house.is_well() and (fault.in_log or not _said(fault, house)),
            max(3 * limit_s, limit_s + 15),
        )
        back_s = time.monotonic() - began_s
        self.back_s = back_s if fault.back_within_s is not None else None
        if not over:
            self.failures.append(f"not over; it says {house.ways()}")
        elif fault.back_within_s is not None and back_s > limit_s:
            self.failures.append(f"over after {back_s:.1f} s, not within {limit_s:g} s")

    def look_back(self) -> None:
        fault, house = self._fault, self._house
        if fault.then is not None:
            try:
                fault.then(house)
            except AssertionError as error:
                self.failures.append(f"{error}")
        lost = [loss for loss in house.losses() if loss not in fault.costs]
        if lost:
            self.failures.append(f"went down: {', '.join(lost)}")


def _said(fault: Fault, house: House) -> str:
    return next(iter(_sentences(fault, house).values()), "") if fault.reason else ""


def _sentences(fault: Fault, house: House) -> dict[str, str]:
    """By way, what is said of the fault."""
    found: dict[str, str] = {}
    if not fault.reason:
        return found
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
