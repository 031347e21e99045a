"""`cradlewatch hub remove` at a real broker."""

import json
from pathlib import Path

import pytest

from monitor.cli import main
from monitor.sinks import homeassistant
from monitor.sinks.homeassistant import OFFLINE, ONLINE, Topics
from monitor.sinks.mqtt_settings import MqttSettings, Publication
from tests.broker import HOST, Mosquitto, Subscriber, free_port, retained

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.broker


def published(port, device, *, state=OFFLINE, user=None):
    """All that a device of this name leaves at a broker; its topics."""
    settings = MqttSettings(host=HOST, device=device)
    topics = Topics.of(settings)
    left = [homeassistant.discovery(settings, topics, "0.1.0")]
    left += [Publication(topic, json.dumps({"from": device}), retain=True) for topic in topics.retained]
    left.append(homeassistant.availability(topics, state))
    with Subscriber(port, user=user) as everything:
        for publication in left:
            everything.publish(publication.topic, publication.payload, retain=True)
    return {publication.topic for publication in left}


def remove(port, *more):
    settings = {"mqtt.host": HOST, "mqtt.port": port, "device.id": "nursery"}
    words = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    return main(["hub", "remove", *words, *more])


def test_nothing_is_left_of_the_device_and_all_of_the_other(mosquitto, capsys):
    ours = published(mosquitto.port, "nursery")
    theirs = published(mosquitto.port, "nursery-2")
    assert set(retained(mosquitto.port)) == ours | theirs
    assert remove(mosquitto.port) == 0
    assert set(retained(mosquitto.port)) == theirs
    out = capsys.readouterr().out
    assert all(topic in out for topic in ours)
    assert "nursery-2" not in out
    assert "online" not in out


@pytest.mark.parametrize("holder", ["nursery-2", "nursery_2"])
def test_the_entities_of_a_device_with_an_id_like_ours_stay(mosquitto, holder):
    published(mosquitto.port, "nursery-2")
    published(mosquitto.port, "nursery_2")
    topic = "homeassistant/device/cradlewatch_nursery_2/config"
    settings = MqttSettings(host=HOST, device=holder)
    with Subscriber(mosquitto.port) as everything:
        everything.publish(
            topic, homeassistant.discovery(settings, Topics.of(settings), "0.1.0").payload, retain=True
        )
    assert remove(mosquitto.port, "--set", "device.id=nursery-2") == 0
    left = retained(mosquitto.port)
    assert (topic in left) == (holder == "nursery_2")
    assert not any(name.startswith("cradlewatch/nursery-2/") for name in left)
    assert any(name.startswith("cradlewatch/nursery_2/") for name in left)


def test_a_device_whose_service_runs_stays_and_the_reason_is_told(mosquitto, capsys):
    ours = published(mosquitto.port, "nursery", state=ONLINE)
    assert remove(mosquitto.port) == 1
    assert set(retained(mosquitto.port)) == ours
    error = capsys.readouterr().err
    assert '"nursery" is online' in error
    assert "Stop the service first" in error


def test_force_removes_it_all_the_same_and_warns(mosquitto, capsys):
    published(mosquitto.port, "nursery", state=ONLINE)
    assert remove(mosquitto.port, "--force") == 0
    assert retained(mosquitto.port) == {}
    assert "A service that still runs announces it again" in capsys.readouterr().out


def test_a_second_time_does_no_harm_and_says_that_nobody_knew_it(mosquitto, capsys):
    assert remove(mosquitto.port) == 0
    assert retained(mosquitto.port) == {}
    assert "did not say whether it is online" in capsys.readouterr().out


def test_without_a_broker_it_says_so(capsys):
    port = free_port()
    assert remove(port) == 1
    assert f"Nothing listens at {HOST}:{port}" in capsys.readouterr().err


def test_without_a_configured_broker_there_is_no_hub_to_leave(capsys):
    assert main(["hub", "remove"]) == 2
    assert "mqtt.host is not set" in capsys.readouterr().err


def access(folder, user):
    (folder / "password").write_text("secret")
    settings = {"mqtt.username": user, "mqtt.password_file": folder / "password"}
    return [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]


def test_with_the_access_list_that_we_recommend_it_does_both(tmp_path, capsys):
    acl = (ROOT / "deploy" / "mosquitto" / "acl.example").read_text() + "user admin\ntopic readwrite #\n"
    users = dict.fromkeys(("admin", "cradlewatch-nursery"), "secret")
    with Mosquitto(tmp_path / "broker", users=users, acl=acl) as broker:
        published(broker.port, "nursery", state=ONLINE, user=("admin", "secret"))
        assert remove(broker.port, *access(tmp_path, "cradlewatch-nursery")) == 1
        assert '"nursery" is online' in capsys.readouterr().err
        assert remove(broker.port, *access(tmp_path, "cradlewatch-nursery"), "--force") == 0


def test_a_broker_that_does_not_permit_it_is_named_with_the_topic(tmp_path, capsys):
    acl = "user monitor\ntopic readwrite cradlewatch/nursery/#\n"
    with Mosquitto(tmp_path / "broker", users={"monitor": "secret"}, acl=acl) as broker:
        assert remove(broker.port, *access(tmp_path, "monitor")) == 1
    assert "homeassistant/device/cradlewatch_nursery/config" in capsys.readouterr().err
