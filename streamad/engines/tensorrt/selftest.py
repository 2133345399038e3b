"""Self-test of a user's GPU: TensorRT compared with ONNX Runtime on the CPU, with latency and memory.

The engine was written without access to a GPU, so the user's machine must show whether it is correct.
"""

from __future__ import annotations

import importlib.util
import statistics
import time
from collections.abc import Callable, Iterator, Sized
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from streamad.bundle import Bundle
from streamad.engines.base import Batch, batch_sizes_for
from streamad.engines.onnx_engine import OnnxEngine
from streamad.engines.tensorrt.engine import TensorRtEngine, TensorRtOptions
from streamad.engines.tensorrt.profiles import SMALL
from streamad.errors import EngineError, install_hint

Given = TypeVar("Given", bound=Sized)

ROUNDS = 30
"""Number of timed runs per batch size, after five warm-up runs."""

TOLERANCES = {"fp32": 1e-3, "fp16": 2e-2}
"""Largest difference that passes, as a share of the largest output (at least 1). Another order of summation causes 1e-5
in fp32, and fp16 rounds each layer by up to 5e-4, whereas a fault such as a wrong layout causes differences near 1.
Chosen between these."""


@dataclass(frozen=True, slots=True)
class BatchTime:
    """Timing of one batch size.

    Attributes:
        batch: Number of inputs, or of frames for the streaming form.
        of: What they are.
        milliseconds: Median time from host memory to host memory.
        worst_milliseconds: Longest time.
        cpu_milliseconds: Median time of ONNX Runtime on the CPU with all threads.
    """

    batch: int
    of: str
    milliseconds: float
    worst_milliseconds: float
    cpu_milliseconds: float


@dataclass(frozen=True, slots=True)
class SelfTest:
    """Result for one model on one GPU.

    Attributes:
        model: Name of the bundle.
        form: "windows" (also for patches), or "streaming" for the stateful form.
        engine: "tensorrt" or "tensorrt-rtx".
        version: Version of the library.
        device: The GPU.
        precision: "fp32" or "fp16".
        start_seconds: Time to the first output, including the build of the plan unless it is cached.
        max_abs_output: Largest absolute difference from ONNX Runtime in fp32.
        allowed: Largest difference that passes.
        buffer_mib: Buffers and scratch memory of the engine, MiB.
        gpu_mib: Decrease of the GPU's free memory while the engine was open, MiB; includes other processes.
        leaked_mib: Memory not returned when the engine was closed, MiB.
        times: Timing of each batch size.
    """

    model: str
    form: str
    engine: str
    version: str
    device: str
    precision: str
    start_seconds: float
    max_abs_output: float
    allowed: float
    buffer_mib: float
    gpu_mib: float
    leaked_mib: float
    times: tuple[BatchTime, ...]

    @property
    def passed(self) -> bool:
        """Whether the outputs agree."""
        return self.max_abs_output <= self.allowed

    def rows(self) -> Iterator[dict[str, Any]]:
        """Rows for display, one per batch size."""
        for time_ in self.times:
            yield {
                "model": self.model,
                "form": self.form,
                "precision": self.precision,
                "agrees": "yes" if self.passed else "NO",
                "largest difference": self.max_abs_output,
                "batch": f"{time_.batch} {time_.of}",
                "ms": time_.milliseconds,
                "worst ms": time_.worst_milliseconds,
                "CPU ms": time_.cpu_milliseconds,
                "GPU MiB": self.gpu_mib,
                "start s": self.start_seconds,
                "device": self.device,
            }


