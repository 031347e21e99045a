import json
from datetime import timedelta
from pathlib import Path

import pytest

from monitor.commands import CAUSE_OPTIONS, HOLD, MUTE_OPTIONS, SENSITIVITY, Control
from monitor.messages import AlertMessage, CauseHint, DeliveryMessage, HealthMessage
from monitor.sinks import homeassistant
from monitor.sinks.homeassistant import Topics
from monitor.sinks.mqtt_settings import MqttSettings
from tests.sinks import hub_messages
from tests.sinks.messages import HUNGRY, episode, health, telemetry

GOLDEN = Path(__file__).parents[1] / "golden" / "discovery-nursery.json"

SETTINGS = MqttSettings(
    host="hub",
    device="nursery",
    device_name="Nursery",
    password="hunter2",
    model="Raspberry Pi 5 Model B Rev 1.0",
    serial="10000000abcdef01",
)
TOPICS = Topics.of(SETTINGS)

HEARING = ("crying", "score", "level")
PARENTS = {
    "crying": "binary_sensor",
    "cry": "event",
    **dict.fromkeys(("cause", "score", "level", "alert", "muted_until"), "sensor"),
    **dict.fromkeys(("crying_tonight", "episodes_tonight", "last_cry", "longest_calm"), "sensor"),
}
FAULTS = {
    "connectivity": "binary_sensor",
    "microphone_fault": "binary_sensor",
    "signal_fault": "binary_sensor",
}
NOISY = ("gate_rate", "vad_rate", "detector_lag", "inference_time", "queue_depth", "cpu_temperature")
DIAGNOSTICS = FAULTS | dict.fromkeys(
    ("health", "alert_delivery", "version", "started_at", "audio_lost", *NOISY), "sensor"
)
CONTROLS = {
    "listening": "switch",
    "sensitivity": "number",
    "hold": "number",
    "quiet_hours": "text",
    "mute": "select",
    "acknowledge": "button",
    "test_alert": "button",
    "restart": "button",
    "confirm_cause": "select",
}


def discovery(settings=SETTINGS):
    return homeassistant.discovery(settings, Topics.of(settings), "0.1.0")


def told(settings=SETTINGS):
    return json.loads(discovery(settings).payload)


def components(settings=SETTINGS):
    return told(settings)["cmps"]


def made(message):
    return homeassistant.publications(message, TOPICS, event_expiry_s=300)


def states(message):
    """What goes to each retained topic."""
    return {p.topic.rpartition("/")[2]: json.loads(p.payload) for p in made(message) if p.retain}


def events(message):
    return [p for p in made(message) if not p.retain]


# --- discovery ----------------------------------------------------------------------------------


def test_the_discovery_message_is_the_reviewed_one():
    # Rewrite with: python -m tests.golden.discovery > tests/golden/discovery-nursery.json
    assert told() == json.loads(GOLDEN.read_text())


def test_discovery_is_one_retained_message_for_the_device():
    assert discovery().topic == "homeassistant/device/cradlewatch_nursery/config"
    assert discovery().retain


def test_all_entities_of_the_contract_are_there():
    platforms = {key: component["p"] for key, component in components().items()}
    assert platforms == PARENTS | DIAGNOSTICS | CONTROLS


def test_every_entity_has_an_identity_that_names_the_device():
    for name, component in components().items():
        assert component["unique_id"] == f"cradlewatch_nursery_{name}"
        assert component["default_entity_id"] == f"{component['p']}.nursery_{name}"
        assert component["name"], "an entity without a name takes that of the device"


def test_two_devices_share_no_topic_and_no_identity():
    other = MqttSettings(host="hub", device="living-room")
    mine, theirs = told(), told(other)
    assert theirs["dev"]["ids"] == ["cradlewatch_living_room"]
    assert theirs["cmps"]["crying"]["default_entity_id"] == "binary_sensor.living_room_crying"
    assert mine["cmps"]["crying"]["unique_id"] != theirs["cmps"]["crying"]["unique_id"]
    assert discovery().topic != discovery(other).topic
    assert "cradlewatch/nursery" not in discovery(other).payload
    assert "cradlewatch/living-room/crying" in discovery(other).payload


def test_the_device_says_what_it_runs_on_where_that_is_known():
    device = told()["dev"]
    assert (device["hw"], device["sn"]) == ("Raspberry Pi 5 Model B Rev 1.0", "10000000abcdef01")
    assert not {"hw", "sn"} & set(told(MqttSettings(host="hub", device="nursery"))["dev"])


def test_the_area_is_the_devices_name_unless_told_otherwise():
    chosen = MqttSettings(host="hub", device="nursery", device_name="Monitor", suggested_area="Attic")
    assert told(chosen)["dev"]["sa"] == "Attic"
    assert told()["dev"]["sa"] == "Nursery"


