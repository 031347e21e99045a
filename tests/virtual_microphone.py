"""A microphone without hardware: PulseAudio as a private daemon that PortAudio records from.

::

    with VirtualMicrophone(tmp_path) as microphone:                  # kind="sink" or kind="pipe"
        service = Popen([...], env=os.environ | microphone.environment)
        microphone.play(tmp_path / "cry.wav")                        # returns when it has been played
        microphone.freeze(); microphone.thaw()                       # SIGSTOP, SIGCONT of the daemon
        microphone.kill(); microphone.restart()                      # SIGKILL, a new daemon
        microphone.stall(); microphone.resume()                      # pipe only: its source falls silent

PortAudio sees one input device, ``default``. Kind ``sink`` is a null sink whose monitor is the
microphone: any number of ``play`` may overlap; a clip should begin with 0.1 s of silence, for PulseAudio
swallows the first 20 ms of what is played into a silent null sink. Kind ``pipe`` is fed sample by
sample from a thread here, exactly and without conversion: it takes arrays (``feed``) and can have
several channels. What it hears when nothing is fed is silence, or a ``background`` that is repeated.

Every daemon has its own runtime folder and its own process group, and is killed with it on the way
out. ``virtual_microphone`` and ``pipe_microphone`` are pytest fixtures that also set the environment
of the test process; they skip where PulseAudio is absent.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import queue
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, Self

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

READY_WITHIN_S = 60.0
FEED_S = 0.02
DAEMON_FLAGS = ("--daemonize=no", "--exit-idle-time=-1", "--use-pid-file=no", "--disable-shm=yes")

MISSING = [tool for tool in ("pulseaudio", "pactl", "paplay") if shutil.which(tool) is None]
ABSENT = f"no virtual microphone: {', '.join(MISSING)} missing (make test installs it)" if MISSING else ""


class VirtualMicrophone:
    """A PulseAudio daemon that lives in ``folder`` as long as the ``with`` block."""

    def __init__(
        self,
        folder: Path,
        kind: Literal["sink", "pipe"] = "sink",
        *,
        channels: int = 1,
        rate_hz: int = 16_000,
        background: NDArray[np.int16] | None = None,
    ) -> None:
        self.kind = kind
        self._background = background
        self.channels = channels
        self.rate_hz = rate_hz
        # A UNIX socket's path has at most 107 bytes, and pytest's folders are long.
        self._folder = Path(tempfile.mkdtemp(prefix="mic-"))
        self.beside = ""
        """ALSA's lines for a device of another daemon; counts when devices are named or the daemon starts."""
        self._log = folder / "pulseaudio.log"
        self._daemon: subprocess.Popen[bytes] | None = None
        self._feeder: _Feeder | None = None

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs in its environment to record from this microphone."""
        folder = self._folder
        return {
            "HOME": str(folder),
            "XDG_RUNTIME_DIR": str(folder / "run"),
            "PULSE_RUNTIME_PATH": str(folder / "run" / "pulse"),
            "PULSE_STATE_PATH": str(folder / "state"),
            "PULSE_SERVER": f"unix:{folder / 'run' / 'pulse' / 'native'}",
            "PULSE_CLIENTCONFIG": str(folder / "client.conf"),
            "ALSA_CONFIG_PATH": str(folder / "asound.conf"),
        }

    def __enter__(self) -> Self:
        for name in ("run/pulse", "state"):
            (self._folder / name).mkdir(parents=True)
        # Without this a client silently starts a killed daemon again.
        (self._folder / "client.conf").write_text("autospawn = no\n")
        # Nothing of the machine's own ALSA set-up: its plug-ins differ from one to the next.
        self.name_devices("default")
        (self._folder / "mic.pa").write_text(self._script())
        try:
            self.restart()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _script(self) -> str:
        lines = ["load-module module-native-protocol-unix auth-anonymous=1"]
        form = f"rate={self.rate_hz} channels={self.channels} format=s16le"
        if self.kind == "sink":
            lines += [f"load-module module-null-sink sink_name=room {form}", "set-default-sink room"]
            lines += ["set-default-source room.monitor"]
        else:
            lines += [f"load-module {self._pipe()}"]
            lines += ["set-default-source mic"]
        return "\n".join(lines) + "\n"

    def _pipe(self) -> str:
        form = f"rate={self.rate_hz} channels={self.channels} format=s16le"
        return f"module-pipe-source source_name=mic file={self._folder / 'mic.fifo'} {form}"

    def _feed(self) -> None:
        self._feeder = _Feeder(self._folder / "mic.fifo", self.channels, self.rate_hz, self._background)

    def restart(self) -> None:
        """Start a daemon and wait until it answers. The former one must be gone."""
        assert self._daemon is None
        fifo = self._folder / "mic.fifo"
        fifo.unlink(missing_ok=True)  # the module insists on making it
        with self._log.open("ab") as log:
            self._daemon = subprocess.Popen(
                ["pulseaudio", "-n", "-F", str(self._folder / "mic.pa"), *DAEMON_FLAGS],
                env=os.environ | self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + READY_WITHIN_S
        while self._client("pactl", "info").returncode != 0:
            if self._daemon.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PulseAudio does not start: {self._log.read_text()}")
            time.sleep(0.05)
        if self.kind == "pipe":
            self._feed()

    def _client(self, *command: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            command, env=os.environ | self.environment, capture_output=True, timeout=60, check=False
        )

    def play(self, path: Path) -> None:
        """Play a sound file into the microphone and wait until it is over."""
        if self.kind == "pipe":
            samples, rate_hz = soundfile.read(path, dtype="int16")
            assert rate_hz == self.rate_hz
            self.feed(samples)
            return
        played = self._client("paplay", "--latency-msec=50", str(path))
        assert played.returncode == 0, played.stderr

    def feed(
        self,
        samples: NDArray[np.int16],
        *,
        wait: bool = True,
        on_entered: Callable[[float], None] | None = None,
    ) -> None:
        """Pipe only: record ``samples`` (int16, shape (n,) or (n, channels)) in real time.

        ``on_entered`` is told the monotonic time at which the first sample enters the microphone.
        """
        assert self._feeder is not None, "only a pipe microphone is fed"
        self._feeder.feed(samples, on_entered)
        if wait:
            self._feeder.wait_until_fed(len(samples) / self.rate_hz + 20)

    def hush(self) -> None:
        """Pipe only: forget what was fed and has not entered yet."""
        if self._feeder is not None:
            self._feeder.hush()

    def hear(self, background: NDArray[np.int16] | None) -> None:
        """Pipe only: from now on hear ``background`` over and over; None: what it heard at first."""
        assert self._feeder is not None, "only a pipe microphone has a background"
        self._feeder.hear(self._background if background is None else background)

    def pace(self, factor: float) -> None:
        """Pipe only: deliver ``factor`` seconds of audio a second, as one at a wrong rate does."""
        assert self._feeder is not None, "only a pipe microphone has a pace"
        self._feeder.period_s = FEED_S / factor

    def mute(self, *, muted: bool) -> None:
        """Mute it in the sound system, which goes on to deliver zeros."""
        assert self._client("pactl", "set-source-mute", "@DEFAULT_SOURCE@", str(int(muted))).returncode == 0

    def unplug(self) -> None:
        """Pipe only: take the source away; the daemon lives on."""
        assert self._feeder is not None, "only a pipe microphone is unplugged"
        self._feeder.close()
        self._feeder = None
        assert self._client("pactl", "unload-module", "module-pipe-source").returncode == 0

    def plug_in(self) -> None:
        assert self._feeder is None
        assert self._client("pactl", "load-module", *self._pipe().split()).returncode == 0
        assert self._client("pactl", "set-default-source", "mic").returncode == 0
        self._feed()

    def name_devices(self, *names: str) -> None:
        """From now on PortAudio lists these devices, all of them this microphone, in this order."""
        devices = (f'pcm.{name} {{ type pulse hint {{ show on description "mic" }} }}\n' for name in names)
        lines = [*devices, self.beside, "ctl.default { type pulse }\n"]
        (self._folder / "asound.conf").write_text("".join(lines))

    def stall(self) -> None:
        """Pipe only: deliver nothing at all, as a frozen USB microphone does."""
        assert self._feeder is not None, "only a pipe microphone stalls"
        self._feeder.running.clear()

    def resume(self) -> None:
        assert self._feeder is not None
        self._feeder.running.set()

    def freeze(self) -> None:
        """SIGSTOP the daemon: its clients get no answer and no error."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL the daemon. Harmless when it is gone already."""
        if self._feeder is not None:
            self._feeder.close()
            self._feeder = None
        if self._daemon is not None:
            with contextlib.suppress(ProcessLookupError):
                self._signal(signal.SIGKILL)
            self._daemon.wait(timeout=20)
            self._daemon = None

    def _signal(self, number: signal.Signals) -> None:
        assert self._daemon is not None
        os.killpg(self._daemon.pid, number)


