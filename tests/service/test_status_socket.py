import contextlib
import json
import socket
import stat
import subprocess
import sys
import threading

import pytest

from monitor.errors import MonitorError
from monitor.service.status_socket import StatusServer, ask
from tests.access import many_files, open_files
from tests.broker import wait_until


def test_each_connection_gets_one_fresh_answer(tmp_path):
    numbers = iter(range(10))
    server = StatusServer(tmp_path / "status.sock", lambda: {"number": next(numbers)})
    assert server.start() == ""
    assert [ask(tmp_path / "status.sock") for _ in range(2)] == [{"number": 0}, {"number": 1}]
    assert stat.S_IMODE((tmp_path / "status.sock").stat().st_mode) == 0o600
    server.stop()
    assert not (tmp_path / "status.sock").exists()


def test_the_socket_of_a_killed_service_is_replaced(tmp_path):
    path = tmp_path / "status.sock"
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(str(path))
    with pytest.raises(MonitorError, match="No cradlewatch runs"):
        ask(path)
    server = StatusServer(path, lambda: {"ok": True})
    server.start()
    assert ask(path) == {"ok": True}
    server.stop()


def test_whoever_hangs_up_disturbs_nobody(tmp_path):
    server = StatusServer(tmp_path / "s", lambda: {"much": "x" * 1_000_000})
    server.start()
    for _ in range(3):
        with socket.socket(socket.AF_UNIX) as rude:
            rude.connect(str(tmp_path / "s"))
    assert len(json.dumps(ask(tmp_path / "s"))) > 1_000_000
    server.stop()


def test_a_path_that_cannot_be_a_socket_is_said_and_stops_nothing(tmp_path):
    long = tmp_path / ("x" * 100) / "s"
    long.parent.mkdir()
    assert "cannot be made" in StatusServer(long, dict).start()


def test_no_service_is_one_sentence(tmp_path):
    with pytest.raises(MonitorError, match="No cradlewatch runs"):
        ask(tmp_path / "nothing.sock")


@pytest.mark.parametrize("answer", [b"", b"no JSON", b"[1]", b"[" * 100_000, b'"' + b"x" * 2_000_000 + b'"'])
def test_what_no_service_of_ours_says_is_one_sentence(tmp_path, answer):
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(tmp_path / "s"))
        other.listen(1)

        def speak():
            connection, _ = other.accept()
            with connection, contextlib.suppress(OSError):
                connection.sendall(answer)

        speaker = threading.Thread(target=speak)
        speaker.start()
        with pytest.raises(MonitorError, match="Restart"):
            ask(tmp_path / "s")
        speaker.join()


def test_a_deleted_socket_is_made_again(tmp_path):
    path = tmp_path / "status.sock"
    server = StatusServer(path, lambda: {"ok": True})
    assert server.start() == ""
    path.unlink()
    server.check_path()
    wait_until(path.exists, "the socket is back")
    assert ask(path) == {"ok": True}
    assert path.stat().st_mode & 0o777 == 0o600
    before = path.stat().st_ino
    server.check_path()
    assert ask(path) == {"ok": True}
    assert path.stat().st_ino == before
    server.stop()
    server.check_path()
    assert not path.exists()


def test_a_thousand_who_ask_and_never_listen_keep_nobody_out(tmp_path):
    """Each takes nothing of an answer that is longer than the kernel holds."""
    path = tmp_path / "s"
    server = StatusServer(path, lambda: {"much": "x" * 1_000_000})
    server.start()
    threads, files = threading.active_count(), open_files()
    with many_files(2000), contextlib.ExitStack() as stack:
        for _ in range(1000):
            rude = stack.enter_context(socket.socket(socket.AF_UNIX))
            rude.setblocking(False)
            with contextlib.suppress(BlockingIOError):  # the queue is full for a moment
                rude.connect(str(path))
        assert len(ask(path)["much"]) == 1_000_000
        assert threading.active_count() == threads
        assert open_files() - 1000 <= files + 10
    server.stop()


def test_it_answers_when_no_file_can_be_opened_any_more(tmp_path):
    path = tmp_path / "status.sock"
    program = (
        "import os, resource, sys\n"
        "from pathlib import Path\n"
        "from monitor.service.status_socket import StatusServer\n"
        "server = StatusServer(Path(sys.argv[1]), lambda: {'ok': True})\n"
        "assert server.start() == ''\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))\n"
        "held = []\n"
        "try:\n"
        "    while True: held.append(os.open('/dev/null', os.O_RDONLY))\n"
        "except OSError: print('short', flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "short\n"
        for _ in range(3):
            assert ask(path) == {"ok": True}
        process.stdin.close()
