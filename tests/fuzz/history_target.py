"""The memory of the nights: damaged as the outbox is, then written on and read by ``cradlewatch report``."""

from __future__ import annotations

import argparse
import contextlib
import io
import random
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

from typing_extensions import override

from monitor.cli import report
from monitor.errors import MonitorError
from monitor.messages import HealthMessage, TelemetryMessage, TestMessage
from monitor.sinks.history import HistorySettings, HistorySink
from monitor.sinks.history_file import FILE_NAME, TABLES
from tests.fuzz.mutate import any_value
from tests.fuzz.sqlite_target import Given, any_damage, laid_down, of_folder
from tests.fuzz.state_target import NOW, episode
from tests.fuzz.target import Target

WRITTEN_WITHIN_S = 60.0


@cache
def _seed() -> bytes:
    return of_folder(lambda path: _live(HistorySink(HistorySettings(path.parent))), FILE_NAME)


def _live(sink: HistorySink) -> None:
    sink.open()
    sink.tick()
    for second in range(0, 600, 20):
        at = NOW + timedelta(seconds=second)
        head = {"event_id": f"m{second}", "device": "nursery", "time": at}
        sink.handle(
            TelemetryMessage(
                **head,
                level_dbfs=-50.0,
                peak_dbfs=-40.0,
                noise_floor_dbfs=-60.0,
                score=0.1,
                active=False,
                crying=False,
            )
        )
    sink.handle(episode("started", 1))
    sink.handle(episode("ended", 1))
    sink.handle(TestMessage(event_id="t", device="nursery", time=NOW, source="daily"))
    sink.handle(
        HealthMessage(
            event_id="h",
            device="nursery",
            time=NOW,
            state="fault",
            reasons=["The microphone delivers no audio: it is gone."],
            microphone_ok=False,
            signal_ok=True,
            uptime_s=1.0,
            version="1",
            counters={"audio_lost_s": 1.0},
        )
    )
    sink.tick()
    sink.close(WRITTEN_WITHIN_S)  # what looks at the file next must not find its writer at work


class HistoryTarget(Target):
    name = "history"
    share = 3_000
    limit_s = 30.0

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        (folder / "empty.toml").write_text("")
        self._parser = argparse.ArgumentParser()
        report.add_arguments(self._parser)

    @override
    def make(self, rng: random.Random) -> Given:
        return any_damage(_seed(), dict(TABLES), _cell, rng)

    @override
    def feed(self, given: Given) -> str:
        folder = self.folder / "state" / "nursery"
        folder.parent.mkdir(exist_ok=True)
        laid_down(given, folder, FILE_NAME)
        said = self._report()
        sink = HistorySink(HistorySettings(folder))
        _live(sink)
        fault = sink.fault()
        # A cell that cannot be read is said, night for night, and left for whoever wants to save the rest.
        return said or fault or self._report()

    def _report(self) -> str:
        """What ``cradlewatch report`` says when it cannot tell of a night."""
        settings = ("--set", f"service.state_dir={self.folder / 'state'}", "--set", "device.id=nursery")
        config = ("--config", str(self.folder / "empty.toml"))
        for form in ((), ("--json",), ("--last", "3")):
            try:
                with contextlib.redirect_stdout(io.StringIO()):
                    report.run(self._parser.parse_args([*form, *config, *settings]))
            except MonitorError as error:
                return str(error)
        return ""


def _cell(rng: random.Random) -> Any:
    return rng.choice(
        (any_value(rng), rng.uniform(-1e12, 1e12), rng.randbytes(9), rng.randrange(-(2**62), 2**62))
    )
