from datetime import UTC, datetime, timedelta

import pytest

from monitor.commands import MAX_PAYLOAD, Control
from monitor.detect.settings import Tuning
from monitor.errors import RequestError
from monitor.service.controls import Settings, changed, payload_text
from monitor.service.detector import Orders

NOW = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)


def set_to(control, text, settings=None):
    return changed(settings or Settings(), control, text, NOW)


def test_each_setting_takes_what_a_hub_sends():
    settings = Settings()
    for control, text in [
        (Control.LISTENING, "OFF"),
        (Control.SENSITIVITY, "65"),
        (Control.HOLD, "7.5"),
        (Control.QUIET_HOURS, "22:00-06:30"),
        (Control.MUTE, "15 min"),
    ]:
        settings = set_to(control, text, settings)
    assert settings == Settings(
        listening=False,
        sensitivity=65,
        hold_s=7.5,
        quiet_hours="22:00-06:30",
        muted_until=NOW + timedelta(minutes=15),
    )
    assert settings.orders == Orders(listening=False, tuning=Tuning(65, 7.5))


def test_a_mute_ends_by_choice_or_at_a_given_time():
    muted = set_to(Control.MUTE, "2 h")
    assert set_to(Control.MUTE, "off", muted).muted_until is None
    told = set_to(Control.MUTE, "2026-11-22T05:30:00+01:00").muted_until
    assert (told, told.tzinfo) == (NOW + timedelta(hours=1.5), UTC)


@pytest.mark.parametrize(
    ("control", "text"),
    [
        (Control.LISTENING, "on"),
        (Control.LISTENING, ""),
        (Control.SENSITIVITY, "101"),
        (Control.SENSITIVITY, "-1"),
        (Control.SENSITIVITY, "nan"),
        (Control.SENSITIVITY, "loud"),
        (Control.HOLD, "0.2"),
        (Control.HOLD, "inf"),
        (Control.QUIET_HOURS, "22:00"),
        (Control.QUIET_HOURS, "24:00-06:00"),
        (Control.QUIET_HOURS, "06:00-06:00"),
        (Control.QUIET_HOURS, "22:00-06:30\nx"),
        (Control.MUTE, "17 min"),
        (Control.MUTE, "2026-11-22T02:59:00+00:00"),
        (Control.MUTE, "2026-11-24T03:00:00+00:00"),
        (Control.MUTE, "2026-11-22T05:30:00"),
    ],
)
def test_what_a_setting_does_not_take_is_refused_with_the_value_and_the_remedy(control, text):
    with pytest.raises(RequestError, match=control.value) as caught:
        set_to(control, text)
    assert repr(text) in str(caught.value)
    assert caught.value.remedy.startswith("Send")


def test_a_payload_is_short_text():
    assert payload_text("mute", b" 15 min\n") == "15 min"
    with pytest.raises(RequestError, match="65 bytes"):
        payload_text("mute", b"x" * (MAX_PAYLOAD + 1))
    with pytest.raises(RequestError, match="not text"):
        payload_text("mute", b"\xff\xfe")
