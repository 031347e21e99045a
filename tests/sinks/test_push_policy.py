import datetime as dt
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.sinks.push_notes import Urgency
from monitor.sinks.push_quiet import is_within
from monitor.sinks.push_state import OpenCry, PolicyState
from tests.sinks.push_room import BERLIN, DAD, EVENING, GRAN, HUNGRY, MUM, SIREN, Clock, Night


def who(notifications):
    return [notification.recipients for notification in notifications]


# --- crying -------------------------------------------------------------------------------------------


def test_a_cry_is_told_at_once_and_says_since_when_and_perhaps_why():
    (alert,) = Night().cry(cause=HUNGRY)
    assert alert.recipients == ("Mum",)
    assert alert.urgency is Urgency.HIGH
    assert alert.title == "Nursery: crying"
    assert alert.text == "Crying since 20:00, 1 s so far. Perhaps: hungry (62 %)."
    assert alert.episode_id == "e1"
    assert 0 < alert.lasts_s <= 600


def test_short_crying_is_not_told_when_more_is_asked_for():
    night = Night(after_s=30)
    assert night.cry() == []
    assert night.live(60) == [], "a pause is no crying"
    assert night.cry("updated", crying_s=29.9) == []
    assert who(night.cry("updated", crying_s=30.0)) == [("Mum",)]


def test_nobody_acknowledges_so_the_next_are_asked_and_all_again_and_again():
    night = Night(MUM, DAD, GRAN, next_step_after_s=100, repeat_every_s=70)
    night.cry()
    times = []
    for _ in range(300):
        night.clock.advance(1)
        times += [(night.clock.monotonic_s - 1000, n.recipients, n.step) for n in night.tick()]
    assert times == [
        (70, ("Mum",), 1),
        (100, ("Dad",), 2),
        (140, ("Mum", "Dad"), 2),
        (200, ("Gran",), 3),
        (210, ("Mum", "Dad", "Gran"), 3),
        (280, ("Mum", "Dad", "Gran"), 3),
    ]
    keys = [notification.key for notification in night.sent]
    assert len(set(keys)) == len(keys)
    assert {notification.tag for notification in night.sent} == {"cry-e1"}


def test_acknowledged_stops_it_everywhere_and_tells_the_others_quietly():
    night = Night(MUM, DAD, next_step_after_s=10, repeat_every_s=60)
    night.cry()
    night.live(10)
    night.policy.acknowledging("e1", "Dad")
    (note,) = night.acknowledge("phone")
    assert note.recipients == ("Mum",)
    assert note.urgency is Urgency.QUIET
    assert note.text == "Acknowledged by Dad."
    assert night.withdrawn == ["cry-e1"]
    assert night.live(600) == []
    assert night.cry("escalated", crying_s=300, escalation=1) == []
    assert night.acknowledge("phone") == [], "told once"


def test_acknowledged_in_the_hub_is_told_to_all_who_were_alarmed():
    night = Night(MUM, DAD)
    night.cry()
    assert [(n.recipients, n.text) for n in night.acknowledge("hub")] == [
        (("Mum",), "Acknowledged in the home hub.")
    ]


def test_an_acknowledgement_of_another_episode_changes_nothing():
    night = Night(repeat_every_s=60)
    night.cry()
    assert night.acknowledge(episode_id="e0") == []
    assert len(night.live(60)) == 1


def test_what_is_no_longer_acknowledged_is_an_alarm_again():
    night = Night(repeat_every_s=60)
    night.cry()
    night.acknowledge()
    night.clock.advance(60)
    assert who(night.acknowledge(state="unacknowledged")) == [("Mum",)]


def test_the_end_is_told_quietly_to_those_who_were_alarmed():
    night = Night(MUM, DAD)
    night.cry()
    night.clock.advance(65)
    (note,) = night.cry("ended", crying_s=61)
    assert note.recipients == ("Mum",)
    assert note.urgency is Urgency.QUIET
    assert note.text == "Cried from 20:00 to 20:01, 1 min in all."
    assert night.withdrawn == ["cry-e1"]
    assert night.live(600) == []


