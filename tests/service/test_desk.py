"""The desk with its real parts: requests as they come from a hub, episodes from a bus, files on disk."""

import os
from datetime import UTC, date, datetime, timedelta

import pytest
from structlog.testing import capture_logs

from monitor.commands import Control, Request
from monitor.detect.settings import Tuning
from monitor.events.bus import MessageBus
from monitor.events.night import Night
from monitor.messages import (
    AlertMessage,
    ConfirmedCauseMessage,
    ControlsMessage,
    EpisodeMessage,
    NightMessage,
    TestMessage,
)
from monitor.service.desk import BURST, TEST_BURST, Desk, Moment
from monitor.service.detector import Orders
from monitor.service.requests import RequestBox
from monitor.service.restarts import AT_MOST, FORGETFUL_NOT_BEFORE_S, NOT_BEFORE_S
from tests.access import out_of_reach
from tests.broker import wait_until
from tests.sinks.messages import episode

START = datetime(2026, 11, 22, 2, 0, tzinfo=UTC)


class Room:
    """A desk with what surrounds it; time is passed by hand."""

    def __init__(self, folder=None, *, began_at_s=0.0):
        self.at_s, self.wall_s = 0.0, began_at_s
        self.told, self.orders, self.restarts = [], [], 0
        self.box, self.bus = RequestBox(), MessageBus()
        self.desk = Desk(
            device="nursery",
            box=self.box,
            episodes=self.bus.subscribe("desk", only=EpisodeMessage),
            publish=self.told.append,
            order=self.orders.append,
            restart=self._restart,
            folder=folder,
            hold_s=5.0,
            now=self.now,
        )
        self.desk.open(self.now)

    def _restart(self):
        self.restarts += 1

    @property
    def now(self):
        return Moment(self.at_s, START + timedelta(seconds=self.at_s + self.wall_s))

    def after(self, passed_s):
        self.at_s += passed_s
        self.desk.turn(self.now, listening=True)

    def ask(self, control, text="PRESS", origin="hub"):
        payload = text if isinstance(text, bytes) else text.encode()
        self.box.put(Request(str(control), payload, origin))
        self.after(1.0)

    def hear(self, *messages):
        for message in messages:
            self.bus.publish(message)
        self.after(1.0)

    def last(self, kind):
        return [message for message in self.told if isinstance(message, kind)][-1]


def test_at_the_start_it_says_how_things_stand():
    room = Room()
    assert [type(message) for message in room.told] == [ControlsMessage, AlertMessage, NightMessage]
    assert room.last(ControlsMessage).hold_s == 5.0
    assert room.orders == [Orders()]


def test_what_a_parent_sets_reaches_the_detector_the_hub_and_the_next_start(tmp_path):
    room = Room(tmp_path)
    room.ask(Control.SENSITIVITY, "70")
    room.ask(Control.HOLD, "8")
    room.ask(Control.LISTENING, "OFF")
    assert room.orders[-1] == Orders(listening=False, tuning=Tuning(70, 8.0))
    assert room.last(ControlsMessage).sensitivity == 70
    again = Room(tmp_path)
    assert again.orders == [Orders(listening=False, tuning=Tuning(70, 8.0))]
    told = again.last(ControlsMessage)
    assert (told.listening, told.sensitivity, told.hold_s) == (False, 70, 8.0)


def test_a_refused_request_changes_nothing_and_puts_the_hubs_switch_back():
    room = Room()
    before = len(room.told)
    room.ask(Control.SENSITIVITY, "200")
    assert [type(message) for message in room.told[before:]] == [ControlsMessage]
    assert room.last(ControlsMessage).sensitivity == 50
    assert "'200'" in room.last(ControlsMessage).last_rejected
    room.ask(Control.SENSITIVITY, "55")
    assert room.last(ControlsMessage).last_rejected == ""


@pytest.mark.parametrize("payload", [b"\xff\xfe", b"x" * 65, b"", b"press"])
def test_a_button_is_pressed_by_its_word_alone(payload):
    room = Room()
    room.at_s = 2 * FORGETFUL_NOT_BEFORE_S
    room.ask(Control.RESTART, payload)
    assert room.restarts == 0
    assert "restart" in room.last(ControlsMessage).last_rejected


def test_a_control_that_does_not_exist_is_refused_with_those_that_do():
    room = Room()
    room.ask("volume", "11")
    assert "There is no control 'volume'" in room.last(ControlsMessage).last_rejected
    assert "sensitivity" in room.last(ControlsMessage).last_rejected


def test_a_flood_of_requests_is_thinned():
    room = Room()
    for number in range(BURST + 30):
        room.box.put(Request("sensitivity", str(number).encode(), "hub"))
    room.after(0.0)
    assert room.last(ControlsMessage).sensitivity == BURST - 1
    room.after(5.0)
    room.ask(Control.SENSITIVITY, "50")
    assert room.last(ControlsMessage).sensitivity == 50


