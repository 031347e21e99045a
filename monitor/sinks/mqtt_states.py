"""The retained states: the newest of each topic, and which of them the broker still has to get.

All are due again whenever somebody may have forgotten them: on every connection, for the broker may have lost
its store, and when Home Assistant says that it has started.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from monitor.messages import AnyMessage
from monitor.sinks import homeassistant
from monitor.sinks.hub_rates import HubRates
from monitor.sinks.hub_topics import Topics
from monitor.sinks.mqtt_reports import Ticket
from monitor.sinks.mqtt_settings import Publication

REFUSED_AGAIN_S: Final = 10.0
"""Between tries of a state that the broker refused."""


@dataclass(frozen=True, slots=True)
class SentState:
    topic: str
    number: int
    """In the order in which states were sent; what an event settles by."""


class RetainedStates:
    """Says which states to publish and keeps account of the answers. Pure: time comes in. One thread."""

    def __init__(self, topics: Topics, jitter_s: Callable[[], float]) -> None:
        self._topics = topics
        self._jitter_s = jitter_s
        self._calm = homeassistant.calm(topics)
        self._latest: dict[str, Publication] = {self._calm.topic: self._calm}
        self._due: dict[str, Publication] = {}
        self._in_flight: dict[Ticket, SentState] = {}
        self._rates = HubRates(topics)
        self._all_due_at_s = math.inf
        self._refused_again_at_s = 0.0

    @property
    def in_flight(self) -> int:
        return len(self._in_flight)

    @property
    def is_idle(self) -> bool:
        """Whether the broker has answered all that was due. Any thread."""
        return not self._due and not self._in_flight

    def due(self, *, small_first: bool = False) -> list[Publication]:
        """What to publish now, oldest first; call ``sent`` for each that is sent."""
        due = list(self._due.values())
        return sorted(due, key=lambda state: len(state.payload)) if small_first else due

    def remember(self, made: Iterable[Publication]) -> None:
        """Keep what a message changed, whether or not it is published."""
        self._latest |= {state.topic: state for state in made if state.retain}

    def restore(self, made: Iterable[Publication]) -> None:
        """Keep what an earlier process left; what this one has reported meanwhile is newer."""
        self.remember(state for state in made if self._latest.get(state.topic, self._calm) == self._calm)

    def changed(self, message: AnyMessage, made: list[Publication], now_s: float) -> None:
        """Of the states that a message makes, those that a hub should get now are due."""
        for state in self._rates.worth(message, [state for state in made if state.retain], now_s):
            self._want(state)

    def available(self, payload: str) -> None:
        """The hub has to hear that we are here, or that we leave."""
        self._want(homeassistant.availability(self._topics, payload))

    def all_due(self) -> None:
        """How all is, and last that it is valid."""
        self._all_due_at_s = math.inf
        self._rates.forget()
        for state in self._latest.values():
            self._want(state)
        self.available(homeassistant.ONLINE)

    def hub_came(self, now_s: float) -> None:
        """A hub has started and knows nothing; many devices shall not answer it at once."""
        self._all_due_at_s = now_s + self._jitter_s()

    def is_hub_waiting(self, now_s: float) -> bool:
        """Whether all should be said now to a hub that came."""
        return now_s >= self._all_due_at_s

    def try_refused(self, is_refused: Callable[[str], bool], now_s: float) -> None:
        """Say again what was refused: a broker that has learnt better does not tell."""
        refused = [state for topic, state in self._latest.items() if is_refused(topic)]
        if refused and now_s >= self._refused_again_at_s:
            self._refused_again_at_s = now_s + REFUSED_AGAIN_S
            for state in refused:
                self._want(state)

    def sent(self, state: Publication, ticket: Ticket, number: int) -> None:
        self.left_out(state)
        self._in_flight[ticket] = SentState(state.topic, number)

    def left_out(self, state: Publication) -> None:
        """It is not due any more, unless it has changed meanwhile."""
        if self._due.get(state.topic) == state:
            del self._due[state.topic]

    def answered(self, ticket: Ticket) -> SentState | None:
        """The state that the broker has answered; None when the ticket is not a state's."""
        return self._in_flight.pop(ticket, None)

    def dropped(self, ticket: Ticket) -> None:
        """The link went down before an answer came; all are due with the next one."""
        self._in_flight.pop(ticket, None)

    def withdraw(self) -> None:
        """Nobody gets anything from us for now."""
        self._due.clear()
        self._all_due_at_s = math.inf

    def _want(self, state: Publication) -> None:
        self._due.pop(state.topic, None)
        self._due[state.topic] = state
