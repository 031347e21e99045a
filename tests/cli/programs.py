"""The real program in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).parents[2]
DEADLINE_S = 120.0
LEAKS = "default::ResourceWarning"
"""What is not closed is said on standard error; where the program ends well, such a line fails the test."""


class Program:
    """``cradlewatch ARGUMENTS``, with its output read as it comes. Killed at the end of the block.

    ``before``: a command that runs it, such as ``setpriv``.
    """

    def __init__(
        self, *arguments: str, stdin: Any = subprocess.DEVNULL, before: Sequence[str] = (), **environment: str
    ) -> None:
        kept = {
            key: value for key, value in os.environ.items() if key not in {"JOURNAL_STREAM", "NOTIFY_SOCKET"}
        }
        self._process = subprocess.Popen(
            [*before, sys.executable, "-m", "monitor", *arguments],
            cwd=ROOT,
            env=kept | {"CRADLEWATCH_CONFIG": os.devnull, "PYTHONWARNINGS": LEAKS} | environment,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.pid = self._process.pid
        self._arrived = threading.Condition()
        self.out: list[str] = []
        self.err: list[str] = []
        self._readers = [
            threading.Thread(target=self._read, args=pair)
            for pair in ((self._process.stdout, self.out), (self._process.stderr, self.err))
        ]
        for reader in self._readers:
            reader.start()

    def wait_for(self, condition: Callable[[], object], what: str) -> None:
        with self._arrived:
            held = self._arrived.wait_for(lambda: condition() or self._process.poll() is not None, DEADLINE_S)
        assert held, what
        assert condition(), f"{what}\nout: {self.out}\nerr: {self.err}"

    def wait_for_log(self, event: str) -> None:
        self.wait_for(lambda: any(event in line for line in self.err), event)

    def messages(self, kind: str) -> list[dict[str, Any]]:
        """What was written as lines of JSON on stdout."""
        return [message for line in self.out if (message := json.loads(line))["kind"] == kind]

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def ended(self) -> int:
        """The exit code, with all output read. A program that ended well has closed what it opened."""
        code = self._process.wait(DEADLINE_S)
        for reader in self._readers:
            reader.join(DEADLINE_S)
        leaks = [line for line in self.err if "ResourceWarning" in line]
        assert code != 0 or not leaks, leaks
        return code

    def _read(self, stream: Any, lines: list[str]) -> None:
        for line in stream:
            with self._arrived:
                lines.append(line.rstrip("\n"))
                self._arrived.notify_all()
        with self._arrived:
            self._arrived.notify_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self.ended()
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()
