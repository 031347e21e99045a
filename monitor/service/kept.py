"""Small state that outlives a restart: one JSON file each in the state folder. Main calls it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

import structlog
from pydantic import BaseModel, ValidationError

from monitor.service.state_writer import StateWriter

log = structlog.get_logger(__name__)

M = TypeVar("M", bound=BaseModel)


class Kept(Generic[M]):
    """Keeps a value of one model in ``folder / name``; without a folder it is kept in memory alone.

    A file that cannot be understood is put aside, never overwritten. A value that cannot be written counts
    all the same until the restart, and :attr:`fault` says so. From a disk that does not answer at the start
    the value comes later, see :meth:`arrived`.
    """

    def __init__(
        self,
        folder: Path | None,
        name: str,
        default: M,
        writer: StateWriter,
        *,
        join: Callable[[M, M], M] | None = None,
    ) -> None:
        """``join`` makes one of the file's value and ours where it is read late; not set: field by field."""
        self._path = None if folder is None else folder / name
        self._writer = writer
        self._default = default
        self._join = join
        self._load_fault = ""
        self._is_read = self._path is None
        self.value = default.model_copy(deep=True)
        if self._path is not None:
            writer.read(self._path)
            if not self.arrived():
                self._load_fault = f"{self._path} cannot be read: the disk does not answer. Defaults count."

    @property
    def fault(self) -> str:
        """What is wrong with the file, for a person; empty while all is well."""
        return self._load_fault or ("" if self._path is None else self._writer.fault(self._path))

    def arrived(self) -> bool:
        """Whether the file has been read just now: ``value`` is what it holds, and what has changed since."""
        if self._is_read or self._path is None:
            return False
        try:
            content = self._writer.content(self._path)
            if content is None:
                return False
            self._load_fault = ""
            self.value = self._joined(type(self.value).model_validate_json(content))
        except FileNotFoundError:
            self._load_fault = ""
        except OSError as error:
            self._load_fault = f"{self._path} cannot be read: {error.strerror}. Defaults count."
        except ValidationError as error:
            self._put_aside(self._path, error)
        if self._load_fault:
            log.warning("state.unreadable", path=str(self._path), fault=self._load_fault)
        self._is_read = True
        return True

    def keep(self, value: M) -> None:
        """From now on the value is ``value``; on disk on return, unless :attr:`fault` says otherwise."""
        self.value = value
        if self._path is None:
            return
        if self._is_read:
            self._load_fault = ""
            self._writer.write(self._path, value.model_dump_json())

    def keep_again(self) -> None:
        """Somebody took the file away."""
        self.keep(self.value)

    def _joined(self, earlier: M) -> M:
        ours, untouched = self.value, self.value == self._default
        if self._join is not None and not untouched:
            return self._join(earlier, ours)
        return _joined(earlier, ours, self._default)

    def _put_aside(self, path: Path, error: ValidationError) -> None:
        damaged = path.with_suffix(".damaged")
        with contextlib.suppress(OSError):  # where it cannot be moved it cannot be overwritten either
            path.replace(damaged)
        mistakes = error.error_count()
        self._load_fault = f"{path} is damaged ({mistakes} mistakes) and was put aside: defaults count."


def _joined(earlier: M, ours: M, default: M) -> M:
    """What the file holds, with what has been changed from the default since."""
    changed = {}
    for name in type(ours).model_fields:
        mine, theirs = getattr(ours, name), getattr(earlier, name)
        if mine != getattr(default, name):
            changed[name] = theirs | mine if isinstance(mine, dict) else mine
    return earlier.model_copy(update=changed)
