"""Dashboard and blueprints name what the monitor announces. That they work is shown by make test-hub."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from monitor.commands import MUTE_OPTIONS
from monitor.messages import AlertMessage, EpisodeMessage, HealthMessage
from monitor.sinks import homeassistant
from monitor.sinks.hub_topics import Topics
from monitor.sinks.mqtt_settings import MqttSettings

FOLDER = Path(__file__).parents[2] / "deploy" / "homeassistant"
BLUEPRINTS = FOLDER / "blueprints" / "automation" / "cradlewatch"
MESSAGES = {"crying": EpisodeMessage, "alert": AlertMessage, "health": HealthMessage}


def shown_entities() -> set[str]:
    settings = MqttSettings(host="any", device="nursery")
    components = homeassistant.components(settings, Topics.of(settings))
    return {
        f"{component.platform}.nursery_{key}"
        for key, component in components.items()
        if component.fields.get("enabled_by_default", True)
    }


@pytest.mark.parametrize("name", ["dashboard.yaml", "README.md"])
def test_every_entity_named_is_announced_and_shown(name):
    # Templates write states.binary_sensor.nursery_crying.attributes; the expression finds that too.
    named = set(re.findall(r"\b[a-z_]+\.nursery_[a-z_]+\b", (FOLDER / name).read_text()))
    assert named
    assert named <= shown_entities()


def test_every_attribute_a_blueprint_reads_is_a_field_of_the_message():
    read = {
        (entity, attribute)
        for file in BLUEPRINTS.glob("*.yaml")
        for entity, attribute in re.findall(r"state_attr\((\w+), '(\w+)'\)", file.read_text())
    }
    assert read
    unknown = {(e, a) for e, a in read if a not in MESSAGES[e].model_fields}
    assert unknown == set()


def test_the_button_mute_15_min_chooses_an_option_there_is():
    assert "option: 15 min\n" in (BLUEPRINTS / "cry_alert.yaml").read_text()
    assert MUTE_OPTIONS["15 min"] == 15


def test_the_entities_a_blueprint_finds_by_itself_end_as_it_expects():
    found = re.findall(r"select\('search', '([^']+)'\)", (BLUEPRINTS / "cry_alert.yaml").read_text())
    assert len(found) == 5
    for expression in found:
        assert len([entity for entity in shown_entities() if re.search(expression, entity)]) == 1, expression


def test_a_blueprint_says_what_it_is_and_what_it_needs():
    files = sorted(BLUEPRINTS.glob("*.yaml"))
    assert [file.stem for file in files] == ["cry_alert", "morning_report", "supervision_alert"]
    for file in files:
        text = file.read_text()
        assert "  domain: automation\n" in text
        assert "    min_version: 2024.11.0\n" in text
        inputs = set(re.findall(r"!input (\w+)", text))
        declared = set(re.findall(r"^ +(\w+):\n +name: ", text, re.MULTILINE)) - {"renamed"}
        assert inputs == declared, file.name
