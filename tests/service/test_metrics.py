"""The metrics of a running service as Prometheus gets them."""

import contextlib
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime

import pytest
from prometheus_client.parser import text_string_to_metric_families

from monitor.errors import ConfigError
from monitor.messages import DeliveryMessage, HealthMessage
from monitor.service.metrics import MetricsServer
from monitor.sinks.memory import ListSink
from monitor.sinks.push_delivery import DeliveryStatus
from tests.access import many_files, open_files
from tests.broker import HOST, free_port
from tests.patience import HANGS_S, shared
from tests.service.scripted import ScriptedSource, noise, service
from tests.service.test_service import InThread


def scraped(port):
    with urllib.request.urlopen(f"http://{HOST}:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_a_running_service_tells_its_figures():
    sink = ListSink()
    delivery = DeliveryStatus(
        "delivered", {"phone": "delivered"}, 3, 1, 2, datetime(2026, 11, 22, tzinfo=UTC)
    )
    port = free_port()
    subject = service(
        ScriptedSource([noise(0)]), [sink], metrics_listen=f"{HOST}:{port}", delivery=lambda: delivery
    )
    with InThread(subject):
        assert sink.wait_for(lambda _: sink.of(DeliveryMessage), HANGS_S)
        found = scraped(port)
    assert found["cradlewatch_state", "ok"] == 1
    assert found["cradlewatch_state", "fault"] == 0
    assert found["cradlewatch_sink_up", "list"] == 1
    assert found["cradlewatch_crying",] == 1
    assert found["cradlewatch_audio_seconds_total",] == pytest.approx(0.24)
    assert found["cradlewatch_push_delivered",] == 3
    assert {"test", "scripted"} < {
        label for name, *labels in found for label in labels if name == "cradlewatch_info"
    }
    with pytest.raises(OSError):
        scraped(port)


def test_a_port_that_is_taken_is_said_and_stops_nothing():
    sink = ListSink()
    first = MetricsServer(f"{HOST}:0", dict)
    assert first.start() == ""
    subject = service(ScriptedSource([noise(0)]), [sink], metrics_listen=f"{HOST}:{first.port}")
    with InThread(subject):
        assert sink.wait_for(lambda _: sink.of(HealthMessage), HANGS_S)
    [reason] = sink.of(HealthMessage)[0].reasons
    assert reason.startswith(f'metrics.listen = "{HOST}:{first.port}" cannot be listened to')
    first.stop()


def test_a_thousand_idle_connections_cost_neither_threads_nor_descriptors():
    """Issue: each took both, and the broker could not be reached again."""
    figures = report()
    server = MetricsServer(f"{HOST}:0", lambda: figures)
    assert server.start() == ""
    threads, files = threading.active_count(), open_files()
    with many_files(2000), contextlib.ExitStack() as stack:
        for _ in range(1000):
            stack.enter_context(socket.create_connection((HOST, server.port), 10))
        began_s = time.monotonic()
        assert scraped(server.port)["cradlewatch_state", "ok"] == 1
        assert time.monotonic() - began_s < shared(1)
        assert threading.active_count() == threads
        assert open_files() - 1000 <= files + 17
    server.stop()


def report():
    sink = ListSink()
    subject = service(ScriptedSource([noise(0)]), [sink])
    with InThread(subject):
        assert sink.wait_for(lambda _: sink.of(HealthMessage), HANGS_S)
        return subject.report()


def test_it_serves_its_path_and_nothing_else():
    server = MetricsServer(f"{HOST}:0", dict)
    assert server.start() == ""
    for method, path, status in (("GET", "/favicon.ico", 404), ("POST", "/metrics", 405), ("PUT", "/", 501)):
        request = urllib.request.Request(f"http://{HOST}:{server.port}{path}", method=method)
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(request, timeout=10)
        assert caught.value.code == status
        caught.value.close()
    server.stop()


def test_without_the_library_the_remedy_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(ConfigError, match=r"cradlewatch\[metrics\]"):
        MetricsServer(f"{HOST}:0", dict).start()
