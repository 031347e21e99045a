from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monitor.detect.activity import HOLD_HOPS, HOP
from monitor.detect.loading import load_pipeline
from monitor.detect.pipeline import Pipeline
from monitor.detect.settings import NEUTRAL_SENSITIVITY, DetectorSettings, Tuning
from monitor.types import (
    Block,
    Cause,
    EpisodeEnded,
    EpisodeStarted,
    EpisodeUpdated,
    Gap,
    GapReason,
    HopReport,
    SampleIndex,
)
from tests.signals import full_scale_square, noise, silence

NURSERY = Path(__file__).parents[2] / "monitor" / "demo" / "nursery.flac"


@pytest.fixture(scope="module")
def nursery() -> np.ndarray:
    return soundfile.read(NURSERY, dtype="int16")[0]


@pytest.fixture(scope="module")
def bouts() -> list[tuple[float, float]]:
    happenings = json.loads(NURSERY.with_suffix(".json").read_text())["happenings"]
    return [(h["onset_s"], h["offset_s"]) for h in happenings if h["kind"] == "cry_bout"]


def play(pipeline: Pipeline, samples: np.ndarray, sizes: list[int] | None = None) -> list:
    """Feed ``samples`` in blocks of the given sizes, over and over, and flush."""
    outputs, position, turn = [], 0, 0
    sizes = sizes or [len(samples)]
    while position < len(samples):
        block = samples[position : position + sizes[turn % len(sizes)]]
        outputs += pipeline.process(Block(SampleIndex(position), block))
        position += len(block)
        turn += 1
    return outputs + pipeline.flush()


def episodes(outputs: list) -> list:
    return [o for o in outputs if not isinstance(o, HopReport)]


def test_finds_each_bout_of_the_nursery_and_nothing_else(nursery, bouts):
    events = episodes(play(load_pipeline(DetectorSettings()), nursery))
    started = [e for e in events if isinstance(e, EpisodeStarted)]
    ended = [e for e in events if isinstance(e, EpisodeEnded)]
    assert len(started) == len(ended) == len(bouts)
    for start, end, (onset, offset) in zip(started, ended, bouts, strict=True):
        assert onset - 0.5 <= start.onset / 16000 <= onset + 2.0
        assert start.detected / 16000 - onset < 4.0
        assert abs(end.offset / 16000 - offset) < 2.0


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sizes=st.lists(st.integers(1, 30_000), min_size=1, max_size=5))
def test_block_sizes_do_not_matter(nursery, sizes):
    excerpt = nursery[12 * 16000 : 22 * 16000]
    if min(sizes) < 50:
        excerpt = excerpt[: 3 * 16000]
    assert play(load_pipeline(DetectorSettings()), excerpt, sizes) == play(
        load_pipeline(DetectorSettings()), excerpt
    )


def test_hops_tile_the_stream(nursery):
    reports = [
        o for o in play(load_pipeline(DetectorSettings()), nursery[:50_001]) if isinstance(o, HopReport)
    ]
    assert reports[0].start == 0
    assert reports[-1].stop == 50_001
    assert all(a.stop == b.start for a, b in pairwise(reports))


def test_sleeping_costs_no_detection(nursery, bouts):
    """The cheap stage may delay an onset by a hop at most; the pre-roll gives the model its past."""
    onset, _ = bouts[0]
    excerpt = nursery[: round((onset + 8) * 16000)]
    waking = next(
        o for o in play(load_pipeline(DetectorSettings()), excerpt) if isinstance(o, EpisodeStarted)
    )
    awake = next(
        o
        for o in play(load_pipeline(DetectorSettings(always_awake=True)), excerpt)
        if isinstance(o, EpisodeStarted)
    )
    assert waking.detected - awake.detected <= HOP


def test_cause_never_delays_the_alarm(nursery):
    excerpt = nursery[: 30 * 16000]
    with_cause = episodes(play(load_pipeline(DetectorSettings()), excerpt))
    without = episodes(play(load_pipeline(DetectorSettings(classify=False)), excerpt))
    assert [(type(e), e.detected, e.score) for e in with_cause] == [
        (type(e), e.detected, e.score) for e in without
    ]
    ended = with_cause[-1]
    assert isinstance(ended, EpisodeEnded)
    assert ended.cause is not None
    assert sum(ended.cause.probabilities.values()) == pytest.approx(1.0)
    assert set(ended.cause.probabilities) == set(Cause) - {Cause.UNSURE}
    assert without[-1].cause is None


def test_updates_carry_the_cause_once_it_is_known(nursery):
    updates = [
        o
        for o in play(load_pipeline(DetectorSettings()), nursery[: 30 * 16000])
        if isinstance(o, EpisodeUpdated)
    ]
    known = [u.cause is not None for u in updates]
    assert known == sorted(known)
    assert known[-1]


