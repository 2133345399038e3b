"""The ONNX file of a network that carries state, set to runs of a number of frames, for engines that do not do it."""

from __future__ import annotations

from typing import Any

import onnx

from streamad.engines.delays import Delay, parse_delays
from streamad.errors import EngineError


def for_runs(content: bytes, frames: int) -> bytes:
    """The network for runs of exactly so many frames, of any number of cameras.

    As it is exported it takes any number of frames and counts, while it runs, how much of each value comes from before
    and how much it has just made. A delay that is at least as long as the run takes all of it from before: there what
    would join the two is left out, which else copies every carried value. Inputs of one length get one name for it,
    so that the engine knows them to be equal; and the name tells networks for different runs apart.

    Args:
        content: of the ONNX file.
        frames: of each camera in a run.
    """
    model = onnx.load_from_string(content)
    graph = model.graph
    delays = {delay.name: delay for delay in parse_delays(value.name for value in graph.input)}
    for delay in delays.values():
        if delay.frames >= frames:
            _take_from_before(graph, delay)
    _drop_unread(graph)
    for value in (*graph.input, *graph.output):
        rows = delays[value.name].rows(frames) if value.name in delays else frames
        value.type.tensor_type.shape.dim[0].dim_param = f"cameras_times_{rows}_of_{frames}"
    del graph.value_info[:]
    return model.SerializeToString()  # type: ignore[no-any-return]


def read_delays(content: bytes) -> tuple[Delay, ...]:
    """What a network carries, from its ONNX file.

    Raises:
        EngineError: it is no network, or none that carries state.
    """
    try:
        graph = onnx.load_from_string(content).graph
    except Exception as error:  # protobuf's own errors have no common base
        raise EngineError(f"the file holds no network: {error}", hint="export the bundle again") from error
    delays = parse_delays(value.name for value in graph.input)
    if not delays:
        raise EngineError("the file holds no network that carries state", hint="export the bundle again")
    return delays


def _take_from_before(graph: Any, delay: Delay) -> None:
    """Let what reads a carried value and its continuation read the carried value alone."""
    made_by = {name: node for node in graph.node for name in node.output}
    turned = {node.output[0] for node in graph.node if node.op_type == "Transpose" and node.input[0] == delay.name}
    old = {delay.name, *turned}
    for node in graph.node:
        if node.op_type != "Concat" or node.input[0] not in old or len(node.input) != 2:
            continue
        follows = made_by.get(node.input[1])
        if follows is None or follows.op_type != "Slice":  # channels that are joined, not frames
            continue
        for reader in graph.node:
            for place, name in enumerate(reader.input):
                if name == node.output[0]:
                    reader.input[place] = node.input[0]


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
