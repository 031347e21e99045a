"""Read the configuration: defaults < TOML file < environment < flags.

Every value remembers where it came from, for `cradlewatch config` and for the sentence about a value
that cannot be used. All mistakes are reported at once.
"""

from __future__ import annotations

import logging
import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import SecretStr, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from monitor.config.checks import contradictions
from monitor.config.schema import Config
from monitor.config.sentences import is_optional, is_secret, not_allowed, suggestion, unwrapped
from monitor.errors import ConfigError
from monitor.files import OPEN_TO_OTHERS, is_there, read_text, secret_remedy
from monitor.words import plain

DEFAULT_PATH: Final = Path("/etc/cradlewatch/cradlewatch.toml")
ENVIRONMENT_PREFIX: Final = "CRADLEWATCH_"
PATH_VARIABLE: Final = "CRADLEWATCH_CONFIG"
LONGEST_PASSWORD: Final = 65_535
"""Bytes, in MQTT (OASIS standard 5.0, section 1.5.6)."""

# Not structlog: this is imported before monitor.log, which keeps rich out of it.
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Flag:
    """A value from the command line. ``name`` is the flag as the user wrote it."""

    key: str
    value: str
    name: str


@dataclass(frozen=True, slots=True)
class Loaded:
    """The configuration, and per key ("mqtt.port") where its value came from."""

    config: Config
    origins: Mapping[str, str]
    path: Path | None


@dataclass(frozen=True, slots=True)
class _Given:
    """A value before it was checked. ``is_text``: it was written as text, whatever the key's type."""

    key: str
    value: object
    origin: str
    is_text: bool


def fields() -> dict[str, FieldInfo]:
    """Every key ("mqtt.port") with its declaration, in the order of the models."""
    return {
        f"{section}.{name}": field
        for section, model in _sections().items()
        for name, field in model.model_fields.items()
    }


def load_config(
    path: Path | None = None,
    *,
    flags: Iterable[Flag] = (),
    environ: Mapping[str, str] | None = None,
    default_path: Path = DEFAULT_PATH,
) -> Loaded:
    """Load and check the configuration.

    ``path`` is that of ``--config``; without it $CRADLEWATCH_CONFIG counts, then ``default_path``
    if that exists and can be reached. Raises ConfigError with one line for every mistake.
    """
    environ = os.environ if environ is None else environ
    path = _find(path, environ, default_path)
    problems: list[str] = []
    given = [
        *(_from_file(path, problems) if path is not None else ()),
        *_from_environment(environ, problems),
        *(_Given(flag.key, flag.value, f"flag {flag.name}", is_text=True) for flag in flags),
    ]
    values, origins = _checked(given, problems)
    _read_password(values, origins, path, environ, problems)
    _find_channels(values, path, environ)
    if problems:
        raise ConfigError("\n".join(problems))
    config = Config.model_validate(_nested(values))
    problems = list(contradictions(config))
    if problems:
        raise ConfigError("\n".join(problems))
    _warn_of_key(config.mqtt.key_file)
    return Loaded(config, origins, path)


def _sections() -> dict[str, Any]:
    return {name: type(field.default) for name, field in Config.model_fields.items()}


def _find(path: Path | None, environ: Mapping[str, str], default_path: Path) -> Path | None:
    if path is not None:
        return path
    if environ.get(PATH_VARIABLE):
        return Path(environ[PATH_VARIABLE])
    try:
        return default_path if is_there(default_path) else None
    except OSError as error:
        # The service's folder is closed to others, and nobody asked for it: a scan or a demo goes on.
        log.warning("%s is out of reach and does not count: %s", default_path, error.strerror)
        return None


# --- the sources ----------------------------------------------------------------------------------


def _from_file(path: Path, problems: list[str]) -> Iterator[_Given]:
    table = _read_toml(path)
    sections = _sections()
    for section, content in table.items():
        if section not in sections:
            hint = suggestion(section, sections) or f"The sections are {', '.join(sections)}."
            problems.append(f"Unknown section [{plain(section)}] in {plain(str(path))}. {hint}")
        elif not isinstance(content, dict):
            problems.append(
                f"{section} in {plain(str(path))} is a section: write [{section}] above its keys."
            )
        else:
            for name, value in content.items():
                key = f"{section}.{name}"
                yield _Given(key, value, f"file {plain(str(path))}: {plain(key)}", is_text=False)


