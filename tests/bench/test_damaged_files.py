"""The table of damaged files judges a loss that is not said, and a cry that is not found."""

from pathlib import Path

from monitor.cli.scanner import FoundEpisode, Scanned
from tests.bench.damaged_files import alone_s, evening, is_right
from tests.capture.damaged import Damaged, encoded

EPISODE = FoundEpisode(onset_s=1.0, detected_s=2.0, offset_s=9.0, score=0.9, cause=None)


def test_a_cry_that_can_be_heard_has_to_be_found():
    whole = Damaged("whole", b"")
    assert is_right(whole, Scanned(Path("a"), (EPISODE,)))
    assert not is_right(whole, Scanned(Path("a")))
    assert not is_right(Damaged("joined", b"", copies=2), Scanned(Path("a"), (EPISODE,)))


def test_a_loss_has_to_be_said():
    half = Damaged("half", b"", heard=0.5, says="missing")
    assert is_right(half, Scanned(Path("a"), fault="9.0 s are damaged or missing."))
    assert not is_right(half, Scanned(Path("a")))


def test_libsndfile_alone_believes_the_header(tmp_path):
    wav = encoded(evening(), "WAV", "PCM_16")
    (tmp_path / "a.wav").write_bytes(wav)
    assert alone_s(tmp_path / "a.wav") == 18.0
    (tmp_path / "a.wav").write_bytes(wav[:40] + bytes(4) + wav[44:])
    assert alone_s(tmp_path / "a.wav") == 0.0
