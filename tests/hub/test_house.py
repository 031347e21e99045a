"""What a parent sees and hears: the real service and the real Home Assistant, with our own blueprints.

The tests share one house and leave it calm. A rule for all of them stands at the end: every episode was told
once, whatever was killed meanwhile.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from monitor.sinks import homeassistant
from monitor.sinks.hub_topics import Topics
from monitor.sinks.mqtt_settings import MqttSettings
from tests.hub.blueprints import cry_alert, morning_report, supervision_alert
from tests.hub.house import CRYING, House
from tests.hub.page import ABSENT
from tests.hub.pictures import take

pytestmark = [pytest.mark.hub, pytest.mark.timeout(240)]

GRACE_S = 12
"""Longer than a restart of service or broker takes, and Home Assistant's way back to the broker."""
ALERT = "sensor.nursery_alert"
UNKNOWN_AT_FIRST = {"cry", "cause", "muted_until", "last_cry", "alert_delivery", "confirm_cause"}


@pytest.fixture(scope="module")
def house(tmp_path_factory) -> Iterator[House]:
    automations = [
        cry_alert(),
        supervision_alert(grace=GRACE_S),
        morning_report(also=[{"trigger": "event", "event_type": "good_morning"}]),
    ]
    settings = {"events.escalate_every_s": "10", "detect.hang_over_s": "4", "detect.cool_down_s": "1"}
    with House(tmp_path_factory.mktemp("house"), automations, **settings) as house:
        yield house


def alerts(house: House, episode: str) -> list[str]:
    return [post.step for post in house.phone.posts if post.episode_id == episode]


def seen(house: House) -> int:
    return len(house.phone.posts)


def test_all_entities_of_the_device_are_there_and_none_is_unavailable(house):
    settings = MqttSettings(host="any", device="nursery")
    components = homeassistant.components(settings, Topics.of(settings))
    shown = {key: c for key, c in components.items() if c.fields.get("enabled_by_default", True)}
    states = house.hub.states()
    found = {key: states.pop(f"{c.platform}.nursery_{key}", {"state": "absent"}) for key, c in shown.items()}
    odd = {
        key: found[key]["state"]
        for key, component in shown.items()
        if found[key]["state"] in {"absent", "unavailable"}
        or (
            found[key]["state"] == "unknown"
            and component.platform != "button"
            and key not in UNKNOWN_AT_FIRST
        )
    }
    assert odd == {}
    assert [entity for entity in states if ".nursery_" in entity] == []


def test_a_cry_alerts_once_with_its_details_and_calm_follows(house):
    with house.crying() as episode:
        alert = house.phone.wait_for("alert", lambda post: post.episode_id == episode)
        state = house.hub.state(CRYING)
        assert house.hub.state(ALERT)["state"] == "unacknowledged"
    assert (alert.step, alert.title) == ("crying", "Nursery: crying")
    assert alert.message.startswith("Since ")
    assert alert.data["tag"] == f"cradlewatch-{CRYING}"
    assert [button["title"] for button in alert.data["actions"]] == ["Acknowledge", "Mute 15 min", "Open"]
    assert alert.data["actions"][-1]["uri"] == "/cradlewatch-nursery"
    assert alert.data["push"]["sound"]["critical"] == 1
    assert (alert.data["channel"], alert.data["priority"], alert.data["ttl"]) == ("alarm_stream", "high", 0)
    assert state["attributes"]["onset_at"] < state["attributes"]["detected_at"]
    assert state["attributes"]["score"] > 0.5

    calm = house.phone.wait_for("calm", lambda post: post.step == "calm" and post.episode_id == episode)
    assert "critical" not in str(calm.data)
    assert calm.data["tag"] == alert.data["tag"]
    assert house.wait_until_calm()["attributes"]["event_type"] == "ended"
    house.hub.wait_for(ALERT, "none")


def test_crying_that_goes_on_escalates_until_somebody_acknowledges_on_the_phone(house):
    with house.crying() as episode:
        again = house.phone.wait_for(
            "escalation", lambda post: post.step == "escalated" and post.episode_id == episode
        )
        assert again.title == "Nursery: still crying"
        house.hub.fire("mobile_app_notification_action", action=again.data["actions"][0]["action"])
        house.hub.wait_for(ALERT, "acknowledged")
        told = house.hub.state(CRYING)["attributes"]["escalation"]
        house.hub.wait_for(CRYING, lambda state: state["attributes"]["escalation"] > told)
    house.phone.wait_for("calm", lambda post: post.step == "calm" and post.episode_id == episode)
    assert alerts(house, episode) == ["crying", "escalated", "acknowledge", "calm"]


