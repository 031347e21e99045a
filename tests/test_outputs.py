"""What an output may replace, with real files, links and pipes."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile

from monitor.errors import ConfigError
from monitor.outputs import Output

OURS = b"ours"


def output(path, *, inputs=(), force=False):
    return Output(path, "--output", inputs=inputs, is_ours=lambda head: head.startswith(OURS), force=force)


@pytest.mark.parametrize("kind", ["itself", "hard link", "symlink", "relative"])
@pytest.mark.parametrize("force", [False, True])
def test_an_input_is_never_replaced(tmp_path, monkeypatch, kind, force):
    monkeypatch.chdir(tmp_path)
    source = tmp_path / "night"
    source.write_bytes(OURS)
    other = tmp_path / "other"
    match kind:
        case "itself":
            other = source
        case "hard link":
            other.hardlink_to(source)
        case "symlink":
            other.symlink_to(source)
        case "relative":
            other = tmp_path.joinpath("..", tmp_path.name, "night").relative_to("/")
            monkeypatch.chdir("/")
    with pytest.raises(ConfigError, match=r"^--output .* is one of the files to be read\. Name another file"):
        output(other, inputs=[source], force=force)
    assert source.read_bytes() == OURS


def recording(path, **how):
    soundfile.write(path, np.zeros(4000, np.int16), 16_000, **how)
    return path


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize(
    "form", ["WAV", "FLAC", "OGG", "MP3", "AIFF", "AU", "CAF", "W64", "RF64", "VOC", "NIST"]
)
def test_a_recording_is_known_by_its_content(tmp_path, form, force):
    file = recording(tmp_path / "no-ending", format=form)
    before = file.read_bytes()
    with pytest.raises(ConfigError, match="is a recording by its content"):
        output(file, force=force)
    assert file.read_bytes() == before


@pytest.mark.parametrize("name", ["a.wav", "A.WAV", "a.m4a", "a.mkv"])
def test_a_recording_is_known_by_its_name_though_it_is_empty_or_not_there(tmp_path, name):
    for _ in range(2):
        with pytest.raises(ConfigError, match="is a recording by its name"):
            output(tmp_path / name, force=True)
        (tmp_path / name).touch()


def test_what_somebody_else_wrote_is_only_replaced_by_force(tmp_path):
    file = tmp_path / "x.txt"
    file.write_text("0.0\t1.0\tmy own label\n")
    with pytest.raises(ConfigError, match=r"has not written it\. Name another file, or add --force"):
        output(file)
    assert file.read_text() == "0.0\t1.0\tmy own label\n"
    output(file, force=True).write(b"new")
    assert file.read_bytes() == b"new"


@pytest.mark.parametrize("before", [None, b"", OURS])
def test_what_is_new_or_empty_or_ours_is_written_and_nothing_is_left_beside(tmp_path, before):
    file = tmp_path / "x.txt"
    if before is not None:
        file.write_bytes(before)
    target = output(file)
    assert (file.read_bytes() if file.exists() else None) == before, "nothing happens before the work is done"
    target.write(b"new")
    assert file.read_bytes() == b"new"
    assert [one.name for one in tmp_path.iterdir()] == ["x.txt"]


def test_a_file_made_meanwhile_is_kept(tmp_path):
    file = tmp_path / "x.txt"
    target = output(file)
    file.write_text("made meanwhile")
    with pytest.raises(ConfigError, match="cannot be written: File exists"):
        target.write(b"new")
    assert file.read_text() == "made meanwhile"


def test_a_folder_or_a_folder_that_is_not_there_is_refused_before_the_work(tmp_path):
    with pytest.raises(ConfigError, match="cannot be written: Is a directory"):
        output(tmp_path)
    with pytest.raises(ConfigError, match="cannot be written: No such file"):
        output(tmp_path / "absent" / "x")
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot be written: Not a directory"):
        output(tmp_path / "file" / "x")
    (tmp_path / "circle").symlink_to("circle")
    with pytest.raises(ConfigError, match="cannot be written: Too many levels of symbolic links"):
        output(tmp_path / "circle")


def test_a_pipe_takes_what_it_is_given(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    heard = []
    reader = threading.Thread(target=lambda: heard.append(pipe.read_bytes()))
    reader.start()
    output(pipe, inputs=[pipe]).write(b"new")
    reader.join(20)
    assert heard == [b"new"]


def test_standard_output_by_name_is_appended_to_as_the_shell_says(tmp_path):
    log = tmp_path / "log"
    log.write_text("before\n")
    program = (
        "from pathlib import Path; from monitor.outputs import Output; "
        "Output(Path('/dev/stdout'), '--output', inputs=(), is_ours=bool, force=False).write(b'new\\n')"
    )
    with log.open("ab") as stream:
        subprocess.run([sys.executable, "-c", program], stdout=stream, check=True, timeout=60)
    assert log.read_text() == "before\nnew\n"


def test_a_full_disk_gets_the_remedy_of_its_own():
    with pytest.raises(ConfigError, match=r"No space left on device\. Make room there"):
        output(Path("/dev/full")).write(OURS)
