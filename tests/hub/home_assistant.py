"""The real Home Assistant as a process of its own, ready to use: one owner, MQTT set up, our blueprints in.

Everything that a person would click together before is written into ``.storage`` beforehand. Where it is
not installed (tests/hub/setup.sh) the tests are skipped with that reason.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
import os
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, Self

import pytest

from tests.broker import HOST, free_port, wait_until

ROOT: Final = Path(__file__).parents[2]
DEPLOY: Final = ROOT / "deploy" / "homeassistant"
ENVIRONMENT: Final = Path(os.environ.get("HUB_ENVIRONMENT", ROOT / ".venv" / "hub"))
PYTHON: Final = ENVIRONMENT / "bin" / "python"


def lacking(environment: Path) -> str:
    """Why its tests skip; empty where Home Assistant stands in ``environment``."""
    if (environment / "complete").exists():
        return ""
    if environment.exists():
        return "Home Assistant could not be set up here (make test-hub shows why)"
    return "Home Assistant is not installed (make test-hub does it)"


MISSING: Final = lacking(ENVIRONMENT)
START_S: Final = 120.0
STATE_S: Final = 30.0
NOW: Final = "2026-01-01T00:00:00+00:00"
KEY: Final = "0f" * 64
TOKEN_ID: Final = "cradlewatch-tests"

PHONE: Final = "rest_command.phone"
PAYLOAD: Final = "{{ {'title': title, 'message': message, 'data': data} | to_json }}"


class HomeAssistant:
    """``start`` again keeps its configuration, its registries and what it restores, as after a reboot."""

    def __init__(
        self, folder: Path, broker: int, phone: str, automations: Sequence[dict[str, Any]] = ()
    ) -> None:
        if MISSING:
            pytest.skip(MISSING)
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        self.url = f"http://{HOST}:{self.port}"
        self.token = _token()
        (folder / ".storage").mkdir(parents=True)
        for name, (version, minor, data) in _storage(broker).items():
            stored = {"version": version, "minor_version": minor, "key": name, "data": data}
            (folder / ".storage" / name).write_text(json.dumps(stored))
        shutil.copytree(DEPLOY / "blueprints", folder / "blueprints")
        shutil.copy(DEPLOY / "dashboard.yaml", folder / "dashboard.yaml")
        # JSON is YAML.
        (folder / "configuration.yaml").write_text(json.dumps(_configuration(self.port, phone, automations)))

    def start(self) -> Self:
        """Start and wait until it runs, integrations included."""
        assert self._process is None, "Home Assistant runs already"
        with (self._folder / "output").open("ab") as output:
            self._process = subprocess.Popen(
                [
                    *("nice", str(PYTHON), str(Path(__file__).with_name("launch.py"))),
                    *("--config", str(self._folder), "--skip-pip"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        wait_until(self._runs, "Home Assistant runs", START_S)
        return self

    def _runs(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"Home Assistant ended:\n{self.log()}"
        time.sleep(0.2)  # asking has its price on a small machine
        with contextlib.suppress(OSError):
            # HTTP answers long before the integrations are there.
            return self.get("config")["state"] == "RUNNING"
        return False

    def stop(self) -> None:
        """As a restart from its own menu: it writes down what it restores."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """As a power cut."""
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        process, self._process = self._process, None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, how)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(60)
            raise

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.kill()

    def log(self) -> str:
        return (self._folder / "output").read_text(errors="replace")

    # --- its REST interface ---------------------------------------------------------------------

    def get(self, path: str) -> Any:
        return self._ask(path, None)

    def call(self, action: str, **data: Any) -> None:
        """Do what a tap in the frontend does: ``call("button.press", entity_id=…)``."""
        self._ask(f"services/{action.replace('.', '/')}", data)

    def fire(self, event: str, **data: Any) -> None:
        """Fire an event, as the app does when a notification's button is pressed."""
        self._ask(f"events/{event}", data)

    def states(self) -> dict[str, dict[str, Any]]:
        return {state["entity_id"]: state for state in self.get("states")}

    def state(self, entity: str) -> dict[str, Any]:
        """State and attributes; an absent entity has the state "absent"."""
        try:
            return self.get(f"states/{entity}")
        except urllib.error.HTTPError as error:
            if error.code != HTTPStatus.NOT_FOUND:
                raise
            return {"state": "absent", "attributes": {}}

    def device_of(self, entity: str) -> str:
        """Id of its device, as in the address of the device's page."""
        return self._ask("template", {"template": f"{{{{ device_id('{entity}') | to_json }}}}"})

    def wait_for(
        self,
        entity: str,
        condition: str | Callable[[dict[str, Any]], object],
        timeout_s: float = STATE_S,
    ) -> dict[str, Any]:
        """The state of ``entity`` as soon as it is ``condition``, or meets it."""
        deadline = time.monotonic() + timeout_s
        while True:
            found = self.state(entity)
            if found["state"] == condition if isinstance(condition, str) else condition(found):
                return found
            assert time.monotonic() < deadline, f"not within {timeout_s} s; {entity}: {found}"
            time.sleep(0.1)

    def _ask(self, path: str, body: dict[str, Any] | None) -> Any:
        request = urllib.request.Request(
            f"{self.url}/api/{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read())


def _token() -> str:
    """A long-lived access token: a JWT (RFC 7519), signed with HMAC-SHA256 under :data:`KEY`."""

    def part(data: bytes) -> bytes:
        return base64.urlsafe_b64encode(data).rstrip(b"=")

    now = int(time.time())
    claims = {"iss": TOKEN_ID, "iat": now, "exp": now + 10**8}
    signed = part(b'{"alg":"HS256","typ":"JWT"}') + b"." + part(json.dumps(claims).encode())
    return (signed + b"." + part(hmac.digest(KEY.encode(), signed, hashlib.sha256))).decode()


def _configuration(port: int, phone: str, automations: Sequence[dict[str, Any]]) -> dict[str, Any]:
    tonight = {
        "mode": "yaml",
        "title": "Nursery",
        "icon": "mdi:baby-face-outline",
        "filename": "dashboard.yaml",
    }
    return {
        "homeassistant": {
            "name": "Home",
            "latitude": 51.5,
            "longitude": 0,
            "elevation": 20,
            "unit_system": "metric",
            "time_zone": "Europe/London",
            "country": "GB",
            "language": "en",
        },
        "http": {"server_host": HOST, "server_port": port},
        "frontend": {},
        "api": {},
        "history": {},
        "logbook": {},
        "recorder": {"commit_interval": 1},
        "logger": {"default": "warning"},
        "lovelace": {"dashboards": {"cradlewatch-nursery": tonight}},
        "rest_command": {
            "phone": {"url": phone, "method": "post", "content_type": "application/json", "payload": PAYLOAD}
        },
        "automation": list(automations),
    }


def _storage(broker: int) -> dict[str, tuple[int, int, dict[str, Any]]]:
    """By file: version, minor version and data, as Home Assistant 2025.4 to 2026.11 read them."""
    token = {
        "id": TOKEN_ID,
        "user_id": "parent",
        "client_id": None,
        "client_name": "tests",
        "client_icon": None,
        "token_type": "long_lived_access_token",
        "created_at": NOW,
        "access_token_expiration": 315360000.0,
        "token": "0e" * 64,
        "jwt_key": KEY,
        "last_used_at": None,
        "last_used_ip": None,
        "expire_at": None,
        "credential_id": None,
        "version": None,
    }
    user = {
        "id": "parent",
        "name": "Parent",
        "group_ids": ["system-admin"],
        "is_owner": True,
        "is_active": True,
        "system_generated": False,
        "local_only": False,
    }
    groups = [{"id": f"system-{who}"} for who in ("admin", "users", "read-only")]
    mqtt = {
        "entry_id": "mqtt-of-the-tests",
        "domain": "mqtt",
        "title": "Mosquitto",
        "version": 1,
        "minor_version": 2,
        "data": {"broker": HOST, "port": broker, "discovery": True, "discovery_prefix": "homeassistant"},
        "options": {},
        "subentries": [],
        "discovery_keys": {},
        "source": "user",
        "unique_id": None,
        "created_at": NOW,
        "modified_at": NOW,
        "disabled_by": None,
        "pref_disable_new_entities": False,
        "pref_disable_polling": False,
    }
    done = ["user", "core_config", "analytics", "integration"]
    return {
        "auth": (1, 1, {"users": [user], "groups": groups, "credentials": [], "refresh_tokens": [token]}),
        "onboarding": (4, 1, {"done": done}),
        "core.config_entries": (1, 5, {"entries": [mqtt]}),
    }
