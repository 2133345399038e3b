"""Plans from the cache or from a build, loaded by the library's runtime."""

from __future__ import annotations

import logging
from collections.abc import Callable

from streamad.engines.base import EngineInfo
from streamad.engines.tensorrt.api import ICudaEngine, Runtime
from streamad.engines.tensorrt.building import BuildSpec
from streamad.engines.tensorrt.failures import GpuUnavailableError, PlanMismatchError, failure
from streamad.engines.tensorrt.gpu import Gpu
from streamad.engines.tensorrt.library import Library
from streamad.engines.tensorrt.plan_cache import PlanCache, PlanKey

_log = logging.getLogger(__name__)


class PlanLoader:
    """The runtime and the plans that it loaded. All calls are inside `Gpu.current()`.

    Args:
        library: TensorRT or TensorRT-RTX.
        cache: where plans are kept.
    """

    def __init__(self, library: Library, cache: PlanCache) -> None:
        self._library = library
        self._cache = cache
        self._runtime: Runtime | None = None  # it must outlive the plans
        self.plans: list[ICudaEngine] = []
        """Those that are loaded, in their order."""

    def load(self, name: str, key: PlanKey, build: Callable[[], bytes]) -> None:
        """Load one more plan; a kept one that is of no use here is built again.

        Args:
            name: of the network's file.
            key: of the plan.
            build: makes it where the cache has none.

        Raises:
            EngineError: one of `failures`, which names the cause.
        """
        library = self._library
        mark = library.log.mark()
        runtime = self._start(mark)
        plan, kept = self._cache.get(key, build)
        engine = runtime.deserialize_cuda_engine(plan)
        if engine is None and kept:
            problem = failure("the library refuses it", library.log.since(mark))
            # Another fault, such as full memory, would strike again after minutes of building.
            if not isinstance(problem, PlanMismatchError):
                raise problem
            _log.warning("the plan %s is of no use here and is built again: %s", self._cache.path(key), str(problem))
            mark = library.log.mark()
            engine = runtime.deserialize_cuda_engine(self._cache.rebuild(key, build))
        if engine is None:
            raise failure(f"{library.name} cannot load the plan of {name}", library.log.since(mark))
        self.plans.append(engine)

    def close(self) -> None:
        """Free the plans, then the runtime."""
        self.plans.clear()
        self._runtime = None

    def _start(self, mark: int) -> Runtime:
        library = self._library
        if self._runtime is None:
            try:
                self._runtime = library.trt.Runtime(library.logger)
            except TypeError as error:
                said = " | ".join(library.log.since(mark)) or "nothing was logged"
                raise GpuUnavailableError(
                    f"{library.name} cannot start: {error}; {said}",
                    hint="install or update the NVIDIA driver; `streamad doctor` shows what is there",
                ) from error
        return self._runtime


def plan_key(library: Library, gpu: Gpu, spec: BuildSpec, precision: str, onnx_sha256: str) -> PlanKey:
    """What tells the plan of a network for this GPU from all others.

    Args:
        library: builds it.
        gpu: runs it.
        spec: how it is built.
        precision: of the network.
        onnx_sha256: of the network that is built from.
    """
    return PlanKey(
        onnx_sha256=onnx_sha256,
        library=library.name,
        version=library.version,
        capability=gpu.capability,
        gpu="" if library.rtx else gpu.name,
        precision=precision,
        profiles=spec.profiles,
        workspace_mib=spec.workspace_mib,
    )


def describe(library: Library, gpu: Gpu, precision: str, why: str) -> EngineInfo:
    """What really runs on a GPU."""
    major, minor = gpu.capability
    device = f"cuda:{gpu.index} ({gpu.name}, compute capability {major}.{minor})"
    return EngineInfo(library.name, device, precision, library.version, why)
