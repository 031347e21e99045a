"""What a person sees, on a terminal and in a file."""

from __future__ import annotations

import io
import json
import re

import pytest
from rich.console import Console

from monitor.demo.board import Board, summary
from monitor.demo.frame import Frame
from monitor.demo.hub import Received
from monitor.demo.report import Stage, print_report, write_record
from monitor.demo.show import LiveShow, PlainShow
from monitor.demo.verdict import episodes, judge
from monitor.errors import ConfigError, MonitorError
from tests.demo.story import ORIGIN_S, TRUTH, arrival, ended, good_evening, hop, message, started

STAGE = Stage("Mosquitto on 127.0.0.1:1", "5", real_time=True)


def console(*, terminal=False, width=80, height=24):
    return Console(
        file=io.StringIO(),
        width=width,
        height=height,
        force_terminal=terminal,
        color_system="standard" if terminal else None,
        legacy_windows=False,
    )


def played(show):
    """Play the first cry of the evening up to its end."""
    show.heard(hop(13.92))
    show.heard(hop(14.16, level=-25.0, score=0.4))
    show.heard(hop(15.12, level=-20.0, score=0.93, crying=True))
    show.heard(started(1, 14.1, 15.0))
    show.received(arrival(message("started", 1), 15.1))
    show.heard(hop(17.04, level=-20.0, score=0.95, crying=True))


def frame_text(board, width=80, height=24):
    screen = console(width=width, height=height)
    screen.print(Frame("Cradlewatch demo", "the hub received", TRUTH).render(board.now, screen.size))
    return screen.file.getvalue()


def test_frame_during_a_cry_shows_level_score_gate_episode_and_message():
    board = Board()
    played(LiveShow(console(), board, Frame("", "", TRUTH)))
    text = frame_text(board)
    assert re.search(r"level .*█.* -20\.0 dBFS  room -70", text)
    assert re.search(r"cry score .*█.* 0\.95  gate OPEN", text)
    assert "CRYING for 2.9 s  episode 1" in text
    assert re.search(r"00:15\.1 cradlewatch/demo/cry +started, score 0\.97", text)
    assert "00:17 / 01:10" in text


def test_frame_after_a_cry_says_so_with_the_cause():
    board = Board()
    played(LiveShow(console(), board, Frame("", "", TRUTH)))
    board.heard(hop(31.2))
    board.heard(ended(1, 14.1, 15.0, 26.0))
    text = frame_text(board)
    assert "calm again  episode 1: 00:14.1 - 00:26.0, 9.3 s of crying, cause: unsure" in text
    assert "gate closed" in text
    alarm = next(line for line in text.splitlines() if line.startswith(" alarm"))
    assert alarm.count("█") == pytest.approx(67 * 11.9 / 70, abs=1)


def test_frame_says_when_a_cry_pauses():
    board = Board()
    played(LiveShow(console(), board, Frame("", "", TRUTH)))
    board.heard(hop(20.16, level=-68.0))
    assert "quiet for 3.1 s" in frame_text(board)


@pytest.mark.parametrize(("width", "height"), [(80, 24), (100, 30), (200, 60), (60, 18)])
def test_frame_fits_the_terminal(width, height):
    board = Board()
    for number in range(40):
        board.received(arrival(message("started", number), 1.0, topic="a/very/long/topic/" + "x" * 90))
    board.heard(hop(0.24, level=0.0, score=1.0, crying=True))
    lines = frame_text(board, width, height).splitlines()
    assert len(lines) <= height - 1
    assert max(map(len, lines)) <= width


def test_frame_before_the_first_audio_and_for_ascii_terminals():
    screen = console()
    frame = Frame("Cradlewatch demo", "hub", TRUTH, ascii_only=True)
    screen.print(frame.render(Board().now, screen.size))
    assert screen.file.getvalue().isascii()
    assert "starting" in screen.file.getvalue()


def test_live_show_draws_on_a_terminal():
    screen = console(terminal=True)
    show = LiveShow(screen, Board(), Frame("Cradlewatch demo", "hub", TRUTH))
    with show.running():
        played(show)
    assert "\x1b[" in screen.file.getvalue()
    assert "CRYING for" in screen.file.getvalue()


