"""The figures of the running service for Prometheus, on request. Needs the extra ``metrics``."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import structlog

from monitor.bounded_server import BoundedServer, Bounds, tcp_socket
from monitor.errors import ConfigError
from monitor.http_answer import Request, Response, http_answer, plain

if TYPE_CHECKING:
    from types import ModuleType

    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric

log = structlog.get_logger(__name__)

STATES: Final = ("ok", "degraded", "fault")
# Counters that only grow; the others go up and down.
TOTALS: Final = frozenset(
    {
        "audio_s", "audio_lost_s", "gaps", "overflows", "capture_restarts", "episodes", "busy_s", "hops",
        "awake_hops", "wakings",
    }
)  # fmt: skip
TOTAL_ENDINGS: Final = ("_delivered", "_retries", "_dropped")
_BOUNDS: Final = Bounds(connections=16)


class MetricsServer:
    """Serves /metrics on ``listen`` ("127.0.0.1:9464"); each request asks ``report`` again."""

    def __init__(self, listen: str, report: Callable[[], Mapping[str, Any]]) -> None:
        host, _, port = listen.rpartition(":")
        self._host = host.strip("[]") or "0.0.0.0"  # noqa: S104 - an empty host is every address
        self._port = int(port)
        self._listen = listen
        self._report = report
        self._registry: CollectorRegistry | None = None
        self._server = BoundedServer("metrics", self._bind, http_answer(self._respond), _BOUNDS)

    @property
    def port(self) -> int:
        """Where it really listens; the port 0 asks for any."""
        address = self._server.address
        return address[1] if isinstance(address, tuple) else self._port

    @property
    def fault(self) -> str:
        """Why nobody can ask, in a sentence; empty while everybody can. Any thread."""
        reason = self._server.fault
        return f'metrics.listen = "{self._listen}" cannot be listened to: {reason}.' if reason else ""

    def start(self) -> str:
        """Begin to serve; why that cannot be yet, or an empty text. Raises ConfigError without the extra."""
        library = _library()
        self._registry = library.CollectorRegistry()
        self._registry.register(_Figures(self._report))
        self._server.start()
        if not self.fault:
            log.info("metrics.open", port=self.port)
        return self.fault

    def stop(self, timeout_s: float = 1.0) -> None:
        """Serve no more."""
        self._server.stop(timeout_s)

    def _bind(self) -> socket.socket:
        return tcp_socket(self._host, self._port)

    def _respond(self, request: Request) -> Response:
        if request.target.partition("?")[0] not in {"/", "/metrics"}:
            return plain(HTTPStatus.NOT_FOUND)
        if request.method != "GET":
            return plain(HTTPStatus.METHOD_NOT_ALLOWED)
        assert self._registry is not None, "it listens from start() on"
        encode, content_type = _library().exposition.choose_encoder(request.headers.get("Accept", ""))
        return Response(HTTPStatus.OK, encode(self._registry), content_type)


def _library() -> ModuleType:
    try:
        # Not above: who does not ask for metrics does not need the library.
        import prometheus_client  # noqa: PLC0415
    except ImportError as error:
        raise ConfigError(
            "metrics.listen is set, but the library for it is not installed.",
            "Install it (`pip install 'cradlewatch[metrics]'`), or leave metrics.listen out.",
        ) from error
    return prometheus_client


class _Figures:
    """A collector as prometheus_client wants it."""

    def __init__(self, report: Callable[[], Mapping[str, Any]]) -> None:
        self._report = report

    def collect(self) -> Iterator[Metric]:
        from prometheus_client.core import (  # noqa: PLC0415 - see _library
            CounterMetricFamily,
            GaugeMetricFamily,
            InfoMetricFamily,
        )

        report = self._report()
        yield InfoMetricFamily(
            "cradlewatch",
            "The monitor.",
            value={"device": report["device"], "version": report["version"], "source": report["source"]},
        )
        state = GaugeMetricFamily("cradlewatch_state", "1 for the state that it is in.", labels=["state"])
        for name in STATES:
            state.add_metric([name], float(report["state"] == name))
        yield state
        sinks = GaugeMetricFamily("cradlewatch_sink_up", "Whether messages get through.", labels=["sink"])
        for name, fault in report["sinks"].items():
            sinks.add_metric([name], float(not fault))
        yield sinks
        for name, value in _single(report).items():
            yield GaugeMetricFamily(f"cradlewatch_{name}", name.replace("_", " "), value=float(value))
        for name, value in report["counters"].items():
            total = name in TOTALS or name.endswith(TOTAL_ENDINGS)
            family = CounterMetricFamily if total else GaugeMetricFamily
            yield family(f"cradlewatch_{_metric_name(name)}", name.replace("_", " "), value=value)


def _single(report: Mapping[str, Any]) -> dict[str, float]:
    night = report["night"]
    figures = {
        "up_seconds": report["uptime_s"],
        "microphone_ok": report["microphone_ok"],
        "signal_ok": report["signal_ok"],
        "listening": report["controls"]["listening"],
        "crying": report["alert"]["state"] != "none",
        "tonight_episodes": night["episodes"],
        "tonight_crying_seconds": night["crying_s"],
    }
    delivery = report.get("delivery")
    if delivery is not None:
        figures |= {f"push_{name}": delivery[name] for name in ("delivered", "failed", "waiting")}
    return figures


def _metric_name(counter: str) -> str:
    """Prometheus wants base units written out: ``audio_lost_s`` is ``audio_lost_seconds``."""
    for short, long in {"_s": "_seconds", "_ms": "_milliseconds", "_c": "_celsius"}.items():
        if counter.endswith(short):
            return counter.removesuffix(short) + long
    return counter
