"""Every fault, injected for real: noticed, told, over, and nothing else went down.

The quick ones run with every `make test`; all of them, and the table, with `make faults`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.faults.fault import Fault, measure
from tests.faults.registry import FAULTS, HOUSES, missing


class Houses:
    """The house of the fault before, as long as it is of the same kind and in order."""

    def __init__(self, stack: ExitStack, folders: pytest.TempPathFactory) -> None:
        self._stack = stack
        self._folders = folders
        self._name = ""
        self._house: Any = None

    def of(self, name: str) -> Any:
        if name != self._name:
            self.leave()
            folder: Path = self._folders.mktemp(name)
            self._house, self._name = self._stack.enter_context(HOUSES[name](folder)), name
        return self._house

    def leave(self) -> None:
        self._name = ""
        self._stack.close()


@pytest.fixture(scope="module")
def houses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Houses]:
    with ExitStack() as stack:
        yield Houses(stack, tmp_path_factory)


def _case(fault: Fault) -> Any:
    return pytest.param(fault, id=fault.name, marks=() if fault.quick else pytest.mark.faults)


@pytest.mark.audio_device
@pytest.mark.broker
@pytest.mark.timeout(600)
@pytest.mark.parametrize("fault", [_case(fault) for fault in FAULTS])
def test_a_fault_is_noticed_told_and_over(fault: Fault, houses: Houses) -> None:
    if (absent := missing(fault.house)) != "":
        pytest.skip(absent)
    result = measure(fault, houses.of(fault.house))
    if not result.ok:
        houses.leave()
    assert result.ok, f"{fault.name}: {result.failure}"


def test_there_are_at_least_thirty_distinct_faults() -> None:
    assert len({fault.name for fault in FAULTS}) == len(FAULTS) >= 30


def test_a_microphone_is_missed_within_3_s_a_silent_one_within_30_and_either_is_back_within_5() -> None:
    lost = [fault for fault in FAULTS if "delivers no audio" in fault.reason]
    assert len(lost) >= 7
    assert all(fault.noticed_within_s <= 3 and (fault.back_within_s or 0) <= 5 for fault in lost)
    silent = [fault for fault in FAULTS if fault.reason in {"digital silence", "one constant value"}]
    assert len(silent) == 3
    assert all(fault.noticed_within_s <= 30 and (fault.back_within_s or 0) <= 5 for fault in silent)
