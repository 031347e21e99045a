import pytest

from monitor.commands import Control
from monitor.sinks.hub_topics import Topics
from monitor.sinks.mqtt_settings import MqttSettings

TOPICS = Topics.of(MqttSettings(host="hub", device="nursery"))


def test_the_last_part_of_a_command_topic_names_the_control():
    for control in Control:
        assert TOPICS.control_of(TOPICS.set(control)) == control


@pytest.mark.parametrize(
    "topic",
    [
        "cradlewatch/nursery/set/",
        "cradlewatch/nursery/set/mute/now",
        "cradlewatch/nursery/mute",
        "cradlewatch/attic/set/mute",
        "other/cradlewatch/nursery/set/mute",
    ],
)
def test_what_is_no_command_to_this_device_asks_for_no_control(topic):
    assert TOPICS.control_of(topic) is None


def test_the_filter_of_commands_is_one_level_wide():
    assert TOPICS.set_filter == "cradlewatch/nursery/set/+"
    assert TOPICS.set("mute") == "cradlewatch/nursery/set/mute"


def test_all_retained_topics_are_below_the_device_and_no_event_is_among_them():
    assert all(topic.startswith("cradlewatch/nursery/") for topic in TOPICS.retained)
    assert len(set(TOPICS.retained)) == len(TOPICS.retained) == 12
    assert not {TOPICS.cry, TOPICS.late, TOPICS.check, TOPICS.set_filter} & set(TOPICS.retained)
    assert {TOPICS.availability, TOPICS.crying, TOPICS.cause, TOPICS.telemetry} < set(TOPICS.retained)
