"""Rules between keys: each value is allowed, but not together."""

from __future__ import annotations

from collections.abc import Iterator

from monitor.config.addresses import host_mistake
from monitor.config.schema import (
    ClipsConfig,
    Config,
    DetectConfig,
    MicrophoneConfig,
    MqttConfig,
    PushConfig,
    SourceConfig,
)


def contradictions(config: Config) -> Iterator[str]:
    """One sentence, with its remedy, for every contradiction."""
    yield from _source(config.source)
    yield from _microphone(config.microphone)
    yield from _detect(config.detect)
    yield from _mqtt(config.mqtt)
    yield from _clips(config.clips)
    yield from _push(config.push)


def _source(source: SourceConfig) -> Iterator[str]:
    if source.kind == "file" and source.file is None:
        yield 'source.kind = "file" needs a recording: set source.file.'
    if source.kind == "stdin" and source.channel >= source.pcm_channels:
        yield (
            f"source.channel = {source.channel} does not exist in PCM with source.pcm_channels = "
            f"{source.pcm_channels}: the first channel is 0."
        )


def _microphone(microphone: MicrophoneConfig) -> Iterator[str]:
    if microphone.channels is not None and microphone.channel >= microphone.channels:
        yield (
            f"microphone.channel = {microphone.channel} does not exist among microphone.channels = "
            f"{microphone.channels}: the first channel is 0."
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
    if mqtt.host is not None:
        yield from filter(None, [host_mistake("mqtt.host", mqtt.host)])
    if (mqtt.cert_file is None) != (mqtt.key_file is None):
        yield "mqtt.cert_file and mqtt.key_file belong together: set both or neither."
    files = {"ca_file": mqtt.ca_file, "cert_file": mqtt.cert_file}
    if not mqtt.tls:
        for name, path in files.items():
            if path is not None:
                yield f"mqtt.{name} has no effect without encryption: set mqtt.tls = true or leave it out."
    if mqtt.password is not None and mqtt.username is None:
        yield "A password for the broker is set without mqtt.username: set the user name as well."


def _push(push: PushConfig) -> Iterator[str]:
    if (push.callback_listen is None) != (push.callback_url is None):
        yield (
            "push.callback_listen and push.callback_url belong together: "
            "set where acknowledgements are heard and how a phone gets there, or neither."
        )
    if push.callback_listen is not None and int(push.callback_listen.rpartition(":")[2]) > 65535:
        yield f'push.callback_listen = "{push.callback_listen}" has no port of 0 to 65535: choose another.'
    if push.channels_file is None:
        for name, value in {"daily_test": push.daily_test, "callback_listen": push.callback_listen}.items():
            if value is not None:
                yield f"push.{name} has no effect without channels: set push.channels_file or leave it out."


def _clips(clips: ClipsConfig) -> Iterator[str]:
    if clips.pre_roll_s >= clips.max_s:
        yield (
            f"clips.pre_roll_s = {clips.pre_roll_s:g} leaves no room for crying in clips.max_s = "
            f"{clips.max_s:g}: lower the one or raise the other."
        )
