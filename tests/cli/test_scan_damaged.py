"""What a user sees of damaged recordings and pipes: the cry where it is, and no word of a library."""

import json
import os
import random
import subprocess
import sys

import pytest
import soundfile

from tests.capture.damaged import encoded
from tests.cli.programs import Program


@pytest.fixture(scope="module")
def cry(crying):
    """Audio of -1 to 1, mono, 16 kHz."""
    return soundfile.read(crying)[0]


def onsets(program):
    return [json.loads(line)["onset_s"] for line in program.out]


def test_libraries_write_nothing_of_their_own(cry, tmp_path):
    hurt = bytearray(encoded(cry, "MP3", "MPEG_LAYER_III", 44_100))
    chance = random.Random(1)
    for _ in range(60):
        hurt[chance.randrange(len(hurt) // 2, len(hurt))] ^= 0xFF
    mp3 = encoded(cry, "MP3", "MPEG_LAYER_III")
    (tmp_path / "hurt.mp3").write_bytes(hurt)
    (tmp_path / "joined.mp3").write_bytes(mp3 + mp3)
    with Program("scan", "--format", "jsonl", *map(str, sorted(tmp_path.glob("*.mp3")))) as program:
        assert program.ended() in {0, 1}, program.err
    assert len(onsets(program)) >= 2
    # Otherwise libmpg123 says, among others, "error: dequantization failed!".
    assert all(line.startswith(f"cradlewatch: warning: {tmp_path / 'hurt.mp3'}: ") for line in program.err)


@pytest.mark.parametrize(
    "options", [["run", "--fast", "--jsonl", "-", "--file"], ["scan", "--format", "jsonl"]]
)
def test_a_filter_that_lives_to_the_end_is_no_leak(options, cry, tmp_path):
    (tmp_path / "a.wav").write_bytes(encoded(cry, "WAV", "PCM_16", 44_100))
    with Program(*options, str(tmp_path / "a.wav"), CRADLEWATCH_SERVICE__STATE_DIR=str(tmp_path)) as program:
        assert program.ended() == 0, program.err
    assert program.out
    assert not [line for line in program.err if "leak" in line or "nanobind" in line]


def test_a_filter_is_no_leak_after_an_error_either():
    code = (
        "from monitor.capture.resample import Resampler\n"
        "kept = Resampler(44_100)\n"
        "import sys; sys.modules['monitor'].kept = kept\n"
        "sys.settrace(lambda *_, kept=kept: None)\n"
        "raise SystemExit(3)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (3, "")


def test_standard_input_is_heard_and_other_processes_leave_it_to_this_one(cry, crying, tmp_path):
    with crying.open("rb") as file:
        given = subprocess.Popen(["cat"], stdin=file, stdout=subprocess.PIPE)
    with (
        given,
        Program("scan", "--format", "jsonl", "--jobs", "2", "-", str(crying), stdin=given.stdout) as program,
    ):
        assert program.ended() == 0, program.err
    first, second = onsets(program)
    assert first == second
    assert [json.loads(line)["file"] for line in program.out] == ["-", str(crying)]


def test_a_fifo_is_heard(crying, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with Program("scan", "--format", "jsonl", str(pipe)) as program:
        pipe.write_bytes(crying.read_bytes())
        assert program.ended() == 0, program.err
    assert len(onsets(program)) == 1
