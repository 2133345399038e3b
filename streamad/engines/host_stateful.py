"""What the engines share that carry state in host memory: it is read and written where it lies."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence

import numpy as np

from streamad.engines.base import Batch
from streamad.engines.state_buffers import FRAMES, Array, StateBuffers
from streamad.engines.stateful import CAMERA_SIZES, RUN_SIZES, StatefulEngine, StreamState


class HostStatefulEngine(StatefulEngine):
    """Runs one camera in place; what several carry is laid side by side for their run, and laid back after it.

    Args:
        context: see `StatefulEngine`.
        run_sizes: see `StatefulEngine`.
        camera_sizes: see `StatefulEngine`.
    """

    def __init__(
        self, context: int, run_sizes: tuple[int, ...] = RUN_SIZES, camera_sizes: tuple[int, ...] = CAMERA_SIZES
    ) -> None:
        super().__init__(context, run_sizes, camera_sizes)
        self._together: dict[tuple[int, int], tuple[dict[str, Array], dict[str, Array]]] = {}

    def next_inputs(self, state: StreamState, frame: Batch) -> dict[str, Array]:
        """What the network is given for a camera's next frame, by name: copies. The state stays as it is.

        Args:
            state: the camera's.
            frame: (1, channels, height, width) float32.
        """
        lines = state.memory = state.memory or self._new_memory()
        lines.outputs(1)  # makes room, so that what is read next lies where the run will find it
        return {FRAMES: frame.copy(), **{name: values.copy() for name, values in lines.inputs(1).items()}}

    @abstractmethod
    def _compute(self, inputs: Mapping[str, Array], outputs: Mapping[str, Array], cameras: int) -> None:
        """Run the network once.

        Args:
            inputs: all of its inputs; not to be changed.
            outputs: where the named outputs are to be written; the others are not asked for.
            cameras: cameras in the run; its frames are as many times this as each has.

        Raises:
            EngineError: it failed.
        """

    def _new_memory(self) -> StateBuffers:
        return StateBuffers(self._state_buffers(), self._shapes(), self._sizes[-1])

    def _execute(self, states: Sequence[StreamState], frames: Sequence[Batch], names: Sequence[str]) -> list[Batch]:
        count, cameras, shapes = len(frames[0]), len(states), self._shapes()
        asked = {name: np.empty((count * cameras, *shapes[name]), np.float32) for name in names}
        lines: list[StateBuffers] = [state.memory for state in states]
        if cameras == 1:
            self._in_place(lines[0], frames[0], asked)
        else:
            self._side_by_side(lines, frames, asked)
        for line in lines:
            line.advance(count)
        return [values.reshape(count, cameras, *values.shape[1:]) for values in asked.values()]

    def _in_place(self, lines: StateBuffers, frames: Batch, asked: Mapping[str, Array]) -> None:
        made = lines.outputs(len(frames))
        inputs = lines.inputs(len(frames))
        # The new frames are carried like everything else: they are wanted again when their score is due.
        new = made.pop(FRAMES, None)
        if new is None:
            new = np.empty(frames.shape, np.float32)
        new[...] = frames
        self._compute({FRAMES: new, **inputs}, {**made, **asked}, 1)

    def _side_by_side(self, lines: Sequence[StateBuffers], frames: Sequence[Batch], asked: Mapping[str, Array]) -> None:
        count, cameras = len(frames[0]), len(lines)
        made = [line.outputs(count) for line in lines]  # makes room first
        inputs, outputs = self._room(count, cameras)
        for camera, (line, new) in enumerate(zip(lines, frames, strict=True)):
            inputs[FRAMES][:, camera] = new
            for name, values in line.inputs(count).items():
                inputs[name][:, camera] = values
        flat = {name: values.reshape(-1, *values.shape[2:]) for name, values in inputs.items()}
        written = {name: values.reshape(-1, *values.shape[2:]) for name, values in outputs.items()}
        self._compute(flat, {**written, **asked}, cameras)
        for camera, targets in enumerate(made):
            for source, target in targets.items():
                target[...] = (inputs if source == FRAMES else outputs)[source][:, camera]

    def _room(self, count: int, cameras: int) -> tuple[dict[str, Array], dict[str, Array]]:
        """Inputs and carried outputs of a run of several cameras, (frames, cameras, …); made once for each size."""
        if (count, cameras) not in self._together:
            shapes, state_buffers = self._shapes(), self._state_buffers()
            rows = {FRAMES: count, **{delay.name: delay.rows(count) for delay in state_buffers}}
            shape_of = {FRAMES: shapes[FRAMES], **{delay.name: shapes[delay.source] for delay in state_buffers}}
            sources = {delay.source for delay in state_buffers} - {FRAMES}
            self._together[count, cameras] = (
                {name: np.empty((rows[name], cameras, *shape), np.float32) for name, shape in shape_of.items()},
                {source: np.empty((count, cameras, *shapes[source]), np.float32) for source in sources},
            )
        return self._together[count, cameras]
