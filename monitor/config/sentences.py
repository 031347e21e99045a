"""What a key allows, in words, and the sentences about values that it does not allow."""

from __future__ import annotations

import difflib
import json
import types
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from monitor.config.schema import Rule
from monitor.redaction import redacted
from monitor.words import plain

_NAMES: dict[Any, str] = {bool: "true or false", Path: "a path", SecretStr: "a text"}
_SECRETS = frozenset({"mqtt.password"})
_ADDRESSES = frozenset({"mqtt.host", "push.callback_listen", "push.callback_url"})


def unit(field: FieldInfo) -> str:
    """The unit of a key, or an empty text."""
    extra = field.json_schema_extra
    return str(extra.get("unit", "")) if isinstance(extra, dict) else ""


def is_optional(field: FieldInfo) -> bool:
    return type(None) in get_args(field.annotation)


def is_secret(key: str) -> bool:
    return key in _SECRETS


def allowed(field: FieldInfo) -> str:
    """What the key takes: "a whole number from 1 to 65535"."""
    kind, metadata = unwrapped(field.annotation)
    metadata = [*metadata, *field.metadata]
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(json.dumps(choice) for choice in get_args(kind))
    if kind in (int, float):
        noun = "a whole number" if kind is int else "a number"
        return " ".join(filter(None, [noun, _range(metadata), unit(field) and f"({unit(field)})"]))
    if kind is str:
        return " ".join(filter(None, ["a text", _text_rules(metadata)]))
    return _NAMES[kind]


def shown(key: str, value: object) -> str:
    """A value as a user writes it; a secret only as "(set)", and no password in an address."""
    if value is None:
        return "(not set)"
    if is_secret(key):
        return "(set)"
    if isinstance(value, Path):
        value = str(value)
    if isinstance(value, str) and (key in _ADDRESSES or "://" in value):
        value = redacted(value)
    return plain(json.dumps(value, ensure_ascii=False, default=str))


def suggestion(word: str, words: Iterable[str]) -> str:
    """A did-you-mean for ``word``, or an empty text."""
    near = difflib.get_close_matches(word, list(words), n=1, cutoff=0.6)
    return f"Did you mean {near[0]}?" if near else ""


def not_allowed(key: str, value: object, field: FieldInfo, origin: str) -> str:
    """The sentence about a value that is outside of what its key takes."""
    default = "leave it out" if field.default is None else f"leave it out for {shown(key, field.default)}"
    return f"{key} = {shown(key, value)} ({origin}) is not {allowed(field)}: change it, or {default}."


def unwrapped(annotation: Any) -> tuple[Any, list[Any]]:
    """The plain type behind ``X | None`` and ``Annotated``, and what was annotated."""
    metadata: list[Any] = []
    while True:
        origin = get_origin(annotation)
        if origin is Annotated:
            annotation, *more = get_args(annotation)
            metadata += more
        elif origin in (Union, types.UnionType):
            annotation = next(part for part in get_args(annotation) if part is not type(None))
        else:
            return annotation, metadata


def _range(metadata: Iterable[Any]) -> str:
    low = high = ""
    joint = " "
    for item in metadata:
        match item:
            case annotated_types.Ge():
                low = f"from {item.ge}"
            case annotated_types.Gt():
                low, joint = f"above {item.gt}", " and "
            case annotated_types.Le():
                high = f"to {item.le}"
            case annotated_types.Lt():
                high = f"below {item.lt}"
    return joint.join(filter(None, [low, high]))


def _text_rules(metadata: Iterable[Any]) -> str:
    return next((item.words for item in metadata if isinstance(item, Rule)), "")
