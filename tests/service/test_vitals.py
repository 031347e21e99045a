import os
import shutil

import pytest

from monitor.service.machine import Machine
from monitor.service.mounts import MOUNT_INFO, is_read_only
from monitor.service.state_folder import StateFolder, open_state_folder
from monitor.service.vitals import VitalsWatch


@pytest.fixture
def state(tmp_path):
    folder = open_state_folder(tmp_path / "state")
    yield folder
    folder.close()


def test_readings_are_those_of_this_process_and_this_disk(tmp_path, state):
    vitals = VitalsWatch(Machine(tmp_path), state).read()
    assert 10 < vitals.memory_mb < 100_000
    assert 0 < vitals.open_files < 1
    space = os.statvfs(tmp_path)
    assert vitals.folder.free_mb == pytest.approx(space.f_bavail * space.f_frsize / 1e6, rel=0.1)
    assert (vitals.folder.read_only, vitals.folder.fault, vitals.changed_files) == (False, "", ())


def test_a_model_file_that_changes_is_told_until_it_is_put_back(tmp_path):
    model = tmp_path / "gate" / "model.onnx"
    model.parent.mkdir()
    model.write_bytes(b"weights")
    watch = VitalsWatch(Machine(tmp_path), StateFolder(None), files=[model])
    model.write_bytes(b"other weights")
    (reason,) = watch.read().changed_files
    assert reason.startswith("The model file gate/model.onnx was changed or removed")
    model.write_bytes(b"weights")
    assert watch.read().changed_files == ()
    model.unlink()
    assert len(watch.read().changed_files) == 1


def test_a_deleted_state_folder_is_made_and_locked_anew(tmp_path, state):
    watch = VitalsWatch(Machine(tmp_path), state)
    shutil.rmtree(state.path)
    assert "was deleted or replaced" in watch.read().folder.fault
    assert (state.path / "lock").exists()
    assert state.generation == 1
    with pytest.raises(Exception, match="Another cradlewatch runs"):
        open_state_folder(state.path)


def test_guards_are_called_with_each_reading(tmp_path):
    called = []
    watch = VitalsWatch(Machine(tmp_path), StateFolder(None), guards=[lambda: called.append(1)])
    watch.read()
    watch.read()
    assert called == [1, 1]


def mounts(root, *lines):
    (root / MOUNT_INFO).parent.mkdir(parents=True, exist_ok=True)
    (root / MOUNT_INFO).write_text("".join(f"{line}\n" for line in lines))


@pytest.mark.parametrize(
    ("options", "file_system", "expected"),
    [
        ("rw,relatime", "rw", False),
        ("ro,relatime", "rw", True),
        ("rw", "ro", True),
        ("rw", "rw,emergency_ro", True),
    ],
)
def test_the_nearest_mount_says_whether_it_takes_writes(tmp_path, options, file_system, expected):
    folder = tmp_path / "var lib"
    folder.mkdir()
    place = str(folder.resolve()).replace(" ", "\\040")
    mounts(
        tmp_path,
        "20 1 8:2 / / ro,relatime shared:1 - ext4 /dev/root rw",
        f"30 20 8:2 /var {place} {options} shared:2 - ext4 /dev/root {file_system}",
    )
    assert is_read_only(folder, tmp_path) is expected
    assert is_read_only(tmp_path, tmp_path)
