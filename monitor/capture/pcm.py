"""Raw PCM from standard input, a pipe, a FIFO or a file: signed 16 bit, little-endian, interleaved."""

from __future__ import annotations

import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from monitor.capture.channels import ChannelWatch, better_channel
from monitor.capture.resample import Resampler
from monitor.capture.source import AudioSource, SourceState, SourceStats
from monitor.capture.timeline import Outage, Timeline
from monitor.errors import AudioFileError, ConfigError
from monitor.types import SAMPLE_RATE_HZ, Block, EndOfStream, Gap, GapReason, samples

READ_BYTES: Final = 65_536
"""The capacity of a pipe."""

LOOK_EVERY_S: Final = 0.1


class PcmStream(AudioSource):
    """16 kHz mono from raw PCM; its end is the end of the stream.

    ``source``: a path (a FIFO is waited for) or an open descriptor, which stays open.
    ``live``: the writer runs in real time, so nothing for ``stalled_after_s`` is lost audio and
    becomes gaps, as with the microphone. Without it the source simply waits.
    """

    def __init__(
        self,
        source: Path | int,
        *,
        rate_hz: int = SAMPLE_RATE_HZ,
        channels: int = 1,
        channel: int = 0,
        live: bool = False,
        stalled_after_s: float = 1.5,
        block_s: float = 0.24,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not 0 <= channel < channels:
            raise ConfigError(
                f"source.channel = {channel} is not one of source.pcm_channels = {channels}.",
                "The first channel is 0.",
            )
        if rate_hz <= 0:
            raise ConfigError(
                f"source.pcm_rate_hz = {rate_hz} is not positive.", "Give the rate of the data."
            )
        self._source = source
        self._rate_hz = rate_hz
        self._channels = channels
        self._channel = channel
        self._watch_channels = ChannelWatch(channels)
        self._live = live
        self._stalled_after_s = stalled_after_s
        self._block = samples(block_s)
        self._clock = clock
        self._stopping = threading.Event()
        self._descriptor = -1
        self._descriptor_lock = threading.Lock()
        self._poll = select.poll()
        self._data = bytearray()
        self._resampler = Resampler(rate_hz)
        self._timeline = Timeline()
        self._ready: deque[Block | Gap] = deque()
        self._outage: Outage | None = None
        self._last_data_s: float | None = None
        self._state = SourceState.STARTING

    @override
    def start(self) -> None:
        """Open the source. Raises AudioFileError when that fails, ConfigError for a terminal."""
        try:
            if isinstance(self._source, Path):
                # A FIFO without a writer would block the opening; poll() tells when one is there.
                self._descriptor = os.open(self._source, os.O_RDONLY | os.O_NONBLOCK)
            else:
                self._descriptor = os.dup(self._source)
        except OSError as error:
            raise AudioFileError(f"{self._name()} cannot be read: {error.strerror}.") from error
        if os.isatty(self._descriptor):
            raise ConfigError(
                f"{self._name()} is a terminal and sends no audio.",
                "Pipe raw PCM into it, e.g. arecord -f S16_LE -r 16000 -t raw | cradlewatch ...",
            )
        self._poll.register(self._descriptor, select.POLLIN)

    @override
    def read(self, timeout_s: float) -> Block | Gap | EndOfStream | None:
        deadline_s = self._clock() + timeout_s
        while not self._stopping.is_set():
            if self._ready:
                return self._ready.popleft()
            if self._is_over():
                return EndOfStream.END
            self._take_data()
            self._convert()
            now_s = self._clock()
            self._watch(now_s)
            if not self._ready and not self._is_over():
                if now_s >= deadline_s:
                    return None
                self._wait(deadline_s - now_s)
        return EndOfStream.END

    @override
    def began_at(self, now: datetime) -> datetime | None:
        """Let a stream that is read as fast as it comes begin with its first data: its end is unknown."""
        return None if self._live else now

    @override
    def stop(self, timeout_s: float) -> None:
        self._stopping.set()
        self._state = SourceState.ENDED
        with self._descriptor_lock:  # else a reading thread may meet another file under this number
            descriptor, self._descriptor = self._descriptor, -1
            if descriptor >= 0:
                os.close(descriptor)

    @override
    def stats(self) -> SourceStats:
        last_data_s = self._last_data_s
        return SourceStats(
            state=self._state,
            description=f"{self._name()}: raw PCM, {self._rate_hz} Hz,"
            f" channel {self._channel} of {self._channels}",
            samples=self._timeline.delivered,
            lost_samples=self._timeline.lost,
            overflows=0,
            restarts=0,
            waiting_s=0.0,
            last_block_age_s=None if last_data_s is None else max(0.0, self._clock() - last_data_s),
            fault=f"{self._name()} sends nothing." if self._state is SourceState.LOST else "",
            better_channel=better_channel(self._watch_channels.moved, self._channel),
        )

    def _is_over(self) -> bool:
        return self._state is SourceState.ENDED

    def _name(self) -> str:
        return "standard input" if self._source == 0 else str(self._source)

    def _wanted_bytes(self) -> int:
        frames = self._resampler.still_needed((self._resampler.given // self._block + 1) * self._block)
        return 2 * self._channels * max(1, frames)

    def _take_data(self) -> None:
        """Read what is there without waiting, up to about a pipe's capacity."""
        with self._descriptor_lock:
            while self._descriptor >= 0 and len(self._data) < max(READ_BYTES, self._wanted_bytes()):
                if not self._poll.poll(0):
                    return
                data = os.read(self._descriptor, READ_BYTES)
                if not data:
                    self._finish()
                    return
                self._data += data
                self._last_data_s = self._clock()

    def _finish(self) -> None:
        self._convert(everything=True)
        self._append(self._resampler.flush())
        self._state = SourceState.ENDED

    def _convert(self, *, everything: bool = False) -> None:
        """Move whole frames from the data into ``_ready``, once a block of them is there."""
        if not everything and len(self._data) < self._wanted_bytes():
            return
        n_bytes = len(self._data) - len(self._data) % (2 * self._channels)
        if n_bytes == 0:
            return
        frames = np.frombuffer(bytes(self._data[:n_bytes]), "<i2").reshape(-1, self._channels)
        del self._data[:n_bytes]
        if self._outage is not None and self._last_data_s is not None:
            resumed_s = self._last_data_s - len(frames) / self._rate_hz
            self._append_gap(self._outage.close(resumed_s))
            self._outage = None
        self._state = SourceState.RUNNING
        self._watch_channels.observe(frames.reshape(-1).data)
        self._append(self._resampler.push(np.ascontiguousarray(frames[:, self._channel], np.int16)))

    def _watch(self, now_s: float) -> None:
        """Turn real time without data into gaps."""
        if not self._live or self._last_data_s is None or self._state is SourceState.ENDED:
            return
        if self._outage is not None:
            self._append_gap(self._outage.due(now_s))
        elif now_s - self._last_data_s > self._stalled_after_s:
            self._convert(everything=True)
            self._append(self._resampler.flush())
            self._resampler = Resampler(self._rate_hz)
            self._outage = Outage(self._last_data_s)
            self._append_gap(self._outage.begin(now_s))
            self._state = SourceState.LOST

    def _append(self, audio: NDArray[np.int16]) -> None:
        if len(audio):
            self._ready.append(self._timeline.block(audio))

    def _append_gap(self, length: int) -> None:
        if length:
            self._ready.append(self._timeline.gap(length, GapReason.DEVICE_LOST))

    def _wait(self, limit_s: float) -> None:
        if len(self._data) == 0 and limit_s > 0:
            self._poll.poll(min(limit_s, LOOK_EVERY_S) * 1000)
            if not self._live:
                return
        # A live writer sends small pieces: one wait for about the rest of a block, not one for each.
        missing = self._wanted_bytes() - len(self._data)
        self._stopping.wait(min(limit_s, LOOK_EVERY_S, missing / (2 * self._channels * self._rate_hz)))
