"""Show the configuration that counts, and where each value comes from.

The order is: defaults, then the TOML file (--config, else $CRADLEWATCH_CONFIG, else
/etc/cradlewatch/cradlewatch.toml), then environment variables CRADLEWATCH_<SECTION>__<KEY>, then
--set. Secrets are never printed.
"""

from __future__ import annotations

import argparse
import sys

from monitor.cli.options import add_config_options, load
from monitor.cli.table import print_table
from monitor.config import Loaded, fields
from monitor.config.example import example, json_schema
from monitor.config.sentences import shown, unit


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_options(parser)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--schema", action="store_true", help="print the JSON schema instead")
    what.add_argument("--example", action="store_true", help="print the commented example file instead")


def run(arguments: argparse.Namespace) -> int:
    if arguments.schema:
        sys.stdout.write(json_schema())
    elif arguments.example:
        sys.stdout.write(example())
    else:
        _print_effective(load(arguments))
    return 0


def _print_effective(loaded: Loaded) -> None:
    rows = []
    for key, field in fields().items():
        section, name = key.split(".")
        value = getattr(getattr(loaded.config, section), name)
        of_unit = f" {unit(field)}" if unit(field) and value is not None else ""
        rows.append([key, shown(key, value) + of_unit, loaded.origins[key]])
    print_table(["key", "value", "from"], rows)
