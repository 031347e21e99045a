"""A trained net in all its forms: size, accuracy, latency and multiply-adds of each, in one table.

    python -m models.training.forms --run runs/gate --out runs/forms
    python -m models.training.forms --run runs/gate --out runs/forms --subject teacher

Float, dynamic int8 (InfantCryNet's), static int8 in several variants, and static int8 behind
quantization-aware fine-tuning. Losses are paired: the same scenes, resampled together. Latencies are taken
turn by turn in one process. A further net joins by a :class:`Subject`, see models/training/subjects.py.
"""

from __future__ import annotations

import argparse
import json
import zlib
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from torch import nn

from models.training import cost, qat, quantize
from models.training.metrics import Interval
from models.training.onnx_tools import CalibrationMethod, QuantType
from models.training.quantize import Feed, Static
from models.training.resampling import Ranking, interval
from models.training.train import Schedule
from monitor.detect.inference import Network
from monitor.errors import ModelError

DRAWS: Final = 500
ROUNDS: Final = 100
CNN14_BYTES: Final = 80_700_000 * 4
"""PANNs CNN-14, InfantCryNet's larger trunk, in float32 (arXiv 1912.10211)."""
MOST_LOST: Final = 0.005
"""AUC that a form may lose and still ship: half a point."""
AWARE: Final = Schedule(epochs=1, batch=16, rate=3e-4, weight_decay=0.0, average=0.98)

PAPER: Final = (("-7 %", "0"), ("-28 %", "8 %"))
"""InfantCryNet's compression and what it cost (arXiv 2409.19689v2, abstract)."""


@dataclass(frozen=True)
class Subject:
    """A net that is to be quantized, and how it is heard.

    ``labels`` and ``sure`` are (n_scenes, n_steps), as is what ``score`` gives; steps that are not sure do
    not count. ``answers`` gives what fine-tuning holds fast, for ``n_examples`` examples of train.
    """

    name: str
    net: nn.Module
    export: Callable[[nn.Module, Path], None]
    feeds: Callable[[Path], Iterable[Feed]]
    score: Callable[[Network], NDArray[np.float32]]
    labels: NDArray[np.bool_]
    sure: NDArray[np.bool_]
    answers: qat.Answers
    n_examples: int


@dataclass(frozen=True, slots=True)
class Row:
    """One form. Changes are form minus float, in AUC and AP over steps; times are of one run."""

    form: str
    bytes: int
    deflated: int
    """In the wheel, which is a zip."""
    auc: float
    auc_change: Interval
    ap: float
    ap_change: Interval
    cold_ms: cost.Spread
    warm_ms: cost.Spread


@dataclass(frozen=True, slots=True)
class Report:
    subject: str
    parameters: int
    multiply_adds: int
    operators: dict[str, int]
    scenes: int
    rows: tuple[Row, ...]
    failed: dict[str, str]
    """Forms that ONNX Runtime does not take, with its reason."""


Maker = Callable[[Path, Path], None]
"""Writes a form from the float file."""


def makers(subject: Subject) -> dict[str, Maker]:
    """Every form that is made from the float file alone."""

    def static(how: Static) -> Maker:
        return lambda source, target: quantize.static_int8(source, target, subject.feeds(source), how)

    def dynamic(*operators: str) -> Maker:
        return lambda source, target: quantize.dynamic_int8(source, target, operators)

    return {
        "dynamic, linear layers": dynamic("MatMul", "Gemm"),
        "dynamic, convolutions too": dynamic("MatMul", "Gemm", "Conv"),
        "static, MinMax, U8S8, 7 bits": static(Static()),
        "static, MinMax, U8S8, 8 bits": static(Static(reduce_range=False)),
        "static, MinMax, S8S8, 8 bits": static(Static(QuantType.QInt8, reduce_range=False)),
        "static, Entropy, U8S8, 7 bits": static(Static(calibration=CalibrationMethod.Entropy)),
        "static, Percentile, U8S8, 7 bits": static(Static(calibration=CalibrationMethod.Percentile)),
    }


