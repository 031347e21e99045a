import numpy as np

from models.training import kept_scores
from models.training.kept_scores import kept


def _counting(calls):
    def make():
        calls.append(1)
        return {"x": np.arange(3), "y": np.array([0.5])}

    return make


def test_second_time_comes_from_the_folder(tmp_path):
    source, calls = tmp_path / "a.bin", []
    source.write_bytes(b"a")
    for _ in range(2):
        arrays = kept(tmp_path / "cache", "v1", [source], _counting(calls))
        assert arrays["x"].tolist() == [0, 1, 2]
        assert arrays["y"].tolist() == [0.5]
    assert len(calls) == 1
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".npz"]


def test_other_version_or_other_bytes_are_computed_anew(tmp_path):
    one, two, calls = tmp_path / "a.bin", tmp_path / "b.bin", []
    one.write_bytes(b"a")
    two.write_bytes(b"b")
    for version, sources in (("v1", [one]), ("v2", [one]), ("v1", [two]), ("v1", [one, two])):
        kept(tmp_path / "cache", version, sources, _counting(calls))
    assert len(calls) == 4


def test_equal_bytes_in_another_place_are_the_same_source(tmp_path):
    one, two, calls = tmp_path / "a.bin", tmp_path / "b.bin", []
    one.write_bytes(b"a")
    two.write_bytes(b"a")
    for source in (one, two):
        kept(tmp_path / "cache", "v1", [source], _counting(calls))
    assert len(calls) == 1


def test_without_a_folder_nothing_is_kept():
    calls = []
    for _ in range(2):
        kept_scores.kept(None, "v1", [], _counting(calls))
    assert len(calls) == 2
