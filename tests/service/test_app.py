"""The composition: what the configuration becomes, and real recordings through real models."""

from itertools import pairwise
from pathlib import Path

import pytest
from pydantic import SecretStr

from monitor.capture.microphone import Microphone
from monitor.capture.recording import Recording
from monitor.config import (
    Config,
    DetectConfig,
    DeviceConfig,
    JsonlConfig,
    MicrophoneConfig,
    MqttConfig,
    ServiceConfig,
    SourceConfig,
)
from monitor.demo.verdict import load_truth
from monitor.detect.settings import DetectorSettings
from monitor.errors import ModelError
from monitor.messages import EpisodeMessage, HealthMessage, TelemetryMessage
from monitor.service.app import (
    audio_source,
    build_service,
    configured_sinks,
    detector_settings,
    mqtt_settings,
)
from monitor.service.requests import RequestBox
from monitor.sinks.memory import ListSink

NURSERY = Path(__file__).parents[2] / "monitor" / "demo" / "nursery.flac"


def test_a_recording_becomes_messages_as_its_cries_are():
    sink = ListSink()
    service = build_service(
        Config(device=DeviceConfig(id="nursery")), source=Recording(NURSERY), extra_sinks=[sink]
    )
    assert service.run() == 0
    bouts = load_truth(NURSERY.with_suffix(".json")).bouts
    messages = sink.of(EpisodeMessage)
    assert [m.event_type for m in messages if m.event_type != "updated"] == ["started", "ended"] * len(bouts)
    assert {message.device for message in messages} == {"nursery"}
    assert len({message.event_id for message in sink.messages}) == len(sink.messages)
    assert sink.of(TelemetryMessage)
    assert service.snapshot().detector.position_s == pytest.approx(70.0)


def test_an_observer_sees_every_hop():
    seen = []
    service = build_service(Config(), source=Recording(NURSERY), on_output=seen.append)
    assert service.run() == 0
    hops = [output for output in seen if type(output).__name__ == "HopReport"]
    assert hops[0].start == 0
    assert all(after.start == before.stop for before, after in pairwise(hops))
    assert hops[-1].stop == 70 * 16_000


def test_missing_models_stop_the_start_with_a_sentence(tmp_path):
    with pytest.raises(ModelError, match="cannot be read") as caught:
        build_service(Config(detect=DetectConfig(artifacts=tmp_path)))
    assert caught.value.exit_code == 2


def test_the_first_health_message_says_that_all_is_well():
    sink = ListSink()
    # What else the test process has loaded is no concern of the monitor, nor is what else the machine does.
    config = Config(
        service=ServiceConfig(memory_mb=100_000), microphone=MicrophoneConfig(stalled_after_s=30.0)
    )
    service = build_service(config, source=Recording(NURSERY), extra_sinks=[sink])
    assert service.run() == 0
    reasons = {reason for message in sink.of(HealthMessage) for reason in message.reasons}
    assert reasons <= {"The first audio is awaited."}


def test_thresholds_reach_the_detector_and_the_folder_does_not():
    settings = detector_settings(DetectConfig(onset_threshold=0.6, vad_mode=3, artifacts=Path("x")))
    assert (settings.onset_threshold, settings.vad_mode) == (0.6, 3)


def test_defaults_of_configuration_and_detector_agree():
    assert detector_settings(DetectConfig(model_form="int8")) == DetectorSettings()


def test_a_service_chooses_the_form_of_its_model_itself():
    assert detector_settings(DetectConfig()).model_form == "auto"


def test_without_a_broker_there_is_no_mqtt():
    assert mqtt_settings(Config()) is None
    assert configured_sinks(Config(), None, RequestBox()) == []


def test_the_broker_settings_carry_names_and_the_password(tmp_path):
    config = Config(
        mqtt=MqttConfig(
            host="broker.lan", username="u", password=SecretStr("hush"), tls=True, base_topic="x"
        ),
        device=DeviceConfig(id="nursery", name="Nursery", area="First floor"),
        jsonl=JsonlConfig(path=tmp_path / "events.jsonl"),
    )
    settings = mqtt_settings(config)
    assert settings is not None
    assert (settings.address, settings.username, settings.password) == ("broker.lan:8883", "u", "hush")
    assert (settings.device, settings.device_name, settings.suggested_area) == (
        "nursery",
        "Nursery",
        "First floor",
    )
    assert settings.base_topic == "x"
    assert [sink.name for sink in configured_sinks(config, None, RequestBox())] == ["mqtt", "jsonl"]


@pytest.mark.parametrize(
    ("section", "kind"),
    [
        (SourceConfig(), Microphone),
        (SourceConfig(kind="file", file=NURSERY), Recording),
    ],
)
def test_the_source_is_as_configured(section, kind):
    assert isinstance(audio_source(Config(source=section)), kind)


def test_two_services_of_one_machine_are_two_installations(tmp_path):
    config = Config(mqtt={"host": "hub"})
    keys = set()
    for name in ("one", "two"):
        (sink,) = configured_sinks(config, tmp_path / name, RequestBox())
        keys.add(sink._settings.instance)
        assert sink._settings.instance[:4] in sink._settings.effective_client_id
    assert len(keys) == 2
