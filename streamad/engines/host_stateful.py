"""HostStatefulEngine: base of the stateful engines that keep state in host memory, read and written in place."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence

import numpy as np

from streamad.engines.base import Batch
from streamad.engines.state_buffers import FRAMES, Array, StateBuffers
from streamad.engines.stateful import CAMERA_SIZES, RUN_SIZES, StatefulEngine, StreamState


class HostStatefulEngine(StatefulEngine):
    """Runs a single camera in place. For several cameras, state is copied side by side before the run and back after
    it.

    Args:
        context: See `StatefulEngine`.
        run_sizes: See `StatefulEngine`.
        camera_sizes: See `StatefulEngine`.
    """

    def __init__(
        self, context: int, run_sizes: tuple[int, ...] = RUN_SIZES, camera_sizes: tuple[int, ...] = CAMERA_SIZES
    ) -> None:
        super().__init__(context, run_sizes, camera_sizes)
        self._together: dict[tuple[int, int], tuple[dict[str, Array], dict[str, Array]]] = {}

    def next_inputs(self, state: StreamState, frame: Batch) -> dict[str, Array]:
        """Return copies of the network's inputs for a camera's next frame, by name. The state does not change.

        Args:
            state: The camera's state.
            frame: (1, channels, height, width) float32.
        """
        buffers = state.memory = state.memory or self._new_memory()
        buffers.outputs(1)  # makes room first, so that inputs are where the run will read them
        return {FRAMES: frame.copy(), **{name: values.copy() for name, values in buffers.inputs(1).items()}}

    @abstractmethod
    def _compute(self, inputs: Mapping[str, Array], outputs: Mapping[str, Array], cameras: int) -> None:
        """Run the network once.

        Args:
            inputs: All network inputs; read-only.
            outputs: Arrays to which to write the named outputs. Other outputs are not needed.
            cameras: Number of cameras in the run. The total number of frames is this times the frames per camera.

        Raises:
            EngineError: If the run fails.
        """

    def _new_memory(self) -> StateBuffers:
        return StateBuffers(self._state_buffers, self._shapes, self._sizes[-1])

    def _execute(self, states: Sequence[StreamState], frames: Sequence[Batch], names: Sequence[str]) -> list[Batch]:
        count, cameras, shapes = len(frames[0]), len(states), self._shapes
        asked = {name: np.empty((count * cameras, *shapes[name]), np.float32) for name in names}
        buffers: list[StateBuffers] = [state.memory for state in states]
        if cameras == 1:
            self._in_place(buffers[0], frames[0], asked)
        else:
            self._side_by_side(buffers, frames, asked)
        for buffer in buffers:
            buffer.advance(count)
        return [values.reshape(count, cameras, *values.shape[1:]) for values in asked.values()]

    def _in_place(self, buffers: StateBuffers, frames: Batch, asked: Mapping[str, Array]) -> None:
        made = buffers.outputs(len(frames))
        inputs = buffers.inputs(len(frames))
        # New frames are part of the state, because later scores need them again.
        new = made.pop(FRAMES, None)
        if new is None:
            new = np.empty(frames.shape, np.float32)
        new[...] = frames
        self._compute({FRAMES: new, **inputs}, {**made, **asked}, 1)

    def _side_by_side(
        self, buffers: Sequence[StateBuffers], frames: Sequence[Batch], asked: Mapping[str, Array]
    ) -> None:
        count, cameras = len(frames[0]), len(buffers)
        made = [buffer.outputs(count) for buffer in buffers]  # makes room before inputs are read
        inputs, outputs = self._room(count, cameras)
        for camera, (buffer, new) in enumerate(zip(buffers, frames, strict=True)):
            inputs[FRAMES][:, camera] = new
            for name, values in buffer.inputs(count).items():
                inputs[name][:, camera] = values
        flat = {name: values.reshape(-1, *values.shape[2:]) for name, values in inputs.items()}
        written = {name: values.reshape(-1, *values.shape[2:]) for name, values in outputs.items()}
        self._compute(flat, {**written, **asked}, cameras)
        for camera, targets in enumerate(made):
            for source, target in targets.items():
                target[...] = (inputs if source == FRAMES else outputs)[source][:, camera]

    def _room(self, count: int, cameras: int) -> tuple[dict[str, Array], dict[str, Array]]:
        """Input and state output arrays for a run of several cameras, (frames, cameras, …); created once per size."""
        if (count, cameras) not in self._together:
            shapes, state_buffers = self._shapes, self._state_buffers
            rows = {FRAMES: count, **{delay.name: delay.rows(count) for delay in state_buffers}}
            shape_of = {FRAMES: shapes[FRAMES], **{delay.name: shapes[delay.source] for delay in state_buffers}}
            sources = {delay.source for delay in state_buffers} - {FRAMES}
            self._together[count, cameras] = (
                {name: np.empty((rows[name], cameras, *shape), np.float32) for name, shape in shape_of.items()},
                {source: np.empty((count, cameras, *shapes[source]), np.float32) for source in sources},
            )
        return self._together[count, cameras]
