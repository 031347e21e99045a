"""The examples for Mosquitto in deploy/, run by a real one: TLS, passwords and exactly that access list."""

import json
from pathlib import Path

import pytest

from monitor.commands import Request
from monitor.messages import TestMessage
from monitor.sinks.mqtt_probe import probe
from tests.broker import Authority, Mosquitto, Subscriber
from tests.sinks.messages import HUNGRY, ONSET, episode, health, telemetry
from tests.sinks.mqtt_room import BASE, DISCOVERY, Clock, running_sink, settings_for, settle, work

pytestmark = [
    pytest.mark.broker,
    # paho leaves the socket of a failed handshake to the garbage collector, which complains.
    pytest.mark.filterwarnings(
        "ignore:Exception ignored in. <ssl.SSLSocket:pytest.PytestUnraisableExceptionWarning"
    ),
]

EXAMPLES = Path(__file__).parents[2] / "deploy" / "mosquitto"
NURSERY, KITCHEN, HUB = (
    ("cradlewatch-nursery", "n-secret"),
    ("cradlewatch-kitchen", "k-secret"),
    ("homeassistant", "h-secret"),
)


def access_list():
    """The example with a second monitor, made from the block of the first as its comments say."""
    text = (EXAMPLES / "acl.example").read_text()
    block = text[text.index("user cradlewatch-nursery") : text.index("# --- the hub")]
    return text + "\n" + block.replace("nursery", "kitchen")


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    folder = tmp_path_factory.mktemp("home")
    authority = Authority.create(folder / "ca")
    home = Mosquitto(
        folder / "broker", users=dict([NURSERY, KITCHEN, HUB]), authority=authority, acl=access_list()
    )
    (home.folder / "db").mkdir()
    text = (EXAMPLES / "cradlewatch.conf.example").read_text()
    for ours, here in {
        "listener 8883": f"user root\nlistener {home.port} 127.0.0.1",
        "/etc/mosquitto/certs": str(authority.folder),
        "/etc/mosquitto/passwords": str(home.folder / "passwords"),
        "/etc/mosquitto/acl": str(home.folder / "acl"),
        "/var/lib/mosquitto/": f"{home.folder / 'db'}/",
    }.items():
        assert ours in text
        text = text.replace(ours, here)
    (home.folder / "mosquitto.conf").write_text(text)
    with home:
        yield home


class Asked(list):
    put = list.append


def account(broker, user):
    return {
        "username": user[0],
        "password": user[1],
        "tls": True,
        "ca_file": broker.authority.ca_file,
        "device": user[0].partition("-")[2],
    }


def client(broker, user, topics="#"):
    return Subscriber(broker.port, topics, user=user, ca_file=broker.authority.ca_file)


def test_the_service_may_do_all_that_it_needs(broker):
    clock, inbox = Clock(), Asked()
    clocks = {"now": clock.now, "monotonic_s": clock.monotonic_s}
    with (
        client(broker, HUB) as hub,
        running_sink(broker, inbox=inbox, **clocks, **account(broker, NURSERY)) as sink,
    ):
        broker.freeze()
        sink.handle(episode(episode_id="old"))
        clock.ahead_s = 301.0
        broker.thaw()
        settle(sink)
        for message in (
            health(),
            telemetry(),
            episode(cause=HUNGRY),
            episode("ended"),
            TestMessage(event_id="t", device="nursery", time=ONSET, source="hub"),
        ):
            sink.handle(message)
        settle(sink)
        hub.wait_for(lambda _: len(hub.on(f"{BASE}/cry")) == 3 and hub.on(f"{BASE}/late"))
        names = ("availability", "crying", "cause", "telemetry", "health")
        assert {DISCOVERY, *(f"{BASE}/{name}" for name in names)} <= {m.topic for m in hub.received}
        hub.publish(f"{BASE}/set/mute", "15 min")
        work(sink, lambda: inbox == [Request("mute", b"15 min", "hub")], "the hub's command is heard")
        hub.forget()
        hub.publish("homeassistant/status", "online")
        work(sink, lambda: hub.on(DISCOVERY), "the hub's birth is heard")
        settle(sink)
        assert (sink.fault(), sink.stats().refused) == ("", 0)
    result = probe(settings_for(broker.port, **account(broker, NURSERY)), 10.0)
    assert result.ok, result.problem


def test_a_monitor_cannot_hear_another_room_nor_command_it(broker):
    inbox = Asked()
    with (
        client(broker, HUB) as hub,
        client(broker, NURSERY) as spy,
        running_sink(broker, inbox=inbox, **account(broker, KITCHEN)) as kitchen,
    ):
        settle(kitchen)
        spy.publish("cradlewatch/kitchen/set/mute", "8 h")
        spy.publish("cradlewatch/nursery/set/mute", "8 h")
        spy.publish("homeassistant/device/cradlewatch_kitchen/config", "")
        kitchen.handle(episode())
        settle(kitchen)
        hub.publish("cradlewatch/kitchen/set/mute", "off")
        hub.publish("homeassistant/status", "offline")
        work(kitchen, lambda: inbox, "the hub's command is heard")
        spy.wait_for(lambda _: spy.on("homeassistant/status"))
        hub.wait_for(lambda _: hub.on("cradlewatch/kitchen/cry"))
        assert inbox == [Request("mute", b"off", "hub")]
        its_own = {"homeassistant/status", "cradlewatch/nursery/availability"}
        assert {message.topic for message in spy.received} <= its_own
        assert "8 h" not in {message.payload for message in hub.received}
        configs = hub.on("homeassistant/device/cradlewatch_kitchen/config")
        assert configs
        assert all(json.loads(payload)["cmps"] for payload in configs), "nobody removed the entities"


def test_the_hub_cannot_pretend_that_a_baby_cries(broker):
    with client(broker, HUB) as hub:
        hub.publish(f"{BASE}/cry", "{}")
        hub.publish(f"{BASE}/set/mute", "off")
        hub.publish("homeassistant/end", "")
        hub.wait_for(lambda _: hub.on("homeassistant/end"))
        assert hub.on(f"{BASE}/cry") == []


def test_a_monitor_with_the_rights_of_another_says_what_it_lacks(broker):
    mixed = account(broker, NURSERY) | {"device": "kitchen"}
    with running_sink(broker, **mixed) as sink:
        sink.handle(episode())
        work(sink, lambda: "not let us publish" in sink.fault(), "the refusal is told")
        assert "reason code 135" in sink.fault()
        assert 'Allow user "cradlewatch-nursery" to write' in sink.fault()
        assert sink.stats().waiting == 1, "the event is kept"


@pytest.mark.parametrize(
    ("user", "said"),
    [(("cradlewatch-nursery", "wrong"), "mqtt.password_file"), ((None, None), "mqtt.username")],
)
def test_nobody_comes_in_without_the_right_password(broker, user, said):
    guest = account(broker, NURSERY) | {"username": user[0], "password": user[1]}
    with running_sink(broker, **guest) as sink:
        work(sink, lambda: "refused us" in sink.fault(), "the refusal is told")
        assert said in sink.fault()


def test_nobody_comes_in_without_encryption(broker):
    plain = account(broker, NURSERY) | {"tls": False, "ca_file": None}
    with running_sink(broker, **plain) as sink:
        work(sink, lambda: "mqtt.tls = true" in sink.fault(), "the fault is told")
