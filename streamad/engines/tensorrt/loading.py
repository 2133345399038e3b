"""Loading of plans from the cache or a build."""

from __future__ import annotations

import logging
from collections.abc import Callable

from streamad.engines.base import EngineInfo
from streamad.engines.tensorrt.api import ICudaEngine, Runtime
from streamad.engines.tensorrt.building import BuildSpec
from streamad.engines.tensorrt.failures import PlanMismatchError, failure
from streamad.engines.tensorrt.gpu import Gpu
from streamad.engines.tensorrt.library import Library
from streamad.engines.tensorrt.plan_cache import PlanCache, PlanKey

_log = logging.getLogger(__name__)


class PlanLoader:
    """The library's runtime and the plans that it has loaded. Call all methods inside `Gpu.current()`.

    Args:
        library: TensorRT or TensorRT-RTX.
        cache: Cache of built plans.
    """

    def __init__(self, library: Library, cache: PlanCache) -> None:
        self._library = library
        self._cache = cache
        self._runtime: Runtime | None = None  # must outlive the plans
        self.plans: list[ICudaEngine] = []
        """Loaded plans, in order of loading."""

    def load(self, name: str, key: PlanKey, build: Callable[[], bytes]) -> None:
        """Load a plan. A cached plan that cannot be used here is rebuilt.

        Args:
            name: Name of the network file, for messages.
            key: Key of the plan.
            build: Function that builds the plan if the cache does not have it.

        Raises:
            EngineError: One of the errors in `failures`, which names the cause.
        """
        library = self._library
        mark = library.log.mark()
        if self._runtime is None:
            self._runtime = library.start(library.trt.Runtime)
        runtime = self._runtime
        plan, kept = self._cache.get(key, build)
        engine = runtime.deserialize_cuda_engine(plan)
        if engine is None and kept:
            problem = failure("the library rejected the plan", library.log.since(mark))
            # Any other failure, such as full memory, would recur after minutes of building.
            if not isinstance(problem, PlanMismatchError):
                raise problem
            _log.warning("rebuilding the plan %s, which cannot be used here: %s", self._cache.path(key), str(problem))
            mark = library.log.mark()
            engine = runtime.deserialize_cuda_engine(self._cache.rebuild(key, build))
        if engine is None:
            raise failure(f"{library.name} cannot load the plan of {name}", library.log.since(mark))
        self.plans.append(engine)

    def close(self) -> None:
        """Free the plans, then the runtime."""
        self.plans.clear()
        self._runtime = None


def plan_key(library: Library, gpu: Gpu, spec: BuildSpec, precision: str, onnx_sha256: str) -> PlanKey:
    """Create the cache key of a network's plan for a GPU.

    Args:
        library: Library that builds the plan.
        gpu: GPU that runs it.
        spec: Build settings.
        precision: Precision of the network.
        onnx_sha256: SHA-256 of the network that is built.
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
    """Describe what really runs on a GPU."""
    major, minor = gpu.capability
    device = f"cuda:{gpu.index} ({gpu.name}, compute capability {major}.{minor})"
    return EngineInfo(library.name, device, precision, library.version, why)
