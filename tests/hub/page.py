"""Screenshots of Home Assistant's pages in headless Chromium, spoken to over its DevTools protocol."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Self

import pytest
from websockets.sync.client import ClientConnection, connect

from tests.broker import wait_until
from tests.hub.home_assistant import HomeAssistant

PROGRAM: Final = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ABSENT: Final = "" if PROGRAM else "Chromium is not installed (deploy/system-packages.sh hub does it)"
FLAGS: Final = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--lang=en-GB",
    "--remote-debugging-port=0",
)
# Text of the page, that inside the frontend's nested components included.
TEXT: Final = """(() => {
  const walk = n => n.nodeType === 3 ? n.textContent
    : [...(n.shadowRoot ? n.shadowRoot.childNodes : []), ...n.childNodes]
        .filter(c => !['STYLE', 'SCRIPT'].includes(c.nodeName)).map(walk).join(' ');
  return walk(document.body);
})()"""


class Browser:
    """``with Browser(hub) as browser``: logged in as the owner of ``hub``."""

    def __init__(self, hub: HomeAssistant) -> None:
        if PROGRAM is None:
            pytest.skip(ABSENT)
        self._hub = hub
        self._numbers = itertools.count(1)
        self._closing = contextlib.ExitStack()
        self._socket: ClientConnection

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
            stack.enter_context(_running(folder))
            port = (folder / "DevToolsActivePort").read_text().split()[0]
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json", timeout=30) as answer:
                page = next(target for target in json.load(answer) if target["type"] == "page")
            self._socket = stack.enter_context(
                connect(page["webSocketDebuggerUrl"], max_size=None, open_timeout=30)
            )
            self._log_in()
            self._closing = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def _log_in(self) -> None:
        tokens = {
            "hassUrl": self._hub.url,
            "clientId": f"{self._hub.url}/",
            "access_token": self._hub.token,
            "token_type": "Bearer",
            "expires_in": 10**8,
            "expires": 10**14,
            "refresh_token": "none",
        }
        stored = {"hassTokens": tokens, "dockedSidebar": "always_hidden"}
        script = ";".join(
            f"localStorage.{key} = {json.dumps(json.dumps(value))}" for key, value in stored.items()
        )
        self._ask("Page.enable")
        self._ask("Page.addScriptToEvaluateOnNewDocument", source=script)
        # A service worker would show what it remembers.
        self._ask("Network.enable")
        self._ask("Network.setBypassServiceWorker", bypass=True)

    def shoot(
        self, path: str, file: Path, *, shows: str, width: int = 1280, height: int = 800, dark: bool = False
    ) -> None:
        """Open ``path``, wait until it ``shows`` that text and stands still, and keep a PNG of it."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._ask("Emulation.setEmulatedMedia", features=[scheme])
        self._ask(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        self._ask("Page.navigate", url=self._hub.url + path)
        wait_until(lambda: self._shows(shows), f"{path} shows {shows!r}", 60)
        picture = self._still()
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(picture)

    def _shows(self, wanted: str) -> bool:
        text = self.text()
        return wanted in text and "Loading" not in text

    def text(self) -> str:
        time.sleep(0.2)  # asking has its price on a small machine
        return str(self._ask("Runtime.evaluate", expression=TEXT)["result"].get("value", ""))

    def _still(self) -> bytes:
        """A picture that equals the one a second before; some things on a page never stand still."""
        last = b""
        for _ in range(8):
            time.sleep(1.0)
            now = base64.b64decode(self._ask("Page.captureScreenshot", format="png")["data"])
            if now == last:
                break
            last = now
        return last

    def _ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self._socket.recv(timeout=60))
            if answer.get("id") == number:
                assert "error" not in answer, f"{method}: {answer}"
                return answer["result"]


@contextlib.contextmanager
def _running(folder: Path) -> Iterator[None]:
    assert PROGRAM is not None
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [PROGRAM, *FLAGS, f"--user-data-dir={folder}", "about:blank"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        ready = folder / "DevToolsActivePort"
        wait_until(lambda: ready.exists() and ready.read_text().count("\n") >= 1, "Chromium is ready", 60)
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)
