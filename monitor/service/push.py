"""The configuration of direct push and of the sounder, as their sink wants it."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from monitor.config import Config, SounderConfig
from monitor.sinks.push_settings import PushSettings, SounderSettings, read_channels


def push_settings(config: Config, state_dir: Path | None = None) -> PushSettings | None:
    """What the push sink has to know; None when nobody is told directly and nothing sounds.

    Raises ConfigError with one sentence for every mistake in the file that names the channels.
    """
    push = config.push
    if push.channels_file is None and not config.sounder.enabled:
        return None
    return PushSettings(
        device=config.device.id,
        device_name=config.device.name,
        channels=() if push.channels_file is None else read_channels(push.channels_file),
        daily_test=None if push.daily_test is None else dt.time.fromisoformat(push.daily_test),
        sounder=sounder_settings(config.sounder) if config.sounder.enabled else None,
        state_dir=state_dir,
        **push.model_dump(exclude={"channels_file", "daily_test"}),
    )


def sounder_settings(sounder: SounderConfig) -> SounderSettings:
    return SounderSettings(**sounder.model_dump(exclude={"enabled"}))