def test_a_retired_entity_is_removed_by_a_component_of_its_platform_alone():
    message = homeassistant.discovery(SETTINGS, TOPICS, "0.1.0", retired={"loudness": "sensor"})
    removing = json.loads(message.payload)["cmps"]
    assert removing.pop("loudness") == {"p": "sensor"}
    assert removing == components()


def test_no_entity_in_use_is_retired():
    assert not set(homeassistant.RETIRED) & set(components())


def test_what_hears_depends_on_link_microphone_and_listening():
    for name in HEARING:
        topics = [entry["topic"] for entry in components()[name]["availability"]]
        assert topics == [TOPICS.availability, TOPICS.health, TOPICS.controls]
        assert components()[name]["availability_mode"] == "all"


def test_everything_else_depends_on_the_link_alone_and_connectivity_on_nothing():
    for name, component in components().items():
        if name not in (*HEARING, "connectivity"):
            assert component["availability_topic"] == TOPICS.availability, name
            assert "availability" not in component, name
    assert not {"availability", "availability_topic"} & set(components()["connectivity"])


def test_the_level_promises_no_calibrated_sound_pressure():
    assert "device_class" not in components()["level"]
    assert components()["level"]["unit_of_measurement"] == "dBFS"


def test_details_come_from_the_message_that_gave_the_state():
    detailed = {name: c for name, c in components().items() if "json_attributes_topic" in c}
    assert {"crying", "cause", "alert", "alert_delivery", "health", "microphone_fault"} < set(detailed)
    for name, component in detailed.items():
        assert component["json_attributes_topic"] == component["state_topic"], name


def test_every_answer_that_can_be_given_is_an_option():
    answers = CauseHint.model_json_schema()["properties"]["answer"]["enum"]
    assert sorted(components()["cause"]["options"]) == sorted(answers)
    for name, kind in {
        "alert": AlertMessage,
        "alert_delivery": DeliveryMessage,
        "health": HealthMessage,
    }.items():
        can_be = kind.model_json_schema()["properties"]["state"]["enum"]
        assert sorted(components()[name]["options"]) == sorted(can_be)


def test_what_changes_at_every_heartbeat_comes_switched_off():
    switched_off = [name for name, c in components().items() if not c.get("enabled_by_default", True)]
    assert sorted(switched_off) == sorted(NOISY)


def test_only_diagnostics_are_called_so_and_only_controls_configure():
    for name, component in components().items():
        category = component.get("entity_category")
        assert (category == "diagnostic") == (name in DIAGNOSTICS or name == "test_alert"), name
        assert category != "config" or name in CONTROLS, name


def test_three_missing_heartbeats_outdate_health_but_never_a_fault():
    slow = components(MqttSettings(host="hub", device="nursery", heartbeat_s=7.5))
    assert slow["health"]["expire_after"] == slow["detector_lag"]["expire_after"] == 23
    assert components()["health"]["expire_after"] == 90
    for name in (*FAULTS, "crying", "alert", "alert_delivery", "cause", "last_cry"):
        assert "expire_after" not in slow[name], name


def test_every_control_has_an_entity_that_asks_on_its_topic_and_leaves_nothing_there():
    assert set(CONTROLS) == {control.value for control in Control}
    for name in CONTROLS:
        component = components()[name]
        assert component["command_topic"] == f"cradlewatch/nursery/set/{name}"
        assert TOPICS.control_of(component["command_topic"]) == name
        assert component["retain"] is False
        assert component["qos"] == 1


def test_a_control_shows_what_was_made_of_it():
    for name in ("listening", "sensitivity", "hold", "quiet_hours", "mute"):
        assert components()[name]["state_topic"] == TOPICS.controls
        assert "last_rejected" in components()[name]["json_attributes_template"]


def test_ranges_and_options_are_those_that_the_service_takes():
    of = components()
    for name, allowed in {"sensitivity": SENSITIVITY, "hold": HOLD}.items():
        assert (of[name]["min"], of[name]["max"], of[name]["step"]) == (
            allowed.low,
            allowed.high,
            allowed.step,
        )
    assert of["mute"]["options"] == list(MUTE_OPTIONS)
    assert of["confirm_cause"]["options"] == list(CAUSE_OPTIONS)


def test_nothing_subscribes_to_events_that_came_too_late():
    assert TOPICS.late not in discovery().payload


# --- messages -----------------------------------------------------------------------------------


