"""The motion detector's model: against plain loops, scipy, torch and two engines."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from streamad.detectors.motion.density import MotionModel
from streamad.detectors.motion.graph import write_graph
from streamad.detectors.motion.layout import LENGTH
from streamad.engines.onnx_engine import OnnxEngine
from streamad.engines.openvino_engine import OpenVinoEngine


def model(rng: np.random.Generator) -> MotionModel:
    return MotionModel(
        anchors=np.stack(np.meshgrid(np.arange(9), np.arange(13), indexing="ij"), -1).reshape(-1, 2).astype(np.float32)
        * 20,
        usual=rng.uniform(1.5, 4.0, 117).astype(np.float32),
        sharpness=np.array([1 / 288], np.float32),
        nearness=np.array([0.005], np.float32),
        velocities=np.abs(rng.normal(0.5, 0.5, (50, 6))).astype(np.float32),
        look_mean=rng.uniform(0, 1, 112).astype(np.float32),
        look_basis=rng.normal(0, 0.5, (112, 6)).astype(np.float32),
        look_nearness=np.array([0.01], np.float32),
        looks=rng.normal(0, 1, (40, 8)).astype(np.float32),
        base=np.array([0.3, -1.5, 0.2], np.float32),
        slope=np.array([10.0, 5.0, 3.0], np.float32),
    )


def descriptors(rng: np.random.Generator, count: int) -> np.ndarray:
    values = np.empty((count, LENGTH), np.float32)
    values[:, :2] = rng.uniform(0, 160, (count, 2))
    values[:, 2] = rng.uniform(0, 60, count)
    values[:, 3:7] = np.maximum(rng.normal(0, 15, (count, 4)), 0)
    values[:, 7:] = np.maximum(rng.normal(0.2, 0.5, (count, LENGTH - 7)), 0)
    return values


def by_loops(learned: MotionModel, values: np.ndarray) -> list[list[float]]:
    """The definition in plain floats."""
    answer = []
    for row in values.astype(float):
        place = row[:2]
        weights = [math.exp(-((place - a) ** 2).sum() / 288) for a in learned.anchors.astype(float)]
        usual = math.exp(sum(w * u for w, u in zip(weights, learned.usual, strict=True)) / sum(weights))
        velocity = np.concatenate([row[3:7] / usual, place * 0.005])
        roots = [
            math.sqrt(number) - mean for number, mean in zip(row[7:], learned.look_mean.astype(float), strict=True)
        ]
        parts = [
            sum(root * weight for root, weight in zip(roots, column, strict=True))
            for column in learned.look_basis.T.astype(float)
        ]
        look = [*parts, *(place * 0.01)]
        measures = [
            max(row[2], 0.5) / usual,
            min(math.dist(velocity, e) for e in learned.velocities.astype(float)),
            min(math.dist(look, e) for e in learned.looks.astype(float)),
        ]
        evidence = [
            float(slope * max(math.log(max(measure, 0.1)) - base, 0.0))
            for measure, base, slope in zip(measures, learned.base, learned.slope, strict=True)
        ]
        answer.append([*evidence, usual])
    return answer


def test_the_model_is_its_definition() -> None:
    rng = np.random.default_rng(0)
    learned, values = model(rng), descriptors(rng, 30)
    np.testing.assert_allclose(learned(values), by_loops(learned, values), rtol=2e-4, atol=2e-4)


def test_engines_and_torch_agree_with_numpy(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from streamad.detectors.motion.network import MotionNet

    rng = np.random.default_rng(1)
    learned, values = model(rng), descriptors(rng, 37)
    expected = learned(values)
    path = tmp_path / "model.onnx"
    write_graph(learned, path)
    for engine in (OpenVinoEngine(path, batch_sizes=(1, 8, 64)), OnnxEngine(path, batch_sizes=(1, 8, 64))):
        np.testing.assert_allclose(engine.infer(values[:, :, None, None]), expected, rtol=1e-4, atol=1e-3)
        engine.close()
    network = MotionNet(anchors=117, velocities=50, looks=40, look_parts=6)
    network.load_state_dict({name: torch.from_numpy(array) for name, array in learned.state().items()})
    with torch.inference_mode():
        answer = network(torch.from_numpy(values)[:, :, None, None]).numpy()
    np.testing.assert_allclose(answer, expected, rtol=1e-4, atol=1e-3)


def test_evidence_begins_at_a_usual_frame_and_none_is_no_evidence() -> None:
    learned = model(np.random.default_rng(3))
    usual = np.exp(learned.base)[None]
    np.testing.assert_allclose(learned.evidence(usual), 0, atol=1e-5)
    np.testing.assert_array_equal(learned.evidence(0.5 * usual), 0)
    np.testing.assert_allclose(learned.evidence(2 * usual), learned.slope[None] * math.log(2), rtol=1e-5)
