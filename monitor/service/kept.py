"""Small state that outlives a restart: one JSON file each in the state folder. Main calls it."""

from __future__ import annotations

import contextlib
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
    all the same until the restart, and :attr:`fault` says so.
    """

    def __init__(self, folder: Path | None, name: str, default: M, writer: StateWriter) -> None:
        self._path = None if folder is None else folder / name
        self._writer = writer
        self._load_fault = ""
        self.value = self._load(default)

    @property
    def fault(self) -> str:
        """What is wrong with the file, for a person; empty while all is well."""
        return self._load_fault or ("" if self._path is None else self._writer.fault(self._path))

    def keep(self, value: M) -> None:
        """From now on the value is ``value``; on disk on return, unless :attr:`fault` says otherwise."""
        self.value = value
        if self._path is None:
            return
        self._load_fault = ""
        self._writer.write(self._path, value.model_dump_json())

    def keep_again(self) -> None:
        """Somebody took the file away."""
        self.keep(self.value)

    def _load(self, default: M) -> M:
        if self._path is None:
            return default
        try:
            return type(default).model_validate_json(self._path.read_bytes())
        except FileNotFoundError:
            return default
        except OSError as error:
            self._load_fault = f"{self._path} cannot be read: {error.strerror}. Defaults count."
        except ValidationError as error:
            damaged = self._path.with_suffix(".damaged")
            with contextlib.suppress(OSError):  # where it cannot be moved it cannot be overwritten either
                self._path.replace(damaged)
            mistakes = error.error_count()
            self._load_fault = (
                f"{self._path} is damaged ({mistakes} mistakes) and was put aside: defaults count."
            )
        log.warning("state.unreadable", path=str(self._path), fault=self._load_fault)
        return default
