"""Forms of a log line, what journald gets, and that no secret is written."""

import contextlib
import io
import json
import logging
import os
import re
import select
import time
from pathlib import Path

import pytest
import structlog

from monitor.log import RepeatLimiter, configure_logging
from monitor.log_file import LogFile
from tests.broker import wait_until
from tests.faults import card
from tests.faults.card import SdCard


def lines(form: str, *, level: str = "info", write) -> list[str]:
    stream = io.StringIO()
    configure_logging(level, form, stream=stream, environ={})
    write(structlog.get_logger())
    return stream.getvalue().splitlines()


def test_logfmt_begins_with_time_level_event_and_thread():
    (line,) = lines("logfmt", write=lambda log: log.info("capture.overflow", lag_ms=12))
    assert re.fullmatch(
        r"timestamp=\S+Z level=info event=capture\.overflow thread=MainThread lag_ms=12", line
    )


def test_json_lines_are_json():
    (line,) = lines("json", write=lambda log: log.warning("mqtt.lost", host="h"))
    assert json.loads(line)["event"] == "mqtt.lost"


def test_auto_is_logfmt_where_there_is_no_terminal():
    (line,) = lines("auto", write=lambda log: log.info("a.b"))
    assert "event=a.b" in line


def test_lines_below_the_level_are_left_out():
    assert lines("logfmt", level="warning", write=lambda log: log.info("a.b")) == []


@pytest.mark.parametrize("form", ["logfmt", "json", "console"])
def test_secrets_are_hidden(form):
    (line,) = lines(form, write=lambda log: log.info("mqtt.connect", mqtt_password="hush", user="u"))
    assert "hush" not in line
    assert "(hidden)" in line


@pytest.mark.parametrize("form", ["logfmt", "json", "console"])
def test_no_name_moves_the_cursor_or_begins_a_line(form):
    name = "a\x1b[2J\nlevel=critical\u202e\udcff.wav"

    def write(log):
        log.info("a.b", file=name)
        logging.getLogger("library").warning("cannot read %s", name)

    for line in lines(form, write=write):
        assert line.isprintable()
    assert len(lines(form, write=write)) == 2


def test_the_libraries_warnings_take_the_same_way():
    stream = io.StringIO()
    configure_logging("info", "json", stream=stream, environ={})
    logging.getLogger("paho").info("chatter")
    logging.getLogger("paho").warning("trouble")
    (line,) = stream.getvalue().splitlines()
    assert json.loads(line)["event"] == "trouble"
    assert json.loads(line)["logger"] == "paho"