def _read_toml(path: Path) -> dict[str, Any]:
    shown = plain(str(path))
    try:
        text = read_text(path)
    except FileNotFoundError as error:
        raise ConfigError(
            f"The configuration file {shown} does not exist.",
            f"Create it (`cradlewatch config --example > {shown}`) or name another with --config.",
        ) from error
    except OSError as error:
        raise ConfigError(
            f"The configuration file {shown} cannot be read: {error.strerror}.",
            "Check the path and the access rights.",
        ) from error
    except ValueError as error:
        raise ConfigError(f"The configuration file {shown} {error}.", "Save it as UTF-8.") from error
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise ConfigError(
            f"The configuration file {shown} is not valid TOML: brackets within brackets.", "Correct it."
        ) from error
    except ValueError as error:  # tomllib's own, and Python's for a number of thousands of digits
        raise ConfigError(
            f"The configuration file {shown} is not valid TOML: {plain(str(error))}.", "Correct that line."
        ) from error


def _from_environment(environ: Mapping[str, str], problems: list[str]) -> Iterator[_Given]:
    for variable, value in sorted(environ.items()):
        if not variable.startswith(ENVIRONMENT_PREFIX) or variable == PATH_VARIABLE:
            continue
        section, separator, name = variable.removeprefix(ENVIRONMENT_PREFIX).lower().partition("__")
        if separator:
            origin = f"environment variable {plain(variable)}"
            yield _Given(f"{section}.{name}", value, origin, is_text=True)
        elif section.split("_")[0] in _sections():
            # One underscore for two would be a setting that silently does nothing.
            head, _, tail = variable.removeprefix(ENVIRONMENT_PREFIX).partition("_")
            problems.append(
                f"The environment variable {plain(variable)} sets nothing. "
                f"Did you mean {ENVIRONMENT_PREFIX}{head}__{plain(tail) or '<KEY>'}?"
            )


# --- the checks -----------------------------------------------------------------------------------


def _checked(given: Iterable[_Given], problems: list[str]) -> tuple[dict[str, Any], dict[str, str]]:
    known = fields()
    values: dict[str, Any] = {}
    origins = dict.fromkeys(known, "default")
    for item in given:
        field = known.get(item.key)
        if field is None:
            problems.append(_unknown(item, known))
        elif is_secret(item.key) and not item.origin.startswith("environment"):
            problems.append(
                f"{item.key} ({item.origin}) would lie open there: put it into a file and name that as "
                f"{item.key}_file, or set {_variable(item.key)}."
            )
        elif item.is_text and item.value == "" and is_optional(field):
            values[item.key], origins[item.key] = None, item.origin
        elif unwrapped(field.annotation)[0] is Path and "\0" in str(item.value):
            # pydantic takes it for a path; whatever the system is asked about it ends in a ValueError.
            problems.append(not_allowed(item.key, item.value, field, item.origin))
        else:
            try:
                values[item.key] = _parsed(item, field)
            except ValidationError:
                problems.append(not_allowed(item.key, item.value, field, item.origin))
            origins[item.key] = item.origin
    return values, origins


def _parsed(item: _Given, field: FieldInfo) -> Any:
    declared: Any = Annotated[field.annotation, field]
    adapter: TypeAdapter[Any] = TypeAdapter(declared)
    if item.is_text:
        return adapter.validate_strings(item.value)
    # TOML has types of its own, so "8883" is not a port; but it has no paths.
    is_path = unwrapped(field.annotation)[0] is Path
    return adapter.validate_python(item.value, strict=not is_path)


def _unknown(item: _Given, known: Mapping[str, FieldInfo]) -> str:
    section, _, name = item.key.partition(".")
    siblings = [key for key in known if key.startswith(f"{section}.")]
    hint = suggestion(item.key, siblings) or suggestion(item.key, known)
    if not hint:
        by_name = [key for key in known if name and key.endswith(f".{name}")]
        hint = f"Did you mean {by_name[0]}?" if by_name else "`cradlewatch config` lists all keys."
    return f"Unknown key {plain(item.key)} ({item.origin}). {hint}"


