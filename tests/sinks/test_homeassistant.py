import json
from pathlib import Path

import pytest

from monitor.messages import CauseHint
from monitor.sinks import homeassistant
from monitor.sinks.homeassistant import Topics
from monitor.sinks.mqtt_settings import MqttSettings
from tests.sinks.messages import HUNGRY, episode, health, telemetry

GOLDEN = Path(__file__).parents[1] / "golden" / "discovery-nursery.json"

SETTINGS = MqttSettings(host="hub", device="nursery", device_name="Nursery", password="hunter2")
TOPICS = Topics.of(SETTINGS)


def discovery(settings=SETTINGS):
    return homeassistant.discovery(settings, Topics.of(settings), "0.1.0")


def components():
    return json.loads(discovery().payload)["cmps"]


def made(message):
    return homeassistant.publications(message, TOPICS, event_expiry_s=300)


def test_the_discovery_message_is_the_reviewed_one():
    # Rewrite with: python -m tests.golden.discovery > tests/golden/discovery-nursery.json
    assert json.loads(discovery().payload) == json.loads(GOLDEN.read_text())


def test_discovery_is_one_retained_message_for_the_device():
    assert discovery().topic == "homeassistant/device/cradlewatch_nursery/config"
    assert discovery().retain


def test_every_entity_has_an_identity_that_names_the_device():
    identities = [component["unique_id"] for component in components().values()]
    assert len(set(identities)) == len(identities) == 8
    for name, component in components().items():
        assert component["unique_id"] == f"cradlewatch_nursery_{name}"
        assert component["default_entity_id"] == f"{component['p']}.nursery_{name}"


def test_two_devices_share_no_topic_and_no_identity():
    other = MqttSettings(host="hub", device="living-room")
    mine, theirs = json.loads(discovery().payload), json.loads(discovery(other).payload)
    assert theirs["dev"]["ids"] == ["cradlewatch_living_room"]
    assert theirs["cmps"]["crying"]["state_topic"] == "cradlewatch/living-room/crying"
    assert theirs["cmps"]["crying"]["default_entity_id"] == "binary_sensor.living_room_crying"
    assert mine["cmps"]["crying"]["unique_id"] != theirs["cmps"]["crying"]["unique_id"]
    assert discovery().topic != discovery(other).topic


def test_the_level_promises_no_calibrated_sound_pressure():
    assert "device_class" not in components()["level"]
    assert components()["level"]["unit_of_measurement"] == "dBFS"


def test_crying_carries_its_details_in_its_own_message():
    crying = components()["crying"]
    assert crying["json_attributes_topic"] == crying["state_topic"] == "cradlewatch/nursery/crying"
    assert crying["device_class"] == "sound"


def test_what_hears_depends_on_the_microphone_and_the_faults_only_on_the_link():
    for name in ("crying", "score", "level"):
        topics = [entry["topic"] for entry in components()[name]["availability"]]
        assert topics == ["cradlewatch/nursery/availability", "cradlewatch/nursery/health"]
        assert components()[name]["availability_mode"] == "all"
    for name in ("microphone_fault", "signal_fault", "cry"):
        assert components()[name]["availability_topic"] == "cradlewatch/nursery/availability"
    assert not {"availability", "availability_topic"} & set(components()["connectivity"])


def test_what_hears_is_unavailable_in_every_fault_and_without_a_microphone():
    for name in ("crying", "score", "level"):
        template = components()[name]["availability"][1]["value_template"]
        assert "if value_json.microphone_ok and value_json.state != 'fault' else 'offline'" in template


def test_the_area_is_the_devices_name_unless_told_otherwise():
    chosen = MqttSettings(host="hub", device="nursery", device_name="Monitor", suggested_area="Attic")
    assert json.loads(discovery(chosen).payload)["dev"]["sa"] == "Attic"
    assert json.loads(discovery().payload)["dev"]["sa"] == "Nursery"


def test_all_causes_that_can_be_told_are_options():
    answers = CauseHint.model_json_schema()["properties"]["answer"]["enum"]
    assert sorted(components()["cause"]["options"]) == sorted(answers)


def test_a_start_sets_the_state_before_it_fires_the_event():
    state, event = made(episode())
    assert (state.topic, state.retain) == ("cradlewatch/nursery/crying", True)
    assert (event.topic, event.retain) == ("cradlewatch/nursery/cry", False)
    assert event.expiry_s == 300
    told = json.loads(state.payload)
    assert told["state"] == "ON"
    assert told["onset_at"] == "2026-11-22T03:04:05.678Z"
    assert told["episode_id"] == "e1"
    assert {key: value for key, value in told.items() if key != "state"} == json.loads(event.payload)


def test_every_event_has_a_type_that_was_announced():
    for event_type in ("started", "updated", "ended"):
        event = json.loads(made(episode(event_type))[-1].payload)
        assert event["event_type"] in components()["cry"]["event_types"]


def test_the_state_is_on_until_the_end():
    states = [json.loads(made(episode(kind))[0].payload)["state"] for kind in ("started", "updated", "ended")]
    assert states == ["ON", "ON", "OFF"]


def test_updates_of_an_episode_share_a_key_and_nothing_else_does():
    keys = [made(episode(kind, number))[-1].key for number in (1, 2) for kind in ("started", "updated")]
    assert len(set(keys)) == 3
    assert made(episode("updated", 9, episode_id="e2"))[-1].key not in keys


def test_a_cause_is_told_with_its_odds_once_there_is_one():
    assert [p.topic for p in made(episode("updated"))] == [TOPICS.crying, TOPICS.cry]
    cause = made(episode("updated", cause=HUNGRY))[1]
    assert (cause.topic, cause.retain) == ("cradlewatch/nursery/cause", True)
    told = json.loads(cause.payload)
    assert (told["cause"], told["probability"], told["base_rate"]) == ("hungry", 0.62, 0.4)
    assert (told["episode_id"], told["onset_at"]) == ("e1", "2026-11-22T03:04:05.678Z")


def test_telemetry_and_health_are_states():
    (level,) = made(telemetry())
    assert (level.topic, level.retain) == ("cradlewatch/nursery/telemetry", True)
    assert level.expiry_s == 60, "an old level must not pass for the level now"
    (condition,) = made(health(microphone_ok=False))
    assert (condition.topic, condition.retain, condition.expiry_s) == (
        "cradlewatch/nursery/health",
        True,
        None,
    )
    assert json.loads(condition.payload)["microphone_ok"] is False


def test_before_the_first_cry_it_is_calm():
    calm = homeassistant.calm(TOPICS)
    assert (calm.topic, json.loads(calm.payload), calm.retain) == (TOPICS.crying, {"state": "OFF"}, True)


@pytest.mark.parametrize("message", [episode("ended", cause=HUNGRY), telemetry(), health()])
def test_nothing_published_holds_the_password(message):
    published = [discovery(), *made(message)]
    assert not any("hunter2" in publication.payload for publication in published)
    assert "hunter2" not in repr(SETTINGS)
