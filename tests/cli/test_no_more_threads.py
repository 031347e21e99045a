"""No thread and no process is to be had once the service is ready, as under TasksMax: a cry still alarms.

The kernel's limit is for a user, and not for root: the service runs as one that nobody else is.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.broker import Mosquitto, Subscriber, wait_until
from tests.cli.programs import Program
from tests.sinks.receivers import HttpReceiver
from tests.virtual_microphone import plugged_in

USER = 54_321
QUIET_S = 12


AS_USER = (
    *("setpriv", "--reuid", str(USER), "--regid", str(USER), "--clear-groups"),
    # It may read the repository wherever that lies, and has no right that would lift the limit.
    *("--inh-caps", "+dac_override", "--ambient-caps", "+dac_override"),
)

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("setpriv") is None,
    reason="needs root and setpriv, to run the service as a user that nobody else is",
)


@pytest.fixture
def folder():
    """One that the service's user can write to; pytest's own belong to root alone."""
    with tempfile.TemporaryDirectory(prefix="no-threads-") as path:
        os.chown(path, USER, USER)
        yield Path(path)


@pytest.fixture
def evening(folder, crying):
    """A quiet room for a while, then a cry."""
    cry, rate_hz = soundfile.read(crying, dtype="int16")
    quiet = np.random.default_rng(1).normal(0, 20, QUIET_S * rate_hz).astype(np.int16)
    path = folder / "evening.wav"
    soundfile.write(path, np.concatenate([quiet, cry]), rate_hz)
    return path


def settings(folder, **more):
    names = {"device.id": "nursery", "service.state_dir": str(folder / "state"), **more}
    return [part for name, value in names.items() for part in ("--set", f"{name}={value}")]


@contextmanager
def at_its_limit(*arguments, **environment):
    """The service, ready, with all the threads and processes that it will ever get."""
    kept = {"HOME": "/", "PYTHONDONTWRITEBYTECODE": "1", **environment}
    with Program("run", *arguments, before=AS_USER, **kept) as program:
        program.wait_for_log("service.ready")
        yield program


def stop_making_threads(program):
    subprocess.run([*AS_USER, "prlimit", "--pid", str(program.pid), "--nproc=1:"], check=True)


def make_threads_again(program):
    subprocess.run([*AS_USER, "prlimit", "--pid", str(program.pid), "--nproc=1000:"], check=True)


def threads(program):
    return sorted((task / "comm").read_text().strip() for task in Path(f"/proc/{program.pid}/task").iterdir())


@pytest.mark.broker
def test_hub_and_phone_are_told_of_a_cry_even_after_the_broker_was_away(folder, evening):
    channels = folder / "channels.toml"
    with HttpReceiver() as phone, Mosquitto(folder / "broker") as broker:
        channels.write_text(f'[[channel]]\nname = "Mum"\nurl = "json://{phone.address}/x"\n')
        os.chown(channels, USER, USER)
        keys = {
            "mqtt.host": broker.host,
            "mqtt.port": broker.port,
            "push.channels_file": channels,
            "push.callback_listen": "127.0.0.1:0",
            "push.callback_url": "http://pi",
            "metrics.listen": "127.0.0.1:0",
        }
        with at_its_limit("--file", str(evening), *settings(folder, **keys)) as program:
            program.wait_for_log("mqtt.connected")
            stop_making_threads(program)
            before = threads(program)
            broker.kill()
            broker.start()
            with Subscriber(broker.port) as hub:
                hub.wait_for(lambda seen: any(m.topic == "cradlewatch/nursery/cry" for m in seen))
                cry = json.loads(hub.on("cradlewatch/nursery/cry")[0])
            assert cry["event_type"] == "started"
            assert "crying" in phone.wait_for(1)[0].json["title"].lower()
            assert threads(program) == before
            assert program.running
    assert not any("thread.failed" in line for line in program.err)


@pytest.mark.audio_device
def test_the_speaker_sounds(folder, evening, monkeypatch):
    raw = folder / "room.raw"
    with plugged_in(monkeypatch, folder, rate_hz=48_000) as speaker:
        subprocess.run(["chmod", "-R", "a+rwX", speaker.environment["HOME"]], check=True)
        keys = {"sounder.enabled": "true", "sounder.after_s": "5", "jsonl.path": "-"}
        with at_its_limit(
            "--file", str(evening), *settings(folder, **keys), **speaker.environment
        ) as program:
            wait_until(lambda: children(program), "the sounder's process waits")
            stop_making_threads(program)
            with raw.open("wb") as file, recorder(file):
                wait_until(lambda: is_loud(raw) or not program.running, "the alarm is heard", 60.0)
                assert program.running
    assert not any("thread.failed" in line for line in program.err)


@pytest.mark.audio_device
def test_a_capture_process_that_cannot_be_started_is_a_fault_until_it_can(folder, monkeypatch):
    with plugged_in(monkeypatch, folder) as microphone:
        subprocess.run(["chmod", "-R", "a+rwX", microphone.environment["HOME"]], check=True)
        keys = settings(folder, **{"jsonl.path": "-"})
        with at_its_limit(*keys, **microphone.environment) as program:
            program.wait_for(lambda: hears(program), "it hears")
            stop_making_threads(program)
            (child,) = children(program)
            os.kill(child, signal.SIGKILL)
            cannot = (
                "The capture process cannot be started: Resource temporarily unavailable. Let it have more"
            )
            program.wait_for(lambda: cannot in str(program.messages("health")[-1]["reasons"]), "it says why")
            make_threads_again(program)
            program.wait_for(lambda: hears(program), "it hears again")


def hears(program):
    health = program.messages("health")
    return health and health[-1]["microphone_ok"] and "awaited" not in str(health[-1]["reasons"])


def children(program):
    """The processes that it has started."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # gone meanwhile
            parent = path.read_text().rpartition(")")[2].split()[1]
            found += [int(path.parent.name)] if parent == str(program.pid) else []
    return found


