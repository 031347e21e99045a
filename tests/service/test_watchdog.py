"""Against a real socket of the service manager's kind."""

import os
import socket

import pytest

from monitor.service.watchdog import Watchdog
from tests.patience import HANGS_S


@pytest.fixture(params=["path", "abstract"])
def manager(request, tmp_path):
    """The manager's end and the address as it stands in $NOTIFY_SOCKET."""
    written = str(tmp_path / "notify") if request.param == "path" else f"@cradlewatch-test-{os.getpid()}"
    bound = "\0" + written[1:] if written.startswith("@") else written
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(bound)
        end.settimeout(HANGS_S)
        yield end, written


def test_the_manager_hears_ready_alive_status_and_stopping(manager):
    end, address = manager
    watchdog = Watchdog({"NOTIFY_SOCKET": address})
    watchdog.ready("Listening")
    watchdog.alive()
    watchdog.status("The microphone delivers no audio")
    watchdog.stopping(8.0)
    watchdog.close()
    assert [end.recv(200).decode() for _ in range(4)] == [
        "READY=1\nSTATUS=Listening",
        "WATCHDOG=1",
        "STATUS=The microphone delivers no audio",
        "STOPPING=1\nSTATUS=Stopping\nEXTEND_TIMEOUT_USEC=13000000",
    ]


def test_without_a_manager_nothing_is_sent_and_nothing_fails():
    Watchdog({}).alive()


def test_a_manager_that_is_gone_does_not_stop_the_service(tmp_path):
    watchdog = Watchdog({"NOTIFY_SOCKET": str(tmp_path / "gone")})
    watchdog.alive()
    watchdog.close()


def test_a_manager_that_does_not_read_does_not_hold_up_the_service(manager):
    _, address = manager
    watchdog = Watchdog({"NOTIFY_SOCKET": address})
    for _ in range(5000):  # far more than the socket keeps
        watchdog.alive()
    watchdog.close()
