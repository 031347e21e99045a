import importlib
import json
import math

import numpy as np
import pytest
import soundfile

from models.training import evaluate, evaluate_clips, evaluate_nights, night_curves, night_score, night_tables
from models.training.corpus import Clip
from models.training.evaluate_clips import padded
from models.training.metrics import Episode
from models.training.night_hearing import GateLoss, Systems, gate_loss, hear_hour
from models.training.night_score import Hour, SystemHour
from models.training.streaming import Heard, Listener, awake_hops, tracked_episodes
from monitor.detect.activity import HOLD_HOPS, HOP, ActivityDetector
from monitor.detect.episode import EpisodeRules, EpisodeTracker, Tier
from monitor.detect.gate import ScoreSmoother
from monitor.detect.pipeline import Pipeline
from monitor.detect.settings import DetectorSettings
from monitor.detect.vad import Vad
from monitor.errors import ConfigError
from monitor.types import samples
from tests.models.corpus_folder import RATE, noise, tone

RULES = EpisodeRules(Tier(0.5, 2, 3), 0.4, samples(2.0), samples(5.0), samples(5.0))


class LoudnessGate:
    """A gate whose answer a test knows beforehand: loud is crying."""

    def reset(self):
        pass

    def process(self, frames):
        return np.full(3, 10.0 if frames.max() > 0.5 else -10.0, np.float32)


@pytest.fixture
def listener():
    activity = ActivityDetector(Vad(2), 5.0)
    return Listener(Pipeline(activity, LoudnessGate(), ScoreSmoother(0.0), EpisodeTracker(RULES), None))


def _int16(x):
    return np.rint(x * 32767).astype(np.int16)


def _evening():
    quiet = noise(10.0, amplitude=0.0003)
    return _int16(np.concatenate([quiet, tone(3.0, 1000.0), quiet]))


def test_episode_lies_where_the_sound_was(listener):
    heard = listener.listen(_evening())
    assert len(heard.episodes) == 1
    episode = heard.episodes[0]
    assert episode.onset_s == pytest.approx(10.0, abs=0.25)
    assert episode.detected_s == pytest.approx(episode.onset_s + 2 * 0.24)
    assert episode.offset_s == pytest.approx(13.0, abs=0.5)
    assert heard.crying_s == pytest.approx(3.0, abs=0.5)
    assert heard.top_score > 0.99
    assert heard.cpu_s > 0.0


def test_second_recording_is_heard_as_if_it_were_the_first(listener):
    first, second = listener.listen(_evening()), listener.listen(_evening())
    assert first.episodes == second.episodes
    np.testing.assert_array_equal(first.awake, second.awake)
    np.testing.assert_array_equal(first.hop_stops_s, second.hop_stops_s)


def test_one_hop_report_for_each_hop_and_the_rest(listener):
    hops = HOLD_HOPS + 3
    heard = listener.listen(np.zeros(HOP * hops + 100, np.int16))
    stops = [0.24 * k for k in range(1, hops + 1)]
    np.testing.assert_allclose(heard.hop_stops_s, [*stops, stops[-1] + 100 / RATE])
    # It begins awake, and silence lets it sleep.
    np.testing.assert_array_equal(np.isnan(heard.scores), [False] * HOLD_HOPS + [True] * 4)
    assert heard.top_score < 1e-4


def _heard(awake):
    stops = 0.24 * np.arange(1, len(awake) + 1)
    mask = np.array(awake, bool)
    return Heard((), 0.0, stops, mask, np.where(mask, 0.5, np.nan).astype(np.float32), 0.0)


def test_slept_time_counts_only_the_part_inside():
    heard = _heard([True, False, False, True])
    assert heard.slept_s(0.0, 0.96) == pytest.approx(0.48)
    assert heard.slept_s(0.36, 0.48) == pytest.approx(0.12)
    assert heard.slept_s(0.72, 0.96) == 0.0