def test_the_journal_gets_a_priority_and_one_line_even_for_a_traceback(tmp_path):
    with (tmp_path / "journal").open("w+", encoding="utf-8") as stream:
        status = os.fstat(stream.fileno())
        configure_logging(
            "info", "auto", stream=stream, environ={"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
        )
        log = structlog.get_logger()
        log.info("service.ready")
        try:
            int("boom")
        except ValueError:
            log.exception("thread.failed")
        stream.flush()
        stream.seek(0)
        first, second = stream.read().splitlines()
    assert first == "<6>level=info event=service.ready thread=MainThread"
    assert second.startswith("<3>level=error event=thread.failed")
    assert "ValueError: invalid literal" in second


def test_a_redirected_stream_is_not_taken_for_the_journal():
    (line,) = lines("logfmt", write=lambda log: log.info("a.b"))
    assert not line.startswith("<")


def test_a_log_reader_that_went_away_does_not_stop_the_monitor():
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w", buffering=1, encoding="utf-8") as stream:
        configure_logging("info", "logfmt", stream=stream, environ={})
        structlog.get_logger().info("a.b")
        logging.getLogger("library").warning("c")
        with contextlib.suppress(BrokenPipeError):
            stream.close()


def test_a_reader_that_hangs_costs_lines_and_neither_time_nor_the_later_ones():
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as stream, os.fdopen(reading, "rb", buffering=0) as reader:
        lasting = configure_logging("info", "logfmt", stream=stream, environ={})
        log = structlog.get_logger()
        began_s = time.monotonic()
        for number in range(1500):
            log.info("a.line", number=number, filler="x" * 100)
        assert time.monotonic() - began_s < 10
        assert "Nobody takes the log lines" in lasting.fault()
        assert lasting.lost_lines > 500
        while select.select([reader], [], [], 0)[0]:
            assert b"a.line" in reader.read(65_536)
        assert lasting.fault() == ""
        log.info("a.later_line", text="y" * 6000)
        heard = reader.read(65_536)
        assert b"log.lines_lost" in heard
        assert b"a.later_line" in heard


def test_a_reader_that_left_is_told():
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stream:
        lasting = configure_logging("info", "logfmt", stream=stream, environ={})
        structlog.get_logger().info("a.line")
        assert "Nobody takes the log lines" in lasting.fault()


@pytest.mark.skipif(bool(card.missing()), reason=card.missing())
def test_a_log_file_on_a_disk_that_hangs_costs_nobody_time_and_the_disk_gets_the_lines_later(tmp_path):
    with SdCard(tmp_path / "sd") as disk, (disk.path / "log").open("w") as stream:
        lasting = configure_logging("info", "logfmt", stream=stream, environ={}, repeats=RepeatLimiter())
        log = structlog.get_logger()
        log.info("a.first")
        assert "a.first" in (disk.path / "log").read_text(), "it is there on return"
        disk.freeze()
        began_s = time.monotonic()
        try:
            for number in range(90):
                log.info("a.line", number=number)
                logging.getLogger("library").warning("trouble")
            took_s = time.monotonic() - began_s
            assert "The log file takes no lines: its disk does not answer" in lasting.fault()
        finally:
            disk.thaw()
        assert took_s < 10
        wait_until(lambda: lasting.fault() == "", "the disk answers")
        log.info("a.last")
        lines = (disk.path / "log").read_text().splitlines()
        assert [line.partition("event=")[2].split()[0] for line in lines if "event=a." in line] == [
            "a.first", *["a.line"] * 90, "a.last"
        ]  # fmt: skip
        assert lasting.lost_lines == 0


def test_what_a_full_disk_does_not_take_of_a_log_file_is_reported():
    with Path("/dev/full").open("w") as stream:
        file = LogFile(stream)
        assert not file.write("a line\n")
        assert file.failure == "No space left on device"
        with contextlib.suppress(OSError):
            stream.close()


class Ticking:
    now_s = 0.0

    def __call__(self):
        return self.now_s


def test_what_repeats_each_second_is_written_a_hundred_times_and_then_once_a_minute():
    clock, stream = Ticking(), io.StringIO()
    configure_logging("info", "json", stream=stream, environ={}, repeats=RepeatLimiter(clock=clock))
    log = structlog.get_logger()
    for _ in range(4 * 3600):
        clock.now_s += 1
        log.warning("mqtt.disconnected", fault="x" * 60)
        logging.getLogger("paho").warning("trouble %d", clock.now_s)
    log.info("episode.started")
    written = [json.loads(line) for line in stream.getvalue().splitlines()]
    for event in ("mqtt.disconnected", "trouble"):
        assert 4 * 60 + 90 < sum(line["event"].startswith(event) for line in written) <= 4 * 60 + 102
    assert written[-1]["event"] == "episode.started", "others are not held up"
    assert [line["unwritten"] for line in written if "unwritten" in line][-1:] == [59]
    assert len(stream.getvalue()) < 200_000


def test_a_user_and_a_password_in_an_address_are_hidden_wherever_they_stand():
    def write(log):
        log.info("a.b", broker="joe:hush@hub:1883", fault="At mqtt://joe:hu/s@h@hub, 'x:hush@hub'")
        try:
            int("http://joe:hush@hub/x?token=hush&q=1")
        except ValueError:
            log.exception("c.d")
        logging.getLogger("urllib3").warning("to joe:hush@hub")

    for form in ("logfmt", "json", "console"):
        text = "\n".join(lines(form, write=write))
        assert "hush" not in text
        assert "hu/s" not in text
        assert text.count("(hidden)@hub") >= 5
        assert "q=1" in text