def make_forms(subject: Subject, folder: Path, *, aware: bool) -> tuple[dict[str, Path], dict[str, str]]:
    """Write all forms into ``folder``: their paths by name, the float first, and what failed with why."""
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / "float.onnx"
    subject.export(subject.net, source)
    paths, failed = {"float32": source}, {}
    for number, (name, make) in enumerate(makers(subject).items()):
        target = folder / f"form{number}.onnx"
        make(source, target)
        try:
            network = Network(target)
            network.run(network.blank_feed())
        except ModelError as error:
            failed[name] = error.message
        else:
            paths[name] = target
    if aware:
        tuned = qat.tuned(subject.net, subject.answers, subject.n_examples, AWARE, seed=0)
        subject.export(tuned, folder / "aware-float.onnx")
        paths["fine-tuned, then static"] = folder / "aware.onnx"
        feeds = subject.feeds(folder / "aware-float.onnx")
        quantize.static_int8(folder / "aware-float.onnx", folder / "aware.onnx", feeds)
    return paths, failed


def report(subject: Subject, folder: Path, *, aware: bool, draws: int, rounds: int) -> Report:
    """Make, hear and time all forms of a net."""
    paths, failed = make_forms(subject, folder, aware=aware)
    networks = {name: Network(path) for name, path in paths.items()}
    heard = {}
    for name, network in networks.items():
        print(f"{subject.name}: {name}", flush=True)
        heard[name] = _rankings(subject, subject.score(network))
    feed = next(iter(subject.feeds(paths["float32"])))
    taken = cost.interleaved({name: _runs(network, feed) for name, network in networks.items()}, rounds)
    rows = [
        Row(
            name,
            path.stat().st_size,
            len(zlib.compress(path.read_bytes(), 9)),
            **_judged(heard[name], heard["float32"], draws),
            cold_ms=cost.Spread.of(taken[name][:, 0] * 1000.0),
            warm_ms=cost.Spread.of(taken[name][:, 1] * 1000.0),
        )
        for name, path in paths.items()
    ]
    graph = onnx.load(str(paths["float32"])).graph
    kinds = [node.op_type for node in graph.node]
    return Report(
        subject=subject.name,
        parameters=quantize.parameters_of(paths["float32"]),
        multiply_adds=cost.multiply_adds(paths["float32"]),
        operators={kind: kinds.count(kind) for kind in ("Conv", "Gemm", "MatMul")},
        scenes=len(subject.labels),
        rows=tuple(rows),
        failed=failed,
    )


def _runs(network: Network, feed: Feed) -> Callable[[], object]:
    return lambda: network.run(feed)


def _rankings(subject: Subject, heard: NDArray[np.float32]) -> Ranking:
    """Steps that are sure, ranked; scenes are what is drawn as a whole."""
    sure = subject.sure
    scene = np.broadcast_to(np.arange(len(sure))[:, None], sure.shape)[sure]
    return Ranking.of(heard[sure].astype(np.float64), subject.labels[sure], scene)


def _judged(form: Ranking, floating: Ranking, draws: int) -> dict[str, Any]:
    """Figures of a form, and what it differs from float on the same draws of scenes."""
    whole = np.ones(form.n_groups)
    return {
        "auc": form.auc(whole),
        "auc_change": interval(lambda w: form.auc(w) - floating.auc(w), form.n_groups, draws),
        "ap": form.ap(whole),
        "ap_change": interval(lambda w: form.ap(w) - floating.ap(w), form.n_groups, draws),
    }


COLUMNS: Final = (
    "form", "KB", "of float", "zipped", "of CNN-14", "AUC", "change, points", "AP", "change, points",
    "ms cold", "ms warm",
)  # fmt: skip


