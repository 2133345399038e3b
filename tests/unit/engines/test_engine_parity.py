"""All engines against torch's own network, for every number of tiles, from many threads, and in order."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from bundle_support import single_torch_thread

torch = pytest.importorskip("torch")
pytest.importorskip("onnxruntime")

from safetensors.torch import load_file  # noqa: E402

from streamad.bundle import load_bundle  # noqa: E402
from streamad.detectors.adacl.network import AdaclNet  # noqa: E402
from streamad.engines import BATCH_SIZES, Engine, EngineSpec, open_engine  # noqa: E402

NAMES = ("openvino", "onnx", "torch")

pytestmark = pytest.mark.usefixtures("one_torch_thread")


@pytest.fixture(scope="module")
def expected(small_bundle: Path) -> tuple[np.ndarray, np.ndarray]:
    """ModelInput, and torch's outputs for them one by one: no batch, no padding."""
    network = AdaclNet(3)
    network.load_state_dict(load_file(small_bundle / "weights.safetensors"))
    network.eval()
    rng = np.random.default_rng(0)
    tiles = rng.uniform(-1, 1, (128, 3, 30, 30)).astype(np.float32)
    tiles[:20] = np.sign(tiles[:20])  # the extremes of the input range
    tiles[20] = 0
    with single_torch_thread(), torch.inference_mode():
        outputs = np.concatenate([network(torch.from_numpy(tile[None])).numpy() for tile in tiles])
    assert np.ptp(outputs) > 0.05
    return tiles, outputs


@pytest.fixture(scope="module", params=NAMES)
def engine(request: pytest.FixtureRequest, small_bundle: Path) -> Iterator[Engine]:
    bundle = load_bundle(small_bundle)
    opened = open_engine(bundle, EngineSpec(name=request.param, threads=1), build_network=lambda: AdaclNet(3))
    yield opened
    opened.close()


@pytest.mark.parametrize("count", [1, 2, 7, 8, 9, 31, 32, 33, 63, 64])
def test_every_batch_size_agrees_padded_or_not(
    engine: Engine, expected: tuple[np.ndarray, np.ndarray], count: int
) -> None:
    tiles, outputs = expected
    for start in (0, 64):
        answer = engine.infer(tiles[start : start + count])
        assert answer.shape == (count,)
        assert answer.dtype == np.float32
        assert np.abs(answer - outputs[start : start + count]).max() <= 1e-5


def test_info_tells_what_runs(engine: Engine) -> None:
    info = engine.info
    assert info.name in NAMES
    assert info.precision == "fp32"
    assert info.why == "requested by name"
    assert "cpu" in info.device.lower()
    assert info.version[0].isdigit()
    assert engine.batch_sizes == BATCH_SIZES


def test_an_answer_is_a_copy_and_the_input_is_left_alone(
    engine: Engine, expected: tuple[np.ndarray, np.ndarray]
) -> None:
    tiles = expected[0][:5].copy()
    before = tiles.copy()
    first = engine.infer(tiles)
    kept = first.copy()
    engine.infer(expected[0][50:55])
    np.testing.assert_array_equal(first, kept)
    np.testing.assert_array_equal(tiles, before)


def test_strided_input_is_read_as_numpy_reads_it(engine: Engine, expected: tuple[np.ndarray, np.ndarray]) -> None:
    tiles, outputs = expected
    assert np.abs(engine.infer(tiles[:16:2]) - outputs[:16:2]).max() <= 1e-5
    assert np.abs(engine.infer(tiles[7::-1]) - outputs[7::-1]).max() <= 1e-5


def test_many_threads_may_submit_at_once(engine: Engine, expected: tuple[np.ndarray, np.ndarray]) -> None:
    tiles, outputs = expected
    worst: list[float] = []
    errors: list[Exception] = []

    def submit(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(12):
            count = int(rng.choice([1, 3, 8, 20]))
            rows = rng.integers(0, len(tiles), count)

            def done(answer: np.ndarray, rows: np.ndarray = rows) -> None:
                worst.append(float(np.abs(answer - outputs[rows]).max()))

            try:
                engine.submit(tiles[rows], done, errors.append)
            except Exception as error:  # noqa: BLE001 - whatever it is, the test shall show it
                errors.append(error)

    threads = [threading.Thread(target=submit, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    engine.drain()
    assert errors == []
    assert len(worst) == 8 * 12
    assert max(worst) <= 1e-5


def test_drain_waits_for_every_answer(engine: Engine, expected: tuple[np.ndarray, np.ndarray]) -> None:
    answered: list[int] = []
    for _ in range(10):
        engine.submit(expected[0][:64], lambda answer: answered.append(len(answer)), lambda error: None)
    engine.drain()
    assert answered == [64] * 10
    engine.drain()  # nothing to wait for


def test_infer_works_beside_submitted_batches(engine: Engine, expected: tuple[np.ndarray, np.ndarray]) -> None:
    tiles, outputs = expected
    answers: list[np.ndarray] = []
    for _ in range(4):
        engine.submit(tiles[:32], answers.append, lambda error: None)
        assert np.abs(engine.infer(tiles[40:45]) - outputs[40:45]).max() <= 1e-5
    engine.drain()
    assert all(np.abs(answer - outputs[:32]).max() <= 1e-5 for answer in answers)
