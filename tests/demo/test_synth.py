"""The evening in the nursery: what happens is where the truth says, and the bundled file is it."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile

import monitor.demo
from monitor.demo import synth
from monitor.types import SAMPLE_RATE_HZ, samples
from tests.demo.test_voice import pitch_hz

BUNDLED = Path(monitor.demo.__file__).parent / "nursery.flac"
ROUNDING_LSB = 2
"""FFTs and sines differ in the last bit between CPUs and numpy versions; more than this is audible."""


@pytest.fixture(scope="module")
def scene():
    return synth.nursery()


def level_dbfs(scene, start_s, stop_s):
    part = scene.samples[samples(start_s) : samples(stop_s)] / 32_768.0
    return 20.0 * np.log10(np.sqrt(np.mean(part**2)) + 1e-9)


def of_kind(scene, *kinds):
    return [happening for happening in scene.happenings if happening.kind in kinds]


def test_bundled_recording_is_what_the_program_makes(scene):
    bundled, rate = soundfile.read(BUNDLED, dtype="int16")
    assert rate == SAMPLE_RATE_HZ
    assert bundled.shape == scene.samples.shape
    assert np.abs(bundled.astype(int) - scene.samples).max() <= ROUNDING_LSB


def test_bundled_truth_is_what_the_program_says(scene):
    assert json.loads(BUNDLED.with_suffix(".json").read_text()) == json.loads(json.dumps(scene.truth()))


def test_bundled_recording_is_small():
    assert BUNDLED.stat().st_size < 1_200_000


def test_another_seed_is_another_evening(scene):
    other = synth.nursery(synth.SEED + 1)
    assert not np.array_equal(other.samples, scene.samples)
    assert other.seed == synth.SEED + 1


def test_nothing_clips(scene):
    assert np.abs(scene.samples.astype(int)).max() < 32_000


def test_calm_room_is_quiet(scene):
    assert level_dbfs(scene, 0.0, 2.5) == pytest.approx(synth.ROOM_DBFS, abs=1.5)
    assert level_dbfs(scene, 66.0, 70.0) == pytest.approx(synth.ROOM_DBFS, abs=1.5)


def test_every_thing_begins_and_ends_where_the_truth_says(scene):
    for one in of_kind(scene, "door", "speech", "rustle", "kettle", "clatter", "cry_bout"):
        before = level_dbfs(scene, one.onset_s - 0.1, one.onset_s)
        behind = level_dbfs(scene, one.onset_s, one.onset_s + 0.25)
        after = level_dbfs(scene, one.offset_s + 0.5, one.offset_s + 0.9)
        assert behind > before + 5.0, one
        assert behind > after + 5.0 or one.kind == "cry_bout", one


def test_two_bouts_of_which_the_second_is_fainter(scene):
    first, second = of_kind(scene, "cry_bout")
    assert 12.0 <= first.offset_s - first.onset_s <= 15.0
    assert 9.0 <= second.offset_s - second.onset_s <= 12.0
    loud, faint = (level_dbfs(scene, bout.onset_s, bout.offset_s) for bout in (first, second))
    assert loud - faint > 10.0


def test_cries_last_and_pause_as_infants_do(scene):
    for bout in of_kind(scene, "cry_bout"):
        cries = [c for c in of_kind(scene, "cry") if bout.onset_s <= c.onset_s < bout.offset_s]
        assert len(cries) >= 6
        assert (cries[0].onset_s, cries[-1].offset_s) == (bout.onset_s, bout.offset_s)
        for cry, following in pairwise(cries):
            assert 0.6 <= cry.offset_s - cry.onset_s <= 1.5
            assert 0.3 <= following.onset_s - cry.offset_s <= 0.8


def test_bout_begins_softly(scene):
    cries = [c for c in of_kind(scene, "cry") if c.onset_s < 30.0]
    levels = [level_dbfs(scene, c.onset_s, c.offset_s) for c in cries]
    assert levels[0] < np.median(levels[3:]) - 3.0


def test_cries_have_the_pitch_that_the_truth_says(scene):
    for cry in of_kind(scene, "cry"):
        starts = range(samples(cry.onset_s + 0.15), samples(cry.offset_s - 0.2), 800)
        measured = np.median(
            [pitch_hz(scene.samples[s : s + 800].astype(float), 330.0, 650.0) for s in starts]
        )
        assert measured == pytest.approx(cry.f0_hz, rel=0.12), cry


def test_breath_is_heard_between_cries(scene):
    cries = [c for c in of_kind(scene, "cry") if 18.0 < c.onset_s < 27.0]
    for cry, following in pairwise(cries):
        breath = level_dbfs(scene, following.onset_s - 0.2, following.onset_s - 0.06)
        assert synth.ROOM_DBFS + 6.0 < breath < level_dbfs(scene, cry.onset_s, cry.offset_s) - 8.0


def test_command_writes_audio_and_truth(tmp_path, capsys, monkeypatch, scene):
    monkeypatch.setattr(synth, "nursery", lambda seed: scene)
    assert synth.main([str(tmp_path / "evening.flac")]) == 0
    audio, rate = soundfile.read(tmp_path / "evening.flac", dtype="int16")
    assert rate == SAMPLE_RATE_HZ
    assert np.array_equal(audio, scene.samples)
    assert json.loads((tmp_path / "evening.json").read_text())["seed"] == synth.SEED
    assert "evening.flac" in capsys.readouterr().out


def test_a_recording_of_somebody_else_is_not_replaced(tmp_path, capsys):
    mine = tmp_path / "mine.flac"
    mine.write_bytes(b"fLaC, my own")
    with pytest.raises(SystemExit):
        synth.main([str(mine)])
    assert "was not made by this program" in capsys.readouterr().err
    assert mine.read_bytes() == b"fLaC, my own"