def run_selftest(bundle: Bundle, name: str, precision: str, device: str | None) -> SelfTest:
    """Compare outputs and measure the time and memory of one model on the GPU.

    Args:
        bundle: The model bundle.
        name: "tensorrt" or "tensorrt-rtx".
        precision: "fp32", or "fp16" if the bundle has that variant.
        device: "cuda:N". Default: the first GPU.

    Raises:
        EngineError: If ONNX Runtime is missing or the engine cannot run.
    """
    require_reference()
    from streamad.engines.tensorrt.gpu import Gpu, gpu_index

    kind = bundle.manifest.tiling.kind
    sizes = batch_sizes_for(kind)
    inputs = _noise(bundle, sizes[-1])
    gpu = Gpu(gpu_index(device))
    before = free_mib(gpu)
    started = time.perf_counter()
    engine = TensorRtEngine(
        bundle.network_path(precision),
        library="tensorrt-rtx" if name == "tensorrt-rtx" else "tensorrt",
        options=TensorRtOptions(device=device, precision="fp16" if precision == "fp16" else "fp32"),
        batch_sizes=sizes,
    )
    try:
        engine.infer(inputs[:1])
        seconds = time.perf_counter() - started
        reference = OnnxEngine(bundle.onnx_path, batch_sizes=sizes)
        try:
            worst, largest = _difference(engine, reference, inputs)
            times = tuple(
                measure(engine.infer, reference.infer, inputs[:size], kind if size > 1 else kind[:-1])
                for size in _spread(sizes)
            )
        finally:
            reference.close()
        used, buffers, info = before - free_mib(gpu), engine.device_bytes / 2**20, engine.info
    finally:
        engine.close()
    return SelfTest(
        model=bundle.name,
        form="windows",
        engine=name,
        version=info.version,
        device=info.device,
        precision=info.precision,
        start_seconds=seconds,
        max_abs_output=worst,
        allowed=TOLERANCES[precision] * max(1.0, largest),
        buffer_mib=buffers,
        gpu_mib=used,
        leaked_mib=before - free_mib(gpu),
        times=times,
    )


def _noise(bundle: Bundle, count: int) -> Batch:
    """Noise over the whole input range, including its extremes."""
    spec = bundle.manifest.input
    pixels = np.random.default_rng(0).uniform(0, 255, (max(count, 2), spec.channels, spec.height, spec.width))
    pixels[0], pixels[-1] = 0, 255
    return (pixels / spec.scale + spec.offset).astype(np.float32)


def _difference(engine: TensorRtEngine, reference: OnnxEngine, inputs: Batch) -> tuple[float, float]:
    """Largest difference over batches around every size and the border of the profiles, and the largest output."""
    worst = 0.0
    most = engine.batch_sizes[-1]
    expected = np.concatenate([reference.infer(inputs[k : k + most]) for k in range(0, len(inputs), most)])
    around = {size + step for size in (*engine.batch_sizes, SMALL) for step in (-1, 0, 1)}
    for count in sorted(size for size in around if 1 <= size <= most):
        difference = np.abs(engine.infer(inputs[-count:]) - expected[-count:])
        # Count NaN as the worst difference; comparisons alone would ignore it.
        worst = max(worst, float(difference.max()) if np.isfinite(difference).all() else float("inf"))
    return worst, float(np.abs(expected).max())


def require_reference() -> None:
    """Check that the reference engine is installed.

    Raises:
        EngineError: If ONNX Runtime is missing.
    """
    if importlib.util.find_spec("onnxruntime") is None:
        raise EngineError("the self-test requires ONNX Runtime, which is not installed", hint=install_hint("onnx"))


def measure(run: Callable[[Given], Any], on_cpu: Callable[[Given], Any], given: Given, of: str) -> BatchTime:
    """Time both functions on the same input. `of` says what its elements are."""
    times = [_seconds(run, given) for _ in range(ROUNDS + 5)][5:]
    cpu = [_seconds(on_cpu, given) for _ in range(4)][1:]
    return BatchTime(len(given), of, 1000 * statistics.median(times), 1000 * max(times), 1000 * statistics.median(cpu))


def _seconds(run: Callable[[Given], Any], given: Given) -> float:
    started = time.perf_counter()
    run(given)
    return time.perf_counter() - started


def _spread(sizes: tuple[int, ...]) -> tuple[int, ...]:
    """The smallest, a middle and the largest size."""
    return tuple(dict.fromkeys((sizes[0], sizes[len(sizes) // 2], sizes[-1])))


def free_mib(gpu: Any) -> float:
    """Free memory of a GPU, MiB."""
    with gpu.current():
        return float(gpu.memory()[0]) / 2**20
