"""Wording that the policy's tests do not show."""

from datetime import UTC, timedelta

import pytest

from monitor.sinks import push_text
from tests.sinks.messages import ONSET, episode


def test_a_clock_that_was_set_while_the_baby_cried_makes_no_hours_of_it():
    step = timedelta(hours=9)
    until = ONSET + timedelta(seconds=17) + step
    ended = episode("ended", duration_s=17.0).model_copy(update={"ended_at": until})
    assert push_text.calm_text(ended, UTC) == "Cried from 12:04 to 12:04, 17 s in all."
    assert push_text.interrupted_text(ended.model_copy(update={"time": until}), UTC).endswith(
        "while there was crying since 12:04. Go and look."
    )


@pytest.mark.parametrize(("cried_s", "words"), [(0.4, "0 s"), (40.0, "40 s"), (100.0, "2 min")])
def test_short_crying_is_not_said_in_minutes(cried_s, words):
    assert push_text.cry_text(episode(duration_s=cried_s), UTC) == f"Crying since 03:04, {words} so far."
