"""Full cards of more than one kind: what SQLite does there, and what our files do. Needs root.

``python -m tests.faults.test_full_cards`` prints a line for each kind of card. SQLite's write-ahead log as it
comes shares memory (``-shm``) that is a file; on ext4 with 1 kB blocks the file has holes, and a full disk
answers the process that writes into one with SIGBUS.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from itertools import product
from pathlib import Path
from typing import Final

import pytest

from tests.faults import card

ROOT: Final = Path(__file__).parents[2]
SIZE_MB: Final = {"btrfs": 128, "xfs": 320}
CARDS: Final = {
    "ext4, 1 kB": ("mkfs.ext4", "-q", "-m", "0", "-b", "1024"),
    "ext4, 4 kB": ("mkfs.ext4", "-q", "-m", "0", "-b", "4096"),
    "ext2, 1 kB": ("mkfs.ext2", "-q", "-m", "0", "-b", "1024"),
    "vfat": ("mkfs.vfat",),
    "f2fs": ("mkfs.f2fs", "-q"),
    "btrfs": ("mkfs.btrfs", "-q"),
    "xfs": ("mkfs.xfs", "-q"),
}
BUT_KB: Final = (0, 24, 32)
"""What is left on a full card. SQLite's shared memory of 32 kB seems to fit where one block in four does."""
PATH: Final = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"

_PLAIN: Final = """
import sqlite3, sys
from pathlib import Path
from tests.faults.test_full_cards import fill
file = sqlite3.connect(sys.argv[1] + "/plain.sqlite", isolation_level=None)
file.execute("PRAGMA journal_mode = WAL")
file.execute("CREATE TABLE t (a)")
file.close()
fill(Path(sys.argv[1]), but_kb=int(sys.argv[2]))
file = sqlite3.connect(sys.argv[1] + "/plain.sqlite", isolation_level=None)
for number in range(20):
    try:
        file.execute("INSERT INTO t VALUES (?)", ("x" * 100,))
    except sqlite3.Error:
        pass
"""

_OURS: Final = """
import sys
from pathlib import Path
from monitor.sinks.history import HistorySettings, HistorySink
from monitor.sinks.moment import Moment
from monitor.sinks.outbox import Item, Outbox
from tests.faults.test_full_cards import fill
from tests.sinks.night_messages import cry, level
folder, when, but_kb = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
clock = [1000.0]
outbox = Outbox(folder / "outbox.sqlite", within_s=20.0, monotonic_s=lambda: clock[0])
history = HistorySink(HistorySettings(folder), now=lambda: Moment(0.0, "boot", clock[0]), within_s=20.0)
if when == "at the start":
    fill(folder, but_kb=but_kb)
outbox.open(within_s=20.0)
history.open()
history.tick()
if when == "later":
    fill(folder, but_kb=but_kb)
for number in range(60):
    clock[0] += 5.0
    outbox.put(Item(f"e{number}", "started", "x" * 500))
    history.handle(cry("started", number, number + 1, episode_id=f"e{number}"))
    history.handle(level(60 * number))
    history.tick()
print(outbox.fault() or "kept", "|", history.fault() or "kept")
assert outbox.waiting() == 60
(folder / "ballast").unlink()
clock[0] += 10.0
outbox.tick()
history.tick()
assert outbox.fault() == history.fault() == "", (outbox.fault(), history.fault())
outbox.close(20.0)
history.close(20.0)
again = Outbox(folder / "outbox.sqlite", within_s=20.0)
again.open(within_s=20.0)
assert again.waiting() == 60
"""


def fill(folder: Path, but_kb: int) -> None:
    """Until only so much more fits."""
    with (folder / "ballast").open("wb", buffering=0) as file:
        # Written through in between: what a file system only reserves comes free again.
        for size in (1 << 20, 4096, 512, 4096, 512, 4096, 512):
            with contextlib.suppress(OSError):
                while file.write(bytes(size)):
                    pass
            with contextlib.suppress(OSError):
                os.fsync(file.fileno())
        file.truncate(file.tell() - 1024 * but_kb)
        os.sync()


def missing(name: str) -> str:
    """Why there is no such card; empty where there is."""
    if os.geteuid() != 0:
        return "a card of its own needs root"
    if not Path("/dev/loop-control").exists():
        return "no loop devices"
    return "" if shutil.which(CARDS[name][0], path=PATH) else f"{CARDS[name][0]} is missing"


@contextlib.contextmanager
def inserted(name: str, folder: Path) -> Iterator[Path]:
    """A card with an empty file system, mounted. Raises OSError where the kernel does not know it."""
    image, mounted = folder / "card.img", folder / "card"
    mounted.mkdir()
    with image.open("wb") as file:
        file.truncate(SIZE_MB.get(name, card.SIZE_MB) * 1_000_000)
    environment = os.environ | {"PATH": PATH}
    subprocess.run([*CARDS[name], str(image)], check=True, capture_output=True, env=environment)
    mount = ["mount", "-o", "loop", str(image), str(mounted)]
    if subprocess.run(mount, check=False, capture_output=True, env=environment).returncode:
        raise OSError(f"the kernel mounts no {name}")
    try:
        yield mounted
    finally:
        subprocess.run(["umount", "--lazy", str(mounted)], check=True, env=environment)


def outcome(program: str, folder: Path, *arguments: str) -> tuple[int, str]:
    """Exit status and last line of a process that fills the card and goes on."""
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder), *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    said = [line for line in (done.stdout if done.returncode == 0 else done.stderr).splitlines() if line]
    return done.returncode, said[-1] if said else ""


@pytest.mark.parametrize("name", ["ext4, 1 kB", "btrfs"])
def test_a_full_card_of_any_kind_costs_durability_and_nothing_else(tmp_path, name):
    if missing(name):
        pytest.skip(missing(name))
    with contextlib.ExitStack() as stack:
        try:
            folder = stack.enter_context(inserted(name, tmp_path))
        except OSError as error:
            pytest.skip(str(error))
        for status, said in ours_on(folder, [(24, "at the start"), (32, "later")]):
            assert status == 0, said


def ours_on(folder: Path, cases: Iterable[tuple[int, str]]) -> list[tuple[int, str]]:
    return [outcome(_OURS, emptied(folder), when, str(but_kb)) for but_kb, when in cases]


def _print_table() -> None:
    for name in CARDS:
        if missing(name):
            print(f"{name:12} {missing(name)}")
            continue
        with tempfile.TemporaryDirectory() as where, contextlib.ExitStack() as stack:
            try:
                folder = stack.enter_context(inserted(name, Path(where)))
            except OSError as error:
                print(f"{name:12} {error}")
                continue
            plain = {outcome(_PLAIN, emptied(folder), str(kb))[0] for kb in BUT_KB}
            ends = sorted(signal.Signals(-status).name if status < 0 else "goes on" for status in plain)
            cases = product(BUT_KB, ("at the start", "later"))
            bad = [said for status, said in ours_on(folder, cases) if status]
            print(f"{name:12} SQLite as it comes: {' or '.join(ends)}; ours: {bad or 'goes on'}")


def emptied(folder: Path) -> Path:
    for file in folder.iterdir():
        if file.is_file():
            file.unlink()
    return folder


if __name__ == "__main__":
    _print_table()
