"""Rules between keys: each value is allowed, but not together."""

from __future__ import annotations

from collections.abc import Iterator

from monitor.config.schema import CaptureConfig, Config, DetectConfig, MqttConfig


def contradictions(config: Config) -> Iterator[str]:
    """One sentence, with its remedy, for every contradiction."""
    yield from _capture(config.capture)
    yield from _detect(config.detect)
    yield from _mqtt(config.mqtt)


def _capture(capture: CaptureConfig) -> Iterator[str]:
    if capture.source == "file" and capture.file is None:
        yield 'capture.source = "file" needs a recording: set capture.file.'
    if capture.source == "stdin" and capture.channel > capture.pcm_channels:
        yield (
            f"capture.channel = {capture.channel} does not exist in PCM with capture.pcm_channels = "
            f"{capture.pcm_channels}: lower the one or raise the other."
        )


def _detect(detect: DetectConfig) -> Iterator[str]:
    onset, offset = detect.onset_threshold, detect.offset_threshold
    if onset is not None and offset is not None and offset > onset:
        yield (
            f"detect.offset_threshold = {offset} is above detect.onset_threshold = {onset}: "
            "an episode would end as it begins; lower the offset threshold."
        )
    hits, window = detect.onset_hits, detect.onset_window_hops
    if hits is not None and window is not None and hits > window:
        yield (
            f"detect.onset_hits = {hits} can never be reached in detect.onset_window_hops = {window} steps: "
            "lower the one or raise the other."
        )


def _mqtt(mqtt: MqttConfig) -> Iterator[str]:
    if (mqtt.cert_file is None) != (mqtt.key_file is None):
        yield "mqtt.cert_file and mqtt.key_file belong together: set both or neither."
    files = {"ca_file": mqtt.ca_file, "cert_file": mqtt.cert_file}
    if not mqtt.tls:
        for name, path in files.items():
            if path is not None:
                yield f"mqtt.{name} has no effect without encryption: set mqtt.tls = true or leave it out."
    if mqtt.password is not None and mqtt.username is None:
        yield "A password for the broker is set without mqtt.username: set the user name as well."
