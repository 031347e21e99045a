"""Log set-up: one line an event, on stderr, for a terminal or for the journal.

stdout stays free for data (``scan --format jsonl``, ``jsonl.path = "-"``); journald collects both.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import stat
import sys
import threading
from collections.abc import Mapping
from typing import Any, Final, TextIO

from monitor.words import plain

# structlog imports rich wherever rich is installed, for coloured tracebacks: 0.3 s and 6 MB on a PC,
# and the service has a budget for both. While this name is None the import fails as if it were not
# installed; afterwards rich can be imported by whoever wants it.
_rich = sys.modules.get("rich")
sys.modules["rich"] = None  # type: ignore[assignment]
try:
    import structlog
    import structlog.dev
finally:
    if _rich is None:
        del sys.modules["rich"]
    else:
        sys.modules["rich"] = _rich

_SYSLOG_PRIORITY: Final = {"critical": 2, "error": 3, "warning": 4, "info": 6, "debug": 7}
_SECRET_WORDS: Final = ("password", "secret", "token")
TAKEN_WITHIN_MS: Final = 200
"""How long a line waits for its reader, the first time; while lines are lost none waits."""
_KEY_ORDER: Final = ("timestamp", "level", "event", "thread")


def configure_logging(
    level: str = "info",
    form: str = "auto",
    *,
    stream: TextIO | None = None,
    environ: Mapping[str, str] | None = None,
) -> LogStream:
    """Set up structlog and the standard library's logging; what both write to.

    ``form`` is "console", "logfmt", "json" or "auto" (console on a terminal, else logfmt). Under
    systemd each line begins with its syslog priority, which journald takes off.
    """
    stream = sys.stderr if stream is None else stream
    environ = os.environ if environ is None else environ
    journal = is_journal(stream, environ)
    if form == "auto":
        form = "console" if stream.isatty() else "logfmt"
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        _add_thread_name,
        _hide_secrets,
        _escape,
    ]
    if not journal:  # journald stamps the lines itself
        shared.append(structlog.processors.TimeStamper(fmt="iso", utc=form != "console"))
    renderer = [*_renderers(form, stream), *([_prefix_priority] if journal else [])]
    number = logging.getLevelNamesMapping()[level.upper()]
    lasting = LogStream(stream)
    structlog.configure(
        processors=[*shared, *renderer],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(lasting),  # type: ignore[arg-type]
        cache_logger_on_first_use=False,
    )
    _route_standard_library(lasting, shared, renderer, number)
    return lasting


class LogStream:
    """A stream that outlives its reader, and does not wait for one.

    A journal that restarts closes the pipe, and one that hangs lets it fill up. Both have to cost lines, not
    the monitor: a thread that waits to write a line no longer listens.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._descriptor = _waitable(stream)
        # Reentrant: a signal handler may log while its thread does.
        self._lock = threading.RLock()
        self._blocked = False
        self.lost_lines = 0
        """Lines that nobody took."""

    def fault(self) -> str:
        """That lines are lost at the moment; empty while they are taken. Never waits."""
        if self._blocked and self._descriptor is not None and _is_writable(self._descriptor, 0):
            self._blocked = False
            structlog.get_logger(__name__).warning("log.lines_lost", lines=self.lost_lines)
        return (
            "Nobody takes the log lines: the journal hangs, or the reader of stderr." if self._blocked else ""
        )

    def write(self, text: str) -> None:
        with self._lock:
            try:
                if self._descriptor is None:
                    self._stream.write(text)
                    taken = True
                else:
                    taken = self._write_parts(self._descriptor, text.encode("utf-8", "backslashreplace"))
            except OSError:
                taken = False
            self._blocked = not taken
            self.lost_lines += not taken

    def flush(self) -> None:
        if self._descriptor is None:
            with contextlib.suppress(OSError):
                self._stream.flush()

    def _write_parts(self, descriptor: int, data: bytes) -> bool:
        # What poll calls writable takes a PIPE_BUF without waiting; a longer line goes in parts.
        for start in range(0, len(data), select.PIPE_BUF):
            if not _is_writable(descriptor, 0 if self._blocked else TAKEN_WITHIN_MS):
                return False
            os.write(descriptor, data[start : start + select.PIPE_BUF])
        return True


def _is_writable(descriptor: int, within_ms: int) -> bool:
    waiter = select.poll()
    waiter.register(descriptor, select.POLLOUT)
    return any(event == select.POLLOUT for _, event in waiter.poll(within_ms))


def _waitable(stream: TextIO) -> int | None:
    """The descriptor of a pipe, a socket or a terminal; None for what is written without waiting."""
    try:
        descriptor = stream.fileno()
        regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
    except (OSError, ValueError):
        return None
    return None if regular else descriptor


def is_journal(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether ``stream`` is the journal's: $JOURNAL_STREAM holds its device and inode."""
    device, _, inode = environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return (device, inode) == (str(status.st_dev), str(status.st_ino))


def _renderers(form: str, stream: TextIO) -> list[Any]:
    if form == "console":
        return [structlog.dev.ConsoleRenderer(colors=stream.isatty(), pad_event_to=28)]
    if form == "json":
        return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    return [
        structlog.processors.format_exc_info,
        structlog.processors.LogfmtRenderer(key_order=_KEY_ORDER, drop_missing=True, bool_as_flag=False),
    ]


def _route_standard_library(lasting: LogStream, shared: list[Any], renderer: list[Any], number: int) -> None:
    """Send the libraries' own log lines the same way; below warnings only when debugging."""
    handler = logging.StreamHandler(lasting)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(number if number <= logging.DEBUG else max(number, logging.WARNING))
    logging.captureWarnings(capture=True)


def _add_thread_name(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
    event["thread"] = threading.current_thread().name
    return event


def _hide_secrets(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
    for key in event:
        if any(word in key.lower() for word in _SECRET_WORDS):
            event[key] = "(hidden)"
    return event


def _escape(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
    """A file or a device may be called anything; no name may move the cursor or begin a line of its own."""
    return {key: plain(value, None) if isinstance(value, str) else value for key, value in event.items()}


def _prefix_priority(_logger: Any, method: str, line: str) -> str:
    return f"<{_SYSLOG_PRIORITY.get(method, 6)}>" + line.replace("\n", "\\n")