def test_crying_of_which_nobody_was_told_ends_without_a_word():
    night = Night(after_s=30)
    night.cry()
    assert night.cry("ended") == []


def test_crying_that_was_cut_off_is_not_called_calm():
    night = Night()
    night.cry()
    (note,) = night.cry("ended", cut=True)
    assert note.urgency is Urgency.HIGH
    assert "Go and look" in note.text
    assert "calm" not in note.title


def test_escalation_is_urgent_at_once_and_reaches_the_urgent_only():
    night = Night(MUM, SIREN, repeat_every_s=60)
    assert who(night.cry()) == [("Mum",)]
    (alert,) = night.cry("escalated", crying_s=60, escalation=1)
    assert alert.urgency is Urgency.URGENT
    assert alert.recipients == ("Mum", "Siren")
    assert alert.title == "Nursery: still crying"
    assert night.cry("escalated", crying_s=120, escalation=2) == [], "urgent already; the repeat will come"
    assert who(night.live(60)) == [("Mum", "Siren")]
    assert who(night.cry("ended")) == [("Mum", "Siren")]


def test_a_step_that_nobody_answers_is_passed_over_at_once():
    night = Night(SIREN, DAD)
    assert who(night.cry()) == [("Dad",)]


def test_when_nobody_of_a_step_can_be_reached_the_next_is_asked_at_once():
    night = Night(MUM, DAD, GRAN, next_step_after_s=600, repeat_every_s=600)
    night.cry()
    assert night.live(20) == []
    night.policy.unreachable = frozenset({"Mum"})
    assert who(night.live(1)) == [("Dad",)]
    assert night.live(60) == [], "he can be reached, as far as we know"
    night.policy.unreachable = frozenset({"Mum", "Dad"})
    assert who(night.live(1)) == [("Gran",)]


def test_an_episode_whose_start_was_missed_is_told_all_the_same():
    assert who(Night().cry("updated", crying_s=12)) == [("Mum",)]


def test_the_end_of_another_episode_ends_nothing():
    night = Night(repeat_every_s=60)
    night.cry()
    assert night.cry("ended", episode_id="e0") == []
    assert who(night.live(60)) == [("Mum",)]


def test_an_alert_stays_news_until_the_next_one():
    assert Night(repeat_every_s=3600).cry()[0].lasts_s >= 3600


# --- quiet hours and mute -----------------------------------------------------------------------------


def test_quiet_hours_hold_a_cry_back_until_it_escalates():
    night = Night()
    night.controls(quiet_hours="19:00-06:30")
    assert night.cry() == []
    assert night.live(59) == []
    assert list(night.policy.open_alarms(night.clock.now())) == []
    assert who(night.cry("escalated", crying_s=60, escalation=1)) == [("Mum",)]


def test_a_cry_that_outlasts_quiet_hours_is_told_when_they_end():
    night = Night()
    night.controls(quiet_hours="19:00-20:01")
    assert night.cry() == []
    assert night.live(59) == []
    assert who(night.live(1)) == [("Mum",)]


def test_quiet_notes_wait_for_the_end_of_quiet_hours_and_are_dropped_when_they_are_no_news():
    for end, told in (("20:10", 1), ("21:00", 0)):
        night = Night()
        night.controls(quiet_hours=f"19:00-{end}")
        assert len(night.cry(escalation=1, event_type="escalated")) == 1
        assert night.cry("ended") == []
        assert len(night.live(7200, every_s=30)) == told


def restarted(night, *channels):
    """The monitor was killed, and starts where the file left off."""
    state = PolicyState.from_json(night.policy.state.to_json())
    return Night(*channels, clock=night.clock, state=state)


