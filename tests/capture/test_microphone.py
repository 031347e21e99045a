"""The microphone's judgement, with the clock in our hand and a real ring that we write ourselves."""

import struct
from itertools import pairwise

import numpy as np
import pytest

from monitor.capture.child_process import CaptureChild, DeviceRequest, refusal
from monitor.capture.microphone import Microphone
from monitor.capture.ring import RingReader, RingWriter, ring_bytes
from monitor.capture.source import SourceState
from monitor.errors import ConfigError, DeviceError, DeviceLostError, DeviceNotFoundError
from monitor.types import Block, EndOfStream, Gap, GapReason

CAPACITY = 32_000


class Bench:
    """A clock and a row of children whose rings the test fills."""

    def __init__(
        self, rate_hz: int = 16_000, *, wait_for_device: bool = False, device: int | None = None
    ) -> None:
        self.now_s = 1_000.0
        self.rate_hz = rate_hz
        self.refusals: list[DeviceError | ConfigError] = []
        self.spawned_s: list[float] = []
        self.children: list[HandFedChild] = []
        self.wanted: list[str | int | None] = []
        self.devices = ("card 0",)
        self.microphone = Microphone(
            DeviceRequest(device=device),
            clock=lambda: self.now_s,
            spawn=self._spawn,
            wait_for_device=wait_for_device,
            look=lambda: self.devices,
        )

    def _spawn(self, request: DeviceRequest) -> CaptureChild:
        self.spawned_s.append(self.now_s)
        self.wanted.append(request.device)
        child = HandFedChild(self.rate_hz, self.refusals.pop(0) if self.refusals else None)
        self.children.append(child)
        return child  # type: ignore[return-value]

    def hear(self, audio: np.ndarray) -> None:
        """``audio`` is recorded until now."""
        data = memoryview(audio.astype(np.int16).tobytes()).cast("h")
        self.children[-1].writer.write(data, round(self.now_s * 1e9))

    def collect(self, duration_s: float, step_s: float = 0.1) -> list[Block | Gap]:
        """What the microphone delivers while ``duration_s`` passes and nothing is heard."""
        found: list[Block | Gap] = []
        stop_s = self.now_s + duration_s
        while self.now_s < stop_s - 1e-9:
            self.now_s += step_s
            while isinstance(item := self.microphone.read(0), Block | Gap):
                found.append(item)
        return found


class HandFedChild:
    def __init__(self, rate_hz: int, refused: DeviceError | ConfigError | None) -> None:
        memory = bytearray(ring_bytes(CAPACITY))
        self.ring = RingReader(memory)
        self.writer = RingWriter(memory, rate_hz=rate_hz)
        self.refused = refused
        self.description = "" if refused else "bench"
        self.device = self.description
        self.started_s = 0.0
        self.killed = False

    def check(self, now_s: float, opened_within_s: float) -> None:
        if self.refused is not None:
            raise self.refused
        if self.ring.written == 0 and now_s - self.started_s > opened_within_s:
            raise DeviceLostError("no audio")

    def kill(self) -> bool:
        self.killed = True
        return True


def ramp(n_samples: int, start: int = 0) -> np.ndarray:
    return (np.arange(start, start + n_samples) % 20_000).astype(np.int16)


def running_bench(rate_hz: int = 16_000) -> Bench:
    bench = Bench(rate_hz)
    bench.microphone.start()
    bench.now_s += 0.5
    bench.hear(ramp(round(0.24 * rate_hz)))
    return bench


def test_a_block_is_delivered_once_it_is_complete() -> None:
    bench = Bench()
    bench.microphone.start()
    bench.hear(ramp(1_920))
    assert bench.microphone.read(0) is None
    bench.hear(ramp(1_920, 1_920))
    block = bench.microphone.read(0)
    assert isinstance(block, Block)
    assert block.start == 0
    assert np.array_equal(block.samples, ramp(3_840))
    assert not block.samples.flags.writeable
    assert bench.microphone.stats().state is SourceState.RUNNING