def test_segment_is_lost_only_when_every_hop_of_it_slept():
    heard = _heard([True, False, False, True])
    loss = gate_loss(heard, [(0.30, 0.60), (0.30, 0.80), (0.00, 0.24)])
    assert (loss.segments, loss.segments_slept) == (3, 1)
    assert loss.audible_s == pytest.approx(0.3 + 0.5 + 0.24)
    assert loss.slept_s == pytest.approx(0.3 + 0.42)
    assert "1 of 3" in (loss + GateLoss()).sentence()


def _bout(onset, *, snr=10.0, room="r", doubtful=False):
    return {
        "type": "bout",
        "onset_s": onset,
        "offset_s": onset + 10.0,
        "crying_s": 6.0,
        "audible": [[onset, onset + 10.0]],
        "snr_db": snr,
        "room": room,
        "doubtful": doubtful,
    }


def _hour(name, bouts, distractors=(), bandwidth=None):
    about = {"duration_s": 3600.0, "bandwidth_hz": bandwidth, "clipped_share": 0.0}
    return Hour(name, about, tuple(bouts), tuple(distractors))


def _score():
    dog = {"type": "distractor", "label": "dog", "onset_s": 500.0, "offset_s": 505.0}
    hours = [
        _hour("a", [_bout(100.0, snr=2.0), _bout(200.0), _bout(300.0, doubtful=True)], [dog]),
        _hour("b", [_bout(100.0, room="q"), _bout(400.0)], bandwidth=4000.0),
    ]
    said = [
        SystemHour([Episode(201.0, 202.0, 208.0), Episode(501.0, 502.0, 504.0)], 10.0, 1.0),
        SystemHour([Episode(80.0, 81.0, 105.0), Episode(403.0, 404.0, 409.0)], 20.0, 3.0),
    ]
    return night_score.score_system("s", hours, said)


def test_recall_counts_clear_bouts_and_names_the_doubtful_apart():
    score = _score()
    assert score.recall()[0].value == 3 / 4
    assert score.recall_all()[0].value == 3 / 5
    assert [judged.delay_s for judged in score.clear()] == [None, 2.0, None, 4.0]
    assert score.delay_s(50.0) == 3.0
    assert score.without_delay() == 1


def test_false_alarm_carries_its_hour_and_its_sound():
    score = _score()
    assert [(hour, label) for hour, _, label in score.false_alarms] == [("a", "dog")]
    assert score.alarms_per_hour().value == 0.5
    assert score.cpu_s_per_hour == 2.0
    assert score.minutes_error == pytest.approx((30.0 - 30.0) / 60.0 / 2.0)


def test_strata_split_the_clear_bouts():
    score = _score()
    by = night_score.strata(score)
    assert score.recall(by["SNR"]["-10 to 5 dB"])[1] == 1
    assert score.recall(by["SNR"]["10 to 15 dB"])[1] == 3
    assert {name: score.recall(where)[1] for name, where in by["bandwidth"].items()} == {
        "4000 Hz": 2,
        "full": 2,
    }
    assert score.recall(by["room"]["q"])[0].value == 1.0


