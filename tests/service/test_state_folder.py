import os
import stat
from pathlib import Path

import pytest

from monitor.errors import ConfigError
from monitor.service.state_folder import default_device, open_state_folder, state_path
from tests.access import out_of_reach
from tests.broker import wait_until


def test_the_configured_folder_counts_before_systemds_and_the_users():
    environ = {"STATE_DIRECTORY": "/var/lib/cradlewatch:/x", "XDG_STATE_HOME": "/s", "HOME": "/h"}
    assert state_path(Path("/mine"), "nursery", environ) == Path("/mine/nursery")
    assert state_path(None, "nursery", environ) == Path("/var/lib/cradlewatch/nursery")
    del environ["STATE_DIRECTORY"]
    assert state_path(None, "nursery", environ) == Path("/s/cradlewatch/nursery")
    del environ["XDG_STATE_HOME"]
    assert state_path(None, "nursery", environ) == Path("/h/.local/state/cradlewatch/nursery")


def test_a_folder_belongs_to_one_service_until_that_lets_it_go(tmp_path):
    path = tmp_path / "state" / "nursery"
    first = open_state_folder(path)
    assert first.path == path
    assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0
    with pytest.raises(ConfigError, match="Another cradlewatch") as caught:
        open_state_folder(path)
    assert "device.id" in caught.value.remedy
    first.close()
    open_state_folder(path).close()


def test_a_folder_that_cannot_be_used_costs_the_memory_and_not_the_hearing(tmp_path):
    shut = tmp_path / "shut"
    shut.mkdir()
    with out_of_reach(shut):
        state = open_state_folder(shut / "nursery")
    assert state.path is None
    assert str(shut) in state.fault
    state.close()


def test_no_descriptor_is_left_open(tmp_path):
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        open_state_folder(tmp_path / "x").close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_folder_that_does_not_answer_at_the_start_is_claimed_when_it_does(tmp_path):
    path = tmp_path / "nursery"
    path.mkdir()
    os.mkfifo(path / "lock")  # to open it waits for a writer
    state = open_state_folder(path, within_s=0.1)
    assert state.path == path
    assert "does not answer" in state.fault
    state.mend()
    assert "does not answer" in state.fault
    writer = os.open(path / "lock", os.O_WRONLY)
    wait_until(lambda: (state.mend(), not state.fault)[1], "it is ours")
    assert state.generation == 0
    with pytest.raises(ConfigError, match="Another cradlewatch"):
        open_state_folder(path)
    state.close()
    os.close(writer)


def test_what_an_earlier_version_let_others_read_is_made_private(tmp_path):
    path = tmp_path / "nursery"
    path.mkdir(mode=0o755)
    path.chmod(0o755)
    for name in ("outbox-mqtt.sqlite", "outbox-mqtt.sqlite-wal", "controls.json"):
        (path / name).touch()
        (path / name).chmod(0o644)
    open_state_folder(path).close()
    assert [file.name for file in (path, *path.iterdir()) if file.stat().st_mode & 0o077] == []


KEY = "4daf4e91775a"


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        ([], "cradlewatch-4daf"),  # a new monitor
        (["cradlewatch"], "cradlewatch"),  # one of the last release keeps its topics and entities
        (["cradlewatch", "cradlewatch-4daf"], "cradlewatch"),
        (["cradlewatch-4daf"], "cradlewatch-4daf"),
        (
            ["cradlewatch-0123"],
            "cradlewatch-0123",
        ),  # a card that was moved stays the device that the hub knows
        (["cradlewatch-0123", "cradlewatch-4daf"], "cradlewatch-4daf"),
        (["nursery", "cradlewatch-old", "cradlewatch-4dafff"], "cradlewatch-4daf"),
    ],
)
def test_without_an_id_a_monitor_is_called_after_its_machine_or_stays_what_it_was(tmp_path, there, expected):
    for name in there:
        (tmp_path / name).mkdir()
    assert default_device("cradlewatch", [tmp_path / "missing", tmp_path], KEY) == expected


def test_a_machine_without_a_key_has_the_plain_id(tmp_path):
    assert default_device("cradlewatch", [tmp_path], None) == "cradlewatch"


def test_two_machines_without_an_id_are_two_devices(tmp_path):
    assert default_device("cradlewatch", [tmp_path], "aaaa1") != default_device(
        "cradlewatch", [tmp_path], "bbbb1"
    )
