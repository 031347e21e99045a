"""Unguessable addresses by which one alert can be acknowledged, for a while, after a restart as well.

A token carries what it acknowledges and is signed with a key that only this monitor has (HMAC-SHA256), so
none has to be kept.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass
from typing import Final

VALID_S: Final = 7200
LONGEST: Final = 512
_SEPARATOR: Final = "\n"


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """What a token stands for: ``channel`` is the one through which it was sent."""

    episode_id: str
    channel: str


def issue(key: bytes, what: Acknowledgement, now_s: float) -> str:
    """A token that is valid for two hours from ``now_s``, seconds since 1970."""
    claim = _SEPARATOR.join([str(round(now_s) + VALID_S), what.episode_id, what.channel]).encode()
    return f"{_text(claim)}.{_text(_signature(key, claim))}"


def read(key: bytes, token: str, now_s: float) -> Acknowledgement | None:
    """What ``token`` stands for; None when it was not made here, or too long ago."""
    if len(token) > LONGEST:
        return None
    claim_text, _, signature_text = token.partition(".")
    try:
        claim, signature = _bytes(claim_text), _bytes(signature_text)
    except (ValueError, binascii.Error):
        return None
    # First the signature, in constant time; what is not ours is not even looked into.
    if not hmac.compare_digest(signature, _signature(key, claim)):
        return None
    until, episode_id, channel = claim.decode().split(_SEPARATOR, 2)
    return Acknowledgement(episode_id, channel) if now_s < int(until) else None


def _signature(key: bytes, claim: bytes) -> bytes:
    return hmac.new(key, claim, hashlib.sha256).digest()


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def _bytes(text: str) -> bytes:
    raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    if _text(raw) != text:
        raise ValueError("Not as it was issued.")
    return raw