def _nights(folder, x):
    folder.mkdir()
    soundfile.write(folder / "hour-000.flac", x, RATE)
    lines = [{"type": "hour", "duration_s": len(x) / RATE, "bandwidth_hz": None, "clipped_share": 0.0}]
    lines.append(_bout(10.0) | {"offset_s": 13.0, "crying_s": 3.0, "audible": [[10.0, 13.0]]})
    (folder / "hour-000.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "nights.json").write_text(json.dumps({"hours": ["hour-000"]}))
    return folder


def test_rooms_are_told_by_reverberation_where_it_is_known():
    score = _score()
    by = night_score.strata(score, {"r": 0.2, "q": None, "elsewhere": 0.6})["room"]
    assert {name: score.recall(where)[1] for name, where in by.items()} == {
        "RT60 0.00 to 0.25 s": 3,
        "RT60 0.25 to 0.35 s": 0,
        "RT60 0.35 to 0.45 s": 0,
        "RT60 over 0.45 s": 0,
        "measured room, RT60 not stated": 1,
    }


def test_alarms_by_label_know_their_exposure():
    score = _score()
    assert score.labels["dog"].alarms == 1
    assert score.labels["dog"].exposure_s == 5.0
    assert score.labels["dog"].per_hour_of_exposure().value == pytest.approx(3600.0 / 5.0)


def test_sound_without_a_recording_has_a_row_that_says_so():
    score = _score()
    table = night_tables.named_sounds([score], score.labels)
    names, cells = list(table.columns[0].cells), list(table.columns[3].cells)
    assert cells[names.index("baby laugh")] == "no recording in this split"


def test_swept_scores_at_the_released_threshold_raise_what_the_pipeline_raised(listener):
    x = _evening()
    heard = listener.listen(x)
    episodes, crying_s = tracked_episodes(heard.track().scores.tolist(), heard.awake.tolist(), RULES)
    # The last hop is not whole: the state machine alone counts it in full.
    assert [(e.onset_s, e.detected_s) for e in episodes] == [
        (e.onset_s, e.detected_s) for e in heard.episodes
    ]
    assert crying_s == pytest.approx(heard.crying_s, abs=0.24)


def test_sleeping_hop_counts_only_while_an_episode_is_open():
    scores = [0.9] * 8
    calm, _ = tracked_episodes(scores, [False] * 8, RULES)
    begun, _ = tracked_episodes(scores, [True, True] + [False] * 6, RULES)
    assert calm == []
    assert [episode.offset_s for episode in begun] == pytest.approx([8 * 0.24])


def test_cheap_stage_wakes_at_the_sound():
    awake = awake_hops(_evening())
    stops = 0.24 * np.arange(1, len(awake) + 1)
    assert awake[(stops > 10.3) & (stops < 12.9)].all()
    assert not awake[(stops > 2.0) & (stops < 9.9)].any()


def test_unfinished_nights_are_refused_with_exit_code_2(tmp_path, capsys):
    assert evaluate.main(["nights", str(tmp_path)]) == 2
    assert "holds no finished nights" in capsys.readouterr().err


def test_missing_models_are_one_sentence(tmp_path, capsys):
    folder = _nights(tmp_path / "n", _evening())
    assert evaluate.main(["nights", str(folder), "--jobs", "1", "--artifacts", str(tmp_path / "none")]) == 2
    assert "none" in capsys.readouterr().err


def test_two_sets_of_one_name_are_refused(tmp_path, capsys):
    folders = [str(_nights(_made(tmp_path / part) / "n", _evening())) for part in ("a", "b")]
    assert evaluate.main(["nights", *folders, "--jobs", "1"]) == 2
    assert "same name" in capsys.readouterr().err


def _made(folder):
    folder.mkdir()
    return folder


def test_rivals_must_be_named_to_be_measured_alone(tmp_path, capsys):
    assert evaluate.main(["nights", str(tmp_path), "--only-rivals"]) == 2
    assert "--yamnet or --mn04" in capsys.readouterr().err


def test_released_detector_is_measured_with_its_curve(tmp_path):
    folder = _nights(tmp_path / "n", _evening())
    heard = hear_hour(Systems(DetectorSettings()), folder / "hour-000.flac")
    assert heard.hour.name == "n/hour-000"
    found = [counted.found for counted in heard.scored["cradlewatch"].counted]
    assert len(found) == len(night_curves.THRESHOLDS)
    assert sorted(found, reverse=True) == found  # one bout: once missed, a higher threshold misses it too
    track = heard.scored["cradlewatch"].track
    assert len(track.edges_s) == len(track.scores) + 1
    assert track.edges_s[-1] == pytest.approx(23.0)


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    """The whole command over an evening with a bout, and one in which nothing cries."""
    folder = tmp_path_factory.mktemp("evaluated")
    _nights(folder / "evening", _evening())
    quiet = _nights(folder / "quiet", _evening())
    truth = (quiet / "hour-000.jsonl").read_text().splitlines()[0]
    dog = {"type": "distractor", "label": "dog", "onset_s": 10.0, "offset_s": 13.0}
    (quiet / "hour-000.jsonl").write_text(f"{truth}\n{json.dumps(dog)}\n")
    argv = ["nights", str(folder / "evening"), str(quiet), "--jobs", "1", "--json", str(folder / "n.json")]
    argv += ["--set", "classify=false"]
    assert evaluate.main(argv) == 0
    assert evaluate.main([*argv, "--thresholds-from", str(folder / "n.json")]) == 0
    return folder / "n.json"


def test_evaluation_counts_both_sets_together(evaluated):
    result = json.loads(evaluated.read_text())
    (system,) = result["systems"]
    assert result["hours"] == pytest.approx(2 * 23.0 / 3600.0)
    assert system["recall"]["bouts"] == 1
    assert system["false_alarms_by_label"]["dog"]["exposure_s"] == 3.0
    points = result["scores"]["cradlewatch"]["points"]
    assert [point["threshold"] for point in points] == list(night_curves.THRESHOLDS)
    # The same sound is a bout in one set and none in the other: found where it is a false alarm. At the
    # lowest thresholds the noise at the very beginning, where the gate is awake, counts as crying too.
    for point in (point for point in points if point["threshold"] > 0.01):
        assert point["alarms_per_hour"]["value"] * result["hours"] == pytest.approx(point["recall"]["value"])


def test_thresholds_read_from_the_same_nights_give_the_same_points(evaluated):
    result = json.loads(evaluated.read_text())
    chosen = result["scores"]["cradlewatch"]["at"]
    for limit, point in result["thresholds_from"]["cradlewatch"].items():
        assert point == chosen[limit]


def test_evaluation_can_be_drawn(evaluated, tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: make install-train")
    plots = importlib.import_module("models.training.plots")
    assert len(plots.draw_nights(json.loads(evaluated.read_text()), tmp_path)) == 4


def test_file_without_curves_is_refused(tmp_path):
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(ConfigError, match="holds no curves"):
        evaluate_nights._thresholds(tmp_path / "x.json")


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("loudness=3", "no such setting"),
        ("onset_threshold=high", "not a number"),
        ("classify=1", "truth value"),
        ("model_form=int4", "no such form"),
    ],
)
def test_wrong_setting_names_key_and_value(assignment, message):
    with pytest.raises(ConfigError, match=message):
        evaluate.settings_with([assignment])


