"""What was freed leaves the process; shown on a real heap, in a process of its own."""

import platform
import subprocess
import sys

import pytest

from monitor.heap import TRIM_EVERY_S, HeapTrimmer

PROGRAM = """
from pathlib import Path
from monitor.heap import TRIM_EVERY_S, HeapTrimmer, share_arenas

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

share_arenas()
now_s = [0.0]
trimmer = HeapTrimmer(monotonic_s=lambda: now_s[0])
held = [bytes(100_000) + str(n).encode() for n in range(400)]
anchors = held[::40]  # a few that stay, so that the heap's end does not move
del held
before = resident()
trimmer()
early = resident()
now_s[0] = TRIM_EVERY_S
trimmer()
print(before, early, resident())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the heap is not glibc's")
def test_freed_memory_goes_back_to_the_system_when_it_is_time():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    before, early, after = map(int, done.stdout.split())
    assert early > before - 4_000_000
    assert after < before - 20_000_000


def test_where_the_heap_is_not_glibcs_nothing_happens(monkeypatch):
    monkeypatch.setattr("monitor.heap._libc", object())
    now_s = [0.0]
    trimmer = HeapTrimmer(monotonic_s=lambda: now_s[0])
    now_s[0] = 2 * TRIM_EVERY_S
    trimmer()
