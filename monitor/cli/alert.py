"""Send a test alert through every channel of direct push and say what became of it.

    cradlewatch alert test              all channels, one line each
    cradlewatch alert test --channel Mum
    cradlewatch alert test --urgent     as loud as crying that goes on: does it ring through the night?
    cradlewatch alert test --sounder    and one alarm on the attached speaker

Works while the service runs. Exit code 0 only when all have arrived.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from monitor.cli.options import add_config_options, load
from monitor.config import Config
from monitor.errors import ConfigError
from monitor.service.push import push_settings, sounder_settings
from monitor.sinks.push_channels import Attempt, Channel, require_apprise
from monitor.sinks.push_notes import Notification, Urgency
from monitor.sinks.push_settings import ChannelSettings
from monitor.sinks.push_text import test_text, test_title
from monitor.sinks.sounder import Sounder

FAILED = 1
LASTS_S = 60.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=["test"], help="what to do")
    parser.add_argument("--channel", action="append", metavar="NAME", help="only this one; may be repeated")
    parser.add_argument("--urgent", action="store_true", help="with the highest urgency")
    parser.add_argument("--sounder", action="store_true", help="sound the attached speaker once as well")
    add_config_options(parser)


def run(arguments: argparse.Namespace) -> int:
    config = load(arguments).config
    channels = _chosen(config, arguments.channel)
    if not channels and not arguments.sounder:
        raise ConfigError(
            "There is nobody to alert: push.channels_file is not set.",
            "Name a file with [[channel]] entries there, see the example configuration.",
        )
    if channels:
        require_apprise()
    urgency = Urgency.URGENT if arguments.urgent else Urgency.NORMAL
    arrived = _try_all(channels, _test(config, [channel.name for channel in channels], urgency))
    if arguments.sounder:
        arrived = _sound(config) and arrived
    return 0 if arrived else FAILED


def _chosen(config: Config, names: Sequence[str] | None) -> list[Channel]:
    settings = push_settings(config)
    known: tuple[ChannelSettings, ...] = () if settings is None else settings.channels
    for name in names or ():
        if name not in [channel.name for channel in known]:
            there = ", ".join(channel.name for channel in known) or "none"
            raise ConfigError(f"There is no channel {name!r}.", f"The channels are: {there}.")
    return [Channel(channel) for channel in known if names is None or channel.name in names]


def _test(config: Config, names: list[str], urgency: Urgency) -> Notification:
    return Notification(
        key="test-command",
        tag="test",
        title=test_title(config.device.name),
        text=test_text("command"),
        urgency=urgency,
        recipients=tuple(names),
        lasts_s=LASTS_S,
    )


def _try_all(channels: Sequence[Channel], test: Notification) -> bool:
    if not channels:
        return True
    width = max(len(channel.name) for channel in channels)
    ok = True
    # All at once: one that does not answer must not make the others wait.
    with ThreadPoolExecutor(len(channels), "push") as pool:
        attempts = pool.map(lambda channel: _attempt(channel, test), channels)
        for channel, attempt in zip(channels, attempts, strict=True):
            print(_line(attempt.ok, channel.name, width, _outcome(attempt)), flush=True)
            ok = ok and attempt.ok
    return ok


def _attempt(channel: Channel, test: Notification) -> Attempt:
    try:
        channel.check()
    except ConfigError as error:
        return Attempt(ok=False, elapsed_s=0.0, reason=error.message, remedy=error.remedy)
    return channel.send(test, left_s=LASTS_S)


def _sound(config: Config) -> bool:
    played = Sounder(sounder_settings(config.sounder)).play()
    if played.fault:
        print(_line(False, "sounder", 0, f"{played.fault} {played.remedy}".strip()), flush=True)
        return False
    print(_line(True, "sounder", 0, f"played on {played.device}"), flush=True)
    return True


def _outcome(attempt: Attempt) -> str:
    if attempt.ok:
        return f"delivered in {1000 * attempt.elapsed_s:.0f} ms"
    return f"{attempt.reason} {attempt.remedy}".strip()


def _line(ok: bool, name: str, width: int, text: str) -> str:
    return f"{'OK  ' if ok else 'FAIL'}  {name:{width}}  {text}"
