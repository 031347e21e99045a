"""The daemon as a process: real recording, real models, real broker, real signals."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import pytest
import soundfile

from monitor.cli import main
from monitor.service.service import RESTART_EXIT_CODE, Service
from monitor.service.status_socket import NAME, ask
from tests.broker import Mosquitto, Subscriber, retained, wait_until
from tests.cli.programs import Program

MEGABYTE = 1024


def memory_kb(pid: int, kind: str) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(f"{kind}:"))


@pytest.mark.broker
def test_a_cry_reaches_a_broker_that_came_late_and_sigterm_ends_it_cleanly(tmp_path, crying):
    broker = Mosquitto(tmp_path / "broker")
    arguments = ("run", "--file", str(crying), "--mqtt-host", broker.host, "--mqtt-port", str(broker.port))
    names = {"CRADLEWATCH_DEVICE__ID": "nursery", "CRADLEWATCH_JSONL__PATH": "-"}
    with Program(*arguments, **names) as program:
        program.wait_for_log("service.ready")  # without a broker
        with broker, Subscriber(broker.port) as hub:
            program.wait_for(
                lambda: any(m["event_type"] == "started" for m in program.messages("episode")), "a cry"
            )
            hub.wait_for(lambda seen: any(m.topic == "cradlewatch/nursery/cry" for m in seen))
            # What the kernel cannot drop. How much of the libraries' files it maps beside what they use is
            # its own choice (47 MB of Debian 12's, 53 MB of Debian 13's), and it may take back each page.
            assert memory_kb(program.pid, "RssAnon") <= 68 * MEGABYTE
            assert memory_kb(program.pid, "VmRSS") <= 120 * MEGABYTE  # aimed at 100, see README

            program.signal(signal.SIGUSR1)
            program.wait_for_log("most recent call first")

            program.signal(signal.SIGTERM)
            assert program.ended() == 0
            events = [json.loads(payload) for payload in hub.on("cradlewatch/nursery/cry")]
            kept = retained(broker.port)
    ended = program.messages("episode")[-1]
    assert ended["event_type"] == "ended"
    assert ended["truncated"]
    assert [events[0]["event_type"], events[-1]["event_type"]] == ["started", "ended"]
    assert events[-1]["event_id"] == ended["event_id"]
    assert kept["cradlewatch/nursery/availability"] == "offline"
    assert json.loads(kept["cradlewatch/nursery/crying"])["state"] == "OFF"
    assert any("service.stopped" in line for line in program.err)


def utc(text):
    return datetime.fromisoformat(text).timestamp()


def assert_times_follow_the_audio(program):
    episodes = program.messages("episode")
    started, ended = episodes[0], episodes[-1]
    assert (started["event_type"], ended["event_type"]) == ("started", "ended")
    assert utc(started["onset_at"]) < utc(started["detected_at"]) <= utc(started["time"])
    lasted_s = utc(ended["ended_at"]) - utc(ended["onset_at"])
    assert lasted_s == pytest.approx(ended["duration_s"], abs=0.01)
    levels = [utc(message["time"]) for message in program.messages("telemetry")]
    assert levels == sorted(levels)
    times = [utc(message["time"]) for message in episodes]
    assert times == sorted(times)


def test_a_recording_at_full_speed_keeps_its_times_and_so_does_the_report(crying, tmp_path, capsys):
    state = ("--set", f"service.state_dir={tmp_path}")
    began_s = time.time()
    with Program("run", "--file", str(crying), "--fast", "--jsonl", "-", *state) as program:
        assert program.ended() == 0, program.err
    assert_times_follow_the_audio(program)
    length_s = soundfile.info(crying).duration
    telemetry = program.messages("telemetry")
    assert utc(telemetry[0]["time"]) >= began_s - length_s
    assert utc(telemetry[-1]["time"]) <= time.time()
    ended = program.messages("episode")[-1]
    assert main(["report", "--json", *state]) == 0
    night = json.loads(capsys.readouterr().out)
    (episode,) = night["episodes"]
    assert episode["onset"] == ended["onset_at"]
    assert episode["end"] == ended["ended_at"]
    assert night["crying_s"] == pytest.approx(ended["crying_s"], abs=0.1)
    assert main(["scan", "--format", "jsonl", str(crying)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert utc(ended["ended_at"]) - utc(ended["onset_at"]) == pytest.approx(
        found["offset_s"] - found["onset_s"], abs=0.01
    )


def test_pcm_as_fast_as_it_comes_keeps_its_times(crying):
    audio, _ = soundfile.read(crying, dtype="int16")
    with (
        subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as feed,
        Program("run", "--stdin", "--fast", "--jsonl", "-", stdin=feed.stdout) as program,
    ):
        assert feed.stdin is not None
        feed.stdin.write(audio.tobytes())
        feed.stdin.close()
        assert program.ended() == 0, program.err
    assert_times_follow_the_audio(program)


def test_pcm_on_stdin_is_heard_to_its_end(crying):
    audio, _ = soundfile.read(crying, dtype="int16")
    with (
        subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as feed,
        Program(
            "run", "--stdin", "--set", "source.realtime=false", "--set", "jsonl.path=-", stdin=feed.stdout
        ) as program,
    ):
        feed.stdin.write(audio.tobytes())
        feed.stdin.close()
        assert program.ended() == 0
    assert [m["event_type"] for m in program.messages("episode") if m["event_type"] != "updated"] == [
        "started",
        "ended",
    ]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "Nobody would hear of a cry: none of mqtt.host, push.channels_file and jsonl.path is set."),
        (("--jsonl", "-", "--file", "absent.wav"), "absent.wav cannot be read: No such file or directory."),
        (("--jsonl", "-", "--set", "detect.artifacts=absent"), "cannot be read"),
        (("--set", "jsonl.path=absent/x.jsonl", "--file", "absent.wav"), "The event log absent/x.jsonl"),
        (
            ("--mqtt-host", "hub", "--set", "mqtt.tls=true", "--set", "mqtt.ca_file=absent.pem"),
            "mqtt.ca_file",
        ),
    ],
)
def test_what_can_never_work_ends_at_once_with_one_sentence(arguments, sentence, capfd):
    assert main(["run", "--log-level", "error", *arguments]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("cradlewatch: error: ")
    assert sentence in line


NO_DEVICE = "No input device 'No Such Device' was found."


@pytest.mark.audio_device
def test_a_missing_microphone_ends_the_program_at_a_terminal(virtual_microphone):
    ours, theirs = pty.openpty()
    try:
        with Program("run", "--jsonl", "-", "--device", "No Such Device", stdin=theirs) as program:
            assert program.ended() == 2
    finally:
        os.close(ours)
        os.close(theirs)
    assert any(NO_DEVICE in line for line in program.err)


@pytest.mark.audio_device
def test_a_missing_microphone_is_waited_for_where_nobody_sits_in_front(virtual_microphone, tmp_path):
    """In a container nothing sets NOTIFY_SOCKET. Issue: exit code 2 in a loop, and a log line a second."""
    keys = {"CRADLEWATCH_DEVICE__ID": "nursery", "CRADLEWATCH_SERVICE__STATE_DIR": str(tmp_path)}

    def lost_s():
        return ask(tmp_path / "nursery" / NAME)["counters"]["audio_lost_s"]

    with Program("run", "--jsonl", "-", "--device", "No Such Device", **keys) as program:
        program.wait_for_log("service.ready")
        wait_until(lambda: lost_s() >= 8, "the loss is reported and counted")
        assert not program.messages("health")[-1]["microphone_ok"]
        assert NO_DEVICE in str(program.messages("health")[-1]["reasons"])
        quiet_since = len(program.err)
        wait_until(lambda: lost_s() >= 16, "it goes on")
        assert program.err[quiet_since:] == [], "no line a second"
        program.signal(signal.SIGTERM)
        assert program.ended() == 0


@pytest.mark.broker
def test_a_broker_that_froze_does_not_hold_up_the_stop(tmp_path, crying):
    with Mosquitto(tmp_path / "broker") as broker:
        with Program(
            *("run", "--file", str(crying), "--set", "service.stop_timeout_s=2"),
            *("--mqtt-host", broker.host, "--mqtt-port", str(broker.port)),
        ) as program:
            program.wait_for_log("episode.started")
            broker.freeze()
            program.signal(signal.SIGTERM)
            assert program.ended() == 0
        broker.thaw()
    assert any("mqtt.kept_for_next_start" in line for line in program.err)


@pytest.mark.parametrize(("supervised", "again"), [("", True), ("/run/notify", False)])
def test_a_restart_that_was_asked_for_happens_also_where_nobody_would_start_us_again(
    monkeypatch, tmp_path, crying, supervised, again
):
    started = []
    monkeypatch.setenv("NOTIFY_SOCKET", supervised)
    monkeypatch.setattr("os.execv", lambda program, arguments: started.append(arguments))
    monkeypatch.setattr("sys.argv", ["cradlewatch", "run", "--jsonl", "x"])
    monkeypatch.setattr(Service, "run", lambda _: RESTART_EXIT_CODE)
    code = main(["run", "--file", str(crying), "--jsonl", str(tmp_path / "x.jsonl")])
    assert code == RESTART_EXIT_CODE
    assert started == ([[sys.executable, "-m", "monitor", "run", "--jsonl", "x"]] if again else [])
