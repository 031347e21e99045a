"""What the last net catches, and what it leaves alone."""

import time

import pytest

from monitor.redaction import hide_credentials


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("joe:hush@hub", "(hidden)@hub"),
        ('mqtt.host = "joe:hush@hub:1883" is', 'mqtt.host = "(hidden)@hub:1883" is'),
        ("mqtts://joe:hush@[::1]:8883/x", "mqtts://(hidden)@[::1]:8883/x"),
        ("ntfy://:tk_hush@host/topic", "ntfy://(hidden)@host/topic"),
        ("http://joe:a/b@c@hub/path", "http://(hidden)@hub/path"),
        ("push.callback_url=https://joe:hush@pi", "push.callback_url=https://(hidden)@pi"),
        ("https://pi/x?api_token=hush&n=1", "https://pi/x?api_token=(hidden)&n=1"),
    ],
)
def test_credentials_in_an_address_are_hidden(text, shown):
    assert hide_credentials(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "hub.local:1883 cannot be reached: [Errno 111] Connection refused.",
        "2026-11-22T03:04:05Z at 10:20, http://pi:8099/acknowledge/x",
        "nobody@hub is a mail address",
        "USB Audio: - (hw:1,0), channel 0 of 2",
        "broker@home: fine; user: joe @ hub",
    ],
)
def test_what_is_none_stays(text):
    assert hide_credentials(text) == text


@pytest.mark.parametrize("part", ["x:=", "://", "?token", "a:b@", "&", "x:(", "a:"])
def test_a_long_text_of_a_stranger_takes_no_time(part):
    began_s = time.process_time()
    hide_credentials(part * (100_000 // len(part)))
    assert time.process_time() - began_s < 2.0
