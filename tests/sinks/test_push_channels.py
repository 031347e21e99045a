import importlib
import logging
import socket
import ssl
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress

import certifi
import pytest

from monitor.errors import ConfigError
from monitor.sinks import push_reasons
from monitor.sinks.push_channels import Channel
from monitor.sinks.push_notes import Notification, Urgency
from monitor.sinks.push_settings import ChannelSettings
from tests.broker import Authority
from tests.patience import shared
from tests.sinks.receivers import HttpReceiver, MailReceiver, free_port

LINK = "http://pi.local:8099/acknowledge/token"
ALL = list(Urgency)


@pytest.fixture
def http():
    with HttpReceiver() as receiver:
        yield receiver


def note(urgency=Urgency.HIGH, *, title="Nursery: crying", text="Crying since 03:04, 20 s so far.", **keys):
    return Notification(
        "cry-e1.1", "cry-e1", title, text, urgency, ("Mum",), 300.0, step=2, episode_id="e1", **keys
    )


def channel(url, name="Mum"):
    return Channel(ChannelSettings(name, url))


def send(url, *args, link=LINK, left_s=120.0, **keys):
    return channel(url).send(note(*args, **keys), left_s=left_s, acknowledge_url=link)


# --- urgency on the wire ------------------------------------------------------------------------------


def test_ntfy_gets_each_priority_a_button_and_no_picture_from_the_internet(http):
    for urgency in ALL:
        assert send(f"ntfy://{http.address}/topic?priority=min&tags=nursery", urgency).ok
    # 2, 3, 4 and 5: ntfy knows them by name, and the one without a header is its default, 3.
    assert [r.headers.get("x-priority") for r in http.received] == ["low", None, "high", "max"]
    urgent = http.received[-1]
    assert urgent.path == "/"
    assert urgent.json == {
        "topic": "topic",
        "title": "Nursery: crying",
        "message": "Crying since 03:04, 20 s so far.",
    }
    assert urgent.headers["x-actions"] == f"http, Acknowledge, {LINK}, method=POST, clear=true"
    assert urgent.headers["x-tags"] == "nursery,rotating_light"
    assert "x-icon" not in urgent.headers


def test_ntfy_logs_in_with_a_token_or_a_password(http):
    assert send(f"ntfy://tk_abcdefg@{http.address}/topic").ok
    assert send(f"ntfy://mum:secret@{http.address}/topic").ok
    assert [r.headers["authorization"].split()[0] for r in http.received] == ["Bearer", "Basic"]


def test_pushover_gets_each_priority_and_an_emergency_ends_with_the_news(http, monkeypatch):
    plugin = importlib.import_module("apprise.plugins.pushover").NotifyPushover
    monkeypatch.setattr(plugin, "notify_url", f"http://{http.address}/1/messages.json")
    for urgency in ALL:
        assert send("pover://user0key0@token0abc", urgency, left_s=95.4).ok
    forms = [r.form for r in http.received]
    assert [form["priority"] for form in forms] == ["-1", "0", "1", "2"]
    assert (forms[3]["retry"], forms[3]["expire"]) == ("30", "95")
    assert "retry" not in forms[2]
    assert (forms[3]["url"], forms[3]["url_title"]) == (LINK, "Acknowledge")
    assert (forms[3]["title"], forms[3]["message"]) == ("Nursery: crying", "Crying since 03:04, 20 s so far.")


@pytest.mark.parametrize(
    ("left_s", "repeats_s", "expire"),
    [(3.0, 0.0, "30"), (90_000.0, 0.0, "10800"), (300.0, 60.0, "60"), (40.0, 60.0, "40")],
)
def test_pushover_rings_until_our_own_next_one(http, monkeypatch, left_s, repeats_s, expire):
    plugin = importlib.import_module("apprise.plugins.pushover").NotifyPushover
    monkeypatch.setattr(plugin, "notify_url", f"http://{http.address}/1/messages.json")
    assert send("pover://user0key0@token0abc", Urgency.URGENT, left_s=left_s, repeats_s=repeats_s).ok
    assert http.received[0].form["expire"] == expire


def test_telegram_is_silent_for_quiet_notes_only_and_shows_the_link(http, monkeypatch):
    plugin = importlib.import_module("apprise.plugins.telegram").NotifyTelegram
    monkeypatch.setattr(plugin, "notify_url", f"http://{http.address}/bot")
    for urgency in ALL:
        assert send("tgram://123456789:abcdefg_hijklmnop/12315544", urgency, text="5 < 6 & more").ok
    assert all(r.path.endswith("/sendMessage") for r in http.received)
    assert [r.json["disable_notification"] for r in http.received] == [True, False, False, False]
    assert LINK in http.received[0].json["text"]
    assert "5 &lt; 6 &amp; more" in http.received[0].json["text"], "as HTML, which that service reads"


def test_gotify_gets_each_priority(http):
    for urgency in ALL:
        assert send(f"gotify://{http.address}/tokentoken", urgency).ok
    assert [r.json["priority"] for r in http.received] == [3, 5, 8, 10]
    assert LINK in http.received[0].json["message"]


