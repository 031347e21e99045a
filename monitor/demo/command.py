"""See a cry become a message, with everything real.

The bundled recording, a synthetic evening in a nursery, goes through the service as it runs in a
home: detector, models, MQTT. Where no broker is configured, one is started on this machine for as
long as it takes (Mosquitto where installed, else amqtt). A subscriber such as a home hub listens
there. Fails when a cry does not arrive, or when anything else raises an alarm.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

from rich.console import Console

from monitor.capture.recording import Recording
from monitor.cli.options import add_config_options, load
from monitor.config import Config, Flag, JsonlConfig
from monitor.demo.board import Board
from monitor.demo.broker import EmbeddedBroker
from monitor.demo.frame import Frame
from monitor.demo.hub import Door, Hub, HubError
from monitor.demo.playback import Playback
from monitor.demo.report import Stage, print_report, record_output, write_record
from monitor.demo.show import LiveShow, PlainShow, Show
from monitor.demo.verdict import Truth, Verdict, episodes, judge, load_truth
from monitor.errors import ConfigError, PermanentSinkError
from monitor.log import configure_logging
from monitor.messages import EpisodeMessage
from monitor.service.app import build_service, mqtt_settings
from monitor.service.signals import stop_on_signals
from monitor.sinks.homeassistant import Topics
from monitor.sinks.memory import ListSink
from monitor.sinks.mqtt_client import tls_context
from monitor.sinks.mqtt_settings import MqttSettings

RECORDING: Final = Path(__file__).with_name("nursery.flac")
TITLE: Final = "Cradlewatch demo: a synthetic evening in a nursery"

DEVICE: Final = "demo"
"""A device of its own: on a home's broker it must not be taken for the real monitor."""