def cells(found: Report) -> list[tuple[str, ...]]:
    """The table's body. A change in points is a hundred times that of AUC or AP, with 95 % interval."""
    first = found.rows[0]
    return [
        (
            row.form,
            f"{row.bytes / 1000:.1f}",
            f"{100 * (row.bytes / first.bytes - 1):+.1f} %",
            f"{100 * (row.deflated / first.deflated - 1):+.1f} %",
            f"{100 * (row.bytes / CNN14_BYTES - 1):+.2f} %",
            f"{row.auc:.4f}",
            _points(row.auc_change),
            f"{row.ap:.4f}",
            _points(row.ap_change),
            str(row.cold_ms),
            str(row.warm_ms),
        )
        for row in found.rows
    ]


def _points(change: Interval) -> str:
    return f"{100 * change.value:+.2f} [{100 * change.low:+.2f}, {100 * change.high:+.2f}]"


def sentences(found: Report) -> list[str]:
    """What the table needs said beside it."""
    operators = ", ".join(f"{count} {kind}" for kind, count in found.operators.items())
    size = f"{found.parameters:,} parameters, {found.multiply_adds / 1e6:.2f} M multiply-adds a run"
    paper = "; ".join(f"{change} size at a loss of {loss}" for change, loss in PAPER)
    return [
        f"{found.subject}: {size} ({operators}); {found.scenes} validation scenes, 95 % intervals over them.",
        f"InfantCryNet, dynamic int8 on linear layers: {paper}.",
        *(f"Does not run: {name}: {why}" for name, why in found.failed.items()),
    ]


def best(found: Report) -> Row:
    """The smallest form that loses at most MOST_LOST of AUC."""
    return min(
        (row for row in found.rows if row.auc_change.value >= -MOST_LOST),
        key=lambda row: (row.bytes, row.cold_ms.median),
    )


def markdown(found: Report) -> str:
    """For models/README.md."""
    head = [f"| {' | '.join(COLUMNS)} |", f"|---{'|---:' * (len(COLUMNS) - 1)}|"]
    body = [f"| {' | '.join(line)} |" for line in cells(found)]
    return "\n".join([*head, *body, "", *sentences(found)]) + "\n"


def show(found: Report, console: Console) -> None:
    """For people."""
    drawn = Table(title=f"forms of the {found.subject}")
    for column in COLUMNS:
        drawn.add_column(column, justify="left" if column == "form" else "right")
    for line in cells(found):
        drawn.add_row(*line)
    console.print(drawn)
    for line in sentences(found):
        console.print(line)


def save(found: Report, folder: Path) -> None:
    """``<subject>.json`` and ``<subject>.md``."""
    (folder / f"{found.subject}.json").write_text(json.dumps(asdict(found), indent=2) + "\n")
    (folder / f"{found.subject}.md").write_text(markdown(found))


def main() -> None:
    from models.training import subjects  # noqa: PLC0415 - they are made of this module's Subject

    parser = argparse.ArgumentParser(prog="python -m models.training.forms", description=__doc__)
    parser.add_argument("--run", type=Path, required=True, help="run folder of the subject")
    parser.add_argument("--subject", choices=tuple(subjects.SUBJECTS), default="gate")
    parser.add_argument("--recipe", type=Path, default=Path("models/recipes/gate.toml"))
    parser.add_argument("--data", type=Path, help="audio data (default: $CRADLEWATCH_DATA)")
    parser.add_argument("--pretrained", type=Path, help="weights (default: $CRADLEWATCH_PRETRAINED)")
    parser.add_argument("--cache", type=Path, default=Path("runs/cache"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--scenes", type=int, default=800, help="validation scenes (default 800)")
    parser.add_argument("--no-aware", action="store_true", help="leave quantization-aware fine-tuning out")
    parser.add_argument("--draws", type=int, default=DRAWS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    subject = subjects.SUBJECTS[options.subject](options)
    found = report(
        subject,
        options.out / subject.name,
        aware=not options.no_aware,
        draws=options.draws,
        rounds=options.rounds,
    )
    save(found, options.out)
    show(found, Console(width=180))


if __name__ == "__main__":
    main()
