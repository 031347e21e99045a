"""No credentials in addresses: what is known to be one, and a net under all that is logged or published.

Who knows a secret hides it at its source; this is for what a user wrote where no secret belongs
(``mqtt.host = "user:password@hub"``) and for what libraries say of their own accord.
"""

from __future__ import annotations

import re
from typing import Final

HIDDEN: Final = "(hidden)"

# Bounded: a stranger's text must not take the time of the thread that logs it.
_NETS: Final = (
    # Behind a scheme, also with an @ or a / in the password
    re.compile(r"""(?<=://)[^\s"'<>]{0,512}@(?=[\w\[])"""),
    # The same without a scheme.
    re.compile(r"""(?<![^\s"'(=,\[])[^\s:/@"'=(,\[]{1,128}:[^\s/@"']{1,128}@(?=[\w\[])"""),
)
_QUERY: Final = re.compile(
    r"""([?&](?:\w*token|pass(?:word|wd)?|pwd|secret|auth|(?:api)?key)=)[^&\s"']+""", re.IGNORECASE
)
_SCHEME: Final = re.compile(r"\s*[A-Za-z][A-Za-z0-9+.-]*://")
_USER_AND_PASSWORD: Final = re.compile(r"[^@]*:.*@", re.DOTALL)


def redacted(address: str) -> str:
    """``address``, which is nothing else, without what it may carry of credentials; rather too much.

    >>> redacted("http://mum:secret@pi.local:8099"), redacted("mum:se@cret@pi"), redacted("mum@home")
    ('http://(hidden)@pi.local:8099', '(hidden)@pi', 'mum@home')
    """
    scheme = _SCHEME.match(address)
    if scheme is None:
        shown = _USER_AND_PASSWORD.sub(f"{HIDDEN}@", address)
    else:
        before, at, after = address[scheme.end() :].rpartition("@")
        shown = f"{scheme[0]}{HIDDEN}@{after}" if at else f"{scheme[0]}{before}{after}"
    return hide_credentials(shown)


def hide_credentials(text: str) -> str:
    """``text`` with something else in place of each user and password that stand before a host."""
    for net in _NETS:
        text = net.sub(f"{HIDDEN}@", text)
    return _QUERY.sub(rf"\1{HIDDEN}", text)
