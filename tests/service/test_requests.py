from monitor.commands import Request
from monitor.service.requests import RateLimit, RequestBox


def request(number):
    return Request("mute", str(number).encode(), "hub")


def test_requests_are_taken_once_and_in_order():
    box = RequestBox()
    woken = []
    box.put(request(1))
    box.serve(lambda: woken.append(1))
    box.put(request(2))
    assert woken == [1]
    assert box.take() == [request(1), request(2)]
    assert box.take() == []


def test_a_full_box_keeps_the_oldest_and_counts_the_rest():
    box = RequestBox(capacity=2)
    for number in range(5):
        box.put(request(number))
    assert box.take() == [request(0), request(1)]
    assert box.dropped == 3


def test_a_burst_passes_and_then_only_the_sustained_rate():
    limit = RateLimit(burst=3, per_s=0.5)
    assert [limit.admits(10.0) for _ in range(4)] == [True, True, True, False]
    assert not limit.admits(11.0)
    assert limit.admits(12.5)
    assert [limit.admits(1000.0) for _ in range(4)] == [True, True, True, False]
