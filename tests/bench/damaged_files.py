"""What is heard of recordings that are damaged in every way we know: ``python -m tests.bench.damaged_files``.

A synthetic baby cries at the end of each. The columns: how many seconds libsndfile reads by itself (which
was all that we heard before), how many are heard now, how many there were, how many cries are found, and
what is said. ``--real FOLDER`` does the same with recordings of your own. Exit code 1 when a cry that can be
heard is not found, or when a loss is not said.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import soundfile

from monitor.capture.quiet import quiet
from monitor.cli.scanner import Scanned, ScanRequest, scan_recording
from monitor.demo.synth import nursery
from monitor.detect.settings import DetectorSettings
from monitor.types import SAMPLE_RATE_HZ, samples
from tests.capture.damaged import Audio, Damaged, kinds

CRY_S = (46.5, 56.5)
"""The second bout of the demonstration."""
CALM_S = 8.0
"""From its begin, so that two cries in joined files are two episodes."""
HEAD = ("file", "alone", "heard", "of", "cries", "said")
FORMAT = "{:<50} {:>7} {:>7} {:>7} {:>6}  {}"


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.damaged_files",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--real", type=Path, metavar="FOLDER", help="recordings of your own")
    given = parser.parse_args()
    request = ScanRequest(DetectorSettings(model_form="int8"), None, 0)
    print(FORMAT.format(*HEAD))
    if given.real is not None:
        for path in sorted(file for file in given.real.iterdir() if file.is_file()):
            found = scan_recording(path, request)
            _print(path.name, path, found, "", len(found.episodes))
        return 0
    failed = 0
    audio = evening()
    with tempfile.TemporaryDirectory() as folder:
        for kind in kinds(audio):
            path = Path(folder) / "recording"
            path.write_bytes(kind.data)
            found = scan_recording(path, request)
            failed += not is_right(kind, found)
            length_s = kind.copies * len(audio) / SAMPLE_RATE_HZ
            _print(kind.name, path, found, f"{length_s:.1f}", kind.copies)
    print(f"{failed} not as they should be")
    return 1 if failed else 0


def evening() -> Audio:
    """A cry, and what is before it."""
    scene = nursery().samples
    start, stop = (samples(edge_s) for edge_s in CRY_S)
    return np.concatenate([scene[: samples(CALM_S)], scene[start:stop]]).astype(np.float64) / 32_768.0


def is_right(kind: Damaged, found: Scanned) -> bool:
    """Whether each cry that can be heard was found, and every loss was said."""
    whole = kind.copies if kind.heard > 0.9 else kind.copies - 1
    return len(found.episodes) >= whole and bool(found.fault) == bool(kind.says) and not found.problem


def alone_s(path: Path) -> float:
    """Seconds that libsndfile reads by itself."""
    read, rate_hz = 0, 1
    with quiet(), suppress(soundfile.LibsndfileError), soundfile.SoundFile(path) as file:
        rate_hz = file.samplerate
        while n_read := len(file.read(min(rate_hz, max(0, file.frames - read)))):
            read += n_read
    return read / rate_hz


def _print(name: str, path: Path, found: Scanned, length_s: str, cries: int) -> None:
    heard_s = found.length_s - found.damaged_s
    said = (found.fault or found.problem).removeprefix(f"{path}: ")
    print(
        FORMAT.format(
            name, f"{alone_s(path):.1f}", f"{heard_s:.1f}", length_s, f"{len(found.episodes)}/{cries}", said
        ),
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
