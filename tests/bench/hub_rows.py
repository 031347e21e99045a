"""How many rows the hub's database gets in an hour: ``python -m tests.bench.hub_rows [--scene NAME]``.

Simulated hours go through the real assembler, desk and MQTT sink to a real Mosquitto. A subscriber does with
what arrives what Home Assistant does with it: a row for each change of state or attributes of an entity that
is switched on by default.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import structlog

from monitor.events.assembler import MessageAssembler
from monitor.events.bus import MessageQueue
from monitor.events.clock import StreamClock
from monitor.messages import AnyMessage, EpisodeMessage
from monitor.service.desk import Desk, Moment
from monitor.service.requests import RequestBox
from monitor.sinks.mqtt import MqttSink
from monitor.types import (
    Cause,
    CauseEstimate,
    Dbfs,
    DetectorOutput,
    EpisodeEnded,
    EpisodeStarted,
    EpisodeUpdated,
    HopReport,
    Probability,
    SampleIndex,
    samples,
    seconds,
)
from tests.broker import Mosquitto, Received, Subscriber
from tests.sinks import hub_messages
from tests.sinks.mqtt_room import BASE, DISCOVERY, settings_for, settle

HOUR_S: Final = 3600
AIM: Final = 400
START: Final = datetime(2026, 11, 22, 2, 0, tzinfo=UTC)
_HOP: Final = samples(0.24)
_UPDATE_S: Final = 5

State = Callable[[dict[str, Any]], Any]


def _hop(number: int, level: float, score: float | None, *, crying: bool) -> HopReport:
    return HopReport(
        SampleIndex(number * _HOP),
        SampleIndex((number + 1) * _HOP),
        Dbfs(level),
        Dbfs(level + 8),
        Dbfs(-62.0),
        score is not None,
        None if score is None else Probability(score),
        crying,
    )


def _cause(chance: random.Random) -> CauseEstimate:
    drawn = [chance.uniform(0.5, 1.5) for _ in range(5)]
    known = [cause for cause in Cause if cause is not Cause.UNSURE]
    shares = {cause: Probability(one / sum(drawn)) for cause, one in zip(known, drawn, strict=True)}
    return CauseEstimate(
        probabilities=shares, priors=dict.fromkeys(known, Probability(0.2)), answer=Cause.UNSURE
    )


def _bouts(spans: list[tuple[int, int]]) -> Iterator[DetectorOutput]:
    """An hour with crying in each of ``spans``, in seconds."""
    chance = random.Random(3)
    for number in range(int(HOUR_S / 0.24)):
        at = SampleIndex((number + 1) * _HOP)
        now_s = seconds(at)
        index = next((i for i, (begin, end) in enumerate(spans) if begin <= now_s < end), None)
        if index is None:
            yield _hop(number, -60 + chance.gauss(0, 0.7), None, crying=False)
            ended = next((i for i, (_, end) in enumerate(spans) if end <= now_s < end + 0.24), None)
            if ended is not None:
                yield _ended(ended, spans[ended], at, chance)
            continue
        begin, _ = spans[index]
        yield _hop(
            number, -25 + chance.gauss(0, 6), min(1.0, max(0.0, chance.gauss(0.85, 0.15))), crying=True
        )
        onset = SampleIndex(samples(begin))
        common = (index, onset, at, Probability(0.9), Dbfs(-22.0))
        if now_s < begin + 0.24:
            yield EpisodeStarted(index, onset, at, Probability(0.9), Dbfs(-22.0))
        elif int(now_s - begin) // _UPDATE_S != int(now_s - 0.24 - begin) // _UPDATE_S:
            crying_s, cause = 0.8 * (now_s - begin), _cause(chance)
            yield EpisodeUpdated(*common[:3], at, *common[3:], crying_s, cause)


def _ended(index: int, span: tuple[int, int], at: SampleIndex, chance: random.Random) -> EpisodeEnded:
    begin, end = span
    onset = SampleIndex(samples(begin))
    score, level = Probability(0.95), Dbfs(-20.0)
    offset = SampleIndex(samples(end))
    return EpisodeEnded(
        index, onset, onset, offset, at, score, level, 0.8 * (end - begin), _cause(chance), truncated=False
    )


def _quiet() -> Iterator[DetectorOutput]:
    return _bouts([])


def _television() -> Iterator[DetectorOutput]:
    chance = random.Random(2)
    for number in range(int(HOUR_S / 0.24)):
        yield _hop(number, -38 + chance.gauss(0, 8), chance.uniform(0.0, 0.5), crying=False)


def _crying() -> Iterator[DetectorOutput]:
    return _bouts([(3, HOUR_S - 20)])


def _restless() -> Iterator[DetectorOutput]:
    return _bouts([(begin, begin + 40) for begin in range(60, HOUR_S - 60, 240)])


SCENES: Final[dict[str, Callable[[], Iterator[DetectorOutput]]]] = {
    "quiet": _quiet,
    "television": _television,
    "crying": _crying,
    "restless": _restless,
}


def publish(scene: Iterator[DetectorOutput], sink: MqttSink, pass_time: Callable[[float], None]) -> None:
    """Let a simulated hour go through the sink."""
    clock = StreamClock()
    clock.fix(START)
    assembler = MessageAssembler("nursery", clock)
    episodes = MessageQueue("desk")

    def tell(message: AnyMessage) -> None:
        if isinstance(message, EpisodeMessage):
            episodes.put(message)
        sink.handle(message)

    desk = Desk(
        device="nursery",
        box=RequestBox(),
        episodes=episodes,
        publish=tell,
        order=lambda _: None,
        restart=lambda: None,
        folder=None,
        hold_s=5.0,
        now=Moment(0.0, START),
    )
    desk.open(Moment(0.0, START))
    second = 0
    for output in scene:
        message = assembler.assemble(output)
        if message is not None:
            tell(message)
        now_s = seconds(output.stop) if isinstance(output, HopReport) else 0.0
        while second < int(now_s):
            second += 1
            pass_time(second)
            desk.turn(Moment(float(second), START + timedelta(seconds=second)), listening=True)
            if second % 30 == 0:
                tell(hub_messages.working())
            sink.tick()
            if second % 60 == 0:
                settle(sink)


def rows(received: list[Received]) -> Counter[str]:
    """By entity: the changes that Home Assistant would write down."""
    enabled = {
        key
        for key, component in json.loads(
            next(message.payload for message in received if message.topic == DISCOVERY)
        )["cmps"].items()
        if component.get("enabled_by_default", True) and component["p"] != "button"
    }
    assert enabled == set(_ENTITIES), enabled ^ set(_ENTITIES)
    last: dict[str, Any] = {}
    counted: Counter[str] = Counter()
    for message in received:
        for key, (topic, shown) in _ENTITIES.items():
            if message.topic != f"{BASE}/{topic}":
                continue
            value = message.payload if topic == "availability" else shown(json.loads(message.payload))
            if key not in last or last[key] != value:
                counted[key] += 1
            last[key] = value
    return counted


def _all(payload: dict[str, Any]) -> Any:
    return payload  # state and every attribute


def _of(name: str, digits: int = 1, factor: float = 1.0, *attributes: str) -> State:
    def shown(payload: dict[str, Any]) -> Any:
        value = payload[name]
        number = round(value * factor, digits) if isinstance(value, float) else value
        return number, [payload[attribute] for attribute in attributes]

    return shown


_ENTITIES: Final[dict[str, tuple[str, State]]] = {
    "crying": ("crying", _all),
    "cry": ("cry", _all),
    "cause": ("cause", _all),
    "score": ("sound", _of("score", 1, 100.0)),
    "level": ("sound", _of("level_dbfs")),
    "crying_tonight": ("night", _of("crying_s", 1, 1 / 60, "night")),
    "episodes_tonight": ("night", _of("episodes", 0, 1.0, "night")),
    "longest_calm": ("night", _of("longest_calm_s", 1, 1 / 60, "night")),
    "last_cry": ("night", _of("last_cry_at")),
    "alert": ("alert", _all),
    "muted_until": ("controls", _of("muted_until")),
    "connectivity": ("availability", _all),
    "microphone_fault": ("health", _of("microphone_ok", 0, 1.0, "reasons")),
    "signal_fault": ("health", _of("signal_ok", 0, 1.0, "reasons")),
    "health": ("health", _of("state", 0, 1.0, "reasons")),
    "version": ("health", _of("version")),
    "started_at": ("health", _of("version")),  # time and uptime rise together: it stays
    "audio_lost": ("health", lambda payload: payload["counters"]["audio_lost_s"]),
    "alert_delivery": ("delivery", _all),
    **{
        key: ("controls", _of(field, 1, 1.0, "last_rejected"))
        for key, field in {
            "listening": "listening",
            "sensitivity": "sensitivity",
            "hold": "hold_s",
            "quiet_hours": "quiet_hours",
            "mute": "muted_until",
        }.items()
    },
    "confirm_cause": ("confirmed_cause", _all),
}


def count(scene: str, folder: Path) -> Counter[str]:
    """The rows of an hour of ``scene``, by entity."""
    ahead_s = [0.0]
    with Mosquitto(folder / scene) as broker, Subscriber(broker.port) as hub:
        sink = MqttSink(settings_for(broker.port), jitter_s=lambda: 0.0, monotonic_s=lambda: ahead_s[0])
        sink.open()
        try:
            settle(sink)
            publish(SCENES[scene](), sink, lambda second: ahead_s.__setitem__(0, second))
            settle(sink)
            hub.publish(f"{BASE}/end", "")
            return rows(hub.wait_for(lambda seen: seen[-1].topic == f"{BASE}/end"))
        finally:
            sink.close(5.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--scene", choices=list(SCENES), help="this one alone")
    only = parser.parse_args().scene
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    with tempfile.TemporaryDirectory() as folder:
        for scene in [only] if only else SCENES:
            counted = count(scene, Path(folder))
            most = ", ".join(f"{key} {number}" for key, number in counted.most_common(7))
            print(f"{scene:<12} {counted.total():5} rows an hour (aim {AIM}): {most}", flush=True)


if __name__ == "__main__":
    main()
