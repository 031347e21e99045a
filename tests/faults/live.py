"""The real program in a process of its own, with everything that may fail around it.

Microphone: PulseAudio, fed from here. Hub: Mosquitto with TLS, password and access list, the network a proxy.
Phone: a web hook through Apprise. Speaker: PortAudio into a sound daemon of its own. Disk: one of its own,
which root can mount. Clock, sound card and names of hosts: ``below``.
"""

from __future__ import annotations

import fcntl
import os
import resource
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from monitor.detect.artifacts import default_folder
from tests import virtual_microphone
from tests.broker import Authority, Mosquitto, free_port, wait_until
from tests.faults import below, card, speaker
from tests.faults.below import Below
from tests.faults.card import Kind, SdCard
from tests.faults.household import FAULT_AFTER_S, HANG_OVER_S, KEEPALIVE_S, SOUNDER_AFTER_S, Household
from tests.faults.tasks import TaskLimit
from tests.faults.watcher import Watcher

ROOT = Path(__file__).parents[2]
DEVICE = "nursery"
USERS = {"monitor": "sesame", "hub": "hub"}
ACL = "user monitor\ntopic readwrite #\nuser hub\ntopic readwrite #\n"
DENYING = "user monitor\ntopic read #\ntopic write cradlewatch/nursery/health\nuser hub\ntopic readwrite #\n"
AS_ANOTHER_MACHINE = """
mount -t tmpfs none /sys/class/net  # the addresses of network devices tell machines apart
mount --bind "$1" /etc/machine-id
shift
exec "$@"
"""


def missing(kind: Kind = "ext4-1k") -> str:
    return virtual_microphone.ABSENT or below.MISSING or card.missing(kind)


def _as_flags(keys: Mapping[str, object]) -> Iterator[str]:
    for key, value in keys.items():
        yield "--set"
        yield f"{key}={value}"


