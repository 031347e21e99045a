import json
import os
import resource
import signal
import stat
import subprocess
from pathlib import Path

import pytest

from monitor.errors import PermanentSinkError, RetryableSinkError
from monitor.sinks.jsonl import JsonLinesSink
from tests.faults import card
from tests.faults.card import SdCard
from tests.sinks.messages import episode, telemetry


@pytest.fixture
def log(tmp_path):
    sink = JsonLinesSink(tmp_path / "events.jsonl")
    sink.open()
    yield sink
    sink.close(0)


def test_each_message_is_a_line_that_a_reader_sees_at_once(log, tmp_path):
    for number in (1, 2):
        log.handle(telemetry(number))
        log.tick()
        lines = (tmp_path / "events.jsonl").read_text().splitlines()
        assert [json.loads(line)["event_id"] for line in lines] == [f"t{n + 1}" for n in range(number)]
    assert log.name == "jsonl"


def test_a_new_file_is_for_us_alone_and_one_that_is_there_keeps_its_mode(log, tmp_path):
    assert stat.S_IMODE((tmp_path / "events.jsonl").stat().st_mode) == 0o600
    shared = tmp_path / "shared.jsonl"
    shared.touch()
    shared.chmod(0o644)
    sink = JsonLinesSink(shared)
    sink.open()
    sink.close(0)
    assert stat.S_IMODE(shared.stat().st_mode) == 0o644


def test_a_second_run_appends(tmp_path):
    for number in (1, 2):
        sink = JsonLinesSink(tmp_path / "events.jsonl")
        sink.open()
        sink.handle(episode(number=number))
        sink.close(0)
        sink.close(0)
    assert len((tmp_path / "events.jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("night.wav", b""),
        ("night", b"RIFF\x24\x00\x00\x00WAVEfmt "),
        ("notes.txt", b"call the doctor\n"),
        ("silence.pcm", bytes(70_000)),
        ("other.jsonl", b'{"file": "a.wav", "onset_s": 1.0}\n'),
    ],
)
def test_what_holds_something_else_is_not_appended_to(tmp_path, name, content):
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(PermanentSinkError, match=rf"^jsonl\.path = .*{name} .* Name another file"):
        JsonLinesSink(file).open()
    assert file.read_bytes() == content


@pytest.mark.parametrize("before", [b"", b"\0" * 512, b'"level_dbfs": -40.0}\n{line}\n', b"{line}\n\0\0\0"])
def test_a_log_that_was_shortened_or_survived_a_power_cut_is_appended_to(tmp_path, before):
    file = tmp_path / "events.jsonl"
    file.write_bytes(before.replace(b"{line}", episode().to_json().encode()))
    sink = JsonLinesSink(file)
    sink.open()
    sink.handle(episode(number=2))
    sink.close(0)
    assert file.read_bytes().endswith(episode(number=2).to_json().encode() + b"\n")


def test_standard_output_gets_the_lines_and_stays_open(capfd):
    sink = JsonLinesSink(None)
    sink.open()
    sink.handle(episode())
    sink.close(0)
    print("still here")
    first, second = capfd.readouterr().out.splitlines()
    assert json.loads(first)["event_type"] == "started"
    assert second == "still here"


def test_a_folder_that_is_not_there_is_told_at_start(tmp_path):
    with pytest.raises(PermanentSinkError, match=r"nowhere/x\.jsonl cannot be opened: No such file"):
        JsonLinesSink(tmp_path / "nowhere" / "x.jsonl").open()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_worth_another_try_and_a_fault():
    sink = JsonLinesSink(Path("/dev/full"))
    sink.open()
    with pytest.raises(RetryableSinkError, match=r"cannot be written: No space left.*Make room"):
        sink.handle(episode())
    assert "No space left" in sink.fault()
    sink.close(0)


@pytest.mark.skipif(bool(card.missing()), reason=card.missing())
def test_a_disk_that_is_read_only_at_the_start_is_a_fault_and_written_to_when_it_is_not(tmp_path):
    with SdCard(tmp_path / "sd") as disk:
        remount(disk.path, "ro")
        sink = JsonLinesSink(disk.path / "events.jsonl")
        sink.open()
        assert "cannot be written: Read-only file system" in sink.fault()
        with pytest.raises(RetryableSinkError, match="Read-only file system"):
            sink.handle(episode())
        remount(disk.path, "rw")
        sink.handle(episode())
        assert sink.fault() == ""
        sink.close(0)
        assert len((disk.path / "events.jsonl").read_text().splitlines()) == 1


def remount(path, mode):
    subprocess.run(["mount", "-o", f"remount,{mode}", str(path)], check=True, capture_output=True)


def test_a_line_cut_off_by_a_limit_is_taken_back_and_the_next_try_is_whole(log, tmp_path):
    log.handle(telemetry(1))
    whole = (tmp_path / "events.jsonl").stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (whole + 10, before[1]))
    try:
        with pytest.raises(RetryableSinkError, match="too large"):
            log.handle(telemetry(2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert (tmp_path / "events.jsonl").stat().st_size == whole
    log.handle(telemetry(2))
    assert log.fault() == ""
    lines = (tmp_path / "events.jsonl").read_text().splitlines()
    assert [json.loads(line)["event_id"] for line in lines] == ["t1", "t2"]


def test_a_reader_that_went_away_is_final(tmp_path):
    fifo = tmp_path / "pipe"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    sink = JsonLinesSink(fifo)
    sink.open()
    sink.handle(telemetry())
    os.close(reader)
    with pytest.raises(PermanentSinkError, match="Nobody reads"):
        sink.handle(telemetry())
    assert "Nobody reads" in sink.fault()
    sink.close(0)
