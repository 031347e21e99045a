"""The microphone as a source: a child process that may be lost at any time, and always comes back.

One thread reads; ``stop`` and ``stats`` may be called from any.

The microphone is judged by one thing alone, the written-counter of the ring with its monotonic stamp:
PortAudio says nothing when a cable is pulled or a sound daemon freezes. Nothing new for the stall
limit, or a dead child, means: kill it, announce the loss, start another one, for ever (when:
:mod:`monitor.capture.retry`). A gap is sent when the loss is noticed and about every second while it
lasts, so the stream keeps pace with time.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from monitor.capture.channels import better_channel
from monitor.capture.child import has_sound_server
from monitor.capture.child_process import CaptureChild, DeviceRequest
from monitor.capture.resample import Resampler
from monitor.capture.retry import Look, Retry, RetryLimits, sound_devices
from monitor.capture.source import AudioSource, SourceState, SourceStats
from monitor.capture.timeline import Outage, Timeline
from monitor.errors import ConfigError, DeviceError, DeviceLostError, DeviceNotFoundError
from monitor.types import SAMPLE_RATE_HZ, Block, EndOfStream, Gap, GapReason, samples

SHORTEST_WAIT_S: Final = 0.02
LOOK_EVERY_S: Final = 0.05
JITTER_S: Final = 0.005
SUSPICIOUS_AGE_S: Final = 0.3
"""A child whose last write is younger is alive: no need to ask the kernel at every block."""


@dataclass(frozen=True, slots=True)
class MicrophoneLimits:
    """When the microphone counts as lost, and when it is looked for again.

    ``opened_within_s`` runs from the start of a child to its first audio: sound daemons need up to two
    seconds. ``stalled_after_s`` runs from the last audio; several times the longest block.
    """

    opened_within_s: float = 6.0
    stalled_after_s: float = 1.5
    retry: RetryLimits = field(default_factory=RetryLimits)


class Microphone(AudioSource):
    """16 kHz mono from an input device.

    ``block_s``: length of the blocks delivered, if the caller waits that long; a hop of the detector.
    ``wait_for_device``: ``start`` does not insist on a device; until it appears there are only gaps.
    """

    def __init__(
        self,
        request: DeviceRequest | None = None,
        limits: MicrophoneLimits | None = None,
        *,
        block_s: float = 0.24,
        wait_for_device: bool = False,
        clock: Callable[[], float] = time.monotonic,
        spawn: Callable[[DeviceRequest], CaptureChild] = CaptureChild,
        look: Look = sound_devices,
    ) -> None:
        self._request = DeviceRequest() if request is None else request
        self._limits = MicrophoneLimits() if limits is None else limits
        self._block = samples(block_s)
        self._wait_for_device = wait_for_device
        self._clock = clock
        self._spawn = spawn
        self._stopping = threading.Event()
        self._timeline = Timeline()
        self._ready: deque[Block | Gap] = deque()
        self._child: CaptureChild | None = None
        self._dying: list[CaptureChild] = []
        self._resampler = Resampler(SAMPLE_RATE_HZ)
        self._block_due = self._block
        self._outage: Outage | None = None
        self._last_audio_s: float | None = None
        self._recovered_s = 0.0
        self._retry = Retry(self._limits.retry, look)
        self._state = SourceState.STARTING
        self._fault = ""
        self._description = "microphone"
        self._device = ""
        self._overflows = 0
        self._restarts = 0

    # --- the port ---------------------------------------------------------------------------------

    @override
    def start(self) -> None:
        """Start the capture child and wait until the device is open.

        Raises DeviceNotFoundError or ConfigError when it cannot be. A device that is only busy and a
        sound daemon that does not answer are waited for in :meth:`read`.
        """
        self._launch(self._clock())
        while (child := self._child) is not None and not child.description:
            try:
                child.check(self._clock(), self._limits.opened_within_s)
            except (ConfigError, DeviceError) as error:
                never = isinstance(error, ConfigError | DeviceNotFoundError)
                if never and not self._wait_for_device:
                    self.stop(0)
                    raise
                self._lose(error)
            else:
                self._description = child.description or self._description
                self._stopping.wait(0 if child.description else SHORTEST_WAIT_S)

    @override
    def read(self, timeout_s: float) -> Block | Gap | EndOfStream | None:
        deadline_s = self._clock() + timeout_s
        while not self._stopping.is_set():
            now_s = self._clock()
            if not self._ready:
                self._advance(now_s)
            if self._ready:
                return self._ready.popleft()
            if now_s >= deadline_s:
                return None
            self._stopping.wait(min(deadline_s - now_s, self._wait_s(now_s)))
        return EndOfStream.END

    @override
    def stop(self, timeout_s: float) -> None:
        self._stopping.set()
        self._release_child()

    @override
    def stats(self) -> SourceStats:
        last_audio_s, child = self._last_audio_s, self._child
        return SourceStats(
            state=SourceState.ENDED if self._stopping.is_set() else self._state,
            description=self._description,
            samples=self._timeline.delivered,
            lost_samples=self._timeline.lost,
            overflows=self._overflows + (0 if child is None else child.ring.overflows),
            restarts=self._restarts,
            waiting_s=0.0 if child is None else child.ring.waiting_s,
            last_block_age_s=None if last_audio_s is None else max(0.0, self._clock() - last_audio_s),
            fault=self._fault,
            better_channel=None if child is None else better_channel(child.ring.moved, self._request.channel),
        )

    # --- one step ---------------------------------------------------------------------------------

    def _advance(self, now_s: float) -> None:
        """Put what has happened by ``now_s`` into ``_ready``."""
        child = self._child
        if child is None:
            if self._retry.is_due(now_s):
                self._restarts += 1
                self._launch(now_s)
        else:
            try:
                self._listen(child, now_s)
            except (ConfigError, DeviceError) as error:
                self._lose(error)
        if self._outage is not None:
            self._announce(self._outage.due(now_s))

    def _listen(self, child: CaptureChild, now_s: float) -> None:
        """Take what ``child`` has. Raises the reason to give it up, if there is one."""
        ring = child.ring
        if not child.description or ring.written == 0:
            child.check(now_s, self._limits.opened_within_s)
            return
        self._last_audio_s = last_audio_s = ring.stamp_ns / 1e9
        if self._state is not SourceState.RUNNING:
            self._recover(child, last_audio_s)
        if ring.available >= max(1, self._resampler.still_needed(self._block_due)):
            self._deliver(child)
            return
        age_s = now_s - last_audio_s
        if age_s > self._limits.stalled_after_s:
            raise DeviceLostError(f"The microphone stopped delivering ({child.description}).")
        if age_s > SUSPICIOUS_AGE_S:
            child.check(now_s, self._limits.opened_within_s)

    def _deliver(self, child: CaptureChild) -> None:
        lost, data = child.ring.read(child.ring.available)
        if lost:
            self._append(self._resampler.flush())
            self._announce(round(lost * SAMPLE_RATE_HZ / child.ring.rate_hz), GapReason.OVERRUN)
            self._begin_run(child.ring.rate_hz)
        self._append(self._resampler.push(np.frombuffer(data, np.int16)))

    def _append(self, audio: NDArray[np.int16]) -> None:
        if len(audio) == 0:
            return
        self._ready.append(self._timeline.block(audio))
        # Aim at multiples of the block's length: else a hop may wait a whole block for a few samples.
        self._block_due = (self._resampler.given // self._block + 1) * self._block

    def _announce(self, length: int, reason: GapReason = GapReason.DEVICE_LOST) -> None:
        if length > 0:
            self._ready.append(self._timeline.gap(length, reason))

    def _begin_run(self, rate_hz: int) -> None:
        self._resampler = Resampler(rate_hz)
        self._block_due = self._block

    def _wait_s(self, now_s: float) -> float:
        """Time until something new can be there: one wait for a whole block, no spinning."""
        child = self._child
        if child is None or self._state is not SourceState.RUNNING:
            return LOOK_EVERY_S
        # The child writes in blocks of its own: waking up between two of them would find nothing.
        child_block_s = self._request.block_s
        missing_s = (
            self._resampler.still_needed(self._block_due) - child.ring.available
        ) / child.ring.rate_hz
        due_s = child.ring.stamp_ns / 1e9 + math.ceil(missing_s / child_block_s) * child_block_s
        return max(SHORTEST_WAIT_S, due_s + JITTER_S - now_s)

    # --- loss and recovery ------------------------------------------------------------------------

    def _launch(self, now_s: float) -> None:
        self._dying = [child for child in self._dying if not child.kill()]
        try:
            self._child = self._spawn(self._wanted())
        except DeviceError as error:
            self._lose(error)
            return
        self._child.started_s = now_s
        if self._stopping.is_set():  # stop() came from another thread while we were spawning
            self._release_child()

    def _wanted(self) -> DeviceRequest:
        """An index means what it meant at first: plugged in again, the microphone may have got another."""
        if isinstance(self._request.device, int) and self._device:
            return replace(self._request, device=self._device)
        return self._request

    def _recover(self, child: CaptureChild, last_audio_s: float) -> None:
        rate_hz = child.ring.rate_hz
        if self._outage is not None:
            self._announce(self._outage.close(last_audio_s - child.ring.written / rate_hz))
            self._outage = None
        self._begin_run(rate_hz)
        self._state = SourceState.RUNNING
        self._description = child.description
        self._device = child.device
        self._fault = ""
        self._recovered_s = last_audio_s

    def _lose(self, reason: ConfigError | DeviceError) -> None:
        """Give the child up, deliver what it left behind, and plan the next one."""
        now_s = self._clock()
        if self._state is SourceState.RUNNING:
            if self._child is not None:
                self._deliver(self._child)
            self._append(self._resampler.flush())
            self._retry.succeeded(lasted=now_s - self._recovered_s > self._limits.retry.quick_s)
        self._release_child()
        if self._outage is None:
            self._outage = Outage(now_s if self._last_audio_s is None else self._last_audio_s)
            self._announce(self._outage.begin(now_s))
        self._state = SourceState.LOST
        self._fault = str(reason)
        signs = isinstance(reason, DeviceNotFoundError) and not has_sound_server(os.environ)
        self._retry.failed(now_s, signs=signs)

    def _release_child(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            self._overflows += child.ring.overflows
            if not child.kill():
                self._dying.append(child)
