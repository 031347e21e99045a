"""The service within this process: all real, and a hand on what no process gives away."""

from __future__ import annotations

import contextlib
import mmap
import os
import select
import socket
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import pytest
import structlog

from monitor.config import (
    Config,
    DetectConfig,
    DeviceConfig,
    JsonlConfig,
    MqttConfig,
    PushConfig,
    ServiceConfig,
    SounderConfig,
)
from monitor.events.bus import MessageQueue
from monitor.service.app import build_service
from monitor.service.machine import Machine
from monitor.service.service import Service
from monitor.service.state_folder import open_state_folder
from monitor.types import DetectorOutput
from tests import virtual_microphone
from tests.broker import Mosquitto, wait_until
from tests.faults import speaker
from tests.faults.household import FAULT_AFTER_S, HANG_OVER_S, KEEPALIVE_S, SOUNDER_AFTER_S, Household
from tests.faults.watcher import Watcher

DEVICE = "office"
TEMPERATURE = Path("sys/class/thermal/thermal_zone0/temp")
FIRMWARE = Path("sys/devices/platform/soc/soc:firmware/get_throttled")
VOLTAGE = Path("sys/class/hwmon/hwmon1")


def missing() -> str:
    return virtual_microphone.ABSENT


class OfficeHouse(Household):
    """Also a :class:`tests.faults.fault.House`.

    ``on_hop`` is called on the detector's thread with all that it says, ``fault`` on main once a second.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, DEVICE)
        self._stack = ExitStack()
        self._release = threading.Event()
        self.exit_code: int | None = None
        self.pings = 0
        self.fed_while_stuck = False
        self.ballast: mmap.mmap

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._furnish(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _furnish(self, stack: ExitStack) -> None:
        self.furnish(stack, Mosquitto(self.folder / "broker"))
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        for name, value in self.microphone.environment.items():
            patch.setenv(name, value)
        self.fifo = self.folder / "events"
        os.mkfifo(self.fifo)
        self._reading = threading.Lock()
        self._read_events = threading.Event()
        self._read_events.set()
        self._fifo = os.open(self.fifo, os.O_RDWR | os.O_NONBLOCK)
        stack.callback(os.close, self._fifo)
        threading.Thread(target=self._take_events, name="event-reader", daemon=True).start()
        self._lay_machine()
        self._listen_as_manager(stack)
        self.start()
        stack.callback(self.stop)

    def _lay_machine(self) -> None:
        root = self.folder / "machine"
        for path, text in ((TEMPERATURE, "51540"), (FIRMWARE, "0"), (VOLTAGE / "name", "rpi_volt")):
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text + "\n")
        (root / VOLTAGE / "in0_lcrit_alarm").write_text("0\n")

    def lay(self, path: Path, text: str) -> None:
        """Let the machine say something else."""
        (self.folder / "machine" / path).write_text(text + "\n")

    def _listen_as_manager(self, stack: ExitStack) -> None:
        self._manager = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        address = f"@cradlewatch-office-{os.getpid()}-{id(self)}"
        self._manager.bind("\0" + address[1:])
        os.environ["NOTIFY_SOCKET"] = address
        stack.callback(os.environ.pop, "NOTIFY_SOCKET", None)
        threading.Thread(target=self._count_pings, name="manager", daemon=True).start()

    def _count_pings(self) -> None:
        while True:
            try:
                if b"WATCHDOG=1" in self._manager.recv(4096):
                    self.pings += 1
            except OSError:
                return

    def start(self) -> None:
        config = Config(
            device=DeviceConfig(id=DEVICE),
            detect=DetectConfig(hang_over_s=HANG_OVER_S, cool_down_s=0.0),
            mqtt=MqttConfig(host="localhost", port=self.proxy.port, keepalive_s=KEEPALIVE_S),
            jsonl=JsonlConfig(path=self.fifo),
            push=PushConfig(channels_file=self.channels, fault_after_s=FAULT_AFTER_S),
            sounder=SounderConfig(enabled=True, device=speaker.DEVICE, after_s=SOUNDER_AFTER_S),
            service=ServiceConfig(memory_mb=100_000, stop_timeout_s=3.0),
        )
        self._release.clear()
        self._on_hop = self._on_look = lambda: None
        state = open_state_folder(self.folder / "state")
        self.service: Service = build_service(
            config,
            state=state,
            machine=Machine(self.folder / "machine"),
            on_output=self._output,
            faults=[self._fault],
        )
        self.exit_code = None
        self.watcher = Watcher(self.folder / "state" / "status.sock", self.hub, DEVICE)
        self._thread = threading.Thread(target=self._run, name="office", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self.exit_code = self.service.run()

    def _output(self, _output: DetectorOutput) -> None:
        self._on_hop()

    def _fault(self) -> str:
        # Whoever asks for the status comes by here as well.
        if threading.current_thread() is self._thread:
            self._on_look()
        return ""

    def ways(self) -> dict[str, list[str]]:
        ended = [] if self.exit_code is None else [f"ended with exit code {self.exit_code}"]
        return {**self.watcher.ways(), "exit": ended}

    def is_well(self) -> bool:
        return self.exit_code is None and self.watcher.is_well()

    def losses(self) -> list[str]:
        ended = [] if self.exit_code is None else ["process"]
        return [*ended, *self.watcher.losses()]

    def forget_losses(self) -> None:
        self.watcher.forget()

    # --- what faults need ---------------------------------------------------------------------------

    def _take_events(self) -> None:
        while True:
            self._read_events.wait()
            try:
                with self._reading:
                    if self._read_events.is_set():
                        select.select([self._fifo], [], [], 0.2)
                        os.read(self._fifo, 65_536)
            except BlockingIOError:
                continue
            except OSError:
                return

    def read_events(self, *, read: bool) -> None:
        """Whether anybody reads the event log."""
        if read:
            self._read_events.set()
        else:
            self._read_events.clear()

    def fill_event_log(self) -> None:
        """Nobody reads it any more, and not a byte fits into its pipe."""
        self.read_events(read=False)
        for size in (4096, 1):
            with self._reading, contextlib.suppress(BlockingIOError):
                while os.write(self._fifo, b"\n" * size):
                    pass

    def event_log_queue(self) -> MessageQueue:
        return next(worker._queue for worker in self.service._workers if worker.name == "jsonl")

    def each_hop(self, action) -> None:
        self._on_hop = action

    def each_look(self, action) -> None:
        self._on_look = action

    def hang(self) -> None:
        """Wait until :meth:`release`."""
        self._release.wait()

    def release(self) -> None:
        self._on_hop = self._on_look = lambda: None
        self._release.set()

    def restart(self) -> None:
        """As the service manager would."""
        self.stop()
        self.start()

    def stop(self) -> None:
        self.release()
        self.service.request_stop()
        self._thread.join(20)
        structlog.get_logger(__name__).debug("office.stopped")

    def wait_until_well(self) -> None:
        wait_until(self.is_well, f"well; it says {self.ways()}", 40)
