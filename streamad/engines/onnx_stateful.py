"""Stateful networks run by ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from streamad.engines.base import EngineInfo
from streamad.engines.host_stateful import HostStatefulEngine
from streamad.engines.onnx_engine import library_version, open_session
from streamad.engines.state_buffers import Array, parse_state_buffers
from streamad.engines.stateful import CAMERA_SIZES, RUN_SIZES
from streamad.errors import EngineError


class OnnxStatefulEngine(HostStatefulEngine):
    """A stateful network run by ONNX Runtime on the CPU. State is read and written in place.

    Args:
        onnx: The network file.
        context: Number of preceding frames on which a frame's output depends.
        threads: Number of threads per run. Default: ONNX Runtime chooses.
        run_sizes: See `StatefulEngine`.
        camera_sizes: See `StatefulEngine`.
        why: Why this engine was chosen.
        precision: The file's precision, for `info`. On a CPU, fp16 values are rounded between layers but computed in
            fp32.

    Raises:
        EngineError: If ONNX Runtime cannot read the network.
    """

    def __init__(
        self,
        onnx: Path,
        context: int,
        *,
        threads: int | None = None,
        run_sizes: tuple[int, ...] = RUN_SIZES,
        camera_sizes: tuple[int, ...] = CAMERA_SIZES,
        why: str = "",
        precision: str = "fp32",
    ) -> None:
        super().__init__(context, run_sizes, camera_sizes)
        self._session = open_session(onnx, threads)
        ports = [*self._session.get_inputs(), *self._session.get_outputs()]
        self._shapes = {port.name: tuple(port.shape[1:]) for port in ports}
        self._state_buffers = parse_state_buffers(port.name for port in self._session.get_inputs())
        self._info = EngineInfo("onnx", "CPU", precision, library_version(), why)

    def _compute(self, inputs: Mapping[str, Array], outputs: Mapping[str, Array], cameras: int) -> None:
        binding = self._session.io_binding()
        try:
            for name, values in inputs.items():
                binding.bind_input(name, "cpu", 0, np.float32, values.shape, values.ctypes.data)
            for name, values in outputs.items():
                binding.bind_output(name, "cpu", 0, np.float32, values.shape, values.ctypes.data)
            self._session.run_with_iobinding(binding)
        except Exception as error:
            raise EngineError(f"ONNX Runtime failed: {str(error).splitlines()[0]}") from error
