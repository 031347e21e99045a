"""ONNX Runtime's tools for quantization: imported here alone, behind the switch for its telemetry."""

from __future__ import annotations

import monitor.detect.inference  # noqa: F401 - its effect is wanted

# isort: split
# Behind `inference`, which tells the library before it is loaded not to report to its maker.
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

__all__ = [
    "CalibrationDataReader",
    "CalibrationMethod",
    "QuantFormat",
    "QuantType",
    "quant_pre_process",
    "quantize_dynamic",
    "quantize_static",
]
