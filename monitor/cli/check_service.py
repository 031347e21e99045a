"""What else the service needs beside a microphone, models and somebody to report to: folder, ports, speaker.

Each part is tried by the code that the service runs; nothing is made, nobody is disturbed.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from monitor.config import Config
from monitor.service.metrics import MetricsServer
from monitor.service.push import sounder_settings
from monitor.service.requests import RequestBox
from monitor.service.state_folder import look_at_state_folder, state_path
from monitor.sinks.push_callback import AcknowledgeListener
from monitor.sinks.sounder import Sounder

MEGABYTE: Final = 1_000_000
_RUNS: Final = "a service runs with it; `cradlewatch status` says how it is"


@dataclass(frozen=True, slots=True)
class Outcome:
    """``ok`` is None for what was not tested."""

    ok: bool | None
    text: str


def check_state(config: Config) -> Outcome:
    """Whether settings, undelivered events and the history can be kept."""
    path = state_path(config.service.state_dir, config.device.id, os.environ)
    found = look_at_state_folder(path)
    if found.in_use:
        return Outcome(ok=None, text=f"{path}: {_RUNS}")
    if found.fault:
        return Outcome(ok=False, text=f"{found.fault} Check its owner, or set service.state_dir.")
    there = next(folder for folder in (path, *path.parents) if folder.exists())
    free_mb = shutil.disk_usage(there).free / MEGABYTE
    if free_mb < config.service.disk_low_mb:
        return Outcome(ok=False, text=f"{path}: only {free_mb:.0f} MB are free. Make room on the disk.")
    return Outcome(ok=True, text=f"{path}: can be written, {free_mb:.0f} MB free")


def check_ports(config: Config) -> Outcome:
    """Listen for a moment where the service would listen."""
    path = state_path(config.service.state_dir, config.device.id, os.environ)
    wanted = [listen for listen in (config.push.callback_listen, config.metrics.listen) if listen]
    if not wanted:
        return Outcome(ok=None, text="not configured: nothing listens")
    if look_at_state_folder(path).in_use:
        return Outcome(ok=None, text=f"{', '.join(wanted)}: {_RUNS}")
    faults = list(filter(None, _port_faults(config)))
    if faults:
        return Outcome(ok=False, text=" ".join(faults))
    return Outcome(ok=True, text=f"{', '.join(wanted)} can be listened to")


def _port_faults(config: Config) -> Iterator[str]:
    if config.push.callback_listen:
        listener = AcknowledgeListener(config.push.callback_listen, b"", RequestBox(), lambda _: None)
        listener.open()
        listener.close()
        yield listener.fault
    if config.metrics.listen:
        metrics = MetricsServer(config.metrics.listen, dict)
        metrics.start()
        metrics.stop()
        yield metrics.fault


def check_sounder(config: Config) -> Outcome:
    """Look for the speaker and make no sound."""
    if not config.sounder.enabled:
        return Outcome(
            ok=None, text="not configured: set sounder.enabled to sound when nobody can be reached"
        )
    found = Sounder(sounder_settings(config.sounder)).look()
    if found.fault:
        return Outcome(ok=False, text=f"{found.fault[:1].upper()}{found.fault[1:]} {found.remedy}".strip())
    return Outcome(ok=True, text=f"{found.device}; `cradlewatch alert test` lets it sound")