def test_a_mute_ends_by_itself_and_the_hub_is_told():
    room = Room()
    room.ask(Control.MUTE, "15 min")
    assert room.last(ControlsMessage).muted_until == START + timedelta(seconds=901)
    room.after(899.0)
    assert room.last(ControlsMessage).muted_until is not None
    room.after(2.0)
    assert room.last(ControlsMessage).muted_until is None


def test_a_mute_that_ended_while_nothing_ran_is_over(tmp_path):
    Room(tmp_path).ask(Control.MUTE, "15 min")
    later = Room(tmp_path)
    later.after(1000.0)
    assert later.last(ControlsMessage).muted_until is None


def test_a_mute_ends_in_time_although_the_clock_is_set_back():
    room = Room()
    room.ask(Control.MUTE, "15 min")
    room.wall_s = -7200.0
    room.after(880.0)
    assert room.last(ControlsMessage).muted_until is not None
    room.after(20.0)
    assert room.last(ControlsMessage).muted_until is None


def test_a_mute_that_was_set_by_a_clock_days_ahead_is_over_when_it_is_right_again(tmp_path):
    room = Room(tmp_path)
    room.wall_s = 3 * 86400.0
    room.ask(Control.MUTE, "8 h")
    again = Room(tmp_path)
    again.after(1.0)
    assert again.last(ControlsMessage).muted_until is None


def test_a_flood_at_one_control_does_not_lock_the_others_out():
    room = Room()
    room.hear(episode("started"))
    for number in range(60):
        control = ("sensitivity", "volume", f"nonsense-{number}")[number % 3]
        room.box.put(Request(control, b"55", "hub"))
    room.ask(Control.ACKNOWLEDGE)
    assert room.last(AlertMessage).state == "acknowledged"


def test_a_flood_is_logged_once_and_not_with_every_request():
    room = Room()
    with capture_logs() as lines:
        for _ in range(BURST + 30):
            room.box.put(Request("sensitivity", b"55", "hub"))
        room.after(0.0)
        room.after(10.0)
        for _ in range(BURST + 30):
            room.box.put(Request("sensitivity", b"55", "hub"))
        room.after(0.0)
    assert [line["event"] for line in lines].count("request.too_many") == 2


def test_a_cry_is_acknowledged_from_the_hub():
    room = Room()
    room.hear(episode("started"))
    assert room.last(AlertMessage).state == "unacknowledged"
    room.ask(Control.ACKNOWLEDGE)
    told = room.last(AlertMessage)
    assert (told.state, told.episode_id, told.acknowledged_by) == ("acknowledged", "e1", "hub")
    room.hear(episode("ended"))
    assert room.last(AlertMessage).state == "none"


def test_a_cry_and_its_acknowledgement_in_one_turn_come_in_order():
    room = Room()
    room.bus.publish(episode("started"))
    room.ask(Control.ACKNOWLEDGE, "e1", "phone")
    assert room.last(AlertMessage).acknowledged_by == "phone"


def test_the_answer_to_a_cry_that_is_over_is_said_to_be_too_late():
    room = Room()
    room.hear(episode("started"), episode("ended"), episode("started", 2, episode_id="e2"))
    room.ask(Control.ACKNOWLEDGE, "e1", "phone")
    assert room.last(AlertMessage).state == "unacknowledged"
    assert "'e1' is over" in room.last(ControlsMessage).last_rejected


def test_a_test_alert_says_who_asked():
    room = Room()
    room.ask(Control.TEST_ALERT)
    assert room.last(TestMessage).source == "hub"
    room.ask(Control.TEST_ALERT, origin="command")
    assert room.last(TestMessage).source == "command"


def test_a_restart_is_followed_but_not_right_after_a_start(tmp_path):
    room = Room(tmp_path)
    room.ask(Control.RESTART)
    assert room.restarts == 0
    assert "only just started" in room.last(ControlsMessage).last_rejected
    room.after(NOT_BEFORE_S)
    room.ask(Control.RESTART)
    assert room.restarts == 1


@pytest.mark.parametrize("on_disk", [True, False])
def test_a_button_that_is_pressed_every_minute_does_not_keep_the_monitor_deaf(tmp_path, on_disk):
    restarts, at_s, started_at_s = 0, 0.0, 0.0
    room = Room(tmp_path if on_disk else None)
    while at_s < 4 * 3600:
        at_s += 61.0
        room.at_s = at_s - started_at_s
        room.ask(Control.RESTART)
        at_s = started_at_s + room.at_s
        if room.restarts:
            restarts += 1
            started_at_s = at_s
            room = Room(tmp_path if on_disk else None, began_at_s=at_s)
    assert 3 <= restarts <= 4 * AT_MOST
    room.after(NOT_BEFORE_S - 1)
    room.ask(Control.RESTART)
    assert "Wait for " in room.last(ControlsMessage).last_rejected


