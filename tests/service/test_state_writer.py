import json
import os
import threading
import time

import pytest
from pydantic import BaseModel, ConfigDict, Field

from monitor.service import state_writer
from monitor.service.kept import Kept
from monitor.service.state_writer import StateWriter
from tests.broker import DEADLINE_S, wait_until


@pytest.fixture
def writer():
    writer = StateWriter(retry_every_s=0.05, within_s=DEADLINE_S)
    yield writer
    writer.close(DEADLINE_S)


def test_what_was_written_is_on_disk_on_return(tmp_path, writer):
    for number in range(20):
        writer.write(tmp_path / "a.json", json.dumps(number))
        assert json.loads((tmp_path / "a.json").read_text()) == number
    assert writer.fault(tmp_path / "a.json") == ""


def test_a_folder_that_is_away_is_a_fault_until_it_is_back(tmp_path, writer):
    path = tmp_path / "away" / "a.json"
    writer.write(path, "1")
    assert "No such file or directory" in writer.fault(path)
    path.parent.mkdir()
    wait_until(lambda: writer.fault(path) == "", "it was written at last")
    assert path.read_text() == "1"


def test_a_disk_that_hangs_holds_nobody_up_for_long_and_is_a_fault(tmp_path, monkeypatch):
    answers, asked = threading.Event(), threading.Event()
    really = state_writer.write_atomically

    def hang(path, text):
        asked.set()
        answers.wait(DEADLINE_S)
        really(path, text)

    monkeypatch.setattr(state_writer, "write_atomically", hang)
    writer = StateWriter()
    began_s = time.monotonic()
    writer.write(tmp_path / "a.json", "1")
    assert 0.4 < time.monotonic() - began_s < 5
    assert asked.is_set()
    began_s = time.monotonic()
    for number in range(100):
        writer.write(tmp_path / "a.json", str(number))
    writer.write(tmp_path / "b.json", "3")
    assert time.monotonic() - began_s < 5
    said = "a.json cannot be written: the disk does not answer. Check the disk or the SD card. A restart"
    wait_until(lambda: said in writer.fault(tmp_path / "a.json"), "it is told")
    answers.set()
    wait_until(
        lambda: not writer.fault(tmp_path / "a.json") and (tmp_path / "b.json").exists(), "all is written"
    )
    wait_until(lambda: (tmp_path / "a.json").read_text() == "99", "the newest is written")
    writer.close(DEADLINE_S)


class Small(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    sensitivity: int = 50
    listening: bool = True
    causes: dict[str, str] = Field(default_factory=dict)


def test_a_file_on_a_disk_that_answers_late_is_joined_with_what_was_set_meanwhile(tmp_path):
    path = tmp_path / "small.json"
    os.mkfifo(path)  # whoever reads waits until somebody writes
    writer = StateWriter()
    kept = Kept(tmp_path, "small.json", Small(), writer)
    assert kept.value == Small()
    assert "cannot be read: the disk does not answer" in kept.fault
    kept.keep(Small(sensitivity=70, causes={"e2": "tired"}))
    assert not kept.arrived()
    path.write_text(Small(sensitivity=10, listening=False, causes={"e1": "hungry"}).model_dump_json())
    wait_until(kept.arrived, "the disk answers")
    assert kept.value == Small(sensitivity=70, listening=False, causes={"e1": "hungry", "e2": "tired"})
    assert kept.fault == ""
    kept.keep_again()
    wait_until(path.is_file, "it is a file now")
    assert Small.model_validate_json(path.read_bytes()) == kept.value
    writer.close(DEADLINE_S)
