"""The formats, character by character."""

import pytest

from monitor.cli import scan_formats
from monitor.cli.scan_formats import cause_text, clock_time, results_writer
from monitor.cli.scanner import FoundEpisode, Scanned
from monitor.errors import ConfigError
from monitor.types import Cause, CauseEstimate

PRIORS = dict.fromkeys(list(Cause)[:5], 0.2)
HUNGRY = CauseEstimate(
    answer=Cause.HUNGRY,
    probabilities={
        Cause.BELLY_PAIN: 0.1,
        Cause.BURPING: 0.05,
        Cause.DISCOMFORT: 0.05,
        Cause.HUNGRY: 0.7123456,
        Cause.TIRED: 0.0876544,
    },
    priors=PRIORS,
)
UNSURE = CauseEstimate(answer=Cause.UNSURE, probabilities=PRIORS, priors=PRIORS)
FIRST = FoundEpisode(onset_s=1.5, detected_s=2.16, offset_s=9.36, score=0.91234567, cause=HUNGRY)
SECOND = FoundEpisode(onset_s=3700.0, detected_s=3701.04, offset_s=3705.25, score=0.7, cause=UNSURE)
THIRD = FoundEpisode(onset_s=4000.0, detected_s=4001.0, offset_s=4002.0, score=0.7, cause=None)


def test_a_json_line_holds_exactly_the_promised_fields():
    assert scan_formats.jsonl("nacht ü.wav", [FIRST, SECOND, THIRD]) == (
        '{"file": "nacht \\u00fc.wav", "onset_s": 1.5, "detected_s": 2.16, "offset_s": 9.36, '
        '"score": 0.9123, "cause": {"answer": "hungry", "probabilities": {"belly_pain": 0.1, '
        '"burping": 0.05, "discomfort": 0.05, "hungry": 0.7123, "tired": 0.0877}}}\n'
        '{"file": "nacht \\u00fc.wav", "onset_s": 3700.0, "detected_s": 3701.04, "offset_s": 3705.25, '
        '"score": 0.7, "cause": "unsure"}\n'
        '{"file": "nacht \\u00fc.wav", "onset_s": 4000.0, "detected_s": 4001.0, "offset_s": 4002.0, '
        '"score": 0.7, "cause": "unsure"}\n'
    )


def test_a_label_track_is_what_audacity_imports():
    assert scan_formats.labels([FIRST, SECOND]) == (
        "1.500000\t9.360000\tcry 0.91 hungry 71%\n3700.000000\t3705.250000\tcry 0.70 unsure\n"
    )


def test_a_table_row_is_for_people():
    assert scan_formats.row("a.wav", FIRST) == [
        "a.wav",
        "0:00:01.5",
        "0:00:09.4",
        "7.9 s",
        "0.7 s",
        "0.91",
        "hungry 71%",
    ]


@pytest.mark.parametrize(
    ("position_s", "text"),
    [(0.0, "0:00:00.0"), (59.96, "0:01:00.0"), (3599.99, "1:00:00.0"), (36000.04, "10:00:00.0")],
)
def test_clock_time_carries_over(position_s, text):
    assert clock_time(position_s) == text


def test_no_cause_is_unsure():
    assert cause_text(None) == cause_text(UNSURE) == "unsure"


def test_labels_of_several_recordings_go_into_a_folder_one_track_each(tmp_path):
    files = [tmp_path / "a.wav", tmp_path / "b.wav"]
    with results_writer("labels", tmp_path, files) as write:
        write(Scanned(files[0], (FIRST,)))
        write(Scanned(files[1]))
    assert (tmp_path / "a.txt").read_text() == scan_formats.labels([FIRST])
    assert (tmp_path / "b.txt").read_text() == ""


def test_labels_of_several_recordings_without_a_folder_are_refused(tmp_path):
    files = [tmp_path / "a.wav", tmp_path / "b.wav"]
    with pytest.raises(ConfigError, match="Name an existing folder"), results_writer("labels", None, files):
        pass


def test_two_tracks_of_one_name_are_refused_before_the_work(tmp_path):
    files = [tmp_path / "x" / "a.wav", tmp_path / "y" / "a.wav"]
    with (
        pytest.raises(ConfigError, match="would both become"),
        results_writer("labels", tmp_path, files),
    ):
        pytest.fail("it was begun")


def test_a_label_track_that_exists_is_not_overwritten(tmp_path):
    track = tmp_path / "b.txt"
    track.write_text("my own")
    with (
        pytest.raises(ConfigError, match=r"b\.txt exists already .* another folder"),
        results_writer("labels", tmp_path, [tmp_path / "a.wav", tmp_path / "b.wav"]),
    ):
        pytest.fail("it was begun")
    assert track.read_text() == "my own"
    track.unlink()
    with results_writer("labels", tmp_path, [tmp_path / "a.wav", tmp_path / "b.wav"]) as write:
        track.write_text("made meanwhile")
        with pytest.raises(ConfigError, match="File exists"):
            write(Scanned(tmp_path / "b.wav", (FIRST,)))
    assert track.read_text() == "made meanwhile"


def test_one_recording_may_go_into_a_folder_too(tmp_path):
    with results_writer("labels", tmp_path, [tmp_path / "a.wav"]) as write:
        write(Scanned(tmp_path / "a.wav", (FIRST,)))
    assert (tmp_path / "a.txt").read_text() == scan_formats.labels([FIRST])


def test_an_output_that_cannot_be_written_is_named(tmp_path):
    target = tmp_path / "absent" / "out.jsonl"
    with pytest.raises(ConfigError, match="No such file"), results_writer("jsonl", target, []):
        pass