@contextmanager
def recorder(file):
    command = ["parec", "--raw", "--format=s16le", "--rate=48000", "--channels=1", "-d", "room.monitor"]
    with subprocess.Popen(command, stdout=file) as process:
        try:
            yield
        finally:
            process.kill()


def is_loud(raw):
    audio = np.frombuffer(raw.read_bytes()[: raw.stat().st_size // 2 * 2], np.int16)
    return (np.abs(audio.astype(float)) > 10_000).sum() > 4_800


def test_a_start_without_threads_is_one_sentence(folder, quiet):
    limited = (*AS_USER, "prlimit", "--nproc=1:1")
    arguments = ("run", "--file", str(quiet), *settings(folder, **{"jsonl.path": "-"}))
    with Program(*arguments, before=limited, OMP_NUM_THREADS="1") as program:
        assert program.ended() == 1
    assert program.err[-1].startswith(
        "cradlewatch: error: The system lets the program have no more threads. "
    )


@contextmanager
def hanging_up(port):
    """A broker that knows no MQTT 5 and says nothing of it: the link then tries 3.1.1, in a new session."""
    with socket.create_server(("127.0.0.1", port)) as listening:

        def serve():
            with suppress(OSError):
                while True:
                    listening.accept()[0].close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.mark.broker
def test_a_link_that_cannot_have_a_thread_is_a_fault_until_it_can(folder, quiet):
    broker = Mosquitto(folder / "broker")
    sound, rate_hz = soundfile.read(quiet, dtype="int16")
    soundfile.write(folder / "long.wav", np.tile(sound, 30), rate_hz)
    keys = {"mqtt.host": broker.host, "mqtt.port": broker.port, "jsonl.path": "-"}
    with at_its_limit("--file", str(folder / "long.wav"), *settings(folder, **keys)) as program:
        stop_making_threads(program)
        with hanging_up(broker.port):
            program.wait_for_log("mqtt.network_thread_died")
        with broker:
            make_threads_again(program)
            program.wait_for_log("mqtt.connected")
        assert program.running
    assert not any("thread.failed" in line for line in program.err)
