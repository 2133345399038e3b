"""Writing of ONNX graphs node by node, where their exact form matters and tracing would not control it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 18


class GraphWriter:
    """Builder of an ONNX graph. Values are referred to by name.

    Args:
        name: Name of the graph.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._nodes: list[onnx.NodeProto] = []
        self._inputs: dict[str, onnx.ValueInfoProto] = {}
        self._outputs: dict[str, onnx.ValueInfoProto] = {}
        self._constants: dict[str, onnx.TensorProto] = {}

    def input(self, name: str, shape: Sequence[int | str]) -> str:
        """Declare a float32 input. A string stands for a variable size. Repeated declarations have no effect."""
        self._inputs[name] = helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))
        return name

    def output(self, value: str, name: str, shape: Sequence[int | str]) -> None:
        """Declare a float32 output that exposes `value` as `name`. Repeated declarations have no effect."""
        if name not in self._outputs:
            self._nodes.append(helper.make_node("Identity", [value], [name]))
            self._outputs[name] = helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))

    def constant(self, name: str, values: npt.NDArray[Any]) -> str:
        """Add a constant, stored once per name."""
        if name not in self._constants:
            self._constants[name] = numpy_helper.from_array(np.ascontiguousarray(values), name)
        return name

    def numbers(self, *values: int) -> str:
        """Add a constant list of integers."""
        return self.constant("numbers_" + "_".join(map(str, values)), np.array(values, np.int64))

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Append a node, and return the name of its output."""
        name = f"{operator.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, list(inputs), [name], name=name, **attributes))
        return name

    def save(self, path: Path) -> None:
        """Check the graph and write it."""
        graph = helper.make_graph(
            self._nodes,
            self._name,
            list(self._inputs.values()),
            list(self._outputs.values()),
            list(self._constants.values()),
        )
        # Use the oldest version with these operators, so that older programs can read the file.
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
        onnx.checker.check_model(model, full_check=True)
        onnx.save(model, str(path))
