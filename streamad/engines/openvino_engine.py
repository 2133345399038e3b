"""The OpenVINO engine: the default on a CPU."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from streamad.engines.base import BATCH_SIZES, Batch, EngineInfo, padded
from streamad.engines.threaded import ThreadedEngine
from streamad.errors import EngineError

_FIRST = threading.Lock()
_first_done = False


class OpenVinoEngine(ThreadedEngine):
    """A network compiled by OpenVINO, once per static batch size.

    There is one worker thread per request that OpenVINO runs in parallel, each with one request per size.
    AsyncInferQueue is not used because it never calls back for a failed request, whose frames would wait forever.
    Dynamic shapes are not used because they are slower (docs/results/performance.md).

    Args:
        onnx: The network file.
        device: OpenVINO's device name.
        precision: "fp32"; "bf16" if the device supports it; "int8" for a quantized network.
        threads: Total number of CPU threads. Default: OpenVINO chooses.
        hint: "throughput" runs several batches in parallel (files, many cameras), "latency" one on all threads.
        batch_sizes: Static batch sizes to compile, ascending.
        why: Why this engine was chosen.

    Raises:
        EngineError: If OpenVINO cannot read or compile the network, or does not have the device.
    """

    def __init__(
        self,
        onnx: Path,
        *,
        device: str = "CPU",
        precision: str = "fp32",
        threads: int | None = None,
        hint: str = "latency",
        batch_sizes: tuple[int, ...] = BATCH_SIZES,
        why: str = "",
    ) -> None:
        import openvino as ov  # slow to import (0.3 s), so only when needed

        core = ov.Core()
        config = compile_config(core, device, precision, threads, hint)
        try:
            model = core.read_model(onnx)
            rank = model.input(0).partial_shape
            input_shape = tuple(rank[k].get_length() for k in range(1, len(rank)))
            compiled: dict[int, Any] = {}
            for size in batch_sizes:
                variant = model.clone()
                variant.reshape({0: ov.PartialShape([size, *input_shape])})
                compiled[size] = core.compile_model(variant, device, config)
            if precision == "int8":
                check_int8(compiled[batch_sizes[-1]], onnx, device)
            workers = int(compiled[batch_sizes[-1]].get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
            requests: queue.SimpleQueue[dict[int, Any]] = queue.SimpleQueue()
            for _ in range(workers):
                requests.put({size: network.create_infer_request() for size, network in compiled.items()})
            full_name = str(core.get_property(device, "FULL_DEVICE_NAME"))
        except RuntimeError as error:
            raise EngineError(
                f"OpenVINO cannot run {onnx} on {device}: {reason(error)}",
                hint="`streamad doctor` lists the devices; export the bundle again if the file is damaged",
            ) from error
        super().__init__(tuple(batch_sizes), workers=workers)
        self._tile_shape = input_shape
        self._requests = requests
        self._info = EngineInfo(
            "openvino", f"{device} ({full_name.strip()})", precision, str(ov.__version__).split("-")[0], why
        )
        first_inference(lambda: self.infer(np.zeros((1, *input_shape), np.float32)))

    def infer(self, batch: Batch) -> Batch:
        """Run one batch and wait; see `Engine.infer`."""
        if batch.shape[1:] != self._tile_shape:
            raise EngineError(f"the network takes inputs of shape {self._tile_shape}, got {batch.shape[1:]}")
        size, full = padded(batch, self._sizes)
        requests = self._requests.get()
        try:
            request = requests[size]
            # Do not use `infer()`: it computes in this thread, which is slower beside other work.
            request.start_async({0: full}, share_inputs=True)
            request.wait()
            return np.array(request.get_output_tensor(0).data[: len(batch)], dtype=np.float32)
        except RuntimeError as error:
            raise EngineError(f"OpenVINO failed on a batch of {len(batch)}: {reason(error)}") from error
        finally:
            self._requests.put(requests)

    def close(self) -> None:
        """Free everything."""
        super().close()
        while not self._requests.empty():
            self._requests.get()


def compile_config(core: Any, device: str, precision: str, threads: int | None, hint: str) -> dict[str, Any]:
    """Return OpenVINO's settings for compiling a network.

    The precision is always set. Otherwise OpenVINO could choose bf16 or f16 where the CPU supports it, and scores would
    differ between machines.

    Raises:
        EngineError: If the device does not support the precision. OpenVINO would silently use another one.
    """
    if precision != "fp32":
        try:
            able = precision.upper() in core.get_property(device, "OPTIMIZATION_CAPABILITIES")
        except RuntimeError as error:
            raise EngineError(f"OpenVINO has no device {device}: {reason(error)}") from error
        if not able:
            raise EngineError(f"{device} does not compute in {precision} here", hint="omit the precision to use fp32")
    config: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32"}
    if threads is not None and device == "CPU":
        config["INFERENCE_NUM_THREADS"] = threads
    return {"PERFORMANCE_HINT": hint.upper(), **config}


def check_int8(compiled: Any, network: Path, device: str) -> None:
    """Check that a network really runs in 8 bits: OpenVINO silently uses float32 for what a device does not support.

    Raises:
        EngineError: If no convolution or matrix product runs in 8 bits.
    """
    for node in compiled.get_runtime_model().get_ops():
        kind, runs_in = (str(node.get_rt_info()[key].value) for key in ("layerType", "runtimePrecision"))
        if kind in ("Convolution", "Deconvolution", "FullyConnected", "MatMul") and runs_in in ("i8", "u8", "I8", "U8"):
            return
    raise EngineError(f"{device} does not run {network} in int8 here", hint="omit the precision to use fp32")


def first_inference(run: Callable[[], object]) -> None:
    """Run the process's first inference while no other thread can run one.

    OpenVINO's bindings initialize a static table with their first tensor and release the GIL meanwhile. A second thread
    that creates its first tensor then waits for the table while holding the GIL, forever (2026.4; seen with two engines
    in two threads).
    """
    global _first_done
    with _FIRST:
        if not _first_done:
            run()
            _first_done = True


def reason(error: BaseException) -> str:
    """OpenVINO's error message without the source locations that precede it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return next((line for line in lines if not line.startswith("Exception from ")), type(error).__name__)
