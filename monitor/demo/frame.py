"""One frame of the live display, from 80 x 24 upwards: a pure function of the moment."""

from __future__ import annotations

from typing import Final

from rich import box
from rich.console import ConsoleDimensions, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from monitor.demo.board import Heard, HubLine, Moment
from monitor.demo.verdict import Truth, clock

LOWEST_DBFS: Final = -90.0
LABEL_WIDTH: Final = 11
VALUE_WIDTH: Final = 25
FIXED_LINES: Final = 13
"""Everything but the messages: title, meters, time lines, banner, borders and a line to spare."""
WIDEST: Final = 132
MOST_MESSAGES: Final = 18

NAMES: Final = {
    "cry_bout": "CRYING",
    "door": "door",
    "speech": "speech",
    "rustle": "sheets",
    "kettle": "kettle",
    "clatter": "toy",
}


class Frame:
    """Draws moments of one demonstration."""

    def __init__(self, title: str, hub_title: str, truth: Truth, *, ascii_only: bool = False) -> None:
        self._title = title
        self._hub_title = hub_title
        self._truth = truth
        self._full, self._empty, self._mark = "#.|" if ascii_only else "█·│"
        self._box = box.ASCII if ascii_only else box.ROUNDED

    def render(self, moment: Moment, size: ConsoleDimensions) -> RenderableType:
        width = min(size.width, WIDEST)
        bar = width - LABEL_WIDTH - VALUE_WIDTH - 2
        rest = min(MOST_MESSAGES, max(3, size.height - FIXED_LINES))
        return Group(
            self._head(moment, width),
            Text(),
            self._level(moment, bar),
            self._score(moment, bar),
            Text(),
            *self._timelines(moment, width - LABEL_WIDTH - 2),
            self._banner(moment, width),
            self._hub(moment, width, rest),
        )

    def _head(self, moment: Moment, width: int) -> Table:
        head = Table.grid(expand=False, padding=0)
        head.add_column(width=width - 16)
        head.add_column(width=15, justify="right")
        times = f"{clock(moment.position_s)[:-2]} / {clock(self._truth.duration_s)[:-2]}"
        head.add_row(Text(f" {self._title}", style="bold"), Text(times, style="bold"))
        return head

    def _level(self, moment: Moment, bar: int) -> Text:
        report = moment.report
        if report is None:
            return _row("level", Text(self._empty * bar, style="dim"), "starting")
        cells = _cells(report.level_dbfs, LOWEST_DBFS, bar)
        floor = min(bar - 1, _cells(report.noise_floor_dbfs, LOWEST_DBFS, bar))
        drawn = Text()
        for cell in range(bar):
            at_dbfs = LOWEST_DBFS * (1 - cell / bar)
            colour = "green" if at_dbfs < -40 else "yellow" if at_dbfs < -15 else "red"
            if cell == floor:
                drawn.append(self._mark, style="bold cyan")
            elif cell < cells:
                drawn.append(self._full, style=colour)
            else:
                drawn.append(self._empty, style="dim")
        return _row("level", drawn, f"{report.level_dbfs:5.1f} dBFS  room {report.noise_floor_dbfs:.0f}")

    def _score(self, moment: Moment, bar: int) -> Text:
        report = moment.report
        score = None if report is None else report.score
        cells = 0 if score is None else round(score * bar)
        drawn = Text(self._full * cells, style="red" if report is not None and report.crying else "magenta")
        drawn.append(self._empty * (bar - cells), style="dim")
        awake = report is not None and report.active
        value = f"{'   --' if score is None else f'{score:5.2f}'}  gate {'OPEN' if awake else 'closed'}"
        return _row("cry score", drawn, value, "bold" if awake else "dim")

    def _timelines(self, moment: Moment, width: int) -> tuple[Text, Text]:
        scale = width / self._truth.duration_s
        played = round(moment.position_s * scale)
        happens = [" "] * width
        for span in self._truth.spans:
            start, stop = round(span.onset_s * scale), max(1, round(span.offset_s * scale))
            name = NAMES.get(span.kind, span.kind)
            happens[start:stop] = list(name.center(stop - start, "-")[: stop - start])
        truth = Text("".join(happens)[:width].replace(" ", self._empty))
        truth.stylize("dim", played, width)
        heard = [self._empty] * width
        for one in moment.episodes:
            until_s = moment.position_s if one.offset_s is None else one.offset_s
            start, stop = round(one.onset_s * scale), round(until_s * scale)
            heard[start:stop] = [self._full] * (min(stop, width) - start)
        alarms = Text("".join(heard)[:width], style="red")
        alarms.stylize("dim", played, width)
        return _row("happens", truth), _row("alarm", alarms)

    def _banner(self, moment: Moment, width: int) -> Panel:
        one = moment.open_episode
        if one is not None:
            text, style = _going_on(moment, one), "bold white on red"
        elif moment.episodes:
            text, style = _over(moment.episodes[-1]), "green"
        else:
            text, style = "calm: no cry so far", "green"
        return Panel(Text(text, no_wrap=True, overflow="ellipsis"), box=self._box, style=style, width=width)

    def _hub(self, moment: Moment, width: int, lines: int) -> Panel:
        table = Table.grid(padding=(0, 1, 0, 0), expand=True)
        table.add_column(min_width=7, no_wrap=True, style="dim")
        table.add_column(width=max(29, width // 4), no_wrap=True, overflow="ellipsis", style="cyan")
        table.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
        shown = moment.lines[-lines:]
        for line in shown:
            table.add_row(clock(line.at_s), _short(line.topic), _words(line))
        for _ in range(lines - len(shown)):
            table.add_row("", "", "")
        return Panel(
            table,
            box=self._box,
            title=self._hub_title,
            title_align="left",
            subtitle=f"{moment.received} messages, level reports not shown",
            subtitle_align="right",
            width=width,
        )


def _row(label: str, drawn: Text, value: str = "", style: str = "") -> Text:
    row = Text(f" {label:<{LABEL_WIDTH}}", no_wrap=True, overflow="crop")
    row.append_text(drawn)
    return row.append(f" {value}", style=style)


def _cells(dbfs: float, lowest: float, width: int) -> int:
    return round(min(1.0, max(0.0, 1.0 - dbfs / lowest)) * width)


def _going_on(moment: Moment, one: Heard) -> str:
    text = f"CRYING for {max(0.0, moment.position_s - one.onset_s):.1f} s  episode {one.number}"
    until_s = moment.crying_until_s
    quiet_s = 0.0 if until_s is None else moment.position_s - until_s
    pause = f"  quiet for {quiet_s:.1f} s" if quiet_s >= 1.0 else ""
    cause = f"  cause: {one.cause}" if one.cause else ""
    return f"{text}  score {one.score:.2f}{pause}{cause}"


def _over(one: Heard) -> str:
    assert one.offset_s is not None, "only called for an episode that ended"
    cause = f", cause: {one.cause}" if one.cause else ""
    span = f"{clock(one.onset_s)} - {clock(one.offset_s)}"
    return f"calm again  episode {one.number}: {span}, {one.crying_s:.1f} s of crying{cause}"


def _short(topic: str) -> str:
    """Home Assistant's discovery topic is longer than what it tells."""
    first, *middle, last = topic.split("/")
    return f"{first}/{middle[0]}/…/{last}" if len(middle) > 1 else topic


def _words(line: HubLine) -> Text:
    return Text(line.text, style="bold red" if line.is_alert else "", no_wrap=True, overflow="ellipsis")
