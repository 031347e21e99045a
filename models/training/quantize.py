"""One float ONNX file in, its quantized forms out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from typing_extensions import override

from models.training.onnx_tools import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)

Feed = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Static:
    """How activations and weights are rounded; the defaults are what ships.

    Weights keep to 7 bits (``reduce_range``): the AVX2 kernels of processors without VNNI add pairs of
    products in 16 bits and would saturate, and scores must not depend on the processor. Activations
    are unsigned: ONNX Runtime's x86 kernels take twice as long for signed ones (models.training.forms).
    """

    activations: QuantType = QuantType.QUInt8
    calibration: CalibrationMethod = CalibrationMethod.MinMax
    reduce_range: bool = True


class _Reader(CalibrationDataReader):
    def __init__(self, feeds: Iterable[Feed]) -> None:
        self._feeds: Iterator[Feed] = iter(feeds)

    @override
    def get_next(self) -> Feed | None:
        return next(self._feeds, None)


def static_int8(source: Path, target: Path, feeds: Iterable[Feed], how: Static | None = None) -> None:
    """QDQ with weights per channel, every operation in int8: half the time of convolutions alone."""
    how = Static() if how is None else how
    quantize_static(
        str(source),
        str(target),
        _Reader(feeds),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        reduce_range=how.reduce_range,
        activation_type=how.activations,
        weight_type=QuantType.QInt8,
        calibrate_method=how.calibration,
    )
    slim(target)


def dynamic_int8(source: Path, target: Path, operators: Sequence[str]) -> None:
    """Weights of some operators in int8, their activations' ranges found anew on every run.

    In 7 bits, for the reason that :class:`Static` gives.
    """
    quantize_dynamic(
        str(source),
        str(target),
        op_types_to_quantize=list(operators),
        weight_type=QuantType.QInt8,
        reduce_range=True,
    )
    slim(target)


def slim(path: Path) -> None:
    """Give what only the graph itself refers to short names, and drop the rest of the exporter's prose.

    In a network of 160,000 bytes the names of its tensors are a tenth of the file.
    """
    model = onnx.load(str(path))
    graph = model.graph
    kept = {"", *(value.name for value in (*graph.input, *graph.output))}
    short: dict[str, str] = {}

    def renamed(name: str) -> str:
        return name if name in kept else short.setdefault(name, f"t{len(short)}")

    for node in graph.node:
        node.input[:] = [renamed(name) for name in node.input]
        node.output[:] = [renamed(name) for name in node.output]
        node.ClearField("name")
        node.ClearField("doc_string")
    for tensor in graph.initializer:
        tensor.name = renamed(tensor.name)
    del graph.value_info[:]
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def parameters_of(path: Path) -> int:
    """Number of weights in an ONNX file."""
    return sum(int(np.prod(t.dims)) for t in onnx.load(str(path)).graph.initializer)
