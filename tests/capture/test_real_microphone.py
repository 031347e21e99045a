"""The microphone end to end: PulseAudio, ALSA, PortAudio, the child, the ring and every way to lose it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile

from monitor.capture.child_process import CaptureChild, DeviceRequest
from monitor.capture.devices import list_devices
from monitor.capture.microphone import Microphone, MicrophoneLimits
from monitor.capture.retry import RetryLimits
from monitor.capture.source import SourceState
from monitor.errors import ConfigError, DeviceError, DeviceNotFoundError
from monitor.types import Block, Gap, GapReason
from tests.patience import shared
from tests.virtual_microphone import VirtualMicrophone, plugged_in

pytestmark = [pytest.mark.audio_device]

DEADLINE_S = 60.0
CHILD_RSS_LIMIT_KIB = 30 * 1024


class Listener:
    """A running microphone and all it delivered, checked to be one stream."""

    def __init__(self, microphone: Microphone) -> None:
        self.microphone = microphone
        self.items: list[Block | Gap] = []

    def until(self, condition: Callable[[Block | Gap], bool]) -> Block | Gap:
        """Read on until an item fulfils ``condition``; no read may take much longer than it may."""
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            began = time.monotonic()
            item = self.microphone.read(0.3)
            assert time.monotonic() - began < 2.0, "read() hung"
            if isinstance(item, Block | Gap):
                assert not self.items or item.start == self.items[-1].stop
                self.items.append(item)
                if condition(item):
                    return item
        raise AssertionError(f"nothing for {DEADLINE_S} s: {self.microphone.stats()}")

    def until_block(self) -> Block | Gap:
        return self.until(lambda item: isinstance(item, Block))

    def until_lost(self) -> Block | Gap:
        return self.until(lambda item: isinstance(item, Gap) and item.reason is GapReason.DEVICE_LOST)

    def for_seconds(self, duration_s: float) -> np.ndarray:
        stop = self.items[-1].stop + round(duration_s * 16_000)
        first = len(self.items)
        self.until(lambda item: item.stop >= stop)
        return np.concatenate([item.samples for item in self.items[first:] if isinstance(item, Block)])


@contextmanager
def listening(request: DeviceRequest | None = None) -> Iterator[Listener]:
    microphone = Microphone(request, MicrophoneLimits(retry=RetryLimits(first_s=0.2, quick_s=1.0)))
    microphone.start()
    try:
        listener = Listener(microphone)
        listener.until_block()
        yield listener
    finally:
        microphone.stop(1.0)


def noise(duration_s: float, seed: int = 3) -> np.ndarray:
    """Noise with a slow envelope: correlates with nothing but itself."""
    return np.random.default_rng(seed).normal(0, 4_000, round(duration_s * 16_000)).astype(np.int16)


def correlation_and_place(heard: np.ndarray, played: np.ndarray) -> tuple[float, int]:
    """Best normalised correlation of ``played`` within ``heard``, and where it begins."""
    size = len(heard) + len(played)
    spectrum = np.fft.rfft(heard, size) * np.conj(np.fft.rfft(played, size))
    place = int(np.argmax(np.fft.irfft(spectrum, size)[: len(heard) - len(played)]))
    excerpt = heard[place : place + len(played)].astype(float)
    product = float(np.dot(excerpt, played.astype(float)))
    return product / float(np.linalg.norm(excerpt) * np.linalg.norm(played.astype(float))), place


def pieces_in_order(heard: np.ndarray, played: np.ndarray, length_s: float = 0.1) -> list[int]:
    """Which pieces of ``played`` are in ``heard``, each whole and none before its predecessor.

    A daemon that the machine keeps waiting breaks what it plays off and goes on a moment later; that spoils
    the piece that is playing just then. What arrives altered, mixed or in another order is not found at all.
    """
    length, found, after = round(length_s * 16_000), [], 0
    for number, start in enumerate(range(0, len(played) - length + 1, length)):
        correlation, place = correlation_and_place(heard, played[start : start + length])
        if correlation > 0.95 and place >= after:
            found.append(number)
            after = place + length
    return found


def test_pieces_are_found_around_a_break_and_nowhere_else() -> None:
    played, other = noise(0.7), noise(2.0, seed=8)
    broken = np.concatenate([other[:4_000], played[:5_000], np.zeros(3_000, np.int16), played[5_000:], other])
    assert pieces_in_order(broken, played) == [0, 1, 2, 4, 5, 6]
    assert pieces_in_order(other, played) == []
    mixed = other[: len(played)].astype(int) + played
    assert pieces_in_order(np.concatenate([mixed, other]), played) == []
    backwards = np.concatenate([played[start : start + 1_600] for start in range(9_600, -1, -1_600)])
    assert len(pieces_in_order(np.concatenate([backwards, other]), played)) <= 1
    dropping = np.delete(played, np.arange(0, len(played), 400))
    assert pieces_in_order(np.concatenate([dropping, other]), played) == []


def test_what_is_played_arrives_and_a_stalled_source_comes_back(pipe_microphone: VirtualMicrophone) -> None:
    with listening(DeviceRequest(rate_hz=48_000)) as listener:
        played = noise(0.7)
        pipe_microphone.feed(played, wait=False)
        heard = listener.for_seconds(1.6)
        # The device runs at 48 kHz, so what is compared went through two converters.
        correlation, _ = correlation_and_place(heard, played)
        assert correlation > 0.95
        assert listener.microphone.stats().state is SourceState.RUNNING

        stalled_s, position = time.monotonic(), listener.items[-1].stop
        pipe_microphone.stall()
        lost = listener.until_lost()
        assert time.monotonic() - stalled_s < shared(3)
        assert isinstance(lost, Gap)
        assert listener.microphone.stats().state is SourceState.LOST
        listener.until_lost()
        pipe_microphone.resume()
        block = listener.until_block()
        took_s = time.monotonic() - stalled_s
        # The stream has kept pace with the clock.
        assert (block.stop - position) / 16_000 == pytest.approx(took_s, abs=0.7)
        stats = listener.microphone.stats()
        assert (stats.state, stats.fault) == (SourceState.RUNNING, "")
        assert stats.restarts >= 1
        assert stats.samples + stats.lost_samples == listener.items[-1].stop
        pipe_microphone.feed(played, wait=False)
        assert correlation_and_place(listener.for_seconds(1.6), played)[0] > 0.95
        assert all(later.start == earlier.stop for earlier, later in pairwise(listener.items))


def test_a_frozen_and_a_killed_daemon_are_survived(pipe_microphone: VirtualMicrophone) -> None:
    with listening() as listener:
        child = listener.microphone._child
        assert child is not None
        pipe_microphone.freeze()
        try:
            listener.until_lost()
            assert child._process.poll() == -signal.SIGKILL
        finally:
            pipe_microphone.thaw()
        listener.until_block()

        pipe_microphone.kill()
        listener.until_lost()
        # While there is no daemon there is no device either: a state to wait in, not an error.
        listener.until_lost()
        pipe_microphone.restart()
        listener.until_block()
        assert listener.microphone.stats().fault == ""


def test_the_chosen_channel_is_heard_and_not_a_mix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with plugged_in(monkeypatch, tmp_path, "pipe", channels=2) as microphone:
        left, right = noise(0.7, seed=4), noise(0.7, seed=5)
        for channel, (wanted, other) in enumerate([(left, right), (right, left)]):
            with listening(DeviceRequest(channel=channel)) as listener:
                microphone.feed(np.stack([left, right], axis=1), wait=False)
                heard = listener.for_seconds(1.6)
            assert correlation_and_place(heard, wanted)[0] > 0.95
            assert correlation_and_place(heard, other)[0] < 0.2


def test_a_file_played_into_the_room_is_heard(virtual_microphone: VirtualMicrophone, tmp_path: Path) -> None:
    devices = list_devices()
    assert [(device.index, device.name, device.is_default) for device in devices] == [(0, "default", True)]
    played = noise(0.7)
    # PulseAudio swallows the first 20 ms of what is played into a silent null sink.
    soundfile.write(tmp_path / "a.wav", np.concatenate([np.zeros(3_200, np.int16), played]), 16_000)
    with listening(DeviceRequest(device=0)) as listener:
        rss_kib = child_rss_kib(listener.microphone)
        virtual_microphone.play(tmp_path / "a.wav")
        assert len(pieces_in_order(listener.for_seconds(2.0), played)) >= 4, "of seven"
    assert rss_kib <= CHILD_RSS_LIMIT_KIB


def child_rss_kib(microphone: Microphone) -> int:
    assert microphone._child is not None
    status = Path(f"/proc/{microphone._child._process.pid}/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))


def test_impossible_requests_are_refused_with_what_there_is(pipe_microphone: VirtualMicrophone) -> None:
    with pytest.raises(DeviceNotFoundError, match=r"'Blue Yeti' was found\. There is: 0: 'default'"):
        Microphone(DeviceRequest(device="Blue Yeti")).start()
    with pytest.raises(DeviceNotFoundError, match=r"input device 7 was found"):
        Microphone(DeviceRequest(device=7)).start()
    with pytest.raises(ConfigError, match=r"microphone\.channel = 40 is not there"):
        Microphone(DeviceRequest(channel=40)).start()
    # Frozen, the sound system answers nothing, and that is said too.
    pipe_microphone.freeze()
    try:
        with pytest.raises(DeviceError, match=r"did not list its devices within 0\.5 s"):
            list_devices(timeout_s=0.5)
    finally:
        pipe_microphone.thaw()


def test_without_any_device_the_error_asks_for_a_microphone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "asound.conf").write_text("pcm.gone { type hw card 99 }\n")
    monkeypatch.setenv("ALSA_CONFIG_PATH", str(tmp_path / "asound.conf"))
    assert list_devices() == []
    with pytest.raises(DeviceNotFoundError, match=r"No default input device was found.*plugged in"):
        Microphone().start()


def test_the_child_leaves_when_its_parent_is_killed(pipe_microphone: VirtualMicrophone) -> None:
    program = (
        "import json, time; from monitor.capture.microphone import Microphone; m = Microphone(); m.start();"
        "print(m._child._process.pid, flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child_pid = json.loads(parent.stdout.readline())
        os.kill(child_pid, 0)
        parent.kill()
    deadline = time.monotonic() + 10
    while Path(f"/proc/{child_pid}").exists() and not is_zombie(child_pid):
        assert time.monotonic() < deadline, "the capture child outlived its parent"
        time.sleep(0.02)


def is_zombie(pid: int) -> bool:
    """Nobody may reap orphans in a container: ended is ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_the_child_imports_no_numpy_and_nothing_heavy() -> None:
    program = "import sys, monitor.capture.child; print(*sys.modules)"
    modules = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, text=True
    ).stdout.split()
    heavy = {"numpy", "pydantic", "onnxruntime", "structlog", "typing_extensions", "dataclasses", "soxr"}
    assert not heavy & set(modules)


def test_a_killed_child_leaves_its_pipes_closed(pipe_microphone: VirtualMicrophone) -> None:
    before = n_descriptors()
    child = CaptureChild(DeviceRequest())
    assert child.kill()
    del child
    assert n_descriptors() == before


def n_descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())