def test_blocks_end_on_multiples_of_their_length_after_a_late_read() -> None:
    bench = Bench()
    bench.microphone.start()
    bench.hear(ramp(5_760))
    first = bench.microphone.read(0)
    bench.hear(ramp(1_920))
    second = bench.microphone.read(0)
    assert isinstance(first, Block)
    assert isinstance(second, Block)
    assert (first.stop, second.stop) == (5_760, 7_680)


def test_a_reader_that_was_too_late_gets_a_gap_and_the_newest_audio() -> None:
    bench = running_bench()
    assert isinstance(bench.microphone.read(0), Block)
    for start in range(3_840, 3_840 + 40_000, 4_000):
        bench.hear(ramp(4_000, start))
    gap = bench.microphone.read(0)
    block = bench.microphone.read(0)
    assert isinstance(gap, Gap)
    assert isinstance(block, Block)
    assert (gap.start, gap.reason) == (3_840, GapReason.OVERRUN)
    assert gap.length >= 8_000
    assert block.start == gap.stop
    assert block.stop == 43_840
    assert np.array_equal(block.samples, ramp(len(block.samples), block.start))


def test_silence_of_the_counter_is_a_loss_and_gaps_keep_pace_with_the_clock() -> None:
    bench = running_bench()
    bench.hear(ramp(100, 3_840))  # less than a block: must not be lost with the child
    found = bench.collect(5.0)
    blocks = [item for item in found if isinstance(item, Block)]
    gaps = [item for item in found if isinstance(item, Gap)]
    assert sum(len(block.samples) for block in blocks) == 3_940
    assert {gap.reason for gap in gaps} == {GapReason.DEVICE_LOST}
    assert all(gap.length >= 16_000 for gap in gaps)
    assert all(later.start == earlier.stop for earlier, later in pairwise(found))
    assert found[-1].stop == pytest.approx(3_940 + 5 * 16_000, abs=16_000 * 1.7)
    stats = bench.microphone.stats()
    assert stats.state is SourceState.LOST
    assert "stopped delivering" in stats.fault
    assert stats.last_block_age_s == pytest.approx(5.0)
    assert bench.children[0].killed


def test_after_recovery_the_stream_is_where_the_clock_says() -> None:
    bench = running_bench()
    found = bench.collect(5.0)
    bench.now_s += 0.5
    bench.hear(ramp(3_840))
    while isinstance(item := bench.microphone.read(0), Block | Gap):
        found.append(item)
    assert isinstance(found[-1], Block)
    assert all(later.start == earlier.stop for earlier, later in pairwise(found))
    # The first block ended when it was heard; 5.5 s later the second one ends.
    assert found[-1].stop == pytest.approx(3_840 + 5.5 * 16_000, abs=2)
    stats = bench.microphone.stats()
    assert (stats.state, stats.fault) == (SourceState.RUNNING, "")
    assert stats.lost_samples + stats.samples == found[-1].stop


@pytest.mark.parametrize(
    ("gone", "server", "longest_s"),
    [
        (DeviceLostError("gone"), False, 4.0),  # comes back without a sign
        (DeviceNotFoundError("gone"), True, 4.0),  # a sound server shows none
        (DeviceNotFoundError("gone"), False, 15.0),
    ],
)
def test_restarts_back_off_and_never_end(monkeypatch, gone, server, longest_s) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setenv("PULSE_SERVER", "x") if server else monkeypatch.delenv("PULSE_SERVER", raising=False)
    bench = running_bench()
    bench.collect(2.0)
    bench.refusals = [gone] * 1000
    before, began_s = len(bench.spawned_s), bench.now_s
    bench.collect(400.0)
    tries_s = np.array(bench.spawned_s[before:]) - began_s
    pauses = np.diff(tries_s)
    assert pauses[0] < 2.5
    assert pauses[tries_s[1:] < 60].max() < 1.8, "heard again within 5 s"
    assert pauses[-1] == pytest.approx(longest_s, abs=0.3)
    assert bench.microphone.stats().restarts == len(bench.spawned_s) - 1
    assert "gone" in bench.microphone.stats().fault


