"""What direct push makes of an outbox whose contents a card, or another version, has changed."""

import base64
import contextlib

import pytest

from monitor.sinks.outbox import Item
from monitor.sinks.push import KEY_BYTES, _key
from monitor.sinks.push_queue import PushQueue
from monitor.sinks.push_state import PolicyState
from tests.sinks.outboxes import opened


@pytest.fixture
def left(tmp_path):
    """A queue on what an earlier process left, and its policy's state."""
    with contextlib.ExitStack() as stack:

        def queue(*items, **facts):
            with opened(tmp_path / "push.sqlite") as outbox:
                outbox.put(*items, remember={f"push.{name}": text for name, text in facts.items()})
            found = PushQueue(stack.enter_context(opened(tmp_path / "push.sqlite")), ["Mum"])
            return found, found.take_left()

        yield queue


@pytest.mark.parametrize("text", ["", "5", "{}", '["Mum", 3]', "[" * 100_000])
def test_channels_that_cannot_be_read_do_not_keep_the_monitor_from_starting(left, text):
    found, _ = left(channels=text)
    assert found.waiting() == 0


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
def test_a_policy_that_cannot_be_read_begins_anew(left, text):
    _, state = left(policy=text)
    assert state == PolicyState()


@pytest.mark.parametrize("text", ["", "é", "!", "c2hvcnQ="])
def test_a_damaged_key_is_replaced_for_a_monitor_that_does_not_start_is_deaf(left, text):
    subject, _ = left(key=text)
    fresh = _key(subject)
    assert len(fresh) == KEY_BYTES
    assert _key(subject) == fresh


def test_a_key_that_is_in_order_stays(left):
    subject, _ = left(key=base64.b64encode(b"k" * KEY_BYTES).decode())
    assert _key(subject) == b"k" * KEY_BYTES


@pytest.mark.parametrize("text", ["[]", '{"key": 1}', '{"key": "k", "urgency": 9}', "[" * 100_000])
def test_a_notification_that_cannot_be_read_is_dropped(left, text):
    subject, _ = left(Item("k", "cry", text, "Mum"))
    assert subject.pending("Mum") == []
    assert subject.waiting() == 0
