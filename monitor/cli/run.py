"""Listen until stopped: microphone (or any source) to sinks.

Stops cleanly on SIGTERM and Ctrl-C; writes all stacks to stderr on SIGUSR1.
"""

from __future__ import annotations

import argparse
import os
import sys

import structlog

from monitor.cli.options import add_config_options, add_named_flag, load
from monitor.config import Flag
from monitor.errors import ConfigError
from monitor.heap import share_arenas
from monitor.log import RepeatLimiter, configure_logging
from monitor.service.app import build_service
from monitor.service.service import RESTART_EXIT_CODE
from monitor.service.signals import stop_on_signals
from monitor.service.state_folder import open_state_folder, state_path
from monitor.service.watchdog import Watchdog

log = structlog.get_logger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_options(parser)
    short = "short for --set"
    add_named_flag(parser, "--device", "microphone.device", "NAME", "the input device")
    add_named_flag(parser, "--mqtt-host", "mqtt.host", "HOST", "the broker")
    add_named_flag(parser, "--mqtt-port", "mqtt.port", "PORT", "its port")
    add_named_flag(parser, "--jsonl", "jsonl.path", "FILE", "a file for the messages, - for stdout")
    add_named_flag(parser, "--log-level", "log.level", "LEVEL", "least important log line")
    add_named_flag(parser, "--log-format", "log.format", "FORM", "form of a log line")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--file", metavar="PATH", help=f"listen to a recording ({short} source.file, .kind)")
    source.add_argument("--stdin", action="store_true", help=f"listen to PCM ({short} source.kind=stdin)")
    parser.add_argument(
        "--fast", action="store_true", help=f"play a recording at full speed ({short} source.realtime=false)"
    )


def run(arguments: argparse.Namespace) -> int:
    share_arenas()
    loaded = load(arguments, _source_flags(arguments))
    stream = configure_logging(loaded.config.log.level, loaded.config.log.format, repeats=RepeatLimiter())
    log.info("config.loaded", file="none" if loaded.path is None else str(loaded.path))
    config = loaded.config
    ways = (config.mqtt.host, config.push.channels_file, config.jsonl.path)
    if ways == (None, None, None) and not config.sounder.enabled:
        raise ConfigError(
            "Nobody would hear of a cry: none of mqtt.host, push.channels_file and jsonl.path is set.",
            "Name the broker (--mqtt-host HOST), or a file for the messages (--jsonl FILE, - for stdout).",
        )
    state = open_state_folder(state_path(config.service.state_dir, config.device.id, os.environ))
    service = build_service(config, state=state, faults=[stream.fault])
    with stop_on_signals(service.request_stop):
        code = service.run()
    if code == RESTART_EXIT_CODE and not Watchdog().supervised:
        # Nobody would start us again: at a terminal, or in a container that only looks at failures.
        log.info("service.starts_again")
        os.execv(sys.executable, [sys.executable, "-m", "monitor", *sys.argv[1:]])  # noqa: S606 - ourselves
    return code


def _source_flags(arguments: argparse.Namespace) -> tuple[Flag, ...]:
    flags = []
    if arguments.file is not None:
        flags += [Flag("source.kind", "file", "--file"), Flag("source.file", arguments.file, "--file")]
    if arguments.stdin:
        flags.append(Flag("source.kind", "stdin", "--stdin"))
    if arguments.fast:
        flags.append(Flag("source.realtime", "false", "--fast"))
    return tuple(flags)
