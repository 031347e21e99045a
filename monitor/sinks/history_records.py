"""What is remembered: the rows of the history, as they stand in memory and in the file.

Times are UTC, in seconds since 1970. Each record names itself by its key, and to store it again replaces it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace


@dataclass(frozen=True, slots=True)
class Episode:
    """Crying, from its first message to what was said of it in the morning."""

    id: str
    onset_s: float
    detected_s: float
    until_s: float
    """Its end; of one that goes on, how far it is known."""
    ended: bool
    duration_s: float
    """From onset to end on the sample clock, which no step of the wall clock bends."""
    crying_s: float
    score: float
    level_dbfs: float
    escalation: int
    truncated: bool
    cause: str | None = None
    cause_probability: float | None = None
    cause_base_rate: float | None = None
    acknowledged_s: float | None = None
    acknowledged_by: str = ""
    confirmed_cause: str | None = None


@dataclass(frozen=True, slots=True)
class Minute:
    """Levels of a minute; means are weighted by time, in dB."""

    minute: int
    """Minutes since 1970, UTC."""
    heard_s: float
    """Time in it in which the monitor listened."""
    level_mean_dbfs: float
    level_max_dbfs: float
    level_min_dbfs: float
    peak_dbfs: float
    floor_dbfs: float
    active_share: float
    """Share of the heard time in which the gate model was awake."""
    crying_s: float

    def joined(self, other: Minute) -> Minute:
        """Both as one: a clock that was set back lives a minute twice."""
        heard_s = self.heard_s + other.heard_s
        share = self.heard_s / heard_s if heard_s > 0 else 0.5

        def mean(mine: float, others: float) -> float:
            return share * mine + (1 - share) * others

        return Minute(
            minute=self.minute,
            heard_s=heard_s,
            level_mean_dbfs=mean(self.level_mean_dbfs, other.level_mean_dbfs),
            level_max_dbfs=max(self.level_max_dbfs, other.level_max_dbfs),
            level_min_dbfs=min(self.level_min_dbfs, other.level_min_dbfs),
            peak_dbfs=max(self.peak_dbfs, other.peak_dbfs),
            floor_dbfs=mean(self.floor_dbfs, other.floor_dbfs),
            active_share=mean(self.active_share, other.active_share),
            crying_s=self.crying_s + other.crying_s,
        )


@dataclass(frozen=True, slots=True)
class Listening:
    """A stretch in which audio was heard without a pause."""

    begin_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class Fault:
    """A trouble with the monitor itself.

    ``kind``: microphone, signal, link, audio_lost, other, or deaf. One that is deaf has no reason: it is the
    time in which, whatever the reasons were, no cry would have been heard.
    """

    begin_s: float
    kind: str
    reason: str
    end_s: float
    """Of an open one, how far it is known."""
    open: bool


@dataclass(frozen=True, slots=True)
class Alert:
    """A test, or a new outcome of direct push. ``detail`` is what the message said, as JSON."""

    id: str
    at_s: float
    kind: str
    detail: str


@dataclass(slots=True)
class Batch:
    """Records on their way to the file, by key; the newest of a key counts."""

    episodes: dict[str, Episode] = field(default_factory=dict)
    minutes: dict[int, Minute] = field(default_factory=dict)
    listening: dict[float, Listening] = field(default_factory=dict)
    faults: dict[tuple[float, str, str], Fault] = field(default_factory=dict)
    alerts: dict[str, Alert] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return any((self.episodes, self.minutes, self.listening, self.faults, self.alerts))

    def put(self, record: Episode | Minute | Listening | Fault | Alert) -> None:
        match record:
            case Episode():
                self.episodes[record.id] = record
            case Minute():
                before = self.minutes.get(record.minute)
                self.minutes[record.minute] = record if before is None else before.joined(record)
            case Listening():
                self.listening[record.begin_s] = record
            case Fault():
                self.faults[record.begin_s, record.kind, record.reason] = record
            case Alert():
                self.alerts[record.id] = record

    def join(self, newer: Batch) -> None:
        """Take in all of ``newer``."""
        for table in (newer.episodes, newer.minutes, newer.listening, newer.faults, newer.alerts):
            for record in table.values():
                self.put(record)

    def bound(self, minutes: int, others: int) -> int:
        """Let the oldest go until at most so many wait; how many went. Minutes matter least."""
        went = 0
        for table, most in (
            (self.minutes, minutes),
            (self.listening, others),
            (self.faults, others),
            (self.alerts, others),
            (self.episodes, others),
        ):
            while len(table) > most:
                del table[next(iter(table))]  # type: ignore[arg-type]  # each by its own key
                went += 1
        return went


def closed(fault: Fault, end_s: float) -> Fault:
    """The fault, over at ``end_s``; a clock that was set back ends it where it began."""
    return replace(fault, end_s=max(fault.begin_s, end_s), open=False)
