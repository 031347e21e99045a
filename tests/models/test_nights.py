import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import soundfile

from models.training import corpus, mixing, nights
from models.training.backgrounds import Background, coloured_noise, without_silent_edges
from models.training.night_maker import NightMaker, NightRecipe
from monitor.errors import ConfigError
from tests.models.corpus_folder import RATE, CorpusFolder, noise, tone

RECIPE = NightRecipe("test", hours=2, seed=3, hour_s=300.0, bouts_per_hour=2, distractors_per_hour=8)
TONES_HZ = {"baby-a": 700.0, "baby-b": 1100.0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = CorpusFolder(tmp_path_factory.mktemp("data"))
    for number, (group, hz) in enumerate(TONES_HZ.items()):
        for part in range(2):
            x = np.concatenate(
                [np.zeros(RATE // 2, np.float32), tone(2.0, hz + 20 * part), tone(0.5, hz, 0.0)]
            )
            made.add(
                f"{group}-{part}", x, label="cry", split="test", group=group, mn04_cry=str(0.9 - 0.9 * number)
            )
    made.add("baby-c", tone(3.0, 300.0), label="cry", split="val", mn04_cry="0.9")
    made.add("short", tone(1.0, 200.0), label="cry", split="test", mn04_cry="0.9")
    made.add("upload", tone(3.0, 250.0), label="cry_unverified", split="test", verified="0")
    made.add("mixed", tone(3.0, 270.0), label="cry", split="test", source="cry_in_noise")
    made.add("dog", tone(1.0, 3000.0), label="dog", split="test")
    made.add("cat", tone(1.5, 2500.0), label="cat", split="test")
    made.add("rain", noise(5.0), label="rain", split="test")
    made.add("wind", noise(5.0), label="wind", split="val")
    for name, split in (("r-test", "test"), ("r-val", "val")):
        made.add_room(name, np.array([0.0, 0.0, 0.9, 0.1, 0.05]), split=split)
    made.write()
    return made


@pytest.fixture(scope="module")
def maker(folder, tmp_path_factory):
    return _maker(folder, RECIPE, tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def hours(maker):
    return [maker.hour(index) for index in range(2)]


def _maker(folder, recipe, cache):
    clips = corpus.load_manifest(folder.root)
    store = corpus.AudioStore(folder.root, cache)
    return NightMaker(recipe, clips, store, corpus.load_rooms(folder.root, recipe.split))


def _of(truth, kind):
    return [line for line in truth if line["type"] == kind]


def test_an_hour_is_the_same_again_and_its_neighbour_is_not(maker, hours):
    track, truth = maker.hour(0)
    np.testing.assert_array_equal(track, hours[0][0])
    assert truth == hours[0][1]
    assert hours[1][1] != truth


def test_a_longer_set_begins_with_the_shorter_one(folder, tmp_path):
    short = NightRecipe("test", hours=1, hour_s=200.0, bouts_per_hour=1, distractors_per_hour=3)
    for name, recipe in (("short", short), ("long", replace(short, hours=2))):
        nights.write_nights(recipe, folder.root, tmp_path / "cache", tmp_path / name)
    for kind in ("flac", "jsonl"):
        files = [tmp_path / name / f"hour-000.{kind}" for name in ("short", "long")]
        assert files[0].read_bytes() == files[1].read_bytes()
    assert len(json.loads((tmp_path / "long" / "nights.json").read_text())["hours"]) == 2


def test_hours_without_cries_hold_distractors_only(folder, tmp_path):
    recipe = replace(RECIPE, bouts_per_hour=0)
    quiet = _maker(folder, recipe, tmp_path)
    for index in range(5):  # five: each range of the microphone's gain comes once
        track, truth = quiet.hour(index)
        assert _of(truth, "bout") == []
        assert len(_of(truth, "distractor")) > 0
        assert not any(line["overlaps_bout"] for line in _of(truth, "distractor"))
        assert np.abs(track).max() <= 1.0


def test_no_cries_is_an_option(folder, tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(nights, "write_nights", lambda recipe, *_: made.append(recipe))
    argv = ["--split", "test", "--hours", "1", "--out", str(tmp_path), "--data", str(folder.root)]
    assert nights.main([*argv, "--no-cries"]) == 0
    assert nights.main(argv) == 0
    assert [recipe.bouts_per_hour for recipe in made] == [0, 6]


def test_hour_has_its_length_and_is_never_silent_nor_beyond_full_scale(hours):
    for track, _ in hours:
        assert len(track) == 300 * RATE
        assert np.abs(track).max() <= 1.0
        assert mixing.frame_levels_dbfs(track).min() > -98.0


def test_only_the_own_split_and_no_excluded_clip_is_used(hours):
    used = {clip for _, truth in hours for bout in _of(truth, "bout") for clip in bout["clips"]}
    used |= {line["clip"] for _, truth in hours for line in _of(truth, "distractor")}
    allowed = {f"audio/{name}.flac" for name in ("dog", "cat", "rain")}
    allowed |= {f"audio/{group}-{part}.flac" for group in TONES_HZ for part in range(2)}
    assert used <= allowed
    assert {line["room"] for _, truth in hours for line in _of(truth, "bout")} == {"r-test"}


def test_a_bout_is_one_baby_and_every_baby_comes_once_before_any_twice(hours):
    for _, truth in hours:
        bouts = _of(truth, "bout")
        assert sorted(bout["group"] for bout in bouts) == sorted(TONES_HZ)
        for bout in bouts:
            assert all(clip.startswith(f"audio/{bout['group']}") for clip in bout["clips"])


def test_bout_without_a_clear_cry_says_so(hours):
    doubtful = {bout["group"]: bout["doubtful"] for _, truth in hours for bout in _of(truth, "bout")}
    assert doubtful == {"baby-a": False, "baby-b": True}


def test_the_tone_of_the_baby_sounds_between_onset_and_offset_and_not_before(hours):
    for track, truth in hours:
        for bout in _of(truth, "bout"):
            hz = TONES_HZ[bout["group"]]
            onset, offset = round(bout["onset_s"] * RATE), round(bout["offset_s"] * RATE)
            inside = _tone_level(track[onset : onset + RATE // 2], hz)
            assert inside > _tone_level(track[max(0, onset - RATE // 2) : onset], hz) + 6.0
            assert (
                _tone_level(track[offset - RATE // 4 : offset], hz)
                > _tone_level(track[offset : offset + RATE // 4], hz) + 6.0
            )


def _tone_level(x, hz):
    spectrum = np.abs(np.fft.rfft(x * np.hanning(len(x)))) / len(x)
    near = np.abs(np.fft.rfftfreq(len(x), 1 / RATE) - hz) < 40
    return 20 * np.log10(spectrum[near].max() + 1e-9)


def test_audible_runs_lie_in_the_bout_and_sum_up_to_its_crying(hours):
    for _, truth in hours:
        for bout in _of(truth, "bout"):
            runs = bout["audible"]
            assert runs[0][0] == pytest.approx(bout["onset_s"], abs=0.01)
            assert runs[-1][1] == pytest.approx(bout["offset_s"], abs=0.01)
            assert sum(stop - start for start, stop in runs) == pytest.approx(
                bout["crying_s"], abs=0.02 * len(runs)
            )
            assert 0.0 < bout["active_fraction"] <= 1.0


def test_distractors_keep_clear_of_bouts_unless_they_say_so(hours):
    for _, truth in hours:
        for line in _of(truth, "distractor"):
            near = any(
                line["onset_s"] < bout["offset_s"] + 1.0 and line["offset_s"] > bout["onset_s"] - 1.0
                for bout in _of(truth, "bout")
            )
            assert line["overlaps_bout"] or not near


def test_backgrounds_fill_the_hour(hours):
    for _, truth in hours:
        stretches = _of(truth, "background")
        assert stretches[0]["onset_s"] == 0.0
        assert stretches[-1]["offset_s"] == 300.0
        assert all(a["offset_s"] == b["onset_s"] for a, b in pairwise(stretches))


def test_group_in_two_splits_is_refused(folder, tmp_path):
    clips = corpus.load_manifest(folder.root)
    store = corpus.AudioStore(folder.root, tmp_path)
    moved = [corpus.Clip(**{**_fields(clips[0]), "split": "val"}), *clips[1:]]
    with pytest.raises(ConfigError, match="baby-a"):
        NightMaker(RECIPE, moved, store, [])


def _fields(clip):
    return {name: getattr(clip, name) for name in clip.__slots__}


def test_split_without_rooms_is_refused(folder, tmp_path):
    with pytest.raises(ConfigError, match="lacks"):
        NightMaker(RECIPE, corpus.load_manifest(folder.root), corpus.AudioStore(folder.root, tmp_path), [])


def test_written_set_carries_audio_truth_and_recipe(folder, tmp_path):
    recipe = NightRecipe("test", hours=1, hour_s=200.0, bouts_per_hour=1, distractors_per_hour=3)
    nights.write_nights(recipe, folder.root, tmp_path / "cache", tmp_path / "out")
    about = json.loads((tmp_path / "out" / "nights.json").read_text())
    assert about["recipe"]["split"] == "test"
    assert about["data_sha256"] == corpus.manifest_hash(folder.root)
    samples, rate = soundfile.read(tmp_path / "out" / "hour-000.flac", dtype="int16")
    assert (rate, len(samples)) == (RATE, 200 * RATE)
    lines = [json.loads(line) for line in (tmp_path / "out" / "hour-000.jsonl").read_text().splitlines()]
    assert lines[0]["type"] == "hour"
    assert len(_of(lines, "bout")) == 1


@pytest.mark.parametrize(("exponent", "slope_db"), [(0.0, 0.0), (1.0, -3.0), (2.0, -6.0)])
def test_coloured_noise_falls_by_its_exponent_an_octave(exponent, slope_db):
    x = coloured_noise(RATE * 8, exponent, np.random.default_rng(0))
    power = np.abs(np.fft.rfft(x)) ** 2
    hz = np.fft.rfftfreq(len(x), 1 / RATE)
    octaves = [power[(hz >= low) & (hz < 2 * low)].mean() for low in (200, 400, 800, 1600)]
    np.testing.assert_allclose(np.diff(10 * np.log10(octaves)), slope_db, atol=0.5)


def test_padding_is_cut_off_before_a_clip_is_looped():
    x = np.concatenate([np.zeros(RATE, np.float32), noise(1.0), np.zeros(RATE, np.float32)])
    assert len(without_silent_edges(x)) == RATE


def test_background_without_recordings_is_noise():
    track, lines = Background([], np.random.default_rng(1)).make(RATE * 30)
    assert len(track) == RATE * 30
    assert not any("recording" in line["label"] for line in lines)


def test_missing_data_is_one_sentence_with_exit_code_2(tmp_path, capsys):
    argv = ["--split", "val", "--out", str(tmp_path / "out"), "--data", str(tmp_path / "none")]
    assert nights.main(argv) == 2
    assert "does not exist" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
