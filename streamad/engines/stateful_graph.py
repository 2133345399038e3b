"""Specialization of a stateful network's ONNX file to runs of a fixed number of frames, for engines that need it."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from streamad.engines.state_buffers import StateBuffer, parse_state_buffers
from streamad.errors import EngineError


def specialize_graph(content: bytes, frames: int) -> bytes:
    """Specialize a network to runs of exactly `frames` frames, of any number of cameras.

    The exported network takes any number of frames and computes at run time how much of each state value comes from
    earlier runs and how much it has just produced. Here those numbers become constants. If a delay is at least as long
    as the run, all of it comes from earlier runs, and the join, which would copy every state value, is removed. Inputs
    of equal length share a dimension name, so that the engine knows that they are equal; the name also distinguishes
    networks for different runs.

    Args:
        content: Content of the ONNX file.
        frames: Number of frames per camera in a run.
    """
    model = onnx.load_from_string(content)
    graph = model.graph
    state_buffers = {delay.name: delay for delay in parse_state_buffers(value.name for value in graph.input)}
    for value in graph.input:
        if value.name in state_buffers:
            shape = [dim.dim_value for dim in value.type.tensor_type.shape.dim[1:]]
            _set_delay(graph, state_buffers[value.name], shape, frames)
    keep_read(graph, list(graph.node), list(graph.initializer))
    for value in (*graph.input, *graph.output):
        rows = state_buffers[value.name].rows(frames) if value.name in state_buffers else frames
        value.type.tensor_type.shape.dim[0].dim_param = f"cameras_times_{rows}_of_{frames}"
    del graph.value_info[:]
    return model.SerializeToString()  # type: ignore[no-any-return]


def read_state_buffers(content: bytes) -> tuple[StateBuffer, ...]:
    """Read the state buffers of a network from its ONNX file.

    Raises:
        EngineError: If it is not a network, or not a stateful one.
    """
    try:
        graph = onnx.load_from_string(content).graph
    except Exception as error:  # protobuf's errors have no common base class
        raise EngineError(f"the file does not contain a network: {error}", hint="export the bundle again") from error
    state_buffers = parse_state_buffers(value.name for value in graph.input)
    if not state_buffers:
        raise EngineError("the file does not contain a stateful network", hint="export the bundle again")
    return state_buffers


def _set_delay(graph: Any, delay: StateBuffer, shape: list[int], frames: int) -> None:
    """Fix the join of a state value with its continuation to a number of frames, or remove it."""
    made_by = {name: node for node in graph.node for name in node.output}
    turned = {node.output[0] for node in graph.node if node.op_type == "Transpose" and node.input[0] == delay.name}
    for place, node in enumerate(graph.node):
        if node.op_type != "Concat" or node.input[0] not in {delay.name, *turned} or len(node.input) != 2:
            continue
        follows = made_by.get(node.input[1])
        if follows is None or follows.op_type != "Slice":  # joins channels, not frames
            continue
        if delay.frames >= frames:
            for reader in graph.node:
                for number, name in enumerate(reader.input):
                    if name == node.output[0]:
                        reader.input[number] = node.input[0]
        else:
            value = [shape[2], shape[0], shape[1]] if node.input[0] in turned else shape
            new = _first_frames(graph, follows.input[0], value, frames, frames - delay.frames, f"{delay.name}_new")
            node.input[1] = new[-1].output[0]
            for number, made in enumerate(new):
                graph.node.insert(place + number, made)
        return


def _first_frames(graph: Any, value: str, shape: list[int], frames: int, first: int, name: str) -> list[Any]:
    """Create nodes that select the first frames of a value for all cameras, for any number of cameras.

    Args:
        graph: The graph, to which constants are added.
        value: Name of the value, (frames · cameras, …).
        shape: Shape of one row.
        frames: Number of frames in the run.
        first: Number of frames to select.
        name: Prefix for the names of the new nodes.
    """

    def constant(kind: str, *numbers: int) -> str:
        tensor = numpy_helper.from_array(np.array(numbers, np.int64), f"{name}_{kind}")
        graph.initializer.append(tensor)
        return str(tensor.name)

    apart, cut, together = (f"{name}_{step}" for step in ("apart", "cut", "together"))
    bounds = [constant("start", 0), constant("stop", first), constant("axis", 0)]
    return [
        helper.make_node("Reshape", [value, constant("frames", frames, -1)], [apart]),
        helper.make_node("Slice", [apart, *bounds], [cut]),
        helper.make_node("Reshape", [cut, constant("rows", -1, *shape)], [together]),
    ]


def keep_read(graph: Any, nodes: list[Any], constants: list[Any]) -> None:
    """Give a graph these nodes and constants, without those that nothing reads.

    Args:
        graph: The graph; its outputs say what is read.
        nodes: Nodes in topological order.
        constants: Tensors that nodes may read.
    """
    read = {value.name for value in graph.output}
    kept = []
    for node in reversed(nodes):
        if read.intersection(node.output):
            read.update(node.input)
            kept.append(node)
    constants = [tensor for tensor in constants if tensor.name in read]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(reversed(kept))
    graph.initializer.extend(constants)
