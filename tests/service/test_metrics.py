"""The metrics of a running service as Prometheus gets them."""

import sys
import urllib.request
from datetime import UTC, datetime

import pytest
from prometheus_client.parser import text_string_to_metric_families

from monitor.errors import ConfigError
from monitor.messages import HealthMessage
from monitor.service.metrics import MetricsServer
from monitor.sinks.memory import ListSink
from monitor.sinks.push_delivery import DeliveryStatus
from tests.broker import HOST, free_port
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
        assert sink.wait_for(lambda _: sink.of(HealthMessage), 10.0)
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
        assert sink.wait_for(lambda _: sink.of(HealthMessage), 10.0)
    [reason] = sink.of(HealthMessage)[0].reasons
    assert reason.startswith(f'metrics.listen = "{HOST}:{first.port}" cannot be listened to')
    first.stop()


def test_without_the_library_the_remedy_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(ConfigError, match=r"cradlewatch\[metrics\]"):
        MetricsServer(f"{HOST}:0", dict).start()