def test_a_microphone_that_is_plugged_in_again_in_the_night_is_tried_at_once() -> None:
    bench = running_bench()
    bench.refusals = [DeviceNotFoundError("gone")] * 1000
    bench.collect(7200.0, step_s=0.5)
    spawned = len(bench.spawned_s)
    assert spawned < 550, "of 4800 at the pace of the first minute"
    # The kernel shows the card before it can be opened.
    bench.devices = ("card 0", "card 1")
    bench.refusals = [DeviceNotFoundError("gone")]
    bench.collect(2.5)
    tries_s = np.array(bench.spawned_s[spawned:])
    assert len(tries_s) == 2
    bench.hear(ramp(3_840))
    assert isinstance(bench.collect(0.1)[-1], Block)


def test_a_frozen_sound_system_at_first_start_is_waited_for() -> None:
    bench = Bench()
    bench.refusals = [DeviceLostError("busy")]
    bench.microphone.start()
    assert bench.microphone.stats().state is SourceState.LOST
    found = bench.collect(3.0)
    assert found
    assert all(isinstance(item, Gap) for item in found)


@pytest.mark.parametrize("error", [DeviceNotFoundError("No such device."), ConfigError("Too few channels.")])
def test_a_microphone_that_never_can_work_is_refused_at_start(error: DeviceError | ConfigError) -> None:
    bench = Bench()
    bench.refusals = [error]
    with pytest.raises(type(error)):
        bench.microphone.start()
    assert bench.children[0].killed


def test_a_missing_device_is_waited_for_on_request() -> None:
    bench = Bench(wait_for_device=True)
    bench.refusals = [DeviceNotFoundError("No such device.")] * 2
    bench.microphone.start()
    assert "No such device" in bench.microphone.stats().fault
    bench.collect(4.0)
    bench.hear(ramp(3_840))
    found = bench.collect(0.1)
    assert isinstance(found[-1], Block)
    assert bench.microphone.stats().fault == ""


def test_48_khz_becomes_16_khz_across_a_loss() -> None:
    bench = running_bench(48_000)
    bench.hear(np.zeros(4_800))
    found = bench.collect(3.0)
    audio = sum(len(item.samples) for item in found if isinstance(item, Block))
    assert audio == (11_520 + 4_800) // 3
    assert all(later.start == earlier.stop for earlier, later in pairwise(found))


def test_stopping_kills_the_child_and_ends_the_stream() -> None:
    bench = running_bench()
    bench.microphone.stop(1.0)
    bench.microphone.stop(1.0)
    assert bench.children[0].killed
    assert bench.microphone.read(1.0) is EndOfStream.END
    assert bench.microphone.stats().state is SourceState.ENDED


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        ("not_found", DeviceNotFoundError, "'Yeti' was found. There is: 0: 'default'"),
        ("ambiguous", ConfigError, "microphone.device = 'Yeti' fits several"),
        ("too_few_channels", ConfigError, "microphone.channel = 3 is not there"),
        ("no_portaudio", ConfigError, "libportaudio2"),
        ("no_rate", ConfigError, "rate_hz"),
        ("no_channel_count", ConfigError, "microphone.channels = not set does not fit"),
        ("busy", DeviceLostError, "in use by another program"),
        ("ended", DeviceLostError, "is gone"),
        ("internal", DeviceLostError, "cannot be opened"),
    ],
)
def test_each_refusal_of_the_child_has_its_error(code: str, kind: type, words: str) -> None:
    error = refusal({"error": code, "message": "0: 'default'"}, DeviceRequest(device="Yeti", channel=3))
    assert type(error) is kind
    assert words in str(error)


def test_a_ring_of_int16_is_read_in_native_order() -> None:
    bench = running_bench()
    block = bench.microphone.read(0)
    assert isinstance(block, Block)
    assert block.samples.tobytes() == struct.pack("3840h", *range(3_840))


def test_an_index_means_the_device_that_it_meant_at_first() -> None:
    bench = Bench(device=3)
    bench.microphone.start()
    bench.hear(ramp(3_840))
    assert isinstance(bench.microphone.read(0), Block)
    bench.collect(5.0)
    assert bench.wanted[0] == 3
    assert set(bench.wanted[1:]) == {"bench"}
