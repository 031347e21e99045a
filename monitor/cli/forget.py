"""Delete what is kept about a night, or about all of them.

That is history, clips, confirmed causes, the tally, and what still waits to be delivered; lines of jsonl.path
that tell of that time go as well. Settings made in the hub stay. The service has to be stopped first, for it
holds parts of the night in memory and would write them again. What has gone elsewhere is not ours to delete:
the hub's own history, what was pushed to a phone, the journal of the system.
"""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path

from monitor.cli.forget_lines import forget_lines
from monitor.cli.night_choice import chosen_evening, evenings, parsed_date, span_s, state_folder
from monitor.cli.options import add_config_options, load
from monitor.errors import ConfigError, MonitorError
from monitor.service.forgetting import ALL, Forgotten, forget
from monitor.service.state_folder import open_state_folder
from monitor.sinks.erase import Span
from monitor.sinks.history_file import FILE_NAME
from monitor.sinks.history_reader import HistoryReader
from monitor.sqlite_file import DamagedError, UnavailableError
from monitor.words import count, plain


def add_arguments(parser: argparse.ArgumentParser) -> None:
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument(
        "--night", metavar="DATE", help="one night: the date of its evening, or last or yesterday"
    )
    which.add_argument("--before", metavar="DATE", help="all nights before that of DATE")
    which.add_argument("--all", action="store_true", help="all nights")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    add_config_options(parser)


def run(arguments: argparse.Namespace) -> int:
    config = load(arguments).config
    folder = state_folder(config)
    span, what = _chosen(arguments, folder)
    try:
        state = open_state_folder(folder)
    except ConfigError as error:
        raise ConfigError(
            f"The monitor runs and holds parts of {what} in memory; nothing was deleted.",
            "Stop it (sudo systemctl stop cradlewatch), forget, and start it again.",
        ) from error
    try:
        if state.path is None:
            raise ConfigError(state.fault, "Run the command as root or as the service's user.")
        if not arguments.yes and not _agreed(what, folder):
            print("Nothing was deleted.")
            return 1
        done = forget(folder, span)
        log_file = config.jsonl.path
        lines = 0 if log_file is None else forget_lines(log_file, span, done.ids)
    finally:
        state.close()
    _tell(what, done, lines, log_file)
    return 0


def _chosen(arguments: argparse.Namespace, folder: Path) -> tuple[Span, str]:
    if arguments.all:
        return ALL, "all nights"
    if arguments.before is not None:
        evening = parsed_date("--before", arguments.before)
        return (float("-inf"), span_s(evening)[0]), f"all nights before that of {evening}"
    remembered = []
    if (folder / FILE_NAME).exists():
        try:
            with HistoryReader(folder / FILE_NAME) as reader:
                remembered = evenings(reader.quarters())
        except (DamagedError, UnavailableError) as error:
            raise MonitorError(
                f"The history cannot be read: {error.message}", "`cradlewatch forget --all` deletes it."
            ) from error
    evening = chosen_evening(arguments.night, remembered, datetime.now(UTC).astimezone())
    return span_s(evening), f"the night of {evening}"


def _agreed(what: str, folder: Path) -> bool:
    if sys.stdin is None or not sys.stdin.isatty():
        raise ConfigError("Nobody is there to be asked, and nothing was deleted.", "Add --yes to delete.")
    print(
        f"Delete all about {what} in {plain(str(folder))}? It cannot be brought back. [y/N] ",
        end="",
        flush=True,
    )
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def _tell(what: str, done: Forgotten, lines: int, log_file: Path | None) -> None:
    counted = (
        count(done.records, "record"),
        count(done.clips, "clip"),
        count(done.causes, "confirmed cause"),
        f"{done.waiting} undelivered or pending {'entry' if done.waiting == 1 else 'entries'}",
        count(done.files, "other file"),
        f"{count(lines, 'line')} of {plain(str(log_file))}",
    )
    went = ", ".join(words for words in counted if not words.startswith("0 "))
    print(f"Forgotten: {what} ({went or 'nothing was kept'}).")
    if done.undated_causes:
        print(
            f"{count(done.undated_causes, 'confirmed cause')} of nights that are not remembered stayed; "
            "--all deletes them."
        )
