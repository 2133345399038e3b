"""Conversion of float32 ONNX files to half precision: fp16 for layers, fp32 for inputs, outputs and error sums.

The precision must be part of the file: TensorRT's strongly typed networks run exactly what is written.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from streamad.engines.stateful_graph import keep_read
from streamad.errors import EngineError

LAYERS = frozenset({"Conv", "ConvTranspose", "Gemm"})
"""Operators that always run in fp16."""

FOLLOWING = frozenset({"BatchNormalization", "LeakyRelu", "Relu", "Tanh", "MaxPool", "Reshape", "Flatten", "Slice"})
"""Operators that run in fp16 if their input is fp16. All others stay in fp32, above all squares, means and differences
of reconstruction errors: the squared errors of a good reconstruction are below fp16's smallest normal number (6e-5).
Mixed-precision training draws the same line."""


RESHAPING = frozenset({"Reshape", "Slice"})
"""Operators of which only the first input is data; the others are integers."""


def write_half(source: Path, target: Path) -> None:
    """Write the half-precision form of a network. Its inputs and outputs stay float32.

    Args:
        source: The float32 ONNX file. Weights that it stores in 16 bits are used unchanged.
        target: The file to write.

    Raises:
        EngineError: If the file is not a network, or nothing in it runs in fp16 (a density estimate without layers).
    """
    try:
        model = onnx.load(str(source))
    except Exception as error:  # protobuf's errors have no common base class
        raise EngineError(f"cannot read {source}: {error}", hint="export the bundle again") from error
    halver = _Halver(model.graph)
    halver.run()
    if not halver.changed:
        raise EngineError(
            f"{source} has no layer that runs in fp16: its distances and logarithms require fp32",
            hint="run it in fp32; the network is small",
        )
    # Check types as well: TensorRT-RTX crashes on a graph with mismatched types and takes the process down.
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(target))


class _Halver:
    """Rewrites a graph in place: adds a half-precision twin of a tensor where a node needs it, and casts back.

    Args:
        graph: The graph, with nodes in topological order as ONNX requires.
    """

    def __init__(self, graph: Any) -> None:
        self._graph = graph
        self._nodes: list[Any] = []
        self._weights = {tensor.name: tensor for tensor in graph.initializer}
        self._half: dict[str, str] = {}  # tensor name → name of its fp16 twin
        self._full = {value.name for value in graph.input} | set(self._weights)  # names of tensors that exist in fp32
        self._made: dict[str, Any] = {}  # fp16 weights

    @property
    def changed(self) -> bool:
        """Whether anything runs in fp16."""
        return bool(self._half)

    def run(self) -> None:
        """Rewrite the graph."""
        for node in self._graph.node:
            if self._is_stored_half(node):
                self._half[node.output[0]] = node.input[0]
                self._emit(node)
            elif node.op_type in LAYERS or (node.op_type in FOLLOWING and node.input[0] in self._half):
                self._in_half(node)
            else:
                for name in node.input:
                    self._need_full(name)
                self._emit(node)
        for value in self._graph.output:
            self._need_full(value.name)
        self._sweep()

    def _is_stored_half(self, node: Any) -> bool:
        """Whether a node casts a weight that is stored in 16 bits."""
        weight = self._weights.get(node.input[0]) if node.op_type == "Cast" else None
        return weight is not None and weight.data_type == TensorProto.FLOAT16

    def _in_half(self, node: Any) -> None:
        for index, name in enumerate(node.input):
            if index and node.op_type in RESHAPING:  # integers, possibly computed, but never the data
                continue
            weight = self._weights.get(name)
            if name and (weight is None or weight.data_type == TensorProto.FLOAT):
                node.input[index] = self._need_half(name)
        output = node.output[0]
        self._half[output] = node.output[0] = f"{output}_half"
        self._nodes.append(node)

    def _need_half(self, name: str) -> str:
        if name not in self._half:
            twin = self._half[name] = f"{name}_half"
            if name in self._weights:
                values = numpy_helper.to_array(self._weights[name]).astype(np.float16)
                self._made[twin] = numpy_helper.from_array(values, twin)
            else:
                self._nodes.append(helper.make_node("Cast", [name], [twin], to=TensorProto.FLOAT16))
        return self._half[name]

    def _need_full(self, name: str) -> None:
        if name in self._half and name not in self._full:
            self._nodes.append(helper.make_node("Cast", [self._half[name]], [name], to=TensorProto.FLOAT))
            self._full.add(name)

    def _emit(self, node: Any) -> None:
        self._nodes.append(node)
        self._full.update(node.output)

    def _sweep(self) -> None:
        """Write back the nodes whose outputs are still read, and the weights that are still read."""
        keep_read(self._graph, self._nodes, [*self._weights.values(), *self._made.values()])
        del self._graph.value_info[:]