class LiveHouse(Household):
    """Also a :class:`tests.faults.fault.House`."""

    def __init__(self, folder: Path, kind: Kind = "ext4-1k") -> None:
        super().__init__(folder, DEVICE)
        self._kind: Kind = kind
        self._stack = ExitStack()
        self.limit: TaskLimit | None = None
        self.callers: list[socket.socket] = []
        self._locks: list[sqlite3.Connection] = []
        self._twin: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._furnish(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _furnish(self, stack: ExitStack) -> None:
        self.authority = Authority.create(self.folder / "authority")
        broker = Mosquitto(self.folder / "broker", users=USERS, acl=ACL, authority=self.authority)
        self.furnish(stack, broker, authority=self.authority)
        self.microphone.name_devices("default", DEVICE)
        self.card = stack.enter_context(SdCard(self.folder / "sd", self._kind))
        self.below = Below(self.folder / "below")
        stack.callback(self.below.release)
        self.models = default_folder()
        self.artifacts = self.folder / "artifacts"
        shutil.copytree(self.models, self.artifacts)
        (self.folder / "password").write_text("sesame\n")
        self.state = self.card.path / DEVICE
        self.watcher = Watcher(self.state / "status.sock", self.hub, DEVICE)
        self.metrics_port, self.callback_port = free_port(), free_port()
        self._log_read = threading.Event()
        self._log_read.set()
        self.process = self._start()
        stack.callback(self.stop)

    def _start(self) -> subprocess.Popen[str]:
        kept = {
            key: value for key, value in os.environ.items() if key not in {"JOURNAL_STREAM", "NOTIFY_SOCKET"}
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "monitor", "run", *_as_flags(self._keys())],
            cwd=ROOT,
            env=kept
            | self.microphone.environment
            | self.below.environment
            | {"CRADLEWATCH_CONFIG": os.devnull},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        threading.Thread(target=self._read_log, args=(process,), name="log-reader", daemon=True).start()
        return process

    def start_twin(self) -> None:
        """The same settings, as on a cloned card, in another machine of the same house."""
        key = self.folder / "machine-id"
        key.write_text("0123456789abcdef0123456789abcdef\n")
        own = {
            "mqtt.port": self.broker.port,
            "service.state_dir": self.folder / "twin",
            "sounder.enabled": "false",
        }
        others = ("push.", "metrics.")
        keys = {k: v for k, v in (self._keys() | own).items() if not k.startswith(others)}
        another = ("unshare", "--mount", "sh", "-ec", AS_ANOTHER_MACHINE, "twin", key)
        self._twin = subprocess.Popen(
            [*another, sys.executable, "-m", "monitor", "run", *_as_flags(keys)],
            cwd=ROOT,
            env=os.environ | self.microphone.environment | {"CRADLEWATCH_CONFIG": os.devnull},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def stop_twin(self) -> None:
        if self._twin is not None:
            self._twin.kill()
            self._twin.wait(20)
            self._twin = None

    def _keys(self) -> dict[str, Any]:
        return {
            "device.id": DEVICE,
            "microphone.device": DEVICE,
            "microphone.rate_hz": 16_000,
            "mqtt.host": "localhost",
            "mqtt.port": self.proxy.port,
            "mqtt.tls": "true",
            "mqtt.ca_file": self.authority.ca_file,
            "mqtt.username": "monitor",
            "mqtt.password_file": self.folder / "password",
            "mqtt.keepalive_s": KEEPALIVE_S,
            "push.channels_file": self.channels,
            "push.fault_after_s": FAULT_AFTER_S,
            "push.callback_listen": f"127.0.0.1:{self.callback_port}",
            "push.callback_url": f"http://127.0.0.1:{self.callback_port}",
            "metrics.listen": f"127.0.0.1:{self.metrics_port}",
            "sounder.enabled": "true",
            "sounder.device": speaker.DEVICE,
            "sounder.after_s": SOUNDER_AFTER_S,
            "detect.hang_over_s": HANG_OVER_S,
            "detect.cool_down_s": 0,
            "service.state_dir": self.card.path,
            "service.disk_low_mb": 2,
            "detect.artifacts": self.artifacts,
        }

    def _read_log(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        with process.stderr:
            for line in process.stderr:
                self.watcher.log(line.rstrip("\n"))
                self._log_read.wait()

    # --- the port -----------------------------------------------------------------------------------

    def ways(self) -> dict[str, list[str]]:
        return self.watcher.ways()

    def is_well(self) -> bool:
        return self.watcher.is_well()

    def losses(self) -> list[str]:
        ended = [] if self.process.poll() is None else [f"process ({self.process.returncode})"]
        return [*ended, *self.watcher.losses()]

    def forget_losses(self) -> None:
        self.watcher.forget()

    # --- what faults need ---------------------------------------------------------------------------

    def capture_child(self) -> int:
        tasks = Path(f"/proc/{self.process.pid}/task")
        children = [
            int(child) for task in tasks.iterdir() for child in (task / "children").read_text().split()
        ]
        found = [child for child in children if b"capture" in Path(f"/proc/{child}/cmdline").read_bytes()]
        assert found, "there is no capture child"
        return found[0]

    def limit_tasks(self) -> None:
        """Not one thread more, and not one process, than there are now."""
        self.limit = TaskLimit(self.process.pid)
        self._stack.callback(self.limit.remove)
        self.limit.close_in()

    def unlimit_tasks(self) -> None:
        assert self.limit is not None
        self.limit.lift()

    def lock_databases(self) -> None:
        """Keep all databases of the state folder locked for writing, as long as it can be had."""
        for path in sorted(self.state.glob("*.sqlite")):
            database = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
            database.execute("BEGIN EXCLUSIVE")
            self._locks.append(database)

    def unlock_databases(self) -> None:
        while self._locks:
            database = self._locks.pop()
            database.execute("ROLLBACK")
            database.close()

    def read_log(self, *, read: bool) -> None:
        """Whether anybody reads what the service writes to stderr."""
        if read:
            self._log_read.set()
        else:
            self._log_read.clear()

    def block_log(self) -> None:
        """Nobody reads the log any more, and there is much to write: its pipe gets full."""
        self.read_log(read=False)
        assert self.process.stderr is not None
        fcntl.fcntl(self.process.stderr.fileno(), fcntl.F_SETPIPE_SZ, 4096)
        for _ in range(100):
            self.hub.publish(f"cradlewatch/{DEVICE}/set/hold", "nonsense")

    def limit_files(self, *, limited: bool) -> None:
        """No file more than are open can be opened: a new descriptor would have to be below 3."""
        _, hard = resource.prlimit(self.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(self.process.pid, resource.RLIMIT_NOFILE, (3 if limited else hard, hard))

    def end(self, how: signal.Signals = signal.SIGTERM) -> None:
        self.process.send_signal(how)
        self.process.wait(30)

    def restart(self, *, how: signal.Signals = signal.SIGTERM) -> None:
        self.stop_twin()
        self.end(how)
        self.below.shift(0.0)
        self.start()

    def start(self) -> None:
        self.process = self._start()

    def serve(
        self, *, certificate: str = "server", days: int = 2, authority: Authority | None = None
    ) -> None:
        """Restart the broker with a newly issued certificate."""
        self.broker.kill()
        issuer = self.authority if authority is None else authority
        made, key = issuer.issue(certificate, days=days)
        for path, name in ((made, "server.crt"), (key, "server.key")):
            if path != self.authority.folder / name:
                shutil.copyfile(path, self.authority.folder / name)
        self.broker.start()

    def allow(self, acl: str) -> None:
        (self.broker.folder / "acl").write_text(acl)
        self.broker.reload()

    def stop(self) -> None:
        self._log_read.set()
        self.unlock_databases()
        self.stop_twin()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        self.process.wait(20)

    def hears(self) -> bool:
        """Audio comes in, whatever else is wrong."""
        report = self.watcher.report()
        return bool(report.get("microphone_ok") and report.get("counters", {}).get("audio_s"))

    def wait_until_well(self) -> None:
        wait_until(self.is_well, f"well; it says {self.ways()}", 40)
