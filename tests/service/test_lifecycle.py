import threading

import pytest

from monitor.service.lifecycle import Deadline, Threads


def test_the_first_failure_wakes_main_and_is_kept():
    threads = Threads()

    def fail() -> None:
        raise ValueError("first")

    threads.start("failing", fail)
    assert threads.wait(5.0)
    assert threads.failure is not None
    assert threads.failure.thread == "failing"
    assert str(threads.failure.error) == "first"
    threads.start("failing later", lambda: (_ for _ in ()).throw(ValueError("second")))
    threads.join(Deadline(5.0))
    assert str(threads.failure.error) == "first"


@pytest.mark.parametrize("error", [SystemExit(0), KeyboardInterrupt()])
def test_a_thread_that_exits_quietly_is_a_failure_too(error):
    threads = Threads()

    def leave() -> None:
        raise error

    threads.start("leaving", leave)
    assert threads.wait(5.0)
    assert threads.failure is not None
    assert threads.failure.error is error


def test_a_thread_that_ends_is_no_failure():
    threads = Threads()
    threads.start("ending", lambda: None)
    assert threads.join(Deadline(5.0)) == []
    assert threads.failure is None
    assert not threads.wait(0.0)


def test_threads_that_outlive_the_one_deadline_are_named():
    threads, release = Threads(), threading.Event()
    for number in range(3):
        threads.start(f"stuck-{number}", lambda: release.wait(30.0) and None)
    deadline = Deadline(0.2)
    assert threads.join(deadline) == ["stuck-0", "stuck-1", "stuck-2"]
    assert deadline.left_s() == 0.0
    release.set()
    assert threads.join(Deadline(5.0)) == []


def test_a_deadline_is_shared_and_never_negative():
    now = [100.0]
    deadline = Deadline(2.0, clock=lambda: now[0])
    assert deadline.left_s() == 2.0
    now[0] = 101.5
    assert deadline.left_s() == 0.5
    now[0] = 110.0
    assert deadline.left_s() == 0.0
