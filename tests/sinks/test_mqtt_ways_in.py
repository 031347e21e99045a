"""Passwords, access lists, TLS and protocol versions, with real brokers."""

import pytest

from monitor.sinks.mqtt_probe import probe
from monitor.sinks.mqtt_states import REFUSED_AGAIN_S
from tests.broker import Authority, Mosquitto, Subscriber, free_port
from tests.sinks.messages import episode, health
from tests.sinks.mqtt_room import (
    BASE,
    DISCOVERY,
    Clock,
    amqtt_broker,
    refusing_mqtt_5,
    running_sink,
    settings_for,
    settle,
    work,
)

pytestmark = [
    pytest.mark.broker,
    # paho leaves the socket of a failed handshake to the garbage collector, which complains.
    pytest.mark.filterwarnings(
        "ignore:Exception ignored in. <ssl.SSLSocket:pytest.PytestUnraisableExceptionWarning"
    ),
]

USERS = {"monitor": "sleep-well", "hub": "hub-password"}
MONITOR = {"username": "monitor", "password": "sleep-well"}
ACL = """
user monitor
topic readwrite cradlewatch/nursery/#
topic write homeassistant/device/cradlewatch_nursery/config
topic read homeassistant/status

user hub
topic readwrite #
"""
TRY_S = 10.0


