"""Static-shape variants of a stateful OpenVINO model, for runs of several frames of several cameras."""

from __future__ import annotations

from typing import Any

import numpy as np

from streamad.engines.state_buffers import FRAMES, StateBuffer, parse_state_buffers


def specialize_model(model: Any, frames: int, cameras: int) -> Any:
    """Copy a network with static shapes for a run.

    A network with a symbolic number of frames joins old state and new values itself. A network written for runs of one
    frame (the 8-bit form) takes all state from earlier runs, so for longer runs the join is added here. Each row is
    computed as before, so a run of several frames equals as many runs of one.

    Args:
        model: An `openvino.Model`; it is not changed.
        frames: Number of frames per camera in a run.
        cameras: Number of cameras in a run.
    """
    variant = model.clone()
    inputs = {parameter.output(0).any_name: parameter for parameter in variant.get_parameters()}
    state_buffers = {delay.name: delay for delay in parse_state_buffers(inputs)}
    symbolic = inputs[FRAMES].get_partial_shape()[0].is_dynamic
    for name, parameter in inputs.items():
        shape = parameter.get_partial_shape()
        shape[0] = cameras * (state_buffers[name].rows(frames) if name in state_buffers else frames)
        parameter.set_partial_shape(shape)
    if not symbolic:
        for delay in state_buffers.values():
            if delay.frames < frames:
                _join(variant, inputs, delay, cameras * (frames - delay.frames))
    variant.validate_nodes_and_infer_types()
    return variant


def _join(model: Any, inputs: dict[str, Any], delay: StateBuffer, missing: int) -> None:
    """Extend an old state value with the first rows that the run itself produces."""
    from openvino import opset13 as ops

    old = inputs[delay.name].output(0)
    readers = list(old.get_target_inputs())
    frames = delay.source == FRAMES
    new = inputs[FRAMES].output(0) if frames else model.output(delay.source).get_node().input_value(0)
    start, stop, step, axis = (np.array([number], np.int64) for number in (0, missing, 1, 0))
    joined = ops.concat([old.get_node(), ops.slice(new, start, stop, step, axis)], 0)
    for reader in readers:
        reader.replace_source_output(joined.output(0))
