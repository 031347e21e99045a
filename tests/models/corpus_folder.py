"""A tiny audio data folder in the public manifest's layout, for tests of what reads it."""

import csv
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile

RATE = 16_000
COLUMNS = [
    "path",
    "source",
    "licence",
    "label",
    "cause",
    "group",
    "age",
    "sex",
    "split",
    "duration_s",
    "sha256",
    "cause5",
    "verified",
    "cause_conflict",
    "detail",
    "orig",
    "rms_db",
    "peak",
    "clip_frac",
    "rolloff_hz",
    "mn04_cry",
    "mn04_top",
    "near_dup_of",
    "train_ok",
]
ROOM_COLUMNS = [
    "path",
    "source",
    "licence",
    "room_x_m",
    "room_y_m",
    "room_z_m",
    "rt60_s",
    "distance_m",
    "split",
]


@dataclass
class CorpusFolder:
    root: Path
    rows: list[dict[str, str]] = field(default_factory=list)
    rooms: list[dict[str, str]] = field(default_factory=list)

    def add(self, name, samples, *, label, split, group=None, rate=RATE, **columns):
        path = self.root / "audio" / f"{name}.flac"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, samples, rate, subtype="PCM_16")
        row = dict.fromkeys(COLUMNS, "")
        row |= {
            "path": f"audio/{name}.flac",
            "source": "made",
            "licence": "CC0",
            "label": label,
            "group": group or name,
            "split": split,
            "duration_s": str(len(samples) / rate),
            "verified": "1",
            "rms_db": "-20",
            "rolloff_hz": "4000",
            "train_ok": "1",
        }
        self.rows.append(row | columns)

    def add_room(self, name, response, *, split, rate=RATE):
        path = self.root / "rir" / f"{name}.flac"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, response, rate, subtype="PCM_16")
        row = dict.fromkeys(ROOM_COLUMNS, "") | {"path": f"rir/{name}.flac", "split": split}
        self.rooms.append(row)

    def write(self):
        for name, columns, rows in (
            ("manifest.csv", COLUMNS, self.rows),
            ("rir.csv", ROOM_COLUMNS, self.rooms),
        ):
            with (self.root / name).open("w", newline="") as file:
                writer = csv.DictWriter(file, columns)
                writer.writeheader()
                writer.writerows(rows)
        return self.root


def tone(duration_s, hz=440.0, amplitude=0.5):
    n = np.arange(round(duration_s * RATE))
    return (amplitude * np.sin(2 * np.pi * hz / RATE * n)).astype(np.float32)


def noise(duration_s, seed=0, amplitude=0.1):
    rng = np.random.default_rng(seed)
    return (amplitude * rng.standard_normal(round(duration_s * RATE))).clip(-1, 1).astype(np.float32)
