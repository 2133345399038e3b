"""The motion detector's model: against plain loops, torch and two engines."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from streamad.detectors.motion.density import MotionModel, distances
from streamad.detectors.motion.graph import write_graph
from streamad.detectors.motion.layout import CLOSEST, LENGTH, OUTPUTS
from streamad.engines.onnx_engine import OnnxEngine
from streamad.engines.openvino_engine import OpenVinoEngine


def model(rng: np.random.Generator) -> MotionModel:
    grid = np.stack(np.meshgrid(np.arange(9), np.arange(13), indexing="ij"), -1).reshape(-1, 2)
    return MotionModel(
        anchors=((grid + 0.5) * 16).astype(np.float32),
        usual=rng.uniform(1.5, 4.0, (117, 4)).astype(np.float32),
        sharpness=np.array([1 / 288], np.float32),
        spread=rng.uniform(0.3, 1.5, 10).astype(np.float32),
        nearness=np.array([0.1], np.float32),
        examples=np.abs(rng.normal(0.5, 3.0, (50, 12))).astype(np.float32),
        stay_scale=np.array([2.5], np.float32),
    )


def descriptors(rng: np.random.Generator, count: int) -> np.ndarray:
    values = np.empty((count, LENGTH), np.float32)
    values[:, :2] = rng.uniform(0, 140, (count, 2))
    values[:, 2] = rng.uniform(0, 1, count)
    values[:, 3:13] = np.maximum(rng.normal(0, 25, (count, 10)), 0)
    values[:, 13] = 0
    values[::3, 2:13] = 0  # every third is about a stay
    values[::3, 13] = rng.uniform(0, 200, len(values[::3]))
    return values


def by_loops(learned: MotionModel, values: np.ndarray) -> list[list[float]]:
    """The definition in plain floats."""
    answer = []
    for row in values.astype(float):
        place = row[:2]
        weights = [math.exp(-((place - a) ** 2).sum() / 288) for a in learned.anchors.astype(float)]
        usual = [
            math.exp(sum(w * u for w, u in zip(weights, column, strict=True)) / sum(weights))
            for column in learned.usual.T.astype(float)
        ]
        moved = [
            v / (usual[k // 5] * s)
            for k, (v, s) in enumerate(zip(row[3:13], learned.spread.astype(float), strict=True))
        ]
        point = [*moved, *((place - [72, 104]) * 0.1)]
        away = min(math.dist(point, example) for example in learned.examples.astype(float))
        stayed = row[13] / usual[3]
        answer.append([max(0.1, min(away, math.hypot(*moved)), 2.5 * stayed), *usual[:3], stayed])
    return answer


def test_the_model_is_its_definition() -> None:
    rng = np.random.default_rng(0)
    learned, values = model(rng), descriptors(rng, 30)
    np.testing.assert_allclose(learned(values), by_loops(learned, values), rtol=2e-4, atol=2e-3)


def test_engines_and_torch_agree_with_numpy(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from streamad.detectors.motion.network import MotionNet

    rng = np.random.default_rng(1)
    learned, values = model(rng), descriptors(rng, 37)
    expected = learned(values)
    assert expected.shape == (37, OUTPUTS)
    path = tmp_path / "model.onnx"
    write_graph(learned, path)
    for engine in (OpenVinoEngine(path, batch_sizes=(1, 8, 64)), OnnxEngine(path, batch_sizes=(1, 8, 64))):
        np.testing.assert_allclose(engine.infer(values[:, :, None, None]), expected, rtol=1e-3, atol=2e-3)
        engine.close()
    network = MotionNet(anchors=117, examples=50)
    network.load_state_dict({name: torch.from_numpy(array) for name, array in learned.state().items()})
    with torch.inference_mode():
        answer = network(torch.from_numpy(values)[:, :, None, None]).numpy()
    np.testing.assert_allclose(answer, expected, rtol=1e-3, atol=2e-3)


def test_examples_of_a_points_own_stretch_do_not_count_for_it() -> None:
    rng = np.random.default_rng(2)
    points = (10 + np.abs(rng.normal(0, 3, (700, 12)))).astype(np.float32)
    examples = (10 + np.abs(rng.normal(0, 3, (90, 12)))).astype(np.float32)
    own, of = rng.integers(0, 9, 700), np.sort(rng.integers(0, 9, 90))
    found = distances(points, examples, own, of)
    for k in range(0, 700, 7):
        others = examples[of != own[k]]
        expected = min(math.dist(points[k], example) for example in others)
        assert found[k] == pytest.approx(min(expected, math.hypot(*points[k, :10].astype(float))), abs=2e-3)
    # Of a single stretch nothing else is known, so that all movement is as far as it is from none.
    alone = distances(points, examples, np.zeros(700, np.intp), np.zeros(90, np.intp))
    np.testing.assert_allclose(alone, np.linalg.norm(points[:, :10], axis=1), rtol=1e-5)


def test_no_movement_is_normal_everywhere() -> None:
    learned = model(np.random.default_rng(3))
    still = descriptors(np.random.default_rng(3), 5)
    still[:, 3:] = 0
    np.testing.assert_allclose(learned(still)[:, 0], CLOSEST)
