"""What of the states is published to the hub, and how many rows an hour of it costs."""

import itertools
import json

import pytest

from monitor.messages import CauseHint
from monitor.sinks import homeassistant
from monitor.sinks.hub_rates import SOUND_AT_LEAST_EVERY_S, HubRates
from monitor.sinks.hub_topics import Topics
from tests.bench.hub_rows import AIM, SCENES, count
from tests.sinks.hub_messages import confirmed
from tests.sinks.messages import HUNGRY, episode, telemetry
from tests.sinks.mqtt_room import settings_for

TOPICS = Topics.of(settings_for(1))
UNSURE = CauseHint(answer="unsure", probability=0.3, base_rate=0.2, probabilities={"hungry": 0.3})


def published(rates, message, now_s):
    """The last parts of the topics that get a state, in order."""
    made = homeassistant.publications(message, TOPICS, event_expiry_s=300)
    states = [state for state in made if state.retain]
    return [state.topic.rpartition("/")[2] for state in rates.worth(message, states, now_s)]


@pytest.mark.broker
@pytest.mark.parametrize("scene", SCENES)
def test_no_hour_fills_the_hub_s_database(tmp_path, scene):
    counted = count(scene, tmp_path)
    assert counted.total() <= AIM, counted
    assert counted["level"] >= 12, "the level is still shown"


def test_a_wandering_level_is_published_now_and_then_and_a_jump_at_once():
    rates = HubRates(TOPICS)
    assert published(rates, telemetry(level_dbfs=-60.0), 0) == ["telemetry", "sound"]
    assert published(rates, telemetry(level_dbfs=-58.0), 10) == ["telemetry"]
    assert published(rates, telemetry(level_dbfs=-40.0), 11) == ["telemetry", "sound"]
    assert published(rates, telemetry(level_dbfs=-40.0, score=0.9), 12) == ["telemetry", "sound"]


def test_a_level_that_stays_is_published_before_the_hub_takes_it_for_outdated():
    rates = HubRates(TOPICS)
    times = [
        second for second in range(0, 3600, 10) if "sound" in published(rates, telemetry(), float(second))
    ]
    longest = max(after - before for before, after in itertools.pairwise(times))
    assert longest == SOUND_AT_LEAST_EVERY_S
    for every_s in (0.24, 10.0, 120.0, 3600.0):
        settings = settings_for(1, report_every_s=every_s)
        told = json.loads(homeassistant.discovery(settings, Topics.of(settings), "1").payload)["cmps"]
        for key in ("score", "level"):
            assert told[key]["expire_after"] > SOUND_AT_LEAST_EVERY_S + 2 * every_s
        assert settings.telemetry_expiry_s >= 2 * every_s


def test_what_begins_escalates_or_ends_is_always_published():
    rates = HubRates(TOPICS)
    for number in range(100):
        for kind in ("started", "escalated", "ended"):
            assert "crying" in published(rates, episode(kind, episode_id=f"e{number}"), 0.0)


def test_a_cry_that_goes_on_is_shown_as_it_comes_and_then_by_the_minute():
    rates = HubRates(TOPICS)
    published(rates, episode(), 0.0)
    times = [t for t in range(5, 1800, 5) if published(rates, episode("updated"), float(t))]
    assert times[:10] == list(range(5, 55, 5))
    assert 15 <= len([t for t in times if t > 120]) <= 20


def test_a_cause_that_is_found_is_published_at_once():
    rates = HubRates(TOPICS)
    published(rates, episode(), 0.0)
    for t in range(100):
        published(rates, episode("updated", cause=UNSURE), float(t))
    assert published(rates, episode("updated", cause=HUNGRY), 101.0) == ["crying", "cause"]


def test_unsure_is_said_once():
    rates = HubRates(TOPICS)
    said = []
    for number in range(20):
        said += published(rates, episode(episode_id=f"e{number}"), 0.0)
        said += published(rates, episode("updated", cause=UNSURE), 5.0)
        said += published(rates, episode("ended", cause=UNSURE), 9.0)
    assert said.count("cause") == 2  # none yet, then unsure
    assert said.count("confirmed_cause") == 1


def test_a_cause_of_the_last_cry_does_not_stand_beside_this_one():
    rates = HubRates(TOPICS)
    published(rates, episode(), 0.0)
    assert "cause" in published(rates, episode("ended", cause=HUNGRY), 1.0)
    assert "cause" in published(rates, episode(episode_id="e2"), 2.0)


def test_what_a_parent_confirmed_of_the_last_cry_does_not_stand_beside_this_one():
    rates = HubRates(TOPICS)
    published(rates, episode(), 0.0)
    assert published(rates, confirmed(), 1.0) == ["confirmed_cause"]
    assert "confirmed_cause" in published(rates, episode(episode_id="e2"), 2.0)
