"""Why a notification did not arrive: sentences for a person, made of a library's log, without its secrets."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

HIDDEN: Final = "…"

_NETWORK: Final = (
    (r"Connection refused", "the connection was refused", "Is that server running, and is its port right?"),
    (r"timed out|ReadTimeout|ConnectTimeout", "it did not answer in time", "Is that server up?"),
    (
        r"\.local\b.*(?:Name or service not known|[Nn]ame ?[Rr]esolution|getaddrinfo failed)",
        "the host name is not known",
        "Names in .local need multicast DNS: install avahi-daemon and libnss-mdns, or use the IP address.",
    ),
    (
        r"Name or service not known|name resolution|nodename nor servname|getaddrinfo failed|NameResolution",
        "the host name is not known",
        "Check the host name, and whether this machine can reach the internet.",
    ),
    (
        r"No route to host|Network is unreachable",
        "the network is out of reach",
        "Check this machine's network.",
    ),
    (
        r"certificate has expired|certificate is not yet valid",
        "its certificate is of another time",
        "Check this machine's clock; if it is right, renew the certificate.",
    ),
    (
        r"WRONG_VERSION_NUMBER|RECORD_LAYER_FAILURE",
        "it does not speak TLS at that port",
        "Write the address without encryption (ntfy, json), or name the port that has it.",
    ),
    (
        r"self.signed certificate|unable to get local issuer",
        "its certificate comes from an authority that this machine does not know",
        "Install the certificate of that authority on this machine.",
    ),
    (
        r"certificate|CERTIFICATE",
        "its certificate is not trusted",
        "Use the name that stands in its certificate.",
    ),
    (
        r"reset by peer|Remote end closed|Connection aborted|unexpectedly closed",
        "the connection was cut",
        "Look into the log of that server.",
    ),
)
_REMEDIES: Final = {
    400: "The service refuses what is in the url: check it.",
    401: "Check user, password or token in the url.",
    403: "Check whether that user or token may write there.",
    404: "Check the address and the topic in the url.",
    413: "The service takes shorter messages only.",
    429: "The service limits how much is sent: wait, or use a server of your own.",
}
_RAISED: Final = re.compile(r"(?:Exception|^[A-Z]\w*Error): ")
_STATUS: Final = re.compile(r"error=(\d{3})\d*\b")
_MISSED: Final = "Apprise gives no reason."
_NOT_SECRET: Final = frozenset({"schema", "port", "query_", "verify", "secure", "mode", "priority", "format"})
_SHORTEST: Final = 3


def explain(records: Sequence[str], secrets: Sequence[str]) -> tuple[str, str]:
    """Reason and remedy out of what was logged during one attempt, oldest first."""
    telling = [line for line in records if not line.startswith(("Loaded ", "Response Details", "Preparing"))]
    for line in reversed(telling):
        if _RAISED.search(line):
            for pattern, reason, remedy in _NETWORK:
                if re.search(pattern, line):
                    return f"{_upper(reason)}.", remedy
            return hidden(_last_part(line), secrets), ""
    failed = [
        line for line in telling if re.search(r"[Ff]ail|error|rror=|nvalid|no .* to|refused|Unparse", line)
    ]
    line = (failed or telling or [_MISSED])[-1]
    status = _STATUS.search(line)
    remedy = _remedy(int(status[1])) if status else ""
    return hidden(line.strip(), secrets), remedy


def _remedy(status: int) -> str:
    if 300 <= status < 400:
        return "Write the address that it forwards to, with encryption for example (ntfys, jsons)."
    if status >= 500:
        return "The service itself has a problem: wait, or look into its log."
    return _REMEDIES.get(status, "")


def hidden(text: str, secrets: Sequence[str]) -> str:
    """``text`` without any of ``secrets``, in one line."""
    for secret in secrets:
        text = text.replace(secret, HIDDEN)
    return " ".join(text.split())[:240]


def secrets(url: str, parts: Mapping[str, Any]) -> tuple[str, ...]:
    """All in ``parts`` that may not be shown, longest first: everything but a host with its port."""
    found = {url, url.partition("://")[2]}
    for name, value in parts.items():
        if name not in _NOT_SECRET and not (name == "host" and _is_public(value)):
            found |= {piece for text in _texts(value) for piece in (text, *re.split(r"[/@:,?&=\s]", text))}
    if _is_public(parts.get("host")):
        found.discard(str(parts["host"]))
    found |= {quote(text, safe="") for text in found}  # as it stands in the address that is asked
    return tuple(sorted((text for text in found if len(text) >= _SHORTEST), key=len, reverse=True))


def _is_public(host: object) -> bool:
    """Services without a server of one's own put tokens and topics where the host stands."""
    return isinstance(host, str) and ("." in host or host == "localhost")


def _texts(value: object) -> Iterator[str]:
    match value:
        case str():
            yield value
        case Mapping():
            for item in value.values():
                yield from _texts(item)
        case list() | tuple() | set():
            for item in value:
                yield from _texts(item)


def _last_part(line: str) -> str:
    return line.partition("Exception: ")[2] or line


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]
