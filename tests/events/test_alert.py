from datetime import UTC, datetime, timedelta

from monitor.events.alert import Alert, AlertTracker
from tests.sinks.messages import DETECTED, episode

NOW = datetime(2026, 11, 22, 3, 5, tzinfo=UTC)


def after(*messages):
    tracker = AlertTracker()
    for message in messages:
        tracker.observe(message)
    return tracker


def test_a_cry_waits_for_an_acknowledgement_until_it_is_over():
    tracker = after(episode("started"))
    assert tracker.alert == Alert("unacknowledged", "e1", DETECTED)
    tracker.observe(episode("ended"))
    assert tracker.alert == Alert()


def test_an_acknowledged_cry_stays_so_while_it_goes_on():
    tracker = after(episode("started"))
    assert tracker.acknowledge(None, NOW, "hub")
    tracker.observe(episode("escalated").model_copy(update={"escalation": 2}))
    assert tracker.alert == Alert("acknowledged", "e1", DETECTED, 2, NOW, "hub")


def test_the_first_to_acknowledge_is_remembered():
    tracker = after(episode("started"))
    tracker.acknowledge("e1", NOW, "phone")
    assert tracker.acknowledge("e1", NOW, "hub")
    assert tracker.alert.acknowledged_by == "phone"


def test_the_answer_to_a_cry_that_is_over_does_not_silence_the_next():
    tracker = after(episode("started"), episode("ended"), episode("started", 2, episode_id="e2"))
    assert not tracker.acknowledge("e1", NOW, "phone")
    assert tracker.alert.state == "unacknowledged"


def test_there_is_nothing_to_acknowledge_while_all_is_calm():
    assert not after().acknowledge(None, NOW, "hub")


def test_a_late_end_of_an_earlier_cry_ends_no_other():
    tracker = after(episode("started", episode_id="e2"))
    tracker.observe(episode("ended", episode_id="e1"))
    assert tracker.alert.episode_id == "e2"


def test_an_acknowledged_cry_that_goes_on_and_on_is_asked_about_again():
    tracker = AlertTracker(holds_for=3)
    tracker.observe(episode("started"))
    escalated = [episode("escalated").model_copy(update={"escalation": n}) for n in range(8)]
    tracker.observe(escalated[1])
    tracker.acknowledge(None, NOW, "hub")
    tracker.observe(escalated[3])
    assert tracker.alert.state == "acknowledged"
    tracker.observe(escalated[4])
    assert (tracker.alert.state, tracker.alert.acknowledged_by) == ("unacknowledged", "")
    tracker.acknowledge(None, NOW, "phone")
    tracker.observe(escalated[6])
    assert tracker.alert.state == "acknowledged"


def test_a_clock_that_is_set_while_the_baby_cries_sets_the_alert_too():
    step = timedelta(hours=9)
    tracker = after(episode("started"))
    later = episode("updated", 2, duration_s=20.0)
    tracker.observe(later.model_copy(update={"time": later.time + step}))
    assert tracker.alert.since == DETECTED + step