def test_an_acknowledgement_in_the_hub_reaches_the_service(house):
    with house.crying() as episode:
        house.hub.call("button.press", entity_id="button.nursery_acknowledge")
        state = house.hub.wait_for(ALERT, "acknowledged")
    assert state["attributes"]["episode_id"] == episode
    assert state["attributes"]["acknowledged_by"] == "hub"
    house.wait_until_calm()


def test_a_mute_holds_alerts_back_until_it_is_lifted(house):
    house.hub.call("select.select_option", entity_id="select.nursery_mute", option="15 min")
    house.hub.wait_for("sensor.nursery_muted_until", lambda state: state["state"] != "unknown")
    with house.crying() as episode:
        house.hub.wait_for(CRYING, lambda state: state["attributes"].get("escalation", 0) >= 1)
        assert alerts(house, episode) == []
        house.hub.call("select.select_option", entity_id="select.nursery_mute", option="off")
        house.phone.wait_for("alert", lambda post: post.episode_id == episode)
    house.wait_until_calm()
    assert alerts(house, episode)[0] == "escalated"


def test_settings_made_in_the_hub_come_back_as_state(house):
    for entity, value in (("number.nursery_sensitivity", "70"), ("number.nursery_hold", "5.0")):
        house.hub.call("number.set_value", entity_id=entity, value=float(value))
        house.hub.wait_for(entity, lambda state, wanted=value: float(state["state"]) == float(wanted))
    house.hub.call("text.set_value", entity_id="text.nursery_quiet_hours", value="22:00-06:30")
    house.hub.wait_for("text.nursery_quiet_hours", "22:00-06:30")
    house.hub.call("text.set_value", entity_id="text.nursery_quiet_hours", value="off")
    house.hub.call("number.set_value", entity_id="number.nursery_hold", value=4)
    house.hub.wait_for("number.nursery_hold", lambda state: float(state["state"]) == 4)


def test_a_switched_off_monitor_neither_alerts_nor_counts_as_broken(house):
    before = seen(house)
    house.hub.call("switch.turn_off", entity_id="switch.nursery_listening")
    house.hub.wait_for(CRYING, "unavailable")
    house.hub.call("switch.turn_on", entity_id="switch.nursery_listening")
    house.hub.wait_for(CRYING, "off")
    assert seen(house) == before


def test_the_test_button_reaches_the_phone(house):
    before = seen(house)
    house.hub.call("button.press", entity_id="button.nursery_test_alert")
    post = house.phone.wait_for("test alert", lambda post: post.step == "test", skip=before)
    assert post.title == "Nursery: test alert"


def test_the_morning_report_tells_of_the_night(house):
    before = seen(house)
    episodes = int(house.hub.state("sensor.nursery_episodes_tonight")["state"])
    house.hub.fire("good_morning")
    report = house.phone.wait_for("report", lambda post: post.step == "report", skip=before)
    assert report.title == "Nursery: the night"
    assert report.message.startswith(f"Cried {episodes} times, ")
    assert "Longest calm stretch: " in report.message


@pytest.mark.parametrize("ending", ["stop", "kill"])
def test_a_restart_or_power_cut_of_home_assistant_while_the_baby_cries_tells_the_episode_once(house, ending):
    with house.crying() as episode:
        house.phone.wait_for("alert", lambda post: post.episode_id == episode)
        house.hub.wait_for("automation.cry_alert", lambda state: state["attributes"]["current"] == 0)
        getattr(house.hub, ending)()
        house.hub.start()
        house.hub.wait_for(CRYING, "on")
        told = house.hub.state(CRYING)["attributes"]["escalation"]
        house.hub.wait_for(CRYING, lambda state: state["attributes"].get("escalation", 0) > told)
        house.phone.wait_for(
            "escalation after the restart",
            lambda post: post.episode_id == episode and post.data["escalation"] > told,
        )
    house.phone.wait_for("calm", lambda post: post.step == "calm" and post.episode_id == episode)
    assert alerts(house, episode).count("crying") == 1


def test_a_cry_that_begins_while_home_assistant_is_down_is_told_when_it_is_back(house):
    known = len(house.begun())
    house.hub.stop()
    house.baby.cry()
    try:
        house.hub.start()
        (episode,) = house.begun()[known:]
        post = house.phone.wait_for("alert", lambda post: post.episode_id == episode)
    finally:
        house.baby.calm_down()
    assert post.step == "crying"
    house.phone.wait_for("calm", lambda post: post.step == "calm" and post.episode_id == episode)


def test_a_restart_of_home_assistant_in_a_calm_room_tells_nothing(house):
    before = seen(house)
    house.hub.stop()
    house.hub.start()
    house.hub.wait_for(CRYING, "off")
    # The supervision ends its look around with this; had the others something to tell, they would have.
    house.phone.wait_for("look around", lambda post: post.step == "clear", skip=before)
    assert [post.step for post in house.phone.posts[before:]] == ["clear"]


