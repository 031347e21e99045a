"""The Home Assistant app: what the Supervisor reads, and its start program against a Supervisor's answers."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
import yaml

from monitor import __version__
from monitor.config.load import fields, load_config

APP = Path(__file__).parents[2] / "deploy" / "homeassistant-app"
TOKEN = "of-the-supervisor"
BROKER = {
    "addon": "core_mosquitto",
    "host": "core-mosquitto",
    "port": 1883,
    "ssl": False,
    "protocol": "3.1.1",
    "username": "addons",
    "password": "pass word",
}

# developers.home-assistant.io, "App configuration": the keys that we use, and the values they may have.
DOCUMENTED = {
    "name": str,
    "version": str,
    "slug": str,
    "description": str,
    "arch": list,
    "init": bool,
    "startup": {"initialize", "system", "services", "application", "once"},
    "boot": {"auto", "manual", "manual_only"},
    "audio": bool,
    "services": list,
    "apparmor": bool,
    "backup": {"hot", "cold"},
    "options": dict,
    "schema": dict,
}
REQUIRED = {"name", "version", "slug", "description", "arch"}
TYPE = re.compile(
    r"(str|bool|email|url|password|port|match\(.+\)|list\([^)]+\)"
    r"|(str|int|float)\((-?[\d.]+)?,(-?[\d.]+)?\)|int|float)\??"
)


@pytest.fixture(scope="module")
def app() -> dict:
    return yaml.safe_load((APP / "config.yaml").read_text())


def leaves(table: dict) -> dict[str, object]:
    return {f"{section}.{key}": value for section, keys in table.items() for key, value in keys.items()}


def test_the_supervisor_knows_every_key_and_value(app):
    assert set(app) >= REQUIRED
    for key, value in app.items():
        allowed = DOCUMENTED[key]
        assert value in allowed if isinstance(allowed, set) else isinstance(value, allowed), key
    assert re.fullmatch(r"[-_.A-Za-z0-9]+", app["slug"])
    assert set(app["arch"]) == {"aarch64", "amd64"}
    assert app["services"] == ["mqtt:need"]


def test_the_app_is_of_this_version(app):
    assert app["version"] == __version__


def test_every_option_is_a_key_of_the_configuration(app):
    schema = leaves(app["schema"])
    assert set(schema) <= set(fields())
    assert all(TYPE.fullmatch(kind) for kind in schema.values()), schema


def test_defaults_are_given_for_all_that_is_required_and_for_nothing_else(app):
    required = {key for key, kind in leaves(app["schema"]).items() if not kind.endswith("?")}
    assert set(leaves(app["options"])) == required


def test_every_section_of_options_is_explained(app):
    explained = yaml.safe_load((APP / "translations" / "en.yaml").read_text())["configuration"]
    assert set(explained) == set(app["schema"])
    for section, keys in app["schema"].items():
        assert set(explained[section]) == {"name", "description"}
        if section in {"device", "microphone", "detect", "events"}:
            assert all(key in explained[section]["description"] for key in keys), section


def test_the_icon_is_square_and_small():
    data = (APP / "icon.png").read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    assert data[16:24] == (128).to_bytes(4) * 2
    assert len(data) < 20_000


# --- the start program ------------------------------------------------------------------------------------


@pytest.fixture
def supervisor():
    """A server with the Supervisor's service API. Each of ``statuses`` refuses once."""

    class Answer(BaseHTTPRequestHandler):
        statuses: ClassVar[list[int]] = []

        def do_GET(self) -> None:
            right = self.path == "/services/mqtt" and self.headers["Authorization"] == f"Bearer {TOKEN}"
            status = 401 if not right else self.statuses.pop(0) if self.statuses else 200
            body = json.dumps({"result": "ok", "data": BROKER} if status == 200 else {"result": "error"})
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield Answer, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def start(tmp_path):
    """Run start.py with a ``cradlewatch`` on its PATH that shows what it was started with."""
    programs = tmp_path / "bin"
    programs.mkdir()
    shower = programs / "cradlewatch"
    shower.write_text(
        f"#!{sys.executable}\nimport json, os, sys\nprint(json.dumps([sys.argv[1:], dict(os.environ)]))\n"
    )
    shower.chmod(0o755)
    options = tmp_path / "options.json"

    def run(
        given: dict, address: str, token: str = TOKEN, *, timeout_s: float = 60
    ) -> subprocess.CompletedProcess[str]:
        options.write_text(json.dumps(given))
        return subprocess.run(
            [sys.executable, APP / "start.py"],
            env={
                "PATH": f"{programs}:{os.environ['PATH']}",
                "SUPERVISOR_TOKEN": token,
                "CRADLEWATCH_SUPERVISOR": address,
                "CRADLEWATCH_OPTIONS_FILE": str(options),
                "CRADLEWATCH_DEVICE_FILE": str(tmp_path / "device"),
            },
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    return run


def test_options_and_the_supervisors_broker_become_the_configuration(start, supervisor, app, tmp_path):
    _, address = supervisor
    given = app["options"] | {"clips": {"enabled": True}, "detect": {"onset_threshold": 0.7}}
    done = start(given, address)
    assert done.returncode == 0, done.stderr
    arguments, environment = json.loads(done.stdout)
    assert arguments == ["run"]
    assert "SUPERVISOR_TOKEN" not in environment
    config = load_config(environ=environment, default_path=tmp_path / "none").config
    assert (config.mqtt.host, config.mqtt.port, config.mqtt.tls) == ("core-mosquitto", 1883, False)
    assert config.mqtt.username == "addons"
    assert config.mqtt.password.get_secret_value() == "pass word"
    assert (config.device.id, config.detect.onset_threshold, config.clips.enabled) == ("nursery", 0.7, True)
    assert (tmp_path / "device").read_text() == "nursery"


def test_a_broker_that_starts_later_is_waited_for(start, supervisor, app):
    """After a power cut; the app's exit would leave the hub without a monitor."""
    answer, address = supervisor
    answer.statuses = [400, 502, 502]
    done = start(app["options"], address)
    assert done.returncode == 0
    assert json.loads(done.stdout)[0] == ["run"]
    assert done.stderr.splitlines() == [
        f"cradlewatch: error: The Supervisor knows of no MQTT broker (status {status}): "
        "install and start Mosquitto. Asked again every 5 s."
        for status in (400, 502)
    ]


def test_a_supervisor_that_does_not_answer_is_waited_for(start, app):
    with pytest.raises(subprocess.TimeoutExpired) as caught:
        start(app["options"], "http://127.0.0.1:9", timeout_s=3)
    assert b"does not answer" in caught.value.stderr


def test_without_a_supervisor_it_says_so(start, app):
    assert "SUPERVISOR_TOKEN is not set" in start(app["options"], "http://127.0.0.1:9", token="").stderr
