"""A channel that is empty while another one sounds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from monitor.capture.channels import ChannelWatch, better_channel
from monitor.capture.child import _into
from monitor.capture.pcm import PcmStream
from monitor.capture.recording import Recording
from monitor.capture.ring import RingReader, RingWriter, ring_bytes
from monitor.capture.source import AudioSource, SourceStats
from monitor.cli import main
from monitor.cli.check import listen
from monitor.service.signal_judgement import SignalLimits
from monitor.types import EndOfStream

RATE = 16_000
SOUND = np.rint(np.random.default_rng(0).normal(0, 500, 3 * RATE)).astype(np.int16)
EMPTY = np.zeros_like(SOUND)


@pytest.mark.parametrize(
    ("columns", "channel", "better"),
    [
        ((EMPTY, SOUND), 0, 1),
        ((EMPTY, SOUND), 1, None),
        ((SOUND, EMPTY), 0, None),
        ((SOUND, EMPTY), 1, 0),
        ((EMPTY, EMPTY), 0, None),
        ((EMPTY - 7, EMPTY, SOUND, SOUND), 0, 2),
        ((SOUND,), 0, None),
    ],
    ids=[
        "left is empty",
        "right chosen",
        "well",
        "right is empty",
        "both empty",
        "a stuck one of four",
        "mono",
    ],
)
def test_the_first_channel_that_sounds_is_named_where_ours_does_not(columns, channel, better):
    watch = ChannelWatch(len(columns))
    frames = np.ascontiguousarray(np.stack(columns, axis=1))
    for start in range(0, len(frames), 480):
        watch.observe(frames[start : start + 480].reshape(-1).data)
    assert better_channel(watch.moved, channel) == better


def test_a_channel_that_once_sounded_is_no_empty_one():
    watch = ChannelWatch(2)
    watch.observe(np.stack([SOUND, SOUND], axis=1).reshape(-1).data)
    watch.observe(np.stack([EMPTY, SOUND], axis=1).reshape(-1).data)
    assert better_channel(watch.moved, 0) is None


def test_the_capture_child_tells_it_through_the_ring():
    memory = bytearray(ring_bytes(RATE))
    take = _into(RingWriter(memory, rate_hz=RATE), 0, 2)
    take(np.stack([EMPTY, SOUND], axis=1)[:480].tobytes(), 480, None, None)
    reader = RingReader(memory)
    assert better_channel(reader.moved, 0) == 1
    assert reader.read(480)[1] == bytes(960)


@pytest.fixture(params=["recording", "float recording", "pipe"])
def half_empty(request, tmp_path) -> Iterator[AudioSource]:
    """A source of which the chosen channel, 0, is empty."""
    frames: NDArray[np.int16] = np.stack([EMPTY, SOUND], axis=1)
    if request.param == "pipe":
        path = tmp_path / "raw.pcm"
        path.write_bytes(frames.tobytes())
        source: AudioSource = PcmStream(path, rate_hz=RATE, channels=2, channel=0)
    else:
        path = tmp_path / "stereo.wav"
        subtype = "FLOAT" if request.param.startswith("float") else "PCM_16"
        soundfile.write(path, frames / 32768.0, RATE, subtype=subtype)
        source = Recording(path)
    source.start()
    yield source
    source.stop(0.0)


def played(source: AudioSource) -> SourceStats:
    while source.read(1.0) is not EndOfStream.END:
        pass
    return source.stats()


def test_files_and_pipes_know_the_channel_that_sounds(half_empty):
    assert played(half_empty).better_channel == 1


def test_check_names_the_channel_that_sounds(half_empty):
    outcome = listen(half_empty, SignalLimits(), first_audio_s=5.0)
    assert not outcome.ok
    assert "The chosen channel is silent while channel 1 sounds: set microphone.channel = 1" in outcome.text


def test_scan_names_the_channel_that_sounds_and_did_not_hear_it(tmp_path: Path, capsys):
    path = tmp_path / "stereo.wav"
    soundfile.write(path, np.stack([EMPTY, SOUND], axis=1), RATE)
    assert main(["scan", str(path)]) == 1
    assert "channel 1 is not: listen to it with --channel 1." in capsys.readouterr().err.replace("\n", " ")
    assert main(["scan", "--channel", "1", str(path)]) == 0
    assert "silent" not in capsys.readouterr().err
