"""Take this device out of the home hub.

    cradlewatch hub remove    all its entities disappear, and the broker keeps nothing of it

For a monitor that moves, gets another device.id or retires. Stop the service first: it announces
itself at every connection. Automations and dashboards that name its entities stay as they are.
"""

from __future__ import annotations

import argparse

from monitor.cli.options import add_config_options, load
from monitor.errors import ConfigError
from monitor.service.app import mqtt_settings
from monitor.sinks.homeassistant import ONLINE
from monitor.sinks.hub_removal import remove

BROKER_S = 10.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=["remove"], help="what to do")
    parser.add_argument("--force", action="store_true", help="even while the broker calls it online")
    add_config_options(parser)


def run(arguments: argparse.Namespace) -> int:
    settings = mqtt_settings(load(arguments).config)
    if settings is None:
        raise ConfigError(
            "There is no hub to leave: mqtt.host is not set.",
            "Set mqtt.host to the broker's name or address.",
        )
    removed = remove(settings, BROKER_S, force=arguments.force)
    print(f'"{settings.device}" is removed: {settings.address} has emptied these topics.')
    for topic in removed.topics:
        print(f"  {topic}")
    print(
        'Home Assistant may log "No device components to cleanup" for each entity that was switched off: '
        "that is harmless."
    )
    if removed.availability == ONLINE:
        print("The broker called it online. A service that still runs announces it again.")
    if removed.availability is None:
        print(
            "The broker did not say whether it is online: it was not there, or may not be read. "
            "A service that still runs announces it again."
        )
    if removed.protocol != "5":
        print("MQTT 3.1.1 cannot say whether the broker permitted it: look whether the entities are gone.")
    return 0
