"""Composition root: the configuration becomes objects, and the objects are wired. Nothing starts here."""

from __future__ import annotations

import math
import os
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from monitor.capture.child_process import DeviceRequest
from monitor.capture.microphone import Microphone, MicrophoneLimits
from monitor.capture.pcm import PcmStream
from monitor.capture.source import AudioSource
from monitor.commands import Inbox
from monitor.config import Config, DetectConfig, MicrophoneConfig, SourceConfig
from monitor.detect import artifacts
from monitor.detect.loading import load_pipeline
from monitor.detect.settings import DetectorSettings
from monitor.errors import ConfigError
from monitor.events.assembler import MessageAssembler
from monitor.events.bus import MessageBus
from monitor.events.clock import StreamClock
from monitor.service.detector import DetectorThread
from monitor.service.health import Limits
from monitor.service.host_health import HostLimits
from monitor.service.machine import Machine, disguised
from monitor.service.push import push_settings
from monitor.service.requests import RequestBox
from monitor.service.service import Service, Timing
from monitor.service.signal_judgement import SignalLimits
from monitor.service.state_folder import StateFolder, state_bases
from monitor.service.watchdog import Watchdog
from monitor.service.worker import SinkWorker
from monitor.sinks.base import Sink
from monitor.sinks.clip_recorder import ClipRecorder
from monitor.sinks.clips import ClipSettings, ClipSink
from monitor.sinks.history import HistorySettings, HistorySink
from monitor.sinks.jsonl import JsonLinesSink
from monitor.sinks.mqtt import MqttSink
from monitor.sinks.mqtt_settings import MqttSettings
from monitor.sinks.push import PushSink
from monitor.types import DetectorOutput

_STDOUT: Final = Path("-")


def build_service(
    config: Config,
    *,
    source: AudioSource | None = None,
    extra_sinks: Sequence[Sink] = (),
    on_output: Callable[[DetectorOutput], None] | None = None,
    state: StateFolder | None = None,
    faults: Sequence[Callable[[], str]] = (),
    machine: Machine | None = None,
) -> Service:
    """The service that ``config`` describes, ready to run.

    ``source`` replaces the configured one. ``on_output`` sees all that the detector says, on its
    thread, and must not wait. Without ``state`` nothing outlives a restart. ``faults`` say, on main,
    what else is wrong; they must not wait. Raises ModelError when a model cannot be used, ConfigError
    when keys contradict the model.
    """
    # The models first: nothing else is worth starting without them.
    pipeline = load_pipeline(detector_settings(config.detect), config.detect.artifacts)
    watchdog = Watchdog()
    if source is None:
        # At boot a microphone may come later than we do. Where somebody would only start us again and again
        # (systemd, Docker, the Supervisor), it is waited for, and the hub told; at a terminal a mistyped name
        # ends the program.
        source = audio_source(config, wait_for_device=not is_at_terminal())
    requests = RequestBox()
    folder = None if state is None else state.path
    recorder = ClipRecorder() if config.clips.enabled and folder is not None else None
    sinks = [
        *configured_sinks(config, folder, requests),
        *remembering_sinks(config, folder, recorder),
        *extra_sinks,
    ]
    bus = MessageBus()
    workers = [SinkWorker(sink, bus.subscribe(sink.name, config.service.queue_length)) for sink in sinks]
    clock = StreamClock()
    assembler = message_assembler(config, clock)

    def detector(on_end: Callable[[], None]) -> DetectorThread:
        return DetectorThread(
            source, pipeline, assembler, clock, bus, on_end=on_end, on_output=on_output, tap=recorder
        )

    return Service(
        device=config.device.id,
        source=source,
        bus=bus,
        workers=workers,
        detector=detector,
        limits=health_limits(config, source),
        timing=Timing(stop_timeout_s=config.service.stop_timeout_s, heartbeat_s=config.service.heartbeat_s),
        watchdog=watchdog,
        state=state,
        requests=requests,
        delivery=next((sink.delivery for sink in sinks if isinstance(sink, PushSink)), None),
        metrics_listen=config.metrics.listen,
        acknowledged_for=math.ceil(config.events.acknowledged_for_s / config.events.escalate_every_s),
        hold_s=pipeline.hang_over_s,
        machine=machine,
        model_files=artifacts.files(config.detect.artifacts),
        faults=faults,
    )


def is_at_terminal() -> bool:
    """Whether a person sees what we say and can correct it."""
    # A container may be given a terminal that nobody looks at; there, its init or nobody has started us.
    started_by_somebody = os.getppid() > 1
    return started_by_somebody and any(
        stream is not None and stream.isatty() for stream in (sys.stdin, sys.stderr)
    )


def message_assembler(config: Config, clock: StreamClock) -> MessageAssembler:
    return MessageAssembler(
        config.device.id,
        clock,
        calm_every_s=config.events.calm_every_s,
        active_every_s=config.events.active_every_s,
        escalate_every_s=config.events.escalate_every_s,
    )


def health_limits(config: Config, source: AudioSource) -> Limits:
    """From when on something is called a trouble, as configured."""
    return Limits(
        # The source itself calls the microphone lost first, and says why.
        lost_after_s=config.microphone.stalled_after_s + 1.0,
        signal=signal_limits(config),
        paced=isinstance(source, Microphone),
        host=HostLimits(
            hot_c=config.service.hot_c,
            disk_low_mb=config.service.disk_low_mb,
            memory_mb=config.service.memory_mb,
        ),
    )


