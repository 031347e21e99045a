import json
import threading
import time

import pytest

from monitor.service import state_writer
from monitor.service.state_writer import StateWriter
from tests.broker import wait_until


@pytest.fixture
def writer():
    writer = StateWriter(retry_every_s=0.05)
    yield writer
    writer.close(5.0)


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


def test_a_disk_that_hangs_holds_nobody_up_for_long_and_is_a_fault(tmp_path, writer, monkeypatch):
    answers, asked = threading.Event(), threading.Event()
    really = state_writer.write_atomically

    def hang(path, text):
        asked.set()
        answers.wait(20)
        really(path, text)

    monkeypatch.setattr(state_writer, "write_atomically", hang)
    began_s = time.monotonic()
    writer.write(tmp_path / "a.json", "1")
    assert 0.9 < time.monotonic() - began_s < 5
    assert asked.is_set()
    assert "the disk does not answer" in writer.fault(tmp_path / "a.json")
    began_s = time.monotonic()
    writer.write(tmp_path / "a.json", "2")
    writer.write(tmp_path / "b.json", "3")
    assert time.monotonic() - began_s < 0.5
    assert "the disk does not answer" in writer.fault(tmp_path / "a.json")
    answers.set()
    wait_until(
        lambda: not writer.fault(tmp_path / "a.json") and (tmp_path / "b.json").exists(), "all is written"
    )
    assert (tmp_path / "a.json").read_text() == "2"
