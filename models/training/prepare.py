"""Build the audio data set from public copies: the manifest's clips, its columns and its splits.

    python -m models.training.prepare --list
    python -m models.training.prepare --out data --downloads downloads --pretrained pretrained
    python -m models.training.prepare --out data --downloads downloads --only wesnoth_music rooms

What to build is in models/catalogue.csv.gz and models/rooms.csv; models/DATA.md has the sources, their
licences and what is rebuilt how. A second run does what is missing. Exit code 1: something is missing
or is not what the catalogue says; the reasons are in DIR/missing.txt.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from models.training.corpus import MANIFEST_NAME, ROOMS_NAME, data_root, pretrained_root, read_audio
from models.training.sources import catalogue, cut, measure, rooms, sound
from models.training.sources.catalogue import Entry
from models.training.sources.fetch import SourceError, fetch
from models.training.sources.ledger import Ledger
from models.training.sources.origins import GIT_HOST, ORIGINS, ROOM_RECORDINGS, ROOMS, Origin, Rebuilt
from monitor.errors import AudioFileError, ConfigError, MonitorError

LENGTH_TOLERANCE_S: Final = 0.1
LEVEL_TOLERANCE_DB: Final = 1.0
"""A clip outside both is another recording than the catalogue's, or another part of it."""
MISSING_NAME: Final = "missing.txt"
SHOWN: Final = 3
"""Sentences of one source on the screen; all are in the file."""


@dataclass
class Report:
    """What came of each source: clips made, found complete, missing (with why) and unlike the catalogue."""

    made: dict[str, int] = field(default_factory=dict)
    complete: dict[str, int] = field(default_factory=dict)
    missing: dict[str, dict[str, str]] = field(default_factory=dict)
    unlike: dict[str, dict[str, str]] = field(default_factory=dict)

    def miss(self, source: str, path: str, why: object) -> None:
        """Note why ``path`` could not be made."""
        self.missing.setdefault(source, {})[path] = str(why)