ARRIVAL_TIMEOUT_S: Final = 30.0
PLAIN_WIDTH: Final = 110


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--fast", action="store_true", help="as fast as possible instead of in real time")
    parser.add_argument(
        "--broker", metavar="HOST:PORT", help="publish to this broker (default: as configured)"
    )
    parser.add_argument(
        "--record", type=Path, metavar="FILE", help="write messages and result as lines of JSON"
    )
    parser.add_argument("--plain", action="store_true", help="plain lines, also on a terminal")
    add_config_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the demonstration; 0 when every cry arrived and nothing else did."""
    config = _own_names(load(arguments, _broker_flags(arguments.broker)).config)
    console = _console(plain=arguments.plain)
    if arguments.record is not None:
        record_output(arguments.record)  # what is in the way is said now, not after the demonstration
    with _broker(config) as (config, software):
        settings = mqtt_settings(config)
        assert settings is not None, "there is a broker"
        with _listening(settings) as (hub, protocol):
            stage = Stage(f"{software} at {settings.address}", protocol, real_time=not arguments.fast)
            # In a fast run the sink has no time to find out for itself what an old broker speaks.
            mqtt = config.mqtt.model_copy(update={"protocol": protocol})
            # Its end comes as soon as its last messages, and a busy machine may need a while for those.
            service = config.service.model_copy(update={"stop_timeout_s": ARRIVAL_TIMEOUT_S})
            ready = config.model_copy(update={"mqtt": mqtt, "service": service})
            verdict = _play(ready, hub, stage, console)
            received = hub.received
            if software == _CONFIGURED:
                # A home's broker shall not remember the demonstration.
                hub.forget({message.topic for message in received})
    if verdict is None:
        console.print("Stopped before the end: no verdict.", highlight=False)
        return 1
    print_report(console, stage, verdict, received)
    if arguments.record is not None:
        write_record(arguments.record, stage, verdict, received)
    return 0 if verdict.is_good else 1


def _play(config: Config, hub: Hub, stage: Stage, console: Console) -> Verdict | None:
    """Play the recording through the service; None when it was stopped before the end."""
    truth, board, sent = load_truth(RECORDING.with_suffix(".json")), Board(), ListSink("demo")
    show = _show(console, board, truth, stage)
    hub.on_message = show.received

    def arrived(within_s: float) -> bool:
        due = {message.event_id for message in sent.of(EpisodeMessage) if message.event_type != "updated"}
        return hub.wait_for_events(due, within_s)

    recording = Recording(RECORDING, real_time=stage.real_time)
    playback = Playback(recording, may_end=arrived, patience_s=ARRIVAL_TIMEOUT_S)
    service = build_service(config, source=playback, extra_sinks=(sent,), on_output=show.heard)
    with show.running(), stop_on_signals(service.request_stop):
        # Warnings reach the hub as health. Set up inside the display, which then has taken the place of
        # stderr, so that an error does not tear it.
        configure_logging("error")
        service.run()
        arrived(ARRIVAL_TIMEOUT_S)
    configure_logging("error")
    if board.now.position_s < truth.duration_s - 1.0:
        return None
    seen = episodes(board.outputs, sent.of(EpisodeMessage), hub.received, playback.origin_s)
    return judge(truth, seen)


def _show(console: Console, board: Board, truth: Truth, stage: Stage) -> Show:
    if not console.is_terminal or console.is_dumb_terminal:
        return PlainShow(console, board, truth)
    hub_title = f"the hub received ({stage.broker}, MQTT {stage.protocol})"
    ascii_only = not console.encoding.startswith("utf")
    return LiveShow(console, board, Frame(TITLE, hub_title, truth, ascii_only=ascii_only))


def _console(*, plain: bool) -> Console:
    console = Console(highlight=False)
    if console.is_terminal and not plain:
        return console
    return Console(force_terminal=False, color_system=None, highlight=False, width=PLAIN_WIDTH)


def _own_names(config: Config) -> Config:
    """The user's configuration under names that cannot be mistaken for the real monitor's."""
    device = config.device.model_copy(update={"id": DEVICE, "name": "Cradlewatch demo", "area": None})
    mqtt = config.mqtt.model_copy(update={"client_id": None})
    return config.model_copy(update={"device": device, "mqtt": mqtt, "jsonl": JsonlConfig()})


def _broker_flags(address: str | None) -> tuple[Flag, ...]:
    if address is None:
        return ()
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise ConfigError(f"--broker {address} is not an address.", "Write HOST:PORT, as in localhost:1883.")
    return (Flag("mqtt.host", host.strip("[]"), "--broker"), Flag("mqtt.port", port, "--broker"))


_CONFIGURED: Final = "the configured broker"


@contextlib.contextmanager
def _broker(config: Config) -> Iterator[tuple[Config, str]]:
    """The configuration with a broker in it, and what that broker is."""
    if config.mqtt.host is not None:
        yield config, _CONFIGURED
        return
    with EmbeddedBroker() as address:
        # Nothing else is taken over: TLS and password would be for a broker that is elsewhere.
        mqtt = type(config.mqtt)(host=address.host, port=address.port, protocol=address.protocol)
        yield config.model_copy(update={"mqtt": mqtt}), f"embedded {address.software}"


@contextlib.contextmanager
def _listening(settings: MqttSettings) -> Iterator[tuple[Hub, str]]:
    """A subscriber that is connected, and the MQTT version that it speaks."""
    hub, version = _connected(settings)
    try:
        yield hub, version
    finally:
        hub.stop()


def _connected(settings: MqttSettings) -> tuple[Hub, str]:
    if settings.protocol != "auto":
        return _subscriber(settings, settings.protocol), settings.protocol
    try:
        return _subscriber(settings, "5"), "5"
    except HubError:
        return _subscriber(settings, "3.1.1"), "3.1.1"


def _subscriber(settings: MqttSettings, version: Literal["5", "3.1.1"]) -> Hub:
    topics = Topics.of(settings)
    hub = Hub(
        _door(settings, version),
        [f"{settings.base_topic}/#", f"{settings.discovery_prefix}/#"],
        lambda topic: topic.startswith(f"{topics.base}/") or topic == topics.discovery,
    )
    hub.start()
    return hub


def _door(settings: MqttSettings, version: Literal["5", "3.1.1"]) -> Door:
    try:
        settings.check()
        tls = tls_context(settings) if settings.tls else None
    except PermanentSinkError as error:
        raise ConfigError(error.message, error.remedy) from error
    return Door(settings.host, settings.effective_port, version, settings.username, settings.password, tls)
