"""What the policy of direct push has to know after a restart."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime

from pydantic import AwareDatetime, BaseModel

from monitor.sinks.push_notes import Notification


@dataclass(frozen=True, slots=True)
class OpenCry:
    """Crying of which ``told`` were told and that nobody has acknowledged."""

    episode_id: str
    since: datetime
    urgent: bool
    told: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ToldFault:
    """A fault of which ``told`` were told, ``sent`` times, and have not heard that it is over."""

    since: datetime
    told: tuple[str, ...]
    sent: int = 0


@dataclass(frozen=True, slots=True)
class HeldNote:
    """A note that waits for the end of quiet hours, and is news ``until`` then."""

    note: Notification
    until: datetime


class _Written(BaseModel):
    """The form of a :class:`PolicyState` on disk."""

    daily_test_on: str
    cry: tuple[str, AwareDatetime, bool, tuple[str, ...]] | None
    faults: dict[str, tuple[AwareDatetime, tuple[str, ...], int] | tuple[AwareDatetime, tuple[str, ...]]]
    held: tuple[tuple[Notification, AwareDatetime], ...] = ()


@dataclass(frozen=True, slots=True)
class PolicyState:
    daily_test_on: str = ""
    """Local date of the latest daily test."""
    cry: OpenCry | None = None
    faults: Mapping[str, ToldFault] = field(default_factory=dict)
    held: tuple[HeldNote, ...] = ()

    def with_daily_test(self, date: str) -> PolicyState:
        return replace(self, daily_test_on=date)

    def to_json(self) -> str:
        cry = self.cry
        return json.dumps(
            {
                "daily_test_on": self.daily_test_on,
                "cry": cry and [cry.episode_id, cry.since.isoformat(), cry.urgent, cry.told],
                "faults": {kind: [f.since.isoformat(), f.told, f.sent] for kind, f in self.faults.items()},
                "held": [[asdict(held.note), held.until.isoformat()] for held in self.held],
            }
        )

    @classmethod
    def from_json(cls, written: str) -> PolicyState:
        """Raises ValueError for what ``to_json`` did not write."""
        values = _Written.model_validate_json(written)
        return cls(
            daily_test_on=values.daily_test_on,
            cry=values.cry and OpenCry(*values.cry),
            faults={kind: ToldFault(*fault) for kind, fault in values.faults.items()},
            held=tuple(HeldNote(*held) for held in values.held),
        )
