"""Deletes what is kept about a night, or about all: every file of the state folder, in one place.

The service must not run: it holds settings, outbox and the open night in memory and would write them again.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from monitor.errors import MonitorError, SinkError
from monitor.events.night import Night, span_of
from monitor.files import write_atomically
from monitor.service.desk import ConfirmedCauses
from monitor.sinks.clip_shelf import kept_clips
from monitor.sinks.clips import FOLDER as CLIPS
from monitor.sinks.erase import Span, erase_history, erase_outbox, history_ids, outbox_ids
from monitor.sinks.history_file import FILE_NAME as HISTORY

STAYS: Final = frozenset({"lock", "controls.json"})
"""No memory of a night: what parents have set."""
ALL: Final[Span] = (float("-inf"), float("inf"))


@dataclass(slots=True)
class Forgotten:
    """What went, in numbers."""

    records: int = 0
    clips: int = 0
    causes: int = 0
    waiting: int = 0
    files: int = 0
    """Other files as a whole: damaged copies, the tally of a night."""
    undated_causes: int = 0
    """Confirmed causes of episodes that the history does not know: these stayed."""
    ids: set[str] = field(default_factory=set)


def forget(folder: Path, span: Span) -> Forgotten:
    """Delete all about ``span``. Raises MonitorError when something may be left; what was done stays done."""
    done = Forgotten()
    try:
        if span == ALL:
            _forget_all(folder, done)
        else:
            _forget_span(folder, span, done)
        _give_back(folder)
    except SinkError as error:
        raise MonitorError(
            f"Not all could be deleted: {error.message}",
            "Try again; --all deletes damaged files as well.",
        ) from error
    except OSError as error:
        raise MonitorError(f"Not all could be deleted: {error}.", "Correct that and try again.") from error
    left = sorted(str(file) for file in _files(folder) if _names_any(file, done.ids))
    if left:
        raise MonitorError(f"Episodes of that time are still named in {', '.join(left)}.", "Try again.")
    return done


def _forget_all(folder: Path, done: Forgotten) -> None:
    done.clips = len(kept_clips(folder / CLIPS))
    for entry in sorted(folder.iterdir()):
        if entry.name not in STAYS:
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
            done.files += 1


def _forget_span(folder: Path, span: Span, done: Forgotten) -> None:
    history = folder / HISTORY
    outboxes = [file for file in sorted(folder.glob("*.sqlite")) if file != history]
    clips = [c for c in kept_clips(folder / CLIPS) if span[0] <= c.onset_at.timestamp() < span[1]]
    # First the names of all that shall go: one store knows what another does not.
    done.ids = {clip.episode_id for clip in clips}
    if history.exists():
        done.ids |= history_ids(history, span)
    for outbox in outboxes:
        done.ids |= outbox_ids(outbox, span)
    for clip in clips:
        clip.path.unlink(missing_ok=True)
        done.clips += 1
    _forget_causes(folder / "causes.json", history, done)
    _forget_tally(folder / "night.json", span, done)
    for outbox in outboxes:
        done.waiting += erase_outbox(outbox, span, done.ids)
    # Last, so that a second try still knows the names.
    if history.exists():
        done.records = erase_history(history, span)
    for copy in folder.glob("*.damaged*"):  # nobody can tell what is in them
        shutil.rmtree(copy) if copy.is_dir() else copy.unlink()
        done.files += 1


def _forget_causes(file: Path, history: Path, done: Forgotten) -> None:
    if not file.exists():
        return
    try:
        causes = ConfirmedCauses.model_validate_json(file.read_bytes()).by_episode
    except ValueError:  # what pydantic raises is one
        file.unlink()
        done.files += 1
        return
    kept = {id_: cause for id_, cause in causes.items() if id_ not in done.ids}
    known = history_ids(history) if history.exists() else set()
    done.undated_causes = len(kept.keys() - known)
    done.causes = len(causes) - len(kept)
    if done.causes:
        write_atomically(file, ConfirmedCauses.model_validate({"by_episode": kept}).model_dump_json())


def _forget_tally(file: Path, span: Span, done: Forgotten) -> None:
    if not file.exists():
        return
    try:
        night = Night.model_validate_json(file.read_bytes())
        begin_s = span_of(night.evening)[0].timestamp()
    except (ValueError, OverflowError):
        begin_s = span[0]
        night = None
    if night is None or span[0] <= begin_s < span[1]:
        file.unlink()
        done.files += 1
        return
    last = night.last_cry_at
    in_span = last is not None and span[0] <= last.timestamp() < span[1]
    if in_span or night.last_episode_id in done.ids:
        forgotten = night.model_copy(update={"last_cry_at": None, "last_episode_id": None})
        write_atomically(file, forgotten.model_dump_json())


def _give_back(folder: Path) -> None:
    """What root wrote anew belongs to the service again, which else could not read it."""
    if os.geteuid() != 0:
        return
    owner = folder.stat()
    for file in _files(folder):
        os.chown(file, owner.st_uid, owner.st_gid, follow_symlinks=False)


def _files(folder: Path) -> list[Path]:
    return [file for file in sorted(folder.rglob("*")) if file.is_file() and not file.is_symlink()]


def _names_any(file: Path, ids: set[str]) -> bool:
    """Clips are not searched: their names have told."""
    if not ids or file.parent.name == CLIPS:
        return False
    content = file.read_bytes()
    return any(id_.encode() in content for id_ in ids)
