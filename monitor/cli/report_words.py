"""A night in words: times, lengths, causes and the line that shows its hours. Nothing is printed here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Final

from monitor.sinks.history_night import CryFacts, NightFacts, Span, alert_detail, cut, minus, total, union
from monitor.sinks.history_records import Alert, Episode, Fault
from monitor.words import count, length

WIDEST: Final = 72
"""Cells of the line of hours."""
_CELL_MINUTES: Final = (5, 10, 15, 20, 30)
_SIGNS: Final = {"crying": "█", "some": "▄", "calm": "─", "fault": "!", "unheard": "·"}
_ASCII_SIGNS: Final = {"crying": "#", "some": "+", "calm": "-", "fault": "!", "unheard": "."}


def local(at_s: float) -> datetime:
    return datetime.fromtimestamp(at_s, UTC).astimezone()


def clock(at_s: float) -> str:
    return f"{local(at_s):%H:%M:%S}"


def span(of: Span) -> str:
    return f"{local(of[0]):%H:%M} to {local(of[1]):%H:%M}"


def cause(episode: Episode) -> str:
    """The cause with what speaks for it, never more certain than it is."""
    said = f"; a parent said {_plain(episode.confirmed_cause)}" if episode.confirmed_cause else ""
    if episode.cause is None:
        return f"not estimated{said}"
    if episode.cause == "unsure":
        return f"unsure{said}"
    heard, usual = episode.cause_probability or 0.0, episode.cause_base_rate or 0.0
    return f"{_plain(episode.cause)} {heard:.0%} (usually {usual:.0%}){said}"


def answer(cry: CryFacts) -> str:
    """How fast somebody was told, and answered."""
    told = "" if cry.told_after_s is None else f"told after {length(cry.told_after_s)}, "
    if cry.acknowledged_after_s is None:
        return f"{told}not acknowledged"
    return f"{told}acknowledged after {length(cry.acknowledged_after_s)} ({cry.episode.acknowledged_by})"


def notes(episode: Episode) -> str:
    escalated = {0: "", 1: "escalated once"}.get(episode.escalation, f"escalated {episode.escalation} times")
    state = "" if episode.ended else "goes on"
    cut_off = "cut off" if episode.truncated else ""
    return ", ".join(filter(None, (state, escalated, cut_off)))


def fault(one: Fault) -> str:
    lasted = f"{length(one.end_s - one.begin_s)}{' so far' if one.open else ''}"
    return f"{clock(one.begin_s)}  {lasted:>14}  {one.reason}"


def alerts(all_of_them: Sequence[Alert]) -> list[str]:
    """Tests and what went wrong one by one; of what was delivered the episodes tell."""
    lines = []
    delivered = 0
    for one in all_of_them:
        detail = alert_detail(one)
        if one.kind == "test":
            lines.append(f"{clock(one.at_s)}  a test alert ({detail.get('source', 'unknown')})")
        elif detail.get("state") == "delivered":
            number = detail.get("delivered")
            delivered += number if isinstance(number, int) else 0
        else:
            channels = detail.get("channels")
            named = channels.items() if isinstance(channels, dict) else ()
            by = ", ".join(f"{name}: {state}" for name, state in named)
            lines.append(
                f"{clock(one.at_s)}  push {detail.get('state', 'unknown')}{f' ({by})' if by else ''}"
            )
    were = "was" if delivered == 1 else "were"
    return [*lines, f"{count(delivered, 'push message')} {were} delivered"] if delivered else lines


def listened(facts: NightFacts) -> str:
    if not facts.listened:
        return "not at all"
    text = f"{length(facts.listened_s)}, {span((facts.listened[0][0], facts.listened[-1][1]))}"
    breaks = facts.interruptions
    if not breaks:
        return text
    times = "once" if len(breaks) == 1 else f"{len(breaks)} times"
    return f"{text}, interrupted {times} ({length(total(breaks))} in all)"


def crying(facts: NightFacts) -> str:
    n_cries = len(facts.cries)
    if n_cries == 0:
        return "none was heard"
    goes_on = any(not cry.episode.ended for cry in facts.cries)
    open_one = "" if not goes_on else ", which goes on" if n_cries == 1 else ", the latest goes on"
    return f"{length(facts.crying_s)} in {count(n_cries, 'episode')}{open_one}"


def calm(facts: NightFacts) -> str:
    if facts.calm is None:
        return "none"
    return f"{length(facts.calm[1] - facts.calm[0])}, {span(facts.calm)}"


def timeline(facts: NightFacts, *, ascii_only: bool) -> list[str]:
    """Two lines: the hours, and what they were like. Empty when nothing is known."""
    known = shown_span(facts)
    if known is None:
        return []
    cell_s = 60.0 * next(
        (minutes for minutes in _CELL_MINUTES if (known[1] - known[0]) / 60 / minutes <= WIDEST), 30
    )
    signs = _ASCII_SIGNS if ascii_only else _SIGNS
    cells = [signs[_kind(facts, cell)] for cell in _cells(known, cell_s)]
    return [_hours(known, cell_s, len(cells)), "".join(cells)]


def legend(*, ascii_only: bool) -> str:
    signs = _ASCII_SIGNS if ascii_only else _SIGNS
    return (
        f"{signs['crying']} crying  {signs['some']} some crying  {signs['calm']} calm  "
        f"{signs['fault']} a fault  {signs['unheard']} not listening"
    )


def shown_span(facts: NightFacts) -> Span | None:
    """The whole hours in which anything is known."""
    spans = [*facts.listened, *((c.episode.onset_s, c.episode.until_s) for c in facts.cries)]
    spans += [(one.begin_s, one.end_s) for one in facts.faults]
    if not spans:
        return None
    first, last = min(begin for begin, _ in spans), max(end for _, end in spans)
    # By the hand of the clock: some zones lie half an hour beside UTC.
    first -= local(first).minute * 60 + first % 60
    last += (-local(last).minute % 60) * 60 - last % 60
    return first, max(last, first + 3600)


def _kind(facts: NightFacts, cell: Span) -> str:
    episodes = union((cry.episode.onset_s, cry.episode.until_s) for cry in facts.cries)
    cell_s = cell[1] - cell[0]
    cried_s = total(cut(episodes, cell))
    if cried_s > 0:
        return "crying" if cried_s > cell_s / 2 else "some"
    deaf = total(minus([cell], facts.listened)) > cell_s / 2
    if any(cut([(one.begin_s, max(one.end_s, one.begin_s + 1))], cell) for one in facts.faults):
        return "fault"
    return "unheard" if deaf else "calm"


def _cells(known: Span, cell_s: float) -> Iterator[Span]:
    begin = known[0]
    while begin < known[1]:
        yield begin, begin + cell_s
        begin += cell_s


def _hours(known: Span, cell_s: float, n_cells: int) -> str:
    line = [" "] * n_cells
    for index in range(n_cells):
        at = local(known[0] + index * cell_s)
        text = f"{at:%H}"
        if at.minute == 0 and all(c == " " for c in line[max(0, index - 1) : index]) and index + 2 <= n_cells:
            line[index : index + 2] = text
    return "".join(line).rstrip()


def _plain(name: str | None) -> str:
    return (name or "").replace("_", " ")
