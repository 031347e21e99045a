"""What a scan must not destroy, and what it must not pass over in silence. Real files, the real command."""

import hashlib
import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from monitor.cli import main
from monitor.cli.recordings import recordings
from monitor.cli.scan_formats import results_writer
from monitor.cli.scanner import FoundEpisode, Scanned
from monitor.errors import ConfigError
from tests.access import out_of_reach
from tests.cli.programs import Program

UNREADABLE = ("a.m4a", "b.M4A", "c.mp4", "d.wma", "e.amr", "f.aac", "g.webm", "h.mkv")


@pytest.fixture
def folder(quiet, tmp_path):
    """Two recordings of a quiet room."""
    inside = tmp_path / "g"
    inside.mkdir()
    for name in ("a.wav", "b.wav"):
        shutil.copy(quiet, inside / name)
    return inside


def state(folder):
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("form", ["labels", "jsonl", "table"])
@pytest.mark.parametrize("force", [[], ["--force"]])
def test_a_shell_that_expands_the_output_costs_no_recording(folder, form, force, capsys):
    before = state(folder)
    expanded = sorted(map(str, folder.glob("*.wav")))
    assert main(["scan", "--format", form, *force, "--output", *expanded]) == 2
    assert "is a recording" in capsys.readouterr().err
    assert main(["scan", "--format", form, *force, expanded[0], "--output", expanded[0]]) == 2
    assert "is one of the files to be read" in capsys.readouterr().err
    assert main(["scan", "--format", form, *force, str(folder), "--output", expanded[1]]) == 2
    assert state(folder) == before


@pytest.mark.parametrize("form", ["labels", "jsonl", "table"])
def test_results_replace_earlier_results_but_nothing_made_by_hand(crying, tmp_path, form, capsys):
    output = tmp_path / "found.txt"
    arguments = ["scan", "--format", form, "--output", str(output), str(crying)]
    assert main(arguments) == 0
    found = output.read_text()
    assert found
    assert main(arguments) == 0, "our own are replaced"
    for mine in (
        "0.0\t1.0\tmy own\n",
        f"# checked by hand\n{found}",
        "1.234567\t9.876543\tcry 0.91 unsure\n",
        f"{found}checked by hand: the second one is the cat\n",
        f'{found}{{"checked": true}}\n',
    ):
        output.write_text(mine)
        assert main(arguments) == 2
        assert "exists, and Cradlewatch has not written it" in capsys.readouterr().err
        assert output.read_text() == mine
    assert main([*arguments, "--force"]) == 0
    assert output.read_text() == found
    assert [one.name for one in tmp_path.iterdir()] == ["found.txt"]


def test_a_label_that_was_moved_by_hand_is_kept(crying, tmp_path):
    output = tmp_path / "track.txt"
    arguments = ["scan", "--format", "labels", "--output", str(output), str(crying)]
    assert main(arguments) == 0
    onset, rest = output.read_text().split("\t", 1)
    moved = f"{float(onset) + 0.31003:.6f}\t{rest}"
    output.write_text(moved)
    assert main(arguments) == 2
    assert output.read_text() == moved


def test_a_dash_is_standard_output(crying, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["scan", "--format", "jsonl", "--output", "-", str(crying)]) == 0
    assert json.loads(capsys.readouterr().out)["file"] == str(crying)
    assert list(tmp_path.iterdir()) == []


def test_a_configuration_is_not_replaced_even_by_force(quiet, tmp_path):
    file = tmp_path / "c.toml"
    file.write_text("[detect]\npatient = true\n")
    assert main(["scan", "--config", str(file), "--output", str(file), "--force", str(quiet)]) == 2
    assert file.read_text() == "[detect]\npatient = true\n"


def test_an_interrupted_scan_leaves_the_earlier_results_and_nothing_beside(tmp_path):
    output = tmp_path / "found.txt"
    output.write_text("1.500000\t9.360000\tcry 0.91 unsure\n")
    before = output.read_text()
    found = FoundEpisode(onset_s=2.0, detected_s=3.0, offset_s=4.0, score=0.9, cause=None)

    def interrupted():
        with results_writer("jsonl", output, [tmp_path / "a.wav"]) as write:
            write(Scanned(tmp_path / "a.wav", (found,)))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert output.read_text() == before
    assert [one.name for one in tmp_path.iterdir()] == ["found.txt"]


