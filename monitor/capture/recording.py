"""A recording as a source: any file libsndfile reads, any rate, hours long in constant memory."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from monitor.capture.resample import Resampler
from monitor.capture.sound_reader import SoundFileReader
from monitor.capture.source import AudioSource, SourceState, SourceStats
from monitor.capture.timeline import Timeline
from monitor.types import SAMPLE_RATE_HZ, Block, EndOfStream, Gap, GapReason

FAST_BLOCK_S: Final = 4.0
PACED_BLOCK_S: Final = 0.24


class Recording(AudioSource):
    """16 kHz mono from a sound file, as fast as it is read or, ``real_time``, as a microphone would.

    ``channel`` counts from 0 and matters only where there are several: a mono file has one voice.
    ``block_s``: length of the blocks; they do not change the audio.

    Samples that are no numbers (NaN in a float file) become silence and are counted in the fault of
    :meth:`stats`: one of them must not cost the cry around it, which a gap would. Where nothing can
    be decoded, and where the file ends before its header says so, the stream has a DAMAGED gap.
    """

    def __init__(
        self,
        path: Path,
        *,
        channel: int = 0,
        real_time: bool = False,
        block_s: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], object] | None = None,
    ) -> None:
        self._path = path
        self._channel = channel
        self._real_time = real_time
        self._block_s = (PACED_BLOCK_S if real_time else FAST_BLOCK_S) if block_s is None else block_s
        self._clock = clock
        self._stopping = threading.Event()
        self._wait = self._stopping.wait if wait is None else wait
        self._timeline = Timeline()
        self._ready: deque[Block | Gap] = deque()
        self._file: SoundFileReader | None = None
        self._file_lock = threading.Lock()
        self._resampler = Resampler(SAMPLE_RATE_HZ)
        self._state = SourceState.STARTING
        self._began_s = 0.0
        self._last_block_s: float | None = None

    @property
    def duration_s(self) -> float | None:
        """Length by the header, known after ``start``; None where the header does not say."""
        return None if self._file is None else self._file.duration_s

    @override
    def start(self) -> None:
        """Open the file. Raises AudioFileError when it cannot be read, with the reason."""
        self._file = SoundFileReader(self._path, self._channel, takes_pipe=not self._real_time)
        self._resampler = Resampler(self._file.rate_hz)
        self._state = SourceState.RUNNING
        self._began_s = self._clock()

    @override
    def read(self, timeout_s: float) -> Block | Gap | EndOfStream | None:
        """As :meth:`AudioSource.read`; waits only when paced."""
        deadline_s = self._clock() + timeout_s if self._real_time else 0.0
        while not self._stopping.is_set():
            with self._file_lock:
                while not self._ready and self._state is SourceState.RUNNING:
                    self._decode()
            if not self._ready:
                return EndOfStream.END
            if not self._real_time:
                return self._hand_over()
            now_s = self._clock()
            # A microphone delivers a block when its last sample has sounded.
            due_s = self._began_s + self._ready[0].stop / SAMPLE_RATE_HZ
            if now_s >= due_s:
                return self._hand_over()
            if now_s >= deadline_s:
                return None
            self._wait(min(due_s, deadline_s) - now_s)
        return EndOfStream.END

    @override
    def began_at(self, now: datetime) -> datetime | None:
        """Let a recording that is read at full speed end now, as far as its length is known."""
        return None if self._real_time else now - timedelta(seconds=self.duration_s or 0.0)

    @override
    def stop(self, timeout_s: float) -> None:
        self._stopping.set()
        self._state = SourceState.ENDED
        with self._file_lock:  # libsndfile would crash if another thread is reading
            if self._file is not None:
                self._file.close()

    @override
    def stats(self) -> SourceStats:
        file, last_block_s = self._file, self._last_block_s
        return SourceStats(
            state=self._state,
            description=str(self._path) if file is None else file.description,
            samples=self._timeline.delivered,
            lost_samples=self._timeline.lost,
            overflows=0,
            restarts=0,
            waiting_s=0.0,
            last_block_age_s=None if last_block_s is None else max(0.0, self._clock() - last_block_s),
            fault="" if file is None else file.fault,
            better_channel=None if file is None else file.better_channel,
        )

    def _hand_over(self) -> Block | Gap:
        self._last_block_s = self._clock()
        return self._ready.popleft()

    def _decode(self) -> None:
        assert self._file is not None, "start() comes before read()"
        run = self._file.read(max(1, round(self._block_s * self._file.rate_hz)))
        if run is not None and self._file.rate_hz != self._resampler.rate_hz:
            # Joined recordings: another one begins.
            self._append(self._resampler.flush())
            self._resampler = Resampler(self._file.rate_hz)
        if run is None:
            self._append(self._resampler.flush())
            self._state = SourceState.ENDED
        elif isinstance(run, int):
            self._append(self._resampler.flush())
            self._append_gap(run)
        else:
            self._append(self._resampler.push(run))

    def _append(self, audio: NDArray[np.int16]) -> None:
        if len(audio):
            self._ready.append(self._timeline.block(audio))

    def _append_gap(self, n_missing: int) -> None:
        rate_hz = self._resampler.rate_hz
        length = round(n_missing * SAMPLE_RATE_HZ / rate_hz)
        if length:
            self._ready.append(self._timeline.gap(length, GapReason.DAMAGED))
        self._resampler = Resampler(rate_hz)