def test_restarts_of_a_wrong_clock_do_not_count(tmp_path):
    room = Room(tmp_path, began_at_s=86400.0)
    for _ in range(AT_MOST):
        room.after(NOT_BEFORE_S)
        room.ask(Control.RESTART)
    assert room.restarts == AT_MOST
    earlier = Room(tmp_path)  # a day earlier, by its clock
    earlier.after(NOT_BEFORE_S)
    earlier.ask(Control.RESTART)
    assert earlier.restarts == 1


def test_a_flood_of_test_alerts_does_not_make_the_phones_sound_all_night():
    room = Room()
    for _ in range(3600):
        room.ask(Control.TEST_ALERT)  # takes a second
    tests = [message for message in room.told if isinstance(message, TestMessage)]
    assert TEST_BURST <= len(tests) <= TEST_BURST + 60
    assert "too many" in room.last(ControlsMessage).last_rejected


def test_a_confirmed_cause_is_counted_once_for_its_cry_and_kept(tmp_path):
    room = Room(tmp_path)
    room.ask(Control.CONFIRM_CAUSE, "hungry")
    assert "no cry has been heard" in room.last(ControlsMessage).last_rejected
    room.hear(episode("started"), episode("ended"))
    room.ask(Control.CONFIRM_CAUSE, "hungry")
    room.ask(Control.CONFIRM_CAUSE, "tired")
    told = room.last(ConfirmedCauseMessage)
    assert (told.episode_id, told.cause) == ("e1", "tired")
    assert (told.counts["hungry"], told.counts["tired"]) == (0, 1)
    again = Room(tmp_path)
    again.hear(episode("started", episode_id="e2"))
    again.ask(Control.CONFIRM_CAUSE, "tired")
    assert again.last(ConfirmedCauseMessage).counts["tired"] == 2
    again.ask(Control.CONFIRM_CAUSE, "unsure")
    assert "'unsure' is no cause" in again.last(ControlsMessage).last_rejected


def test_the_tally_of_the_night_survives_a_restart(tmp_path):
    room = Room(tmp_path)
    room.hear(episode("started"), episode("ended", duration_s=30.0))
    assert room.last(NightMessage).episodes == 1
    told = Room(tmp_path).last(NightMessage)
    assert (told.night, told.episodes, told.crying_s) == ("2026-11-21", 1, 30.0)


@pytest.mark.parametrize("name", ["controls.json", "night.json", "causes.json"])
def test_a_damaged_file_is_put_aside_and_said(tmp_path, name):
    (tmp_path / name).write_text('{"listening": "perhaps"')
    room = Room(tmp_path)
    assert name in room.desk.faults[0]
    assert "damaged" in room.desk.faults[0]
    assert (tmp_path / name).with_suffix(".damaged").read_text() == '{"listening": "perhaps"'
    assert room.last(ControlsMessage).listening


def test_what_cannot_be_kept_counts_all_the_same_until_the_restart(tmp_path):
    room = Room(tmp_path / "gone")
    room.ask(Control.SENSITIVITY, "70")
    assert room.orders[-1].tuning.sensitivity == 70
    assert "cannot be written" in room.desk.faults[0]
    (tmp_path / "gone").mkdir()
    room.ask(Control.SENSITIVITY, "75")
    assert room.desk.faults == ()


def test_files_out_of_reach_are_said_and_defaults_count(tmp_path):
    folder = tmp_path / "state"
    folder.mkdir()
    with out_of_reach(folder):
        room = Room(folder)
    assert "cannot be read" in room.desk.faults[0]
    assert room.orders == [Orders()]


def test_a_night_that_the_disk_hands_over_late_adds_up_with_what_was_heard_meanwhile(tmp_path):
    file = tmp_path / "night.json"
    os.mkfifo(file)  # whoever reads waits until somebody writes
    room = Room(tmp_path)
    room.hear(episode("started"), episode("ended"))
    assert room.last(NightMessage).episodes == 1
    evening = date.fromisoformat(room.last(NightMessage).night)
    earlier = Night(evening=evening, episodes=5, finished_crying_s=600.0, longest_calm_s=3000.0)
    file.write_text(earlier.model_dump_json())

    def is_taken_over():
        room.after(1.0)
        return room.last(NightMessage).episodes == 6

    wait_until(is_taken_over, "the disk has answered")
    night = room.last(NightMessage)
    assert (night.crying_s, night.longest_calm_s) == (600.7, 3000.0)
    assert night.last_cry_at is not None
    wait_until(file.is_file, "it is kept")
    assert Night.model_validate_json(file.read_bytes()).episodes == 6
    room.desk.close(room.now)
