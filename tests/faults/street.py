"""Where the houses stand in which faults are injected, and how long a cry takes there without one."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.faults.cry import WAYS
from tests.faults.fault import Fault, Result, measure
from tests.faults.registry import HOUSES, family, undisturbed


class Street:
    """One house at a time, kept from one fault to the next of its kind; the others would share the processor.

    In each kind of house the cry is heard without a fault first.
    """

    def __init__(self, *, cries_undisturbed: int = 3) -> None:
        self._cries = cries_undisturbed
        self._stack = ExitStack()
        self._name = ""
        self._house: Any = None
        self.undisturbed: dict[str, Result] = {}

    def measure(self, fault: Fault, folder: Path) -> Result:
        try:
            result = self._measure(fault, folder)
        except Exception as error:  # noqa: BLE001  (the others still have to be measured)
            result = Result(fault, failures=(f"{type(error).__name__}: {error}",))
        if not result.ok:
            self.leave()
        return result

    def _measure(self, fault: Fault, folder: Path) -> Result:
        if self._name != fault.house:
            self.leave()
            self._house = self._stack.enter_context(HOUSES[fault.house](folder))
            self._name = fault.house
        kind = family(fault.house)
        if kind not in self.undisturbed:
            self.undisturbed[kind] = self._undisturbed(fault.house)
        return measure(fault, self._house, self.undisturbed[kind].delivered)

    def _undisturbed(self, house: str) -> Result:
        """The slowest of some cries."""
        results = [measure(undisturbed(house), self._house, {}) for _ in range(self._cries)]
        failed = next((result for result in results if not result.ok), None)
        if failed is not None:
            return failed
        slowest = {way: max(result.delivered[way] for result in results) for way in WAYS}
        return Result(undisturbed(house), delivered=slowest)

    def leave(self) -> None:
        self._name = ""
        self._stack.close()
