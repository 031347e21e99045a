"""What a network costs a second of audio: multiply-adds, counted in its graph, and measured time.

    python -m models.training.cost --run runs/gate --out runs/cost.json

The streaming gate stands beside the same net run over windows without state, mn04 and YAMNet. Every
graph runs in ONNX Runtime on one thread, turn by turn in one process, so that a busy machine hurts all
alike; only YAMNet's TFLite file brings its own kernels. "Cold" is how a live monitor runs, its caches
swept by whatever else happened since the last hop; "warm" is one run right behind another.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from models.training import corpus, export, yamnet
from models.training.gate import load_gate
from models.training.nets import mn04, yamnet_trunk
from models.training.nets.gate import GateNet
from monitor.detect.activity import HOP
from monitor.detect.features import FRAME_HOP, N_MELS, LogMel
from monitor.detect.inference import Network
from monitor.types import SAMPLE_RATE_HZ, seconds

HOP_S: Final = seconds(HOP)
WINDOW_S: Final = 2.0
"""What a detector without state would look at on every hop, to see about as far back as ours."""
YAMNET_PATCH_S: Final = 0.96
YAMNET_PATCH: Final = (1, 1, 96, yamnet_trunk.N_MELS)
TEACHER_CLIP_S: Final = 10.0
ROUNDS: Final = 60
SWEEP_BYTES: Final = 64 << 20
"""More than the caches of a desktop hold; as cold as 240 ms of sleep leave them."""


def multiply_adds(path: Path) -> int:
    """Multiply-adds of one run of an ONNX file: its convolutions and matrix products.

    Integer products count as much as float ones. Raises ValueError where a shape is not fixed.
    """
    model = onnx.shape_inference.infer_shapes(onnx.load(str(path)), strict_mode=True, data_prop=True)
    shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    for value in (*model.graph.input, *model.graph.value_info, *model.graph.output):
        shapes[value.name] = tuple(d.dim_value for d in value.type.tensor_type.shape.dim)
    return sum(_of_node(node, shapes) for node in model.graph.node)


def _of_node(node: onnx.NodeProto, shapes: Mapping[str, tuple[int, ...]]) -> int:
    if node.op_type in {"Conv", "ConvInteger"}:
        # A kernel is (c_out, c_in / groups, ...): every output cell sums over all of it but c_out.
        per_output = int(np.prod(_shape(node.input[1], shapes)[1:]))
    elif node.op_type in {"MatMul", "MatMulInteger"}:
        per_output = _shape(node.input[0], shapes)[-1]
    elif node.op_type == "Gemm":
        turned = any(a.name == "transA" and a.i for a in node.attribute)
        per_output = _shape(node.input[0], shapes)[0 if turned else 1]
    else:
        return 0
    return per_output * int(np.prod(_shape(node.output[0], shapes)))


def _shape(name: str, shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, ...]:
    shape = shapes.get(name, ())
    if not shape or 0 in shape:
        raise ValueError(f"the shape of {name!r} is not known: {shape}")
    return shape


def interleaved(
    runs: Mapping[str, Callable[[], object]],
    rounds: int,
    clock: Callable[[], float] = time.process_time,
) -> dict[str, NDArray[np.float64]]:
    """Seconds of each run, (rounds, 2) by name: with cold caches, and warm.

    All run turn by turn, each round in another order; two rounds before do not count.
    """
    rng = np.random.default_rng(0)
    elsewhere = np.zeros(SWEEP_BYTES, np.uint8)
    taken = {name: np.zeros((rounds, 2)) for name in runs}
    for k in range(-2, rounds):
        for name in rng.permutation(list(runs)):
            elsewhere += 1
            cold = _time_of(runs[name], clock)
            runs[name]()
            warm = _time_of(runs[name], clock)
            if k >= 0:
                taken[name][k] = cold, warm
    return taken


def _time_of(run: Callable[[], object], clock: Callable[[], float]) -> float:
    begun = clock()
    run()
    return clock() - begun


@dataclass(frozen=True)
class Candidate:
    """Something that listens: what it does every ``every_s`` seconds of audio."""

    name: str
    every_s: float
    run: Callable[[], object]
    multiply_adds: int | None
    """Of one run; None where there is no graph to count in."""


@dataclass(frozen=True, slots=True)
class Spread:
    """A median with the 5th and the 95th percentile."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: NDArray[np.float64]) -> Spread:
        low, middle, high = np.percentile(values, [5, 50, 95])
        return cls(float(middle), float(low), float(high))

    def __str__(self) -> str:
        return f"{self.median:.2f} [{self.low:.2f}, {self.high:.2f}]"


@dataclass(frozen=True, slots=True)
class Cost:
    """A second of audio: multiply-adds and milliseconds of CPU."""

    name: str
    every_s: float
    multiply_adds: float | None
    cold_ms: Spread
    warm_ms: Spread


def costs(candidates: Sequence[Candidate], rounds: int) -> list[Cost]:
    """Measure all candidates in one run."""
    taken = interleaved({c.name: c.run for c in candidates}, rounds)
    rows = []
    for each in candidates:
        cold, warm = (taken[each.name] * 1000.0 / each.every_s).T
        count = None if each.multiply_adds is None else each.multiply_adds / each.every_s
        rows.append(Cost(each.name, each.every_s, count, Spread.of(cold), Spread.of(warm)))
    return rows


class _Whole(nn.Module):
    """The gate over a window from silence, as a detector without state would run it."""

    def __init__(self, net: GateNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, frames: Tensor) -> Tensor:
        return self.net(frames)[:, 0]


