"""A sink's thread: takes messages from its queue, retries what may pass, drops what never will."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog

from monitor.errors import ConfigError, PermanentSinkError, RetryableSinkError, SinkGoneError
from monitor.events.bus import MessageQueue, QueueStats
from monitor.messages import AnyMessage, EpisodeMessage, TelemetryMessage
from monitor.redaction import hide_credentials
from monitor.service.lifecycle import Deadline
from monitor.sinks.base import Role, Sink

log = structlog.get_logger(__name__)

TICK_EVERY_S: Final = 1.0
FIRST_BACK_OFF_S: Final = 0.25
LAST_BACK_OFF_S: Final = 15.0
LOG_EVERY_DROPS: Final = 100
CLOSING_SHARE: Final = 0.3
"""The part of the deadline that is kept for ``close``."""
OPENED_WITHIN_S: Final = 3.0
FIRST_PAUSE_S: Final = 5.0
LAST_PAUSE_S: Final = 300.0
"""Before a sink that only remembers and has failed is opened again."""
CLOSE_WITHIN: Final = 0.9
"""Of the time that is left then, what the sink is told it has."""


@dataclass(frozen=True, slots=True)
class WorkerStats:
    name: str
    delivered: int
    retries: int
    dropped: int
    """Given up: the sink said that another try is in vain, or the deadline passed."""
    fault: str
    """Why messages do not get through, empty while they do."""
    queue: QueueStats
    gone: bool = False
    """Nothing can be delivered any more, ever: whoever took the messages has left."""
    role: Role = Role.ALARMS


class SinkWorker:
    """Carries messages from one queue to one sink. Main opens and stops it, its thread does the rest.

    A sink that only remembers may fail in any way: it is closed, the failure is a fault, and after a pause it
    is opened again.
    """

    def __init__(
        self,
        sink: Sink,
        queue: MessageQueue,
        *,
        tick_every_s: float = TICK_EVERY_S,
        first_back_off_s: float = FIRST_BACK_OFF_S,
        last_back_off_s: float = LAST_BACK_OFF_S,
        first_pause_s: float = FIRST_PAUSE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sink = sink
        self._queue = queue
        self._tick_every_s = tick_every_s
        self._first_back_off_s = first_back_off_s
        self._last_back_off_s = last_back_off_s
        self._first_pause_s = first_pause_s
        self._clock = clock
        self._next_tick = clock()
        self._stopping = threading.Event()
        self._deadline: Deadline | None = None
        self._delivered = self._retries = self._dropped = 0
        self._gone = False
        self._failure = ""
        self._opening: threading.Thread | None = None
        self._refusal: BaseException | None = None

    @property
    def name(self) -> str:
        return self._sink.name

    @property
    def role(self) -> Role:
        return self._sink.role

    def open(self) -> None:
        """Raises ConfigError when the sink's configuration can never work.

        Main waits for it for a moment only: a file may lie on a disk that does not answer. A sink that only
        remembers is opened by its own thread.
        """
        self._sink.wakes(self._queue.wake)
        if self.role is Role.REMEMBERS:
            return
        self._opening = threading.Thread(target=self._open, name=f"open-{self.name}", daemon=True)
        self._opening.start()
        self._opening.join(OPENED_WITHIN_S)
        self._raise_refusal()

    def _open(self) -> None:
        try:
            self._sink.open()
        except BaseException as error:  # noqa: BLE001  - _raise_refusal raises it again
            self._refusal = error

    def _raise_refusal(self) -> None:
        try:
            if self._refusal is not None:
                raise self._refusal
        except PermanentSinkError as error:
            # At start it is the user's to correct (exit code 2), and no restart would help.
            raise ConfigError(error.message, error.remedy) from error

    def run(self) -> None:
        """The thread: deliver until stopped, then drain and close within the deadline."""
        if self.role is Role.ALARMS:
            self._run()
            return
        pause_s = self._first_pause_s
        while not self._remember() and not self._stopping.wait(pause_s):
            pause_s = min(2 * pause_s, LAST_PAUSE_S)

    def _remember(self) -> bool:
        """Work until stopped; False when the sink has failed before."""
        try:
            self._sink.open()
            self._failure = ""
            self._run()
        # Everything: what remembers must never take those along that alarm.
        except BaseException as error:
            log.exception("sink.failed", sink=self.name)
            mistake = f"{type(error).__name__}: {error}"
            self._failure = f"It has failed and will be tried again ({mistake}). Please report this."
            return False
        return True

    def _is_open(self) -> bool:
        """Wait for the sink to be opened; False when the stop comes first."""
        while self._opening is not None and self._opening.is_alive():
            self._opening.join(self._tick_every_s)
            if self._stopping.is_set():
                return False
        self._raise_refusal()
        return True

    def _run(self) -> None:
        if not self._is_open():
            return
        try:
            while not self._stopping.is_set():
                self._step()
            while self._sending_time_left_s() > 0 and (message := self._queue.get(0.0)) is not None:
                self._deliver(message)
        finally:
            self._close()

    def request_stop(self, deadline: Deadline) -> None:
        """Let the thread drain its queue and close the sink by ``deadline``. Any thread."""
        self._deadline = deadline
        self._stopping.set()
        self._queue.close()

    def stats(self) -> WorkerStats:
        """A snapshot; any thread may call it."""
        return WorkerStats(
            name=self.name,
            delivered=self._delivered,
            retries=self._retries,
            dropped=self._dropped,
            fault=hide_credentials(self._failure or self._sink.fault() or self._queue.fault()),
            queue=self._queue.stats(),
            gone=self._gone,
            role=self.role,
        )

    def _step(self) -> None:
        message = self._queue.get(max(0.0, self._next_tick - self._clock()))
        if message is None:
            self._tick()  # due, or the sink has heard something
        else:
            self._deliver(message)
            self._tick_when_due()

    def _tick_when_due(self) -> None:
        if self._clock() >= self._next_tick:
            self._tick()

    def _tick(self) -> None:
        self._next_tick = self._clock() + self._tick_every_s
        self._sink.tick()

    def _deliver(self, message: AnyMessage) -> None:
        """Offer ``message`` until it is taken, refused for good, or the deadline has passed."""
        back_off_s = self._first_back_off_s
        while True:
            try:
                self._sink.handle(message)
            except RetryableSinkError as error:
                if not self._try_again(message, error, back_off_s):
                    return
                back_off_s = min(2 * back_off_s, self._last_back_off_s)
            except PermanentSinkError as error:
                self._gone = self._gone or isinstance(error, SinkGoneError)
                self._drop(message, str(error))
                return
            else:
                self._delivered += 1
                return

    def _try_again(self, message: AnyMessage, error: RetryableSinkError, back_off_s: float) -> bool:
        """Wait before the next try; False when there is to be none."""
        if isinstance(message, TelemetryMessage):
            self._dropped += 1  # by the time of the next try it is stale, and a newer one waits
            return False
        if back_off_s == self._first_back_off_s:
            log.warning("sink.retrying", sink=self.name, error=str(error))
        self._retries += 1
        until = self._clock() + back_off_s
        while (left_s := until - self._clock()) > 0 and not self._stopping.is_set():
            self._stopping.wait(min(left_s, self._tick_every_s))
            self._tick_when_due()
        if self._stopping.is_set():
            if self._sending_time_left_s() <= 0:
                self._drop(message, str(error))
                return False
            # Stopping cuts the back-off short, but must not become a busy loop.
            time.sleep(min(self._first_back_off_s, self._sending_time_left_s()))
        return True

    def _drop(self, message: AnyMessage, reason: str) -> None:
        self._dropped += 1
        # A cry that is given up is always told; a level a second would fill the journal.
        if not isinstance(message, EpisodeMessage) and self._dropped % LOG_EVERY_DROPS != 1:
            return
        log.error("sink.dropped", sink=self.name, kind=message.kind, event_id=message.event_id, reason=reason)

    def _sending_time_left_s(self) -> float:
        """What is left for messages: closing has to have its part of the time."""
        assert self._deadline is not None, "only asked while stopping"
        return self._deadline.left_s() - CLOSING_SHARE * self._deadline.length_s

    def _close(self) -> None:
        left = self._queue.stats().depth
        if left and (self.role is Role.ALARMS or self._stopping.is_set()):
            self._dropped += left
            log.error("sink.undelivered", sink=self.name, messages=left, fault=self._sink.fault())
        # Without a deadline the thread is failing; the sink still releases what it holds. A sink that
        # takes all of its time, for a broker that froze, must not make the thread outlive the deadline.
        self._sink.close(1.0 if self._deadline is None else CLOSE_WITHIN * self._deadline.left_s())
