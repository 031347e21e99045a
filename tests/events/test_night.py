from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from monitor.events.night import Night, NightTally, evening_of, joined
from tests.sinks.messages import ONSET, episode

BERLIN = ZoneInfo("Europe/Berlin")
EVENING = datetime(2026, 11, 21, 20, 0, tzinfo=BERLIN)


def tally():
    return NightTally(Night(evening=date(2026, 11, 21)))


def hour(n):
    return EVENING + timedelta(hours=n), 3600.0 * n


def test_a_night_bears_the_date_of_its_evening():
    assert evening_of(datetime(2026, 11, 21, 12, 0, tzinfo=BERLIN)) == date(2026, 11, 21)
    assert evening_of(datetime(2026, 11, 22, 11, 59, tzinfo=BERLIN)) == date(2026, 11, 21)


def test_crying_adds_up_over_episodes_and_counts_while_it_goes_on():
    counted = tally()
    for message in (
        episode("started", duration_s=1.0),
        episode("ended", duration_s=20.0),
        episode("started", 2, episode_id="e2", duration_s=1.0),
        episode("updated", 2, episode_id="e2", duration_s=6.0),
    ):
        counted.observe(message)
    assert counted.night.episodes == 2
    assert counted.crying_s == 26.0
    assert counted.night.last_cry_at == ONSET + timedelta(seconds=6)
    assert counted.night.last_episode_id == "e2"


def test_the_longest_calm_ends_with_a_cry_and_begins_behind_it():
    counted = tally()
    counted.look(*hour(0), listening=True)
    counted.look(*hour(3), listening=True)
    counted.observe(episode("started"))
    counted.look(*hour(3.5), listening=True)
    counted.observe(episode("ended"))
    counted.look(*hour(5), listening=True)
    assert counted.night.longest_calm_s == 3 * 3600


def test_time_without_listening_is_no_calm():
    counted = tally()
    counted.look(*hour(0), listening=True)
    counted.look(*hour(1), listening=True)
    counted.look(*hour(2), listening=False)
    counted.look(*hour(2.5), listening=True)
    assert counted.night.longest_calm_s == pytest.approx(1 * 3600)


def test_at_noon_a_new_night_begins_and_the_last_cry_stays_known():
    counted = tally()
    counted.observe(episode("started"))
    counted.observe(episode("ended", duration_s=20.0))
    counted.look(*hour(15.5), listening=True)
    assert counted.night.episodes == 1
    counted.look(*hour(16), listening=True)
    assert counted.night == Night(
        evening=date(2026, 11, 22),
        longest_calm_s=1800.0,
        last_cry_at=ONSET + timedelta(seconds=20),
        last_episode_id="e1",
    )
    assert counted.crying_s == 0.0


def test_a_cry_that_is_open_at_noon_is_an_episode_of_the_new_night():
    counted = tally()
    counted.observe(episode("started"))
    counted.look(*hour(16), listening=True)
    counted.observe(episode("ended", duration_s=30.0))
    assert (counted.night.episodes, counted.crying_s) == (1, 30.0)


def test_a_step_of_the_clock_adds_no_calm():
    counted = tally()
    counted.look(EVENING, 0.0, listening=True)
    counted.look(EVENING + timedelta(hours=1), 1.0, listening=True)
    assert counted.night.longest_calm_s == 1.0


def test_a_night_in_which_the_clocks_go_back_is_one_night():
    at = datetime(2026, 10, 24, 23, 0, tzinfo=BERLIN)
    counted = NightTally(Night(evening=at.date()))
    for n in range(13):
        counted.look(
            (at.astimezone(ZoneInfo("UTC")) + timedelta(hours=n)).astimezone(BERLIN),
            3600.0 * n,
            listening=True,
        )
    assert counted.night.evening == at.date()
    assert counted.night.longest_calm_s == 12 * 3600


def test_two_parts_of_a_night_are_one_and_another_night_is_none_of_it():
    later = Night(evening=date(2026, 11, 22), episodes=1, finished_crying_s=40.0, last_episode_id="b")
    earlier = Night(
        evening=date(2026, 11, 22),
        episodes=5,
        finished_crying_s=600.0,
        longest_calm_s=9.0,
        last_episode_id="a",
    )
    both = joined(earlier, later)
    assert (both.episodes, both.finished_crying_s, both.longest_calm_s) == (6, 640.0, 9.0)
    assert both.last_episode_id == "b"
    assert joined(earlier, Night(evening=date(2026, 11, 22))) == earlier
    assert joined(earlier.model_copy(update={"evening": date(2026, 11, 21)}), later) == later
