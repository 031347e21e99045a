"""Automations of our blueprints where things go wrong, in Home Assistant's core; test_house has the rest."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from monitor.sinks import homeassistant
from monitor.sinks.homeassistant import ONLINE, Topics
from tests.broker import Mosquitto
from tests.hub.blueprints import cry_alert, morning_report, supervision_alert
from tests.hub.home_assistant import MISSING
from tests.hub.small_hub_client import NURSERY, SmallHub
from tests.sinks.hub_messages import alert, controls, night, working
from tests.sinks.messages import episode

pytestmark = [pytest.mark.hub, pytest.mark.broker, pytest.mark.skipif(bool(MISSING), reason=MISSING)]

GONE, HERE = "notify.sold_last_year", ["notify.anna", "notify.ben"]


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallHub]:
    with Mosquitto(tmp_path_factory.mktemp("broker")) as broker:
        hub = SmallHub(broker, tmp_path_factory.mktemp("hub") / "config")
        with contextlib.closing(hub):
            hub.announce()
            hub.show(working(), controls(), alert(), night(episodes=1))
            made = [cry_alert(), supervision_alert(fault_grace=0), morning_report()]
            for automation in made:
                automation["use_blueprint"]["input"]["phones"] = [GONE, *HERE]
            hub.ask("automate", automations=made, phones=[name.partition(".")[2] for name in HERE])
            yield hub


@pytest.fixture
def hub(started: SmallHub) -> Iterator[SmallHub]:
    """All is well and nobody was told of anything."""
    started.publish(homeassistant.availability(Topics.of(NURSERY), ONLINE))
    started.show(working(), episode("ended", episode_id="before"))
    started.broker.forget()
    started.ask("posts")
    yield started
    # Home Assistant itself complains of the phone that is gone, and has nothing else to complain of.
    assert [told for told in started.ask("complaints") if GONE not in told] == []


def told(hub: SmallHub) -> list[tuple[str, str]]:
    return sorted((post["phone"], post["data"]["step"]) for post in hub.ask("posts"))


def test_a_phone_that_is_gone_keeps_no_cry_from_the_others(hub):
    hub.show(episode(episode_id="cry"))
    assert told(hub) == [("anna", "crying"), ("ben", "crying")]
    hub.show(episode("ended", episode_id="cry"))
    assert told(hub) == [("anna", "calm"), ("ben", "calm")]


def test_a_phone_that_is_gone_keeps_no_fault_from_the_others(hub):
    hub.show(working("fault", microphone_ok=False))
    assert told(hub) == [("anna", "microphone"), ("ben", "microphone")]


def test_a_phone_that_is_gone_keeps_no_report_from_the_others(hub):
    hub.ask("call", name="automation.trigger", data={"entity_id": "automation.morning_report"})
    assert told(hub) == [("anna", "report"), ("ben", "report")]


def test_the_answer_to_an_old_alert_does_not_silence_the_cry_of_now(hub):
    hub.show(episode(episode_id="first"))
    (old, *_) = hub.ask("posts")
    hub.show(episode("ended", episode_id="first"), episode(episode_id="second"))
    button = old["data"]["actions"][0]
    hub.ask("fire", name="mobile_app_notification_action", data={"action": button["action"]})
    hub.ask("settle")
    assert hub.broker.on("cradlewatch/nursery/set/acknowledge") == []
    assert ("anna", "acknowledge") not in told(hub)


def test_the_answer_to_the_cry_of_now_reaches_the_monitor(hub):
    hub.show(episode(episode_id="now"))
    button = hub.ask("posts")[0]["data"]["actions"][0]
    hub.ask("fire", name="mobile_app_notification_action", data={"action": button["action"]})
    hub.ask("settle")
    assert len(hub.broker.on("cradlewatch/nursery/set/acknowledge")) == 1
    assert ("anna", "acknowledge") in told(hub)
