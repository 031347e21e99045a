"""What Home Assistant itself makes of our discovery message and of every state we publish.

Its core runs in a process of its own with the MQTT integration alone, at a real broker: the schemas are
Home Assistant's, and so are the templates' answers.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from monitor.commands import CAUSE_OPTIONS
from monitor.sinks import homeassistant
from monitor.sinks.homeassistant import OFFLINE, ONLINE, Topics
from monitor.sinks.mqtt_settings import MqttSettings, Publication
from tests.broker import HOST, Mosquitto, retained, wait_until
from tests.hub.home_assistant import MISSING
from tests.hub.small_hub_client import NURSERY, SmallHub
from tests.sinks import hub_messages
from tests.sinks.hub_messages import alert, confirmed, controls, delivery, muted, night, working
from tests.sinks.messages import HUNGRY, ONSET, episode, telemetry

pytestmark = [pytest.mark.broker, pytest.mark.skipif(bool(MISSING), reason=MISSING)]

HEARING = ("binary_sensor.nursery_crying", "sensor.nursery_score", "sensor.nursery_level")

ATTIC = MqttSettings(host=HOST, device="attic", device_name="Attic")


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallHub]:
    with Mosquitto(tmp_path_factory.mktemp("broker")) as broker:
        hub = SmallHub(broker, tmp_path_factory.mktemp("hub") / "config")
        with contextlib.closing(hub):
            hub.announce()
            yield hub


@pytest.fixture
def hub(started: SmallHub) -> Iterator[SmallHub]:
    """The nursery listens and all is well; Home Assistant has nothing to complain of, before and after."""
    started.publish(homeassistant.availability(Topics.of(NURSERY), ONLINE))
    started.show(working(), controls(), telemetry(), alert(), night(), delivery())
    started.broker.forget()
    yield started
    assert "\n".join(started.ask("complaints")) == ""


def discovery() -> dict[str, Any]:
    return json.loads(homeassistant.discovery(NURSERY, Topics.of(NURSERY), "0.2.0").payload)


# --- the message itself -------------------------------------------------------------------------


def test_home_assistant_makes_every_entity_under_the_id_that_we_ask_for(hub):
    made = hub.ask("entities")
    for component in discovery()["cmps"].values():
        entity = made[component["unique_id"]]
        assert entity["entity_id"] == component["default_entity_id"]
        assert entity["name"] == component["name"]
        assert entity["category"] == component.get("entity_category")


def test_home_assistant_knows_every_key_that_we_send(hub):
    assert hub.ask("ignored", payload=discovery()) == []


def test_a_key_that_home_assistant_does_not_know_would_be_noticed(hub):
    payload = discovery()
    payload["cmps"]["level"]["units"] = "dBFS"
    assert hub.ask("ignored", payload=payload) == ["level.units"]


def test_the_device_page_says_what_and_where_it_is(hub):
    (device,) = [device for device in hub.ask("devices") if device["name"] == "Nursery"]
    assert device == {
        "name": "Nursery",
        "manufacturer": "Cradlewatch",
        "model": "Cry monitor",
        "hw_version": "Raspberry Pi 5 Model B",
        "sw_version": "0.2.0",
        "serial_number": "10000000abcdef01",
        "area_id": "nursery",
    }


def test_every_entity_has_a_state_as_soon_as_the_service_has_spoken_once(hub):
    of_ours = {c["default_entity_id"] for c in discovery()["cmps"].values()}
    states = {name: s["state"] for name, s in hub.ask("states").items() if name in of_ours}
    assert set(states) == of_ours
    assert "unavailable" not in states.values()
    # A button and an event say when they were last used, the others wait for something to happen.
    waiting = {"event.nursery_cry", "sensor.nursery_cause", "select.nursery_confirm_cause"}
    waiting |= {"sensor.nursery_last_cry", "sensor.nursery_muted_until"}
    waiting |= {name for name in of_ours if name.startswith("button.")}
    assert {name for name, state in states.items() if state == "unknown"} == waiting


# --- what the templates answer ------------------------------------------------------------------


def test_crying_carries_its_details_and_leaves_none_of_the_last_episode(hub):
    hub.show(episode(), episode("updated", cause=HUNGRY))
    assert hub.states("binary_sensor.nursery_crying", "sensor.nursery_cause") == ["on", "hungry"]
    assert hub.attributes("binary_sensor.nursery_crying")["episode_id"] == "e1"
    assert hub.attributes("sensor.nursery_cause")["base_rate"] == 0.4
    hub.show(confirmed("tired"))
    assert hub.state("select.nursery_confirm_cause") == "tired"
    assert hub.attributes("select.nursery_confirm_cause")["counts"] == {"tired": 3}

    hub.show(episode("ended", cause=HUNGRY))
    after = hub.states("binary_sensor.nursery_crying", "sensor.nursery_cause", "select.nursery_confirm_cause")
    assert after == ["off", "hungry", "tired"], "said after the end, and until the next cry"

    hub.show(episode(episode_id="e2"))
    again = hub.states("binary_sensor.nursery_crying", "sensor.nursery_cause", "select.nursery_confirm_cause")
    assert again == ["on", "unknown", "unknown"]
    attributes = hub.attributes("sensor.nursery_cause")
    assert attributes["episode_id"] == "e2"
    assert "probability" not in attributes


def test_each_event_but_an_update_fires_with_its_details(hub):
    for kind in ("started", "escalated", "ended"):
        hub.show(episode(kind, 7))
        cry = hub.ask("states")["event.nursery_cry"]
        assert cry["attributes"]["event_type"] == kind
        assert cry["attributes"]["event_id"] == f"e1-{kind}-7"
        fired = cry["state"]
        hub.show(episode("updated", 8))
        assert hub.state("event.nursery_cry") == fired
    hub.show(hub_messages.a_test("daily"))
    assert hub.attributes("event.nursery_cry")["event_type"] == "test"
    assert hub.attributes("event.nursery_cry")["source"] == "daily"


def test_every_cause_alert_and_delivery_state_is_one_that_home_assistant_takes(hub):
    for answer in (*CAUSE_OPTIONS, "unsure"):
        hub.show(episode("updated", cause=HUNGRY.model_copy(update={"answer": answer})))
        assert hub.state("sensor.nursery_cause") == answer
    for cause in CAUSE_OPTIONS:
        hub.show(confirmed(cause))
        assert hub.state("select.nursery_confirm_cause") == cause
    for state in ("unacknowledged", "acknowledged", "none"):
        hub.show(alert(state))
        assert hub.state("sensor.nursery_alert") == state
    for state in ("delivered", "retrying", "failed", "none"):
        hub.show(delivery(state))
        assert hub.state("sensor.nursery_alert_delivery") == state
    for state in ("degraded", "fault", "ok"):
        hub.show(working(state, reasons=["it is hot"]))
        assert hub.state("sensor.nursery_health") == state
        assert hub.attributes("sensor.nursery_health")["reasons"] == ["it is hot"]


def test_who_waits_for_an_answer_finds_the_details_of_the_alert_and_of_its_delivery(hub):
    hub.show(hub_messages.UNHEARD, hub_messages.PUSHED)
    unheard = hub.attributes("sensor.nursery_alert")
    assert (unheard["episode_id"], unheard["escalation"]) == ("e1", 2)
    assert unheard["since"] == "2026-11-22T03:04:06.398Z"
    pushed = hub.attributes("sensor.nursery_alert_delivery")
    assert (pushed["channels"], pushed["waiting"]) == ({"ntfy": "refused"}, 1)


def test_the_night_is_told_in_minutes_and_its_last_cry_as_a_time(hub):
    hub.show(hub_messages.A_BAD_NIGHT)
    names = ("crying_tonight", "episodes_tonight", "longest_calm", "last_cry")
    told = hub.states(*(f"sensor.nursery_{name}" for name in names))
    assert told == ["12.6", "3", "185.0", "2026-11-22T03:04:06+00:00"]
    assert hub.attributes("sensor.nursery_crying_tonight")["night"] == "2026-11-21"
    hub.show(night())
    assert hub.states("sensor.nursery_episodes_tonight", "sensor.nursery_last_cry") == ["0", "unknown"]


def test_the_figures_come_in_the_units_that_are_announced(hub):
    names = ("gate_rate", "vad_rate", "detector_lag", "audio_lost", "inference_time", "queue_depth")
    figures = hub.states(*(f"sensor.nursery_{name}" for name in names), "sensor.nursery_cpu_temperature")
    assert figures == ["12.3", "5.0", "0.012", "1.2", "3.14", "2", "48.3"]
    assert hub.states("sensor.nursery_level", "sensor.nursery_score") == ["-48.2", "10.0"]
    assert hub.states("sensor.nursery_version", "sensor.nursery_started_at") == [
        "0.2.0",
        "2026-11-22T02:04:10+00:00",
    ]


def test_a_figure_that_is_not_known_any_more_is_unknown_and_not_the_last_one(hub):
    hub.show(working(counters={}))
    names = ("gate_rate", "vad_rate", "detector_lag", "audio_lost", "inference_time", "queue_depth")
    figures = hub.states(*(f"sensor.nursery_{name}" for name in names), "sensor.nursery_cpu_temperature")
    assert set(figures) == {"unknown"}


def test_the_start_stays_the_same_instant_from_heartbeat_to_heartbeat(hub):
    for later_s in (0.0, 0.3, 29.9, 1000.0):
        heartbeat = working().model_copy(
            update={"time": ONSET + timedelta(seconds=later_s), "uptime_s": 3600.4 + later_s}
        )
        hub.show(heartbeat)
        assert hub.state("sensor.nursery_started_at") == "2026-11-22T02:04:10+00:00"


def test_controls_show_what_is_set_and_why_the_last_command_was_refused(hub):
    names = ("switch.nursery_listening", "number.nursery_sensitivity", "number.nursery_hold")
    names += ("text.nursery_quiet_hours", "select.nursery_mute", "sensor.nursery_muted_until")
    assert hub.states(*names) == ["on", "50", "5.0", "off", "off", "unknown"]
    chosen = {"listening": False, "sensitivity": 65, "hold_s": 12.5, "quiet_hours": "22:00-06:30"}
    hub.show(controls(**chosen, muted_until=ONSET + timedelta(minutes=30), last_rejected="too often"))
    set_now = ["off", "65", "12.5", "22:00-06:30", "30 min", "2026-11-22T03:34:05+00:00"]
    assert hub.states(*names) == set_now
    for name in names[:-1]:
        assert hub.attributes(name)["last_rejected"] == "too often"


def test_a_hold_time_beyond_what_the_hub_may_set_is_unknown_and_no_error(hub):
    hub.show(controls(hold_s=0.5))
    assert hub.state("number.nursery_hold") == "unknown"


@pytest.mark.parametrize(
    ("minutes", "shown"),
    [
        (-1, "off"),
        (10, "15 min"),
        (15, "15 min"),
        (15.04, "15 min"),
        (16, "30 min"),
        (60, "1 h"),
        (480, "8 h"),
        (481, "unknown"),
    ],
)
def test_the_mute_shows_the_option_that_covers_what_is_left(hub, minutes, shown):
    hub.show(muted(minutes))
    assert hub.state("select.nursery_mute") == shown


# --- availability -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "message",
    [
        working("fault", microphone_ok=False),
        working("degraded", microphone_ok=False),
        working("fault", signal_ok=False),
        controls(listening=False),
    ],
    ids=["microphone lost", "microphone lost, degraded", "digital silence", "not listening"],
)
def test_what_hears_is_unavailable_when_nothing_is_heard_and_nothing_else_is(hub, message):
    hub.show(message)
    gone = {name for name, state in hub.ask("states").items() if state["state"] == "unavailable"}
    assert gone == set(HEARING)


def test_faults_say_so(hub):
    faults = ("binary_sensor.nursery_microphone_fault", "binary_sensor.nursery_signal_fault")
    assert hub.states(*faults) == ["off", "off"]
    hub.show(working("fault", microphone_ok=False, reasons=["it was unplugged"]))
    assert hub.states(*faults) == ["on", "off"]
    assert hub.attributes(faults[0])["reasons"] == ["it was unplugged"]
    hub.show(working("fault", signal_ok=False))
    assert hub.states(*faults) == ["off", "on"]


def test_without_the_link_connectivity_alone_remains_and_says_so(hub):
    hub.publish(homeassistant.availability(Topics.of(NURSERY), OFFLINE))
    states = {name: state["state"] for name, state in hub.ask("states").items()}
    assert states.pop("binary_sensor.nursery_connectivity") == "off"
    assert set(states.values()) == {"unavailable"}


def test_a_heartbeat_that_stays_away_shows_and_takes_no_fault_with_it(hub):
    study = MqttSettings(host=HOST, device="study", device_name="Study", heartbeat_s=0.5)
    hub.show(working("fault", microphone_ok=False), settings=study)
    hub.announce(study)
    wait_until(lambda: hub.state("sensor.study_health") == "unavailable", "the heartbeat is missed")
    assert hub.states("sensor.study_gate_rate", "binary_sensor.study_microphone_fault") == [
        "unavailable",
        "on",
    ]
    forget(hub, study)


def forget(hub: SmallHub, settings: MqttSettings) -> None:
    """As ``cradlewatch hub remove`` does it."""
    topics = Topics.of(settings)
    hub.publish(Publication(topics.discovery, "", retain=True))
    hub.publish(*(Publication(topic, "", retain=True) for topic in topics.retained))
    # It empties the topic again for each entity, and is surprised by its own messages; and it tries to
    # disconnect what is switched off and never was connected.
    ours = f"No device components to cleanup for {homeassistant.device_id(settings)}, node_id 'None'"
    usual = (ours, "Unable to remove unknown dispatcher")
    others = [text for text in hub.ask("complaints") if not any(known in text for known in usual)]
    assert others == []


# --- commands -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entity", "service", "data", "payload"),
    [
        ("switch.nursery_listening", "turn_off", {}, "OFF"),
        ("switch.nursery_listening", "turn_on", {}, "ON"),
        ("number.nursery_sensitivity", "set_value", {"value": 65}, "65"),
        ("number.nursery_hold", "set_value", {"value": 12.5}, "12.5"),
        ("text.nursery_quiet_hours", "set_value", {"value": "22:00-06:30"}, "22:00-06:30"),
        ("select.nursery_mute", "select_option", {"option": "30 min"}, "30 min"),
        ("select.nursery_confirm_cause", "select_option", {"option": "hungry"}, "hungry"),
        ("button.nursery_acknowledge", "press", {}, "PRESS"),
        ("button.nursery_test_alert", "press", {}, "PRESS"),
        ("button.nursery_restart", "press", {}, "PRESS"),
    ],
)
def test_a_control_asks_once_and_waits_for_what_is_made_of_it(hub, entity, service, data, payload):
    before = hub.state(entity)
    domain, _, name = entity.partition(".")
    hub.ask("call", name=f"{domain}.{service}", data={"entity_id": entity, **data})
    ours = f"cradlewatch/nursery/set/{name.removeprefix('nursery_')}"
    (asked,) = hub.broker.wait_for(lambda seen: seen)
    assert (asked.topic, asked.payload, asked.retain, asked.qos) == (ours, payload, False, 1)
    if domain != "button":
        assert hub.state(entity) == before


# --- migration and removal ----------------------------------------------------------------------


def test_an_upgrade_removes_what_is_retired_and_changes_the_rest(hub):
    topics = Topics.of(ATTIC)
    new = homeassistant.discovery(ATTIC, topics, "0.2.0", retired={"loudness": "sensor"})
    old = json.loads(new.payload)
    old["cmps"]["loudness"] = {**old["cmps"]["level"], "unique_id": "cradlewatch_attic_loudness"}
    for component in old["cmps"].values():
        component["name"] = f"Old {component['name']}"
    hub.publish(replace(new, payload=json.dumps(old)))
    before = hub.ask("entities")
    assert "cradlewatch_attic_loudness" in before

    hub.publish(new)
    after = hub.ask("entities")
    assert set(before) - set(after) == {"cradlewatch_attic_loudness"}
    ours = json.loads(new.payload)["cmps"]
    for key, component in ours.items():
        # What is switched off is looked at again when it is switched on.
        if len(component) > 1 and component.get("enabled_by_default", True):
            assert after[f"cradlewatch_attic_{key}"]["name"] == component["name"]
    # Again, as at every connection: there is nothing to remove any more, and nothing to complain of.
    hub.publish(new)
    assert hub.ask("entities") == after
    assert retained(hub.port)[topics.discovery] == new.payload
    assert hub.ask("complaints") == []
    forget(hub, ATTIC)


def test_an_empty_message_removes_the_device_with_what_is_switched_off_and_no_other(hub):
    mine = set(hub.ask("entities"))
    hub.publish(homeassistant.discovery(ATTIC, Topics.of(ATTIC), "0.2.0"))
    theirs = hub.ask("entities")
    assert any(entity["disabled"] for entity in theirs.values())
    assert len(set(theirs)) == 2 * len(mine)
    forget(hub, ATTIC)
    assert set(hub.ask("entities")) == mine
    assert [device["name"] for device in hub.ask("devices")] == ["Nursery"]


def test_times_are_times_of_day_with_a_zone(hub):
    hub.show(hub_messages.A_BAD_NIGHT, muted(15))
    for name in ("last_cry", "muted_until", "started_at"):
        assert datetime.fromisoformat(hub.state(f"sensor.nursery_{name}")).tzinfo is not None
