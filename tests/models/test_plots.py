import json

import pytest

pytest.importorskip("matplotlib", reason="matplotlib is not installed: make install-train")

from models.training import plots


def _interval(value, low=0.0, high=1.0):
    return {"value": value, "low": low, "high": high}


def _system(name, recall, alarms):
    dog = {
        "alarms": 2,
        "sounds": 3,
        "exposure_s": 36.0,
        "per_hour_of_exposure": _interval(200.0, 24.0, 722.0),
    }
    bands = {
        "-10 to 5 dB": _interval(recall) | {"bouts": 4},
        "5 to 10 dB": _interval(1.0) | {"bouts": 3},
        "20 to 60 dB": _interval(None) | {"bouts": 0},
    }
    return {
        "name": name,
        "recall": _interval(recall),
        "false_alarms_per_hour": _interval(alarms),
        "recall_by": {"SNR": bands},
        "false_alarms_by_label": {"dog": dog},
    }


def _scores():
    points = [
        {"threshold": t, "recall": _interval(1.0 - t), "alarms_per_hour": _interval(2.0 * (1.0 - t))}
        for t in (0.1, 0.5, 1.0)
    ]
    bins = {"steps": [9, 0, 1], "score": [0.1, None, 0.9], "crying": [1, 0, 1], "ece": 0.05}
    return {"points": points, "reliability": bins}


@pytest.fixture
def result():
    return {
        "hours": 24.0,
        "systems": [_system("cradlewatch", 0.9, 0.0), _system("mn04 zero-shot > 0.1", 0.7, 1.0)],
        "scores": {"cradlewatch": _scores(), "mn04 zero-shot": _scores()},
    }


def test_every_plot_is_a_png_800_pixels_wide(result, tmp_path):
    figures = tmp_path / "nights.json"
    figures.write_text(json.dumps(result))
    assert plots.main([str(figures), "--out", str(tmp_path / "plots")]) == 0
    drawn = sorted((tmp_path / "plots").iterdir())
    assert [path.name for path in drawn] == [
        "det.png", "false-alarms.png", "recall-by-snr.png", "reliability.png",
    ]  # fmt: skip
    for path in drawn:
        data = path.read_bytes()
        assert data[:8] == b"\x89PNG\r\n\x1a\n"
        assert int.from_bytes(data[16:20], "big") == 800


def test_same_figures_give_the_same_file(result, tmp_path):
    for name in ("a", "b"):
        plots.draw_nights(result, tmp_path / name)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_det_shows_each_network_as_a_curve_and_each_rule_as_a_mark(result):
    (axes,) = plots.det(result).axes
    assert [line.get_label() for line in axes.lines] == [
        "cradlewatch, any threshold",
        "cradlewatch, as released",
        "mn04 zero-shot, any threshold",
        "mn04 zero-shot, fixed rules",
    ]
    assert list(axes.lines[0].get_ydata()) == pytest.approx([100.0, 50.0, 10.0])
    assert list(axes.lines[0].get_xdata()) == pytest.approx([plots.FEWEST_PER_HOUR, 1.0, 1.8])
    assert axes.lines[0].get_drawstyle() == "steps-post"
    assert list(axes.lines[1].get_xdata()) == [plots.FEWEST_PER_HOUR]  # no false alarm: at the edge


def test_det_never_misses_more_where_more_false_alarms_are_allowed(result):
    own = result["scores"]["cradlewatch"]
    endless = {"threshold": 0.01, "recall": _interval(0.2), "alarms_per_hour": _interval(5.0)}
    own["points"].insert(0, endless)
    (axes,) = plots.det(result).axes
    assert list(axes.lines[0].get_ydata()) == pytest.approx([100.0, 50.0, 10.0, 10.0])


def test_axis_holds_every_bar_and_leaves_whiskers_of_seconds_out(result):
    (axes,) = plots.false_alarms(result).axes
    assert axes.get_xlim()[1] == pytest.approx(1.05 * 200.0)


def test_sound_that_the_split_lacks_is_named(result):
    (axes,) = plots.false_alarms(result).axes
    texts = [tick.get_text() for tick in axes.get_yticklabels()]
    assert "baby laugh (none in this split)" in texts
    assert "dog (0.6 min)" in texts


def test_bands_without_a_bout_are_left_out(result):
    (axes,) = plots.recall_by_snr(result).axes
    assert [tick.get_text() for tick in axes.get_xticklabels()] == [
        "-10 to 5 dB\n4 bouts",
        "5 to 10 dB\n3 bouts",
    ]


def test_other_files_are_refused_in_one_sentence(tmp_path, capsys):
    (tmp_path / "x.json").write_text("[]")
    assert plots.main([str(tmp_path / "x.json"), "--out", str(tmp_path)]) == 2
    assert "no evaluation on nights" in capsys.readouterr().err