def test_a_killed_broker_loses_no_alarm_and_doubles_none(house):
    with house.crying() as episode:
        house.phone.wait_for("alert", lambda post: post.episode_id == episode)
        house.broker.kill()
        house.hub.wait_for(CRYING, "unavailable")
        house.broker.start()
        house.hub.wait_for(CRYING, "on")
        told = house.hub.state(CRYING)["attributes"]["escalation"]
        house.hub.wait_for(CRYING, lambda state: state["attributes"].get("escalation", 0) > told)
    house.phone.wait_for("calm", lambda post: post.step == "calm" and post.episode_id == episode)
    assert alerts(house, episode).count("crying") == 1


def test_a_cry_that_begins_without_a_broker_is_told_when_it_is_back(house):
    known = len(house.begun())
    house.broker.kill()
    house.hub.wait_for(CRYING, "unavailable")
    house.baby.cry()
    try:
        deadline = time.monotonic() + 20
        while len(house.begun()) == known:
            assert time.monotonic() < deadline, "the service hears nothing"
            time.sleep(0.1)
        house.broker.start()
        (episode,) = house.begun()[known:]
        post = house.phone.wait_for("alert", lambda post: post.episode_id == episode)
    finally:
        house.baby.calm_down()
    assert post.step == "crying"
    house.phone.wait_for("calm", lambda post: post.step == "calm" and post.episode_id == episode)


def test_a_killed_service_leaves_no_stale_cry_and_tells_of_the_crying_that_goes_on(house):
    sensitivity = "number.nursery_sensitivity"
    house.hub.call("number.set_value", entity_id=sensitivity, value=65)
    house.hub.wait_for(sensitivity, "65")
    with house.crying() as first:
        house.phone.wait_for("alert", lambda post: post.episode_id == first)
        house.kill_service()
        house.hub.wait_for(CRYING, "unavailable")
        house.start_service()
        second = house.phone.wait_for(
            "alert of the next episode",
            lambda post: (
                post.step == "crying" and post.episode_id in house.begun()[-1:] and post.episode_id != first
            ),
        ).episode_id
    house.phone.wait_for("calm", lambda post: post.step == "calm" and post.episode_id == second)
    assert alerts(house, first).count("crying") == 1
    assert house.hub.state(sensitivity)["state"] == "65", "what parents set outlives a kill"

    with house.crying() as third:
        house.phone.wait_for("alert", lambda post: post.episode_id == third)
        house.kill_service()
    house.start_service()
    house.wait_until_calm()
    house.hub.wait_for(ALERT, "none")


def test_a_monitor_that_is_gone_and_a_lost_microphone_are_reported_and_their_end_too(house):
    before = seen(house)
    house.kill_service()
    house.phone.wait_for("offline", lambda post: post.step == "offline", skip=before)
    house.start_service()
    house.phone.wait_for("well", lambda post: post.step == "well", skip=before)

    before = seen(house)
    house.microphone.stall()
    lost = house.phone.wait_for("microphone", lambda post: post.step == "microphone", skip=before)
    house.microphone.resume()
    assert "The microphone delivers no audio" in lost.message
    assert lost.data["push"]["sound"]["critical"] == 1
    house.phone.wait_for("well", lambda post: post.step == "well", skip=before)
    house.hub.wait_for(CRYING, "off")


@pytest.mark.skipif(bool(ABSENT), reason=ABSENT)
def test_the_dashboard_and_the_page_of_the_device_show_the_cry(house, tmp_path):
    folder = Path(os.environ.get("CRADLEWATCH_PICTURES", tmp_path))
    take(house, folder, rounds=0)
    pictures = {file.name: file.read_bytes() for file in folder.glob("*.png")}
    assert set(pictures) == {"dashboard.png", "dashboard-phone.png", "dashboard-calm.png", "device.png"}
    assert len(set(pictures.values())) == 4
    assert max(map(len, pictures.values())) < 200_000, "they travel with the documentation"


def test_in_the_end_every_episode_was_told_once_and_home_assistant_has_nothing_to_complain_of(house):
    begun = house.begun()
    assert len(begun) == len(set(begun)) > 0
    told = Counter(
        (post.episode_id, post.data["escalation"]) for post in house.phone.of("crying", "escalated")
    )
    assert {key: count for key, count in told.items() if count > 1} == {}
    assert {episode for episode, _ in told} == set(begun)
    # That the broker was killed is no complaint of ours.
    ours = ("nursery", "cradlewatch", "components.automation", "components.rest_command", "helpers.template")
    complaints = [
        line
        for line in house.hub.log().splitlines()
        if (" ERROR " in line or " WARNING " in line) and any(name in line for name in ours)
    ]
    assert complaints == []
