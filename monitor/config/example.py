"""The commented example file and the JSON schema, both made from the models."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Final

from pydantic.fields import FieldInfo

from monitor.config.load import DEFAULT_PATH, fields
from monitor.config.schema import Config
from monitor.config.sentences import allowed, is_secret, shown

_WIDTH: Final = 100
_HEAD: Final = f"""\
# Configuration of Cradlewatch, usually {DEFAULT_PATH}.
#
# Every key stands here with its default, or with an example where the default is "not set"; remove
# the # in front of one to change it. An environment variable CRADLEWATCH_<SECTION>__<KEY> wins over
# this file, and `--set section.key=value` wins over both. `cradlewatch config` shows what counts.
"""


def example() -> str:
    """The example file: every key that a file may hold, commented."""
    parts = [_HEAD]
    last_section = ""
    for key, field in fields().items():
        section, name = key.split(".")
        if section != last_section:
            parts.append(f"\n[{section}]\n{_comment(_section_help(section))}")
            last_section = section
        if not is_secret(key):
            parts.append(_entry(key, name, field))
    return "\n".join(parts)


def json_schema() -> str:
    """The JSON schema of the configuration, for editors."""
    return json.dumps(Config.model_json_schema(), indent=2) + "\n"


def _entry(key: str, name: str, field: FieldInfo) -> str:
    value = field.default if field.examples is None else field.examples[0]
    default = " Default: not set." if field.default is None else ""
    help_text = f"{field.description} Takes {allowed(field)}.{default}"
    if isinstance(value, Path):
        value = str(value)
    return f"{_comment(help_text)}\n#{name} = {shown(key, value)}\n"


def _section_help(section: str) -> str:
    return (type(Config.model_fields[section].default).__doc__ or "").strip()


def _comment(text: str) -> str:
    return textwrap.fill(text, _WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)
