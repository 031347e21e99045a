"""Importing does nothing but define, and the service carries only what it needs."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

IMPORT_ALL = """
import json, logging, os, pkgutil, signal, sys, threading, warnings
seen = []
EVENTS = "socket.__new__", "socket.connect", "subprocess.Popen", "os.fork", "_thread.start_new_thread"
WRITING = os.O_WRONLY | os.O_RDWR
def hook(event, args):
    if event in EVENTS:
        seen.append(event)
    elif event == "open" and args[2] & WRITING and args[0] != os.devnull:
        seen.append(f"writes {args[0]}")
before = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)]
sys.addaudithook(hook)
import monitor
names = [m.name for m in pkgutil.walk_packages(monitor.__path__, "monitor.")]
by_module = {}
for name in names:
    seen.clear()
    __import__(name)
    if seen:
        by_module[name] = list(seen)
print(json.dumps({
    "names": names,
    "effects": by_module,
    "threads": [t.name for t in threading.enumerate()],
    "handlers": len(logging.getLogger().handlers),
    "signals": before == [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)],
    "torch": "torch" in sys.modules,
}))
"""

IMPORT_RUN = """
import json, sys
import monitor.cli
import monitor.cli.run
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


def python(program: str):
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_importing_every_module_has_no_effects():
    report = python(IMPORT_ALL)
    assert "monitor.service.app" in report["names"]
    assert report["effects"] == {}
    assert report["threads"] == ["MainThread"]
    assert report["handlers"] == 0
    assert report["signals"]
    assert not report["torch"]


def test_the_service_does_not_carry_what_only_other_commands_need():
    loaded = python(IMPORT_RUN)
    assert "onnxruntime" in loaded
    for library in ("rich", "amqtt", "apprise", "soundfile", "sounddevice", "torch", "scipy"):
        assert library not in loaded, library
