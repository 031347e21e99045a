"""The end of the demonstration, in words and as lines of JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from monitor.demo.hub import Received
from monitor.demo.verdict import Episode, Row, Verdict, clock
from monitor.errors import MonitorError
from monitor.outputs import Output


@dataclass(frozen=True, slots=True)
class Stage:
    """Where the demonstration took place."""

    broker: str
    """Software and address of the broker."""
    protocol: str
    real_time: bool


def print_report(console: Console, stage: Stage, verdict: Verdict, received: Sequence[Received]) -> None:
    """Print the table of episodes, the broker, the delays and the verdict."""
    console.print()
    console.print(_table(verdict, real_time=stage.real_time), "")
    topics = len({message.topic for message in received})
    console.print(
        f"Broker: {stage.broker}, MQTT {stage.protocol}: {len(received)} messages on {topics} topics.",
        markup=False,
        highlight=False,
    )
    console.print(_delays(verdict, real_time=stage.real_time), highlight=False)
    console.print(
        _sentence(verdict),
        markup=False,
        highlight=False,
        style="bold green" if verdict.is_good else "bold red",
    )


def record_output(path: Path) -> Output:
    """The file of ``--record``, before the demonstration begins.

    Raises MonitorError where it cannot, or must not, be written.
    """
    return Output(path, "--record", inputs=(), is_ours=_is_record, force=None, unwritable=MonitorError)


def _is_record(head: bytes) -> bool:
    try:
        fields = json.loads(head.partition(b"\n")[0])
    except ValueError:
        return False
    return isinstance(fields, dict) and any(
        names <= fields.keys()
        for names in ({"topic", "retained", "payload"}, {"broker", "protocol", "passed"})
    )


def write_record(path: Path, stage: Stage, verdict: Verdict, received: Sequence[Received]) -> None:
    """Write what the subscriber received and the result, one JSON object a line. Raises MonitorError."""
    lines: list[dict[str, Any]] = [
        {"topic": one.topic, "retained": one.retained, "payload": one.payload.decode("utf-8", "replace")}
        for one in received
    ]
    lines.append(
        {
            "broker": stage.broker,
            "protocol": stage.protocol,
            "real_time": stage.real_time,
            "passed": verdict.is_good,
            "faults": list(verdict.faults),
            "episodes": [_as_json(row, real_time=stage.real_time) for row in verdict.rows],
        }
    )
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    record_output(path).write(text.encode())


def _table(verdict: Verdict, *, real_time: bool) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 2, 0, 0), pad_edge=False, show_edge=False)
    for name in ("true cry", "alarm", "detected\nafter", "received\nafter", "likely cause"):
        table.add_column(name, justify="right" if "after" in name else "left", no_wrap=True)
    for row in verdict.rows:
        table.add_row(
            "none" if row.bout is None else f"{clock(row.bout.onset_s)}-{clock(row.bout.offset_s)}",
            Text("MISSED", style="bold red") if row.episode is None else _alarm(row.episode),
            _seconds(row.detection_delay_s),
            _seconds(row.arrival_delay_s) if real_time else "not timed",
            "" if row.episode is None else _cause(row.episode),
        )
    return table


def _alarm(episode: Episode) -> str:
    end = "" if episode.ended_s is None else f"-{clock(episode.ended_s)}"
    return f"{clock(episode.onset_s)}{end}"


def _cause(episode: Episode) -> str:
    estimate = episode.cause
    if estimate is None:
        return "none given"
    likeliest = max(estimate.probabilities, key=lambda cause: estimate.probabilities[cause])
    return f"{estimate.answer} ({likeliest} {estimate.probabilities[likeliest]:.2f})"


def _delays(verdict: Verdict, *, real_time: bool) -> str:
    detection = [row.detection_delay_s for row in verdict.rows if row.detection_delay_s is not None]
    arrival = [row.arrival_delay_s for row in verdict.rows if row.arrival_delay_s is not None]
    if not detection:
        return "Delay: nothing was detected."
    text = f"Delay from cry onset to detection: {_seconds(median(detection))} (median, stream time)"
    if real_time and arrival:
        return f"{text},\nto the message at the subscriber: {_seconds(median(arrival))} (median, wall clock)."
    return f"{text}."


def _sentence(verdict: Verdict) -> str:
    if verdict.faults:
        return f"FAILED: {'; '.join(verdict.faults)}."
    cries = len({row.bout for row in verdict.rows})
    return f"PASSED: all {cries} cries reached the subscriber, and there was no false alarm."


def _as_json(row: Row, *, real_time: bool) -> dict[str, Any]:
    return {
        "true_onset_s": None if row.bout is None else row.bout.onset_s,
        "onset_s": None if row.episode is None else row.episode.onset_s,
        "detected_s": None if row.episode is None else row.episode.detected_s,
        "offset_s": None if row.episode is None else row.episode.ended_s,
        "detection_delay_s": _rounded(row.detection_delay_s),
        "arrival_delay_s": _rounded(row.arrival_delay_s) if real_time else None,
        "cause": None if row.episode is None or row.episode.cause is None else row.episode.cause.answer,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.3f} s"
