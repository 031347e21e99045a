"""List the input devices, as `microphone.device` can name them."""

from __future__ import annotations

import argparse

from monitor.capture.devices import list_devices
from monitor.cli.table import print_table
from monitor.errors import DeviceNotFoundError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """No arguments."""


def run(_arguments: argparse.Namespace) -> int:
    devices = list_devices()
    if not devices:
        raise DeviceNotFoundError(
            "There is no input device.",
            "Plug in a microphone; on Debian, your user needs to be in the group audio.",
        )
    rows = [
        [
            str(device.index),
            device.name,
            device.host_api,
            str(device.channels),
            f"{device.default_rate_hz} Hz",
            "default" if device.is_default else "",
        ]
        for device in devices
    ]
    print_table(["index", "name", "sound system", "channels", "rate", ""], rows)
    return 0
