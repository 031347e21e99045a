"""Takes the messages of some time out of a file of JSON lines."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Collection
from datetime import datetime
from pathlib import Path

from monitor.errors import MonitorError
from monitor.outputs import HEAD_BYTES
from monitor.sinks.erase import Span
from monitor.sinks.jsonl import is_event_log
from monitor.words import plain


def forget_lines(file: Path, span: Span, ids: Collection[str]) -> int:
    """Delete the lines whose time lies in ``span`` or that name one of ``ids``; how many went.

    A pipe or standard output holds none. Raises MonitorError, for a file that holds
    something other than messages too.
    """
    try:
        if not file.is_file():
            return 0
        file = file.resolve()
        with file.open("rb") as lines:
            head = lines.read(HEAD_BYTES)
        if not is_event_log(head):
            raise MonitorError(
                f"jsonl.path = {plain(str(file))} holds other things than messages, and none were deleted.",
                "Set jsonl.path to the event log.",
            )
        return _rewrite(file, span, [id_.encode() for id_ in ids])
    except OSError as error:
        raise MonitorError(
            f"The event log {file} still tells of it: {error.strerror}.",
            "Delete it or try again as its owner.",
        ) from error


def _rewrite(file: Path, span: Span, ids: Collection[bytes]) -> int:
    before = file.stat()
    descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    went = 0
    try:
        with os.fdopen(descriptor, "wb") as kept, file.open("rb") as lines:
            for line in lines:
                if _is_of(line, span, ids):
                    went += 1
                else:
                    kept.write(line)
            kept.flush()
            os.fsync(kept.fileno())
        if went:
            Path(name).chmod(before.st_mode & 0o7777)
            os.chown(name, before.st_uid, before.st_gid)
            Path(name).replace(file)
    finally:
        Path(name).unlink(missing_ok=True)
    return went


def _is_of(line: bytes, span: Span, ids: Collection[bytes]) -> bool:
    if any(id_ in line for id_ in ids):
        return True
    try:
        at = json.loads(line)["time"]
        return span[0] <= datetime.fromisoformat(at).timestamp() < span[1]
    except (ValueError, KeyError, TypeError, OverflowError):
        return span == (float("-inf"), float("inf"))
