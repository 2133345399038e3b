"""Stateful networks run by TensorRT or TensorRT-RTX. Each camera's state stays in GPU memory."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from streamad.engines.base import Batch
from streamad.engines.state_buffers import FRAMES
from streamad.engines.stateful import RUN_SIZES, StatefulEngine, StreamState
from streamad.engines.stateful_graph import read_state_buffers, specialize_graph
from streamad.engines.tensorrt.building import BuildSpec, build_plan, read_network
from streamad.engines.tensorrt.device_buffers import DeviceBuffers
from streamad.engines.tensorrt.engine import TensorRtOptions
from streamad.engines.tensorrt.gpu import Gpu, gpu_index
from streamad.engines.tensorrt.library import Library, LibraryName, load_library
from streamad.engines.tensorrt.loading import PlanLoader, describe, plan_key
from streamad.engines.tensorrt.plan_cache import PlanCache, default_folder
from streamad.engines.tensorrt.profiles import camera_profiles
from streamad.engines.tensorrt.stateful_runner import StatefulRunner


def stateful_spec(
    content: bytes, frames: int, cameras: int, capability: tuple[int, int], workspace_mib: int | None = None
) -> tuple[bytes, BuildSpec]:
    """Specialize a network to one run length, and specify its build.

    Args:
        content: Content of the ONNX file.
        frames: Number of frames per camera in a run.
        cameras: Maximum number of cameras in a run. Any smaller number runs unpadded.
        capability: Compute capability of the GPU, (major, minor).
        workspace_mib: Limit on scratch memory, MiB. Default: all of the GPU's memory.
    """
    rows = {FRAMES: frames, **{delay.name: delay.rows(frames) for delay in read_state_buffers(content)}}
    return specialize_graph(content, frames), BuildSpec(camera_profiles(cameras), capability, workspace_mib, rows)


class TensorRtStatefulEngine(StatefulEngine):
    """A stateful network run by TensorRT or TensorRT-RTX on a GPU.

    For a single camera the plan reads and writes state in place. For several cameras state is copied side by side on
    the GPU. There is one stream, and one plan per number of frames in a run.

    Args:
        onnx: The network file, such as `streaming.onnx`.
        context: Number of preceding frames on which a frame's output depends.
        library: "tensorrt" or "tensorrt-rtx".
        options: Engine settings.
        run_sizes: See `StatefulEngine`. There is one plan per size.
        cameras: Maximum number of cameras in a run. Any smaller number runs unpadded.
        why: Why this engine was chosen.

    Raises:
        EngineError: One of the errors in `failures`, which names the cause.
    """

    def __init__(
        self,
        onnx: Path,
        context: int,
        *,
        library: LibraryName = "tensorrt",
        options: TensorRtOptions | None = None,
        run_sizes: tuple[int, ...] = RUN_SIZES,
        cameras: int = 1,
        why: str = "",
    ) -> None:
        super().__init__(context, run_sizes, tuple(range(1, cameras + 1)))
        options = options or TensorRtOptions()
        loaded = load_library(library)
        self._gpu = Gpu(gpu_index(options.device))
        self._loader = PlanLoader(loaded, PlanCache(options.cache or default_folder()))
        self._runner: StatefulRunner | None = None
        self._closed = False
        content = read_network(onnx)
        self._state_buffers = read_state_buffers(content)
        try:
            with self._gpu.current():
                for frames in run_sizes:
                    self._load(loaded, onnx, content, frames, options)
            self._runner = StatefulRunner(
                loaded, self._gpu, run_sizes, self._loader.plans, self._state_buffers, cameras
            )
        except BaseException:
            self.close()
            raise
        self._shapes = self._runner.shapes
        self._info = describe(loaded, self._gpu, options.precision, why)

    @property
    def device_bytes(self) -> int:
        """Device memory for buffers, scratch and cameras, bytes; the plans' weights are not included."""
        return 0 if self._runner is None else self._runner.bytes

    def warm_up(self) -> None:
        """Run every supported size once, and free the cameras' memory that this takes."""
        super().warm_up()
        with self._lock:
            assert self._runner is not None
            self._runner.free_idle()

    def close(self) -> None:
        """Free buffers and contexts, then the plans, then their runtime, with the GPU's context current."""
        super().close()
        if self._closed:
            return
        self._closed = True
        with self._lock:
            if self._runner is not None:
                self._runner.close()
            with self._gpu.current():
                self._loader.close()

    def _new_memory(self) -> DeviceBuffers:
        assert self._runner is not None
        return self._runner.new_buffers()

    def _execute(self, states: Sequence[StreamState], frames: Sequence[Batch], names: Sequence[str]) -> list[Batch]:
        assert self._runner is not None
        buffers: list[DeviceBuffers] = [state.memory for state in states]
        rows = self._runner.run(buffers, frames, names)
        for buffer in buffers:
            buffer.advance(len(frames[0]))
        return rows

    def _load(self, library: Library, onnx: Path, content: bytes, frames: int, options: TensorRtOptions) -> None:
        cameras = self._camera_sizes[-1]
        network, spec = stateful_spec(content, frames, cameras, self._gpu.capability, options.workspace_mib)
        key = plan_key(library, self._gpu, spec, options.precision, hashlib.sha256(network).hexdigest())
        self._loader.load(onnx.name, key, lambda: build_plan(library, onnx, spec, network))