def test_a_start_sets_the_state_before_it_fires_the_event():
    *before, event = made(episode())
    assert (before[0].topic, before[0].retain) == ("cradlewatch/nursery/crying", True)
    assert (event.topic, event.retain, event.expiry_s) == ("cradlewatch/nursery/cry", False, 300)
    assert all(publication.retain for publication in before)
    crying = states(episode())["crying"]
    assert crying["state"] == "ON"
    assert crying["onset_at"] == "2026-11-22T03:04:05.678Z"
    assert {key: value for key, value in crying.items() if key != "state"} == json.loads(event.payload)


def test_a_new_episode_clears_what_was_said_of_the_last_one():
    cleared = states(episode(episode_id="e2"))
    for topic in ("cause", "confirmed_cause"):
        assert cleared[topic] == {"cause": None, "episode_id": "e2", "onset_at": "2026-11-22T03:04:05.678Z"}


def test_nothing_is_cleared_while_an_episode_goes_on():
    for kind in ("updated", "escalated", "ended"):
        assert set(states(episode(kind))) == {"crying"}


@pytest.mark.parametrize("kind", ["started", "escalated", "ended"])
def test_what_an_automation_waits_for_is_an_event_that_was_announced(kind):
    (event,) = events(episode(kind))
    assert json.loads(event.payload)["event_type"] == kind
    assert kind in components()["cry"]["event_types"]
    assert event.key == json.loads(event.payload)["event_id"], "none takes another's place in the queue"


def test_an_update_changes_the_state_and_fires_nothing():
    assert events(episode("updated")) == []
    assert states(episode("updated", score=0.97))["crying"]["score"] == 0.97


def test_the_state_is_on_until_the_end():
    kinds = ("started", "updated", "escalated", "ended")
    assert [states(episode(kind))["crying"]["state"] for kind in kinds] == ["ON", "ON", "ON", "OFF"]


def test_a_cause_is_told_with_its_odds_once_there_is_one():
    cause = states(episode("updated", cause=HUNGRY))["cause"]
    assert (cause["cause"], cause["probability"], cause["base_rate"]) == ("hungry", 0.62, 0.4)
    assert (cause["episode_id"], cause["onset_at"]) == ("e1", "2026-11-22T03:04:05.678Z")


def test_a_test_alert_is_an_event_of_its_own_type_and_no_state():
    assert states(hub_messages.a_test()) == {}
    (event,) = events(hub_messages.a_test())
    payload = json.loads(event.payload)
    assert (event.topic, event.expiry_s) == (TOPICS.cry, 300)
    assert (payload["event_type"], payload["source"], payload["event_id"]) == ("test", "hub", "t1")
    assert "test" in components()["cry"]["event_types"]


@pytest.mark.parametrize(
    "message",
    [
        health(microphone_ok=False),
        hub_messages.controls(listening=False),
        hub_messages.UNHEARD,
        hub_messages.A_BAD_NIGHT,
        hub_messages.PUSHED,
        hub_messages.confirmed(),
    ],
    ids=lambda message: message.kind,
)
def test_what_has_to_survive_a_restart_of_the_hub_is_the_retained_state_of_its_kind(message):
    (state,) = made(message)
    assert (state.topic, state.retain, state.expiry_s) == (f"{TOPICS.base}/{message.kind}", True, None)
    assert state.payload == message.to_json()
    assert state.topic in TOPICS.retained


def test_an_old_level_does_not_pass_for_the_level_now():
    level, sound = made(telemetry())
    assert (sound.topic, sound.retain) == ("cradlewatch/nursery/sound", True)
    assert (level.topic, level.retain, level.expiry_s) == ("cradlewatch/nursery/telemetry", True, 60)


def test_before_the_first_cry_it_is_calm():
    calm = homeassistant.calm(TOPICS)
    assert (calm.topic, json.loads(calm.payload), calm.retain) == (TOPICS.crying, {"state": "OFF"}, True)


@pytest.mark.parametrize("message", [episode("ended", cause=HUNGRY), telemetry(), health()])
def test_nothing_published_holds_the_password(message):
    published = [discovery(), *made(message)]
    assert not any("hunter2" in publication.payload for publication in published)
    assert "hunter2" not in repr(SETTINGS)


def test_a_clock_that_is_set_while_the_baby_cries_sets_the_onset_in_the_hub():
    step = timedelta(hours=9)
    ended = episode("ended", duration_s=17.0)
    later = ended.model_copy(update={"time": ended.time + step, "ended_at": ended.time + step})
    for made in homeassistant.publications(later, TOPICS, event_expiry_s=300):
        details = json.loads(made.payload)
        assert details["onset_at"] == "2026-11-22T12:04:05.678Z"
        assert details["detected_at"] == "2026-11-22T12:04:06.398Z"
        assert details["ended_at"] == "2026-11-22T12:04:22.678Z"
