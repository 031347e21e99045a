import numpy as np
import pytest

from models.training import mixing
from monitor.types import SILENCE_DBFS
from tests.models.corpus_folder import noise, tone

SILENCE = np.zeros(16_000, dtype=np.float32)


def test_full_scale_square_is_zero_dbfs_and_half_is_six_below():
    square = np.where(np.arange(1600) % 2, 1.0, -1.0).astype(np.float32)
    assert mixing.level_dbfs(square) == pytest.approx(0.0, abs=1e-6)
    assert mixing.level_dbfs(square * 0.5) == pytest.approx(-6.0206, abs=1e-3)


@pytest.mark.parametrize("x", [SILENCE, SILENCE[:0]])
def test_silence_has_the_silence_level(x):
    assert mixing.level_dbfs(x) == SILENCE_DBFS
    assert mixing.active_level_dbfs(x) == SILENCE_DBFS


def test_frame_levels_count_only_the_samples_of_a_short_last_frame():
    levels = mixing.frame_levels_dbfs(np.full(480, 0.1, dtype=np.float32))
    np.testing.assert_allclose(levels, [-20.0, -20.0], atol=1e-4)


def test_active_mask_finds_the_tone_between_silences():
    x = np.concatenate([SILENCE, tone(1.0), SILENCE])
    assert mixing.runs(mixing.active_mask(x)) == [(50, 100)]


def test_active_mask_finds_the_loud_part_over_a_noise_floor():
    x = np.concatenate([noise(1.0, amplitude=0.003), tone(1.0), noise(1.0, 1, amplitude=0.003)])
    assert mixing.runs(mixing.active_mask(x)) == [(50, 100)]


def test_breath_is_bridged_and_a_long_pause_is_not():
    breath, pause = SILENCE[:3200], SILENCE
    x = np.concatenate([tone(0.5), breath, tone(0.5), pause, tone(0.5)])
    assert mixing.runs(mixing.active_mask(x)) == [(0, 60), (110, 135)]


def test_click_does_not_count_beside_a_cry_but_counts_alone():
    click = np.full(320, 0.5, dtype=np.float32)
    before_cry = np.concatenate([click, SILENCE, tone(0.5)])
    assert mixing.runs(mixing.active_mask(before_cry)) == [(51, 76)]
    assert mixing.runs(mixing.active_mask(np.concatenate([click, SILENCE]))) == [(0, 1)]


def test_steady_noise_is_active_throughout():
    assert mixing.active_mask(noise(2.0)).all()


def test_active_level_ignores_pauses():
    x = np.concatenate([tone(1.0), SILENCE, SILENCE, SILENCE])
    assert mixing.active_level_dbfs(x) == pytest.approx(mixing.level_dbfs(tone(1.0)), abs=0.01)
    assert mixing.level_dbfs(x) == pytest.approx(mixing.level_dbfs(tone(1.0)) - 6.02, abs=0.01)


@pytest.mark.parametrize("active", [False, True])
def test_at_level_reaches_the_level(active):
    x = mixing.at_level(np.concatenate([tone(1.0), SILENCE]), -33.0, active=active)
    measured = mixing.active_level_dbfs(x) if active else mixing.level_dbfs(x)
    assert measured == pytest.approx(-33.0, abs=0.01)


def test_at_level_leaves_silence_silent():
    assert not mixing.at_level(SILENCE, -20.0).any()


@pytest.mark.parametrize(("n", "m"), [(1, 1), (7, 3), (40_000, 255), (70_001, 4_407), (100, 40_000)])
def test_fft_convolution_equals_the_plain_sum(n, m):
    x, h = noise(5, 1)[:n], noise(5, 2)[:m]
    expected = np.convolve(x.astype(np.float64), h.astype(np.float64))
    np.testing.assert_allclose(mixing.fft_convolve(x, h), expected, atol=2e-5)


def test_room_keeps_the_onset_where_it_was():
    x = np.concatenate([SILENCE[:1000], tone(0.1)])
    rir = np.zeros(2000, dtype=np.float32)
    rir[[150, 400, 900]] = [0.8, 0.3, -0.2]
    wet = mixing.convolve_rir(x, rir)
    assert len(wet) == len(x)
    assert not np.abs(wet[:1000]).max() > 1e-6
    scale = 0.8 / np.sqrt(0.8**2 + 0.3**2 + 0.2**2)
    np.testing.assert_allclose(wet[1000:1250], x[1000:1250] * scale, atol=1e-5)


def test_room_tail_is_given_on_request():
    rir = np.array([0.0, 1.0, 0.0, 0.5], dtype=np.float32)
    wet = mixing.convolve_rir(np.array([1.0], dtype=np.float32), rir, tail=True)
    np.testing.assert_allclose(wet, np.array([1.0, 0.0, 0.5]) / np.sqrt(1.25), atol=1e-6)


def test_band_limit_passes_below_and_stops_above_without_delay():
    low, high = tone(0.5, 1000.0), tone(0.5, 4500.0)
    limited = mixing.band_limit(low + high, 4000.0)
    inner = slice(500, -500)
    np.testing.assert_allclose(limited[inner], low[inner], atol=1e-3)
    assert mixing.level_dbfs(mixing.band_limit(high, 4000.0)[inner]) < mixing.level_dbfs(high) - 70.0


def test_loop_has_the_length_and_no_step_at_the_joint():
    x = np.linspace(0.0, 0.5, 4000, dtype=np.float32)
    looped = mixing.loop_to_length(x, 20_000, crossfade=800)
    assert len(looped) == 20_000
    assert np.abs(np.diff(looped)).max() < 0.01


def test_loop_of_noise_keeps_its_level_through_the_joints():
    looped = mixing.loop_to_length(noise(1.0), 160_000, crossfade=4000, rng=np.random.default_rng(3))
    levels = [mixing.level_dbfs(part) for part in np.split(looped, 100)]
    assert np.ptp(levels) < 1.5


def test_loop_of_a_long_clip_is_its_beginning():
    np.testing.assert_array_equal(mixing.loop_to_length(noise(2.0), 16_000, 1600), noise(2.0)[:16_000])


def test_loop_of_nothing_is_refused():
    with pytest.raises(ValueError, match="empty"):
        mixing.loop_to_length(SILENCE[:0], 10, 2)


def test_speed_shortens_and_raises():
    fast = mixing.change_speed(tone(1.0, 500.0), 1.25)
    assert len(fast) == pytest.approx(12_800, abs=2)
    spectrum = np.abs(np.fft.rfft(fast[:12_800] * np.hanning(min(len(fast), 12_800))))
    assert np.argmax(spectrum) * 16_000 / 12_800 == pytest.approx(625.0, abs=2.0)


def test_hard_clipping_limits_and_leaves_the_rest():
    np.testing.assert_allclose(
        mixing.clip_hard(np.array([-2, 0.25, 0.9], np.float32), 0.5), [-0.5, 0.25, 0.5]
    )


def test_adding_outside_the_track_is_cut_off():
    track = np.zeros(4, dtype=np.float32)
    mixing.add_at(track, -1, np.array([9, 1], np.float32))
    mixing.add_at(track, 3, np.array([2, 9], np.float32))
    mixing.add_at(track, 8, np.array([9], np.float32))
    np.testing.assert_array_equal(track, [1, 0, 0, 2])