class _Feeder:
    """Writes the background, or what was fed, into the pipe source in real time."""

    def __init__(self, fifo: Path, channels: int, rate_hz: int, background: NDArray[np.int16] | None) -> None:
        self._n_bytes = 2 * channels * round(FEED_S * rate_hz)
        self.period_s = FEED_S
        self.hear(background)
        # Read and write, so that opening does not wait for the daemon and its death is no EPIPE.
        self._descriptor = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
        self._chunks: queue.Queue[tuple[bytes, Callable[[float], None] | None]] = queue.Queue()
        self._closing = threading.Event()
        self.running = threading.Event()
        self.running.set()
        self._thread = threading.Thread(target=self._run, name="microphone-feeder")
        self._thread.start()

    def feed(self, samples: NDArray[np.int16], on_entered: Callable[[float], None] | None) -> None:
        for chunk in self._cut(samples):
            self._chunks.put((chunk, on_entered))
            on_entered = None

    def hear(self, background: NDArray[np.int16] | None) -> None:
        silence = np.zeros(self._n_bytes // 2, np.int16)
        self._background = itertools.cycle(self._cut(silence if background is None else background))

    def hush(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                self._chunks.get_nowait()

    def _cut(self, samples: NDArray[np.int16]) -> Iterator[bytes]:
        data = samples.astype("<i2", casting="equiv").tobytes()
        for start in range(0, len(data), self._n_bytes):
            yield data[start : start + self._n_bytes].ljust(self._n_bytes, b"\0")

    def wait_until_fed(self, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while not self._chunks.empty():
            assert time.monotonic() < deadline, "the virtual microphone takes no audio"
            time.sleep(FEED_S)

    def close(self) -> None:
        self._closing.set()
        self._thread.join(timeout=20)
        os.close(self._descriptor)

    def _run(self) -> None:
        due_s = time.monotonic()
        while not self._closing.wait(max(0.0, due_s - time.monotonic())):
            due_s = max(due_s + self.period_s, time.monotonic() - 0.2)
            if not self.running.is_set():
                continue
            try:
                chunk, on_entered = self._chunks.get_nowait()
            except queue.Empty:
                chunk, on_entered = next(self._background), None
            if on_entered is not None:
                # What is written now was heard while the chunk lasted, which ends now.
                on_entered(time.monotonic() - FEED_S)
            # Full while the daemon is frozen or gone: those samples are lost, as in a real room.
            with contextlib.suppress(BlockingIOError):
                os.write(self._descriptor, chunk)


@contextlib.contextmanager
def plugged_in(
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    kind: Literal["sink", "pipe"] = "sink",
    *,
    channels: int = 1,
    rate_hz: int = 16_000,
) -> Iterator[VirtualMicrophone]:
    """A virtual microphone that this process and its children record from."""
    if ABSENT:
        pytest.skip(ABSENT)
    with VirtualMicrophone(folder, kind, channels=channels, rate_hz=rate_hz) as microphone:
        for name, value in microphone.environment.items():
            monkeypatch.setenv(name, value)
        yield microphone


@pytest.fixture
def virtual_microphone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[VirtualMicrophone]:
    with plugged_in(monkeypatch, tmp_path) as microphone:
        yield microphone


@pytest.fixture
def pipe_microphone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[VirtualMicrophone]:
    with plugged_in(monkeypatch, tmp_path, "pipe") as microphone:
        yield microphone