@pytest.fixture
def guarded(tmp_path):
    """A broker with users and an access list."""
    with Mosquitto(tmp_path / "guarded", users=USERS, acl=ACL) as broker:
        yield broker


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority.create(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def encrypted(tmp_path, authority):
    with Mosquitto(tmp_path / "encrypted", authority=authority) as broker:
        yield broker


# --- users and access lists -----------------------------------------------------------------------


def test_the_rights_of_the_example_suffice_and_no_secret_is_published(guarded):
    with Subscriber(guarded.port, user=("hub", "hub-password")) as hub:
        with running_sink(guarded, **MONITOR) as sink:
            settle(sink)
            sink.handle(episode())
            settle(sink)
            hub.wait_for(lambda _: hub.on(f"{BASE}/cry"))
            assert sink.fault() == ""
            assert sink.stats().refused == 0
        hub.wait_for(lambda _: hub.last(f"{BASE}/availability") == "offline")
        assert not any(
            secret in message.payload for message in hub.received for secret in ("sleep-well", "monitor:")
        )


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_a_wrong_password_is_a_fault_that_names_user_and_remedy(guarded, protocol):
    with running_sink(guarded, username="monitor", password="wrong", protocol=protocol) as sink:
        work(sink, lambda: "refused us" in sink.fault(), "the refusal is told")
        said = sink.fault()
    assert f"127.0.0.1:{guarded.port}" in said
    assert 'user "monitor"' in said
    assert "mqtt.password_file" in said
    assert "wrong" not in said


def test_an_unknown_guest_is_told_to_name_himself(guarded):
    with running_sink(guarded) as sink:
        work(sink, lambda: "mqtt.username" in sink.fault(), "the refusal is told")


def test_a_topic_that_is_not_permitted_is_a_fault_with_topic_and_code(tmp_path):
    acl = ACL.replace(f"topic write {DISCOVERY}\n", "")
    with (
        Mosquitto(tmp_path / "strict", users=USERS, acl=acl) as strict,
        running_sink(strict, **MONITOR) as sink,
    ):
        work(sink, lambda: sink.stats().refused, "the refusal is counted")
        said = sink.fault()
        assert DISCOVERY in said
        assert "reason code 135" in said
        assert 'Allow user "monitor" to write' in said
        sink.handle(episode())
        work(sink, lambda: sink.stats().waiting == 0, "what is permitted goes through")


def test_a_fault_of_rights_ends_when_the_topic_is_granted(tmp_path):
    acl = ACL.replace(f"topic write {DISCOVERY}\n", "")
    with (
        Mosquitto(tmp_path / "strict", users=USERS, acl=acl) as strict,
        running_sink(strict, **MONITOR) as sink,
    ):
        work(sink, lambda: DISCOVERY in sink.fault(), "the refusal is told")
        strict.stop()
        (strict.folder / "acl").write_text(ACL)
        strict.start()
        work(sink, lambda: sink.fault() == "", "all is well again")


def test_a_state_that_was_refused_is_said_again_until_it_is_granted(tmp_path):
    """A broker that reads its access list again says nothing, and a state may not change for hours."""
    clock = Clock()
    denied = ACL.replace("user monitor\n", f"user monitor\ntopic deny {BASE}/health\n")
    assert denied != ACL
    with (
        Mosquitto(tmp_path / "strict", users=USERS, acl=denied) as strict,
        running_sink(strict, **MONITOR, monotonic_s=clock.monotonic_s) as sink,
    ):
        settle(sink)
        sink.handle(health())
        work(sink, lambda: f"{BASE}/health" in sink.fault(), "the refusal is told")
        (strict.folder / "acl").write_text(ACL)
        strict.reload()
        clock.ahead_s += REFUSED_AGAIN_S
        work(sink, lambda: sink.fault() == "", "all is well again")
        with Subscriber(strict.port, f"{BASE}/health", user=("hub", "hub-password")) as hub:
            hub.wait_for(lambda _: hub.on(f"{BASE}/health"))


# --- TLS ------------------------------------------------------------------------------------------


def test_tls_with_our_own_authority(encrypted, authority):
    with (
        Subscriber(encrypted.port, ca_file=authority.ca_file) as hub,
        running_sink(encrypted, tls=True, ca_file=authority.ca_file) as sink,
    ):
        settle(sink)
        sink.handle(episode())
        settle(sink)
        hub.wait_for(lambda _: hub.on(f"{BASE}/cry"))


def test_a_certificate_of_a_stranger_is_not_trusted(encrypted, tmp_path):
    stranger = Authority.create(tmp_path / "stranger")
    for ca_file in (stranger.ca_file, None):
        with running_sink(encrypted, tls=True, ca_file=ca_file) as sink:
            work(sink, lambda sink=sink: "not trusted" in sink.fault(), "the fault is told")
            assert "mqtt.ca_file" in sink.fault()
            assert not sink.stats().connected


def test_a_certificate_for_another_host_is_not_trusted(tmp_path, authority):
    elsewhere = tmp_path / "elsewhere"
    with (
        Mosquitto(elsewhere, authority=_Renamed(authority.folder)) as broker,
        running_sink(broker, tls=True, ca_file=authority.ca_file) as sink,
    ):
        work(sink, lambda: "not trusted" in sink.fault(), "the fault is told")
        assert "127.0.0.1" in sink.fault()


class _Renamed(Authority):
    def issue(self, name, alternative_names="DNS:another-host"):
        return super().issue(name, alternative_names)


class _Dated(Authority):
    def __init__(self, folder, valid):
        super().__init__(folder)
        self.valid = valid

    def issue(self, name):
        return super().issue(name, valid=self.valid)


@pytest.mark.parametrize(
    ("valid", "what", "remedy"),
    [
        (("20200101", "20210101"), "has expired", "Renew the broker's certificate"),
        (("20600101", "20610101"), "is not valid yet", "Set the clock (`timedatectl`)"),
    ],
)
def test_a_certificate_of_another_time_is_a_matter_of_the_clock(tmp_path, authority, valid, what, remedy):
    with (
        Mosquitto(tmp_path / "dated", authority=_Dated(authority.folder, valid)) as broker,
        running_sink(broker, tls=True, ca_file=authority.ca_file) as sink,
    ):
        work(sink, lambda: what in sink.fault(), "the fault is told")
        assert f"{what} by this machine's clock, which shows 20" in sink.fault()
        assert remedy in sink.fault()
        assert "ca_file" not in sink.fault()


def test_a_client_certificate_opens_a_broker_that_asks_for_one(tmp_path, authority):
    certificate, key = authority.issue("nursery", "DNS:nursery")
    asking = Mosquitto(tmp_path / "asking", authority=authority, client_certificates=True)
    trust = {"tls": True, "ca_file": authority.ca_file}
    with asking:
        with running_sink(asking, **trust, cert_file=certificate, key_file=key) as sink:
            settle(sink)
        with running_sink(asking, **trust) as sink:
            work(sink, lambda: "certificate" in sink.fault(), "the fault is told")


def test_tls_to_a_plain_port_and_plain_to_a_tls_port_are_told_apart(encrypted, mosquitto):
    with running_sink(mosquitto, tls=True) as sink:
        work(sink, lambda: "mqtt.port is" in sink.fault(), "the fault is told")
    with running_sink(encrypted) as sink:
        work(sink, lambda: "mqtt.tls = true" in sink.fault(), "the fault is told")


# --- protocol versions ----------------------------------------------------------------------------


def test_it_falls_back_to_3_1_1_at_a_broker_that_knows_no_5():
    with amqtt_broker() as port, running_sink(port, answer_timeout_s=0.5) as sink:
        settle(sink)
        with Subscriber(port, protocol=4) as hub:
            sink.handle(episode())
            settle(sink)
            hub.wait_for(lambda _: hub.on(f"{BASE}/cry") and hub.on(DISCOVERY))
            sink.close(5)
            hub.wait_for(lambda _: hub.last(f"{BASE}/availability") == "offline")
        result = probe(settings_for(port, answer_timeout_s=0.5), TRY_S)
        assert (result.ok, result.protocol) == (True, "3.1.1")
        assert "cannot say" in result.note
        with running_sink(port, protocol="5", answer_timeout_s=0.5) as stubborn:
            work(stubborn, lambda: "does not answer" in stubborn.fault(), "the fault is told")
            assert 'mqtt.protocol = "3.1.1"' in stubborn.fault()


@pytest.mark.parametrize(
    ("answer", "levels"),
    [
        pytest.param(b"", [5, 5, 4], id="hangs-up"),
        # CONNACK "unacceptable protocol version" of MQTT 3.1.1, section 3.2.2.3
        pytest.param(b"\x20\x02\x00\x01", [5, 4], id="says-no"),
    ],
)
def test_it_falls_back_at_a_broker_that_refuses_5(mosquitto, answer, levels):
    with refusing_mqtt_5(mosquitto.port, answer) as (port, came), running_sink(port) as sink:
        sink.handle(episode())
        settle(sink)
        assert came[: len(levels)] == levels
        assert sink.fault() == ""
        # What comes back after a lost connection is asked for 5 again.
        del came[:]
        mosquitto.kill()
        work(sink, sink.fault, "the loss is noticed")
        mosquitto.start()
        work(sink, lambda: sink.stats().connections == 2, "it is back")
        assert came[0] == 5
        assert came[-1] == 4


def test_3_1_1_can_be_chosen(mosquitto):
    with running_sink(mosquitto, protocol="3.1.1") as sink:
        settle(sink)
    assert "as cradlewatch-nursery (p2, c1, k15" in mosquitto.log()


# --- the probe of `cradlewatch check` --------------------------------------------------------------


def test_the_probe_finds_a_broker_that_permits_and_leaves_nothing_behind(guarded):
    with (
        Subscriber(guarded.port, user=("hub", "hub-password")) as hub,
        running_sink(guarded, **MONITOR) as sink,
    ):
        settle(sink)
        result = probe(settings_for(guarded.port, **MONITOR), TRY_S)
        assert result.ok
        assert result.protocol == "5"
        assert 0 < result.round_trip_ms < TRY_S * 1000
        assert result.problem == result.remedy == result.note == ""
        hub.wait_for(lambda _: hub.on(f"{BASE}/check"))
        assert not any(m.retain for m in hub.received if m.topic == f"{BASE}/check")
        sink.tick()
        assert sink.stats().connections == 1, "the service keeps its connection"


def test_the_probe_says_what_is_wrong(guarded, encrypted, authority):
    acl_denied = settings_for(guarded.port, **MONITOR, base_topic="elsewhere")
    cases = [
        (settings_for(free_port()), "Nothing listens", "Start the broker"),
        (settings_for(guarded.port, username="monitor", password="no"), "refused us", "password"),
        (acl_denied, "elsewhere/nursery/check: Not authorized (reason code 135)", "access list"),
        (settings_for(encrypted.port, tls=True), "not trusted", "mqtt.ca_file"),
        (settings_for(1883, host="no-such-host.invalid"), "is unknown", "mqtt.host"),
    ]
    for settings, problem, remedy in cases:
        result = probe(settings, TRY_S)
        assert not result.ok
        assert problem in result.problem
        assert remedy in result.remedy


def test_the_probe_gives_up_in_time_at_a_broker_that_says_nothing(mosquitto):
    mosquitto.freeze()
    result = probe(settings_for(mosquitto.port), 0.3)
    mosquitto.thaw()
    assert not result.ok
    assert "has not answered" in result.problem
