"""The ONNX Runtime engine: independent of OpenVINO, for comparison or by the user's choice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from streamad.engines.base import BATCH_SIZES, Batch, EngineInfo, padded
from streamad.engines.threaded import ThreadedEngine
from streamad.errors import EngineError


class OnnxEngine(ThreadedEngine):
    """A network run by ONNX Runtime on the CPU.

    Args:
        onnx: The network file.
        threads: Number of threads per batch. Default: ONNX Runtime chooses.
        batch_sizes: Static batch sizes, ascending.
        why: Why this engine was chosen.
        precision: The file's precision, for `info`. On a CPU, fp16 values are rounded between layers but computed in
            fp32.
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
        self._session = open_session(onnx, threads)
        self._input = self._session.get_inputs()[0].name
        self._info = EngineInfo("onnx", "CPU", precision, library_version(), why)

    def infer(self, batch: Batch) -> Batch:
        """Run one batch and wait; see `Engine.infer`."""
        _, full = padded(batch, self._sizes)
        try:
            outputs = self._session.run(None, {self._input: full})[0]
        except Exception as error:
            raise EngineError(f"ONNX Runtime failed: {str(error).splitlines()[0]}") from error
        return np.array(outputs[: len(batch)], dtype=np.float32)


def open_session(onnx: Path, threads: int | None) -> Any:
    """Open an inference session on the CPU.

    Args:
        onnx: The network file.
        threads: Number of threads per run. Default: ONNX Runtime chooses.

    Raises:
        EngineError: If ONNX Runtime cannot read the network.
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    # Idle workers would otherwise spin on cores that decoders need.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3  # it warns about every empty tensor, which runs of one frame have by design
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        return ort.InferenceSession(str(onnx), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no common base class
        raise EngineError(f"ONNX Runtime cannot run {onnx}: {str(error).splitlines()[0]}") from error


def library_version() -> str:
    """ONNX Runtime's version."""
    import onnxruntime as ort

    return str(ort.__version__)
