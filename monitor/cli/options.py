"""The options that several commands share, and how they become configuration."""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path
from typing import Final

from monitor.config import Flag, Loaded, fields, load_config
from monitor.config.sentences import is_secret
from monitor.errors import ConfigError
from monitor.redaction import redacted
from monitor.service.machine import Machine
from monitor.service.state_folder import default_device, state_bases
from monitor.words import plain

_NAMED: Final = "named_flags"


def add_config_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("configuration")
    group.add_argument("--config", type=Path, metavar="FILE", help="the TOML file to read")
    group.add_argument(
        "--set",
        dest="settings",
        action="append",
        default=[],
        metavar="SECTION.KEY=VALUE",
        help="set one key, over file and environment; may be repeated",
    )


def add_named_flag(parser: argparse.ArgumentParser, flag: str, key: str, metavar: str, text: str) -> None:
    """A flag that is short for ``--set key=…``."""
    names = {**(parser.get_default(_NAMED) or {}), flag.lstrip("-").replace("-", "_"): (flag, key)}
    parser.set_defaults(**{_NAMED: names})
    parser.add_argument(flag, metavar=metavar, help=f"{text} (short for --set {key}={metavar})")


def load(arguments: argparse.Namespace, extra: tuple[Flag, ...] = ()) -> Loaded:
    """The configuration that the command's options ask for. Raises ConfigError."""
    flags = [_setting(text) for text in arguments.settings]
    for attribute, (flag, key) in getattr(arguments, _NAMED, {}).items():
        value = getattr(arguments, attribute)
        if value is not None:
            flags.append(Flag(key, value, flag))
    return _with_device(load_config(arguments.config, flags=[*flags, *extra]))


def _with_device(loaded: Loaded) -> Loaded:
    """Where no device.id is set: one that differs by machine, or the one that this monitor has had."""
    if loaded.origins["device.id"] != "default":
        return loaded
    config = loaded.config
    bases = state_bases(config.service.state_dir, os.environ)
    name = default_device(config.device.id, bases, Machine().key)
    device = config.device.model_copy(update={"id": name})
    return replace(loaded, config=config.model_copy(update={"device": device}))


def _setting(text: str) -> Flag:
    key, separator, value = text.partition("=")
    key = key.strip()
    if not separator:
        raise ConfigError(f"--set {plain(text)} gives no value.", "Write --set section.key=value.")
    # A key that we do not know may be that of a password, misspelt.
    value = value.strip()
    hides = is_secret(key) or key not in fields() or redacted(value) != value
    return Flag(key, value, f"--set {plain(f'{key}=…' if hides else text)}")
