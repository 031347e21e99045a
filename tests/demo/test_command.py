"""The demonstration from end to end: shipped models, real brokers, a process of its own."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import threading

import pytest

from monitor.cli import main
from monitor.demo import broker, command
from monitor.demo.broker import EmbeddedBroker
from monitor.demo.hub import Door, Hub
from monitor.errors import ConfigError

COMMAND = [sys.executable, "-m", "monitor", "demo"]


@pytest.fixture
def environment(tmp_path):
    """Without a configuration of this machine's own."""
    (tmp_path / "empty.toml").touch()
    return {**os.environ, "CRADLEWATCH_CONFIG": str(tmp_path / "empty.toml"), "PYTHONWARNINGS": "default"}


def record(path):
    *messages, result = map(json.loads, path.read_text().splitlines())
    return messages, result


def arguments(*given):
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return parser.parse_args(given)


@pytest.mark.broker
def test_fast_demo_passes_and_every_cry_reaches_the_subscriber(tmp_path, environment):
    file = tmp_path / "demo.jsonl"
    done = subprocess.run(
        [*COMMAND, "--fast", "--plain", "--record", str(file)],
        check=False, env=environment, capture_output=True, text=True, timeout=90,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert "\x1b" not in done.stdout
    assert "PASSED: all 2 cries reached the subscriber" in done.stdout
    messages, result = record(file)
    events = [json.loads(m["payload"]) for m in messages if m["topic"] == "cradlewatch/demo/cry"]
    kinds = [event["event_type"] for event in events if event["event_type"] != "updated"]
    assert kinds == ["started", "ended"] * 2
    assert len({event["event_id"] for event in events}) == len(events)
    states = [json.loads(m["payload"])["state"] for m in messages if m["topic"] == "cradlewatch/demo/crying"]
    assert (states[0], states[-1]) == ("OFF", "OFF")
    assert "ON" in states
    # "online" is said again now and then, see monitor.sinks.mqtt_events; "offline" is the last word.
    *before, last = [m["payload"] for m in messages if m["topic"].endswith("availability")]
    assert (set(before), last) == ({"online"}, "offline")
    assert (result["passed"], result["protocol"], len(result["episodes"])) == (True, "5", 2)
    assert all(0.0 < one["detection_delay_s"] < 4.0 for one in result["episodes"])


def test_demo_passes_with_the_broker_that_comes_with_it(tmp_path, monkeypatch, capsys):
    (tmp_path / "empty.toml").touch()
    monkeypatch.setenv("CRADLEWATCH_CONFIG", str(tmp_path / "empty.toml"))
    monkeypatch.setattr(broker, "find_mosquitto", lambda: None)
    assert command.run(arguments("--fast", "--record", str(tmp_path / "demo.jsonl"))) == 0
    result = record(tmp_path / "demo.jsonl")[1]
    assert (result["passed"], result["protocol"]) == (True, "3.1.1")
    assert "embedded amqtt" in result["broker"]
    assert "PASSED" in capsys.readouterr().out


@pytest.mark.broker
def test_demo_leaves_no_traces_at_a_broker_of_the_users(tmp_path, environment):
    with EmbeddedBroker("mosquitto") as address:
        done = subprocess.run(
            [*COMMAND, "--fast", "--broker", f"{address.host}:{address.port}"],
            check=False, env=environment, capture_output=True, text=True, timeout=90,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        assert f"the configured broker at {address.host}:{address.port}, MQTT 5" in done.stdout
        later = Hub(Door(address.host, address.port, "5"), ["cradlewatch/#", "homeassistant/#"])
        later.start()
        later._client.publish("cradlewatch/last", b"", qos=1)
        assert later.wait_for(lambda received: received and received[-1].topic == "cradlewatch/last", 10)
        later.stop()
    assert [message.topic for message in later.received] == ["cradlewatch/last"]


def test_fast_demo_passes_at_a_broker_that_speaks_only_3_1_1(tmp_path, monkeypatch):
    (tmp_path / "empty.toml").touch()
    monkeypatch.setenv("CRADLEWATCH_CONFIG", str(tmp_path / "empty.toml"))
    with EmbeddedBroker("amqtt") as address:
        given = ("--fast", "--broker", f"{address.host}:{address.port}", "--record", str(tmp_path / "r"))
        assert command.run(arguments(*given)) == 0
    assert record(tmp_path / "r")[1]["protocol"] == "3.1.1"


@pytest.mark.broker
def test_interrupted_demo_stops_its_broker_and_gives_no_verdict(environment):
    child = subprocess.Popen([*COMMAND, "--plain"], env=environment, stdout=subprocess.PIPE, text=True)
    timer = threading.Timer(60, child.kill)
    timer.start()
    lines = []
    for line in child.stdout:
        lines.append(line)
        if "meter" in line:
            child.send_signal(signal.SIGINT)
            break
    lines += child.stdout.readlines()
    assert child.wait(30) == 1
    timer.cancel()
    child.stdout.close()
    assert lines[-1] == "Stopped before the end: no verdict.\n"


def test_broker_that_is_no_address_is_named():
    for wrong in ("localhost", ":1883", "localhost:mqtt"):
        with pytest.raises(ConfigError, match=f"--broker {wrong} is not an address"):
            command.run(arguments("--broker", wrong))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["localhost:1", "--set", "mqtt.tls=true", "--set", "mqtt.ca_file=/nope"], 'mqtt.ca_file = "/nope"'),
        (["a..b:1"], 'mqtt.host = "a..b" is not a host name'),
    ],
)
def test_broker_settings_that_can_never_work_are_one_sentence(given, words, environment, monkeypatch, capsys):
    monkeypatch.setenv("CRADLEWATCH_CONFIG", environment["CRADLEWATCH_CONFIG"])
    assert main(["demo", "--plain", "--broker", *given]) == 2
    assert capsys.readouterr().err.startswith(f"cradlewatch: error: {words}")


def test_demo_takes_names_of_its_own_and_writes_no_file_of_the_monitor(tmp_path):
    file = tmp_path / "home.toml"
    file.write_text(
        '[device]\nid = "nursery"\n[mqtt]\nclient_id = "cradlewatch-nursery"\n'
        f'[jsonl]\npath = "{tmp_path}/events.jsonl"\n'
    )
    config = command._own_names(command.load(arguments("--config", str(file))).config)
    assert config.device.id == "demo"
    assert config.mqtt.client_id is None
    assert config.jsonl.path is None