@pytest.mark.parametrize("cut", [False, True])
def test_a_kill_loses_no_note_that_quiet_hours_hold_back(cut):
    night = Night()
    night.cry()
    night.controls(quiet_hours="19:00-20:10")
    assert night.cry("ended", cut=cut) == []
    night = restarted(night)
    assert night.tick() == [], "it is not yet known whether there are quiet hours"
    assert night.controls(quiet_hours="19:00-20:10") == []
    night = restarted(night)
    assert night.controls(quiet_hours="19:00-20:10") == []
    (note,) = night.live(600)
    assert note.key == ("cry-e1.cut" if cut else "cry-e1.calm")
    assert note.recipients == ("Mum",)
    night = restarted(night)
    assert night.controls() == [], "told once"


def test_a_note_that_a_restart_found_too_late_is_no_news_and_neither_is_one_for_nobody():
    night = Night()
    night.cry()
    night.controls(quiet_hours="19:00-06:30")
    night.cry("ended")
    assert restarted(night, DAD).controls() == []
    night.clock.advance(901)
    assert restarted(night).controls() == []


def test_a_clock_that_a_restart_set_back_keeps_a_note_no_longer_than_it_is_news():
    night = Night()
    night.cry()
    night.controls(quiet_hours="19:00-06:30")
    night.cry("ended")
    night.clock.local -= dt.timedelta(minutes=30)
    night = restarted(night)
    night.controls(quiet_hours="19:00-06:30")
    assert len(night.policy.state.held) == 1
    night.live(901, every_s=17)
    assert night.policy.state.held == ()


def test_mute_holds_back_cries_even_urgent_ones_and_never_faults():
    night = Night(fault_after_s=30, repeat_every_s=60)
    night.controls(muted_until=EVENING + dt.timedelta(minutes=15))
    assert night.cry() == []
    assert night.cry("escalated", crying_s=60, escalation=1) == []
    night.health(microphone_ok=False)
    assert [n.tag for n in night.live(31)] == ["fault-microphone"]
    sent = night.live(15 * 60)
    assert next(n.tag for n in sent if n.urgency is Urgency.URGENT) == "cry-e1", "the mute has ended"


@pytest.mark.parametrize("acknowledged", [False, True])
def test_what_became_of_a_cry_is_not_told_while_the_next_one_goes_on(acknowledged):
    """Else "calm again", or "somebody is on the way", would be the last word on the phone."""
    night = Night()
    night.cry()
    night.controls(quiet_hours="19:00-20:10")
    night.acknowledge() if acknowledged else None
    night.cry("ended")
    night.live(540, every_s=60)
    night.cry(episode_id="e2")
    (alert,) = night.live(60)
    assert alert.key == "cry-e2.1"
    assert alert.outdates == "outcome", "what waits for a phone that cannot be reached is taken back"
    assert [n.key for n in night.cry("ended", episode_id="e2")][-1] == "cry-e2.calm"
    assert {n.tag for n in night.sent[2:]} == {"outcome"}


@pytest.mark.parametrize("by_h", [-1, -24 * 365])
def test_a_clock_that_is_set_back_makes_no_mute_longer(by_h):
    night = Night()
    night.controls(muted_until=EVENING + dt.timedelta(minutes=15))
    assert night.cry() == []
    night.clock.local += dt.timedelta(hours=by_h)
    night.controls(muted_until=EVENING + dt.timedelta(minutes=15))
    assert night.live(14 * 60) == []
    assert len(night.live(60)) == 1


def test_no_mute_of_an_earlier_start_lasts_for_more_than_a_day():
    night = Night()
    night.controls(muted_until=EVENING + dt.timedelta(days=4000))
    night.cry()
    assert night.live(23 * 3600, every_s=600) == []
    assert night.live(3600, every_s=600) != []


@pytest.mark.parametrize(
    ("time", "hours", "within"),
    [
        ("22:00", "22:00-06:30", True),
        ("06:29", "22:00-06:30", True),
        ("06:30", "22:00-06:30", False),
        ("21:59", "22:00-06:30", False),
        ("12:00", "11:00-13:00", True),
        ("13:00", "11:00-13:00", False),
        ("12:00", "12:00-12:00", False),
        ("12:00", "off", False),
    ],
)
def test_quiet_hours_begin_with_their_first_minute_and_end_before_their_last(time, hours, within):
    assert is_within(dt.time.fromisoformat(time), hours) is within


