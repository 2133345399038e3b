"""The OpenVINO engine: the default on a CPU."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np

from streamad.engines.base import BATCH_SIZES, Batch, EngineInfo, OnDone, OnError, padded
from streamad.errors import EngineError


class OpenVinoEngine:
    """A network compiled by OpenVINO, once for each static batch size.

    One AsyncInferQueue for each size, made once: a queue a call grows memory, and dynamic shapes are slower (facts
    measured for this project, docs/performance.md).

    Args:
        onnx: the network.
        device: OpenVINO's device name.
        threads: CPU threads in all; None lets OpenVINO choose.
        hint: "throughput" runs several batches side by side (files, many cameras), "latency" one on all threads.
        batch_sizes: static sizes to compile, ascending.

    Raises:
        EngineError: OpenVINO cannot read or compile the network, or has no such device.
    """

    def __init__(
        self,
        onnx: Path,
        *,
        device: str = "CPU",
        threads: int | None = None,
        hint: str = "latency",
        batch_sizes: tuple[int, ...] = BATCH_SIZES,
        why: str = "",
    ) -> None:
        import openvino as ov  # slow to import (0.3 s): only who runs it pays

        core = ov.Core()
        config: dict[str, Any] = {
            "PERFORMANCE_HINT": hint.upper(),
            # Without this OpenVINO may run in bf16 or f16 where the CPU can, and scores would differ by machine.
            "INFERENCE_PRECISION_HINT": "f32",
        }
        if threads is not None and device == "CPU":
            config["INFERENCE_NUM_THREADS"] = threads
        try:
            model = core.read_model(onnx)
            rank = model.input(0).partial_shape
            self._queues: dict[int, Any] = {}
            self._locks: dict[int, threading.Lock] = {}
            for size in batch_sizes:
                shape = [size, *(rank[k].get_length() for k in range(1, len(rank)))]
                variant = model.clone()
                variant.reshape({0: ov.PartialShape(shape)})
                compiled = core.compile_model(variant, device, config)
                queue = ov.AsyncInferQueue(compiled, 0)
                queue.set_callback(self._completed)
                self._queues[size] = queue
                self._locks[size] = threading.Lock()
            self._tile_shape = tuple(shape[1:])
            full_name = str(core.get_property(device, "FULL_DEVICE_NAME"))
        except RuntimeError as error:
            raise EngineError(
                f"OpenVINO cannot run {onnx} on {device}: {_first_line(error)}",
                hint="`streamad doctor` lists the devices; export the bundle again if the file is damaged",
            ) from error
        self._sizes = tuple(batch_sizes)
        self._info = EngineInfo("openvino", f"{device} ({full_name.strip()})", "fp32", str(ov.__version__), why)

    @property
    def info(self) -> EngineInfo:
        """What really runs."""
        return self._info

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        """Static batch sizes, ascending."""
        return self._sizes

    def infer(self, batch: Batch) -> Batch:
        """Run one batch and wait; see `Engine.infer`."""
        answer: list[Batch] = []
        failure: list[Exception] = []
        finished = threading.Event()

        def done(outputs: Batch) -> None:
            answer.append(outputs)
            finished.set()

        def failed(error: Exception) -> None:
            failure.append(error)
            finished.set()

        self.submit(batch, done, failed)
        finished.wait()
        if failure:
            raise failure[0]
        return answer[0]

    def submit(self, batch: Batch, done: OnDone, failed: OnError) -> None:
        """Start one batch; see `Engine.submit`."""
        if batch.shape[1:] != self._tile_shape:
            raise EngineError(f"the network takes tiles of shape {self._tile_shape}, got {batch.shape[1:]}")
        size, full = padded(batch, self._sizes)
        with self._locks[size]:  # AsyncInferQueue is not safe for several submitting threads
            # `full` travels in the userdata so that it lives until the batch is answered (share_inputs copies nothing).
            self._queues[size].start_async({0: full}, (batch.shape[0], full, done, failed), share_inputs=True)

    def drain(self) -> None:
        """Wait until every submitted batch has been answered."""
        for queue in self._queues.values():
            queue.wait_all()

    def close(self) -> None:
        """Free everything."""
        self.drain()
        self._queues.clear()

    @staticmethod
    def _completed(request: Any, userdata: tuple[int, Batch, OnDone, OnError]) -> None:
        n, _, done, failed = userdata
        try:
            outputs = np.array(request.get_output_tensor(0).data[:n], dtype=np.float32)
        except RuntimeError as error:
            failed(EngineError(f"OpenVINO failed on a batch of {n}: {_first_line(error)}"))
            return
        done(outputs)


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
