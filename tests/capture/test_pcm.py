"""Raw PCM through real pipes: odd pieces, channels, FIFOs, stalls and ends."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from monitor.capture.pcm import PcmStream
from monitor.capture.source import SourceState
from monitor.errors import AudioFileError, ConfigError
from monitor.types import Block, EndOfStream, Gap, GapReason


@pytest.fixture
def pipe() -> Iterator[tuple[int, list[int]]]:
    """The reading end, and the writing one in a list from which a test takes it to close it."""
    reading, writing = os.pipe()
    writers = [writing]
    yield reading, writers
    for descriptor in (reading, *writers):
        os.close(descriptor)


def noise(n_samples: int) -> np.ndarray:
    return np.random.default_rng(2).normal(0, 3_000, n_samples).astype("<i2")


def rest(stream: PcmStream) -> np.ndarray:
    blocks = []
    while not isinstance(item := stream.read(5.0), EndOfStream):
        assert isinstance(item, Block)
        assert item.start == (blocks[-1].stop if blocks else 0)
        blocks.append(item)
    return np.concatenate([np.zeros(0, np.int16), *(block.samples for block in blocks)])


def test_pieces_of_odd_length_do_not_shift_the_samples(pipe: tuple[int, list[int]]) -> None:
    reading, writers = pipe
    samples = noise(20_000)
    data = samples.tobytes() + b"\x01"  # half a sample at the end is no sample

    def write() -> None:
        for start in range(0, len(data), 777):
            os.write(writers[0], data[start : start + 777])
        os.close(writers.pop())

    writer = threading.Thread(target=write)
    stream = PcmStream(reading)
    stream.start()
    writer.start()
    assert np.array_equal(rest(stream), samples)
    writer.join()
    stream.stop(1.0)
    assert stream.stats().state is SourceState.ENDED


def test_a_file_of_two_channels_at_48_khz_gives_the_chosen_one(tmp_path: Path) -> None:
    tone = (8_000 * np.sin(2 * np.pi * 500 * np.arange(48_000) / 48_000)).astype("<i2")
    (tmp_path / "a.raw").write_bytes(np.stack([np.zeros_like(tone), tone], axis=1).tobytes())
    stream = PcmStream(tmp_path / "a.raw", rate_hz=48_000, channels=2, channel=1)
    stream.start()
    audio = rest(stream)
    assert len(audio) == 16_000
    assert np.abs(audio[1_000:-1_000]).max() == pytest.approx(8_000, abs=10)
    stream.stop(1.0)


def test_a_fifo_is_waited_for_and_its_writer_going_is_the_end(tmp_path: Path) -> None:
    fifo = tmp_path / "mic.fifo"
    os.mkfifo(fifo)
    stream = PcmStream(fifo)
    stream.start()
    assert stream.read(0.05) is None
    samples = noise(5_000)
    with fifo.open("wb", buffering=0) as writer:
        writer.write(samples.tobytes())
        block = stream.read(5.0)
        assert isinstance(block, Block)
        assert np.array_equal(block.samples, samples)
    assert stream.read(5.0) is EndOfStream.END
    stream.stop(1.0)


def test_without_real_time_a_pause_is_no_loss(pipe: tuple[int, list[int]]) -> None:
    now_s = 0.0
    stream = PcmStream(pipe[0], clock=lambda: now_s)
    stream.start()
    os.write(pipe[1][0], noise(3_840).tobytes())
    assert isinstance(stream.read(0), Block)
    now_s = 3_600.0
    assert stream.read(0) is None
    assert stream.stats().lost_samples == 0
    stream.stop(1.0)


def test_a_live_pause_becomes_gaps_that_keep_pace_with_the_clock(pipe: tuple[int, list[int]]) -> None:
    now_s = 100.0
    stream = PcmStream(pipe[0], live=True, clock=lambda: now_s)
    stream.start()
    os.write(pipe[1][0], noise(4_000).tobytes())
    block = stream.read(0)
    assert isinstance(block, Block)
    assert len(block.samples) == 4_000
    now_s = 101.0
    assert stream.read(0) is None
    now_s = 102.0
    first = stream.read(0)
    assert first == Gap(block.stop, 24_000, GapReason.DEVICE_LOST)
    assert stream.stats().state is SourceState.LOST
    assert "sends nothing" in stream.stats().fault
    now_s = 110.0
    os.write(pipe[1][0], noise(16_000).tobytes())
    last = stream.read(0)
    resumed = stream.read(0)
    assert isinstance(last, Gap)
    assert isinstance(resumed, Block)
    # Its second of audio ends at 110 s, ten seconds after the end of the first block.
    assert resumed.stop - block.stop == 160_000
    assert stream.stats().fault == ""
    stream.stop(1.0)


def test_what_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AudioFileError, match=r"none\.raw cannot be read: No such file"):
        PcmStream(tmp_path / "none.raw").start()


def test_a_terminal_is_refused() -> None:
    leader, terminal = os.openpty()
    try:
        with pytest.raises(ConfigError, match="is a terminal"):
            PcmStream(terminal).start()
    finally:
        os.close(leader)
        os.close(terminal)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"channels": 2, "channel": 2}, "source.channel = 2"), ({"rate_hz": 0}, "source.pcm_rate_hz = 0")],
)
def test_impossible_settings_are_refused(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PcmStream(0, **arguments)


def test_stopping_ends_the_stream(pipe: tuple[int, list[int]]) -> None:
    stream = PcmStream(pipe[0])
    stream.start()
    stream.stop(1.0)
    stream.stop(1.0)
    assert stream.read(1.0) is EndOfStream.END
