"""Self-test of a user's GPU for stateful networks: several cameras and run lengths compared with the CPU."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from streamad.bundle import Bundle
from streamad.engines.base import Batch
from streamad.engines.factory import GPU_FRAMES_PER_CALL, GPU_STREAMS_PER_CALL
from streamad.engines.onnx_stateful import OnnxStatefulEngine
from streamad.engines.state_buffers import OUTPUTS
from streamad.engines.stateful import StatefulEngine, StreamChunk, StreamState
from streamad.engines.tensorrt.engine import TensorRtOptions
from streamad.engines.tensorrt.selftest import TOLERANCES, SelfTest, free_mib, measure, require_reference
from streamad.engines.tensorrt.stateful import TensorRtStatefulEngine

COMPARED = 3
"""Number of cameras compared with the CPU, in runs of one, two and three."""

BEYOND = 10
"""Number of frames per camera compared, after those on which an output depends."""


@dataclass(frozen=True)
class _Frames:
    """One chunk for each of several cameras; its length is the total number of frames.

    Attributes:
        states: The cameras' states, by id of the engine.
        frames: (n, channels, height, width) frames of each camera.
    """

    states: dict[int, list[StreamState]]
    frames: Sequence[Batch]

    def __len__(self) -> int:
        return sum(len(frames) for frames in self.frames)

    def run(self, engine: StatefulEngine) -> None:
        states = self.states.setdefault(id(engine), [engine.new_state() for _ in self.frames])
        engine.run_together([StreamChunk(*pair) for pair in zip(states, self.frames, strict=True)])


def run_stateful_selftest(bundle: Bundle, name: str, precision: str, device: str | None) -> SelfTest:
    """Compare outputs and measure the time and memory of a model's streaming form on the GPU.

    Args:
        bundle: A bundle with the streaming form.
        name: "tensorrt" or "tensorrt-rtx".
        precision: "fp32", or "fp16" if the bundle has that variant of the form.
        device: "cuda:N". Default: the first GPU.

    Raises:
        EngineError: If ONNX Runtime is missing or the engine cannot run.
    """
    require_reference()
    from streamad.engines.tensorrt.gpu import Gpu, gpu_index

    context = (bundle.manifest.tiling.window or 1) - 1
    exact = bundle.network_path("fp32", streaming=True)
    gpu = Gpu(gpu_index(device))
    before = free_mib(gpu)
    started = time.perf_counter()
    engine = TensorRtStatefulEngine(
        bundle.network_path(precision, streaming=True),
        context,
        library="tensorrt-rtx" if name == "tensorrt-rtx" else "tensorrt",
        options=TensorRtOptions(device=device, precision="fp16" if precision == "fp16" else "fp32"),
        run_sizes=(1, GPU_FRAMES_PER_CALL),
        cameras=GPU_STREAMS_PER_CALL,
    )
    try:
        engine.warm_up()
        seconds = time.perf_counter() - started
        reference = OnnxStatefulEngine(
            exact, context, run_sizes=(1, GPU_FRAMES_PER_CALL), camera_sizes=(1, GPU_STREAMS_PER_CALL)
        )
        try:
            worst, largest = _difference(engine, reference, context + BEYOND)
            frames = _noise(engine.frame_shape, GPU_STREAMS_PER_CALL, GPU_FRAMES_PER_CALL)
            runs = {
                "frame": frames[:1, :1],
                f"frames of {GPU_STREAMS_PER_CALL} cameras": frames[:, :1],
                "frames of a camera": frames[:1, :GPU_FRAMES_PER_CALL],
            }
            times = []
            for of, given in runs.items():
                chunks = _Frames({}, list(given))
                times.append(measure(lambda p: p.run(engine), lambda p: p.run(reference), chunks, of))
        finally:
            reference.close()
        used, buffers, info = before - free_mib(gpu), engine.device_bytes / 2**20, engine.info
    finally:
        engine.close()
    return SelfTest(
        model=bundle.name,
        form="streaming",
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
        times=tuple(times),
    )


def _noise(shape: tuple[int, ...], cameras: int, frames: int) -> Batch:
    """Noise over the whole input range, (cameras, frames, channels, height, width)."""
    return np.random.default_rng(0).uniform(-1, 1, (cameras, frames, *shape)).astype(np.float32)


def _difference(engine: StatefulEngine, reference: StatefulEngine, count: int) -> tuple[float, float]:
    """Largest difference over cameras with chunks of many lengths, and the largest output."""
    rng = np.random.default_rng(1)
    videos = _noise(engine.frame_shape, COMPARED, count)
    states = [engine.new_state() for _ in videos]
    done = [0] * COMPARED
    rows: list[list[Batch]] = [[] for _ in videos]
    while min(done) < count:
        taken = {
            c: int(n) for c, n in enumerate(rng.integers(0, GPU_FRAMES_PER_CALL + 2, COMPARED)) if n and done[c] < count
        }
        chunks = [StreamChunk(states[c], videos[c, done[c] : done[c] + n]) for c, n in taken.items()]
        for c, answer in zip(taken, engine.run_together(chunks), strict=True):
            if not isinstance(answer, dict):
                raise answer
            rows[c].append(answer[OUTPUTS])
            done[c] += len(answer[OUTPUTS])
    worst, largest = 0.0, 0.0
    for video, parts in zip(videos, rows, strict=True):
        expected = reference.advance(reference.new_state(), video)
        context = int(np.isnan(expected[:, 0]).sum())
        difference = np.abs(np.concatenate(parts)[context:] - expected[context:])
        # Count NaN as the worst difference; comparisons alone would ignore it.
        worst = max(worst, float(difference.max()) if np.isfinite(difference).all() else float("inf"))
        largest = max(largest, float(np.abs(expected[context:]).max()))
    return worst, largest