# --- tests --------------------------------------------------------------------------------------------


def test_a_test_that_somebody_asked_for_reaches_every_channel_even_in_quiet_hours():
    night = Night(MUM, DAD, SIREN)
    night.controls(quiet_hours="19:00-06:30")
    (alert,) = night.test()
    assert alert.recipients == ("Mum", "Dad", "Siren")
    assert alert.urgency is Urgency.NORMAL
    assert "not crying" in alert.text


def test_the_daily_test_comes_once_a_day_at_its_time():
    night = Night(daily_test=dt.time(20, 30))
    night.controls()
    assert night.live(29 * 60, every_s=60) == []
    assert [n.key for n in night.live(60)] == ["test-daily-2026-11-22"]
    assert night.live(23 * 3600, every_s=60) == []
    assert [n.key for n in night.live(3600, every_s=60)] == ["test-daily-2026-11-23"]


def test_a_daily_test_within_quiet_hours_comes_when_they_end():
    night = Night(daily_test=dt.time(22, 30))
    night.controls(quiet_hours="22:00-06:30")
    assert night.live(10 * 3600, every_s=300) == []
    assert [n.key for n in night.live(1800, every_s=300)] == ["test-daily-2026-11-22"]
    assert [n.key for n in night.live(24 * 3600, every_s=300)] == ["test-daily-2026-11-23"]


def test_the_daily_test_follows_a_late_start_but_not_a_second_one():
    night = Night(daily_test=dt.time(12, 0))
    assert [n.key for n in night.controls()] == ["test-daily-2026-11-22"]
    again = Night(daily_test=dt.time(12, 0), state=night.policy.state)
    assert again.controls() == []
    assert again.live(600) == []


def test_the_daily_test_waits_until_it_is_known_what_the_parents_have_set():
    night = Night(daily_test=dt.time(12, 0))
    assert night.tick() == []
    assert night.controls(quiet_hours="19:00-06:30") == []
    unheard = Night(daily_test=dt.time(12, 0))
    assert unheard.tick() == []
    assert len(unheard.live(10)) == 1, "no controls in sight: it must not wait for ever"


@pytest.mark.parametrize("day", [dt.date(2026, 3, 29), dt.date(2026, 10, 25)])
def test_the_change_of_time_neither_leaves_out_nor_doubles_a_daily_test(day):
    """02:30 does not exist on one of these nights, and exists twice on the other."""
    clock = Clock(dt.datetime(day.year, day.month, day.day, 0, 0, tzinfo=BERLIN))
    night = Night(clock=clock, daily_test=dt.time(2, 30), state=PolicyState(daily_test_on=day.isoformat()))
    night.policy.state = PolicyState()
    night.controls()
    assert [n.key for n in night.live(8 * 3600, every_s=60)] == [f"test-daily-{day}"]


# --- faults -------------------------------------------------------------------------------------------


def test_a_lost_microphone_is_urgent_after_a_while_and_its_return_is_told():
    night = Night(fault_after_s=30)
    night.controls(quiet_hours="19:00-06:30")
    night.health(microphone_ok=False, reasons=["The microphone delivers no audio: unplugged."])
    assert night.live(29) == []
    (alert,) = night.live(1)
    assert alert.urgency is Urgency.URGENT, "quiet hours do not hold it back"
    assert alert.title == "Nursery: Monitor hears nothing"
    assert alert.text == "The microphone is lost since 20:00. The microphone delivers no audio: unplugged."
    night.controls()
    (clear,) = night.health()
    assert clear.recipients == ("Mum",)
    assert "works again" in clear.title
    assert night.withdrawn == ["fault-microphone"]
    assert night.live(7200, every_s=10) == []


def test_a_microphone_that_is_back_in_time_is_not_worth_a_word():
    night = Night(fault_after_s=30)
    night.health(microphone_ok=False)
    night.live(20)
    assert night.health() == []
    assert night.live(100) == []


