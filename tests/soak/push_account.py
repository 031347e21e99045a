"""What became of each alert that was promised, from the journals of a run of ``push_kills``.

An alert is promised to a recipient once the queue's ``put`` has returned (which ``handle`` waits for). It is
in order when it was received, or was rightly given up: withdrawn after its crying had ended or was
acknowledged, replaced by a newer one about the same that is in order itself, or expired. Apart from that,
what ``handle`` took in has to have led to an alert at all: a test to one for everybody, a told cry to a word
about how it went on, a told fault to its all-clear.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.soak.victims import Journal

Line = dict[str, Any]
Place = tuple[str, str]
"""Channel and key."""

RECEIVED = ("answer", "hang up")
UNKNOWN = "unknown:"
VERDICTS = ("calm", "cut", "restarted")


@dataclass
class Account:
    figures: dict[str, int] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)


@dataclass
class _Raised:
    """A notification that was handed to the queue; ``at``: the number of its line in the journal."""

    at: int
    line: Line
    is_promised: bool = False


class _Books:
    def __init__(self, folder: Path) -> None:
        self.lines = list(Journal.read(folder / "promised.jsonl"))
        self.raised = list(_raised(self.lines))
        self.came = [line for line in Journal.read(folder / "received.jsonl") if line["what"] in RECEIVED]
        self.sent = Counter(line["what"] for line in Journal.read(folder / "received.jsonl"))
        self.received = Counter(self._places_received())
        log = [line for line in Journal.read(folder / "monitor.log") if "event" in line]
        self.expired = {(line["channel"], line["key"]) for line in log if line["event"] == "push.given_up"}
        self.evicted = sum(line["event"] == "outbox.evicted" for line in log)
        self._fates: dict[tuple[str, int], str] = {}

    def _places_received(self) -> Iterator[Place]:
        keys = {
            (to, one.line["title"], one.line["text"]): one.line["key"]
            for one in self.raised
            for to in one.line["recipients"]
        }
        for line in self.came:
            unknown = f"{UNKNOWN} {line['title']} / {line['text']}"
            key = line["key"] or keys.get((line["channel"], line["title"], line["text"]), unknown)
            yield line["channel"], key

    def fate(self, channel: str, one: _Raised) -> str:
        """In one word; "LOST" for none."""
        place = channel, one.at
        if place not in self._fates:
            self._fates[place] = self._fate(channel, one)
        return self._fates[place]

    def _fate(self, channel: str, one: _Raised) -> str:
        key, tag = one.line["key"], one.line["tag"]
        if self.received[channel, key]:
            return "received"
        for later in self.raised:
            is_newer = later.at > one.at and channel in later.line["recipients"]
            replaces = tag in (later.line["tag"], later.line.get("outdates"))
            if is_newer and replaces and later.line["key"] != key and self.fate(channel, later) != "LOST":
                return "replaced"
        if self._is_withdrawn(one):
            return "withdrawn"
        return "expired" if (channel, key) in self.expired else "LOST"

    def _is_withdrawn(self, one: _Raised) -> bool:
        """Whether it was taken back with reason: what was handled just then ended it."""
        handling: Line = {}
        for at, line in enumerate(self.lines):
            if line["did"] == "handling":
                handling = line
            is_it = line["did"] == "withdrawing" and line["tag"] == one.line["tag"]
            if at > one.at and is_it and _is_over(one.line["tag"], handling):
                return True
        return False


def _raised(lines: list[Line]) -> Iterator[_Raised]:
    open_ones: dict[str, _Raised] = {}
    for at, line in enumerate(lines):
        if line["did"] == "raising":
            open_ones[line["key"]] = one = _Raised(at, line)
            yield one
        elif line["did"] == "raised":
            open_ones[line["key"]].is_promised = True


def _is_over(tag: str, handling: Line) -> bool:
    if tag.startswith("fault-"):
        return bool(handling.get("microphone_ok"))
    ended = handling.get("event_type") == "ended" or handling.get("state") == "acknowledged"
    return ended and tag == f"cry-{handling.get('episode_id')}"


def account(folder: Path, repeat_every_s: float) -> Account:
    books = _Books(folder)
    found = Account()
    fates: Counter[str] = Counter()
    for one in books.raised:
        for channel in one.line["recipients"] if one.is_promised else ():
            fate = books.fate(channel, one)
            fates[fate] += 1
            if fate == "LOST":
                found.lost.append(f"{one.line['key']} to {channel}")
    found.lost += [*_unheard_tests(books), *_untold_ends(books)]
    found.lost += [
        f"{key} to {channel}: not ours" for channel, key in books.received if key.startswith(UNKNOWN)
    ]
    found.doubled += [*_used_keys(books), *_two_verdicts(books), *_hasty_alarms(books, repeat_every_s)]
    received = books.received
    lives = [line for line in books.lines if line["did"] == "handled" and line["event_id"].endswith("-1")]
    found.figures = {
        "lives of the monitor that came as far as a message": len(lives),
        "messages that handle() accepted": sum(line["did"] == "handled" for line in books.lines),
        "notifications promised": sum(one.is_promised for one in books.raised),
        "alerts promised (notification and recipient)": fates.total(),
        "  of which received": fates["received"],
        "  of which replaced by a newer one about the same": fates["replaced"],
        "  of which withdrawn: acknowledged or over": fates["withdrawn"],
        "  of which expired": fates["expired"],
        "alerts received, by recipient and key": len(received),
        "alerts received of which we did not learn the promise": len(_surplus(books)),
        "repeats that the key removes": received.total() - len(received),
        "answers 500": books.sent["refuse"],
        "connections closed before the alert was kept": books.sent["forget"],
        "connections closed after it was kept": books.sent["hang up"],
        "evicted by a full outbox": books.evicted,
    }
    return found


def _surplus(books: _Books) -> set[Place]:
    promised = {
        (to, one.line["key"]) for one in books.raised if one.is_promised for to in one.line["recipients"]
    }
    return set(books.received) - promised


def _unheard_tests(books: _Books) -> Iterator[str]:
    keys = {one.line["key"] for one in books.raised}
    for line in books.lines:
        if line["did"] == "handled" and line["kind"] == "test" and f"test-{line['event_id']}" not in keys:
            yield f"test {line['event_id']} was handled and not raised"


def _untold_ends(books: _Books) -> Iterator[str]:
    """Cries and faults of which somebody was told and never how they went on.

    A kill between the disk and the journal leaves a word that counts and was not promised: one that the alarm
    of the next cry has replaced.
    """
    keys = {one.line["key"] for one in books.raised if one.is_promised or _is_replaced(books, one)}
    keys |= {key for _, key in books.received}
    for one in books.raised:
        tag, key = one.line["tag"], one.line["key"]
        if not one.is_promised:
            continue
        if key == f"{tag}.1" and keys.isdisjoint(f"{tag}.{word}" for word in (*VERDICTS, "heard")):
            yield f"{tag}: told, and no word of how it went on"
        if tag.startswith("fault-") and f"{key.rpartition('.')[0]}.over" not in keys:
            yield f"{key}: told, and no all-clear"


def _is_replaced(books: _Books, one: _Raised) -> bool:
    return any(books.fate(channel, one) == "replaced" for channel in one.line["recipients"])


def _used_keys(books: _Books) -> Iterator[str]:
    """Keys of two promises: whoever drops what he has had would miss the second."""
    promises = Counter(one.line["key"] for one in books.raised if one.is_promised)
    return (f"{key} was promised {n} times" for key, n in promises.items() if n > 1)


def _two_verdicts(books: _Books) -> Iterator[str]:
    """Recipients who were told in two ways how one cry ended."""
    verdicts: dict[tuple[str, str], set[str]] = defaultdict(set)
    for channel, key in books.received:
        tag, _, word = key.rpartition(".")
        if word in VERDICTS:
            verdicts[channel, tag].add(word)
    for (channel, tag), words in verdicts.items():
        if len(words) > 1:
            yield f"{tag} to {channel}: {' and '.join(sorted(words))}"


def _hasty_alarms(books: _Books, repeat_every_s: float) -> Iterator[str]:
    """Two alarms of one cry and urgency to one recipient, sooner after each other than one is repeated."""
    before: dict[tuple[str, str, int], Line] = {}
    for one in books.raised:
        line = one.line
        if not line["tag"].startswith("cry-") or line["key"].rpartition(".")[2] in (*VERDICTS, "heard"):
            continue
        # Who belongs to a later step joins between two repeats: only the first step has a fixed rhythm.
        for channel in line["recipients"] if len(line["recipients"]) > 1 else ():
            place = channel, line["tag"], line["urgency"]
            last = before.get(place)
            if channel != "Gran" and last and line["at_s"] - last["at_s"] < repeat_every_s:
                yield f"{last['key']} and {line['key']} to {channel}"
            before[place] = line