@dataclass(frozen=True)
class Preparation:
    """One run: where things come from and where they go."""

    out: Path
    downloads: Path
    host: str = GIT_HOST
    origins: Mapping[str, Origin] = field(default_factory=lambda: ORIGINS)

    def clips(self, entries: Sequence[Entry], ledger: Ledger, report: Report, progress: Progress) -> None:
        """Make the clips that are not there, source by source."""
        by_source: dict[str, list[Entry]] = {}
        for entry in entries:
            by_source.setdefault(entry.source, []).append(entry)
        for source, its in by_source.items():
            report.complete[source] = sum(entry.path in ledger.columns for entry in its)
            report.made[source] = 0
            wanted = [entry for entry in its if entry.path not in ledger.columns]
            task = progress.add_task(source, total=len(its), completed=report.complete[source])
            if wanted:
                self._source(source, wanted, ledger, report, (progress, task))
            self._compare(its, ledger, report)

    def _source(
        self, source: str, wanted: Sequence[Entry], ledger: Ledger, report: Report, bar: tuple[Progress, Any]
    ) -> None:
        origin = self.origins[source]
        try:
            finder = cut.Finder([fetch(place, self.downloads, self.host) for place in origin.places])
        except SourceError as error:
            for entry in wanted:
                report.miss(source, entry.path, error)
            return
        for entry in wanted:
            try:
                pcm = sound.quantised(cut.clip(entry, origin, finder))
            except (SourceError, AudioFileError) as error:
                report.miss(source, entry.path, error)
            else:
                sha256 = sound.write_opus(self.out / entry.path, pcm)
                ledger.add(entry.path, measure.columns(pcm) | {"sha256": sha256})
                report.made[source] += 1
            bar[0].advance(bar[1])

    def _compare(self, entries: Sequence[Entry], ledger: Ledger, report: Report) -> None:
        for entry in entries:
            found = ledger.columns.get(entry.path)
            if found is None or self.origins[entry.source].rebuilt is not Rebuilt.EXACTLY:
                continue
            longer = float(found["duration_s"]) - float(entry.duration_s)
            louder = float(found["rms_db"]) - float(entry.rms_db)
            if abs(longer) > LENGTH_TOLERANCE_S or abs(louder) > LEVEL_TOLERANCE_DB:
                why = f"{longer:+.3f} s and {louder:+.1f} dB from the catalogue's."
                report.unlike.setdefault(entry.source, {})[entry.path] = why

    def rooms(self, lines: Sequence[Mapping[str, str]], report: Report, progress: Progress) -> None:
        """Make the impulse responses that are not there, and ``rir.csv``."""
        task = progress.add_task(ROOMS, total=len(lines))
        report.made[ROOMS] = report.complete[ROOMS] = 0
        done = []
        for line in lines:
            path = self.out / line["path"]
            try:
                if path.is_file():
                    report.complete[ROOMS] += 1
                else:
                    rooms.write(path, self._response(line))
                    report.made[ROOMS] += 1
                done.append(line)
            except (SourceError, AudioFileError) as error:
                report.miss(ROOMS, line["path"], error)
            progress.advance(task)
        _write_csv(self.out / ROOMS_NAME, catalogue.ROOM_COLUMNS, done)

    def _response(self, line: Mapping[str, str]) -> rooms.Response:
        if line["rt60_s"]:
            x, y, z = (float(line[f"room_{axis}_m"]) for axis in "xyz")
            box = rooms.Shoebox((x, y, z), float(line["rt60_s"]), float(line["distance_m"]))
            return rooms.response(box, Path(line["path"]).stem)
        folder = fetch(ROOM_RECORDINGS, self.downloads, self.host)
        return rooms.recorded(folder, int(line["samples"]))

    def write_manifest(self, entries: Sequence[Entry], ledger: Ledger) -> int:
        """``manifest.csv`` of all clips that lie complete in the folder. Returns their count."""
        rows = [
            dict.fromkeys(catalogue.MEASURED, "") | entry.facts() | ledger.columns[entry.path]
            for entry in entries
            if entry.path in ledger.columns
        ]
        _write_csv(self.out / MANIFEST_NAME, catalogue.MANIFEST_COLUMNS, rows)
        return len(rows)


def listen(out: Path, ledger: Ledger, pretrained: Path, progress: Progress) -> None:
    """Add mn04's opinion to the clips that have none."""
    # Only this needs torch.
    from models.training.sources.opinion import Listener  # noqa: PLC0415

    wanted = [path for path, known in ledger.columns.items() if "mn04_cry" not in known]
    listener = Listener(pretrained)
    for path in progress.track(wanted, description="mn04 listens"):
        ledger.add(path, listener.columns(read_audio(out / path)))


def _write_csv(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, str]]) -> None:
    unfinished = path.with_suffix(".part")
    with unfinished.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    unfinished.replace(path)


def show(report: Report, out: Path, console: Console) -> int:
    """Print what came of each source, write all reasons to ``missing.txt``. Returns the exit code."""
    table = Table("source", "made", "were there", "missing", "unlike the catalogue")
    for source in report.made:
        counts = (report.made, report.complete)
        bad = (len(report.missing.get(source, {})), len(report.unlike.get(source, {})))
        table.add_row(source, *(str(count[source]) for count in counts), *(str(n) if n else "" for n in bad))
    console.print(table)
    lines = []
    for title, reasons in (("missing", report.missing), ("unlike the catalogue", report.unlike)):
        for source, by_path in reasons.items():
            lines += [f"{source}: {path} is {title}: {why}" for path, why in by_path.items()]
            said = list(dict.fromkeys(by_path.values()))
            for why in said[:SHOWN]:
                console.print(f"{source}, {title}: {why}", markup=False, highlight=False)
            if len(said) > SHOWN:
                console.print(f"{source}: {len(said) - SHOWN} more reasons in {out / MISSING_NAME}.")
    (out / MISSING_NAME).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return 1 if lines else 0


