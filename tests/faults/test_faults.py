"""Every fault, injected for real: noticed, told, over, and nothing else went down.

The quick ones run with every `make test`; all of them, and the table, with `make faults`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.faults.fault import BACK_WITHIN_S, NOTICED_WITHIN_S, Fault, Result
from tests.faults.registry import FAULTS, HOUSES, missing, undisturbed
from tests.faults.street import Street
from tests.faults.table import cells, markdown, record


@pytest.fixture(scope="module")
def street() -> Iterator[Street]:
    street = Street(cries_undisturbed=1)
    yield street
    street.leave()


def _case(fault: Fault) -> Any:
    return pytest.param(fault, id=fault.name, marks=() if fault.quick else pytest.mark.faults)


@pytest.mark.audio_device
@pytest.mark.broker
@pytest.mark.timeout(600)
@pytest.mark.parametrize("fault", [_case(fault) for fault in FAULTS])
def test_a_fault_is_noticed_told_and_over_and_a_cry_meanwhile_arrives(
    fault: Fault, street: Street, tmp_path: Path
) -> None:
    if (absent := missing(fault.house) or fault.missing()) != "":
        pytest.skip(absent)
    result = street.measure(fault, tmp_path)
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


def test_a_limit_that_is_not_the_common_one_says_why() -> None:
    for fault in FAULTS:
        common = fault.noticed_within_s == NOTICED_WITHIN_S and fault.back_within_s == BACK_WITHIN_S
        assert common or fault.lift is None or fault.why, fault.name
        assert not fault.later_s or fault.later_why, fault.name
        assert fault.house in HOUSES


def test_each_fault_leaves_a_way_or_makes_deaf() -> None:
    """Nobody may declare a fault by which nothing at all is delivered."""
    for fault in FAULTS:
        ways = {"mqtt", "push"} if fault.deaf else {"mqtt", "push", "speaker"}
        assert ways - fault.cuts.keys(), fault.name


def test_a_row_says_of_each_way_when_it_delivered_or_that_it_was_cut_or_could_not_hear() -> None:
    fault = replace(undisturbed("live"), name="a | fault", reason="why", cuts={"mqtt": "it is"})
    result = Result(fault, "said", ("hub",), 1.0, 2.0, {"push": 3.0, "speaker": 8.25})
    assert cells(result) == ("a | fault", "1.0", "2.0", "cut", "3.0", "8.2", "said")
    deaf = Result(replace(fault, deaf="it is", cuts={}), delivered={"mqtt": 1.0})
    assert cells(deaf)[3:6] == ("deaf 1.0", "deaf", "deaf")
    missed = Result(fault, failures=("speaker delivered nothing",))
    assert cells(missed)[-1] == "MISSED: speaker delivered nothing"
    text = markdown([result, missed, Result(fault, absent="no root")], 12.0)
    assert "| a \\| fault | 1.0 | 2.0 | cut | 3.0 | 8.2 | said |" in text
    assert "- **a \\| fault**: mqtt is cut, because it is." in text
    assert "3 rows in 12 s, 1 missed a limit." in text
    assert record(missed)["ok"] is False
    found = Result(undisturbed("live"), f"{tempfile.gettempdir()}/house/sd/card/night.json cannot be written")
    assert "| night.json cannot be written |" in markdown([found], 1.0)
