"""`cradlewatch status` against a service that runs in this process."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace

import pytest

from monitor.capture.source import SourceState
from monitor.cli import main
from monitor.cli.status import lines, understood
from monitor.commands import Request
from monitor.errors import MonitorError
from monitor.messages import ControlsMessage, HealthMessage
from monitor.service.requests import RequestBox
from monitor.service.state_folder import open_state_folder
from monitor.service.status_socket import NAME
from monitor.sinks.memory import ListSink
from tests.patience import HANGS_S
from tests.service.scripted import RUNNING, ScriptedSource, noise, service
from tests.service.test_service import InThread


@pytest.fixture
def room(tmp_path):
    sink, box, source = ListSink(), RequestBox(), ScriptedSource([noise(0)])
    state = open_state_folder(tmp_path / "test")
    subject = service(source, [sink], requests=box, state=state)
    with InThread(subject):
        assert sink.wait_for(lambda _: sink.of(HealthMessage), HANGS_S)
        yield sink, box, source


def status(tmp_path, *more):
    return main(["status", "--set", f"service.state_dir={tmp_path}", "--set", "device.id=test", *more])


def test_a_person_reads_how_it_is(room, tmp_path, capsys):
    assert status(tmp_path) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("state         OK\n")
    assert "to list       delivers" in shown
    assert "cry           since" in shown
    assert "sensitivity 50, hold 5 s, quiet hours off" in shown


def test_a_program_reads_all_of_it(room, tmp_path, capsys):
    assert status(tmp_path, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["state"], report["device"], report["alert"]["state"]) == ("ok", "test", "unacknowledged")
    assert report["counters"]["list_delivered"] >= 1


def test_a_lost_microphone_is_exit_code_2(room, tmp_path, capsys):
    sink, _, source = room
    source.now = replace(RUNNING, state=SourceState.LOST, fault="it was unplugged.")
    assert sink.wait_for(lambda _: sink.of(HealthMessage)[-1].state == "fault", HANGS_S)
    assert status(tmp_path) == 2
    assert status(tmp_path, "--alive") == 0, "a restart would not help"
    assert "The microphone delivers no audio: it was unplugged." in capsys.readouterr().out


def test_a_monitor_that_is_switched_off_is_not_all_well(room, tmp_path, capsys):
    sink, box, _ = room
    box.put(Request("listening", b"OFF", "hub"))
    assert sink.wait_for(lambda _: not sink.of(ControlsMessage)[-1].listening, HANGS_S)
    assert status(tmp_path) == 1
    assert "Listening is switched off." in capsys.readouterr().out


def test_a_detector_that_is_stuck_is_not_alive(tmp_path):
    """What a container's health check asks."""
    source = ScriptedSource([noise(0)])
    source.now = replace(RUNNING, last_block_age_s=60.0)
    subject = service(source, [sink := ListSink()], state=open_state_folder(tmp_path / "test"))
    with InThread(subject):
        assert sink.wait_for(lambda _: sink.of(HealthMessage), HANGS_S)
        assert status(tmp_path, "--alive") == 1
    assert status(tmp_path, "--alive") == 1, "and none that runs"


def test_a_service_that_was_stopped_is_told_within_seconds(tmp_path, capsys):
    """SIGSTOP: the kernel takes the connection, and nobody answers."""
    program = (
        "import sys\nfrom pathlib import Path\n"
        "from monitor.service.status_socket import StatusServer\n"
        "print(StatusServer(Path(sys.argv[1]), dict).start(), flush=True)\nsys.stdin.read()\n"
    )
    (tmp_path / "test").mkdir()
    path = tmp_path / "test" / NAME
    with subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "\n"
        process.send_signal(signal.SIGSTOP)
        os.waitpid(process.pid, os.WUNTRACED)
        try:
            assert status(tmp_path) == 3
        finally:
            process.send_signal(signal.SIGCONT)
            process.stdin.close()
    assert "does not answer" in capsys.readouterr().err


def test_where_no_service_runs_it_says_so_with_an_exit_code_of_its_own(tmp_path, capsys):
    assert status(tmp_path) == 3
    assert "No cradlewatch runs" in capsys.readouterr().err


@pytest.mark.parametrize("answer", [{}, [], "ok", {"state": "ok"}, {"state": "splendid"}])
def test_an_answer_of_another_version_is_one_sentence(answer):
    with pytest.raises(MonitorError, match=r"a form that this version does not understand .*Restart"):
        understood(answer)


@pytest.mark.parametrize(
    ("episodes", "crying_s", "words"),
    [(0, 0.0, "0 episodes, 0 s"), (1, 40.2, "1 episode, 40 s"), (3, 754.0, "3 episodes, 12 min 34 s")],
)
def test_tonight_is_said_as_a_person_says_it(room, tmp_path, capsys, episodes, crying_s, words):
    assert status(tmp_path, "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    answer["night"] |= {"episodes": episodes, "crying_s": crying_s}
    answer["uptime_s"] = 5.0
    said = dict(lines(understood(answer)))
    assert said["tonight"] == f"{words} of crying"
    assert said["running for"] == "5 s"