def test_settings_take_the_type_of_their_field():
    settings = evaluate.settings_with(["onset_threshold=0.7", "onset_hits=3", "classify=false"])
    assert settings == DetectorSettings(onset_threshold=0.7, onset_hits=3, classify=False)
    assert isinstance(settings.onset_hits, int)


def test_unknown_figures_become_null_in_json(tmp_path):
    assert evaluate._known({"a": [math.nan, 1.0], "b": math.inf}) == {"a": [None, 1.0], "b": None}


def test_clip_is_padded_by_quiet_noise_on_both_sides():
    x = padded(tone(1.0), np.random.default_rng(0))
    assert len(x) == 5 * RATE
    assert 0 < np.abs(x[: 2 * RATE]).max() < 50
    np.testing.assert_allclose(x[2 * RATE : 3 * RATE] / 32767.0, tone(1.0), atol=0.002)


def test_ranking_leaves_the_unverified_out():
    def one(label, score, group):
        fields = dict.fromkeys(Clip.__slots__) | {"label": label, "group": group}
        return evaluate_clips.ClipHeard(Clip(**fields), {}, score, GateLoss())

    heard = [one("cry", 0.9, "a"), one("cry", 0.4, "b"), one("dog", 0.5, "c"), one("cat", 0.1, "d")]
    ranking = evaluate_clips._ranking([*heard, one("cry_unverified", 1.0, "e")])
    assert ranking["AUC"].value == 3 / 4
    assert ranking["AP"].value == pytest.approx((1.0 + 2.0 / 3.0) / 2.0)
