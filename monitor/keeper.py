"""A thread that works with a disk for others, so that nobody else waits for a disk that does not answer.

A card that died does not fail, it just does not answer. A caller with something to keep changes it in memory,
calls :meth:`Keeper.changed`, and waits for a moment, so that in all but that case it is on disk afterwards.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

import structlog

log = structlog.get_logger(__name__)

ANSWERS_WITHIN_S: Final = 0.5
"""How long anybody waits for a disk."""
TELL_HANGING_S: Final = 1.5
"""A card that moves its blocks about may take a second; what takes longer is a fault."""
HANGS: Final = "the disk does not answer. Check the disk or the SD card."


class Keeper:
    """Calls ``work`` on a thread of its own after each change; changes that come meanwhile share a call.

    ``work`` reads what there is to do from its owner's memory, so a disk that hangs for hours leaves no queue
    behind. It may say after how many seconds it wants to be called again. It handles its own errors; what it
    lets through is a mistake of ours, logged and told by :attr:`failure`, and the next change calls it again.
    """

    def __init__(
        self, name: str, work: Callable[[], float | None], *, within_s: float = ANSWERS_WITHIN_S
    ) -> None:
        self._name = name
        self._work = work
        self._within_s = within_s
        self._turn = threading.Condition()
        self._asked = self._done = 0
        self._busy_since_s: float | None = None
        self._told = False
        self._closing = False
        self._thread: threading.Thread | None = None
        self.failure = ""
        """What went wrong in ``work`` the last time, by a mistake of ours; empty when nothing did."""

    def start(self) -> None:
        """Make the thread. Call it before the first change: later there may be none to be had.

        After ``close`` it works again; a thread that outlived the close goes on.
        """
        with self._turn:
            self._closing = False
            self._start()

    def changed(self, *, within_s: float | None = None) -> bool:
        """Have ``work`` called; whether it has been, on return.

        Waits half a second at most (or ``within_s``), and not at all while the disk is known to hang.
        """
        with self._turn:
            if self._closing:
                return False  # a thread that outlived the stop
            self._asked += 1
            mine = self._asked
            self._turn.notify_all()
            if self.hangs or not self._start():
                return False
            limit_s = self._within_s if within_s is None else within_s
            if self._turn.wait_for(lambda: self._done >= mine, limit_s):
                return True
            tell = limit_s >= self._within_s and not self._told
            self._told = self._told or tell
        if tell:
            log.error("disk.hangs", keeper=self._name)
        return False

    @property
    def hangs(self) -> bool:
        """Whether ``work`` has been waiting for longer than anybody waits for it. Takes no lock.

        Somebody who has waited in vain decides it for all: the call began a moment after the wait did.
        """
        return self._busy_since_s is not None and (self._told or self.busy_s > self._within_s)

    @property
    def busy_s(self) -> float:
        """How long the present call of ``work`` has taken; 0 between calls. Takes no lock."""
        since_s = self._busy_since_s
        return 0.0 if since_s is None else time.monotonic() - since_s

    @property
    def fault(self) -> str:
        """Why what was changed is not on disk, to end a sentence; empty while the disk answers. No lock."""
        if self.busy_s > max(TELL_HANGING_S, self._within_s):
            return HANGS
        return self.failure

    def close(self, timeout_s: float) -> bool:
        """Have ``work`` called a last time and end the thread; whether it ended within ``timeout_s``.

        One that hangs in a dead disk ends when the disk answers, or with the process.
        """
        with self._turn:
            self._asked += 1
            self._closing = True
            self._turn.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join(max(0.0, timeout_s))
        return thread is None or not thread.is_alive()

    def _start(self) -> bool:
        if self._thread is None:
            # Daemonic: one that hangs in a dead disk must not keep a stopped process.
            thread = threading.Thread(target=self._run, name=f"keep-{self._name}", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # the system has no thread left; the next change tries again
                self.failure = f"{error}."
                return False
            self.failure = ""
            self._thread = thread
        return True

    def _run(self) -> None:
        again_s: float | None = None
        while True:
            with self._turn:
                self._turn.wait_for(lambda: self._asked > self._done, again_s)
                asked, closing = self._asked, self._closing
                self._busy_since_s = time.monotonic()
            again_s, failure = self._call()
            with self._turn:
                took_s = self.busy_s
                self._busy_since_s = None
                self.failure = failure
                self._done = asked
                told, self._told = self._told, False
                ends = closing and self._closing
                if ends:
                    self._thread = None
                self._turn.notify_all()
            if told:
                log.info("disk.answers_again", keeper=self._name, after_s=round(took_s, 1))
            if ends:
                return

    def _call(self) -> tuple[float | None, str]:
        try:
            return self._work(), ""
        except Exception as error:
            log.exception("keeper.failed", keeper=self._name)
            return None, f"{type(error).__name__}: {error}."