def _variable(key: str) -> str:
    return ENVIRONMENT_PREFIX + key.upper().replace(".", "__")


def _nested(values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    tree: dict[str, dict[str, Any]] = {}
    for key, value in values.items():
        section, _, name = key.partition(".")
        tree.setdefault(section, {})[name] = value
    return tree


# --- secrets --------------------------------------------------------------------------------------


def _read_password(
    values: dict[str, Any],
    origins: dict[str, str],
    path: Path | None,
    environ: Mapping[str, str],
    problems: list[str],
) -> None:
    """Replace ``mqtt.password_file`` by what it holds; the environment's password wins over it."""
    given: SecretStr | None = values.get("mqtt.password")
    if given is not None:
        problem = _password_problem(given.get_secret_value())
        if problem:
            problems.append(f"mqtt.password ({origins['mqtt.password']}) {problem}")
        return
    named: Path | None = values.get("mqtt.password_file")
    if named is None:
        return
    file = _locate(named, path, environ)
    said = f'mqtt.password_file = "{plain(str(named))}" ({origins["mqtt.password_file"]})'
    try:
        password = read_text(file).rstrip("\r\n")
        mode = file.stat().st_mode
    except OSError as error:
        remedy = secret_remedy(error, "mqtt.password_file", "mqtt-password", environ)
        problems.append(f"{said} cannot be read as {plain(str(file))}: {error.strerror}. {remedy}")
        return
    except ValueError as error:
        problems.append(f"{said} cannot be read as {plain(str(file))}: it {error}. Save it as UTF-8.")
        return
    problem = _password_problem(password)
    if problem:
        problems.append(f"{said} {problem}")
        return
    _warn(password, mode, file)
    values["mqtt.password"] = SecretStr(password)
    origins["mqtt.password"] = f"file {plain(str(file))}"


def _password_problem(password: str) -> str:
    """Why no password can be meant, in words that follow the key; empty if one can."""
    lines = password.splitlines()
    if not password.strip():
        return "is empty: write the password into it."
    if len(lines) > 1:
        return f"holds {len(lines)} lines: write the password alone into it, on one line."
    if any(ord(character) < 0x20 or ord(character) == 0x7F for character in password):
        return "holds a control character: write the password alone into it, as UTF-8 text."
    if len(password.encode()) > LONGEST_PASSWORD:
        return "is too long for a password: name another."
    return ""


def _warn(password: str, mode: int, file: Path) -> None:
    shown = plain(str(file))
    if password != password.strip():
        log.warning("The password in %s begins or ends with a blank, which counts as part of it.", shown)
    if mode & OPEN_TO_OTHERS:
        log.warning("The password in %s is open to others: chmod 600 %s", shown, shown)


def _warn_of_key(file: Path | None) -> None:
    try:
        is_open = file is not None and file.stat().st_mode & OPEN_TO_OTHERS
    except OSError:
        return  # why it cannot be reached, its reader says
    if is_open:
        log.warning("The key in %s is open to others: chmod 600 %s", plain(str(file)), plain(str(file)))


def _find_channels(values: dict[str, Any], path: Path | None, environ: Mapping[str, str]) -> None:
    """Say where ``push.channels_file`` really is; what it holds is read where it is needed."""
    named: Path | None = values.get("push.channels_file")
    if named is not None:
        values["push.channels_file"] = _locate(named, path, environ)


def _locate(named: Path, path: Path | None, environ: Mapping[str, str]) -> Path:
    """Find a file with secrets: systemd's credentials first, then beside the configuration file."""
    credentials = environ.get("CREDENTIALS_DIRECTORY")
    if credentials and not named.is_absolute():
        credential = Path(credentials) / named
        try:
            if is_there(credential):
                return credential
        except OSError:
            return credential  # why it cannot be reached, its reader says
    return named if path is None else path.parent / named
