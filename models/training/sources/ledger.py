"""What a preparation has done so far: one JSON line a clip, appended, so that a kill loses nothing."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Final

LEDGER_NAME: Final = "prepared.jsonl"

Columns = dict[str, str]


class Ledger:
    """Measured columns of the clips that lie complete in the folder ``out``, by path."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self._file = out / LEDGER_NAME
        self.columns: dict[str, Columns] = {}
        out.mkdir(parents=True, exist_ok=True)
        if self._file.is_file():
            self._read()

    def _read(self) -> None:
        text = self._file.read_text(encoding="utf-8")
        for line in text.splitlines():
            try:
                known: Columns = json.loads(line)
            except json.JSONDecodeError:
                continue  # the line that a kill cut short: its clip is made again
            self.columns.setdefault(known["path"], {}).update(known)
        self.columns = {path: known for path, known in self.columns.items() if self._is_whole(path, known)}
        if text and not text.endswith("\n"):
            self._file.write_text(text + "\n", encoding="utf-8")

    def _is_whole(self, path: str, known: Columns) -> bool:
        file = self._out / path
        return file.is_file() and hashlib.sha256(file.read_bytes()).hexdigest() == known["sha256"]

    def add(self, path: str, columns: Columns) -> None:
        """Note columns of a clip; those noted before stay."""
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"path": path} | columns) + "\n")
        self.columns.setdefault(path, {"path": path}).update(columns)