def test_a_webhook_gets_urgency_and_link_as_fields(http):
    for urgency in ALL:
        assert send(f"json://{http.address}/hook?:room=nursery", urgency).ok
    assert [r.json["urgency"] for r in http.received] == ["quiet", "normal", "high", "urgent"]
    assert [r.json["priority"] for r in http.received] == ["2", "3", "4", "5"]
    assert [r.json["type"] for r in http.received] == ["info", "info", "warning", "failure"]
    got = http.received[3]
    assert got.path == "/hook"
    wanted = {
        "title": "Nursery: crying",
        "message": "Crying since 03:04, 20 s so far.",
        "key": "cry-e1.1",
        "tag": "cry-e1",
        "step": "2",
        "episode_id": "e1",
        "acknowledge_url": LINK,
        "room": "nursery",
    }
    assert got.json.items() >= wanted.items()


def test_a_form_webhook_gets_them_as_well(http):
    assert send(f"form://{http.address}/hook", Urgency.URGENT).ok
    assert http.received[0].form["urgency"] == "urgent"
    assert http.received[0].form["acknowledge_url"] == LINK


def test_mail_carries_its_importance_in_the_headers():
    with MailReceiver() as mail:
        for urgency in ALL:
            assert send(f"mailto://{mail.address}/?from=pi@home.example&to=mum@home.example", urgency).ok
        assert [m["X-Priority"] for m in mail.mails] == ["5", "3", "2", "1"]
        assert [m["Importance"] for m in mail.mails] == ["low", "normal", "high", "high"]
        assert mail.mails[3]["Subject"] == "Nursery: crying"
        assert LINK in mail.mails[3].get_payload(decode=True).decode()


def test_without_a_link_no_channel_offers_one(http):
    assert send(f"ntfy://{http.address}/topic", link="").ok
    assert send(f"gotify://{http.address}/tokentoken", link="").ok
    assert "x-actions" not in http.received[0].headers
    assert "cknowledge" not in http.received[1].json["message"]


def test_a_title_of_any_language_arrives(http):
    assert send(f"ntfy://{http.address}/topic", title="Kinderzimmer: schreit, 寝室", text="Größe ✓").ok
    assert http.received[0].json["title"] == "Kinderzimmer: schreit, 寝室"


# --- why it failed ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "reason", "remedy"),
    [
        (301, "301", "forwards to"),
        (308, "308", "forwards to"),
        (401, "401", "user, password or token"),
        (404, "404", "topic"),
        (429, "429", "limits"),
        (500, "500", "service itself"),
    ],
)
def test_a_refusal_is_told_with_its_status_and_a_remedy(http, status, reason, remedy):
    http.answers.append(status)
    attempt = send(f"ntfy://tk_verysecret@{http.address}/secrettopic")
    assert not attempt.ok
    assert reason in attempt.reason
    assert remedy in attempt.remedy
    assert "secret" not in attempt.reason


def test_a_refused_connection_and_an_unknown_host_are_told_as_such():
    for url in (f"ntfy://127.0.0.1:{free_port()}/topic", f"json://u:p@127.0.0.1:{free_port()}/x"):
        assert send(url).reason == "The connection was refused."
    attempt = send(f"mailto://127.0.0.1:{free_port()}/?from=a@b.example&to=c@d.example")
    assert attempt.reason == "The connection was refused."
    assert send("json://no-such-host.invalid/x").reason == "The host name is not known."
    attempt = send("ntfy://no-such-host.local/topic")
    assert attempt.reason == "The host name is not known."
    assert "multicast DNS" in attempt.remedy


def test_a_service_that_does_not_answer_is_given_up_in_time(http):
    http.hold.clear()
    attempt = send(f"json://{http.address}/x?rto=0.2")
    assert attempt.reason == "It did not answer in time."
    assert attempt.elapsed_s < shared(5)


def test_a_mail_server_that_refuses_is_no_delivery():
    with MailReceiver() as mail:
        mail.refuse = True
        attempt = send(f"mailto://{mail.address}/?from=a@b.example&to=mum@home.example")
        assert not attempt.ok
        assert "not today" in attempt.reason
        assert "mum@home" not in attempt.reason


def test_nothing_that_apprise_says_reaches_our_log(http):
    said = []

    class Journal(logging.Handler):
        def emit(self, record):
            said.append(record.getMessage())

    root, journal = logging.getLogger(), Journal()
    root.setLevel(logging.DEBUG)
    root.addHandler(journal)
    http.answers += [500, 200]
    for _ in range(2):
        send(f"json://user0:hunter22@{http.address}/secretpath?+X-Key=topsecret")
    assert len(http.received) == 2
    assert not [line for line in said if "secret" in line or "hunter22" in line]


def test_a_secret_is_hidden_as_it_stands_in_an_address_as_well():
    secrets = push_reasons.secrets("json://u:p%2Fq%3Dr@home.example", {"password": "p/q=r"})
    assert push_reasons.hidden("no answer to /p%2Fq%3Dr/send at home.example", secrets) == (
        "no answer to /…/send at home.example"
    )


