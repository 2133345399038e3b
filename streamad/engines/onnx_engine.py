"""The ONNX Runtime engine: independent of OpenVINO, for comparison and as a choice of the user's."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from streamad.engines.base import BATCH_SIZES, Batch, EngineInfo, padded
from streamad.engines.synchronous import WorkerEngine
from streamad.errors import EngineError


class OnnxEngine(WorkerEngine):
    """A network run by ONNX Runtime on the CPU.

    Args:
        onnx: the network.
        threads: threads of one batch; None lets ONNX Runtime choose.
        precision: that of the file, as it is told; on a CPU fp16 is rounded to between layers and computed in fp32.
    """

    def __init__(
        self,
        onnx: Path,
        *,
        threads: int | None = None,
        batch_sizes: tuple[int, ...] = BATCH_SIZES,
        why: str = "",
        precision: str = "fp32",
    ) -> None:
        super().__init__(batch_sizes)
        import onnxruntime as ort

        options = ort.SessionOptions()
        # Idle workers would spin on the cores that decoding needs.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if threads is not None:
            options.intra_op_num_threads = threads
        try:
            self._session = ort.InferenceSession(str(onnx), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise EngineError(f"ONNX Runtime cannot run {onnx}: {str(error).splitlines()[0]}") from error
        self._input = self._session.get_inputs()[0].name
        self._info = EngineInfo("onnx", "CPU", precision, str(ort.__version__), why)

    @property
    def info(self) -> EngineInfo:
        """What really runs."""
        return self._info

    def infer(self, batch: Batch) -> Batch:
        """Run one batch and wait; see `Engine.infer`."""
        _, full = padded(batch, self._sizes)
        try:
            outputs = self._session.run(None, {self._input: full})[0]
        except Exception as error:
            raise EngineError(f"ONNX Runtime failed: {str(error).splitlines()[0]}") from error
        return np.array(outputs[: len(batch)], dtype=np.float32)
