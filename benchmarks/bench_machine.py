"""Capabilities of the machine itself: matrix products, memory bandwidth, and the engine batch by batch."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import openvino as ov

from streamad.bundle import Bundle
from streamad.engines import BATCH_SIZES

GEMM_SIDE = 1024
COPY_BYTES = 256 * 2**20
OFF_SIZES = (24, 96)
"""Batch sizes that match no static shape, to show the cost of padding to the next one."""

SETTLE_SECONDS = 0.1
"""Pause between two measurements. The threads of torch and OpenVINO spin for a while after their work and would slow
down the next measurement."""


def describe() -> dict[str, Any]:
    """Describe the processor, the libraries, and the threads that they use by default."""
    answer: dict[str, Any] = {
        "cpu": _cpu_name(),
        "cpus": len(os.sched_getaffinity(0)),
        "pinning": "none: the system places threads on any of these CPUs",
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "python": platform.python_version(),
        "openvino": ov.__version__.split("-")[0],
        "opencv": cv2.__version__,
        "opencv_threads": cv2.getNumThreads(),
        "numpy": np.__version__,
        "decoder_threads": 1,
    }
    try:
        import torch
    except ModuleNotFoundError:
        answer["torch"] = None
    else:
        answer["torch"], answer["torch_threads"] = torch.__version__, torch.get_num_threads()
    return answer


def gemm_numpy() -> float:
    """GFLOP/s of one float32 matrix product in NumPy's BLAS."""
    a = np.random.default_rng(0).random((GEMM_SIDE, GEMM_SIDE), np.float32)
    return 2.0 * GEMM_SIDE**3 / _seconds(lambda: a @ a) / 1e9


def gemm_openvino() -> float:
    """GFLOP/s of the same product in OpenVINO, with both operands given at run time."""
    shape = [GEMM_SIDE, GEMM_SIDE]
    left, right = (ov.opset13.parameter(shape, np.float32) for _ in range(2))
    product = ov.opset13.matmul(left, right, False, False)
    config = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    request = ov.Core().compile_model(ov.Model([product], [left, right]), "CPU", config).create_infer_request()
    a = np.random.default_rng(0).random((GEMM_SIDE, GEMM_SIDE), np.float32)
    return 2.0 * GEMM_SIDE**3 / _seconds(lambda: request.infer([a, a], share_inputs=True)) / 1e9


def convolution_openvino(precision: str) -> float | None:
    """GFLOP/s of a 1×1 convolution (a matrix product) from 256 to 256 channels in OpenVINO.

    Args:
        precision: "fp32", "bf16" or "int8".

    Returns:
        None if the processor does not support the precision.
    """
    core, ops = ov.Core(), ov.opset13
    if precision != "fp32" and precision.upper() not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        return None
    rng = np.random.default_rng(0)
    frames = ops.parameter([1, 256, 64, 64], np.float32)
    value, kernel = frames, ops.constant(rng.normal(0, 0.1, (256, 256, 1, 1)).astype(np.float32))
    bounds = [ops.constant(np.float32(v)) for v in (-1.0, 1.0, -1.0, 1.0)]
    if precision == "int8":
        kernel = ops.fake_quantize(kernel, *bounds, 255)
    for _ in range(8):  # consecutive, so that intermediate values need no new memory layout
        if precision == "int8":
            value = ops.fake_quantize(value, *bounds, 256)
        value = ops.convolution(value, kernel, [1, 1], [0, 0], [0, 0], [1, 1])
    config = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32"}
    request = core.compile_model(ov.Model([value], [frames]), "CPU", config).create_infer_request()
    tile = rng.uniform(-1, 1, (1, 256, 64, 64)).astype(np.float32)
    return 8 * 2.0 * 256 * 256 * 64 * 64 / _seconds(lambda: request.infer({0: tile}, share_inputs=True)) / 1e9


def copy_bandwidth() -> float:
    """GB/s of a single-threaded copy, counting both bytes read and bytes written."""
    # Write once first: untouched pages all map to a single page of zeros, which stays in the cache.
    source, target = np.ones(COPY_BYTES, np.uint8), np.ones(COPY_BYTES, np.uint8)
    return 2.0 * COPY_BYTES / _seconds(lambda: np.copyto(target, source), repeats=5) / 1e9


@dataclass(frozen=True)
class BatchTime:
    """Time of one batch.

    Attributes:
        form: "static" (as the engine compiles it), "dynamic" (the ONNX file unchanged) or "eager torch".
        size: Batch size.
        milliseconds: Median of one batch at a time, all threads.
    """

    form: str
    size: int
    milliseconds: float


def time_batches(bundle: Bundle, network: Any | None, repeats: int = 9) -> list[BatchTime]:
    """Time each static size, the same sizes and two others with a dynamic batch, and eager torch; interleaved."""
    shape = bundle.manifest.input
    core = ov.Core()
    config = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    model = core.read_model(bundle.onnx_path)
    dynamic = core.compile_model(model, "CPU", config).create_infer_request()
    runs: dict[tuple[str, int], Callable[[], object]] = {}
    rng = np.random.default_rng(0)
    for size in sorted({*BATCH_SIZES, *OFF_SIZES}):
        tiles = rng.uniform(-1, 1, (size, shape.channels, shape.height, shape.width)).astype(np.float32)
        fixed = next((s for s in BATCH_SIZES if s == size), None)
        if fixed is not None:
            variant = model.clone()
            variant.reshape({0: ov.PartialShape(list(tiles.shape))})
            request = core.compile_model(variant, "CPU", config).create_infer_request()
            runs["static", size] = _infer(request, tiles)
        runs["dynamic", size] = _infer(dynamic, tiles)
        if network is not None:
            runs["eager torch", size] = _eager(network, tiles)
    times: dict[tuple[str, int], list[float]] = {key: [] for key in runs}
    for round_number in range(repeats + 1):
        for key, run in runs.items():
            time.sleep(SETTLE_SECONDS)
            run()  # wakes up the threads and warms the caches
            started = time.perf_counter()
            run()
            if round_number:  # the first round is a warm-up
                times[key].append(time.perf_counter() - started)
    return [BatchTime(form, size, 1e3 * float(np.median(found))) for (form, size), found in times.items()]


def engine_threads(bundle: Bundle, hint: str) -> dict[str, int]:
    """Return the threads and parallel streams that OpenVINO uses for each static size under a hint."""
    core = ov.Core()
    model = core.read_model(bundle.onnx_path)
    shape = bundle.manifest.input
    model.reshape({0: ov.PartialShape([BATCH_SIZES[-1], shape.channels, shape.height, shape.width])})
    compiled = core.compile_model(model, "CPU", {"PERFORMANCE_HINT": hint.upper(), "INFERENCE_PRECISION_HINT": "f32"})
    return {
        "threads": int(compiled.get_property("INFERENCE_NUM_THREADS")),
        "streams": int(compiled.get_property("NUM_STREAMS")),
        "requests": int(compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")),
    }


def _infer(request: Any, tiles: Any) -> Callable[[], object]:
    return lambda: request.infer({0: tiles}, share_inputs=True)


def _eager(network: Any, tiles: Any) -> Callable[[], object]:
    import torch

    batch = torch.from_numpy(tiles)

    def run() -> object:
        with torch.inference_mode():
            return network(batch)

    return run


def _seconds(run: Callable[[], object], repeats: int = 9) -> float:
    """Minimum time of a call after a warm-up call, to show what the machine can achieve."""
    run()
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    return min(times)


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
