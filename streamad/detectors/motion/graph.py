"""The model as an ONNX graph, written without torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from streamad.detectors.motion.density import TIME_OF, MotionModel
from streamad.detectors.motion.layout import CLOSEST, LENGTH, MOVEMENT, OUTPUTS, PLACE, STAY, STAYED
from streamad.engines.graph_writer import GraphWriter


def write_graph(model: MotionModel, path: Path) -> None:
    """Write a model as ONNX: input (batch, length, 1, 1), output (batch, 5); see `MotionModel`."""
    graph = GraphWriter("motion")
    given = graph.input("descriptors", ["batch", LENGTH, 1, 1])
    values = graph.add("Flatten", given, axis=1)

    def constant(name: str, array: npt.ArrayLike) -> str:
        return graph.constant(name, np.asarray(array, dtype=np.float32))

    def columns(of: str, start: int, stop: int) -> str:
        return str(graph.add("Slice", of, graph.numbers(start), graph.numbers(stop), graph.numbers(1)))

    def square(of: str) -> str:
        return str(graph.add("ReduceSum", graph.add("Mul", of, of), graph.numbers(1), keepdims=1))

    place = columns(values, PLACE.start, PLACE.stop)
    # |p − a|² over all anchors; |p|² is common to them and cancels in the softmax.
    product = graph.add("MatMul", place, constant("anchors", 2.0 * model.sharpness * model.anchors.T))
    away = constant("anchors_squares", -model.sharpness * (model.anchors**2).sum(axis=1))
    weights = graph.add("Softmax", graph.add("Add", product, away), axis=1)
    usual = graph.add("Exp", graph.add("MatMul", weights, constant("usual", model.usual)))

    times = graph.add("Gather", usual, graph.numbers(*TIME_OF.tolist()), axis=1)
    scale = graph.add("Mul", times, constant("spread", model.spread[None]))
    moved = str(graph.add("Div", columns(values, MOVEMENT.start, MOVEMENT.stop), scale))
    middle = constant("middle", model.anchors.mean(axis=0))
    near = graph.add("Mul", graph.add("Sub", place, middle), constant("nearness", model.nearness))
    points = str(graph.add("Concat", moved, near, axis=1))
    # Distance to the nearest example: |p|² + min(|e|² − 2 p·e), as one product of matrices.
    likeness = graph.add("MatMul", points, constant("examples", -2.0 * model.examples.T))
    squares = graph.add("Add", likeness, constant("examples_squares", (model.examples**2).sum(axis=1)))
    nearest = graph.add("Add", graph.add("ReduceMin", squares, graph.numbers(1), keepdims=1), square(points))
    least = graph.add("Min", nearest, square(moved))
    distance = graph.add("Sqrt", graph.add("Max", least, constant("closest", [CLOSEST**2])))
    stayed = graph.add("Div", columns(values, STAY, STAY + 1), columns(usual, STAYED - 1, STAYED))
    distance = graph.add("Max", distance, graph.add("Mul", stayed, constant("stay_scale", model.stay_scale[None])))
    graph.output(
        graph.add("Concat", distance, columns(usual, 0, STAYED - 1), stayed, axis=1), "unusual", ["batch", OUTPUTS]
    )
    graph.save(path)
