"""What is wrong with the name of a host as a user has written it."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Final

from monitor.redaction import HIDDEN
from monitor.words import plain

_SCHEME: Final = re.compile(r"\s*([A-Za-z][A-Za-z0-9+.-]*)://")
_NAME: Final = re.compile(r"[^\s\"'`\\@/:\[\](){}<>|^?#,;=*!]+")
_ENCRYPTED: Final = frozenset({"mqtts", "ssl", "tls", "https", "wss"})
_WEB_SOCKETS: Final = frozenset({"ws", "wss", "http", "https"})


def host_mistake(key: str, host: str) -> str:
    """Say in one sentence why ``host``, the value of ``key``, is not a name or an address; empty if it is.

    No part of a password in it is repeated.
    """
    parts = _taken_apart(host)
    if parts is None:
        return ""
    section = key.partition(".")[0]
    wanted = [f'{key} = "{parts.name}"'] if parts.name else [f"{key} to the name or address alone"]
    if parts.port and not parts.is_web:
        wanted.append(f"{section}.port = {parts.port}")
    if parts.encrypted:
        wanted.append(f"{section}.tls = true")
    if parts.has_user:
        wanted += [f"{section}.username", f"{section}.password_file"]
    also = " WebSockets are not spoken: set the port that the broker has for MQTT." if parts.is_web else ""
    set_ = " and ".join(filter(None, [", ".join(wanted[:-1]), wanted[-1]]))
    shown = f"{HIDDEN}@{host.rpartition('@')[2]}" if parts.has_user else host
    return f'{key} = "{plain(shown)}" {parts.problem}: set {set_}.{also}'


@dataclass(frozen=True, slots=True)
class _Parts:
    name: str
    port: str
    problem: str
    has_user: bool
    encrypted: bool
    is_web: bool


def _taken_apart(host: str) -> _Parts | None:
    """What is beside the name in ``host``; None where there is nothing else."""
    scheme = _SCHEME.match(host)
    protocol = "" if scheme is None else scheme[1].lower()
    _, at, rest = host[0 if scheme is None else scheme.end() :].rpartition("@")
    rest, slash, _ = rest.strip().partition("/")
    name, port, bracketed = _name_and_port(rest)
    valid = _NAME.fullmatch(name) is not None or _is_address(name)
    if at:
        problem = "holds a user name or a password"
    elif protocol:
        problem = "is a URL"
    elif bracketed or port or name != rest:
        problem = "holds brackets" if bracketed and not port else "holds a port"
    elif slash:
        problem = "holds a path"
    elif re.search(r"\s", host):
        problem = "holds a blank"
    elif not valid:
        problem = "is not a name or an address"
    else:
        return None
    return _Parts(
        name=name if valid else "",
        port=port,
        problem=problem,
        has_user=bool(at),
        encrypted=protocol in _ENCRYPTED,
        is_web=protocol in _WEB_SOCKETS,
    )


def _name_and_port(text: str) -> tuple[str, str, bool]:
    """Name, port (empty where there is none) and whether the name stood in brackets."""
    if _is_address(text):
        return text, "", False
    bracketed = re.fullmatch(r"\[([^\]]*)\](?::(\d*))?", text)
    if bracketed is not None:
        return bracketed[1], bracketed[2] or "", True
    name, colon, port = text.rpartition(":")
    if colon and (port.isdecimal() or not port):
        return name, port, False
    return text, "", False


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
