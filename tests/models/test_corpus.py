from pathlib import Path

import numpy as np
import pytest

from models.training import corpus
from monitor.errors import AudioFileError, ConfigError
from tests.models.corpus_folder import CorpusFolder, noise, tone


@pytest.fixture
def folder(tmp_path):
    made = CorpusFolder(tmp_path / "data")
    made.add("cry-1", tone(1.0), label="cry", split="train", cause5="hungry", mn04_cry="0.9", age="0-4w")
    made.add("dog-1", noise(0.5), label="dog", split="test", verified="0", train_ok="0")
    made.add("slow", noise(1.0)[:8000], label="fan", split="val", rate=8000)
    made.add_room("small", np.array([0.0, 0.5, 0.25]), split="test")
    made.add_room("other", np.array([0.5, 0.1]), split="val")
    return made


def test_option_wins_over_environment(folder, monkeypatch, tmp_path):
    folder.write()
    monkeypatch.setenv(corpus.DATA_VARIABLE, str(tmp_path / "nowhere"))
    assert corpus.data_root(folder.root) == folder.root


def test_environment_is_used_without_option(folder, monkeypatch):
    monkeypatch.setenv(corpus.DATA_VARIABLE, str(folder.write()))
    assert corpus.data_root() == folder.root


def test_missing_folder_names_value_and_remedy(tmp_path, monkeypatch):
    monkeypatch.setenv(corpus.PRETRAINED_VARIABLE, str(tmp_path / "nowhere"))
    with pytest.raises(ConfigError, match=r"nowhere.*CRADLEWATCH_PRETRAINED.*--pretrained"):
        corpus.pretrained_root()


def test_folder_without_manifest_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"holds no manifest\.csv"):
        corpus.data_root(tmp_path)


def test_manifest_columns_become_typed_fields(folder):
    cry, dog, _ = corpus.load_manifest(folder.write())
    assert (cry.label, cry.cause5, cry.split, cry.age) == ("cry", "hungry", "train", "0-4w")
    assert (cry.train_ok, cry.verified, cry.mn04_cry, cry.duration_s) == (True, True, 0.9, 1.0)
    assert (dog.train_ok, dog.verified, dog.mn04_cry, dog.cause5, dog.near_dup_of) == (
        False,
        False,
        None,
        None,
        None,
    )


def test_unknown_split_is_refused_with_its_line(folder):
    folder.rows[1]["split"] = "dev"
    with pytest.raises(ConfigError, match="line 3"):
        corpus.load_manifest(folder.write())


def test_group_in_two_splits_is_refused(folder):
    folder.rows[1]["group"] = folder.rows[0]["group"]
    with pytest.raises(ConfigError, match="is in the splits train and test"):
        corpus.load_manifest(folder.write())


def test_store_gives_each_clip_its_own_samples(folder, tmp_path):
    clips = corpus.load_manifest(folder.write())
    store = corpus.AudioStore(folder.root, tmp_path / "cache")
    assert store.samples(clips[0]).dtype == np.float32
    np.testing.assert_allclose(store.samples(clips[0]), tone(1.0), atol=1.1 / 32768)
    np.testing.assert_allclose(store.samples(clips[1]), noise(0.5), atol=1.1 / 32768)
    assert store.length(clips[1]) == 8000


def test_store_brings_other_rates_to_16_khz(folder, tmp_path):
    clips = corpus.load_manifest(folder.write())
    assert corpus.AudioStore(folder.root, tmp_path / "cache").length(clips[2]) == 16_000


def test_second_store_reads_the_cache_and_not_the_clips(folder, tmp_path):
    clips = corpus.load_manifest(folder.write())
    first = corpus.AudioStore(folder.root, tmp_path / "cache").samples(clips[0])
    (folder.root / clips[0].path).unlink()
    second = corpus.AudioStore(folder.root, tmp_path / "cache").samples(clips[0])
    np.testing.assert_array_equal(first, second)


def test_changed_manifest_gets_a_cache_of_its_own(folder, tmp_path):
    folder.write()
    corpus.AudioStore(folder.root, tmp_path / "cache")
    folder.add("cat-1", noise(0.25), label="cat", split="val")
    clips = corpus.load_manifest(folder.write())
    assert corpus.AudioStore(folder.root, tmp_path / "cache").length(clips[-1]) == 4000


def test_damaged_clip_is_named(folder, tmp_path):
    folder.write()
    (folder.root / "audio" / "dog-1.flac").write_bytes(b"not audio")
    with pytest.raises(AudioFileError, match=r"dog-1\.flac"):
        corpus.AudioStore(folder.root, tmp_path / "cache")


def test_rooms_come_from_one_split_only(folder):
    rooms = corpus.load_rooms(folder.write(), "test")
    assert [room.name for room in rooms] == ["small"]
    np.testing.assert_allclose(rooms[0].response, [0.0, 0.5, 0.25], atol=1e-4)
    assert rooms[0].rt60_s is None
    assert len(corpus.load_rirs(folder.root, "train")) == 0


@pytest.mark.data
def test_public_manifest_has_the_counts_its_readme_states():
    try:
        root = corpus.data_root()
    except ConfigError as absent:
        pytest.skip(str(absent))
    clips = corpus.load_manifest(root)
    assert len(clips) == 2512
    assert sum(clip.train_ok for clip in clips) == 2088
    assert all(Path(clip.path).suffix == ".opus" for clip in clips)
