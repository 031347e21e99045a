"""What direct push makes of an outbox whose contents a card, or another version, has changed."""

import base64

import pytest

from monitor.sinks.outbox import Item, Outbox
from monitor.sinks.push import KEY_BYTES, _key
from monitor.sinks.push_queue import PushQueue
from monitor.sinks.push_state import PolicyState


def queue(**facts):
    outbox = Outbox(None)
    outbox.put(remember={f"push.{name}": text for name, text in facts.items()})
    found = PushQueue(outbox, ["Mum"])
    found.open()
    return found


@pytest.mark.parametrize("text", ["", "5", "{}", '["Mum", 3]', "[" * 100_000])
def test_channels_that_cannot_be_read_do_not_keep_the_monitor_from_starting(text):
    assert queue(channels=text).waiting() == 0


@pytest.mark.parametrize(
    "text",
    [
        "null",
        '{"daily_test_on": 5, "cry": null, "faults": {}}',
        '{"daily_test_on": "", "cry": ["a"], "faults": {}}',
        '{"daily_test_on": "", "cry": ["a", "2026-11-22T03:00:00", true, ["Mum"]], "faults": {}}',
        '{"daily_test_on": "", "cry": null, "faults": {"hub": ["2026-11-22T03:00:00+00:00", [3]]}}',
        '{"a":' * 5000 + "1" + "}" * 5000,
    ],
)
def test_a_policy_that_cannot_be_read_begins_anew(text):
    assert queue(policy=text).state() == PolicyState()


@pytest.mark.parametrize("text", ["", "é", "!", "c2hvcnQ="])
def test_a_damaged_key_is_replaced_for_a_monitor_that_does_not_start_is_deaf(text):
    subject = queue(key=text)
    fresh = _key(subject)
    assert len(fresh) == KEY_BYTES
    assert _key(subject) == fresh


def test_a_key_that_is_in_order_stays():
    assert _key(queue(key=base64.b64encode(b"k" * KEY_BYTES).decode())) == b"k" * KEY_BYTES


@pytest.mark.parametrize("text", ["[]", '{"key": 1}', '{"key": "k", "urgency": 9}', "[" * 100_000])
def test_a_notification_that_cannot_be_read_is_dropped(text):
    outbox = Outbox(None)
    outbox.put(Item("k", "cry", text, "Mum"))
    subject = PushQueue(outbox, ["Mum"])
    subject.open()
    assert subject.pending("Mum") == []
    assert subject.waiting() == 0