@pytest.mark.parametrize(
    "url",
    ["nonsense://abcdef/ghijkl", "pover://onlyonekey", "tgram://nobot/123", "a://", "?x://abcdef\rghijkl"],
)
def test_a_url_that_can_never_work_is_refused_without_being_shown(url):
    with pytest.raises(ConfigError) as caught:
        channel(url, "Dad").check()
    message = str(caught.value)
    assert "'Dad'" in message
    assert "push.channels_file" in message
    for secret in ("abcdef", "ghijkl", "onlyonekey", "nobot"):
        assert secret not in message


@pytest.mark.parametrize(
    ("url", "remedy"),
    [
        (
            "ntfy://mum:sec1#ret2@example/alarm",
            'a "#" in user name or password, which ends them there. Write it as %23.',
        ),
        (
            "ntfy://mum:sec1@ret2@example/alarm",
            'a "@" in user name or password, which ends them there. Write it as %40.',
        ),
        (
            "ntfys://mum:sec1/ret2@example/alarm",
            'a "/" in user name or password, which ends them there. Write it as %2F.',
        ),
        (
            "json://mum:sec1?ret2@example/alarm",
            'a "?" in user name or password, which ends them there. Write it as %3F.',
        ),
        (
            "ntfys://mum:sec1@example/alarmü",
            'holds "ü", which ntfy refuses. Choose a topic of a-z, A-Z, 0-9, - and _.',
        ),
        ("tgram://sec1ö/ret2", 'Write its "ö" as %C3%B6.'),
    ],
)
def test_a_character_that_means_something_else_is_named_and_nothing_beside_it(url, remedy):
    with pytest.raises(ConfigError) as caught:
        channel(url, "Dad").check()
    message = str(caught.value)
    assert message.endswith(remedy)
    assert "'Dad'" in message
    assert not any(secret in message for secret in ("mum", "sec1", "ret2", "example", "alarm"))


@pytest.mark.parametrize(
    "url",
    [
        "ntfys://ntfy.example/topic",
        "ntfys://mum:hu%23%40%2F@ntfy.example:8080/topic/t2",
        "tgram://123456789:abcdefg_hijklmnop/@channel",
        "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#general",
        "mailtos://user:password@example.org?to=grandma@example.org",
        "mailtos://user:password@example.org/grandma@example.org",
        "jsons://host:8443/hook?to=a@b",
    ],
)
def test_a_url_that_works_is_accepted(url):
    channel(url).check()


def test_without_apprise_it_is_said_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(ConfigError, match="Apprise is not installed") as caught:
        channel("ntfys://ntfy.example/topic").check()
    assert caught.value.remedy == "Install it: pip install 'cradlewatch[push]'"


# --- encryption ---------------------------------------------------------------------------------------


@contextmanager
def tls_server(certificate, key):
    """Shakes hands and hangs up: more is not needed to be refused."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve():
            with suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    with connection, suppress(OSError):
                        context.wrap_socket(connection, server_side=True).close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority.create(tmp_path_factory.mktemp("authority"))


@pytest.mark.parametrize(
    ("names", "valid", "known", "reason", "remedy"),
    [
        ("IP:127.0.0.1", ("20200101", "20200201"), True, "of another time", "clock"),
        ("IP:127.0.0.1", ("20900101", "20900201"), True, "of another time", "clock"),
        ("DNS:hub", None, True, "not trusted", "name that stands in its certificate"),
        ("IP:127.0.0.1", None, False, "authority that this machine does not know", "Install the certificate"),
    ],
    ids=["expired", "not yet valid", "another name", "unknown authority"],
)
def test_a_certificate_that_does_not_fit_has_the_remedy_that_helps(
    monkeypatch, authority, names, valid, known, reason, remedy
):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.ca_file) if known else certifi.where())
    with tls_server(*authority.issue("push", names, valid=valid)) as port:
        attempt = send(f"ntfys://127.0.0.1:{port}/topic")
    assert reason in attempt.reason
    assert remedy in attempt.remedy


def test_encryption_asked_of_a_server_without_it_is_told(http):
    attempt = send(f"ntfys://{http.address}/topic")
    assert attempt.reason == "It does not speak TLS at that port."
    assert "without encryption" in attempt.remedy


def test_the_first_alarm_loads_nothing_from_the_disk(http):
    """A card that does not answer would hold it up."""
    program = (
        "import sys\n"
        "from monitor.sinks.push_channels import Channel\n"
        "from monitor.sinks.push_notes import Notification, Urgency\n"
        "from monitor.sinks.push_settings import ChannelSettings\n"
        "channel = Channel(ChannelSettings('Mum', sys.argv[1]))\n"
        "channel.check()\n"
        "before = set(sys.modules)\n"
        "note = Notification('k', 't', 'T', 'x', Urgency.HIGH, ('Mum',), 60.0)\n"
        "print(channel.send(note, left_s=60.0).ok, *sorted(set(sys.modules) - before))\n"
    )
    for url in (
        f"json://{http.address}/x",
        f"ntfy://{http.address}/t",
        f"gotify://{http.address}/tokentoken",
    ):
        ran = subprocess.run([sys.executable, "-c", program, url], capture_output=True, text=True, check=True)
        assert ran.stdout == "True\n"
