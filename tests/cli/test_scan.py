"""Real recordings through the real models, by way of the command."""

import json
import os

import pytest
import soundfile

from monitor.cli import main
from monitor.cli.scan import recordings
from monitor.errors import ConfigError
from tests.access import out_of_reach
from tests.cli.programs import Program


def lines(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_cry_is_found_where_it_is_and_a_quiet_room_is_quiet(crying, quiet, capsys):
    assert main(["scan", "--format", "jsonl", str(crying), str(quiet)]) == 0
    (found,) = lines(capsys.readouterr().out)
    assert list(found) == ["file", "onset_s", "detected_s", "offset_s", "score", "cause"]
    assert found["file"] == str(crying)
    # The onset is the first hop that both networks are sure of.
    assert found["onset_s"] == pytest.approx(1.0, abs=2.0)
    assert found["onset_s"] < found["detected_s"] < found["onset_s"] + 3.0
    assert found["detected_s"] < found["offset_s"]
    assert 0.5 < found["score"] <= 1.0


def test_each_format_tells_of_the_same_cry(crying, tmp_path, capsys):
    assert main(["scan", "--format", "jsonl", str(crying)]) == 0
    (found,) = lines(capsys.readouterr().out)
    track = tmp_path / "track.txt"
    assert main(["scan", "--format", "labels", "--output", str(track), str(crying)]) == 0
    onset, offset, label = track.read_text().rstrip("\n").split("\t")
    assert (float(onset), float(offset)) == (found["onset_s"], found["offset_s"])
    assert label.startswith("cry ")
    assert main(["scan", str(crying)]) == 0
    head, row = capsys.readouterr().out.splitlines()
    assert head.split()[0] == "file"
    assert row.startswith(str(crying))


def test_rate_and_channels_do_not_move_the_cry(crying, tmp_path, capsys):
    audio, rate_hz = soundfile.read(crying)
    stereo = tmp_path / "stereo.wav"
    soundfile.write(stereo, [[0.0, sample] for sample in audio], rate_hz)
    assert main(["scan", "--format", "jsonl", "--channel", "1", str(stereo), str(crying)]) == 0
    first, second = lines(capsys.readouterr().out)
    assert first["onset_s"] == second["onset_s"]
    assert main(["scan", "--format", "jsonl", "--channel", "0", str(stereo)]) == 1
    [empty] = lines(capsys.readouterr().out)
    assert empty["onset_s"] is None
    assert "the chosen channel is silent, channel 1 is not" in empty["fault"]


def test_a_file_that_cannot_be_read_is_named_and_the_rest_goes_on(crying, tmp_path, capsys):
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"this is no audio")
    assert main(["scan", "--format", "jsonl", str(broken), str(crying)]) == 1
    told = capsys.readouterr()
    assert told.err.startswith(f"cradlewatch: error: {broken}")
    assert len(told.err.splitlines()) == 1
    assert len(lines(told.out)) == 1


def test_a_path_that_cannot_even_be_looked_at_is_named_and_the_rest_goes_on(crying, capsys):
    assert main(["scan", "--format", "jsonl", f"{'x' * 300}.wav", str(crying)]) == 1
    told = capsys.readouterr()
    assert told.err.endswith("x.wav cannot be read: File name too long.\n")
    assert len(lines(told.out)) == 1


def test_a_path_out_of_reach_is_left_to_its_reader(tmp_path):
    with out_of_reach(tmp_path):
        assert recordings([tmp_path / "a.wav"]) == [tmp_path / "a.wav"]


@pytest.mark.parametrize("form", ["table", "jsonl"])
def test_a_file_name_that_is_no_utf8_costs_no_result(form, crying, tmp_path):
    odd = tmp_path / os.fsdecode(b"nacht \xff.wav")
    odd.symlink_to(crying)
    with Program("scan", "--format", form, str(odd)) as program:
        assert program.ended() == 0, program.err
    assert r"nacht \udcff.wav" in program.out[-1]
    assert form == "table" or json.loads(program.out[-1])["file"] == str(odd)


def test_when_nothing_can_be_read_the_exit_code_says_so(tmp_path, capsys):
    assert main(["scan", str(tmp_path / "absent.wav")]) == 2
    assert "absent.wav cannot be read: No such file or directory." in capsys.readouterr().err


def test_several_jobs_give_the_same_output_in_the_same_order(crying, quiet, tmp_path, capsys):
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"this is no audio")
    files = [str(path) for path in (crying, broken, quiet)]
    assert main(["scan", "--format", "jsonl", *files]) == 1
    alone = capsys.readouterr()
    with Program("scan", "--format", "jsonl", "--jobs", "2", *files) as program:
        assert program.ended() == 1
    assert program.out == alone.out.splitlines()
    assert program.err == alone.err.splitlines()


def test_folders_are_searched_in_order_and_once(tmp_path):
    (tmp_path / "b").mkdir()
    for name in ("b/z.FLAC", "a.wav", "notes.txt"):
        (tmp_path / name).touch()
    assert recordings([tmp_path, tmp_path / "a.wav"]) == [tmp_path / "a.wav", tmp_path / "b" / "z.FLAC"]


def test_a_folder_without_recordings_is_a_mistake(tmp_path):
    with pytest.raises(ConfigError, match="holds no recordings"):
        recordings([tmp_path])


@pytest.mark.parametrize(("flag", "value"), [("--jobs", "0"), ("--jobs", "x"), ("--channel", "-1")])
def test_a_count_that_is_none_is_refused(flag, value, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["scan", f"{flag}={value}", "x.wav"])
    assert stop.value.code == 2
    assert "is not a whole number" in capsys.readouterr().err