def test_a_microphone_that_comes_and_goes_is_lost_when_it_was_for_long_enough_in_all():
    """A loose plug: deaf for most of the time, and never for 30 s on end."""
    night = Night(fault_after_s=30)
    night.health(microphone_ok=False)
    night.live(20)
    night.health()
    assert night.live(5) == []
    night.health(microphone_ok=False)
    assert night.live(9) == []
    (alert,) = night.live(1)
    assert alert.tag == "fault-microphone"
    assert "since 20:00" in alert.text


def test_short_losses_that_lie_far_apart_do_not_add_up():
    night = Night(fault_after_s=30)
    for _ in range(5):
        night.health(microphone_ok=False)
        night.live(20)
        night.health()
        night.live(30)
    assert night.sent == []


def test_an_all_clear_that_was_held_back_is_not_told_when_it_is_lost_again():
    night = Night(fault_after_s=30)
    night.controls(quiet_hours="19:00-20:10")
    night.health(microphone_ok=False)
    (first,) = night.live(30)
    assert night.health() == []
    night.clock.advance(480)
    night.health(microphone_ok=False)
    (second,) = night.live(120)
    assert second.outdates == "fault-microphone.over"
    assert "again" not in second.title
    assert second.key != first.key
    assert "works again" in night.health()[-1].title


def test_a_detector_that_does_not_advance_is_told():
    night = Night(fault_after_s=30)
    night.controls(quiet_hours="19:00-06:30")
    night.health(state="fault", reasons=["The detector does not advance."])
    (alert,) = night.live(30)
    assert alert.urgency is Urgency.URGENT
    assert alert.title == "Nursery: Monitor hears nothing"
    assert "The detector does not advance." in alert.text
    night.controls()
    assert night.health(state="fault", microphone_ok=False) == [], "it cannot be told what the detector does"
    (clear,) = night.health(state="degraded")
    assert "listens again" in clear.title


def test_a_fault_is_told_again_while_it_lasts_and_to_the_next_step():
    night = Night(MUM, DAD, fault_after_s=30, next_step_after_s=120)
    night.health(signal_ok=False)
    sent = night.live(3700, every_s=10)
    assert who(sent) == [("Mum",), ("Dad",), ("Mum", "Dad"), ("Mum", "Dad")]


def test_a_lost_hub_is_told_after_a_while_and_waits_for_the_end_of_quiet_hours():
    night = Night(fault_after_s=30)
    night.controls(quiet_hours="19:00-20:10")
    night.hub = False
    assert night.live(599, every_s=1) == []
    (alert,) = night.live(1)
    assert alert.urgency is Urgency.HIGH
    assert "home hub" in alert.text
    night.hub = True
    (clear,) = night.tick()
    assert "reached again" in clear.title


def test_without_a_hub_there_is_none_to_lose():
    assert Night(fault_after_s=30).live(120) == []


# --- a restart ----------------------------------------------------------------------------------------


def test_a_restart_while_a_cry_was_open_is_told_to_those_who_knew_of_it():
    night = Night(MUM, DAD)
    night.cry()
    again = Night(MUM, DAD, clock=night.clock, state=PolicyState.from_json(night.policy.state.to_json()))
    night.clock.advance(20)
    (alert,) = again.controls()
    assert alert.recipients == ("Mum",)
    assert alert.urgency is Urgency.HIGH
    assert "started anew" in alert.text
    assert "since 20:00" in alert.text
    third = Night(MUM, DAD, clock=night.clock, state=again.policy.state)
    assert third.controls() == [], "told once"


@pytest.mark.parametrize("closed", ["ended", "acknowledged"])
def test_a_restart_after_the_cry_was_closed_is_not_told(closed):
    night = Night()
    night.cry()
    night.cry("ended") if closed == "ended" else night.acknowledge()
    assert night.policy.state.cry is None


def test_a_clock_that_a_power_cut_set_back_keeps_no_restart_from_being_told():
    """A Raspberry Pi starts with the time at which it last wrote it down."""
    night = Night()
    night.cry()
    night.clock.local -= dt.timedelta(minutes=40)
    assert "started anew" in restarted(night).controls()[0].text


