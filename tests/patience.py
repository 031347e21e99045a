"""How long to wait on a machine that does other things too."""

from __future__ import annotations

import os

HANGS_S = 60.0
"""When what a test waits for is called missing. A wait ends with the event: a long one costs nothing."""


def shared(limit: float) -> float:
    """A limit for this machine alone, longer by as much as others use it now."""
    return limit * (1.0 + os.getloadavg()[0] / (os.cpu_count() or 1))