def test_plain_show_writes_what_happens_line_by_line_without_control_codes():
    screen = console(width=40)
    show = PlainShow(screen, Board(), TRUTH)
    with show.running():
        played(show)
        show.heard(hop(31.2))
        show.heard(ended(1, 14.1, 15.0, 26.0))
    lines = screen.file.getvalue().splitlines()
    assert "\x1b" not in screen.file.getvalue()
    assert "00:14.2  gate    opens: the cry model listens" in lines
    assert "00:15.0  episode 1 STARTED: crying since 00:14.1, score 0.90" in lines
    assert "00:15.1  hub     cradlewatch/demo/cry  started, score 0.97, -20 dBFS" in lines
    assert "00:31.2  gate    closes" in lines
    assert lines[-1].endswith("1 ENDED: last cry until 00:26.0, 9.3 s of crying, cause unsure")


def test_level_reports_are_counted_and_not_listed():
    board = Board()
    report = Received(0.0, "cradlewatch/demo/telemetry", b'{"kind":"telemetry"}', retained=True)
    assert board.received(report) is None
    assert (board.now.received, board.now.lines) == (1, ())


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        ("online", "online"),
        ('{"state":"OFF"}', "state OFF"),
        ('{"kind":"health","state":"degraded","reasons":["audio was lost"]}', "degraded, audio was lost"),
        ('{"dev":{"name":"x"},"cmps":{"a":1,"b":2}}', "announces 2 entities"),
        ('{"cause":"unsure","probability":0.81,"base_rate":0.84}', "unsure (0.81, base rate 0.84)"),
        ("[1, 2]", "[1, 2]"),
        ("", ""),
    ],
)
def test_payload_in_a_few_words(payload, words):
    assert summary(payload.encode()) == (words, False)


def test_state_of_an_episode_is_an_alert_and_keeps_its_state():
    content = json.loads(message("ended", 1).to_json()) | {"state": "OFF"}
    assert summary(json.dumps(content).encode()) == ("OFF, ended, score 0.97, 9.3 s crying", True)


def report(outputs, sent, received, stage=STAGE):
    screen = console(width=100)
    print_report(screen, stage, judge(TRUTH, episodes(outputs, sent, received, ORIGIN_S)), received)
    return screen.file.getvalue()


def test_report_of_a_good_evening():
    text = report(*good_evening())
    assert re.search(
        r"00:14\.0-00:26\.0 +00:14\.1-00:26\.0 +1\.000 s +1\.200 s +unsure \(hungry 0\.80\)", text
    )
    assert "Mosquitto on 127.0.0.1:1, MQTT 5: 4 messages on 1 topics." in text
    assert "detection: 1.250 s (median, stream time)" in text
    assert "subscriber: 1.450 s (median, wall clock)" in text
    assert "PASSED: all 2 cries reached the subscriber, and there was no false alarm." in text


def test_report_of_a_fast_run_gives_no_wall_clock_delays():
    text = report(*good_evening(), stage=Stage("b", "5", real_time=False))
    assert "wall clock" not in text
    assert "1.200 s" not in text


def test_report_names_what_failed():
    outputs, sent, received = good_evening()
    text = report(outputs[:2], sent[:2], received[:2])
    assert "MISSED" in text
    assert "FAILED: the cry at 00:48.5 was missed." in text
    assert "nothing was detected" in report([], [], [])


def test_record_holds_the_messages_and_the_result(tmp_path):
    outputs, sent, received = good_evening()
    verdict = judge(TRUTH, episodes(outputs, sent, received, ORIGIN_S))
    write_record(tmp_path / "demo.jsonl", STAGE, verdict, received)
    *messages, result = map(json.loads, (tmp_path / "demo.jsonl").read_text().splitlines())
    assert [json.loads(one["payload"])["event_id"] for one in messages] == [one.event_id for one in sent]
    assert result["passed"] is True
    assert result["episodes"][1]["detection_delay_s"] == 1.5
    assert result["episodes"][1]["cause"] == "unsure"


def test_record_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(MonitorError, match=r"--record .*nowhere.* cannot be written"):
        write_record(tmp_path / "nowhere" / "x", STAGE, judge(TRUTH, []), [])


def test_a_record_replaces_a_record_and_nothing_else(tmp_path):
    file = tmp_path / "demo.jsonl"
    outputs, sent, everything = good_evening()
    for received in ([], everything, everything):
        write_record(file, STAGE, judge(TRUTH, episodes(outputs, sent, received, ORIGIN_S)), received)
    file.write_text("my notes")
    with pytest.raises(ConfigError, match="has not written it"):
        write_record(file, STAGE, judge(TRUTH, []), [])
    assert file.read_text() == "my notes"