def signal_limits(config: Config) -> SignalLimits:
    """From when on the microphone's signal is called a trouble, by the service and by `check`."""
    return SignalLimits(silent_after_s=config.service.silent_after_s)


def detector_settings(detect: DetectConfig) -> DetectorSettings:
    return DetectorSettings(**detect.model_dump(exclude={"artifacts"}))


def audio_source(config: Config, *, wait_for_device: bool = False) -> AudioSource:
    """The configured source, not yet started. A microphone that is not there may be waited for."""
    match config.source.kind:
        case "microphone":
            return microphone(config.microphone, wait_for_device=wait_for_device)
        case "file":
            return _recording(config.source)
        case "stdin":
            return _pcm(config.source)


def microphone(settings: MicrophoneConfig, *, wait_for_device: bool = False) -> Microphone:
    # "2" is a device's index; no sound system calls a device by a number alone.
    device = settings.device
    return Microphone(
        DeviceRequest(
            device=int(device) if device is not None and device.isdecimal() else device,
            channel=settings.channel,
            channels=settings.channels,
            rate_hz=settings.rate_hz,
            latency_s=settings.latency_s,
        ),
        MicrophoneLimits(opened_within_s=settings.opened_within_s, stalled_after_s=settings.stalled_after_s),
        wait_for_device=wait_for_device,
    )


def _recording(settings: SourceConfig) -> AudioSource:
    # Not above: libsndfile and its 5 MB are no part of a service that hears a microphone.
    from monitor.capture.recording import Recording  # noqa: PLC0415

    assert settings.file is not None, "monitor.config.checks sees to it"
    return Recording(settings.file, channel=settings.channel, real_time=settings.realtime)


def _pcm(settings: SourceConfig) -> AudioSource:
    if sys.stdin is None:
        raise ConfigError('source.kind = "stdin", but stdin is closed.', "Pipe PCM into the program.")
    return PcmStream(
        sys.stdin.fileno(),
        rate_hz=settings.pcm_rate_hz,
        channels=settings.pcm_channels,
        channel=settings.channel,
        live=settings.realtime,
    )


def configured_sinks(config: Config, folder: Path | None, inbox: Inbox) -> list[Sink]:
    """The sinks that tell somebody, as configured. They put what parents ask for into ``inbox``."""
    sinks: list[Sink] = []
    hub_reached: Callable[[], bool] | None = None
    mqtt = mqtt_settings(config)
    if mqtt is not None:
        ours = _identified(replace(mqtt, state_dir=folder), Machine(), folder)
        hub = MqttSink(ours, inbox=inbox)
        hub_reached = hub.reached
        sinks.append(hub)
    push = push_settings(config, folder)
    if push is not None:
        sinks.append(PushSink(push, inbox=inbox, hub_reached=hub_reached))
    if config.jsonl.path is not None:
        sinks.append(JsonLinesSink(None if config.jsonl.path == _STDOUT else config.jsonl.path))
    return sinks


def remembering_sinks(config: Config, folder: Path | None, recorder: ClipRecorder | None) -> list[Sink]:
    """The sinks that tell nobody and keep what they hear in ``folder``; without one there are none."""
    if folder is None:
        return []
    sinks: list[Sink] = []
    if config.history.enabled:
        # Levels come at least this often; a longer pause was no listening.
        gap_s = 2 * max(config.events.calm_every_s, config.events.active_every_s) + 5.0
        bounds = config.history.model_dump(exclude={"enabled"})
        sinks.append(HistorySink(HistorySettings(folder, gap_s=gap_s, **bounds)))
    if recorder is not None:
        sinks.append(ClipSink(ClipSettings(folder, **config.clips.model_dump(exclude={"enabled"})), recorder))
    return sinks


def _identified(settings: MqttSettings, machine: Machine, folder: Path | None) -> MqttSettings:
    """With what tells this installation from every other.

    A cloned card shares the name of the host and the folder but not the machine, two services of one machine
    share all but the folder, and a container has no facts of the machine but a name.
    """
    host = platform.node() or "a machine without a name"
    key = disguised(f"{machine.key} {host} {folder and folder.absolute()}")
    return replace(settings, instance=key, machine_name=f"{host} ({key[:4]})")


def own_instances(config: Config, environ: Mapping[str, str]) -> list[str]:
    """Which instances at the broker are services with ``config``: started by this user, or by the system."""
    settings, machine = mqtt_settings(config), Machine()
    if settings is None:
        return []
    folders = [base / config.device.id for base in state_bases(config.service.state_dir, environ)]
    return [_identified(settings, machine, folder).instance for folder in folders]


def mqtt_settings(config: Config) -> MqttSettings | None:
    """What the MQTT sink has to know; None without a broker."""
    mqtt = config.mqtt
    if mqtt.host is None:
        return None
    machine = Machine()
    settings = MqttSettings(
        host=mqtt.host,
        device=config.device.id,
        device_name=config.device.name,
        suggested_area=config.device.area,
        password=None if mqtt.password is None else mqtt.password.get_secret_value(),
        max_waiting=config.service.queue_length,
        heartbeat_s=config.service.heartbeat_s,
        report_every_s=max(config.events.calm_every_s, config.events.active_every_s),
        model=machine.model,
        serial=machine.serial,
        **mqtt.model_dump(exclude={"host", "password", "password_file"}),
    )
    return _identified(settings, machine, None)
