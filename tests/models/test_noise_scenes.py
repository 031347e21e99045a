import json

import numpy as np
import pytest

from models.training import corpus, evaluate, mixing, noise_scenes
from models.training.noise_scenes import CYCLING, STEADY, NoiseScenes, Wanted
from monitor.types import samples
from tests.models.corpus_folder import CorpusFolder, noise, tone

CACHE = "cache"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = CorpusFolder(tmp_path_factory.mktemp("data"))
    for number, hz in enumerate((500.0, 700.0)):
        about = {"group": f"b{number}", "mn04_cry": "0.9"}
        made.add(f"baby-{number}", tone(3.0, hz), label="cry", split="val", **about)
    made.add("elsewhere", tone(3.0, 300.0), label="cry", split="train", mn04_cry="0.9")
    made.add("fan", noise(4.0), label="fan", split="train")
    made.add("tap", noise(4.0), label="water", split="val")
    made.add("drum", noise(4.0), label="washing_machine", split="val")
    made.write()
    return made.root


@pytest.fixture(scope="module")
def maker(folder, tmp_path_factory):
    store = corpus.AudioStore(folder, tmp_path_factory.mktemp(CACHE))
    return NoiseScenes(corpus.load_manifest(folder), store, "val")


def parts(scene):
    """What lies before the bout and the bout itself, as float."""
    wave = scene.audio.astype(np.float32) / 32767.0
    (bout,) = scene.bouts
    start, stop = samples(bout.onset_s), samples(bout.offset_s)
    return wave[:start], wave[start:stop]


@pytest.mark.parametrize("noise_name", [*STEADY, *CYCLING])
def test_every_noise_has_its_level_and_the_cry_its_snr(maker, noise_name):
    before, bout = parts(maker.scene(Wanted(noise_name, -50.0, 20.0, 0)))
    if noise_name in STEADY:
        assert mixing.level_dbfs(before) == pytest.approx(-50.0, abs=0.7)
    assert mixing.active_level_dbfs(bout) == pytest.approx(-30.0, abs=0.3)
    assert len(bout) == samples(noise_scenes.BOUT_S)


def test_another_level_gives_the_same_samples_louder(maker):
    quiet, loud = (maker.scene(Wanted("pink", level, 5.0, 1)).audio.astype(float) for level in (-50.0, -40.0))
    np.testing.assert_allclose(loud, quiet * 10.0**0.5, atol=2.5)


def test_a_night_has_a_bout_of_another_baby_every_few_minutes(maker):
    night = maker.night(Wanted("white", -60.0, 10.0, 0), 60.0, 20.0)
    assert [bout.onset_s for bout in night.bouts] == [20.0, 40.0]
    assert len(night.audio) == samples(60.0)


def test_the_command_counts_each_scene_with_the_gate_asleep_and_awake(folder, tmp_path, capsys):
    argv = ["noise", "--split", "val", "--data", str(folder), "--cache", str(tmp_path / CACHE)]
    argv += ["--hours", "0.11", "--noises", "switched", "--jobs", "1", "--json", str(tmp_path / "n.json")]
    assert evaluate.main(argv) == 0
    told = json.loads((tmp_path / "n.json").read_text())["scenes"]
    assert [one["noise"] for one in told] == ["switched"]
    assert "found / always awake / bouts" in capsys.readouterr().out
    assert all(one["bouts"] == 1 for one in told)
    assert all(one["found"] <= one["bouts"] and one["awake_before"] <= 1.0 for one in told)
