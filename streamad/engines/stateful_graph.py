"""The ONNX file of a network that carries state, set to runs of a number of frames, for engines that do not do it."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from streamad.engines.state_buffers import StateBuffer, parse_state_buffers
from streamad.errors import EngineError


def for_runs(content: bytes, frames: int) -> bytes:
    """The network for runs of exactly so many frames, of any number of cameras.

    As it is exported it takes any number of frames and counts, while it runs, how much of each value comes from before
    and how much it has just made. Here those are numbers. A delay that is at least as long as the run takes all of it
    from before: there what would join the two is left out, which else copies every carried value. Inputs of one length
    get one name for it, so that the engine knows them to be equal; and it tells networks for different runs apart.

    Args:
        content: of the ONNX file.
        frames: of each camera in a run.
    """
    model = onnx.load_from_string(content)
    graph = model.graph
    state_buffers = {delay.name: delay for delay in parse_state_buffers(value.name for value in graph.input)}
    for value in graph.input:
        if value.name in state_buffers:
            shape = [dim.dim_value for dim in value.type.tensor_type.shape.dim[1:]]
            _set_delay(graph, state_buffers[value.name], shape, frames)
    _drop_unread(graph)
    for value in (*graph.input, *graph.output):
        rows = state_buffers[value.name].rows(frames) if value.name in state_buffers else frames
        value.type.tensor_type.shape.dim[0].dim_param = f"cameras_times_{rows}_of_{frames}"
    del graph.value_info[:]
    return model.SerializeToString()  # type: ignore[no-any-return]


def read_state_buffers(content: bytes) -> tuple[StateBuffer, ...]:
    """What a network carries, from its ONNX file.

    Raises:
        EngineError: it is no network, or none that carries state.
    """
    try:
        graph = onnx.load_from_string(content).graph
    except Exception as error:  # protobuf's own errors have no common base
        raise EngineError(f"the file holds no network: {error}", hint="export the bundle again") from error
    state_buffers = parse_state_buffers(value.name for value in graph.input)
    if not state_buffers:
        raise EngineError("the file holds no network that carries state", hint="export the bundle again")
    return state_buffers


def _set_delay(graph: Any, delay: StateBuffer, shape: list[int], frames: int) -> None:
    """Set what joins a carried value and its continuation to a number of frames, or leave it out."""
    made_by = {name: node for node in graph.node for name in node.output}
    turned = {node.output[0] for node in graph.node if node.op_type == "Transpose" and node.input[0] == delay.name}
    for place, node in enumerate(graph.node):
        if node.op_type != "Concat" or node.input[0] not in {delay.name, *turned} or len(node.input) != 2:
            continue
        follows = made_by.get(node.input[1])
        if follows is None or follows.op_type != "Slice":  # channels that are joined, not frames
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
    """Nodes that give the first frames of a value of all cameras: rows of a camera more or less change nothing in them.

    Args:
        graph: gets the constants.
        value: (frames · cameras, …).
        shape: of one row.
        frames: in the run.
        first: how many of them.
        name: that theirs begin with.
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


def _drop_unread(graph: Any) -> None:
    """Remove nodes whose outputs nobody reads any more, and constants likewise."""
    read = {value.name for value in graph.output}
    kept = []
    for node in reversed(graph.node):
        if read.intersection(node.output):
            read.update(node.input)
            kept.append(node)
    constants = [tensor for tensor in graph.initializer if tensor.name in read]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(reversed(kept))
    graph.initializer.extend(constants)