def test_a_restart_long_after_a_cry_is_not_told():
    open_cry = OpenCry("e1", EVENING - dt.timedelta(hours=3), urgent=True, told=("Mum",))
    night = Night(state=PolicyState(cry=open_cry))
    assert night.controls() == []
    assert night.policy.state.cry is None


def test_a_fault_that_outlasts_restarts_is_told_under_a_new_key_each_time():
    night = Night(fault_after_s=30, repeat_every_s=60)
    keys = []
    for _ in range(3):
        night.health(microphone_ok=False)
        keys += [alert.key for alert in night.live(1900)]
        state = PolicyState.from_json(night.policy.state.to_json())
        night = Night(clock=night.clock, state=state, fault_after_s=30)
    assert [key.rpartition(".")[2] for key in keys] == ["1", "2", "3", "4", "5", "6"]
    assert len({key.rpartition(".")[0] for key in keys}) == 1, "it is one fault"


def test_a_fault_that_an_older_version_wrote_is_known():
    written = (
        '{"daily_test_on": "", "cry": null, "faults": {"microphone": ["2026-11-22T20:00:00Z", ["Mum"]]}}'
    )
    night = Night(state=PolicyState.from_json(written))
    assert [note.recipients for note in night.health()] == [("Mum",)]


def test_the_end_of_a_fault_is_told_across_a_restart():
    night = Night(fault_after_s=30)
    night.health(microphone_ok=False)
    night.live(30)
    again = Night(clock=night.clock, state=PolicyState.from_json(night.policy.state.to_json()))
    (clear,) = again.health()
    assert clear.text.startswith("The microphone works again. The fault lasted from 20:00")
    assert again.policy.state.faults == {}


# --- properties ---------------------------------------------------------------------------------------

EVENTS = st.sampled_from(
    ["started", "escalated", "ended", "acknowledge", "lost", "back", "mute", "loud", "quiet", "wait", "long"]
)


@settings(max_examples=60, deadline=None)
@given(st.lists(EVENTS, max_size=25))
def test_whatever_happens_keys_are_unique_and_nothing_follows_an_acknowledgement(events):
    night = Night(MUM, DAD, SIREN, daily_test=dt.time(20, 5))
    numbers = itertools.count()
    episode, acknowledged = None, set()
    for event in events:
        before = len(night.sent)
        match event:
            case "started":
                episode = f"e{next(numbers)}"
                night.cry(episode_id=episode)
            case "escalated" if episode:
                night.cry("escalated", episode_id=episode, crying_s=70, escalation=1)
            case "ended" if episode:
                night.cry("ended", episode_id=episode)
                episode = None
            case "acknowledge" if episode:
                night.acknowledge(episode_id=episode)
                acknowledged.add(f"cry-{episode}")
            case "lost" | "back":
                night.health(microphone_ok=event == "back")
            case "mute":
                night.controls(muted_until=night.clock.local + dt.timedelta(minutes=15))
            case "loud" | "quiet":
                night.controls(quiet_hours="off" if event == "loud" else "19:00-06:30")
            case "wait" | "long":
                night.live(60 if event == "wait" else 2000, every_s=20)
        assert all(n.tag not in acknowledged for n in night.sent[before:])
    keys = [notification.key for notification in night.sent]
    assert len(set(keys)) == len(keys)
    assert all(n.recipients and n.lasts_s > 0 and n.title and n.text for n in night.sent)
    assert PolicyState.from_json(night.policy.state.to_json()) == night.policy.state


def test_a_fault_of_an_old_clock_is_told_by_the_clock_as_it_stands():
    night = Night(fault_after_s=30)
    night.hub = False
    night.live(5)
    night.clock.local += dt.timedelta(hours=9)  # the time server answers
    (lost,) = night.live(40)
    assert lost.text.startswith("The link to the home hub is lost since 05:00.")
    night.hub = True
    (back,) = night.live(40)
    assert back.text == "The home hub is reached again. The fault lasted from 05:00 to 05:00."