@pytest.mark.parametrize("form", ["jsonl", "table"])
def test_what_is_missing_of_a_recording_is_reported_everywhere(crying, tmp_path, form, capsys):
    cut = tmp_path / "cut.wav"
    content = crying.read_bytes()
    cut.write_bytes(content[: len(content) * 2 // 3])
    assert main(["scan", "--format", form, str(cut)]) == 1
    told = capsys.readouterr()
    (sentence,) = told.err.splitlines()
    assert sentence.startswith(f"cradlewatch: warning: {cut}")
    if form == "jsonl":
        (found,) = map(json.loads, told.out.splitlines())
        assert found["onset_s"] > 0
        assert found["damaged_s"] > 1.0
        assert found["fault"] in sentence
    else:
        assert told.out.splitlines()[-1].split()[:2] == [str(cut), "damaged"]


def test_a_damaged_recording_without_a_cry_has_a_line_too(quiet, tmp_path, capsys):
    cut = tmp_path / "cut.wav"
    cut.write_bytes(quiet.read_bytes()[:200_000])
    assert main(["scan", "--format", "jsonl", str(cut)]) == 1
    (found,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert list(found) == [
        "file",
        "onset_s",
        "detected_s",
        "offset_s",
        "score",
        "cause",
        "fault",
        "damaged_s",
    ]
    assert found["onset_s"] is None
    assert found["damaged_s"] == pytest.approx(10.0 - 200_000 / 32_000, abs=0.01)


@pytest.mark.parametrize(
    ("name", "form"), [("a.caf", "CAF"), ("a.AU", "AU"), ("a.aifc", "AIFF"), ("a.snd", "AU")]
)
def test_every_format_that_can_be_read_is_found_in_a_folder(tmp_path, name, form, capsys):
    soundfile.write(tmp_path / name, np.zeros(16_000, np.int16), 16_000, format=form)
    assert main(["scan", str(tmp_path)]) == 0
    assert capsys.readouterr().err == ""


def test_recordings_that_cannot_be_read_are_counted_with_the_remedy(folder, capsys):
    for name in UNREADABLE:
        (folder / name).write_bytes(b"x")
    assert main(["scan", str(folder)]) == 1
    (sentence,) = capsys.readouterr().err.splitlines()
    assert sentence.startswith(f"cradlewatch: error: {len(UNREADABLE)} recordings in {folder} passed over")
    assert "2 .m4a" in sentence
    assert "ffmpeg -i" in sentence


def test_a_folder_of_nothing_that_can_be_read_says_so_and_why(tmp_path, capsys):
    (tmp_path / "a.m4a").write_bytes(b"x")
    assert main(["scan", str(tmp_path)]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert "1 recording in" in first
    assert "holds no recordings that can be read" in second


def test_what_is_hidden_in_a_folder_is_left_alone(folder, capsys):
    (folder / "._a.wav").write_bytes(b"\x00\x05\x16\x07Mac OS X")
    (folder / ".Trashes").mkdir()
    (folder / ".Trashes" / "old.wav").write_bytes(b"x")
    assert main(["scan", str(folder)]) == 0
    assert capsys.readouterr().err == ""


def test_a_subfolder_out_of_reach_is_reported_and_the_rest_is_found():
    complaints = []
    with tempfile.TemporaryDirectory() as name:  # not in tmp_path, which nobody else may enter
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "a.wav").touch()
        (folder / "closed").mkdir()
        with out_of_reach(folder / "closed"):
            assert recordings([folder], complaints.append) == [folder / "a.wav"]
            with pytest.raises(ConfigError, match="No recording was found in "):
                recordings([folder / "closed"], complaints.append)
    closed = f"The folder {folder / 'closed'} cannot be searched: Permission denied. Check the access rights."
    assert complaints == [closed, closed]


def test_links_in_a_circle_end_and_linked_folders_are_searched(folder, tmp_path, capsys):
    (folder / "circle").symlink_to(folder)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (folder / "linked").symlink_to(elsewhere)
    (elsewhere / "gone.wav").symlink_to("nowhere.wav")
    assert main(["scan", str(folder)]) == 1
    (sentence,) = capsys.readouterr().err.splitlines()
    assert "linked/gone.wav cannot be read: No such file or directory" in sentence


def test_what_is_reached_by_a_link_too_is_read_once_by_its_own_name(folder):
    (folder / "real").mkdir()
    (folder / "a.wav").rename(folder / "real" / "a.wav")
    (folder / "again").symlink_to("real")
    assert recordings([folder]) == [folder / "b.wav", folder / "real" / "a.wav"]


def test_a_name_that_begins_like_an_option_is_a_name_after_two_dashes(quiet, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copy(quiet, "-night.wav")
    assert main(["scan", "--", "-night.wav"]) == 0
    assert capsys.readouterr().err == ""


HOSTILE = "a\x1b[2Jb\nc\u202ed\u2028e\udcff.wav"


@pytest.mark.parametrize("content", ["cry", "damaged", "none"])
@pytest.mark.parametrize("form", ["table", "jsonl", "labels"])
def test_no_name_reaches_a_terminal_raw(crying, tmp_path, content, form):
    odd = tmp_path / HOSTILE
    audio = crying.read_bytes()
    odd.write_bytes({"cry": audio, "damaged": audio[:-30_000], "none": b"no audio"}[content])
    with Program("scan", "--format", form, str(odd)) as program:
        program.ended()
    for line in [*program.out, *program.err]:
        assert line.replace("\t", "").isprintable()
        assert "\udcff" not in line
    if content == "none":
        (line,) = program.err
        assert r"a\x1b[2Jb\nc\u202ed\u2028e\udcff.wav" in line
    if form == "jsonl" and content != "none":
        assert {json.loads(line)["file"] for line in program.out} == {str(odd)}
