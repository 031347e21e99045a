"""Cradlewatch, a baby monitor that listens on the device it runs on.

capture → detect → events → sinks, wired by ``monitor.service``. ARCHITECTURE.md shows the house.
"""

__version__ = "0.1.0"
