"""A night as a picture: levels, crying, what was listened to, faults and answers, over the hours."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from typing import Final

from monitor.cli import report_words as words
from monitor.cli.night_canvas import Canvas
from monitor.errors import MonitorError
from monitor.sinks.history_night import NightFacts, Span
from monitor.sinks.history_records import Minute

WIDTH: Final = 1400
HEIGHT: Final = 700
_LEFT, _RIGHT = 150.0, 1370.0
_TOP, _BOTTOM = 170.0, 470.0
_ROWS: Final = {"Crying": 492.0, "Answers": 526.0, "Listening": 560.0, "Faults": 594.0}
_ROW_HEIGHT: Final = 24.0
_FLOOR_DBFS, _CEILING_DBFS = -90.0, 0.0

_PAPER, _INK, _FAINT, _GRID = "#fdfcf9", "#23262f", "#767b88", "#e4e2dc"
_BAND, _MEAN, _NOISE = "#b9c9e6", "#3f63a8", "#9aa0ad"
_CRY, _CRY_SHADE = "#cf3f4f", "#cf3f4f30"
_LISTENED, _MISSED, _FAULT, _ANSWER = "#7cb08a", "#ece9e2", "#e09b3d", "#23262f"


@dataclass(frozen=True, slots=True)
class _Axis:
    shown: Span

    def x(self, at_s: float) -> float:
        begin, end = self.shown
        share = min(1.0, max(0.0, (at_s - begin) / (end - begin)))
        return _LEFT + share * (_RIGHT - _LEFT)


def draw_night(facts: NightFacts, evening: date, name: str) -> bytes:
    """The night as PNG. Raises ConfigError without Pillow, MonitorError when there is nothing to draw."""
    shown = words.shown_span(facts)
    if shown is None:
        raise MonitorError(f"There is nothing to draw of the night of {evening}.")
    canvas = Canvas(WIDTH, HEIGHT, _PAPER)
    axis = _Axis(shown)
    _head(canvas, facts, evening, name)
    _hours(canvas, axis)
    _level_grid(canvas)
    for cry in facts.cries:
        onset, until = axis.x(cry.episode.onset_s), axis.x(cry.episode.until_s)
        canvas.box((onset, _TOP, until, _BOTTOM), _CRY_SHADE)
    _levels(canvas, axis, facts.minutes)
    _rows(canvas, axis, facts)
    _legend(canvas)
    return canvas.png()


def _head(canvas: Canvas, facts: NightFacts, evening: date, name: str) -> None:
    canvas.text((30, 52), f"{name}: night of {evening:%A, %d %B %Y}", _INK, 28)
    x = 30.0
    answered = sum(cry.acknowledged_after_s is not None for cry in facts.cries)
    for title, text in (
        ("Crying", words.crying(facts)),
        ("Longest calm", words.calm(facts)),
        ("Acknowledged", f"{answered} of {len(facts.cries)}"),
        ("Listened", words.listened(facts)),
    ):
        canvas.text((x, 92), title, _FAINT, 15)
        canvas.text((x, 116), text, _INK, 18)
        x += max(canvas.width_of(text, 18), canvas.width_of(title, 15)) + 44


def _hours(canvas: Canvas, axis: _Axis) -> None:
    begin, end = axis.shown
    every_s = next(s for s in (900, 1800, 3600, 7200, 10_800) if (end - begin) / s <= 16 or s == 10_800)
    at_s = begin
    while at_s <= end:
        x = axis.x(at_s)
        canvas.line([(x, _TOP), (x, _ROWS["Faults"] + _ROW_HEIGHT)], _GRID)
        canvas.text((x, 640), f"{words.local(at_s):%H:%M}", _FAINT, 14, anchor="ms")
        at_s += every_s


def _level_grid(canvas: Canvas) -> None:
    for level in range(round(_FLOOR_DBFS), round(_CEILING_DBFS) + 1, 30):
        y = _y(level)
        canvas.line([(_LEFT, y), (_RIGHT, y)], _GRID)
        canvas.text((_LEFT - 12, y), str(level), _FAINT, 14, anchor="rm")
    canvas.text((30, _TOP + 10), "Level", _INK, 16)
    canvas.text((30, _TOP + 30), "per minute,", _FAINT, 13)
    canvas.text((30, _TOP + 47), "dB re full scale", _FAINT, 13)


def _levels(canvas: Canvas, axis: _Axis, minutes: Iterable[Minute]) -> None:
    for run in _runs(minutes):
        points = [(axis.x((one.minute + 0.5) * 60), one) for one in run]
        if len(points) == 1:  # a minute alone is seen as well
            points = [(points[0][0] - 1, run[0]), (points[0][0] + 1, run[0])]
        upper = [(x, _y(one.level_max_dbfs)) for x, one in points]
        lower = [(x, _y(one.level_min_dbfs)) for x, one in reversed(points)]
        canvas.area([*upper, *lower], _BAND)
        canvas.line([(x, _y(one.floor_dbfs)) for x, one in points], _NOISE, 1)
        canvas.line([(x, _y(one.level_mean_dbfs)) for x, one in points], _MEAN, 1.6)


def _runs(minutes: Iterable[Minute]) -> Iterator[list[Minute]]:
    """Minutes in a row: a line over an hour of which nothing is known would be an invention."""
    run: list[Minute] = []
    for one in minutes:
        if one.heard_s <= 0:
            continue
        if run and one.minute != run[-1].minute + 1:
            yield run
            run = []
        run.append(one)
    if run:
        yield run


def _rows(canvas: Canvas, axis: _Axis, facts: NightFacts) -> None:
    for title, top in _ROWS.items():
        canvas.text((30, top + _ROW_HEIGHT / 2), title, _INK, 16, anchor="lm")
    canvas.box((_LEFT, *_row("Listening", _LEFT, _RIGHT)[1:]), _MISSED)
    for begin, end in facts.listened:
        canvas.box(_row("Listening", axis.x(begin), axis.x(end)), _LISTENED)
    for one in facts.faults:
        canvas.box(
            _row("Faults", axis.x(one.begin_s), max(axis.x(one.begin_s) + 3, axis.x(one.end_s))), _FAULT
        )
    for cry in facts.cries:
        onset, until = axis.x(cry.episode.onset_s), axis.x(cry.episode.until_s)
        canvas.box(_row("Crying", onset, max(until, onset + 2)), _CRY)
        if cry.episode.acknowledged_s is not None:
            _tick(canvas, axis.x(cry.episode.acknowledged_s), _ROWS["Answers"] + _ROW_HEIGHT / 2)


def _row(title: str, left: float, right: float) -> tuple[float, float, float, float]:
    return left, _ROWS[title], right, _ROWS[title] + _ROW_HEIGHT


def _tick(canvas: Canvas, x: float, y: float) -> None:
    canvas.line([(x - 6, y), (x - 1, y + 6), (x + 8, y - 7)], _ANSWER, 2.4)


def _legend(canvas: Canvas) -> None:
    x, y = _LEFT, 674.0
    for colour, text in (
        (_MEAN, "mean level"),
        (_BAND, "lowest to highest"),
        (_NOISE, "noise floor of the room"),
        (_CRY, "crying"),
        (_LISTENED, "listened"),
        (_MISSED, "not listened"),
        (_FAULT, "fault"),
    ):
        canvas.box((x, y - 6, x + 18, y + 6), colour, radius=2)
        canvas.text((x + 25, y), text, _FAINT, 14, anchor="lm")
        x += canvas.width_of(text, 14) + 52
    _tick(canvas, x + 8, y)
    canvas.text((x + 25, y), "acknowledged", _FAINT, 14, anchor="lm")


def _y(level_dbfs: float) -> float:
    share = (min(_CEILING_DBFS, max(_FLOOR_DBFS, level_dbfs)) - _FLOOR_DBFS) / (_CEILING_DBFS - _FLOOR_DBFS)
    return _BOTTOM - share * (_BOTTOM - _TOP)
