"""The signals of the process: stop on SIGTERM and SIGINT, all stacks on SIGUSR1."""

from __future__ import annotations

import contextlib
import faulthandler
import signal
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Final

_STDERR: Final = 2


@contextlib.contextmanager
def stop_on_signals(request_stop: Callable[[], None]) -> Iterator[None]:
    """Call ``request_stop`` on SIGTERM and SIGINT. Main thread only; restores what was before.

    A second SIGINT interrupts at once: whoever presses Ctrl-C twice does not want to wait.
    """

    def stop(number: int, _frame: FrameType | None) -> None:
        request_stop()
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    # The faulthandler writes from C: it also answers when the interpreter hangs.
    faulthandler.register(signal.SIGUSR1, file=_STDERR, all_threads=True)
    try:
        yield
    finally:
        faulthandler.unregister(signal.SIGUSR1)
        for number, handler in before.items():
            signal.signal(number, handler)
