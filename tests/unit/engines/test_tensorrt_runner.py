"""The TensorRT engine over stand-ins of GPU and library: numbers, order of work, threads, and that everything is freed.

The stand-ins run networks in ONNX Runtime on "device" memory when a stream is synchronized, and refuse what breaks the
rules of CUDA or TensorRT. `scripts/check_pycuda.py` runs this file over the real PyCUDA.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tensorrt_support

pytest.importorskip("onnxruntime")

from scoring_support import score_video

from streamad.bundle import load_bundle
from streamad.engines import EngineSpec, open_engine
from streamad.engines.factory import resolve_engine
from streamad.engines.onnx_engine import OnnxEngine
from streamad.engines.tensorrt.engine import TensorRtEngine, TensorRtOptions
from streamad.engines.tensorrt.failures import (
    GpuMemoryError,
    GpuUnavailableError,
    LibraryVersionError,
    PlanMismatchError,
    ShapeOutsideProfileError,
    UnsupportedOperatorError,
)
from streamad.errors import EngineError, ExitCode

NOTHING = {"device": 0, "pinned": 0, "streams": 0}


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[tensorrt_support.StandIn]:
    """Stand-ins in place; at the end nothing may be left, and no rule may have been broken."""
    monkeypatch.setenv("STREAMAD_CACHE", str(tmp_path / "cache"))
    module = tensorrt_support.install(monkeypatch)
    yield module
    if module.faults.loaded:  # an error that a test looked at is part of a cycle, and holds what its frames held
        gc.collect()
    assert module._stage.broken_rules() == []
    assert module._stage.live() == NOTHING
    assert (module.broken, module.faults.loaded) == ([], [])


@pytest.fixture(scope="module")
def expected(small_bundle: Path) -> tuple[np.ndarray, np.ndarray]:
    tiles = np.random.default_rng(0).uniform(-1, 1, (128, 3, 30, 30)).astype(np.float32)
    reference = OnnxEngine(small_bundle / "model.onnx", threads=1)
    try:
        return tiles, np.concatenate([reference.infer(tiles[k : k + 64]) for k in (0, 64)])
    finally:
        reference.close()


def opened(bundle: Path, **options: object) -> TensorRtEngine:
    return TensorRtEngine(bundle / "model.onnx", options=TensorRtOptions(**options))  # type: ignore[arg-type]


def test_every_batch_agrees_in_either_profile(
    gpu: tensorrt_support.StandIn, small_bundle: Path, expected: tuple[np.ndarray, np.ndarray]
) -> None:
    tiles, outputs = expected
    engine = opened(small_bundle)
    try:
        for count in (1, 2, 15, 16, 17, 33, 63, 64, 1):  # up, and down again: buffers hold what was there before
            answer = engine.infer(tiles[5 : 5 + count])
            assert answer.shape == (count,)
            assert answer.dtype == np.float32
            np.testing.assert_allclose(answer, outputs[5 : 5 + count], atol=1e-5)
        kept = engine.infer(tiles[:4])
        before = kept.copy()
        engine.infer(tiles[60:64])
        np.testing.assert_array_equal(kept, before)
        np.testing.assert_allclose(engine.infer(tiles[40:8:-3]), outputs[40:8:-3], atol=1e-5)
    finally:
        engine.close()
        engine.close()


def test_many_threads_share_two_runners(
    gpu: tensorrt_support.StandIn, small_bundle: Path, expected: tuple[np.ndarray, np.ndarray]
) -> None:
    tiles, outputs = expected
    engine = opened(small_bundle, hint="throughput")
    worst: list[float] = []
    failures: list[Exception] = []

    def work(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(10):
            rows = rng.integers(0, len(tiles), int(rng.choice([1, 7, 20, 64])))

            def done(answer: np.ndarray, rows: np.ndarray = rows) -> None:
                worst.append(float(np.abs(answer - outputs[rows]).max()))

            engine.submit(tiles[rows], done, failures.append)
            done(engine.infer(tiles[rows]))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    engine.drain()
    engine.close()
    assert failures == []
    assert len(worst) == 6 * 10 * 2
    assert max(worst) <= 1e-5


def test_two_engines_and_two_gpus_share_what_is_to_be_shared(
    gpu: tensorrt_support.StandIn, small_bundle: Path, expected: tuple[np.ndarray, np.ndarray]
) -> None:
    tiles, outputs = expected
    engines = [opened(small_bundle, device=device) for device in (None, "cuda:0", "cuda:1", "1")]
    for engine, index in zip(engines, (0, 0, 1, 1), strict=True):
        assert engine.info.device == f"cuda:{index} (Stand-in {index}, compute capability 8.9)"
        np.testing.assert_allclose(engine.infer(tiles[:3]), outputs[:3], atol=1e-5)
    for engine in engines:
        engine.close()
    assert gpu.faults.builds == 2  # one for each GPU: their names differ
    retained = getattr(gpu._stage, "retained", [0, 1])
    assert sorted(retained) == [0, 1]  # once each, as torch does


@pytest.mark.parametrize("device", ["abacus", "cuda:x", "cuda:-1", "CPU"])
def test_what_is_no_gpu_is_named(gpu: tensorrt_support.StandIn, small_bundle: Path, device: str) -> None:
    with pytest.raises(EngineError, match=device):
        opened(small_bundle, device=device)


def test_a_gpu_that_is_not_there_is_named(gpu: tensorrt_support.StandIn, small_bundle: Path) -> None:
    with pytest.raises(GpuUnavailableError, match="no GPU 7: the driver reports 2"):
        opened(small_bundle, device="cuda:7")


@pytest.mark.parametrize("shape", [(4, 1, 30, 30), (4, 3, 30), (4, 3, 31, 30), (4, 3, 30, 30, 1), (4,)], ids=str)
def test_a_shape_outside_the_profile_is_refused_and_the_engine_goes_on(
    gpu: tensorrt_support.StandIn, small_bundle: Path, expected: tuple[np.ndarray, np.ndarray], shape: tuple[int, ...]
) -> None:
    engine = opened(small_bundle)
    try:
        with pytest.raises(ShapeOutsideProfileError, match="shape") as caught:
            engine.infer(np.zeros(shape, np.float32))
        assert isinstance(caught.value, EngineError)
        for count in (0, 65):
            with pytest.raises(ValueError, match="1 to 64"):
                engine.infer(np.zeros((count, 3, 30, 30), np.float32))
        np.testing.assert_allclose(engine.infer(expected[0][:2]), expected[1][:2], atol=1e-5)
    finally:
        engine.close()


def test_a_run_that_fails_is_told_and_leaves_no_work_behind(
    gpu: tensorrt_support.StandIn, small_bundle: Path, expected: tuple[np.ndarray, np.ndarray]
) -> None:
    tiles, outputs = expected
    engine = opened(small_bundle)
    try:
        gpu.faults.execute = "IExecutionContext::enqueueV3: Error Code 2: OutOfMemory (Requested size was 12 bytes.)"
        with pytest.raises(GpuMemoryError, match=r"batch of 9.*Requested size was 12"):
            engine.infer(tiles[:9])
        failures: list[Exception] = []
        engine.submit(tiles[:9], lambda _: None, failures.append)
        engine.drain()
        assert [type(f) for f in failures] == [GpuMemoryError]
        gpu.faults.execute = ""
        np.testing.assert_allclose(engine.infer(tiles[:9]), outputs[:9], atol=1e-5)
    finally:
        engine.close()


def test_too_little_memory_frees_what_was_taken(gpu: tensorrt_support.StandIn, small_bundle: Path) -> None:
    needed = opened(small_bundle)
    size = needed.device_bytes
    needed.close()
    tile = 3 * 30 * 30 * 4
    assert size == tensorrt_support.SCRATCH + 64 * tile + 64 * 4
    for memory in (0, tensorrt_support.SCRATCH - 1, tensorrt_support.SCRATCH, size - 300, size - 1):
        gpu._stage.limit(memory)
        with pytest.raises(GpuMemoryError, match="out of memory"):
            opened(small_bundle)
        assert gpu._stage.live() == NOTHING, memory
    gpu._stage.limit(size)
    opened(small_bundle).close()


@pytest.mark.parametrize(
    ("fault", "said", "kind"),
    [
        ("build", "Error Code 2: OutOfMemory (Requested size was 13007748 bytes.)", GpuMemoryError),
        ("build", "Error Code 10: Could not find any implementation for node x", UnsupportedOperatorError),
        ("build", "something that nobody has seen before", EngineError),
        ("context", "Error Code 2: OutOfMemory (Requested size was 1 bytes.)", GpuMemoryError),
        ("deserialize", "The engine plan file is generated on an incompatible device", PlanMismatchError),
    ],
)  # fmt: skip
def test_failures_of_the_library_are_typed_and_quote_it(
    gpu: tensorrt_support.StandIn, small_bundle: Path, fault: str, said: str, kind: type[EngineError]
) -> None:
    setattr(gpu.faults, fault, said)
    with pytest.raises(kind) as caught:
        opened(small_bundle)
    assert type(caught.value) is kind
    assert said in str(caught.value)
    assert caught.value.hint
    assert caught.value.exit_code == ExitCode.ENGINE


def test_a_library_without_a_driver_is_told(gpu: tensorrt_support.StandIn, small_bundle: Path) -> None:
    gpu.faults.no_driver = True
    with pytest.raises(GpuUnavailableError, match="cudaError 35") as caught:
        opened(small_bundle)
    assert "driver" in str(caught.value.hint)


@pytest.mark.parametrize("version", ["8.6.1", "10.12.0.36", "12.0.1", "unknown"])
def test_a_version_that_nobody_checked_is_refused(
    monkeypatch: pytest.MonkeyPatch, small_bundle: Path, version: str
) -> None:
    tensorrt_support.install(monkeypatch, version=version)
    with pytest.raises(LibraryVersionError, match=rf"{version}.*>=10\.13,<12"):
        opened(small_bundle)


def test_a_plan_is_kept_and_a_damaged_or_foreign_one_is_built_again(
    gpu: tensorrt_support.StandIn,
    small_bundle: Path,
    expected: tuple[np.ndarray, np.ndarray],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def start() -> int:
        before = gpu.faults.builds
        engine = opened(small_bundle)
        np.testing.assert_allclose(engine.infer(expected[0][:20]), expected[1][:20], atol=1e-5)
        engine.close()
        return gpu.faults.builds - before

    assert start() == 1
    assert start() == 0
    (plan,) = (tmp_path / "cache" / "plans").iterdir()
    sound = plan.read_bytes()
    foreign = sound.replace(b'"capability": [8, 9]', b'"capability": [8, 6]')
    for content, word in {
        sound[:-1]: "SHA-256",
        sound[:-1] + b"!": "SHA-256",
        sound[:40]: "header",
        b"": "header",
        b"\xff" * 1000: "header",
        foreign: "built for something else (capability)",
        sound.replace(b'"format": 1', b'"format": 9'): "format 9",
    }.items():
        plan.write_bytes(content)
        caplog.clear()
        assert start() == 1, content[:30]
        assert word in caplog.text
        assert plan.read_bytes() == sound  # what was wrong is replaced
    assert list(plan.parent.iterdir()) == [plan]


def test_a_plan_that_the_library_refuses_is_built_again(
    gpu: tensorrt_support.StandIn, small_bundle: Path, caplog: pytest.LogCaptureFixture
) -> None:
    opened(small_bundle).close()
    gpu.faults.deserialize = "Serialization assertion failed. Version tag does not match. Current: 239, serialized: 236"
    with pytest.raises(PlanMismatchError, match="Version tag"):
        opened(small_bundle)
    assert gpu.faults.builds == 2  # it was tried once more, with a fresh plan
    assert "rebuilding the plan" in caplog.text
    gpu.faults.deserialize = "Error Code 2: OutOfMemory (Requested size was 99 bytes.)"
    with pytest.raises(GpuMemoryError):
        opened(small_bundle)
    assert gpu.faults.builds == 2  # building cannot help against full memory


def test_a_folder_that_cannot_be_written_to_costs_a_build_and_no_more(
    gpu: tensorrt_support.StandIn, small_bundle: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    for _ in range(2):
        opened(small_bundle, cache=tmp_path / "file").close()
    assert gpu.faults.builds == 2
    assert "every start will build it again" in caplog.text


def test_auto_takes_the_gpu_where_there_is_one_and_says_so(gpu: tensorrt_support.StandIn, small_bundle: Path) -> None:
    engine = open_engine(load_bundle(small_bundle))
    try:
        assert (engine.info.name, engine.info.precision) == ("tensorrt", "fp32")
        assert engine.info.why.startswith("auto: TensorRT")
        assert engine.info.version == "10.16.1.11"
    finally:
        engine.close()
    assert resolve_engine(EngineSpec(device="CPU"))[0] == "openvino"
    assert resolve_engine(EngineSpec(device="cuda:1"))[0] == "tensorrt"
    assert resolve_engine(EngineSpec(name="onnx"))[0] == "onnx"


def test_a_video_scores_as_with_openvino(gpu: tensorrt_support.StandIn, small_bundle: Path, shapes_video: Path) -> None:
    scores = [
        [frame.score for frame in score_video(shapes_video, small_bundle, engine=EngineSpec(name=name))]
        for name in ("tensorrt", "openvino")
    ]
    np.testing.assert_allclose(scores[0], scores[1], atol=1e-5, equal_nan=True)
    assert len(scores[0]) == 100
