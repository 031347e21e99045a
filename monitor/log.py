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
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TextIO

from typing_extensions import override

from monitor.log_file import LogFile
from monitor.redaction import hide_credentials
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
_EVENTS_KNOWN: Final = 256
_KEY_ORDER: Final = ("timestamp", "level", "event", "thread")


def configure_logging(
    level: str = "info",
    form: str = "auto",
    *,
    stream: TextIO | None = None,
    environ: Mapping[str, str] | None = None,
    repeats: RepeatLimiter | None = None,
) -> LogStream:
    """Set up structlog and the standard library's logging; what both write to.

    ``repeats`` bounds how often one event is written; for what runs all night. Then nobody waits for the disk
    of a log that is a file, either.

    ``form`` is "console", "logfmt", "json" or "auto" (console on a terminal, else logfmt). Under
    systemd each line begins with its syslog priority, which journald takes off.
    """
    stream = sys.stderr if stream is None else stream
    environ = os.environ if environ is None else environ
    journal = is_journal(stream, environ)
    if form == "auto":
        form = "console" if stream.isatty() else "logfmt"
    limit: list[Any] = [] if repeats is None else [repeats]
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        _add_thread_name,
        _hide_secrets,
        _escape,
    ]
    if not journal:  # journald stamps the lines itself
        shared.append(structlog.processors.TimeStamper(fmt="iso", utc=form != "console"))
    renderer = [*_renderers(form, stream), _hide_credentials, *([_prefix_priority] if journal else [])]
    number = logging.getLevelNamesMapping()[level.upper()]
    lasting = LogStream(stream, all_night=repeats is not None)
    structlog.configure(
        processors=[*limit, *shared, *renderer],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(lasting),  # type: ignore[arg-type]
        cache_logger_on_first_use=False,
    )
    _route_standard_library(lasting, shared, renderer, number).addFilter(repeats or logging.Filter())
    return lasting


class RepeatLimiter(logging.Filter):
    """Lets an event through often, but not for ever often: ``burst`` lines, then one each ``every_s``.

    A thing that goes wrong each second must not fill the card; the next line that is let through says how
    many were not (``unwritten``). A processor for structlog, a filter for the standard library. Any thread.
    """

    def __init__(
        self, burst: int = 100, every_s: float = 60.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__()
        self._burst = burst
        self._every_s = every_s
        self._clock = clock
        # Reentrant: a signal handler may log while its thread does.
        self._lock = threading.RLock()
        self._events: OrderedDict[str, _Repeats] = OrderedDict()

    def __call__(self, _logger: Any, method: str, event: dict[str, Any]) -> dict[str, Any]:
        if method == "debug":
            return event
        unwritten = self._admitted(str(event.get("event")))
        if unwritten is None:
            raise structlog.DropEvent
        return event | {"unwritten": unwritten} if unwritten else event

    @override
    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno <= logging.DEBUG or self._admitted(f"{record.name} {record.msg}") is not None

    def _admitted(self, name: str) -> int | None:
        """How many were not written since the last one; None when this one is not to be written."""
        now_s = self._clock()
        with self._lock:
            seen = self._events.setdefault(name, _Repeats(self._burst, now_s))
            self._events.move_to_end(name)
            if len(self._events) > _EVENTS_KNOWN:
                self._events.popitem(last=False)
            seen.left = min(float(self._burst), seen.left + (now_s - seen.at_s) / self._every_s)
            seen.at_s = now_s
            if seen.left < 1:
                seen.unwritten += 1
                return None
            seen.left -= 1
            unwritten, seen.unwritten = seen.unwritten, 0
            return unwritten


@dataclass(slots=True)
class _Repeats:
    left: float
    at_s: float
    unwritten: int = 0


class LogStream:
    """A stream that outlives its reader, and does not wait for one, nor ``all_night`` for a file's disk.

    A journal that restarts closes the pipe, and one that hangs lets it fill up. Both have to cost lines, not
    the monitor: a thread that waits to write a line no longer listens.
    """

    def __init__(self, stream: TextIO, *, all_night: bool = False) -> None:
        self._stream = stream
        self._file = LogFile(stream) if all_night and _is_file(stream) else None
        self._descriptor = _waitable(stream)
        # Reentrant: a signal handler may log while its thread does.
        self._lock = threading.RLock()
        self._blocked = False
        self.lost_lines = 0
        """Lines that nobody took."""

    def fault(self) -> str:
        """That lines are lost at the moment; empty while they are taken. Never waits."""
        if self._file is not None:
            return self._fault_of(self._file)
        if self._blocked and self._descriptor is not None and _is_writable(self._descriptor, 0):
            self._blocked = False
            structlog.get_logger(__name__).warning("log.lines_lost", lines=self.lost_lines)
        return (
            "Nobody takes the log lines: the journal hangs, or the reader of stderr." if self._blocked else ""
        )

    @staticmethod
    def _fault_of(file: LogFile) -> str:
        if file.hangs:
            return "The log file takes no lines: its disk does not answer. Check the disk or the SD card."
        return f"The log file takes no lines: {file.failure}. Make room." if file.failure else ""

    def write(self, text: str) -> None:
        if self._file is not None:
            self.lost_lines += not self._file.write(text)
            return
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
        if self._descriptor is None and self._file is None:
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
    """The descriptor of a pipe, a socket or a terminal; None for what poll says nothing about."""
    try:
        descriptor = stream.fileno()
    except (OSError, ValueError):
        return None
    return None if _is_file(stream) else descriptor


def _is_file(stream: TextIO) -> bool:
    try:
        return stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
    except (OSError, ValueError):
        return False


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


def _route_standard_library(
    lasting: LogStream, shared: list[Any], renderer: list[Any], number: int
) -> logging.Handler:
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
    return handler


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


def _hide_credentials(_logger: Any, _method: str, line: str) -> str:
    return hide_credentials(line)


def _prefix_priority(_logger: Any, method: str, line: str) -> str:
    return f"<{_SYSLOG_PRIORITY.get(method, 6)}>" + line.replace("\n", "\\n")
