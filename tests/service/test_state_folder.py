import stat
from pathlib import Path

import pytest

from monitor.errors import ConfigError
from monitor.service.state_folder import open_state_folder, state_path
from tests.access import out_of_reach


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
