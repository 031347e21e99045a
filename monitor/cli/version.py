"""Print the version."""

from __future__ import annotations

import argparse

from monitor import __version__


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """No arguments."""


def run(_arguments: argparse.Namespace) -> int:
    print(f"cradlewatch {__version__}")
    return 0
