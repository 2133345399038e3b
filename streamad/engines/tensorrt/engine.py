"""The TensorRT and TensorRT-RTX engines: the same code for both libraries."""

from __future__ import annotations

import queue
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from streamad.engines.base import BATCH_SIZES, Batch, check_count
from streamad.engines.tensorrt.building import BuildSpec, build_plan
from streamad.engines.tensorrt.gpu import Gpu, gpu_index
from streamad.engines.tensorrt.library import Library, LibraryName, load_library
from streamad.engines.tensorrt.loading import PlanLoader, describe, plan_key
from streamad.engines.tensorrt.plan_cache import PlanCache, default_folder
from streamad.engines.tensorrt.profiles import profiles_for
from streamad.engines.tensorrt.runner import Runner
from streamad.engines.threaded import ThreadedEngine
from streamad.errors import EngineError
from streamad.files import sha256_of

RUNNERS = {"latency": 1, "throughput": 2}
"""Number of batches in flight: with one, it has the GPU to itself; with two, one is copied while the other computes."""


@dataclass(frozen=True, slots=True)
class TensorRtOptions:
    """Engine settings.

    Attributes:
        device: "cuda:N". Default: the first GPU.
        precision: Precision of the ONNX file.
        hint: "latency" or "throughput".
        workspace_mib: Limit on scratch memory at build time, MiB. Default: no limit.
        cache: Folder for plans. Default: the user's cache folder.
    """

    device: str | None = None
    precision: Literal["fp32", "fp16"] = "fp32"
    hint: str = "latency"
    workspace_mib: int | None = None
    cache: Path | None = None


class TensorRtEngine(ThreadedEngine):
    """A network run by TensorRT or TensorRT-RTX on a GPU.

    Args:
        onnx: The network file, with one input whose first dimension is dynamic. The first output is returned.
        library: "tensorrt" or "tensorrt-rtx".
        options: Engine settings.
        batch_sizes: Sizes that a caller may use. Any batch up to the largest runs unpadded.
        why: Why this engine was chosen.

    Raises:
        EngineError: One of the errors in `failures`, which names the cause.
    """

    def __init__(
        self,
        onnx: Path,
        *,
        library: LibraryName = "tensorrt",
        options: TensorRtOptions | None = None,
        batch_sizes: tuple[int, ...] = BATCH_SIZES,
        why: str = "",
    ) -> None:
        options = options or TensorRtOptions()
        loaded = load_library(library)
        self._gpu = Gpu(gpu_index(options.device))
        profiles = profiles_for(batch_sizes)
        spec = BuildSpec(profiles, self._gpu.capability, options.workspace_mib)
        key = plan_key(loaded, self._gpu, spec, options.precision, sha256_of(onnx))
        self._runners: queue.SimpleQueue[Runner] = queue.SimpleQueue()
        self._all: list[Runner] = []
        self._closed = False
        self._loader = PlanLoader(loaded, PlanCache(options.cache or default_folder()))
        super().__init__(tuple(batch_sizes), workers=RUNNERS[options.hint])
        try:
            with self._gpu.current():
                self._loader.load(onnx.name, key, lambda: build_plan(loaded, onnx, spec))
                self._open_runners(loaded)
            self._input = self._only_input(onnx)
        except BaseException:
            self.close()
            raise
        self._info = describe(loaded, self._gpu, options.precision, why)

    @property
    def device_bytes(self) -> int:
        """Device memory for buffers and scratch, bytes; the plan's weights are not included."""
        return sum(runner.bytes for runner in self._all)

    def infer(self, batch: Batch) -> Batch:
        """Run one batch and wait; see `Engine.infer`."""
        check_count(len(batch), self._sizes)
        runner = self._runners.get()
        try:
            outputs = runner.run({self._input: batch})
        finally:
            self._runners.put(runner)
        return next(iter(outputs.values()))

    def close(self) -> None:
        """Free runners, then the plan, then its runtime, with the GPU's context current."""
        super().close()
        if self._closed:
            return
        self._closed = True
        for runner in self._all:
            runner.close()
        self._all.clear()
        with self._gpu.current():
            self._loader.close()

    def _open_runners(self, library: Library) -> None:
        for _ in range(self._workers):
            runner = Runner(library, self._gpu, self._loader.plans[0])
            self._all.append(runner)
            self._runners.put(runner)

    def _only_input(self, onnx: Path) -> str:
        inputs = list(self._all[0].input_shapes)
        if len(inputs) != 1:
            raise EngineError(f"this engine runs networks with one input, {onnx.name} has {sorted(inputs)}")
        return inputs[0]
