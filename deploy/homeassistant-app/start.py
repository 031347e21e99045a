"""Start the monitor as a Home Assistant app: its options and the Supervisor's broker become its environment.

Python and not bashio, which comes with the Alpine base that onnxruntime does not run on. Only the
standard library: what is wrong is said in one sentence, and the Supervisor shows it in the app's log.
"""

from __future__ import annotations

import json
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NoReturn

OPTIONS: Final = Path("/data/options.json")
DEVICE: Final = Path("/run/cradlewatch-device")
SUPERVISOR: Final = "http://supervisor"
TIMEOUT_S: Final = 20.0
RETRY_S: Final = 5.0


def from_options(options: Mapping[str, Any]) -> dict[str, str]:
    """Sections of keys, named as in cradlewatch.toml, as environment variables."""
    return {
        f"CRADLEWATCH_{section}__{key}".upper(): _text(value)
        for section, keys in options.items()
        for key, value in keys.items()
        if value is not None
    }


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def from_broker(broker: Mapping[str, Any]) -> dict[str, str]:
    """The Supervisor's answer about its MQTT service as environment variables."""
    given = {
        "HOST": broker["host"],
        "PORT": broker["port"],
        "TLS": bool(broker.get("ssl", False)),
        "USERNAME": broker.get("username"),
        "PASSWORD": broker.get("password"),
    }
    return {
        f"CRADLEWATCH_MQTT__{key}": _text(value) for key, value in given.items() if value not in {None, ""}
    }


def ask_for_broker(supervisor: str, token: str) -> dict[str, Any]:
    """Address and account of the broker, from the Supervisor's service API.

    Raises OSError, ValueError or KeyError.
    """
    request = urllib.request.Request(  # noqa: S310 - the Supervisor's own address
        f"{supervisor}/services/mqtt", headers={"Authorization": f"Bearer {token}"}
    )
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310 - as above
        data: dict[str, Any] = json.load(answer)["data"]
    return data


def wait_for_broker(supervisor: str, token: str) -> dict[str, Any]:
    """Ask until there is one: after a power cut its app may start later than this one."""
    told = ""
    while True:
        try:
            return ask_for_broker(supervisor, token)
        except urllib.error.HTTPError as error:
            sentence = (
                f"The Supervisor knows of no MQTT broker (status {error.code}): install and start Mosquitto."
            )
        except (OSError, ValueError, KeyError) as error:
            sentence = f"The Supervisor does not answer as it should ({error}): restart it."
        if sentence != told:
            say(f"{sentence} Asked again every {RETRY_S:.0f} s.")
        told = sentence
        time.sleep(RETRY_S)


def say(sentence: str) -> None:
    sys.stderr.write(f"cradlewatch: error: {sentence}\n")
    sys.stderr.flush()


def leave(sentence: str) -> NoReturn:
    say(sentence)
    raise SystemExit(1)


def main() -> NoReturn:
    token = os.environ.pop("SUPERVISOR_TOKEN", "")
    if not token:
        leave("SUPERVISOR_TOKEN is not set: this program is started by Home Assistant's Supervisor only.")
    options = json.loads(
        Path(os.environ.get("CRADLEWATCH_OPTIONS_FILE", OPTIONS)).read_text(encoding="utf-8")
    )
    supervisor = os.environ.get("CRADLEWATCH_SUPERVISOR", SUPERVISOR)
    device = Path(os.environ.get("CRADLEWATCH_DEVICE_FILE", DEVICE))
    ours = {key: value for key, value in os.environ.items() if not key.startswith("CRADLEWATCH_")}
    environment = ours | from_broker(wait_for_broker(supervisor, token)) | from_options(options)
    device.write_text(options["device"]["id"], encoding="utf-8")
    os.execvpe("cradlewatch", ["cradlewatch", "run"], environment)  # noqa: S606, S607 - our own, on our PATH


if __name__ == "__main__":
    main()
