"""A folder that may not be searched, for whoever runs the suite."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NOBODY = 65_534


@contextmanager
def out_of_reach(folder: Path) -> Iterator[Path]:
    """Access to ``folder`` is denied within the block. Root, who may everything, becomes nobody there."""
    is_root = os.geteuid() == 0
    folder.chmod(0o000)
    if is_root:
        os.seteuid(NOBODY)
    try:
        yield folder
    finally:
        if is_root:
            os.seteuid(0)
        folder.chmod(0o700)
