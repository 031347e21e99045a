"""A log that is a file (``StandardError=append:``, ``2>>``): nobody must wait for its disk."""

from __future__ import annotations

import os
import threading
from collections import deque
from typing import Final, TextIO

TAKEN_WITHIN_S: Final = 0.2
"""How long a line waits for the disk, the first time; while the disk hangs none waits."""
LINES_HELD: Final = 1000
"""While the disk hangs; what comes beyond them is lost."""


class LogFile:
    """Writes on a thread of its own, which lives from the start on. Any thread may call the rest.

    It logs nothing itself, for that would come back to it.
    """

    def __init__(self, stream: TextIO) -> None:
        self._descriptor = stream.fileno()
        # Reentrant, as a condition's lock is: a signal handler may log while its thread does.
        self._turn = threading.Condition()
        self._lines: deque[str] = deque()
        self._taken = self._written = 0
        self._hangs = False
        self.failure = ""
        """Why the latest lines are not in the file, as the system words it."""
        threading.Thread(target=self._run, name="log", daemon=True).start()

    def write(self, text: str) -> bool:
        """Have a line written; whether it is, or will be when the disk answers."""
        with self._turn:
            if len(self._lines) >= LINES_HELD:
                return False
            self._lines.append(text)
            self._taken += 1
            mine = self._taken
            self._turn.notify_all()
            if self._hangs:
                return True
            if not self._turn.wait_for(lambda: self._written >= mine, TAKEN_WITHIN_S):
                self._hangs = True
                return True
            return not self.failure

    @property
    def hangs(self) -> bool:
        """Takes no lock."""
        return self._hangs

    def _run(self) -> None:
        while True:
            with self._turn:
                self._turn.wait_for(lambda: self._lines)
                lines = list(self._lines)
            failure = self._append("".join(lines).encode("utf-8", "backslashreplace"))
            with self._turn:
                for _ in lines:
                    self._lines.popleft()
                self._written += len(lines)
                self._hangs, self.failure = False, failure
                self._turn.notify_all()

    def _append(self, data: bytes) -> str:
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
        except OSError as error:
            return os.strerror(error.errno) if error.errno else str(error)
        return ""
