"""A net under everything that is logged, published or printed: no credentials in addresses.

Who knows a secret hides it at its source; this is for what a user wrote where no secret belongs
(``mqtt.host = "user:password@hub"``) and for what libraries say of their own accord.
"""

from __future__ import annotations

import re
from typing import Final

HIDDEN: Final = "…"

# Bounded: a stranger's text must not take the time of whoever logs it.
_NETS: Final = (
    # Behind a scheme, also with an @ or a / in the password
    re.compile(r"""(?<=://)[^\s"'<>]{0,512}@(?=[\w\[])"""),
    # The same without a scheme.
    re.compile(r"""(?<![^\s"'(=,\[])[^\s:/@"'=(,\[]{1,128}:[^\s/@"']{1,128}@(?=[\w\[])"""),
)
_QUERY: Final = re.compile(
    r"""([?&](?:\w*token|pass(?:word|wd)?|pwd|secret|auth|(?:api)?key)=)[^&\s"']+""", re.IGNORECASE
)


def hide_credentials(text: str) -> str:
    """``text`` with an ellipsis in place of each user and password that stand before a host."""
    for net in _NETS:
        text = net.sub(f"{HIDDEN}@", text)
    return _QUERY.sub(rf"\1{HIDDEN}", text)
