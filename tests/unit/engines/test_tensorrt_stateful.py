"""TensorRT with state on the GPU, over stand-ins of GPU and library, against the 3-D network on whole windows.

The stand-in runs the network by ONNX Runtime on "device" memory when the stream gets there, so where every value is
read and written, in which order it is copied, and that nothing is read too early, is computed and not supposed. Fresh
memory is full of NaN. `scripts/check_pycuda.py` runs this file over the real PyCUDA.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cuda_support
import numpy as np
import pytest
import tensorrt_support

torch = pytest.importorskip("torch")
pytest.importorskip("onnxruntime")

from streaming_support import (  # noqa: E402
    CONTEXT,
    HEIGHT,
    TOLERANCE,
    WIDTH,
    clip_network,
    drifting_video,
    on_windows,
)

from streamad.detectors.learned_noise.network import ClipError  # noqa: E402
from streamad.detectors.learned_noise.streaming import REBUILT  # noqa: E402
from streamad.detectors.learned_noise.streaming_graph import write_streaming  # noqa: E402
from streamad.engines.state_buffers import OUTPUTS, StateBufferLayout  # noqa: E402
from streamad.engines.stateful import StreamChunk, StreamState  # noqa: E402
from streamad.engines.tensorrt.engine import TensorRtOptions  # noqa: E402
from streamad.engines.tensorrt.failures import (  # noqa: E402
    GpuMemoryError,
    PlanMismatchError,
    UnsupportedOperatorError,
)
from streamad.engines.tensorrt.gpu import Gpu  # noqa: E402
from streamad.engines.tensorrt.stateful import TensorRtStatefulEngine  # noqa: E402
from streamad.errors import EngineError  # noqa: E402

MODELS = Path(__file__).resolve().parents[3] / "models"
NOTHING = {"device": 0, "pinned": 0, "streams": 0}
WIDTHS = {"aligned": 0.125, "unaligned": 0.08}
"""Widths of the network: of the first every carried value is a multiple of 256 bytes, of the second not all are."""

FRAMES_OF_EACH = 28

pytestmark = pytest.mark.usefixtures("one_torch_thread")


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[tensorrt_support.StandIn]:
    """Stand-ins in place; at the end nothing may be left, and no rule may have been broken."""
    monkeypatch.setenv("STREAMAD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cuda_support, "POISON", 0xFF)  # NaN, in whatever is read as float32
    module = tensorrt_support.install(monkeypatch)
    yield module
    if module.faults.loaded:  # an error that a test looked at is part of a cycle, and holds what its frames held
        gc.collect()
    assert module._stage.broken_rules() == []
    assert module._stage.live() == NOTHING
    assert (module.broken, module.faults.loaded) == ([], [])


@dataclass(frozen=True)
class Case:
    """A network, its graph, and what it says of three videos."""

    network: ClipError
    graph: Path
    videos: list[np.ndarray]
    expected: list[np.ndarray]


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Case]:
    videos, answer = [drifting_video(FRAMES_OF_EACH, seed) for seed in range(3)], {}
    for kind, width in WIDTHS.items():
        network, path = clip_network(width), tmp_path_factory.mktemp("graphs") / "streaming.onnx"
        write_streaming(network.reconstructor, HEIGHT, WIDTH, path, half_weights=False)
        answer[kind] = Case(network, path, videos, [on_windows(network, video)[0] for video in videos])
    return answer


@pytest.fixture(scope="module")
def case(cases: dict[str, Case]) -> Case:
    return cases["aligned"]


def opened(
    graph: Path, sizes: tuple[int, ...] = (1, 3, 9), cameras: int = 3, **options: object
) -> TensorRtStatefulEngine:
    return TensorRtStatefulEngine(
        graph,
        CONTEXT,
        options=TensorRtOptions(**options),
        run_sizes=sizes,
        cameras=cameras,  # type: ignore[arg-type]
    )


def close_to(made: np.ndarray, wanted: np.ndarray) -> None:
    assert np.isnan(made[:CONTEXT]).all()
    assert np.abs(made[CONTEXT:] - wanted).max() <= TOLERANCE


@pytest.mark.parametrize("kind", WIDTHS)
@pytest.mark.parametrize("sizes", [(1,), (1, 3, 9)], ids=str)
def test_any_split_of_a_video_gives_what_whole_windows_give(
    gpu: tensorrt_support.StandIn, cases: dict[str, Case], kind: str, sizes: tuple[int, ...]
) -> None:
    case = cases[kind]
    engine, rng = opened(case.graph, sizes, cameras=1), np.random.default_rng(1)
    state, parts, start = engine.new_state(), [], 0
    while start < FRAMES_OF_EACH:
        part = case.videos[0][start : start + int(rng.integers(1, 14))]
        parts.append(engine.run(state, part, (OUTPUTS, REBUILT)))
        start += len(part)
    engine.close()
    engine.close()
    errors, frames = on_windows(case.network, case.videos[0])
    close_to(np.concatenate([part[OUTPUTS] for part in parts]), errors)
    close_to(np.concatenate([part[REBUILT] for part in parts]), frames)


@pytest.mark.parametrize("kind", ["unaligned"])
def test_any_mix_of_cameras_and_lengths_with_gaps(
    gpu: tensorrt_support.StandIn, cases: dict[str, Case], kind: str
) -> None:
    """Each camera of 1 to 5 frames at a time, or none; the second round after a gap, in memory that was used before."""
    case = cases[kind]
    engine, rng = opened(case.graph), np.random.default_rng(2)
    for _ in range(2):
        states = [engine.new_state() for _ in case.videos]
        done, rows = [0] * 3, [[] for _ in case.videos]  # type: ignore[var-annotated]
        while min(done) < FRAMES_OF_EACH:
            taken = {c: int(n) for c, n in enumerate(rng.integers(0, 6, 3)) if n and done[c] < FRAMES_OF_EACH}
            pieces = [StreamChunk(states[c], case.videos[c][done[c] : done[c] + n]) for c, n in taken.items()]
            for c, answer in zip(taken, engine.run_together(pieces), strict=True):
                assert isinstance(answer, dict)
                rows[c].append(answer[OUTPUTS])
                done[c] += len(answer[OUTPUTS])
        for made, wanted in zip(rows, case.expected, strict=True):
            close_to(np.concatenate(made), wanted)
        del states
        gc.collect()
    cameras = engine._runner._pool._blocks  # type: ignore[union-attr]
    assert len(cameras) == 3  # the states of the second round took the memory of those of the first
    engine.close()


def test_one_camera_runs_in_place_and_nothing_crosses_the_host_but_frames_and_answers(
    gpu: tensorrt_support.StandIn, case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = opened(case.graph, sizes=(1,))
    copied: list[int] = []
    crossed: list[int] = []
    copy, upload, download = Gpu.copy, Gpu.upload, Gpu.download
    monkeypatch.setattr(Gpu, "copy", lambda g, t, s, n, stream: (copied.append(n), copy(g, t, s, n, stream)))
    monkeypatch.setattr(Gpu, "upload", lambda g, m, a, stream: (crossed.append(a.nbytes), upload(g, m, a, stream)))
    monkeypatch.setattr(Gpu, "download", lambda g, a, m, stream: (crossed.append(a.nbytes), download(g, a, m, stream)))
    state = engine.new_state()
    for frame in case.videos[0][:20]:
        engine.advance(state, frame[None])
    frame_bytes, answer_bytes = HEIGHT * WIDTH * 4, 4 * (1 + HEIGHT * WIDTH // 64)
    assert crossed == [frame_bytes, answer_bytes] * 20
    # The only copies are those that move what is still needed to the front of its buffer, now and then.
    places, moved = StateBufferLayout(engine._state_buffers, 1), []
    for _ in range(20):
        moved += [engine._runner._pool.sizes[m.source] * m.frames for m in places.make_room(1)]  # type: ignore[union-attr]
        places.advance(1)
    assert copied == moved
    engine.close()


def test_a_run_that_fails_makes_every_camera_in_it_new_and_no_other(gpu: tensorrt_support.StandIn, case: Case) -> None:
    engine = opened(case.graph)
    states = [engine.new_state() for _ in case.videos]
    engine.run_together([StreamChunk(state, video[:8]) for state, video in zip(states, case.videos, strict=True)])
    gpu.faults.execute = "IExecutionContext::enqueueV3: Error Code 2: OutOfMemory (Requested size was 12 bytes.)"
    answers = engine.run_together([StreamChunk(states[c], case.videos[c][8:9]) for c in (0, 1)])
    assert [type(answer) for answer in answers] == [GpuMemoryError, GpuMemoryError]
    assert "1 frames of 2 cameras" in str(answers[0])
    gpu.faults.execute = ""
    for c in (0, 1):
        close_to(engine.advance(states[c], case.videos[c]), case.expected[c])
    whole = engine.advance(states[2], case.videos[2][8:])
    assert np.abs(whole[CONTEXT - 8 :] - case.expected[2]).max() <= TOLERANCE
    engine.close()


def test_a_kernel_that_fails_is_told_and_what_was_taken_is_freed(
    gpu: tensorrt_support.StandIn, case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = opened(case.graph, sizes=(1,), cameras=2)
    failures: list[object] = []
    with monkeypatch.context() as patch:

        def broken(*_: object) -> None:
            raise cuda_support.LogicError("an illegal instruction was encountered")

        patch.setattr(gpu._stage, "launch", broken)
        if isinstance(gpu._stage, cuda_support.PythonStage):
            engine.submit([StreamChunk(engine.new_state(), case.videos[0][:1])], failures.extend, failures.append)
            engine.drain()
            assert "illegal instruction" in str(failures[0])
            assert isinstance(failures[0], EngineError)
    engine.close()


def test_a_camera_for_which_memory_is_lacking_is_told_and_the_others_go_on(
    gpu: tensorrt_support.StandIn, case: Case
) -> None:
    engine = opened(case.graph, sizes=(1, 3))
    states = [engine.new_state() for _ in case.videos]
    one = engine._runner._pool.block_bytes  # type: ignore[union-attr]
    gpu._stage.limit(engine.device_bytes + 2 * one)
    answers = engine.run_together([StreamChunk(state, video) for state, video in zip(states, case.videos, strict=True)])
    assert isinstance(answers[2], GpuMemoryError)
    for answer, wanted in zip(answers[:2], case.expected[:2], strict=True):
        assert isinstance(answer, dict)
        close_to(answer[OUTPUTS], wanted)
    del states[0]
    gc.collect()
    close_to(engine.advance(states[1], case.videos[2]), case.expected[2])  # in the memory of the one that is gone
    engine.close()


def test_too_little_memory_at_the_start_frees_what_was_taken(gpu: tensorrt_support.StandIn, case: Case) -> None:
    needed = opened(case.graph, sizes=(1,))
    size = needed.device_bytes
    needed.close()
    for memory in (0, size // 2, size - 1):
        gpu._stage.limit(memory)
        with pytest.raises(GpuMemoryError, match="out of memory"):
            opened(case.graph, sizes=(1,))
        assert gpu._stage.live() == NOTHING, memory
    gpu._stage.limit(size)
    opened(case.graph, sizes=(1,)).close()


@pytest.mark.parametrize(
    ("fault", "said", "kind"),
    [
        ("build", "Error Code 10: Could not find any implementation for node x", UnsupportedOperatorError),
        ("context", "Error Code 2: OutOfMemory (Requested size was 1 bytes.)", GpuMemoryError),
        ("deserialize", "The engine plan file is generated on an incompatible device", PlanMismatchError),
    ],
)  # fmt: skip
def test_failures_of_the_library_are_typed(
    gpu: tensorrt_support.StandIn, case: Case, fault: str, said: str, kind: type[EngineError]
) -> None:
    setattr(gpu.faults, fault, said)
    with pytest.raises(kind, match=said.split(":")[0]) as caught:
        opened(case.graph)
    assert type(caught.value) is kind


def test_plans_are_kept_one_for_each_length_of_runs(gpu: tensorrt_support.StandIn, case: Case, tmp_path: Path) -> None:
    opened(case.graph, sizes=(1, 3)).close()
    assert gpu.faults.builds == 2
    opened(case.graph, sizes=(1, 3, 9)).close()
    assert gpu.faults.builds == 3
    opened(case.graph, sizes=(1,), cameras=2).close()  # another profile
    assert gpu.faults.builds == 4
    assert len(list((tmp_path / "cache" / "plans").iterdir())) == 4


def test_threads_and_engines_share_the_gpu(gpu: tensorrt_support.StandIn, case: Case) -> None:
    engines = [opened(case.graph, sizes=(1,), cameras=2, device=device) for device in ("cuda:0", "cuda:1")]
    worst: list[float] = []

    def watch(engine: TensorRtStatefulEngine, camera: int) -> None:
        state = engine.new_state()
        rows = [engine.advance(state, frame[None]) for frame in case.videos[camera][:20]]
        worst.append(float(np.abs(np.concatenate(rows)[CONTEXT:] - case.expected[camera][:5]).max()))

    threads = [threading.Thread(target=watch, args=(engine, c)) for engine in engines for c in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for engine in engines:
        engine.close()
    assert len(worst) == 6
    assert max(worst) <= TOLERANCE


def test_what_is_wrong_is_refused(gpu: tensorrt_support.StandIn, case: Case) -> None:
    engine = opened(case.graph, sizes=(1,), cameras=2)
    state = engine.new_state()
    with pytest.raises(EngineError, match="takes frames of shape"):
        engine.advance(state, case.videos[0][:1, :, :32])
    with pytest.raises(ValueError, match="the same camera"):
        engine.run_together([StreamChunk(state, case.videos[0][:1]), StreamChunk(state, case.videos[0][1:2])])
    with pytest.raises(ValueError, match="another engine"):
        engine.advance(StreamState(-1), case.videos[0][:1])
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        engine.advance(state, case.videos[0][:1])
    with pytest.raises(EngineError, match="does not contain a stateful network"):
        TensorRtStatefulEngine(MODELS / "adacl-ped2" / "model.onnx", CONTEXT)
    with pytest.raises(EngineError, match="not contain a network"):
        TensorRtStatefulEngine(Path(__file__), CONTEXT)
