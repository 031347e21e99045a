import threading

from monitor.messages import EpisodeMessage
from monitor.sinks.memory import ListSink
from tests.patience import HANGS_S
from tests.sinks.messages import episode, health, telemetry


def test_it_keeps_all_in_order_and_finds_a_kind():
    sink = ListSink()
    sink.open()
    messages = [telemetry(), episode(), health()]
    for message in messages:
        sink.handle(message)
    sink.tick()
    sink.close(0)
    assert sink.messages == messages
    assert sink.of(EpisodeMessage) == [messages[1]]
    assert sink.fault() == ""


def test_another_thread_can_wait_for_a_message():
    sink = ListSink("demo")
    writer = threading.Thread(target=lambda: sink.handle(episode()))
    writer.start()
    assert sink.wait_for(len, HANGS_S)
    writer.join()
    assert not sink.wait_for(lambda messages: len(messages) > 1, 0.01)
    assert sink.name == "demo"
