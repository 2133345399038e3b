"""The model as an ONNX graph, written without torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from streamad.detectors.motion.density import MotionModel
from streamad.detectors.motion.layout import (
    CLOSEST,
    LENGTH,
    LOOK,
    MEASURES,
    PLACE,
    SLOWEST,
    SPEED,
    VELOCITY,
)
from streamad.engines.graph_writer import GraphWriter


def write_graph(model: MotionModel, path: Path) -> None:
    """Write a model as ONNX: input (batch, length, 1, 1), output (batch, 4); see `MotionModel`."""
    graph = GraphWriter("motion")
    given = graph.input("descriptors", ["batch", LENGTH, 1, 1])
    values = graph.add("Flatten", given, axis=1)

    def constant(name: str, array: npt.ArrayLike) -> str:
        return graph.constant(name, np.asarray(array, dtype=np.float32))

    def columns(part: slice) -> str:
        bounds = (graph.numbers(part.start), graph.numbers(part.stop), graph.numbers(1))
        return str(graph.add("Slice", values, *bounds))

    def nearest(points: str, name: str, examples: npt.NDArray[np.float32]) -> str:
        """Distance to the nearest example: |p|² + min(|e|² − 2 p·e), as one product of matrices."""
        product = graph.add("MatMul", points, constant(name, -2.0 * examples.T))
        squares = graph.add("Add", product, constant(f"{name}_squares", (examples**2).sum(axis=1)))
        least = graph.add("ReduceMin", squares, graph.numbers(1), keepdims=1)
        own = graph.add("ReduceSum", graph.add("Mul", points, points), graph.numbers(1), keepdims=1)
        return str(graph.add("Sqrt", graph.add("Relu", graph.add("Add", least, own))))

    place = columns(PLACE)
    # |p − a|² over all anchors; |p|² is common to them and cancels in the softmax.
    product = graph.add("MatMul", place, constant("anchors", 2.0 * model.sharpness * model.anchors.T))
    away = constant("anchors_squares", -model.sharpness * (model.anchors**2).sum(axis=1))
    weights = graph.add("Softmax", graph.add("Add", product, away), axis=1)
    usual = graph.add("Exp", graph.add("MatMul", weights, constant("usual", model.usual[:, None])))

    near = graph.add("Mul", place, constant("nearness", model.nearness))
    speed = graph.add("Div", graph.add("Max", columns(SPEED), constant("slowest", [SLOWEST])), usual)
    velocity = graph.add("Concat", graph.add("Div", columns(VELOCITY), usual), near, axis=1)
    roots = graph.add("Sqrt", graph.add("Relu", columns(LOOK)))
    seen = graph.add(
        "MatMul",
        graph.add("Sub", roots, constant("look_mean", model.look_mean)),
        constant("look_basis", model.look_basis),
    )
    there = graph.add("Mul", place, constant("look_nearness", model.look_nearness))
    measures = graph.add(
        "Concat",
        speed,
        nearest(velocity, "velocities", model.velocities),
        nearest(str(graph.add("Concat", seen, there, axis=1)), "looks", model.looks),
        axis=1,
    )
    logs = graph.add("Log", graph.add("Max", measures, constant("closest", [CLOSEST])))
    beyond = graph.add("Relu", graph.add("Sub", logs, constant("base", model.base)))
    evidence = graph.add("Mul", beyond, constant("slope", model.slope))
    graph.output(graph.add("Concat", evidence, usual, axis=1), "evidence", ["batch", len(MEASURES) + 1])
    graph.save(path)
