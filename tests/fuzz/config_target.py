"""Configuration: TOML as people mistype it and as nobody would, the environment, and --set flags."""

from __future__ import annotations

import contextlib
import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from typing_extensions import override

from monitor.cli.options import _setting
from monitor.config import load_config
from monitor.config.load import fields
from monitor.config.sentences import shown, unwrapped
from monitor.errors import ConfigError, MonitorError, PermanentSinkError
from monitor.service.app import audio_source, detector_settings, mqtt_settings
from monitor.service.state_folder import state_path
from tests.fuzz.mutate import any_text, any_value, spoiled
from tests.fuzz.target import CANARY, Target


@dataclass(frozen=True)
class Given:
    file: bytes | None
    environment: dict[str, str]
    flags: tuple[str, ...]
    password_file: bytes


class ConfigTarget(Target):
    name = "configuration"
    share = 26_000

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._path = folder / "cradlewatch.toml"
        (folder / "channels.toml").write_text("")

    @override
    def make(self, rng: random.Random) -> Given:
        file = None
        if rng.random() < 0.8:
            file = _toml(rng).encode("utf-8", "surrogatepass")
            if rng.random() < 0.3:
                file = spoiled(file, rng, 4)
            elif rng.random() < 0.01:
                depth = rng.choice((200, 100_000))
                file = b"[source]\nfile = " + b"[" * depth + b"]" * depth
        environment = {}
        for _ in range(rng.choice((0, 0, 1, 1, 2))):
            name, value = _variable(rng)
            if _fits_environment(name) and _fits_environment(value) and "=" not in name and name:
                environment[name] = value
        flags = tuple(filter(_fits_environment, (_flag(rng) for _ in range(rng.choice((0, 0, 1, 1, 2))))))
        password = rng.choice((CANARY.encode(), b"", b"\xff\xfe", CANARY.encode() + b"\n\n"))
        return Given(file, environment, flags, password)

    @override
    def feed(self, given: Given) -> str:
        path = None
        if given.file is not None:
            path = self._path
            path.write_bytes(given.file)
        (self.folder / "secret").write_bytes(given.password_file)
        nowhere = self.folder / "none.toml"
        try:
            flags = [_setting(text) for text in given.flags]
            loaded = load_config(path, flags=flags, environ=given.environment, default_path=nowhere)
        except ConfigError as error:
            return str(error)
        return _put_to_use(loaded.config)


def _put_to_use(config: Any) -> str:
    """What is made of a configuration that was accepted; nothing may come out that was not foreseen."""
    for key in fields():
        section, _, name = key.partition(".")
        value = getattr(getattr(config, section), name)
        shown(key, value)
        if isinstance(value, Path):
            with contextlib.suppress(OSError):  # for that there is a sentence, from whoever opens it
                value.exists()
            _no_nul(key, str(value))
        elif isinstance(value, str):
            value.encode()
            _no_nul(key, value)
    try:
        detector_settings(config.detect)
        state_path(config.service.state_dir, config.device.id, {})
        mqtt = mqtt_settings(config)
        if mqtt is not None:
            mqtt.check()
        if config.source.kind != "stdin":
            audio_source(config)
    except PermanentSinkError as error:
        return str(error)
    except MonitorError as error:
        return str(error)
    return ""


def _no_nul(key: str, text: str) -> None:
    assert "\0" not in text, f"{key} was accepted with a NUL, at which every system call fails"


def _fits_environment(text: str) -> bool:
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return "\0" not in text


def _right_value(field: Any, rng: random.Random) -> Any:
    """One that the key most probably takes."""
    if field.examples and rng.random() < 0.5:
        return field.examples[0]
    kind, _ = unwrapped(field.annotation)
    if get_origin(kind) is Literal:
        return rng.choice(get_args(kind))
    if kind is bool:
        return rng.random() < 0.5
    if kind is int:
        return rng.choice((0, 1, 2, 10, 16000, 48000))
    if kind is float:
        return rng.choice((0.5, 1.0, 10.0, 60.0))
    return rng.choice(("secret", "nursery", "a/b", "127.0.0.1:0", "channels.toml", "09:30"))


def _value(key: str, rng: random.Random) -> Any:
    if key == "mqtt.password":
        return CANARY
    field = fields().get(key)
    if field is not None and rng.random() < 0.75:
        return _right_value(field, rng)
    return any_value(rng)


def _key(rng: random.Random) -> str:
    key = rng.choice(list(fields()))
    kind = rng.random()
    if kind < 0.9:
        return key
    if kind < 0.95:
        at = rng.randrange(len(key))
        return key[:at] + rng.choice("abcz._") + key[at + 1 :]
    return any_text(rng, 20)


def _toml(rng: random.Random) -> str:
    tables: dict[str, dict[str, Any]] = {}
    for _ in range(rng.choice((0, 1, 1, 2, 3, 8))):
        section, _, name = _key(rng).partition(".")
        tables.setdefault(section, {})[name] = _value(f"{section}.{name}", rng)
    lines: list[str] = []
    for section, table in tables.items():
        lines.append(f"[{_toml_key(section)}]" if rng.random() < 0.97 else f"{_toml_key(section)} = 1")
        lines += [f"{_toml_key(name)} = {_toml_value(value, rng)}" for name, value in table.items()]
        if rng.random() < 0.02:
            lines.append(rng.choice(lines))
    return "\n".join(lines) + "\n"


def _toml_key(name: str) -> str:
    return name if name.isidentifier() and name.isascii() else json.dumps(name)


def _toml_value(value: Any, rng: random.Random) -> str:
    if value is None:
        return rng.choice(
            ("", "2026-11-22", "07:32:00", "1979-05-27T07:32:00Z", "2026-13-45", "0x1F", "1__0")
        )
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float | int):
        return str(value)
    if isinstance(value, dict):
        return "{ a = 1 }"
    if isinstance(value, str) and value.isdecimal() and value.isascii():
        return value
    return json.dumps(value).replace("\\ud800", "\\uD800")


def _variable(rng: random.Random) -> tuple[str, str]:
    key = _key(rng)
    value = _value(key, rng)
    name = "CRADLEWATCH_" + key.upper().replace(".", rng.choice(("__", "__", "__", "_", "___")))
    if rng.random() < 0.03:
        name, value = (
            rng.choice(("CREDENTIALS_DIRECTORY", "CRADLEWATCH_CONFIG", "CRADLEWATCH_")),
            any_text(rng),
        )
    return name, value if isinstance(value, str) else str(value)


def _flag(rng: random.Random) -> str:
    if rng.random() < 0.05:
        # A password where it does not belong, and misspelt.
        key = rng.choice(
            ("mqtt.password", "mqtt.pasword", "mqtt.passwort", "Mqtt.Password", "mqtt.password ")
        )
        return f"{key}={CANARY}"
    if rng.random() < 0.05:
        return any_text(rng)
    key = _key(rng)
    value = _value(key, rng)
    return f"{key}={value}"