def test_short_gap_within_a_cry_raises_no_second_alarm(nursery, bouts):
    pipeline = load_pipeline(DetectorSettings())
    cut = round((bouts[0][0] + 5.0) * 16000)
    outputs = pipeline.process(Block(SampleIndex(0), nursery[:cut]))
    outputs += pipeline.process(Gap(SampleIndex(cut), 8000, GapReason.OVERRUN))
    outputs += pipeline.process(Block(SampleIndex(cut + 8000), nursery[cut + 8000 : 34 * 16000]))
    outputs += pipeline.flush()
    assert [type(e) for e in episodes(outputs) if not isinstance(e, EpisodeUpdated)] == [
        EpisodeStarted,
        EpisodeEnded,
    ]
    assert pipeline.stats().gaps == 1


def test_long_gap_closes_the_episode_as_truncated(nursery, bouts):
    pipeline = load_pipeline(DetectorSettings())
    cut = round((bouts[0][0] + 5.0) * 16000)
    pipeline.process(Block(SampleIndex(0), nursery[:cut]))
    (ended,) = episodes(pipeline.process(Gap(SampleIndex(cut), 60 * 16000, GapReason.DEVICE_LOST)))
    assert isinstance(ended, EpisodeEnded)
    assert ended.truncated
    assert ended.offset <= cut


def test_sensitivity_moves_when_an_episode_starts(nursery):
    def detected(sensitivity):
        pipeline = load_pipeline(DetectorSettings())
        pipeline.tune(Tuning(sensitivity))
        return [e.detected for e in play(pipeline, nursery) if isinstance(e, EpisodeStarted)]

    neutral, eager, wary = detected(50), detected(100), detected(0)
    assert neutral == detected(NEUTRAL_SENSITIVITY)
    assert sum(eager[: len(neutral)]) < sum(neutral)
    assert len(wary) < len(neutral) or sum(wary) > sum(neutral)


def test_a_longer_hold_ends_an_episode_later(nursery):
    pipeline = load_pipeline(DetectorSettings())
    assert pipeline.hang_over_s == 5.0
    pipeline.tune(Tuning(hang_over_s=2.0))
    assert pipeline.hang_over_s == 2.0
    first = next(e for e in play(pipeline, nursery) if isinstance(e, EpisodeEnded))
    assert 2.0 <= (first.at - first.offset) / 16000 < 2.3
    pipeline.tune(Tuning())
    assert pipeline.hang_over_s == 5.0


def test_positions_go_on_behind_a_gap():
    pipeline = load_pipeline(DetectorSettings())
    pipeline.process(Block(SampleIndex(0), noise(0.1, -50.0)))
    (rest,) = pipeline.process(Gap(SampleIndex(1600), 5000, GapReason.OVERRUN))
    assert (rest.start, rest.stop) == (0, 1600)
    (report,) = pipeline.process(Block(SampleIndex(6600), noise(0.24, -50.0)))
    assert (report.start, report.stop) == (6600, 6600 + HOP)


@pytest.mark.parametrize("position", [1, 4000])
def test_item_that_does_not_join_is_an_error(position):
    pipeline = load_pipeline(DetectorSettings())
    with pytest.raises(ValueError, match=f"starts at sample {position}, the stream is at 0"):
        pipeline.process(Block(SampleIndex(position), silence(0.1)))


@pytest.mark.parametrize(
    "samples",
    [silence(20.0), np.full(320_000, 12_000, np.int16), noise(20.0, -70.0), noise(20.0, -10.0)],
    ids=["digital silence", "DC", "quiet noise", "loud noise"],
)
def test_sounds_that_are_no_cry_raise_nothing(samples):
    outputs = play(load_pipeline(DetectorSettings()), samples)
    assert episodes(outputs) == []
    assert all(np.isfinite([o.level_dbfs, o.peak_dbfs, o.noise_floor_dbfs]).all() for o in outputs)


def test_full_scale_square_gives_finite_scores():
    outputs = play(load_pipeline(DetectorSettings()), full_scale_square(5.0))
    assert all(0.0 <= o.score <= 1.0 for o in outputs if isinstance(o, HopReport) and o.active)


def test_quiet_room_leaves_the_gate_model_asleep():
    pipeline = load_pipeline(DetectorSettings())
    play(pipeline, noise(60.0, -72.0))
    stats = pipeline.stats()
    # Awake at its start, and then for steady noise once in a great while.
    assert stats.hops == 250
    assert stats.awake_hops <= 2 * HOLD_HOPS
    assert stats.vad_calls <= 10


def test_single_sample_is_a_stream():
    (report,) = play(load_pipeline(DetectorSettings()), np.ones(1, np.int16))
    assert (report.start, report.stop) == (0, 1)


def test_empty_stream_says_nothing():
    assert load_pipeline(DetectorSettings()).flush() == []


def test_what_is_spared_is_not_asked_and_crying_is_found_all_the_same(nursery, bouts):
    pipeline = load_pipeline(DetectorSettings())
    pipeline.spare(cause=True, verifier=True)
    found = episodes(play(pipeline, nursery))
    ended = [event for event in found if isinstance(event, EpisodeEnded)]
    assert pipeline.stats().verified_hops == 0
    assert all(event.cause is None for event in ended)
    for onset_s, offset_s in bouts:
        assert any(e.onset < offset_s * 16_000 and e.offset > onset_s * 16_000 for e in ended)
