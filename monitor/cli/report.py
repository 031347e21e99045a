"""Tell what a night was like: crying, calm, likely causes, alerts and what was wrong with the monitor.

A night lasts from noon to noon, local time, and bears the date of its evening. The service may run meanwhile.
A cause is a guess from the sound; beside its probability stands how often that cause is the right one anyway.
Calm is only what was listened to. monitor/cli/report_json.py describes what --json prints.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final

from monitor.cli import report_words as words
from monitor.cli.night_canvas import SIGNATURE
from monitor.cli.night_choice import chosen_evening, evenings, span_s, state_folder
from monitor.cli.options import add_config_options, load
from monitor.cli.report_json import night_json
from monitor.cli.table import print_table
from monitor.errors import ConfigError, MonitorError
from monitor.events.night import evening_of
from monitor.outputs import Output
from monitor.sinks.history_file import FILE_NAME
from monitor.sinks.history_night import CryFacts, NightFacts, night_facts
from monitor.sinks.history_reader import HistoryReader
from monitor.sqlite_file import DamagedError, UnavailableError
from monitor.words import count, length, plain

_PNG: Final = b"\x89PNG\r\n\x1a\n"
CRIES_HEAD: Final = ("began", "lasted", "crying", "likely cause", "alert", "")
NIGHTS_HEAD: Final = ("night", "listened", "crying", "episodes", "longest calm", "acknowledged", "faults")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--night",
        default="last",
        metavar="DATE",
        help="the date of its evening, such as 2026-11-22, or last (the default) or yesterday",
    )
    which.add_argument("--last", type=_count, metavar="N", help="the latest N nights, one line each")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--png", type=Path, metavar="FILE", help="draw the night into FILE as well")
    parser.add_argument("--force", action="store_true", help="let --png replace a file that is not ours")
    add_config_options(parser)


def run(arguments: argparse.Namespace) -> int:
    loaded = load(arguments)
    config = loaded.config
    if arguments.png is not None and arguments.last is not None:
        raise ConfigError("--png draws one night, --last means several.", "Choose the night with --night.")
    folder = state_folder(config)
    inputs = [folder / FILE_NAME, *([] if loaded.path is None else [loaded.path])]
    picture = None if arguments.png is None else _picture(arguments.png, inputs, force=arguments.force)
    now = datetime.now(UTC).astimezone()
    with _opened(folder, enabled=config.history.enabled) as reader:
        remembered = evenings(reader.quarters())
        if arguments.last is not None:
            chosen = remembered[-arguments.last :]
            if not chosen:
                raise MonitorError("No night is remembered yet.", "The first appears within a minute.")
        else:
            chosen = [chosen_evening(arguments.night, remembered, now)]
        nights = [(evening, _facts(reader, evening, remembered)) for evening in chosen]
    if picture is not None:
        _draw(picture, *nights[0], config.device.name)
    if arguments.json:
        found = [night_json(facts, evening, config.device.id) for evening, facts in nights]
        print(json.dumps(found if arguments.last is not None else found[0], indent=2))
    elif arguments.last is not None:
        print_table(NIGHTS_HEAD, [_night_row(evening, facts) for evening, facts in nights])
    else:
        _print_night(*nights[0], config.device.name, now)
    return 0


def _opened(folder: Path, *, enabled: bool) -> HistoryReader:
    file = folder / FILE_NAME
    if not file.exists():
        why = "it appears within a minute of the start." if enabled else "history.enabled is false."
        raise MonitorError(f"No night is remembered in {folder}: {why}")
    try:
        return HistoryReader(file)
    except UnavailableError as error:
        raise MonitorError(f"The history cannot be read: {error.message}", "Try again as root.") from error
    except DamagedError as error:
        raise MonitorError(
            f"The history cannot be read: {error.message}",
            "When the service runs next, it moves the file aside and begins a new one.",
        ) from error


def _facts(reader: HistoryReader, evening: date, remembered: Sequence[date]) -> NightFacts:
    try:
        found = reader.between(*span_s(evening))
    except (UnavailableError, DamagedError) as error:
        raise MonitorError(f"The history cannot be read: {error.message}") from error
    if not found:
        known = f"{remembered[0]} to {remembered[-1]}" if remembered else "none"
        raise MonitorError(
            f"Nothing is remembered of the night of {evening}: the monitor did not run, or it was forgotten.",
            f"Remembered: {count(len(remembered), 'night')} ({known}).",
        )
    return night_facts(found)


def _picture(file: Path, inputs: Sequence[Path], *, force: bool) -> Output:
    return Output(
        file,
        "--png",
        inputs=inputs,
        is_ours=_is_our_picture,
        force=force,
        new_mode=0o600,
        unwritable=MonitorError,
    )


def _is_our_picture(head: bytes) -> bool:
    keyword, text = SIGNATURE
    return head.startswith(_PNG) and f"tEXt{keyword}\0{text}".encode() in head


def _draw(picture: Output, evening: date, facts: NightFacts, name: str) -> None:
    # Not above: the drawing library is an extra, and slow to import.
    from monitor.cli.night_picture import draw_night  # noqa: PLC0415

    picture.write(draw_night(facts, evening, name))


# --- for people -------------------------------------------------------------------------------------


def _print_night(evening: date, facts: NightFacts, name: str, now: datetime) -> None:
    so_far = " (so far)" if evening_of(now) == evening else ""
    hours = round((facts.end_s - facts.begin_s) / 3600)
    changed = "" if hours == 24 else f" The clocks change in it: it has {hours} hours."
    print(f"{plain(name)}: night of {evening:%A, %d %B %Y}{so_far}.{changed}\n")
    for title, text in (
        ("Listened", words.listened(facts)),
        ("Crying", words.crying(facts)),
        ("Longest calm", words.calm(facts)),
    ):
        print(f"  {title:14}{text}")
    ascii_only = not _speaks_unicode()
    line = words.timeline(facts, ascii_only=ascii_only)
    if line:
        print("\n  " + "\n  ".join([*line, words.legend(ascii_only=ascii_only)]))
    if facts.cries:
        print()
        print_table(CRIES_HEAD, [_cry_row(cry) for cry in facts.cries])
    _print_list("Alerts", words.alerts(facts.alerts))
    _print_list("Faults", [words.fault(one) for one in facts.faults])
    if not facts.cries and facts.listened_s == 0:
        print("\n  The monitor heard nothing in this night: that no crying was heard means nothing.")


def _print_list(title: str, lines: Sequence[str]) -> None:
    print(f"\n{title}{':' if lines else ': none.'}")
    for line in lines:
        print(f"  {plain(line, None)}")


def _cry_row(cry: CryFacts) -> list[str]:
    one = cry.episode
    return [
        words.clock(one.onset_s),
        length(one.duration_s),
        length(one.crying_s),
        words.cause(one),
        words.answer(cry),
        words.notes(one),
    ]


def _night_row(evening: date, facts: NightFacts) -> list[str]:
    heard_of = sum(cry.acknowledged_after_s is not None for cry in facts.cries)
    calm = facts.calm
    return [
        evening.isoformat(),
        length(facts.listened_s),
        length(facts.crying_s),
        str(len(facts.cries)),
        "none" if calm is None else length(calm[1] - calm[0]),
        f"{heard_of} of {len(facts.cries)}",
        str(len(facts.faults)),
    ]


def _speaks_unicode() -> bool:
    try:
        "█▄─·".encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 3660:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to 3660")
    return int(text)
