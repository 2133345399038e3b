"""TensorRT on a real GPU: `pytest -m gpu`. Nobody ran this before the first user with a GPU did."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnxruntime")

from streamad.bundle import STREAMING, load_bundle
from streamad.engines import Engine, EngineSpec, available_engines, open_engine
from streamad.engines.onnx_engine import OnnxEngine
from streamad.engines.state_buffers import OUTPUTS
from streamad.engines.stateful import StreamChunk
from streamad.engines.tensorrt.selftest import run_selftest
from streamad.engines.tensorrt.selftest_stateful import run_stateful_selftest
from streamad.model_folders import list_bundles

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(1200)]
NAMES = ("tensorrt", "tensorrt-rtx")


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    problem = available_engines()[request.param]
    if problem:
        pytest.skip(f"{request.param} cannot run here: {problem}")
    monkeypatch.setenv("STREAMAD_CACHE", str(tmp_path))
    return str(request.param)


@pytest.fixture
def engine(name: str, small_bundle: Path) -> Iterator[Engine]:
    opened = open_engine(load_bundle(small_bundle), EngineSpec.model_validate({"name": name}), hint="throughput")
    yield opened
    opened.close()


@pytest.mark.parametrize("path", list_bundles(), ids=lambda path: path.name)
def test_the_selftest_passes_for_every_model_and_gives_its_memory_back(name: str, path: Path) -> None:
    result = run_selftest(load_bundle(path), name, "fp32", None)
    assert result.passed, result
    again = run_selftest(load_bundle(path), name, "fp32", None)
    assert again.leaked_mib < 64  # the first start keeps the context and the library's own memory; the second nothing


@pytest.mark.parametrize("path", [p for p in list_bundles() if (p / STREAMING).exists()], ids=lambda path: path.name)
def test_the_selftest_passes_for_every_streaming_form_and_gives_its_memory_back(name: str, path: Path) -> None:
    """Three cameras, runs of 1 to 4 frames, alone and side by side, against ONNX Runtime."""
    for _ in range(2):
        result = run_stateful_selftest(load_bundle(path), name, "fp32", None)
        assert result.passed, result
    assert result.leaked_mib < 64


def test_state_that_stays_on_the_gpu_gives_what_whole_windows_give(name: str, tmp_path: Path) -> None:
    """As tests/unit/engines/test_tensorrt_stateful.py does it over stand-ins: any mix of cameras, lengths and gaps."""
    pytest.importorskip("torch")
    from streaming_support import CONTEXT, HEIGHT, WIDTH, clip_network, drifting_video, on_windows

    from streamad.detectors.learned_noise.streaming_graph import write_streaming
    from streamad.engines.tensorrt.stateful import TensorRtStatefulEngine

    rng, videos = np.random.default_rng(2), [drifting_video(60, seed) for seed in range(3)]
    for width in (0.08, 0.125):  # carried values that are aligned as TensorRT asks for, and such that are not
        network, graph = clip_network(width), tmp_path / f"{width}.onnx"
        write_streaming(network.reconstructor, HEIGHT, WIDTH, graph, half_weights=False)
        expected = [on_windows(network, video)[0] for video in videos]
        engine = TensorRtStatefulEngine(graph, CONTEXT, library=name, run_sizes=(1, 3, 9), cameras=3)  # type: ignore[arg-type]
        for _ in range(3):  # after the first time in memory that was used before
            states, done = [engine.new_state() for _ in videos], [0, 0, 0]
            rows: list[list[np.ndarray]] = [[] for _ in videos]
            while min(done) < 60:
                taken = {c: int(n) for c, n in enumerate(rng.integers(0, 12, 3)) if n and done[c] < 60}
                pieces = [StreamChunk(states[c], videos[c][done[c] : done[c] + n]) for c, n in taken.items()]
                for c, answer in zip(taken, engine.run_together(pieces), strict=True):
                    assert isinstance(answer, dict), answer
                    rows[c].append(answer[OUTPUTS])
                    done[c] += len(answer[OUTPUTS])
            for made, wanted in zip(rows, expected, strict=True):
                assert np.abs(np.concatenate(made)[CONTEXT:] - wanted).max() <= 1e-4  # sums in another order
        engine.close()


def test_many_threads_get_their_own_answers(engine: Engine, small_bundle: Path) -> None:
    tiles = np.random.default_rng(0).uniform(-1, 1, (128, 3, 30, 30)).astype(np.float32)
    reference = OnnxEngine(small_bundle / "model.onnx")
    expected = np.concatenate([reference.infer(tiles[k : k + 64]) for k in (0, 64)])
    reference.close()
    worst: list[float] = []

    def work(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(50):
            rows = rng.integers(0, 128, int(rng.integers(1, 65)))
            worst.append(float(np.abs(engine.infer(tiles[rows]) - expected[rows]).max()))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(worst) == 400
    assert max(worst) < 1e-3


def test_torch_works_beside_it_in_the_same_context(engine: Engine) -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("this torch has no CUDA")
    for _ in range(10):
        product = torch.ones((256, 256), device="cuda") @ torch.ones((256, 256), device="cuda")
        answer = engine.infer(np.zeros((5, 3, 30, 30), np.float32))
        assert float(product[0, 0]) == 256
        assert np.isfinite(answer).all()