def _onnx_candidate(name: str, every_s: float, path: Path) -> Candidate:
    network = Network(path)
    rng = np.random.default_rng(0)
    feed = {key: rng.standard_normal(x.shape).astype(np.float32) for key, x in network.blank_feed().items()}
    return Candidate(name, every_s, lambda: network.run(feed), multiply_adds(path))


def _exported(net: nn.Module, shape: tuple[int, ...], path: Path) -> Path:
    names = {"input_names": ["input"], "output_names": ["output"]}
    export.write_onnx(net.eval(), (torch.zeros(shape),), path, names)
    return path


def gate_candidates(run: Path, scratch: Path) -> list[Candidate]:
    """Our gate, streaming in both forms, and over windows; and the front end it needs."""
    window_frames = round(WINDOW_S * SAMPLE_RATE_HZ) // FRAME_HOP
    whole = _Whole(load_gate(run / "gate.pt"))
    window = _exported(whole, (1, window_frames, N_MELS), scratch / "window.onnx")
    front_end, hop = LogMel(), np.random.default_rng(0).integers(-3000, 3000, HOP).astype(np.int16)
    return [
        _onnx_candidate("gate, streaming, int8", HOP_S, run / "gate.int8.onnx"),
        _onnx_candidate("gate, streaming, float", HOP_S, run / "gate.float.onnx"),
        _onnx_candidate(f"gate, {WINDOW_S:g} s window each hop, float", HOP_S, window),
        Candidate("our log-mel, streaming", HOP_S, lambda: front_end.process(hop), None),
    ]


def other_candidates(pretrained: Path, scratch: Path) -> list[Candidate]:
    """The teacher and the competitor, as they would have to run live and at their cheapest."""
    teacher = mn04.load(pretrained / "efficientat-mn04" / "mn04_as_mAP_432.pt")
    live = _exported(teacher, (1, 1, 128, round(WINDOW_S * 100)), scratch / "mn04-live.onnx")
    clip = _exported(teacher, (1, 1, 128, round(TEACHER_CLIP_S * 100)), scratch / "mn04-clip.onnx")
    trunk = yamnet_trunk.load(pretrained / yamnet_trunk.WEIGHTS_FILE)
    patch = _exported(trunk, YAMNET_PATCH, scratch / "yamnet.onnx")
    wave = np.random.default_rng(0).normal(0.0, 0.1, yamnet.WINDOW_SAMPLES).astype(np.float32)
    tflite = yamnet.Yamnet(pretrained / yamnet.MODEL_FILE)
    return [
        _onnx_candidate(f"mn04, {WINDOW_S:g} s window each hop, float", HOP_S, live),
        _onnx_candidate("mn04, 10 s after 10 s, float", TEACHER_CLIP_S, clip),
        _onnx_candidate("YAMNet, 0.96 s window each hop, float", HOP_S, patch),
        _onnx_candidate("YAMNet, 0.96 s after 0.96 s, float", YAMNET_PATCH_S, patch),
        Candidate(
            "YAMNet TFLite, 0.975 s after 0.975 s, front end in it",
            yamnet.WINDOW_S,
            lambda: tflite(wave),
            None,
        ),
    ]


COLUMNS: Final = ("what", "every", "multiply-adds", "x", "CPU ms, cold", "x", "CPU ms, warm", "x")


def table(rows: Sequence[Cost]) -> Table:
    """For people; everything is compared with the first row."""
    drawn = Table(title="a second of audio, one thread; 5th to 95th percentile in brackets")
    for column in COLUMNS:
        drawn.add_column(column, justify="left" if column == "what" else "right")
    for cells in _cells(rows):
        drawn.add_row(*cells)
    return drawn


def markdown(rows: Sequence[Cost]) -> str:
    """The same for models/README.md."""
    head = [f"| {' | '.join(COLUMNS)} |", f"|---{'|---:' * (len(COLUMNS) - 1)}|"]
    return "\n".join([*head, *(f"| {' | '.join(cells)} |" for cells in _cells(rows))]) + "\n"


def _cells(rows: Sequence[Cost]) -> list[tuple[str, ...]]:
    first = rows[0]
    return [
        (
            row.name,
            f"{row.every_s:g} s",
            "" if row.multiply_adds is None else f"{row.multiply_adds / 1e6:.2f} M",
            _times(row.multiply_adds, first.multiply_adds),
            str(row.cold_ms),
            _times(row.cold_ms.median, first.cold_ms.median),
            str(row.warm_ms),
            _times(row.warm_ms.median, first.warm_ms.median),
        )
        for row in rows
    ]


def _times(value: float | None, unit: float | None) -> str:
    return "" if value is None or unit is None else f"{value / unit:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m models.training.cost", description=__doc__)
    parser.add_argument("--run", type=Path, required=True, help="run folder of the gate")
    parser.add_argument("--pretrained", type=Path, help="weights (default: $CRADLEWATCH_PRETRAINED)")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--out", type=Path, help="JSON; the table in markdown goes beside it")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        candidates = gate_candidates(options.run, scratch)
        candidates += other_candidates(corpus.pretrained_root(options.pretrained), scratch)
        rows = costs(candidates, options.rounds)
    Console().print(table(rows))
    if options.out is not None:
        report: dict[str, Any] = {"machine": platform.processor() or platform.machine()}
        report |= {"rounds": options.rounds, "rows": [asdict(row) for row in rows]}
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(report, indent=2) + "\n")
        options.out.with_suffix(".md").write_text(markdown(rows))


if __name__ == "__main__":
    main()
