"""A small run of the accelerated nights; ``python -m tests.soak.nights --hours 48`` is the whole one."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.bench.live_cries import live_cries, room_noise, to_int16
from tests.broker import Mosquitto
from tests.soak.nights import unaccounted

ROOT = Path(__file__).parents[2]


def test_a_lost_block_is_missed_in_the_account(tmp_path):
    files = []
    for number in range(3):
        files.append(tmp_path / f"{number}.flac")
        soundfile.write(files[-1], np.zeros(16_000, np.int16), 16_000)
    whole = {"delivered": 48_000, "lost": 112_000, "heard_s": 10.0, "gap_s": 7.0}
    assert unaccounted(whole, files) == 0
    assert unaccounted(whole | {"delivered": 44_160}, files) == 3840
    assert unaccounted(whole | {"heard_s": 9.76}, files) == 3840


@pytest.mark.broker
def test_every_sample_and_every_episode_is_accounted_for(tmp_path):
    Mosquitto(tmp_path / "here")  # skips where there is none
    rng = np.random.default_rng(1)
    audio = to_int16(room_noise(60.0, rng))
    for at, cry in zip((20, 42), live_cries(2, None, 1)[1], strict=True):
        audio[16_000 * at : 16_000 * at + len(cry.samples)] = cry.samples
    soundfile.write(tmp_path / "minute.flac", audio, 16_000)
    command = [sys.executable, "-m", "tests.soak.nights", "--folder", str(tmp_path)]
    done = subprocess.run(
        [*command, "--hours", "0.05", "--passes", "3"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    figures = dict(re.findall(r"^(.*?) {2,}(.*)$", done.stdout, re.MULTILINE))
    assert figures["samples unaccounted for"] == "0"
    assert figures["samples in gaps / taken away"] == "112000 / 112000"
    by_scan = int(figures["episodes by scans of each recording alone"])
    assert by_scan > 0
    assert figures["of them in the stream within 0.5 s"] == str(by_scan)
    counts = figures["episodes started: detector / file / hub"].split(" / ")
    assert len(set(counts)) == 1