def list_sources(entries: Sequence[Entry], origins: Mapping[str, Origin], console: Console) -> None:
    """Print the sources: where from, how many clips, rebuilt exactly or equivalently, by which rule."""
    table = Table("source", "clips", "rebuilt", "rule", "public copy", show_lines=True)
    for source, origin in origins.items():
        count = sum(entry.source == source for entry in entries)
        table.add_row(source, str(count), origin.rebuilt, origin.note, "\n".join(map(str, origin.places)))
    synthetic = "40 rooms computed here with the listed sizes, reverberation times and distances"
    table.add_row(ROOMS, "43", Rebuilt.EQUIVALENTLY, f"{synthetic}; 3 recorded", str(ROOM_RECORDINGS))
    console.print(table)


def main(argv: Sequence[str] | None = None, *, origins: Mapping[str, Origin] = ORIGINS) -> int:
    options = _parser().parse_args(sys.argv[1:] if argv is None else list(argv))
    console = Console(width=None if sys.stdout.isatty() else 160)
    try:
        if options.write_catalogue:
            count = catalogue.write_again(data_root(options.data))
            console.print(f"{count} clips written to {catalogue.CATALOGUE.name}.")
            return 0
        entries = catalogue.load(options.catalogue)
        if options.list:
            list_sources(entries, origins, console)
            return 0
        return _prepare(options, entries, origins, console)
    except MonitorError as error:
        print(f"prepare: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("prepare: stopped; the same command goes on from here.", file=sys.stderr)
        return 130


def _prepare(
    options: argparse.Namespace, entries: Sequence[Entry], origins: Mapping[str, Origin], console: Console
) -> int:
    if options.out is None:
        raise ConfigError("--out is missing.", "Name the folder to build the data set in.")
    chosen = set(options.only or [*origins, ROOMS])
    if unknown := sorted(chosen - {*origins, ROOMS}):
        raise ConfigError(f"--only {' '.join(unknown)}: no such source.", "--list names them.")
    # Before hours of work rather than after.
    pretrained = None if options.pretrained is None else pretrained_root(options.pretrained)
    downloads = options.downloads or options.out / "downloads"
    downloads.mkdir(parents=True, exist_ok=True)
    run = Preparation(options.out, downloads, options.host, origins)
    ledger, report = Ledger(options.out), Report()
    bar = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*bar, console=console) as progress:
        run.clips([entry for entry in entries if entry.source in chosen], ledger, report, progress)
        if ROOMS in chosen:
            run.rooms(catalogue.load_rooms(options.rooms), report, progress)
        if pretrained is not None:
            listen(options.out, ledger, pretrained, progress)
    count = run.write_manifest(entries, ledger)
    code = show(report, options.out, console)
    console.print(f"{options.out / MANIFEST_NAME}: {count} of {len(entries)} clips.")
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m models.training.prepare",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, help="folder of the data set")
    parser.add_argument("--downloads", type=Path, help="public copies are kept here (default: OUT/downloads)")
    parser.add_argument("--only", nargs="+", metavar="SOURCE", help="these sources (default: all)")
    parser.add_argument("--list", action="store_true", help="show the sources and how each is rebuilt")
    parser.add_argument("--host", default=GIT_HOST, help="git host or mirror (default: %(default)s)")
    parser.add_argument("--pretrained", type=Path, help="folder with efficientat-mn04/, for the mn04 columns")
    parser.add_argument("--catalogue", type=Path, default=catalogue.CATALOGUE, help=argparse.SUPPRESS)
    parser.add_argument("--rooms", type=Path, default=catalogue.ROOMS_CATALOGUE, help=argparse.SUPPRESS)
    parser.add_argument("--write-catalogue", action="store_true", help="take the catalogue from --data anew")
    parser.add_argument("--data", type=Path, help="data set to take it from (default: $CRADLEWATCH_DATA)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
