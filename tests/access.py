"""What a process may reach and what it holds: a folder that may not be searched, open descriptors."""

from __future__ import annotations

import os
import resource
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


@contextmanager
def many_files(number: int) -> Iterator[None]:
    """This process may hold ``number`` descriptors more: at a login it gets 1,024 in all."""
    before = soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, number + 1024)), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def open_files() -> int:
    """How many descriptors this process holds."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())
