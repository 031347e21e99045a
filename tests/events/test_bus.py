import threading
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.events.bus import MessageBus, MessageQueue
from monitor.messages import EpisodeMessage, HealthMessage, TelemetryMessage

NOW = datetime(2026, 11, 22, tzinfo=UTC)


class ManualClock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def telemetry(number):
    return TelemetryMessage(
        event_id=f"t{number}",
        device="d",
        time=NOW,
        level_dbfs=-50,
        peak_dbfs=-40,
        noise_floor_dbfs=-60,
        score=0,
        active=False,
        crying=False,
    )


def health(number):
    return HealthMessage(
        event_id=f"h{number}",
        device="d",
        time=NOW,
        state="ok",
        reasons=[],
        microphone_ok=True,
        signal_ok=True,
        uptime_s=1,
        version="0",
        counters={},
    )


def episode(event_type, number, episode_id="e"):
    return EpisodeMessage(
        event_id=f"{event_type}{number}",
        device="d",
        time=NOW,
        event_type=event_type,
        episode_id=episode_id,
        onset_at=NOW,
        detected_at=NOW,
        duration_s=1,
        crying_s=1,
        score=0.9,
        level_dbfs=-30,
    )


def drain(queue):
    taken = []
    while (message := queue.get(0)) is not None:
        taken.append(message.event_id)
    return taken


def test_of_telemetry_and_health_only_the_newest_waits():
    queue = MessageQueue("mqtt")
    for message in (telemetry(1), health(1), telemetry(2), health(2), telemetry(3)):
        queue.put(message)
    assert queue.stats().superseded == 3
    assert drain(queue) == ["h2", "t3"]


def test_updates_of_one_episode_coalesce_and_of_two_do_not():
    queue = MessageQueue("mqtt")
    queue.put(episode("started", 1, "a"))
    queue.put(episode("updated", 1, "a"))
    queue.put(episode("updated", 2, "b"))
    queue.put(episode("updated", 3, "a"))
    queue.put(episode("ended", 1, "a"))
    assert drain(queue) == ["started1", "updated2", "updated3", "ended1"]


def test_alerts_push_out_telemetry_then_health_then_updates():
    queue = MessageQueue("mqtt", capacity=4)
    for message in (episode("updated", 1), health(1), telemetry(1), episode("started", 1)):
        queue.put(message)
    left = []
    for number in (2, 3, 4):
        queue.put(episode("started", number))
        left.append(queue.stats().dropped)
    assert left == [1, 2, 3]
    assert queue.fault() == ""
    assert drain(queue) == ["started1", "started2", "started3", "started4"]


def test_what_is_not_an_alert_never_pushes_out_an_alert():
    queue = MessageQueue("mqtt", capacity=1)
    queue.put(episode("started", 1))
    for message in (telemetry(1), health(1), episode("updated", 1)):
        queue.put(message)
    assert queue.stats().dropped == 3
    assert drain(queue) == ["started1"]


def test_a_lost_alert_is_counted_and_a_fault_until_the_queue_is_worked_off():
    queue = MessageQueue("mqtt", capacity=2)
    for number in (1, 2, 3):
        queue.put(episode("started", number))
    assert queue.stats().lost_alerts == 1
    assert "1 alert of crying could not be kept for mqtt" in queue.fault()
    assert drain(queue) == ["started2", "started3"]
    assert queue.fault() == ""
    assert queue.stats().lost_alerts == 1


def test_depth_and_age_tell_that_a_sink_is_stuck_even_when_only_telemetry_comes():
    clock = ManualClock()
    queue = MessageQueue("mqtt", monotonic_s=clock)
    assert (queue.stats().depth, queue.stats().oldest_age_s) == (0, 0)
    for _ in range(5):
        queue.put(telemetry(1))
        clock.now += 10
    assert (queue.stats().depth, queue.stats().oldest_age_s) == (1, 50)
    queue.get(0)
    assert queue.stats().oldest_age_s == 0


def test_get_waits_for_a_message_from_another_thread():
    queue = MessageQueue("mqtt")
    taken = []
    reader = threading.Thread(target=lambda: taken.append(queue.get(30)))
    reader.start()
    queue.put(telemetry(1))
    reader.join(30)
    assert [message.event_id for message in taken] == ["t1"]


def test_get_gives_up_after_its_time():
    assert MessageQueue("mqtt").get(0.01) is None


def test_a_closed_queue_gives_what_it_holds_and_lets_its_reader_go():
    bus = MessageBus()
    queue = bus.subscribe("mqtt")
    bus.publish(telemetry(1))
    bus.close()
    assert queue.get(30).event_id == "t1"
    assert queue.get(30) is None


def test_every_sink_gets_every_message_and_a_slow_one_holds_up_nobody():
    bus = MessageBus()
    fast, slow = bus.subscribe("fast"), bus.subscribe("slow", capacity=2)
    taken = []
    for number in range(100):
        bus.publish(episode("started", number))
        taken.append(fast.get(0).event_id)
    assert taken == [f"started{number}" for number in range(100)]
    assert drain(slow) == ["started98", "started99"]
    assert [queue.name for queue in (fast, slow)] == ["fast", "slow"]


def test_a_queue_without_room_is_refused():
    with pytest.raises(ValueError, match="room"):
        MessageQueue("mqtt", capacity=0)


def test_many_publishers_and_one_reader_lose_nothing_and_keep_each_ones_order():
    bus = MessageBus()
    queue = bus.subscribe("mqtt", capacity=10_000)

    def publish(name):
        for number in range(500):
            bus.publish(episode("started", f"-{name}-{number:03d}"))

    publishers = [threading.Thread(target=publish, args=(name,)) for name in "abc"]
    for publisher in publishers:
        publisher.start()
    taken = [queue.get(30).event_id for _ in range(1500)]
    for publisher in publishers:
        publisher.join(30)
    for name in "abc":
        own = [event_id for event_id in taken if f"-{name}-" in event_id]
        assert own == sorted(own)
        assert len(own) == 500
    assert queue.stats().lost_alerts == queue.stats().dropped == 0


KINDS = st.sampled_from(["telemetry", "health", "updated-a", "updated-b", "started", "ended", "get"])


@given(st.lists(KINDS, max_size=80), st.integers(1, 6))
def test_whatever_comes_the_queue_is_bounded_ordered_and_accounts_for_every_message(kinds, capacity):
    queue = MessageQueue("mqtt", capacity=capacity)
    put, got = {}, []
    for order, kind in enumerate(kinds):
        if kind == "get":
            if (message := queue.get(0)) is not None:
                got.append(message)
            continue
        name, _, episode_id = kind.partition("-")
        make = {"telemetry": telemetry, "health": health}.get(name)
        message = make(order) if make else episode(name, order, episode_id or f"e{order}")
        put[message.event_id] = order
        queue.put(message)
        assert queue.stats().depth <= capacity
    while (message := queue.get(0)) is not None:
        got.append(message)

    stats = queue.stats()
    positions = [put[message.event_id] for message in got]
    assert positions == sorted(set(positions)), "in order, none twice"
    assert len(put) == len(got) + stats.superseded + stats.dropped + stats.lost_alerts
    alerts_put = sum(kind in {"started", "ended"} for kind in kinds)
    alerts_got = sum(m.event_id.startswith(("started", "ended")) for m in got)
    assert alerts_put - alerts_got == stats.lost_alerts, "an alert is delivered or counted as lost"
    if stats.lost_alerts:
        assert alerts_put > capacity, "only alerts push out an alert"
