"""The daemon as a process: real recording, real models, real broker, real signals."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

from monitor.cli import main
from monitor.service.service import RESTART_EXIT_CODE, Service
from tests.broker import Mosquitto, Subscriber, retained
from tests.cli.programs import Program

MEGABYTE = 1024


def resident_kb(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))


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
            assert resident_kb(program.pid) <= 105 * MEGABYTE  # aimed at 100, see README

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
        (("--jsonl", "-", "--device", "No Such Device"), "No input device 'No Such Device' was found."),
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
