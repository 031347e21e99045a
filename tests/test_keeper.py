"""The keeper with work that does not come back, as on a disk that does not answer."""

import subprocess
import sys
import threading
import time

import pytest

from monitor.keeper import HANGS, TELL_HANGING_S, Keeper
from tests.broker import DEADLINE_S, wait_until


class Disk:
    """Work that takes until it is let go, and counts its calls."""

    def __init__(self) -> None:
        self.answers = threading.Event()
        self.answers.set()
        self.asked = threading.Semaphore(0)
        self.calls = 0

    def __call__(self) -> None:
        self.calls += 1
        self.asked.release()
        self.answers.wait(DEADLINE_S)


@pytest.fixture
def disk():
    return Disk()


def test_what_changed_is_done_on_return(disk):
    keeper = Keeper("test", disk, within_s=DEADLINE_S)
    for number in range(1, 20):
        assert keeper.changed()
        assert disk.calls == number
    assert not keeper.hangs
    assert keeper.close(DEADLINE_S)
    assert disk.calls == 20, "a last time"


def test_a_disk_that_hangs_is_waited_for_once_and_briefly(disk):
    keeper = Keeper("test", disk)
    keeper.start()
    disk.answers.clear()
    began_s = time.monotonic()
    assert not keeper.changed()
    assert time.monotonic() - began_s > 0.4
    assert keeper.hangs
    began_s = time.monotonic()
    for _ in range(1000):
        assert not keeper.changed()
    assert time.monotonic() - began_s < 20, "a thousand do not wait once each"
    wait_until(lambda: keeper.fault == HANGS, "it is told")
    assert keeper.busy_s > TELL_HANGING_S
    disk.answers.set()
    wait_until(lambda: not keeper.hangs and keeper.changed(), "it is worked with again")
    assert keeper.fault == ""
    assert disk.calls < 100, "what came while it hung shares a call"
    assert keeper.close(DEADLINE_S)


def test_a_stop_waits_for_a_hanging_disk_no_longer_than_it_is_allowed_to(disk):
    keeper = Keeper("test", disk)
    disk.answers.clear()
    keeper.changed()
    began_s = time.monotonic()
    assert not keeper.close(0.2)
    assert time.monotonic() - began_s < 5
    assert not keeper.changed(), "a thread that outlived the stop does not wait either"
    disk.answers.set()


def test_a_mistake_of_ours_is_told_and_the_next_change_tries_again():
    mistakes = [TypeError("unsupported")]

    def work():
        if mistakes:
            raise mistakes.pop()

    keeper = Keeper("test", work, within_s=DEADLINE_S)
    keeper.changed()
    assert keeper.fault == "TypeError: unsupported."
    keeper.changed()
    assert keeper.fault == ""
    keeper.close(DEADLINE_S)


_FIFO = """
import os, sys, time
from monitor.keeper import Keeper
os.mkfifo(sys.argv[1])
keeper = Keeper("test", lambda: open(sys.argv[1]).close())  # nobody ever opens the other end
keeper.changed()
while not keeper.hangs:  # on a busy machine its thread may not have begun yet
    time.sleep(0.01)
print(keeper.close(0.1))
"""


def test_a_process_ends_although_its_keeper_hangs(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", _FIFO, str(tmp_path / "fifo")],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "False"), done.stderr


_NO_THREAD = """
import resource, threading
from monitor.keeper import Keeper
keeper = Keeper("test", lambda: None)
idle = threading.Event()
resource.setrlimit(resource.RLIMIT_AS, (2**28, 2**28))
threading.stack_size(2**27)
try:
    while True:
        threading.Thread(target=idle.wait, daemon=True).start()
except RuntimeError:
    pass
print(keeper.changed(), keeper.fault)
"""


def test_a_thread_that_cannot_be_made_is_a_fault_and_no_end(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", _NO_THREAD], capture_output=True, text=True, timeout=DEADLINE_S, check=False
    )
    assert "can't start new thread" in done.stdout, done.stderr
    assert "False " in done.stdout


def test_one_that_was_closed_works_again(disk):
    keeper = Keeper("test", disk, within_s=DEADLINE_S)
    assert keeper.changed()
    assert keeper.close(DEADLINE_S)
    keeper.start()
    calls = disk.calls
    assert keeper.changed()
    assert disk.calls == calls + 1
    assert keeper.close(DEADLINE_S)


def test_a_thread_that_hung_through_a_close_goes_on_after_the_next_start(disk):
    keeper = Keeper("test", disk)
    disk.answers.clear()
    keeper.changed()
    assert not keeper.close(0.0)
    keeper.start()
    threads = threading.active_count()
    disk.answers.set()
    wait_until(lambda: not keeper.hangs and keeper.changed(), "it is worked with again")
    assert threading.active_count() == threads, "no second thread beside the one that hung"
    assert keeper.close(DEADLINE_S)
