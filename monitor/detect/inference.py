"""ONNX Runtime, the only module that imports it: one thread, no spinning, errors of ours."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor.errors import ModelError

# Since 1.29 the library's Linux builds send the name and hash of each model, an identifier of the machine
# and run times to its maker. Its own `disable_telemetry_events` comes too late for that: only this, before
# the import, keeps everything in the house. Whatever stood there before does not count.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime


class Network:
    """One loaded model. Inputs and outputs are float32 arrays by name."""

    def __init__(self, path: Path, *, compact: bool = False) -> None:
        """Load ``path``; ``compact`` spares 4 MB of a network with big feature maps.

        Raises ModelError if it is no readable model.
        """
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        # By default the pool spins between calls, which would keep a core of the Pi busy all night.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.enable_cpu_mem_arena = compact
        if compact:
            # Big maps freed one by one leave holes in the heap; in an arena of their own they do not.
            options.enable_mem_pattern = False
            options.add_session_config_entry("session.disable_prepacking", "1")
        options.log_severity_level = 3
        try:
            self._session: Any = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        # The library's exceptions share no base but Exception.
        except Exception as error:
            raise ModelError(
                f"model {str(path)!r} cannot be loaded: {_first_line(error)}.",
                "Install Cradlewatch anew, or point detect.artifacts at a complete folder.",
            ) from error
        self.outputs = [output.name for output in self._session.get_outputs()]

    def input_shape(self, name: str) -> tuple[int, ...]:
        """The fixed shape of one input. Raises ModelError if there is no such input."""
        for candidate in self._session.get_inputs():
            if candidate.name == name:
                return tuple(int(n) for n in candidate.shape)
        raise ModelError(f"the model has no input {name!r}.", "It was made for another version.")

    def blank_feed(self) -> dict[str, NDArray[np.float32]]:
        """Zeros for every input, which take as long to compute as anything else."""
        inputs = self._session.get_inputs()
        return {each.name: np.zeros(self.input_shape(each.name), np.float32) for each in inputs}

    def run(self, feed: Mapping[str, NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        """All outputs, in the order of ``outputs``."""
        result: list[NDArray[np.float32]] = self._session.run(None, feed)
        return result


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
